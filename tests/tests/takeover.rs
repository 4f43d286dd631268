//! What stays in the kernel when the daemon ends, what it does there alone, and how the next daemon takes it over.
//!
//! Needs root; run by `cargo xtask test`, which builds the programs first.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use rustix::process::Signal;
use scanguard::kernel::pins;
use scanguard_common::config::{HEARTBEAT_LIMIT_NS, KernelConfig};
use scanguard_common::layout::LAYOUT;
use scanguard_common::reason::Mode;
use scanguard_tests::binary_beside_tests;
use scanguard_tests::daemon::{LIMIT, done, wait_for};
use scanguard_tests::lab::defender::{Daemon, Defender, left_attached};
use scanguard_tests::lab::netns::Netns;
use scanguard_tests::lab::pinned::Pinned;
use scanguard_tests::lab::plan::{EDGE, SCANNER, UPLINK, is_edge, peer};
use scanguard_tests::lab::process::{Finished, Running};
use scanguard_tests::lab::report::Verdict;
use scanguard_tests::lab::scenario::kill;
use scanguard_tests::lab::services::{Kind, Service};
use scanguard_tests::lab::tools::Tool;
use scanguard_tests::lab::wire::{Capture, Seen, What, answers};
use scanguard_tests::lab::{Lab, Setup, sandbox};
use serde_json::{Value, json};
use zerocopy::{FromBytes as _, IntoBytes as _};

const KEEP: &[&str] = &["--keep"];
const ENFORCE: &str = "mode = \"enforce\"\n";
const OBSERVE: &str = "mode = \"observe\"\n";
/// A port that is closed on the edge.
const CLOSED: u16 = 7;
const PUBLIC: u16 = 80;
/// What a wall clock may be slewed against the kernel part's in the seconds that something lasts here (500 ppm), and the
/// milliseconds that JSON leaves out.
const SLEWED: Duration = Duration::from_millis(10);
/// By how much later than told something may end: more than that is a clock that was set.
const LATE: Duration = Duration::from_secs(2);

fn lab() -> Lab {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    Lab::build(1).expect("the lab")
}

fn start(lab: &Lab, config: &str, options: &[&str]) -> Daemon {
    Daemon::start_with(&lab.edge, &binary_beside_tests(), config, options).expect("the daemon")
}

/// Starts a daemon that does not get far.
fn refused(lab: &Lab, options: &[&str]) -> Finished {
    let mut command = lab.edge.command(binary_beside_tests());
    command.arg("run").args(options);
    Running::start(command).expect("the program").wait(LIMIT).expect("an end")
}

fn ask(daemon: &Daemon, path: &str, body: &Value) -> Value {
    daemon.ask(path, Some(body)).expect("an answer")
}

fn see(daemon: &Daemon, path: &str) -> Value {
    daemon.ask(path, None).expect("an answer")
}

/// The closed ports of the edge, of these, that answered a scan by nmap from an address of a host.
fn closed_answered(host: &Netns, from: Ipv4Addr, ports: &str) -> BTreeSet<u16> {
    let capture = Capture::start(host, UPLINK, &format!("host {from}")).expect("a recording");
    let (from, edge) = (from.to_string(), EDGE.to_string());
    let speed = ["--max-retries", "0", "--max-rtt-timeout", "100ms", "--min-rate", "300"];
    let scan = [&["-n", "-Pn", "-r", "-T4", "-sS", "-e", UPLINK, "-S", &from, "-p", ports], &speed[..], &[&edge]];
    Tool::Nmap.run(host, scan.concat(), LIMIT).expect("nmap").success("nmap").expect("a scan");
    let packets = capture.stop().expect("a recording").packets().expect("packets");
    answers(&packets).closed.into_iter().map(|(_, _, port)| port).collect()
}

/// A SYN to the same port of the edge, 20 times a second.
fn knock(host: &Netns, from: Ipv4Addr, port: u16, seconds: u32) -> Running {
    let (from, port, count) = (from.to_string(), port.to_string(), (20 * seconds).to_string());
    let mut command = Tool::Hping3.command(host).expect("hping3");
    command.args(["-n", "-q", "-I", UPLINK, "-S", "-a", &from, "-i", "u50000", "-p", &port, "-c", &count]);
    command.arg(EDGE.to_string());
    Running::start(command).expect("hping3")
}

