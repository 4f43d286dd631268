//! What the file says, key by key.

use std::path::Path;

use ipnetwork::IpNetwork;
use scanguard_common::challenge::{ChallengeMode, DecoyReply};
use scanguard_common::reason::Mode;

use super::{
    Document, bracketed, list_with_shipped, port_items, port_list, quoted, quoted_duration, quoted_list, real, wrapped,
};
use crate::config::{
    Blocks, Cgroup, Conceal, Config, Feed, Log, Ports, Safety, Score, SignalLimits, Sources, Storm, attach_label,
    shipped,
};
use crate::kernel::{AttachMode, Share};
use crate::logins::Watcher;
use crate::prefix;
use crate::store::Limits;

pub(super) fn all(file: &mut Document, config: &Config) {
    let Config {
        interfaces,
        attach,
        mode,
        state,
        keep,
        pins,
        allow,
        feeds,
        cgroup,
        control_socket,
        control_group,
        retention,
        metrics_listen,
        ports,
        sources,
        score,
        conceal,
        storm,
        safety,
        challenge,
        decoy_reply,
        blocks,
        signals,
        events_ring_kib,
        log,
    } = config;
    self::attach(file, interfaces, *attach);
    judge(file, *mode, allow);
    self::feeds(file, feeds);
    self::challenge(file, *challenge, *decoy_reply);
    sessions(file, cgroup);
    stay(file, state, *keep, pins);
    file.section("control");
    file.key(
        "The Unix socket on which the daemon answers the command line. Mode 0660: root and the socket's group.",
        "socket",
        &quoted(&control_socket.to_string_lossy()),
    );
    file.key(
        "The group of that socket: its members may do everything that root may. \"\" leaves it to the daemon's own group.",
        "group",
        &quoted(control_group.as_deref().unwrap_or_default()),
    );
    file.section("metrics");
    file.key(
        "Where /metrics (Prometheus) and /healthz are served; \"off\" serves nothing.\n\
         There is no password: on another address than loopback, let a firewall say who may ask.",
        "listen",
        &quoted(&metrics_listen.map_or_else(|| "off".to_owned(), |address| address.to_string())),
    );
    self::ports(file, ports);
    self::sources(file, sources);
    self::score(file, score);
    self::conceal(file, conceal);
    self::storm(file, storm);
    self::safety(file, safety);
    self::blocks(file, blocks);
    self::signals(file, *signals);
    self::retention(file, *retention);
    file.section("events");
    file.key(
        "KiB of the buffer through which the kernel tells the daemon of first contacts, 16 to 1048576, rounded up to\n\
         a power of two. When it is full events are lost (and counted); counters lose nothing.",
        "ring_kib",
        &events_ring_kib.to_string(),
    );
    self::log(file, log);
}

fn attach(file: &mut Document, interfaces: &[String], mode: AttachMode) {
    file.comment(
        "Configuration of scanguard, by default at /etc/scanguard/scanguard.toml.\n\
         Every key may be left out; the values here are the defaults unless you changed them.\n\
         `scanguard config check` tells what is wrong with a file, `scanguard config show` what is in force.\n\
         Lengths of time are texts: \"90s\", \"10m\", \"2h\", \"7d\".",
    );
    file.key(
        "Interfaces to guard. \"auto\" stands for every interface with a default route.\n\
         `scanguard run -i NAME` overrides it.",
        "interfaces",
        &quoted_list(interfaces.iter()),
    );
    file.key(
        "Where in the receive path the program runs:\n\
         \"auto\"     native where the driver can, else generic; generic on veth, where native halves TCP throughput\n\
         \"native\"   in the driver, or not at all\n\
         \"generic\"  in the stack: slower, works everywhere",
        "attach",
        &quoted(attach_label(mode)),
    );
}

fn judge(file: &mut Document, mode: Mode, allow: &[IpNetwork]) {
    file.key(
        "\"observe\"  nothing is dropped; what would have been is counted\n\
         \"enforce\"  verdicts are carried out\n\
         `scanguard mode` changes it at run time; that holds over restarts, until this value is changed.",
        "mode",
        &quoted(mode.label()),
    );
    file.key(
        "Addresses and prefixes that are never acted on, whatever they do: [\"192.0.2.7\", \"2001:db8::/32\"].\n\
         `scanguard allow add` adds others at run time, kept in the file of state.",
        "allow",
        &quoted_list(allow.iter().map(prefix::show)),
    );
}

