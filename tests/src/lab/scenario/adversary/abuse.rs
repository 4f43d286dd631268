//! Attacks on the daemon and on its defaults: becoming known, having others blocked, filling its log, holding its metrics.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use scanguard_common::challenge::ChallengeMode;

use super::super::{challenge_modes, known};
use super::attacker::{Attacker, claims};
use super::rows::forge_flags;
use super::{Attack, Found, World};
use crate::lab::defender::Daemon;
use crate::lab::plan::customer;
use crate::lab::report::Claim;
use crate::lab::stage::Setup;
use crate::lab::wait::wait_until;

/// Who is logged in is on the allowlist meanwhile; here it is to be seen what holds without that.
const NO_LEASES: &str = "[safety]\nleases = false\n";
const LIMIT: Duration = Duration::from_secs(60);

pub(super) const KNOWN: World = World {
    config: "challenge = \"off\"\n",
    tables: NO_LEASES,
    attacks: &[
        Attack { name: "password guessing", note: "", run: |a, _| apart(known::guess(a.lab(), daemon(a)?)?) },
        Attack { name: "sessions of a local user", note: "", run: |a, _| apart(known::pretend(a.lab(), daemon(a)?)?) },
    ],
};

pub(super) const DEFAULTS: World = World {
    config: "",
    tables: NO_LEASES,
    attacks: &[
        Attack {
            name: "nmap -sT with the defaults",
            note: "nmap's own 1,000 ports by a source that was never here",
            run: connecting,
        },
        Attack {
            name: "text for the terminal",
            note: "escape sequences and marks that turn text round, in the reason of a signal",
            run: control_characters,
        },
        Attack {
            name: "readers that do not read",
            note: "300 connections to the metrics that ask for nothing",
            run: slow_readers,
        },
        Attack { name: "a log to be filled", note: "4,000 forged suspects while a question waits", run: fill_log },
    ],
};

fn daemon<'a>(attacker: &Attacker<'a>) -> Result<&'a Daemon> {
    attacker.stage.guard.daemon().context("this is about what scanguard does")
}

fn apart((note, claims): (&'static str, Vec<Claim>)) -> Result<Found> {
    Ok(Found { claims, note: note.to_owned(), ..Found::default() })
}

fn connecting(attacker: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    let daemon = daemon(attacker)?;
    let blocks = || {
        let list = daemon.done(&["block", "list"])?;
        anyhow::Ok(list["entries"].as_array().context("a list of blocks")?.len() as u64)
    };
    let before = blocks()?;
    let is_blocked = challenge_modes::connecting(attacker.lab(), daemon, ChallengeMode::Canary)?;
    let others = (blocks()? - before).saturating_sub(is_blocked.into());
    let claims = claims(&[("scanners not blocked", 0, (!is_blocked).into()), ("others blocked", 0, others)]);
    Ok(Found { claims, ..Found::default() })
}

fn control_characters(attacker: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    let (daemon, name) = (daemon(attacker)?, "203.0.113.92");
    // What is refused outright shows nothing.
    let reasons = ["web: \u{1b}[2J\u{1b}]0;x\u{7}\u{9b}31m", "web: \u{202e}txt\u{2066}", "web: plain"];
    let answers = reasons.map(|reason| daemon.cli(&["signal", name, "--weight", "1", "--reason", reason]));
    ensure!(answers.into_iter().flatten().any(|it| it.status.success()), "no signal is heard");
    let mut shown = 0;
    for verb in [&["why", name][..], &["audit", "list", "--limit", "20"]] {
        let text = daemon.cli(verb)?.success("scanguard")?.stdout;
        ensure!(text.contains("web: "), "it is shown: {text}");
        shown += text.chars().filter(|it| (it.is_control() && *it != '\n') || "\u{202e}\u{2066}".contains(*it)).count();
    }
    Ok(Found { claims: claims(&[("characters of these shown", 0, shown as u64)]), ..Found::default() })
}

fn slow_readers(attacker: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    let daemon = daemon(attacker)?;
    let metrics = SocketAddr::from(([127, 0, 0, 1], 9477));
    let edge = &attacker.lab().edge;
    // (Some are refused, which is as well.)
    let held: Vec<TcpStream> = edge.run(|| {
        (0..300).filter_map(|_| TcpStream::connect_timeout(&metrics, Duration::from_millis(100)).ok()).collect()
    })?;
    ensure!(!held.is_empty(), "nobody serves metrics");
    let served = wait_until("the metrics to be served", LIMIT, || Ok(daemon.metrics().is_ok())).is_ok();
    let claims = claims(&[("readers kept out for a minute", 0, (!served).into())]);
    Ok(Found { claims, note: format!("{} were let in", held.len()), ..Found::default() })
}

fn fill_log(attacker: &mut Attacker<'_>, _: &Setup) -> Result<Found> {
    /// With a line of some 200 bytes for each it would be longer by far.
    const MOST_BYTES: u64 = 100_000;
    const SUSPECTS: u32 = 4_000;
    /// Apart from the sources of other rows.
    const FIRST: u32 = 1_000_000;
    /// Then the link is given time to take them.
    const AT_ONCE: u32 = 250;
    let daemon = daemon(attacker)?;
    let patron = customer(0).to_string();
    daemon.done(&["signal", &patron, "--weight", "1", "--reason", "sshd: 5 failed logins", "--proof"])?;
    let asked = || {
        let pending = daemon.done(&["pending", "list"])?;
        Ok(pending["entries"].as_array().is_some_and(|all| all.iter().any(|entry| entry["source"] == *patron)))
    };
    wait_until("a question about a customer", LIMIT, asked)?;
    let before = daemon.log().len();
    for first in (0..SUSPECTS).step_by(AT_ONCE as usize) {
        // Two segments without flags make a suspect.
        forge_flags(attacker, FIRST + first, AT_ONCE)?;
        std::thread::sleep(Duration::from_millis(10));
    }
    wait_until("a sum of what was left out", LIMIT, || Ok(daemon.log().contains("left_out=")))?;
    let written = (daemon.log().len() - before) as u64;
    let claims = claims(&[("bytes of log", MOST_BYTES, written), ("questions lost", 0, (!asked()?).into())]);
    Ok(Found { claims, ..Found::default() })
}
