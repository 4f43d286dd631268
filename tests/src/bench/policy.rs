//! What decisions cost: the pure policy, the whole chain from a packet to a verdict in the kernel, a restart with much to remember, and memory.
//!
//! The chain is the real one: forged SYNs over a veth pair, the XDP program, its ring, the daemon, and verdicts in the kernel's map. Some sources
//! ask for enough closed ports to be blocked (`block.unproven`), all others for one, which makes an event each.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use scanguard::config::{Blocks, DEFAULT_STATE};
use scanguard::policy::{Clock, Event, Facts, Policy};
use scanguard::store::{KeptAllow, KeptBlock, Store};
use scanguard_common::source::SourceKey;
use serde::Serialize;
use serde_json::Value;

use crate::lab::Lab;
use crate::lab::defender::{Daemon, default_binary};
use crate::lab::forge::{Forged, forge};
use crate::lab::sandbox;

/// Steps of the pure policy in a round.
const STEPS: u32 = 2_000_000;
/// Rounds; the best counts.
const ROUNDS: u32 = 3;
/// Events a second that the chain is fed.
const EVENTS_PER_S: u32 = 50_000;
/// For so long, in seconds.
const CHAIN_S: u32 = 10;
/// Every so manyth packet is one of a source that is to be blocked: a hundred sources a second.
const OF_BLOCKED: u32 = 40;
/// Of the thread that sends.
const NICEST: i32 = 19;
/// Distinct closed ports that a source asks for to be blocked.
const PORTS_TO_BLOCK: u32 = 12;
/// Blocks and entries of the allowlist over a restart.
const KEPT: u32 = 100_000;
/// Sources tracked where memory is measured.
const TRACKED: u32 = 1_000_000;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Figures {
    schema_version: u32,
    kernel: String,
    /// Events a second through the pure policy, on one core.
    policy_events_per_s: f64,
    /// From the packet to the verdict in the kernel.
    latency_us: Latency,
    /// Events a second that the kernel part told meanwhile, and how many were lost.
    chain_events_per_s: f64,
    chain_events_lost: u64,
    /// Blocks that were made meanwhile.
    chain_blocks: u64,
    /// From the start of the daemon to its interfaces being guarded, with 100,000 blocks and 100,000 allowlist entries kept.
    restart_s: f64,
    /// 100,000 entries by `scanguard allow import`.
    allow_import_s: f64,
    /// Of the daemon, with all of them tracked and listed once.
    rss_mib: f64,
    /// The kernel's table of sources, for as many.
    kernel_sources_mib: f64,
    tracked_sources: u64,
}

/// Microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
struct Latency {
    p50: f64,
    p99: f64,
    max: f64,
}

/// Measures all of it, in some minutes.
///
/// # Errors
/// When the lab or the daemon cannot be had, which needs root.
pub fn measure() -> Result<Figures> {
    let policy_events_per_s = pure();
    sandbox::enter()?;
    let chain = chain()?;
    let (restart_s, allow_import_s) = restart()?;
    let memory = memory()?;
    Ok(Figures {
        schema_version: 1,
        kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
        policy_events_per_s,
        latency_us: chain.latency,
        chain_events_per_s: chain.events_per_s,
        chain_events_lost: chain.lost,
        chain_blocks: chain.blocks,
        restart_s,
        allow_import_s,
        rss_mib: memory.rss_mib,
        kernel_sources_mib: memory.kernel_mib,
        tracked_sources: memory.tracked,
    })
}

/// A mixture as it comes: mostly scores that cannot be proven, some completed decoys, some proof, of 100,000 sources.
fn pure() -> f64 {
    const SOURCES: u32 = 100_000;
    let settings = Blocks { per_minute: 100_000, most: 100_000, ..Blocks::default() };
    let facts = Facts { eligible: true, ..Facts::default() };
    let mut best = 0_f64;
    for _ in 0..ROUNDS {
        let mut policy = Policy::default();
        let mut actions = 0;
        let started = Instant::now();
        for step in 0..STEPS {
            let source = source(step.wrapping_mul(2_654_435_761) % SOURCES);
            let event = match step % 20 {
                0 => Event::Suspect { source },
                1..3 => Event::Completed { source, port: 1_000 + (step / 20 % 8) as u16 },
                _ => Event::Eligible { source },
            };
            let now = Clock(1_780_000_000_000 + u64::from(step) / 50);
            actions += policy.step(&settings, &facts, event, now).len();
        }
        let a_second = f64::from(STEPS) / started.elapsed().as_secs_f64();
        assert!(actions > 0, "the policy does something");
        best = best.max(a_second);
    }
    best.round()
}