fn feeds(file: &mut Document, feeds: &[Feed]) {
    let written = feeds.iter().map(|Feed { name, file, level }| {
        let (name, file, level) = (quoted(name), quoted(&file.to_string_lossy()), quoted(level.label()));
        format!("{{ name = {name}, file = {file}, level = {level} }}")
    });
    file.key(
        "Lists of addresses that others make. A list says how far to go with those on it that scan here (an address on it\n\
         that does nothing here is left alone, and `max_auto_level` of [block] holds), or that many people share each\n\
         address. A file has a prefix a line; what follows one is a comment, and so is a line that begins with # or ;.\n\
         Read at the start, on reload, and by `scanguard feeds refresh`:\n\
         feeds = [{ name = \"drop\", file = \"/etc/scanguard/feeds/drop.txt\", level = \"block private\" }]\n\
         \"conceal\"        no further than with every suspect\n\
         \"block private\"  once it is a suspect, it is blocked from all but public ports without more proof\n\
         \"block all\"      and from public ports too where a session or a decoy shows that it is really there\n\
         \"shared\"         nothing is done for it: many people share each address, as `shared` of [sources] says",
        "feeds",
        &bracketed(written),
    );
}

fn challenge(file: &mut Document, mode: ChallengeMode, reply: DecoyReply) {
    file.key(
        "Which hidden ports answer a suspect with a challenge and not with silence, in mode enforce. A source that completes\n\
         handshakes with four closed ports has proven that it is there and scans, and is blocked for a while.\n\
         \"off\"     none\n\
         \"canary\"  those of `canary` in [ports] that are closed\n\
         \"on\"      canary, closed and restricted ports: a person in whose name others sent gets through to restricted ones",
        "challenge",
        &quoted(mode.label()),
    );
    file.key(
        "What whoever completes a handshake with a closed port is answered: \"reset\", so that a mistake ends at once, or\n\
         \"silence\", so that a scanner waits.",
        "decoy_reply",
        &quoted(reply.label()),
    );
}

fn retention(file: &mut Document, limits: Limits) {
    let Limits { audit_rows, audit_days, history_rows, history_days } = limits;
    file.section("retention");
    file.key(
        "How many records of the audit (who asked for what) are kept in the file of state, 1000 to 10000000, and for how many\n\
         days, 1 to 3650. What is beyond either goes.",
        "audit_rows",
        &audit_rows.to_string(),
    );
    file.key("", "audit_days", &audit_days.to_string());
    file.key(
        "The same for the lives of blocks: when each began, changed and ended, and why.",
        "history_rows",
        &history_rows.to_string(),
    );
    file.key("", "history_days", &history_days.to_string());
}

fn sessions(file: &mut Document, cgroup: &Cgroup) {
    let written = match cgroup {
        Cgroup::Auto => quoted("auto"),
        Cgroup::Off => quoted("off"),
        Cgroup::Folder(folder) => quoted(&folder.to_string_lossy()),
    };
    file.key(
        "Whose TCP sessions are counted, to tell who really got in and who has worked here before: \"auto\" for all processes,\n\
         \"off\" for none, or the folder of a control group (version 2) for the processes in it and below it.",
        "cgroup",
        &written,
    );
}

fn stay(file: &mut Document, state: &Path, keep: bool, pins: &Path) {
    file.key(
        "The file in which the daemon keeps what outlives it: the allowlist and blocks of `scanguard allow` and `block`,\n\
         the mode, which ports were open, and when it first ran here. Without it the daemon still guards, and forgets.",
        "state",
        &quoted(&state.to_string_lossy()),
    );
    file.key(
        "Whether the kernel part goes on when the daemon ends, also by a crash: what is concealed or blocked stays so until\n\
         its time is over, nothing new begins after 30 s. `scanguard run --keep` does the same, `scanguard detach` ends it.",
        "keep",
        &keep.to_string(),
    );
    file.key("The folder, on a BPF file system, in which it is kept.", "pins", &quoted(&pins.to_string_lossy()));
}

