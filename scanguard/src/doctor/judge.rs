//! What was found, judged: pure.

use std::collections::BTreeMap;
use std::net::IpAddr;

use scanguard_common::class::Protocol;

use super::report::{Check, Exposed, InterfaceReport, Memory, Report, State, You};
use super::seen::{Beside, Caller, Daemon, Interface, Loading, Open, Seen, Xdp};
use crate::api::SCHEMA_VERSION;
use crate::config::PortList;
use crate::config::shipped::RESTRICTED;
use crate::kernel::AttachMode;
use crate::kernel::preflight::Missing;
use crate::logins::How;
use crate::net::NativeXdp;

/// The one service of administration that is meant to be reached from elsewhere.
const SSH: u16 = 22;

/// Services that nobody means to offer to strangers, by the first letters of their programs' names: they are told of on
/// whatever port.
const INTERNAL: [(&str, &str); 18] = [
    ("mysqld", "MySQL"),
    ("mariadbd", "MariaDB"),
    ("postgres", "PostgreSQL"),
    ("redis-server", "Redis"),
    ("valkey-server", "Valkey"),
    ("memcached", "memcached"),
    ("mongod", "MongoDB"),
    ("clickhouse", "ClickHouse"),
    ("influxd", "InfluxDB"),
    ("etcd", "etcd"),
    ("consul", "Consul"),
    ("dockerd", "Docker"),
    ("containerd", "containerd"),
    ("kubelet", "Kubernetes kubelet"),
    ("prometheus", "Prometheus"),
    ("node_exporter", "Prometheus node exporter"),
    ("grafana", "Grafana"),
    ("rpcbind", "ONC RPC portmapper"),
];

/// UDP services that answer forged questions with more than was asked, at whoever's expense (US-CERT TA14-017A), or
/// that are for one's own network.
const AMPLIFIERS: [(u16, &str); 11] = [
    (19, "chargen"),
    (69, "TFTP"),
    (111, "ONC RPC portmapper"),
    (137, "NetBIOS names"),
    (161, "SNMP"),
    (389, "CLDAP"),
    (623, "IPMI"),
    (1900, "SSDP"),
    (3702, "WS-Discovery"),
    (5353, "mDNS"),
    (11211, "memcached"),
];

/// UDP ports from here on belong to programs that asked something, and are listed only where they are known for a
/// service.
const EPHEMERAL: u16 = 32_768;

/// Part of the available memory from which on the tables are a burden.
const MUCH: u64 = 2;

/// Judges everything.
#[must_use]
pub fn judge(seen: &Seen) -> Report {
    let mut checks = vec![kernel(seen), rights(&seen.rights_lack)];
    checks.extend(seen.daemon.as_ref().map(daemon));
    checks.extend(egress(seen.tcx));
    checks.extend(sessions(seen));
    checks.extend(pins(seen));
    checks.extend(seen.no_interface.as_ref().map(|why| no_interface(why)));
    checks.extend(seen.interfaces.iter().flat_map(|interface| of_interface(interface, seen)));
    checks.extend(beside(&seen.beside));
    checks.push(you(seen.caller.as_ref()));
    let exposed = exposed(&seen.open, seen);
    checks.push(reachable(&exposed));
    let not_meant = exposed.iter().filter(|port| !names(&seen.ports.public, &port.proto, port.port));
    checks.extend(not_meant.filter_map(unintended));
    checks.push(clock(seen.clock));
    checks.push(memory(seen));
    let state = checks.iter().map(|check| check.state).max().unwrap_or(State::Ok);
    let you = match &seen.caller {
        None => You { address: None, safe: true, how: "no session from elsewhere is known".to_owned() },
        Some(Caller { address, how, safety }) => You {
            address: Some(address.to_string()),
            safe: safety.is_some(),
            how: safety.clone().unwrap_or_else(|| format!("nothing keeps it; found by {}", known_by(*how))),
        },
    };
    Report {
        schema_version: SCHEMA_VERSION,
        state,
        checks,
        interfaces: seen.interfaces.iter().map(report).collect(),
        you,
        exposed,
        memory: Memory { kernel_bytes: kernel_bytes(&seen.loading), daemon_bytes: seen.daemon_bytes },
    }
}

fn check(name: &str, state: State, message: impl Into<String>, meaning: &str, hint: impl Into<String>) -> Check {
    Check { name: name.to_owned(), state, message: message.into(), meaning: meaning.to_owned(), hint: hint.into() }
}