fn source(number: u32) -> SourceKey {
    SourceKey(IpAddr::from(Ipv4Addr::from(0x0a00_0000 | number)).into())
}

struct Chain {
    latency: Latency,
    events_per_s: f64,
    lost: u64,
    blocks: u64,
}

/// Storms are for forged suspects: here the suspects are the load.
const CHAIN_CONFIG: &str = "mode = \"enforce\"\n[block]\nunproven = true\nper_minute = 100000\nmost = 100000\n\
                            [storm]\nsuspects_per_second = 1000000\n[events]\nring_kib = 8192\n[log]\nformat = \"json\"\n";

fn chain() -> Result<Chain> {
    let lab = Lab::build(1)?;
    let daemon = Daemon::start(&lab.edge, &default_binary()?, CHAIN_CONFIG)?;
    let counted = |metrics: &str, name: &str| -> u64 {
        metrics
            .lines()
            .filter(|line| line.starts_with(name))
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum::<f64>() as u64
    };
    let before = daemon.metrics()?;
    let started = Instant::now();
    let packets = (0..EVENTS_PER_S * CHAIN_S).map(|number| {
        // A source that is to be blocked asks for its ports one after the other; the others are new each time.
        let (from, port) = if number % OF_BLOCKED == 0 {
            let turn = number / OF_BLOCKED;
            (0x6440_0000 | (turn / PORTS_TO_BLOCK), 1 + turn % PORTS_TO_BLOCK)
        } else {
            (0x6480_0000 | number, 1 + number % 20)
        };
        Forged {
            from: Ipv4Addr::from(from),
            from_port: 40_000,
            port: port as u16,
            sequence: number,
            acknowledged: None,
            bare: true,
        }
    });
    // On a host packets come from a card, and not from a program that wants the processor as much as the daemon does.
    let politely = || {
        rustix::process::setpriority_process(None, NICEST).context("cannot be nice")?;
        forge(packets, EVENTS_PER_S)
    };
    lab.scanner.run(politely)??;
    let seconds = started.elapsed().as_secs_f64();
    let after = daemon.metrics()?;
    let contacts = counted(&after, "scanguard_contacts_total") - counted(&before, "scanguard_contacts_total");
    let mut latencies = Vec::new();
    for line in daemon.log().lines() {
        let Ok(told) = serde_json::from_str::<Value>(line) else { continue };
        if let Some(took) = told["fields"]["took_us"].as_u64().or_else(|| told["took_us"].as_u64()) {
            latencies.push(took as f64);
        }
    }
    daemon.stop()?;
    ensure!(!latencies.is_empty(), "nobody was blocked");
    latencies.sort_by(f64::total_cmp);
    let at = |part: f64| latencies[((latencies.len() - 1) as f64 * part).round() as usize];
    Ok(Chain {
        latency: Latency { p50: at(0.5), p99: at(0.99), max: at(1.0) },
        events_per_s: (contacts as f64 / seconds).round(),
        lost: counted(&after, "scanguard_events_lost_total"),
        blocks: latencies.len() as u64,
    })
}