/// A SYN: when it was sent, and when the edge answered it, in whatever way.
#[derive(Debug)]
struct Knock {
    sent: Duration,
    answered: Option<Duration>,
}

/// The SYNs of an address, each from a port of its own.
fn knocks(packets: &[Seen], from: Ipv4Addr) -> Vec<Knock> {
    let segments =
        |packet: &Seen| if let What::Tcp(segment) = packet.what { Some((packet.clone(), segment)) } else { None };
    let mut answered = BTreeMap::new();
    for (packet, segment) in packets.iter().filter_map(segments) {
        if is_edge(packet.source) && packet.destination == IpAddr::from(from) {
            answered.entry(segment.destination_port).or_insert(packet.at);
        }
    }
    packets
        .iter()
        .filter_map(segments)
        .filter(|(packet, segment)| packet.source == IpAddr::from(from) && segment.syn && !segment.ack)
        .map(|(packet, segment)| Knock { sent: packet.at, answered: answered.get(&segment.source_port).copied() })
        .collect()
}

/// No answer came before a moment, and from the first one on everything is answered. How long a packet is under way matters
/// to neither: what is sent after an answer comes to the edge after what was answered.
fn assert_turns_at(knocks: &[Knock], moment: Duration) {
    let sent = |when: &dyn Fn(Duration) -> bool| knocks.iter().filter(|knock| when(knock.sent)).count();
    let (early, late) = (sent(&|at| at < moment), sent(&|at| at > moment + LATE));
    assert!(early >= 20 && late >= 20, "knocks are on both sides of {moment:?}: {knocks:?}");
    let first = knocks.iter().filter_map(|knock| knock.answered).min().expect("an answer");
    assert!(first + SLEWED >= moment, "answered at {first:?}, before {moment:?}: {knocks:?}");
    let is_turned = |at: Duration| at > first || at > moment + LATE;
    let turned = knocks.iter().filter(|knock| is_turned(knock.sent));
    assert!(turned.clone().count() >= 20, "{knocks:?}");
    turned.for_each(|knock| assert!(knock.answered.is_some(), "{knock:?} is not answered after {first:?}"));
}

/// A time in JSON, as recordings have it.
fn moment(value: &Value) -> Duration {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is no time"));
    humantime::parse_rfc3339(text).expect("a time").duration_since(UNIX_EPOCH).expect("a time after 1970")
}

fn verdict_on(daemon: &Daemon, source: Ipv4Addr) -> Option<Verdict> {
    let judgement = daemon.judgement().expect("an answer");
    judgement.verdicts.into_iter().find(|verdict| verdict.source == source.to_string())
}

/// Makes the scanner a suspect.
fn scan(lab: &Lab, daemon: &Daemon) {
    let answered = closed_answered(&lab.scanner, SCANNER, "1-20");
    assert!(!answered.is_empty(), "nobody suspects the first probes");
    wait_for("the scanner to be a suspect", || verdict_on(daemon, SCANNER).is_some());
}

/// Whether the scanner is kept from closed ports.
fn is_hidden(lab: &Lab) -> bool {
    closed_answered(&lab.scanner, SCANNER, "30-49").is_empty()
}

fn left(lab: &Lab) -> Vec<String> {
    left_attached(&lab.edge).expect("a list")
}

/// Nothing is pinned, and no program runs. (No link without a pin outlives the process that holds it.)
fn assert_nothing_left(lab: &Lab) {
    let pins: Vec<String> = left(lab).into_iter().filter(|left| left.contains("pin")).collect();
    assert_eq!(pins, Vec::<String>::new());
    // The kernel lets go of a link without a pin a moment later.
    wait_for("the program to be gone", || left(lab).is_empty());
}

fn version() -> PathBuf {
    Path::new(pins::DEFAULT_FOLDER).join(format!("v{LAYOUT}"))
}

/// The program is on the uplink, its link and its maps are pinned.
fn assert_kept(lab: &Lab) {
    let left = left(lab);
    assert!(left.iter().any(|left| left.contains("an XDP program")), "{left:?}");
    for part in ["maps/CONFIG", "maps/SOURCES", "maps/VERDICTS", "links/"] {
        let path = version().join(part).display().to_string();
        assert!(left.iter().any(|left| left.contains(&path)), "{path} is not pinned: {left:?}");
    }
}