/// Each thing once, in one sentence, and what to do about all of them.
fn lacks(missing: &[Missing]) -> (String, String) {
    let whats: Vec<&str> = missing.iter().map(|missing| missing.what.as_str()).collect();
    let mut fixes: Vec<&str> = missing.iter().map(|missing| missing.fix.as_str()).collect();
    fixes.dedup();
    (whats.join("; "), sentence(&fixes.join("; ")))
}

/// A part of a sentence as a whole one.
fn sentence(part: &str) -> String {
    let mut letters = part.chars();
    letters.next().map_or_else(String::new, |first| format!("{}{}.", first.to_uppercase(), letters.as_str()))
}

fn kernel(seen: &Seen) -> Check {
    let release = &seen.kernel;
    if !seen.kernel_lacks.is_empty() {
        let (what, fix) = lacks(&seen.kernel_lacks);
        let message = format!("Linux {release}: {what}.");
        return check("kernel", State::Fail, message, "scanguard cannot run on this kernel.", fix);
    }
    match &seen.loading {
        Loading::Done(loaded) => check(
            "kernel",
            State::Ok,
            format!(
                "Linux {release} takes the kernel part: loaded and verified in {:.1} s, attached to nothing, let go \
                 of.",
                loaded.took.as_secs_f64()
            ),
            "",
            "",
        ),
        Loading::Running(_) => check("kernel", State::Ok, format!("Linux {release} runs the kernel part."), "", ""),
        Loading::Refused(why) => check(
            "kernel",
            State::Fail,
            format!("Linux {release} refuses the kernel part: {why}."),
            "scanguard cannot run on this kernel.",
            "docs/compatibility.md says what needs which kernel. If this one should do, report what it said.",
        ),
        Loading::NotTried(why) => check(
            "kernel",
            State::Hint,
            format!("Linux {release} is new enough; whether it takes the kernel part was not tried: {why}."),
            "",
            "`sudo scanguard doctor` tries it.",
        ),
    }
}

fn rights(missing: &[Missing]) -> Check {
    if missing.is_empty() {
        return check("rights", State::Ok, "The rights to load and attach programs are there.", "", "");
    }
    let (what, fix) = lacks(missing);
    check("rights", State::Fail, sentence(&what), "As this user scanguard cannot run.", fix)
}

fn daemon(daemon: &Daemon) -> Check {
    let Daemon { mode, well, warnings, guards } = daemon;
    let guards = if guards.is_empty() { "nothing".to_owned() } else { guards.join(", ") };
    let message = format!("A daemon guards {guards}, mode {mode}.");
    match (well, warnings.len()) {
        (true, 0) => check("daemon", State::Ok, message, "", ""),
        (true, _) => check("daemon", State::Hint, message, &warnings.join(" "), "`scanguard status` says what to do."),
        (false, _) => check("daemon", State::Warn, message, &warnings.join(" "), "`scanguard status` says what to do."),
    }
}

fn egress(tcx: Option<bool>) -> Option<Check> {
    match tcx {
        Some(true) => Some(check("egress", State::Ok, "What leaves can be seen: the kernel has TCX.", "", "")),
        Some(false) => Some(check(
            "egress",
            State::Hint,
            "The kernel has no TCX (Linux 6.6).",
            "What leaves is seen by a filter of clsact instead. It is replaced, not handed over, when a daemon \
             starts anew.",
            "Nothing, where the module sch_ingress is there: `modinfo sch_ingress`.",
        )),
        None => None,
    }
}

fn sessions(seen: &Seen) -> Option<Check> {
    if seen.cgroup.is_some() {
        return None;
    }
    Some(check(
        "sessions",
        State::Warn,
        "No hierarchy of control groups of version 2 is mounted.",
        "TCP sessions are not counted, so that nobody becomes known by them.",
        "`mount -t cgroup2 none /sys/fs/cgroup/unified`, or name a group in `cgroup` of the configuration.",
    ))
}

fn pins(seen: &Seen) -> Option<Check> {
    match &seen.pins {
        Some((folder, false)) => Some(check(
            "pins",
            State::Warn,
            format!("There is no BPF file system at {}.", folder.display()),
            "With `keep` the kernel part is pinned there; without it nothing can outlive the daemon, and it does not \
             start.",
            "`mount -t bpf bpf /sys/fs/bpf`, or `keep = false`.",
        )),
        _ => None,
    }
}

fn no_interface(why: &str) -> Check {
    check(
        "interfaces",
        State::Fail,
        format!("There is no interface to guard: {why}."),
        "scanguard guards what it is told to, and nothing else.",
        "Name one: `scanguard doctor -i eth0`, or `interfaces` in the configuration.",
    )
}