fn ports(file: &mut Document, ports: &Ports) {
    let Ports {
        public,
        restricted,
        restricted_if_open,
        canary,
        canary_if_closed,
        unchallenged,
        protect,
        memory,
        learning,
    } = ports;
    file.section("ports");
    file.comment(
        "What this host's ports are to the world. Which of them are open is seen by itself (sockets that listen on more\n\
         than loopback, and answers that leave): an open port is public unless it is restricted, one that was open\n\
         lately is neutral, every other one is closed. The lists are for what cannot be seen, and for canaries.\n\
         A number means TCP; ranges and UDP are texts:\n\
         [22, \"8000-8100\", \"53/udp\", \"6000-6010/udp\"]. A port is in one list at most. UDP ports that the kernel\n\
         gives to clients of this host (net.ipv4.ip_local_port_range) are neutral unless they are listed as open.",
    );
    file.opened = false;
    file.key(
        "Open and for everybody, even if nothing listens on them here (DNAT, containers).",
        "public",
        &port_list(public),
    );
    let shipped_lines = wrapped(port_items(&shipped::restricted())).join(",\n  ");
    file.key(
        &format!(
            "Open, but not for customers (administration, databases), even if nothing listens on them here. \"default\"\n\
             stands for these, without those in another list; they are restricted only while they are open, and if\n\
             you leave \"default\" out, not at all:\n  {shipped_lines}"
        ),
        "restricted",
        &list_with_shipped(restricted, restricted_if_open),
    );
    let shipped_lines = wrapped(port_items(&shipped::canary())).join(",\n  ");
    file.key(
        &format!(
            "Closed here, and nobody legitimate ever asks for them: one contact with such a port weighs as much as two with\n\
             closed ones, and a suspect is challenged there. A port that is open is no canary. \"default\" stands for these,\n\
             without those in another list:\n  {shipped_lines}"
        ),
        "canary",
        &list_with_shipped(canary, canary_if_closed),
    );
    file.key(
        "Never challenged, besides those that clients fall back to on their own (web, mail, SIP).",
        "unchallenged",
        &port_list(unchallenged),
    );
    file.key(
        "Networks behind this host, for a gateway or router: [\"198.51.100.0/24\"]. Which of their ports are open, and which\n\
         addresses there are, is learnt from what they answer through the interfaces that are guarded. What never answered\n\
         counts as closed when learning is over, the lists above say which ports are restricted or canaries there.",
        "protect",
        &quoted_list(protect.iter().map(prefix::show)),
    );
    file.key(
        "How long a port that was open is neutral instead of closed, \"1h\" to \"90d\": services restart and move.",
        "memory",
        &quoted_duration(*memory),
    );
    file.key(
        "For how long after the first start no port counts as closed on a host that forwards packets, nor any of a network\n\
         after it was named in `protect`, \"0s\" to \"30d\": until then it is learnt from answers which ports are open.",
        "learning",
        &quoted_duration(*learning),
    );
}

