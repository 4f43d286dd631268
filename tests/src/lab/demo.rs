//! A scan told to a person: what is built, what happens, what scanguard makes of it, and that nothing is left.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use scanguard_common::reason::Mode;

use super::defender::{Daemon, Defender};
use super::plan::{SCANNER, customer};
use super::process::Finished;
use super::report::{Counts, Report};
use super::scenario::nmap_default;
use super::stage::{Scene, Setup, Stage};
use super::wait::wait_until;

const CUSTOMERS: u8 = 10;
/// The customer that scans, too, with leave.
const ALLOWED: u8 = 2;
/// The shipped configuration, but that the first block is short: nobody waits ten minutes for the end of a story.
const CONFIG: &str = "[block]\nfirst = \"1m\"\n";
/// Within it a block of a minute ends, also on a slow machine.
const LIMIT: Duration = Duration::from_secs(180);

const MAP: &str = "    scanner  203.0.113.66 ────┐
                              ├── the internet ── uplink0 ── your server  192.0.2.10
    customers 198.51.100.10… ─┘                              80, 443 for everybody
                                                             22, 3306, 5432, 6379, 9200 for you alone";

/// What scanguard does about a scan in this version, and what it does not: the one place that says so in the demo.
const TODAY: &str = "\
Without scanguard it learns all of it (try `cargo xtask lab syn --defender none`). The first failures are answered,
because everybody makes mistakes. Then closed and restricted ports are silent to this source; public ports are open to
it as to everybody, and this ends by itself an hour after the last probe. Canaries, old ports that no customer asks for,
went on answering it. So it proved that it is really there and scans, and only then it was blocked, from private ports,
for a while. Forged packets, however many, block nobody.";

/// Tells it. The calling thread must be in a sandbox (see [`super::sandbox::enter`]).
///
/// # Errors
/// When something does not start, or does not happen, or the kernel's counts are not those of the wire.
pub fn tell(scanguard: &Path) -> Result<()> {
    heading(1, "A small internet, made of network namespaces: real links, real stacks, nothing leaves this machine");
    println!("{MAP}\n");

    heading(2, &format!("Your server starts scanguard, and {CUSTOMERS} customers browse (curl, over IPv4 and IPv6)"));
    println!(
        "  The configuration is the shipped one but for the mode, and for the first block: 1 minute instead of 10.\n"
    );
    let (defender, scanguard) = (Defender::Scanguard, scanguard.to_owned());
    let setup = Setup { defender, scanguard, mode: Mode::Enforce, captures: None, full: false };
    let stage = Stage::set(&setup, &Scene { customers: CUSTOMERS, config: CONFIG, ..Scene::USUAL })?;
    let daemon = stage.guard.daemon().context("the daemon is the defender")?;
    let pid = daemon.pid();
    ask(daemon, &["status"])?;
    println!("  One customer has its own scanner look at you now and then, and may:\n");
    let allowed = customer(ALLOWED).to_string();
    ask(daemon, &["allow", "add", &allowed, "--comment", "a customer that scans us"])?;

    heading(3, "Somebody scans it: a real nmap, its default 1,000 ports, whole connections");
    scanned(nmap_default(&stage.lab.scanner, SCANNER)?);
    wait_until("the scanner to be blocked", LIMIT, || Ok(level(daemon, SCANNER.into())? == "block"))?;

    heading(4, "What scanguard made of it meanwhile: counted, concealed, proven, blocked for a while");
    ask(daemon, &["sources", "list", "--limit", "6"])?;
    let why = daemon.cli(&["why", &SCANNER.to_string(), "--no-color"])?.success("scanguard why")?.stdout;
    let conclusion = why.split("\nEvidence\n").next().unwrap_or_default();
    show(&format!("scanguard why {SCANNER}   (without its evidence, packet by packet)"), conclusion);
    ask(daemon, &["block", "list"])?;

    heading(5, "The customer on the allowlist scans the same: it sees what there is, and nothing is held against it");
    scanned(nmap_default(&stage.lab.customers, customer(ALLOWED))?);
    let spared = level(daemon, customer(ALLOWED).into())?;
    ensure!(spared == "none", "a customer on the allowlist is at level {spared}");

    heading(6, "The block ends by itself (a minute after it began)");
    wait_until("the block to end", LIMIT, || Ok(level(daemon, SCANNER.into())? != "block"))?;
    ask(daemon, &["block", "list"])?;
    ask(daemon, &["block", "history", "--limit", "4"])?;

    heading(7, "What Prometheus sees");
    let calm = stage.calm()?;
    let daemon = calm.guard.daemon().context("the daemon is the defender")?;
    let metrics = daemon.metrics()?;
    let telling = |line: &&str| {
        [
            "scanguard_contacts_total{",
            "scanguard_suspects ",
            "scanguard_packets_total{",
            "scanguard_challenges_total{",
            "scanguard_decisions_total{",
            "scanguard_attach_mode{",
        ]
        .iter()
        .any(|family| line.starts_with(family))
            && !line.ends_with(" 0")
    };
    let lines: Vec<&str> = metrics.lines().filter(telling).collect();
    show("curl http://127.0.0.1:9477/metrics   (some of it, without what is 0)", &lines.join("\n"));

    heading(8, "The same, counted on the wire by tcpdump and another parser");
    let observations = calm.close(&setup)?;
    let report = observations.report("demo", setup.defender);
    let counted = report.counted.clone().context("scanguard counts")?;
    let equal = compare(&report.wire, &counted);
    println!();

    heading(9, "And now it is all gone");
    ensure!(!Path::new(&format!("/proc/{pid}")).exists(), "the daemon still runs");
    println!("  the daemon ended, no program is attached, nothing is pinned; the namespaces end with this program\n");

    summary(&report);
    ensure!(equal, "the kernel's counts are not those of the wire");
    Ok(())
}