fn of_interface(interface: &Interface, seen: &Seen) -> Vec<Check> {
    let Interface { name, xdp, others, .. } = interface;
    let mut checks = Vec::new();
    match xdp {
        Some(Xdp { name: program, removal, is_ours: false, mode }) => checks.push(check(
            name,
            State::Fail,
            format!("Another XDP program, {program} (id {}), runs on {name} ({}).", removal.program_id, mode.label()),
            "An interface takes one XDP program, and scanguard replaces none of others: it does not start here (exit \
             code 77).",
            format!("Stop whatever loaded it, or take it away: {removal}."),
        )),
        Some(Xdp { mode, .. }) => checks.push(check(
            name,
            State::Ok,
            format!("{} scanguard runs on it, {}.", description(interface), mode.label()),
            "",
            "",
        )),
        None => checks.push(free(interface, seen)),
    }
    if !others.is_empty() {
        checks.push(check(
            name,
            State::Hint,
            format!("Other programs hang on {name}: {}.", others.join(", ")),
            "They see what scanguard lets in, and on the way out come after it. What one of them answers or redirects \
             is not seen leaving.",
            "Nothing, as long as you know whose they are: `bpftool net show` tells more.",
        ));
    }
    checks
}

/// What it is: driver and queues.
fn description(interface: &Interface) -> String {
    let Interface { is_veth, nic, .. } = interface;
    let driver = match (&nic.driver, is_veth) {
        (Some(driver), _) => format!("Driver {driver}"),
        (None, true) => "An end of a veth pair".to_owned(),
        (None, false) => "No device of its own".to_owned(),
    };
    match nic.queues {
        Some(1) => format!("{driver}, 1 queue."),
        Some(queues) => format!("{driver}, {queues} queues."),
        None => format!("{driver}."),
    }
}

/// An interface without an XDP program.
fn free(interface: &Interface, seen: &Seen) -> Check {
    let Interface { name, is_veth, nic, .. } = interface;
    let what = description(interface);
    let in_the_stack = "Programs run in the stack (generic), which costs more for each packet and works everywhere.";
    let hint = match (seen.attach, nic.native) {
        (AttachMode::Native, NativeXdp::No) => {
            return check(
                name,
                State::Fail,
                format!("{what} Its driver does not run XDP programs."),
                "`attach = \"native\"` asks for what it cannot do: scanguard does not start.",
                "Set `attach = \"auto\"` or \"generic\".",
            );
        }
        (AttachMode::Generic, _) => return check(name, State::Ok, what, in_the_stack, ""),
        (_, NativeXdp::No) => {
            return check(name, State::Ok, format!("{what} Its driver does not run XDP programs."), in_the_stack, "");
        }
        (AttachMode::Auto, _) if *is_veth => return check(name, State::Ok, what, in_the_stack, ""),
        (_, NativeXdp::Unknown) => {
            let meaning = "Whether its driver runs XDP programs shows when one is attached: the kernel does not tell \
                           before Linux 6.3. Attaching to a driver can take a card down for seconds.";
            return check(name, State::Hint, what, meaning, generic_first(name));
        }
        (_, NativeXdp::OneBuffer) => format!(
            "With an MTU above some 3,500 bytes it refuses, and the stack runs the program. {}",
            generic_first(name)
        ),
        (_, NativeXdp::Yes) => generic_first(name),
    };
    let few = nic.driver.as_deref() == Some("virtio_net") && nic.queues.is_some_and(|queues| queues < seen.cpus);
    let meaning = if few {
        "The program can run in its driver, before the stack is asked. virtio_net wants two queues for each CPU for \
         that, and has few: give the machine more, or the stack runs it. Attaching can take a card down for seconds."
    } else {
        "The program can run in its driver, before the stack is asked. Attaching can take a card down for seconds."
    };
    check(name, State::Hint, format!("{what} Its driver runs XDP programs."), meaning, hint)
}

fn generic_first(name: &str) -> String {
    format!("Where {name} is your only way in, begin with `attach = \"generic\"`.")
}

