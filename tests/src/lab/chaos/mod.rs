//! The daemon is killed (-9) again and again at random moments, under load: what it said yes to must be there afterwards, nothing may stay
//! that should have ended, and the kernel's tables must be as they should be within five seconds.
//!
//! A seed decides everything that is decided here; the moments at which the kernel lets each process run are its own.

mod ask;
mod ledger;

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, bail};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use rustix::process::{Pid, Signal, kill_process};
use serde::Serialize;
use serde_json::Value;

use self::ask::{Outcome, ask};
use self::ledger::{Ledger, Wish};
use super::customers::{Browsing, Sessions};
use super::defender::Daemon;
use super::pinned::Pinned;
use super::plan::{EDGE, PUBLIC, UPLINK};
use super::process::Running;
use super::services::Service;
use super::tools::Tool;
use super::{Lab, sandbox};

/// What is asked of it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How often the daemon is killed.
    pub kills: u32,
    /// What decides.
    pub seed: u64,
    /// The daemon's program.
    pub scanguard: PathBuf,
}

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outage {
    /// Version of this shape.
    pub schema_version: u32,
    /// How often the daemon was killed.
    pub kills: u32,
    /// Of these, before it was ready.
    pub killed_while_starting: u32,
    /// Starts that took over what was pinned.
    pub takeovers: u32,
    /// What decided.
    pub seed: u64,
    /// How long it took.
    pub duration_s: f64,
    /// Wishes that were answered with yes.
    pub acknowledged: u64,
    /// Wishes that a safety rule forbade.
    pub refused: u64,
    /// Wishes that the daemon died of.
    pub unanswered: u64,
    /// Blocks of the policy that were there at some look.
    pub automatic_blocks: u64,
    /// What was acknowledged and lost, or there and not wanted.
    pub lost: Vec<String>,
    /// Verdicts in the kernel whose time is over.
    pub stuck: Vec<String>,
    /// Looks at which the kernel's tables were not as they should be after five seconds.
    pub adrift: Vec<String>,
    /// From the start of a daemon to its first answer, the median and the longest.
    pub restart_ms: [u64; 2],
    /// Requests of customers, and how many failed.
    pub requests: [u64; 2],
    /// Sessions of customers, and how many broke.
    pub sessions: [u64; 2],
    /// Some of the failures.
    pub examples: Vec<String>,
}

impl Outage {
    /// Whether nothing was lost, stuck, adrift or noticed by a customer.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost.is_empty()
            && self.stuck.is_empty()
            && self.adrift.is_empty()
            && self.requests[1] == 0
            && self.sessions[1] == 0
    }
}

impl fmt::Display for Outage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = serde_json::to_string_pretty(self).map_err(|_| fmt::Error)?;
        formatter.write_str(&text)
    }
}

/// Addresses about which wishes are.
const ADDRESSES: u32 = 40;
/// Longest life of a daemon after it is ready.
const LIFE: Duration = Duration::from_millis(1200);
/// Of ten kills, how many come before it is ready.
const EARLY: u32 = 2;
/// Longest life of those.
const EARLY_LIFE: Duration = Duration::from_millis(500);
/// The kernel's tables must be right after this.
const DRIFT: Duration = Duration::from_secs(5);
/// The daemon clears up every five seconds.
const CLEARED_UP_NS: u64 = 7_000_000_000;
const LIMIT: Duration = Duration::from_secs(60);
const CUSTOMERS: u8 = 6;
/// Blocks without proof, so that the policy has something to do; leases would be on the allowlist besides.
const CONFIG: &str = "mode = \"enforce\"\n[block]\nunproven = true\nper_minute = 100\n[safety]\nleases = false\n";