fn sources(file: &mut Document, sources: &Sources) {
    let Sources { ipv6_prefix, translators, ignore_private, shared, sizes, new_per_second } = sources;
    file.section("sources");
    file.key(
        "Bits of an IPv6 address that make one source, 32 to 128. Subscribers get at least a /64 (RFC 6177).",
        "ipv6_prefix",
        &ipv6_prefix.to_string(),
    );
    file.key(
        "Prefixes of 96 bits with which your translators (NAT64) embed the client's IPv4 address, at most 4.\n\
         64:ff9b::/96 is always known.",
        "translators",
        &quoted_list(translators.iter().map(|prefix| format!("{prefix}/96"))),
    );
    file.key(
        "Whether private addresses (RFC 1918, link-local, fc00::/7) are exempt from judgement.\n\
         false: they are counted and judged like any other.",
        "ignore_private",
        &ignore_private.to_string(),
    );
    file.key(
        "Networks of which many people share each address: carriers' translators, offices, exits of Tor. Before a proven\n\
         scanner among them is blocked from public ports, a person is asked. Feeds with the level \"shared\" name more.",
        "shared",
        &quoted_list(shared.iter().map(prefix::show)),
    );
    file.key(
        "Sources remembered, 1024 to 16777216, or \"auto\": as many as memory allows, 32768 on a host of 1 GiB, 300000 from\n\
         4 GiB on. The longest unseen is forgotten first. Some 250 bytes of kernel memory each, allocated at the start. The\n\
         table has as many buckets as the next power of two: it is fastest somewhat above one.",
        "max_sources",
        &sizes.sources.map_or_else(|| quoted("auto"), |sources| sources.to_string()),
    );
    file.key(
        "How large most other tables are: \"full\" (118 MiB), \"half\", \"quarter\", \"eighth\", or \"auto\", as memory allows.\n\
         What is pinned (`keep`) stays as large as it is.",
        "tables",
        &quoted(sizes.share.map_or("auto", Share::label)),
    );
    file.key(
        "New sources that each CPU records in a second, 0 to 100000000. In a flood of more (most of them forged) those that\n\
         ask for public ports are recorded one in 64, so that the flood is cheap and does not wash out others; a source\n\
         that asks for anything else is always recorded.",
        "new_per_second",
        &new_per_second.to_string(),
    );
}

fn score(file: &mut Document, score: &Score) {
    let Score { a, b, block_a, t0, t1, half_life } = score;
    file.section("score");
    file.comment(
        "When a source is suspected. Each first contact with a port makes it likelier that the source is a scanner, or less\n\
         likely: Jung, Paxson, Berger, Balakrishnan, \"Fast Portscan Detection Using Sequential Hypothesis Testing\",\n\
         IEEE S&P 2004 (their alpha, beta, theta0 and theta1). With the defaults the fourth closed port decides.",
    );
    file.opened = false;
    file.key(
        "False positives accepted: the part of benign sources that may be suspected, 1e-9 to 0.5. Smaller is later.",
        "a",
        &real(*a),
    );
    file.key("The part of scanners that may be missed, 1e-9 to 0.5.", "b", &real(*b));
    file.key(
        "False positives accepted before a source may be blocked, 1e-9 to the value of `a`.",
        "block_a",
        &real(*block_a),
    );
    file.key(
        "The probability that a benign source's first contact succeeds, above that of a scanner, up to 0.999.",
        "t0",
        &real(*t0),
    );
    file.key("The probability that a scanner's does, from 0.001.", "t1", &real(*t1));
    file.key(
        "How long without evidence until a score is half of what it was, \"1m\" to \"30d\".",
        "half_life",
        &quoted_duration(*half_life),
    );
}

fn conceal(file: &mut Document, conceal: &Conceal) {
    let Conceal { duration, longest } = conceal;
    file.section("conceal");
    file.key(
        "How long after its last packet to a hidden port a suspect is kept from hidden ports, \"1m\" to \"24h\".\n\
         Public ports stay open to it.",
        "duration",
        &quoted_duration(*duration),
    );
    file.key(
        "How long at most, without new evidence, at least `duration`, at most \"7d\": who keeps knocking on the same\n\
         hidden port is let go in the end.",
        "longest",
        &quoted_duration(*longest),
    );
}

fn storm(file: &mut Document, storm: &Storm) {
    let Storm { suspects_per_second, duration } = storm;
    file.section("storm");
    file.key(
        "New suspects in a second, 1 to 1000000, that only somebody who forges addresses can make. Until it is over,\n\
         connection attempts to closed ports from unknown sources are dropped, and nothing else.",
        "suspects_per_second",
        &suspects_per_second.to_string(),
    );
    file.key(
        "How long after the last such second it is over, \"1s\" to \"1h\".",
        "duration",
        &quoted_duration(*duration),
    );
}