/// A daemon with `--keep` that knows a suspect and was killed.
fn abandoned(lab: &Lab) {
    let daemon = start(lab, ENFORCE, KEEP);
    scan(lab, &daemon);
    daemon.end(Signal::KILL).expect("an end");
    assert_kept(lab);
}

/// Makes the kernel part last have heard of its daemon so long ago that nobody becomes a suspect any more.
fn last_heard_of_long_ago(lab: &Lab) {
    let settings = Pinned::named(&lab.edge, "CONFIG");
    let entries = settings.entries().expect("the settings");
    let (key, value) = entries.first_key_value().expect("the settings");
    let mut config = KernelConfig::read_from_bytes(value).expect("settings of this layout");
    config.heartbeat_ns = config.heartbeat_ns.checked_sub(HEARTBEAT_LIMIT_NS).expect("a host that is up for a minute");
    settings.update(key, config.as_bytes()).expect("settings");
}

#[test]
fn a_scan_and_customers_notice_nothing_of_a_daemon_that_is_killed_and_replaced() {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let setup = Setup {
        defender: Defender::Scanguard,
        scanguard: binary_beside_tests(),
        mode: Mode::Enforce,
        captures: None,
        full: false,
    };
    let outage = kill(&setup).expect("a run");
    let report = &outage.report;
    assert_eq!((report.customers.failures, report.customers.established_broken), (0, 0), "{report}");
    assert!(report.customers.requests >= 500 && report.customers.established >= 4, "{report}");
    assert_eq!(report.rows.len(), 5, "{report}");
    for row in &report.rows[1..] {
        assert!(row.scanner.probes_sent > 20, "{row}");
        assert_eq!((row.scanner.closed_answered, row.scanner.challenged), (0, 0), "{row}");
    }
    assert_eq!(outage.answers_to_suspect, 0, "{report}");
    // Not one frame passed uncounted, those without IP (ARP) and neighbour discovery (ICMPv6) included; what is neither is TCP.
    let passed = outage.passed.expect("counts");
    let count = |reason: &str| passed.counted.get(reason).copied().expect("a reason");
    let total: u64 = passed.counted.values().sum();
    assert_eq!(total, passed.sent, "{passed:?}");
    assert_eq!(total - count("not_ip") - count("icmp_message"), outage.segments, "{passed:?}");
    assert_eq!(report.counted.as_ref(), Some(&report.wire), "{report}");
    // What was hidden from the scanner is all that it sent, but for its first answered probes.
    let hidden = count("hidden_closed") + count("hidden_restricted") + count("hidden_canary");
    assert_eq!(hidden + report.scanner.closed_answered, report.wire.of(&SCANNER.to_string()), "{report}");
}

#[test]
fn without_a_daemon_nobody_new_is_suspected_and_what_was_decided_holds_and_ends_on_time() {
    let lab = lab();
    let _service = Service::start(&lab.edge, PUBLIC, Kind::Http).expect("a service");
    // Of other networks than the scanner: that one is known for scans.
    let [fresh, blocked] = [7, 8].map(peer);
    let daemon = start(&lab, ENFORCE, KEEP);
    scan(&lab, &daemon);
    let capture = Capture::start(&lab.customers, UPLINK, &format!("host {blocked}")).expect("a recording");
    let block = json!({"prefix": blocked.to_string(), "scope": "all", "for_s": 6});
    let block = ask(&daemon, "/v1/block", &block);
    let knocking = knock(&lab.customers, blocked, PUBLIC, 10);
    daemon.end(Signal::KILL).expect("an end");
    knocking.wait(LIMIT).expect("an end of hping3");
    let packets = capture.stop().expect("a recording").packets().expect("packets");
    assert_turns_at(&knocks(&packets, blocked), moment(&block["entry"]["expires"]));
    assert!(is_hidden(&lab), "the suspect is one after the daemon's death");
    last_heard_of_long_ago(&lab);
    let closed: BTreeSet<u16> = (101..=140).collect();
    assert_eq!(closed_answered(&lab.customers, fresh, "101-140"), closed, "a new scanner is not suspected");
    assert!(is_hidden(&lab), "the suspect still is one");
    let daemon = start(&lab, ENFORCE, KEEP);
    assert_eq!(verdict_on(&daemon, SCANNER).map(|verdict| verdict.level).as_deref(), Some("conceal"));
    assert!(verdict_on(&daemon, fresh).is_none());
    let list = see(&daemon, "/v1/block");
    assert_eq!(list["entries"], json!([]), "the block that ended is not taken up again");
    daemon.stop().expect("a clean stop");
}

