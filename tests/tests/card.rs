//! Everything that scanguard says about who asked for how much agrees with the wire, for every source, over IPv4 and
//! IPv6: `sources list`, the kernel's own table as bpftool reads it, and the metrics. Meanwhile the allowlist spares a
//! scanner, and a temporary block ends by itself.
//!
//! Needs root; run by `cargo xtask test`, which builds the programs first.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use scanguard_common::record::SourceRecord;
use scanguard_common::source::KeyRules;
use scanguard_tests::binary_beside_tests;
use scanguard_tests::daemon::{LIMIT, cli, connect, done, wait_longer_for};
use scanguard_tests::lab::defender::Daemon;
use scanguard_tests::lab::netns::Netns;
use scanguard_tests::lab::pinned::Pinned;
use scanguard_tests::lab::plan::{EDGE, EDGE6, SCANNER, SCANNER_NETWORK6, TO_EDGE, UPLINK, customer, customer6};
use scanguard_tests::lab::services::Service;
use scanguard_tests::lab::stage::Passed;
use scanguard_tests::lab::tools::Tool;
use scanguard_tests::lab::wire::{Capture, attempts};
use scanguard_tests::lab::{Lab, sandbox};
use serde_json::Value;
use zerocopy::FromBytes as _;

const SSH: u16 = 22;
/// The shortest that a block can be.
const BLOCK: Duration = Duration::from_secs(60);

/// Attempts by source.
type Attempts = BTreeMap<String, u64>;

fn nmap(host: &Netns, arguments: &[&str]) -> String {
    let fixed = ["-n", "-Pn", "-r", "-T4", "--max-retries", "1", "--min-rate", "300"];
    Tool::Nmap.run(host, [&fixed, arguments].concat(), LIMIT).expect("nmap").success("nmap").expect("a scan").stdout
}

fn level(daemon: &Daemon, address: IpAddr) -> String {
    done(daemon, &["why", &address.to_string()])["verdict"]["level"].as_str().expect("a level").to_owned()
}

fn time(value: &Value) -> SystemTime {
    humantime::parse_rfc3339(value.as_str().expect("a time")).expect("a time")
}

fn listed(list: &Value) -> Attempts {
    let sources = list["sources"].as_array().expect("sources").iter();
    let counts = sources.map(|source| {
        (source["source"].as_str().expect("a source").to_owned(), source["attempts"].as_u64().expect("attempts"))
    });
    counts.filter(|(_, attempts)| *attempts > 0).collect()
}

/// The kernel's table as bpftool reads it.
fn in_the_kernel(lab: &Lab) -> Attempts {
    let entries = Pinned::named(&lab.edge, "SOURCES").entries().expect("the table of sources");
    let records = entries.values().map(|value| SourceRecord::read_from_bytes(value).expect("a record"));
    let counts = records.map(|record| (KeyRules::new().display(record.source).to_string(), record.attempts));
    counts.filter(|(_, attempts)| *attempts > 0).collect()
}

fn sum_of(metrics: &str, family: &str) -> u64 {
    let lines = metrics.lines().filter(|line| line.starts_with(family));
    lines.map(|line| line.rsplit(' ').next().expect("a number").parse::<u64>().expect("a number")).sum()
}