fn safety(file: &mut Document, safety: &Safety) {
    let Safety { leases, lease, logins, shortest_ipv4, shortest_ipv6 } = safety;
    file.section("safety");
    file.key(
        "Whether addresses from which somebody is logged in (utmp, ssh) are on the allowlist meanwhile.",
        "leases",
        &leases.to_string(),
    );
    file.key("For how long after he was last seen logged in, \"1m\" to \"1d\".", "lease", &quoted_duration(*lease));
    let helper = match logins {
        Watcher::Here => String::new(),
        Watcher::Helper(socket) => socket.to_string_lossy().into_owned(),
    };
    file.key(
        "The socket of `scanguard logins serve`, a process that may see who is logged in where the daemon itself may not\n\
         (that takes root, or CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH). \"\": the daemon looks itself.",
        "logins",
        &quoted(&helper),
    );
    file.key(
        "The shortest IPv4 prefix that `scanguard block add` takes without --force, 0 to 32.",
        "shortest_ipv4",
        &shortest_ipv4.to_string(),
    );
    file.key("The same for IPv6, 0 to 128.", "shortest_ipv6", &shortest_ipv6.to_string());
}

fn blocks(file: &mut Document, blocks: &Blocks) {
    let Blocks {
        max_auto_level,
        unproven,
        first,
        factor,
        longest,
        recurrence,
        per_minute,
        most,
        most_harmed,
        question,
    } = blocks;
    file.section("block");
    file.comment("Automatic blocks. Those of `scanguard block` are the operator's own affair.");
    file.opened = false;
    file.key(
        "How far it may go without a person:\n\
         \"conceal\"        hide what is not for customers from suspects, and nothing more\n\
         \"block private\"  block proven scanners from all but public ports\n\
         \"block all\"      block who has proven to do harm from public ports too; without this a person is asked\n\
                         (`scanguard pending`)",
        "max_auto_level",
        &quoted(max_auto_level.label()),
    );
    file.key(
        "Whether a score that reached `block_a` of [score] is enough for a block of private ports without proof. Whoever\n\
         forges ten packets can then have any address blocked from ports that are not public.",
        "unproven",
        &unproven.to_string(),
    );
    file.key("How long the first block of a source lasts, \"1m\" to `longest`.", "first", &quoted_duration(*first));
    file.key(
        "How many times as long as the one before each further one lasts, 1 to 100.",
        "factor",
        &factor.to_string(),
    );
    file.key("How long one lasts at most, up to \"7d\".", "longest", &quoted_duration(*longest));
    file.key(
        "For how long after its end a block makes the next one longer, \"1h\" to \"90d\".",
        "recurrence",
        &quoted_duration(*recurrence),
    );
    file.key(
        "New blocks in a minute, counted per /24 and /48, 0 to 100000. What is over stays concealed.",
        "per_minute",
        &per_minute.to_string(),
    );
    file.key("Blocks at once, counted in the same way, 0 to 100000.", "most", &most.to_string());
    file.key(
        "People that a block of public ports may be taken to harm, beside the scanner, without a person being asked: customers\n\
         behind the address, by sessions, days, other machines' sessions, and `shared` of [sources]. 0 to 1000000.",
        "most_harmed",
        &most_harmed.to_string(),
    );
    file.key(
        "How long a question waits for a person, \"1m\" to \"30d\". Then it ends in the source's favour.",
        "question",
        &quoted_duration(*question),
    );
}

fn signals(file: &mut Document, signals: SignalLimits) {
    let SignalLimits { per_minute, per_source } = signals;
    file.section("signals");
    file.key(
        "Signals (`scanguard signal`) that are heard within a minute, 1 to 100000. Those beyond are refused with exit\n\
         code 4 and not written down, so that a log tool gone wild does not fill the audit. Room comes back evenly.",
        "per_minute",
        &per_minute.to_string(),
    );
    file.key("The same about one source.", "per_source", &per_source.to_string());
}

fn log(file: &mut Document, log: &Log) {
    let Log { format, level, frames } = log;
    file.section("log");
    file.key(
        "\"text\" for people, \"json\" for programs. Both go to standard error.",
        "format",
        &quoted(format.label()),
    );
    file.key(
        "\"error\", \"warn\", \"info\", \"debug\" (each first contact) or \"trace\".",
        "level",
        &quoted(level.label()),
    );
    file.key(
        "Log every frame the kernel part sees, at level \"debug\". For developers: it costs microseconds a frame.",
        "frames",
        &frames.to_string(),
    );
}