#[test]
fn enforcing_that_is_not_confirmed_ends_without_the_daemon_and_after_a_restart() {
    let lab = lab();
    let daemon = start(&lab, OBSERVE, KEEP);
    scan(&lab, &daemon);
    assert!(!is_hidden(&lab), "observing hides nothing");
    let set = ask(&daemon, "/v1/mode", &json!({"mode": "enforce", "confirm_s": 8}));
    let capture = Capture::start(&lab.scanner, UPLINK, &format!("host {SCANNER}")).expect("a recording");
    let knocking = knock(&lab.scanner, SCANNER, CLOSED, 13);
    daemon.end(Signal::KILL).expect("an end");
    let daemon = start(&lab, OBSERVE, KEEP);
    let mode = see(&daemon, "/v1/mode");
    assert_eq!((&mode["mode"], &mode["reverts_at"]), (&json!("enforce"), &set["reverts_at"]), "{mode}");
    daemon.end(Signal::KILL).expect("an end");
    knocking.wait(LIMIT).expect("an end of hping3");
    let packets = capture.stop().expect("a recording").packets().expect("packets");
    assert_turns_at(&knocks(&packets, SCANNER), moment(&set["reverts_at"]));

    let daemon = start(&lab, OBSERVE, KEEP);
    let mode = see(&daemon, "/v1/mode");
    assert_eq!((&mode["mode"], &mode["reverts_at"]), (&json!("observe"), &Value::Null), "{mode}");
    let set = ask(&daemon, "/v1/mode", &json!({"mode": "enforce", "confirm_s": 12}));
    daemon.end(Signal::TERM).expect("an end");
    let daemon = start(&lab, OBSERVE, KEEP);
    assert_eq!(see(&daemon, "/v1/mode")["reverts_at"], set["reverts_at"]);
    wait_for("the daemon to observe again", || see(&daemon, "/v1/mode")["mode"] == "observe");
    let now = UNIX_EPOCH.elapsed().expect("a time after 1970");
    assert!(now >= moment(&set["reverts_at"]), "it reverted at {now:?}: {set}");
    assert!(!is_hidden(&lab));
    daemon.stop().expect("a clean stop");
}

#[test]
fn blocks_and_allowlist_are_there_after_every_kind_of_restart_with_what_was_left_of_their_time() {
    let lab = lab();
    let _service = Service::start(&lab.edge, PUBLIC, Kind::Http).expect("a service");
    let blocked = peer(8);
    let mut daemon = start(&lab, ENFORCE, KEEP);
    ask(
        &daemon,
        "/v1/block",
        &json!({"prefix": blocked.to_string(), "scope": "all", "for_s": 600, "reason": "a test"}),
    );
    ask(&daemon, "/v1/block", &json!({"prefix": "198.18.200.0/24", "scope": "private", "for_s": null}));
    let allow = json!({"entries": [
        {"prefix": SCANNER.to_string(), "comment": "our own scanner", "for_s": 600},
        {"prefix": "2001:db8:77::/48"},
    ]});
    ask(&daemon, "/v1/allow", &allow);
    let lists = |daemon: &Daemon| ["/v1/block", "/v1/allow"].map(|path| see(daemon, path)["entries"].clone());
    let before = lists(&daemon);
    assert!(before.iter().all(|list| list.as_array().is_some_and(|list| list.len() == 2)), "{before:?}");
    for (signal, options) in
        [(Signal::KILL, KEEP), (Signal::TERM, &[][..]), (Signal::KILL, &[]), (Signal::TERM, KEEP), (Signal::TERM, KEEP)]
    {
        daemon.end(signal).expect("an end");
        daemon = start(&lab, ENFORCE, options);
        assert_eq!(lists(&daemon), before, "after {signal:?}, started with {options:?}");
    }
    let capture = Capture::start(&lab.customers, UPLINK, &format!("host {blocked}")).expect("a recording");
    knock(&lab.customers, blocked, PUBLIC, 1).wait(LIMIT).expect("an end of hping3");
    let packets = capture.stop().expect("a recording").packets().expect("packets");
    let knocks = knocks(&packets, blocked);
    assert!(!knocks.is_empty() && knocks.iter().all(|knock| knock.answered.is_none()), "{knocks:?}");
    assert_eq!(closed_answered(&lab.scanner, SCANNER, "1-20").len(), 20, "the allowlisted scanner is left alone");
    daemon.stop().expect("a clean stop");
}