#[test]
fn list_kernel_and_metrics_agree_with_the_wire_for_every_source_of_both_families() {
    sandbox::enter().expect("a sandbox, which needs root: run `cargo xtask test`");
    let lab = Lab::build(3).expect("the lab");
    let _services = Service::all(&lab.edge, &[]).expect("services");
    let wire = Capture::start(&lab.router, TO_EDGE, "").expect("tcpdump");
    let (edge, edge6, spared) = (EDGE.to_string(), EDGE6.to_string(), customer(2).to_string());
    let config = format!(
        "mode = \"enforce\"\nchallenge = \"on\"\nallow = [{spared:?}]\n\
         [safety]\nleases = false\n[block]\nfirst = \"1m\"\n"
    );
    let daemon = Daemon::start_with(&lab.edge, &binary_beside_tests(), &config, &["--keep"]).expect("the daemon");

    // Customers, over both families.
    for number in 0..2 {
        let pairs: [(IpAddr, IpAddr); 2] =
            [(customer(number).into(), EDGE.into()), (customer6(number).into(), EDGE6.into())];
        for (from, to) in pairs {
            let (from, page) = (from.to_string(), format!("http://{}/", SocketAddr::new(to, 80)));
            let arguments = ["--disable", "-sS", "--interface", &from, &page];
            Tool::Curl.run(&lab.customers, arguments, LIMIT).expect("curl").success("curl").expect("a page");
        }
    }
    // Somebody who is really there and connects to closed ports: he proves it, and is blocked for a minute. He hangs up when
    // all is counted: the end of a connection is no attempt, but where the reset for the decoy is late the block drops it,
    // again and again, and counts that.
    let scanner = IpAddr::from(SCANNER);
    let mut connections = Vec::new();
    let proved = (1..=60).any(|port| {
        connections.push(connect(&lab.scanner, port));
        level(&daemon, scanner) == "block"
    });
    assert!(proved, "{}\n{}", done(&daemon, &["why", &scanner.to_string()]), daemon.log());
    let list = done(&daemon, &["block", "list"]);
    let [block] = &list["entries"].as_array().expect("a list")[..] else { panic!("not one block: {list}") };
    let [since, expires] = ["since", "expires"].map(|key| time(&block[key]));
    assert_eq!(expires.duration_since(since).expect("a length"), BLOCK, "{list}");
    assert!(connect(&lab.scanner, SSH).is_none(), "private ports are closed to it");
    assert!(connect(&lab.scanner, 80).is_some(), "public ones are open");
    // Scans of half-open connections, datagrams, and over IPv6.
    nmap(&lab.scanner, &["-sS", "-p", "1-200", &edge]);
    nmap(&lab.scanner, &["-sU", "-p", "1-30", &edge]);
    nmap(&lab.scanner, &["-6", "-sS", "-p", "1-100", &edge6]);
    // The same by somebody on the allowlist: everything answers, and nothing is done about it.
    let told = nmap(&lab.customers, &["-sS", "-S", &spared, "-e", UPLINK, "-p", "1-100", &edge]);
    assert!(told.contains("closed") && !told.contains("filtered"), "{told}");
    assert_eq!(level(&daemon, customer(2).into()), "none", "the allowlist spares it");

    // The block ends by itself, when its time is over.
    wait_longer_for("the end of the block", BLOCK, || {
        assert_eq!(cli(&daemon, &["status"]).status.code(), Some(0));
        level(&daemon, scanner) != "block"
    });
    assert!(SystemTime::now() >= expires, "it ended too soon: {list}");
    assert!(connect(&lab.scanner, SSH).is_some(), "concealed, a real stack gets through to a restricted port");

    Passed::until_now(&lab, &daemon).expect("silence");
    let judgement = daemon.sources().expect("the sources");
    let (listed, kept, metrics) = (listed(&judgement), in_the_kernel(&lab), daemon.metrics().expect("metrics"));
    daemon.stop().expect("a stop");
    let packets = wire.stop().expect("a recording").packets().expect("packets");
    drop(connections);
    let sent: Attempts = attempts(&packets).into_iter().map(|(source, count)| (source.to_string(), count)).collect();

    let dropped = sum_of(&metrics, "scanguard_packets_total{level=\"block\"");
    assert!(dropped > 0, "a block dropped some, which are counted all the same: {metrics}");
    assert_eq!(listed, sent, "`sources list` and the wire");
    assert_eq!(kept, sent, "the kernel's table and the wire");
    let total: u64 = sent.values().sum();
    assert_eq!(sum_of(&metrics, "scanguard_attempts_total{"), total, "the metrics and the wire");
    // Who was there: the scanner, three customers over IPv4 and two over IPv6, and the scanner's network over IPv6.
    let scanner6 = SCANNER_NETWORK6.trim_end_matches("::/48");
    assert!(sent[&scanner.to_string()] >= 200 + 30, "{sent:?}");
    assert!(sent.iter().any(|(source, count)| source.starts_with(scanner6) && *count >= 100), "{sent:?}");
    assert!(sent[&spared] >= 100, "{sent:?}");
    assert_eq!(sent.len(), 1 + 3 + 2 + 1, "{sent:?}");
    let concealed = judgement["sources"].as_array().expect("sources").iter().filter(|one| one["level"] == "conceal");
    assert_eq!(concealed.count(), 2, "the scanner over both families: {judgement}");
}