/// Runs a verb, and shows it with what it printed.
fn ask(daemon: &Daemon, arguments: &[&str]) -> Result<()> {
    let answer = daemon.cli(&[arguments, &["--no-color"]].concat())?;
    let words: Vec<String> = arguments
        .iter()
        .map(|word| if word.contains(' ') { format!("\"{word}\"") } else { (*word).to_owned() })
        .collect();
    show(&format!("scanguard {}", words.join(" ")), &answer.success("scanguard")?.stdout);
    Ok(())
}

fn level(daemon: &Daemon, address: IpAddr) -> Result<String> {
    let why = daemon.done(&["why", &address.to_string()])?;
    Ok(why["verdict"]["level"].as_str().context("a level")?.to_owned())
}

fn scanned((command, nmap): (String, Finished)) {
    show(&command, &nmap.stdout);
}

fn heading(number: u8, text: &str) {
    println!("── {number}. {text}\n");
}

/// A command and what it printed, indented.
fn show(command: &str, output: &str) {
    println!("  $ {command}");
    for line in output.lines() {
        println!("  {line}");
    }
    println!();
}

/// Prints both counts side by side; whether they are equal.
fn compare(wire: &Counts, kernel: &Counts) -> bool {
    let mut both: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
    for count in &wire.sources {
        both.entry(&count.source).or_default().0 = count.attempts;
    }
    for count in &kernel.sources {
        both.entry(&count.source).or_default().1 = count.attempts;
    }
    let scanner = SCANNER.to_string();
    println!("  {:<26}{:>10}{:>10}", "source", "wire", "kernel");
    // The scanner's row and the first customers'; the others only count in the last line.
    const ROWS: usize = 6;
    let rows = both
        .iter()
        .filter(|(source, _)| **source == scanner)
        .chain(both.iter().filter(|(source, _)| **source != scanner).take(ROWS));
    for (source, (wire, kernel)) in rows {
        let mark = if wire == kernel { "✓" } else { "✗ differ" };
        println!("  {source:<26}{wire:>10}{kernel:>10}  {mark}");
    }
    let equal = both.values().filter(|(wire, kernel)| wire == kernel).count();
    println!("  … {equal} of {} sources have the same count in both", both.len());
    equal == both.len()
}

fn summary(report: &Report) {
    let Report { scanner, customers, duration_s, .. } = report;
    println!(
        "In {duration_s:.1} s the scanner asked for {} ports. {} closed ones were answered by the server's stack, and {} open\n\
         ones found, {} of them not meant for it.",
        scanner.probes_sent,
        scanner.closed_answered,
        scanner.public_revealed + scanner.restricted_revealed,
        scanner.restricted_revealed
    );
    println!(
        "The customers made {} requests, {} failed; of their {} long sessions {} broke.",
        customers.requests, customers.failures, customers.established, customers.established_broken
    );
    println!("{TODAY}");
}