#[test]
fn without_keep_nothing_stays_however_it_ends() {
    let lab = lab();
    for signal in [Signal::TERM, Signal::KILL] {
        start(&lab, ENFORCE, &[]).end(signal).expect("an end");
        assert_nothing_left(&lab);
        // The same for one that took over what another one kept.
        start(&lab, ENFORCE, KEEP).end(signal).expect("an end");
        assert_kept(&lab);
        start(&lab, ENFORCE, &[]).end(signal).expect("an end");
        assert_nothing_left(&lab);
    }
}

#[test]
fn a_start_that_fails_leaves_things_as_they_were() {
    let lab = lab();
    let attempts = [&["--keep", "-i", "nosuch0"][..], &["--keep", "-i", UPLINK, "-i", "nosuch0"]];
    for options in attempts {
        let failed = refused(&lab, options);
        assert_eq!(failed.status.code(), Some(2), "{failed:?}");
        assert!(failed.stderr.contains("nosuch0"), "{failed:?}");
        assert_nothing_left(&lab);
    }
    abandoned(&lab);
    for options in attempts.into_iter().chain([&["-i", "nosuch0"][..]]) {
        let failed = refused(&lab, options);
        assert_eq!(failed.status.code(), Some(2), "{failed:?}");
        assert_kept(&lab);
        // Its configuration, which only observes, is not in force.
        assert!(is_hidden(&lab), "{failed:?}");
    }
}

/// The link on the uplink by its number, which stays when its program is replaced, and the number of that program.
fn link_on_uplink(lab: &Lab) -> (Value, Value) {
    let told = |tool: Tool, words: &[&str]| -> Value {
        let told = tool.run(&lab.edge, words, LIMIT).expect("a tool").success("it").expect("an answer");
        serde_json::from_str(&told.stdout).expect("JSON")
    };
    let program = told(Tool::Ip, &["-j", "-d", "link", "show", "dev", UPLINK])[0]["xdp"]["prog"]["id"].clone();
    let links = told(Tool::Bpftool, &["-j", "link", "show"]);
    let mut links = links.as_array().expect("a list").iter();
    let link = links.find(|link| link["type"] == "xdp" && link["prog_id"] == program);
    (link.expect("a link on the uplink")["id"].clone(), program)
}

/// A version with another layout has its own number in the path, and its maps are of no use here.
#[test]
fn programs_of_another_layout_are_replaced_in_one_step_and_what_is_in_the_file_of_state_comes_back() {
    let lab = lab();
    let _service = Service::start(&lab.edge, PUBLIC, Kind::Http).expect("a service");
    let blocked = peer(8);
    for (former, options) in [("v0", KEEP), ("v999", KEEP), ("v999", &[][..])] {
        let daemon = start(&lab, OBSERVE, KEEP);
        ask(&daemon, "/v1/block", &json!({"prefix": blocked.to_string(), "scope": "all", "for_s": 600}));
        ask(&daemon, "/v1/allow", &json!({"entries": [{"prefix": "203.0.113.64/28", "for_s": 600}]}));
        done(&daemon, &["mode", "enforce"]);
        done(&daemon, &["known", "add", &peer(9).to_string()]);
        let kept = |daemon: &Daemon| {
            let lists = ["/v1/block", "/v1/allow"].map(|path| see(daemon, path)["entries"].clone());
            (lists, done(daemon, &["known", "list"])["entries"].clone(), done(daemon, &["status"])["mode"].clone())
        };
        let (before, link) = (kept(&daemon), link_on_uplink(&lab));
        daemon.end(Signal::KILL).expect("an end");
        let folder = Path::new(pins::DEFAULT_FOLDER);
        fs::rename(version(), folder.join(former)).expect("another name");

        // A start that fails changes nothing.
        let failed = refused(&lab, &["--keep", "-i", UPLINK, "-i", "nosuch0"]);
        assert_eq!(failed.status.code(), Some(2), "{failed:?}");
        assert_eq!(link_on_uplink(&lab), link);

        let capture = Capture::start(&lab.customers, UPLINK, &format!("host {blocked}")).expect("a recording");
        let knocking = knock(&lab.customers, blocked, PUBLIC, 6);
        let daemon = start(&lab, OBSERVE, options);
        knocking.wait(LIMIT).expect("an end of hping3");
        let knocks = knocks(&capture.stop().expect("a recording").packets().expect("packets"), blocked);
        assert!(knocks.len() > 60, "{knocks:?}");
        assert!(knocks.iter().all(|knock| knock.answered.is_none()), "{former}: nothing slipped through: {knocks:?}");
        let now = link_on_uplink(&lab);
        assert_eq!(now.0, link.0, "{former}: the link is the same");
        assert_ne!(now.1, link.1, "{former}: its program is another one");
        assert_eq!(kept(&daemon), before, "{former}");
        assert!(!folder.join(former).exists(), "{former}: what the other version left is gone");
        assert_eq!(done(&daemon, &["status"])["kept"], options == KEEP);
        done(&daemon, &["unban", &blocked.to_string()]);
        daemon.stop().expect("a clean stop");
    }
}