/// Plays it. The calling thread gets a sandbox of its own.
///
/// # Errors
/// When something cannot be set up or run; what is lost is no error.
pub fn play(plan: &Plan) -> Result<Outage> {
    sandbox::enter()?;
    let lab = Lab::build(CUSTOMERS)?;
    let _services = Service::all(&lab.edge, &[])?;
    let began = Instant::now();
    let sessions = Sessions::open(&lab, &PUBLIC)?;
    let browsing = Browsing::start(&lab, Duration::from_millis(250), PUBLIC.to_vec())?;
    let over = AtomicBool::new(false);
    let mut outage = thread::scope(|scope| {
        let scan = scope.spawn(|| scan(&lab, &over));
        let outage = kill_again_and_again(&lab, plan);
        over.store(true, Ordering::Release);
        match scan.join() {
            Ok(scanned) => scanned.and(outage),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })?;
    let requests = browsing.stop()?;
    let held = sessions.close()?;
    outage.requests = [requests.made, requests.failed];
    outage.sessions = [held.established, held.broken];
    outage.examples = requests.examples;
    outage.duration_s = began.elapsed().as_secs_f64();
    Ok(outage)
}

/// Scanners, one after the other, each from another address: the policy blocks them.
fn scan(lab: &Lab, over: &AtomicBool) -> Result<()> {
    for number in (100..200_u32).cycle() {
        if over.load(Ordering::Acquire) {
            return Ok(());
        }
        let from = format!("203.0.113.{number}");
        let mut hping = Tool::Hping3.command(&lab.scanner)?;
        hping.args(["-n", "-q", "-I", UPLINK, "-a", &from, "-S", "-p", "++1000", "-i", "u2000", "-c", "150"]);
        hping.arg(EDGE.to_string());
        Running::start(hping)?.wait(LIMIT)?;
    }
    Ok(())
}

fn kill_again_and_again(lab: &Lab, plan: &Plan) -> Result<Outage> {
    let mut chance = StdRng::seed_from_u64(plan.seed);
    let (mut ledger, mut outage) =
        (Ledger::default(), Outage { schema_version: 1, seed: plan.seed, ..Outage::default() });
    let (mut starts, mut number, mut pinned) = (Vec::new(), 0, false);
    let mut seen = BTreeSet::new();
    let mut since = SystemTime::now();
    for kill in 0..=plan.kills {
        let keep = chance.random_bool(0.5);
        let options: &[&str] = if keep { &["--keep"] } else { &[] };
        let is_early = kill < plan.kills && chance.random_ratio(EARLY, 10);
        let started = Instant::now();
        outage.takeovers += u32::from(pinned);
        let daemon = Daemon::launch(&lab.edge, &plan.scanguard, CONFIG, options)?;
        if is_early {
            thread::sleep(EARLY_LIFE.mul_f64(chance.random()));
            daemon.end(Signal::KILL)?;
            outage.killed_while_starting += 1;
            outage.kills += 1;
            // It may have pinned, or unpinned what was there, or not have come to that.
            pinned = super::defender::left_attached(&lab.edge)?.iter().any(|left| left.contains("pin"));
            continue;
        }
        let daemon = daemon.attached()?;
        pinned = keep;
        starts.push(started.elapsed());
        check(lab, keep, since, &mut ledger, &mut outage, &mut seen)?;
        since = SystemTime::now();
        if kill == plan.kills {
            outage.acknowledged = ledger.acknowledged;
            (outage.refused, outage.unanswered) = (ledger.refused, ledger.unanswered);
            daemon.stop()?;
            break;
        }
        let life = LIFE.mul_f64(chance.random());
        let pid = Pid::from_raw(daemon.pid().cast_signed()).context("the daemon has no number")?;
        thread::scope(|scope| {
            scope.spawn(move || {
                thread::sleep(life);
                let _ = kill_process(pid, Signal::KILL); // It is waited for below.
            });
            work(&mut chance, &mut number, &mut ledger);
        });
        daemon.end(Signal::KILL)?;
        outage.kills += 1;
    }
    starts.sort_unstable();
    let ms = |start: Option<&Duration>| start.map_or(0, |start| u64::try_from(start.as_millis()).unwrap_or(u64::MAX));
    outage.restart_ms = [ms(starts.get(starts.len() / 2)), ms(starts.last())];
    outage.automatic_blocks = seen.len() as u64;
    Ok(outage)
}

/// An operator at work until the daemon dies.
fn work(chance: &mut StdRng, number: &mut u64, ledger: &mut Ledger) {
    loop {
        *number += 1;
        if number.is_multiple_of(7) {
            match ask("/v1/block", None) {
                Outcome::Answered(200, list) => ledger.seen(&list),
                _ => return,
            }
        }
        let wish = wish(chance, *number);
        let asked = SystemTime::now();
        match ask(wish.path, Some(&wish.body)) {
            Outcome::Answered(status, answer) => ledger.answered(&wish, status, &answer, asked),
            Outcome::NotDelivered => return,
            Outcome::Unknown => return ledger.unanswered(wish),
        }
    }
}

fn wish(chance: &mut StdRng, number: u64) -> Wish {
    let prefix = format!("198.18.0.{}", chance.random_range(1..=ADDRESSES));
    let lasts = [None, Some(3600), Some(3), Some(3)][chance.random_range(0..4_usize)];
    match chance.random_range(0..20_u32) {
        0..7 => ledger::allow_add(number, prefix, lasts),
        7..10 => ledger::allow_remove(number, prefix),
        10..16 => ledger::block_add(number, prefix, lasts, chance.random_bool(0.2)),
        16..19 => ledger::block_remove(number, prefix),
        _ => ledger::mode(if chance.random_bool(0.2) { "observe" } else { "enforce" }),
    }
}

/// Compares what a new daemon knows, and what the kernel has, with what was acknowledged.
fn check(
    lab: &Lab,
    keep: bool,
    since: SystemTime,
    ledger: &mut Ledger,
    outage: &mut Outage,
    seen: &mut BTreeSet<String>,
) -> Result<()> {
    let began = Instant::now();
    let get = |path: &str| match ask(path, None) {
        Outcome::Answered(200, answer) => Ok(answer),
        other => bail!("asking for {path}: {other:?}"),
    };
    let audit = format!("/v1/audit?limit=10000&since={}", humantime::format_rfc3339_millis(since));
    let (allow, blocks, mode, audit) = (get("/v1/allow")?, get("/v1/block")?, get("/v1/mode")?, get(&audit)?);
    for block in blocks["entries"].as_array().into_iter().flatten().filter(|block| block["origin"] == "controller") {
        seen.extend(block["source"].as_str().map(str::to_owned));
    }
    let at = format!("after kill {}: ", outage.kills);
    outage.lost.extend(ledger.compare(&allow, &blocks, &mode, &audit).into_iter().map(|wrong| at.clone() + &wrong));
    let mut stuck = Vec::new();
    let drift = loop {
        let status = get("/v1/status")?;
        let adrift = status["drift"].as_u64().unwrap_or(u64::MAX);
        let mut wrong =
            if adrift > 0 { format!("{adrift} entries are adrift: {}", status["warnings"]) } else { String::new() };
        if keep {
            // The policy goes on blocking meanwhile.
            let listed = get("/v1/block")?;
            ledger.seen(&listed);
            (wrong, stuck) = kernel(lab, &ledger.blocked(), &listed, wrong)?;
        }
        if wrong.is_empty() && stuck.is_empty() {
            break None;
        }
        if began.elapsed() >= DRIFT {
            break Some(wrong);
        }
        thread::sleep(Duration::from_millis(50));
    };
    outage.adrift.extend(drift.filter(|wrong| !wrong.is_empty()).map(|wrong| at.clone() + &wrong));
    outage.stuck.extend(stuck.into_iter().map(|stuck| at.clone() + &stuck));
    Ok(())
}

/// How the kernel's verdicts on sources differ from the list, by the kernel's own word; and those whose time was over long ago.
fn kernel(lab: &Lab, known: &BTreeSet<String>, listed: &Value, mut wrong: String) -> Result<(String, Vec<String>)> {
    let entries = Pinned::named(&lab.edge, "VERDICTS").entries()?;
    let now_ns = scanguard::kernel::clock::monotonic_coarse_ns();
    let (mut there, mut stuck) = (BTreeSet::new(), Vec::new());
    for (key, value) in entries {
        let address: [u8; 16] = key.try_into().ok().context("a key of VERDICTS is no address")?;
        let address = IpAddr::from(Ipv6Addr::from(address)).to_canonical().to_string();
        let ends = value.first_chunk().map_or(0, |ends| u64::from_ne_bytes(*ends));
        if ends.saturating_add(CLEARED_UP_NS) < now_ns {
            stuck.push(format!("{address} is in the kernel, {} ms after its end", (now_ns - ends) / 1_000_000));
        }
        if ends > now_ns {
            there.insert(address);
        }
    }
    let listed: BTreeSet<String> = listed["entries"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|entry| entry["source"].as_str().map(str::to_owned))
        .collect();
    // What came or went between the two looks is in one of them.
    let missing: Vec<&String> = listed.difference(&there).filter(|source| known.contains(*source)).collect();
    if !missing.is_empty() {
        wrong.push_str(&format!("not in the kernel: {missing:?}"));
    }
    let foreign: Vec<&String> = there.difference(known).collect();
    if !foreign.is_empty() {
        wrong.push_str(&format!("in the kernel alone: {foreign:?}"));
    }
    Ok((wrong, stuck))
}