fn beside(beside: &Beside) -> Vec<Check> {
    let Beside { nft, legacy, running } = beside;
    let runs = |name: &str| running.iter().any(|running| running == name);
    let has_table = |name: &str| nft.iter().any(|(_, table)| table == name);
    let mut checks = Vec::new();
    if !nft.is_empty() {
        let tables: Vec<String> = nft.iter().map(|(family, name)| format!("{family} {name}")).collect();
        checks.push(check(
            "nftables",
            State::Ok,
            format!("nftables has tables: {}.", tables.join(", ")),
            "scanguard comes first: what it drops reaches no rule, and their counters do not show it. What they drop \
             it has judged before.",
            "",
        ));
    }
    if !legacy.is_empty() {
        checks.push(check(
            "iptables",
            State::Ok,
            format!("iptables (legacy) has tables: {}.", legacy.join(", ")),
            "scanguard comes first: what it drops reaches no rule, and their counters do not show it.",
            "",
        ));
    }
    if runs("firewalld") || has_table("firewalld") {
        let meaning = "Its zones come after scanguard. A port that it closes counts as open for scanguard where \
                       something listens on it.";
        checks.push(check("firewalld", State::Ok, "firewalld is at work.", meaning, ""));
    }
    if runs("dockerd") || runs("podman") {
        checks.push(check(
            "containers",
            State::Hint,
            format!("{} runs.", if runs("dockerd") { "Docker" } else { "Podman" }),
            "Published ports are forwarded and have no listener here. They are learnt from what they answer, in the \
             first 24 hours, in which no port counts as closed.",
            "Let it observe for a day before you enforce, or name the ports in `public` and `restricted` of [ports].",
        ));
    }
    if runs("fail2ban-server") || has_table("f2b-table") {
        checks.push(check(
            "fail2ban",
            State::Hint,
            "fail2ban runs.",
            "The two go together: it bans whom a log shows, scanguard hides ports from who scans. Neither undoes the \
             other's blocks.",
            "Have it tell scanguard whom it bans: docs/operations.md, \"Signals of log tools\", has the action.",
        ));
    }
    if runs("crowdsec") {
        checks.push(check("crowdsec", State::Ok, "CrowdSec runs.", "Its bouncer comes after scanguard.", ""));
    }
    checks
}

const fn known_by(how: How) -> &'static str {
    match how {
        How::Environment => "the environment of your session",
        How::Ssh => "an ssh connection",
        How::Utmp => "the list of logins",
    }
}

fn you(caller: Option<&Caller>) -> Check {
    let Some(Caller { address, how, safety }) = caller else {
        let message =
            "No session of yours from elsewhere is known: you are at the console, or come by a way that is not seen.";
        let meaning = "Nobody is locked out from the console. Not seen: mosh, consoles of hypervisors, jump hosts \
                       without a terminal.";
        return check("you", State::Ok, message, meaning, "");
    };
    let message = format!("You come from {address} (by {}).", known_by(*how));
    match safety {
        Some(safety) => check("you", State::Ok, message, &format!("Nothing is hidden from there: {safety}."), ""),
        None => check(
            "you",
            State::Warn,
            message,
            "Nothing keeps that address: should somebody there scan, or forge a scan in its name, ports that are not \
             public are hidden from it, ssh among them.",
            format!("`scanguard allow add {address} --comment me`, or `allow` in the configuration."),
        ),
    }
}

/// What others reach, one entry for each port and program.
fn exposed(open: &[Open], seen: &Seen) -> Vec<Exposed> {
    let mut found: BTreeMap<(&str, u16, Option<&str>), Vec<IpAddr>> = BTreeMap::new();
    for Open { protocol, port, address, program } in open {
        if *protocol == Protocol::Udp && *port >= EPHEMERAL {
            continue;
        }
        found.entry((protocol.label(), *port, program.as_deref())).or_default().push(*address);
    }
    let is_restricted = |proto: &str, port| {
        let lists = [&seen.ports.restricted, &seen.ports.restricted_if_open];
        lists.iter().any(|list| names(list, proto, port))
    };
    let exposed = found.into_iter().map(|((proto, port, program), mut addresses)| {
        addresses.sort_unstable();
        addresses.dedup();
        Exposed {
            proto: proto.to_owned(),
            port,
            class: if is_restricted(proto, port) { "restricted" } else { "public" }.to_owned(),
            program: program.map(str::to_owned),
            addresses: addresses.iter().map(IpAddr::to_string).collect(),
        }
    });
    exposed.collect()
}

/// Whether a list names a port.
fn names(list: &PortList, proto: &str, port: u16) -> bool {
    list.iter().any(|(protocol, one)| (protocol.label(), one) == (proto, port))
}

fn reachable(exposed: &[Exposed]) -> Check {
    if exposed.is_empty() {
        return check("ports", State::Ok, "Nothing listens to the outside.", "", "");
    }
    let ports: Vec<String> = exposed.iter().map(named).collect();
    check(
        "ports",
        State::Ok,
        format!("Others reach, unless a firewall keeps them from it: {}.", ports.join(", ")),
        "",
        "",
    )
}