#[test]
fn pins_whose_maps_are_not_what_they_should_be_are_refused_with_a_way_out() {
    let folder = Path::new(pins::DEFAULT_FOLDER);
    let link = || {
        let links = fs::read_dir(version().join("links")).expect("links");
        links.flatten().next().expect("a link").path()
    };
    let map = |name: &str| version().join("maps").join(name);
    let spoilers: [(&str, &dyn Fn()); 3] = [
        ("another value size", &|| fs::rename(map("KNOWN"), map("VERDICTS")).expect("another name")),
        ("another type", &|| fs::rename(map("EVENTS"), map("STATE")).expect("another name")),
        ("no map", &|| fs::rename(link(), map("VERDICTS")).expect("another name")),
    ];
    let lab = lab();
    for (what, spoil) in spoilers {
        abandoned(&lab);
        spoil();
        let before = left(&lab);
        for options in [&["-i", UPLINK][..], &["--keep", "-i", UPLINK]] {
            let refused = refused(&lab, options);
            assert_eq!(refused.status.code(), Some(4), "{what}: {refused:?}");
            assert!(refused.stderr.contains("scanguard detach"), "{what}: {refused:?}");
            assert_eq!(left(&lab), before, "{what}");
        }
        assert!(is_hidden(&lab), "{what}: the program that was left goes on");
        assert!(pins::detach(folder).expect("nothing left").is_some(), "{what}");
        // At once, though the kernel may still be letting go of the program.
        start(&lab, ENFORCE, &[]).stop().expect("a clean stop");
    }
}

#[test]
fn a_second_daemon_over_the_same_pins_is_refused_and_the_first_goes_on() {
    let lab = lab();
    let daemon = start(&lab, ENFORCE, KEEP);
    scan(&lab, &daemon);
    fs::write("/run/second.toml", "metrics.listen = \"off\"\nstate = \"/run/second.db\"\n").expect("a file");
    for keep in [KEEP, &[]] {
        let options = ["-i", UPLINK, "--config", "/run/second.toml", "--socket", "/run/second.sock"];
        let second = refused(&lab, &[&options, keep].concat());
        assert_eq!(second.status.code(), Some(1), "{second:?}");
        assert!(second.stderr.contains("another scanguard uses what is pinned"), "{second:?}");
    }
    assert!(is_hidden(&lab));
    assert_kept(&lab);
    daemon.stop().expect("a clean stop");
}

#[test]
fn another_number_of_sources_forgets_counts_and_no_suspect() {
    let lab = lab();
    abandoned(&lab);
    let daemon = start(&lab, &format!("{ENFORCE}[sources]\nmax_sources = 4096\n"), KEEP);
    let counted = |daemon: &Daemon| {
        let counts = daemon.judgement().expect("an answer").counted.expect("counts");
        counts.of(&SCANNER.to_string())
    };
    assert_eq!(counted(&daemon), 0, "counts begin anew");
    assert!(is_hidden(&lab), "the suspect is one from its first packet on");
    wait_for("the count of what came since", || counted(&daemon) == 20);
    assert_eq!(verdict_on(&daemon, SCANNER).map(|verdict| verdict.level).as_deref(), Some("conceal"));
    let maps = see(&daemon, "/v1/status")["maps"].clone();
    let sources = maps.as_array().and_then(|maps| maps.iter().find(|map| map["name"] == "SOURCES"));
    assert_eq!(sources.map(|map| &map["capacity"]), Some(&json!(4096)), "{maps}");
    daemon.stop().expect("a clean stop");
}