/// A start with much to remember, and an import of as much.
fn restart() -> Result<(f64, f64)> {
    let folder = Path::new(DEFAULT_STATE).parent().context("a folder")?;
    let _ = fs::remove_dir_all(folder); // What the chain's daemon kept.
    let lab = Lab::build(1)?;
    let binary = default_binary()?;
    let config = "mode = \"enforce\"\n";
    let address = |network: u32, number: u32| Ipv4Addr::from(network | number).to_string();
    let daemon = Daemon::start(&lab.edge, &binary, config)?;
    let list: String = (0..KEPT).map(|number| address(0x0b00_0000, number) + "\n").collect();
    fs::write("/run/scanguard-allow.txt", list)?;
    let started = Instant::now();
    daemon.cli(&["allow", "import", "/run/scanguard-allow.txt"])?.success("scanguard allow import")?;
    let allow_import_s = started.elapsed().as_secs_f64();
    daemon.stop()?;
    {
        let mut store = Store::open(Path::new(DEFAULT_STATE)).context("the state")?;
        let blocks: Vec<KeptBlock> = (0..KEPT)
            .map(|number| KeptBlock {
                prefix: address(0x0c00_0000, number),
                scope: "all".to_owned(),
                origin: "operator".to_owned(),
                hard: false,
                reason: None,
                since: 1_780_000_000_000,
                expires: None,
            })
            .collect();
        store.save_blocks(&blocks).context("the blocks")?;
        let kept: Vec<KeptAllow> = store.load_allow().context("the allowlist")?;
        ensure!(kept.len() == KEPT as usize, "{} entries of the allowlist were kept", kept.len());
    }
    let started = Instant::now();
    let daemon = Daemon::start(&lab.edge, &binary, config)?;
    let restart_s = started.elapsed().as_secs_f64();
    let status: Value = serde_json::from_str(&daemon.cli(&["status", "--json"])?.stdout)?;
    ensure!(status["verdicts"]["block"] == KEPT, "blocks in force: {}", status["verdicts"]);
    daemon.stop()?;
    Ok((rounded(restart_s), rounded(allow_import_s)))
}

struct Memory {
    rss_mib: f64,
    kernel_mib: f64,
    tracked: u64,
}

fn memory() -> Result<Memory> {
    const MIB: f64 = 1024.0 * 1024.0;
    let folder = Path::new(DEFAULT_STATE).parent().context("a folder")?;
    let _ = fs::remove_dir_all(folder);
    let lab = Lab::build(1)?;
    // A table that forgets keeps some room on every CPU.
    let config = format!("[sources]\nmax_sources = {}\n", TRACKED / 8 * 9);
    let daemon = Daemon::start(&lab.edge, &default_binary()?, &config)?;
    let packets = (0..TRACKED).map(|number| Forged {
        from: Ipv4Addr::from(0x6400_0000 + number),
        from_port: 40_000,
        port: 80,
        sequence: number,
        acknowledged: None,
        bare: true,
    });
    lab.scanner.run(|| forge(packets, 200_000))??;
    let status: Value = serde_json::from_str(&daemon.cli(&["status", "--json"])?.stdout)?;
    daemon.cli(&["sources", "list", "--limit", "10", "--json"])?.success("scanguard sources list")?;
    let tracked = status["sources"].as_u64().unwrap_or_default();
    let maps: BTreeMap<&str, f64> = status["maps"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|map| Some((map["name"].as_str()?, map["bytes"].as_f64()?)))
        .collect();
    let rss = fs::read_to_string(format!("/proc/{}/status", daemon.pid()))?;
    let rss = rss.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let rss: f64 = rss.trim().trim_end_matches(" kB").parse()?;
    daemon.stop()?;
    Ok(Memory {
        rss_mib: rounded(rss / 1024.0),
        kernel_mib: rounded(maps.get("SOURCES").copied().unwrap_or_default() / MIB),
        tracked,
    })
}

fn rounded(number: f64) -> f64 {
    (number * 100.0).round() / 100.0
}

impl fmt::Display for Figures {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Latency { p50, p99, max } = self.latency_us;
        writeln!(formatter, "Linux {}", self.kernel)?;
        writeln!(formatter, "  pure policy                {:.2} million events/s", self.policy_events_per_s / 1e6)?;
        writeln!(
            formatter,
            "  packet to verdict          p50 {p50} us, p99 {p99} us, at most {max} us ({} blocks under {} events/s, {} events lost)",
            self.chain_blocks, self.chain_events_per_s, self.chain_events_lost
        )?;
        writeln!(
            formatter,
            "  start                      {} s, with {KEPT} blocks and {KEPT} allowlist entries kept",
            self.restart_s
        )?;
        writeln!(formatter, "  import                     {} s for {KEPT} allowlist entries", self.allow_import_s)?;
        writeln!(
            formatter,
            "  memory                     daemon {} MiB, the kernel's table {} MiB, with {} sources tracked",
            self.rss_mib, self.kernel_sources_mib, self.tracked_sources
        )
    }
}