/// A port and whose it is.
fn named(Exposed { proto, port, program, .. }: &Exposed) -> String {
    match program {
        Some(program) => format!("{port}/{proto} ({program})"),
        None => format!("{port}/{proto}"),
    }
}

/// A service that looks as if it should not be reached by everybody.
fn unintended(exposed: &Exposed) -> Option<Check> {
    let Exposed { proto, port, program, addresses, .. } = exposed;
    let by_program = || {
        let program = program.as_deref()?;
        INTERNAL.iter().find(|(name, _)| program.starts_with(name)).map(|(_, service)| *service)
    };
    let known = |list: &[(u16, &'static str)]| list.iter().find(|(number, _)| number == port).map(|(_, name)| *name);
    let service = match proto.as_str() {
        "tcp" if *port == SSH => None,
        "tcp" => by_program().or_else(|| known(RESTRICTED)),
        _ => known(&AMPLIFIERS),
    }?;
    let addresses: Vec<IpAddr> = addresses.iter().filter_map(|address| address.parse().ok()).collect();
    let everywhere = addresses.iter().any(|address| !is_private(*address));
    let places: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    let message = format!("{} looks like {service}, and listens on {}.", named(exposed), places.join(", "));
    let name = format!("port-{port}-{proto}");
    Some(if everywhere {
        check(
            &name,
            State::Warn,
            message,
            "Whoever asks for it gets an answer until he is a suspect, and scanners ask for it first. A firewall may \
             be in between; that is not looked at.",
            "Have it listen on 127.0.0.1 or a private address, or keep strangers from it by a firewall. If it is \
             meant for everybody, name the port in `public` of [ports].",
        )
    } else {
        check(&name, State::Hint, message, "Only private addresses: whoever is in that network reaches it.", "")
    })
}

fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_private() || address.is_link_local(),
        IpAddr::V6(address) => address.is_unique_local() || address.is_unicast_link_local(),
    }
}

fn clock(synchronised: Option<bool>) -> Check {
    match synchronised {
        Some(true) => check("clock", State::Ok, "The clock is synchronised.", "", ""),
        Some(false) => check(
            "clock",
            State::Hint,
            "Nobody keeps the clock right.",
            "Blocks and enforcing end on time all the same (by the kernel's own clock), but the audit, incidents and \
             the log tell wrong times, and ends that outlast a restart are off by as much.",
            "`timedatectl set-ntp true`, or install chrony.",
        ),
        None => check("clock", State::Hint, "Whether the clock is synchronised the kernel does not tell.", "", ""),
    }
}

const fn kernel_bytes(loading: &Loading) -> Option<u64> {
    match loading {
        Loading::Done(loaded) => Some(loaded.bytes),
        Loading::Running(bytes) => *bytes,
        Loading::Refused(_) | Loading::NotTried(_) => None,
    }
}

fn memory(seen: &Seen) -> Check {
    let mib = |bytes: u64| format!("{} MiB", bytes.div_ceil(1 << 20));
    let Some(kernel) = kernel_bytes(&seen.loading) else {
        return check("memory", State::Hint, "What the tables take was not measured.", "", "");
    };
    let own = seen.daemon_bytes.map_or_else(String::new, |bytes| format!(", the daemon {}", mib(bytes)));
    let left = seen.available_bytes.map_or_else(String::new, |bytes| format!("; {} are available", mib(bytes)));
    let message = format!("Tables and programs take {} of kernel memory{own}{left}.", mib(kernel));
    let is_running = matches!(seen.loading, Loading::Running(_));
    if !is_running && seen.available_bytes.is_some_and(|available| kernel > available / MUCH) {
        return check(
            "memory",
            State::Warn,
            message,
            "It is allocated at the start, all at once, and more than half of what this host has left.",
            "Lower `max_sources` in [sources].",
        );
    }
    check("memory", State::Ok, message, "", "")
}

fn report(interface: &Interface) -> InterfaceReport {
    let Interface { name, nic, xdp, others, .. } = interface;
    let ours = xdp.as_ref().filter(|xdp| xdp.is_ours);
    let foreign = xdp.as_ref().filter(|xdp| !xdp.is_ours).map(|xdp| format!("xdp: {}", xdp.name));
    InterfaceReport {
        name: name.clone(),
        driver: nic.driver.clone().or_else(|| interface.is_veth.then(|| "veth".to_owned())),
        queues: nic.queues,
        native: nic.native.label().to_owned(),
        mode: ours.map_or("none", |xdp| xdp.mode.label()).to_owned(),
        others: foreign.into_iter().chain(others.iter().cloned()).collect(),
    }
}
