//! `scanguard status` for people.

use std::fmt::{self, Write as _};
use std::time::Duration;

use super::Paint;
use super::human::{bytes, count, duration, moment};
use crate::api::{Interface, MapFill, Packets, Status, Takes, VerdictCounts, Warning, WouldHave};

/// The status as text.
#[must_use]
pub fn status(status: &Status, paint: Paint) -> String {
    let mut text = String::new();
    write(status, paint, &mut text).expect("a String takes everything");
    text
}

fn write(status: &Status, paint: Paint, text: &mut String) -> fmt::Result {
    let Status { mode, uptime_s, kernel, interfaces, packets, sources, suspects, verdicts, maps, .. } = status;
    let state = match (status.healthy, status.degraded) {
        (false, _) => paint.bad("unhealthy"),
        (true, true) => paint.bad("degraded"),
        (true, false) => paint.good("healthy"),
    };
    let up = if status.daemon {
        format!("up {}", duration(Duration::from_secs(*uptime_s)))
    } else {
        paint.bad("without a daemon")
    };
    writeln!(text, "{} {} is {state}, mode {mode}, {up}, Linux {kernel}", paint.strong("scanguard"), status.version)?;
    if let Some(reverts) = &status.mode_reverts_at {
        writeln!(text, "It goes back to observe at {} unless `scanguard confirm` comes.", moment(reverts))?;
    }
    if let Some(lockdown) = &status.lockdown {
        writeln!(text, "{}: {}.", paint.doubtful("lockdown"), super::lockdown::brief(lockdown))?;
    }
    writeln!(text)?;
    for (position, Interface { name, driver_mode, attached, egress }) in interfaces.iter().enumerate() {
        let heading = if position == 0 { "interfaces" } else { "" };
        let state = if *attached {
            format!("attached, {driver_mode}, egress {}", if egress.is_empty() { "none" } else { egress })
        } else {
            paint.bad("not attached")
        };
        writeln!(text, "{heading:<12}{name}: {state}")?;
    }
    if let Some(cgroup) = &status.sessions.cgroup {
        let known = count(status.known);
        writeln!(text, "{:<12}counted in {cgroup}; {known} sources are known on restricted ports", "sessions")?;
    }
    let Packets { passed, dropped, would_drop } = *packets;
    writeln!(
        text,
        "{:<12}{} passed ({} of them would be dropped by enforcing), {} dropped",
        "packets",
        count(passed),
        count(would_drop),
        count(dropped)
    )?;
    let WouldHave { hidden, blocked, with_sessions } = status.would_have;
    if hidden + blocked > 0 {
        writeln!(
            text,
            "{:<12}enforcing would have hidden ports from {} sources and blocked {}; {} of these have had sessions here",
            "what if",
            count(hidden),
            count(blocked),
            count(with_sessions)
        )?;
    }
    writeln!(text, "{:<12}{} known, {} of them suspects", "sources", count(*sources), count(*suspects))?;
    let VerdictCounts { conceal, block } = *verdicts;
    writeln!(
        text,
        "{:<12}{} conceal, {} block, {} adrift{}",
        "verdicts",
        count(conceal),
        count(block),
        status.drift,
        waiting(status)
    )?;
    for (position, MapFill { name, entries, capacity, bytes: size }) in maps.iter().enumerate() {
        let heading = if position == 0 { "tables" } else { "" };
        let size = bytes(*size);
        writeln!(text, "{heading:<12}{name}: {} of {} entries, {size}", count(*entries), count(*capacity))?;
    }
    let Takes { kernel_bytes, daemon_bytes, cpu_percent } = status.takes;
    if kernel_bytes > 0 {
        writeln!(
            text,
            "{:<12}{} of kernel memory, {} of the daemon, {cpu_percent:.1} % of a processor",
            "takes",
            bytes(kernel_bytes),
            bytes(daemon_bytes)
        )?;
    }
    for Warning { message, hint, unhealthy, degraded, .. } in &status.warnings {
        let sign = if *unhealthy || *degraded { paint.bad("problem") } else { paint.doubtful("warning") };
        writeln!(text, "\n{sign}: {message}\n  {hint}")?;
    }
    Ok(())
}

fn waiting(status: &Status) -> String {
    if status.pending == 0 { String::new() } else { format!(", {} wait for you", count(status.pending)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Counted, CountedPackets, SCHEMA_VERSION, SessionsWatch};

    fn example() -> Status {
        let interface = |name: &str, driver_mode: &str| Interface {
            name: name.into(),
            driver_mode: driver_mode.into(),
            attached: true,
            egress: "tcx".into(),
        };
        let map = |name: &str, entries, capacity, bytes| MapFill { name: name.into(), entries, capacity, bytes };
        Status {
            schema_version: SCHEMA_VERSION,
            version: "0.1.0".into(),
            mode: "observe".into(),
            mode_reverts_at: None,
            lockdown: None,
            daemon: true,
            kept: false,
            interfaces: vec![interface("eth0", "native"), interface("veth7", "generic")],
            sessions: SessionsWatch { watched: true, cgroup: Some("/sys/fs/cgroup".into()), reason: None },
            known: 2,
            known_proposed: Vec::new(),
            uptime_s: 7_261,
            kernel: "6.18.5".into(),
            packets: Packets { passed: 1_234_567, dropped: 0, would_drop: 12 },
            counters: Counted {
                packets: vec![CountedPackets {
                    level: "conceal".into(),
                    reason: "hidden_closed".into(),
                    mode: "observe".into(),
                    packets: 12,
                    bytes: 720,
                }],
                ..Counted::default()
            },
            sources: 1_024,
            suspects: 3,
            verdicts: VerdictCounts { conceal: 3, block: 0 },
            would_have: WouldHave { hidden: 3, blocked: 1, with_sessions: 1 },
            pending: 0,
            drift: 0,
            ring_lost: 0,
            maps: vec![map("SOURCES", 1_024, 262_144, 52_428_800), map("OWN", 5, 4_096, 393_216)],
            takes: Takes { kernel_bytes: 199 << 20, daemon_bytes: 24 << 20, cpu_percent: 0.22 },
            healthy: true,
            degraded: false,
            warnings: Vec::new(),
        }
    }

    #[test]
    fn a_daemon_at_work() {
        insta::assert_snapshot!(status(&example(), Paint::new(false)));
        insta::assert_json_snapshot!(example());
    }

    #[test]
    fn enforcing_that_is_to_be_confirmed() {
        let reverts = Some("2026-03-01T12:05:00.000Z".into());
        let text = status(&Status { mode: "enforce".into(), mode_reverts_at: reverts, ..example() }, Paint::new(false));
        let head: Vec<&str> = text.lines().take(2).collect();
        insta::assert_snapshot!(head.join("\n"));
    }

    #[test]
    fn no_daemon_but_a_kernel_part_at_work() {
        let text = status(&Status { daemon: false, kept: true, healthy: false, ..example() }, Paint::new(false));
        assert!(
            text.starts_with("scanguard 0.1.0 is unhealthy, mode observe, without a daemon, Linux 6.18.5\n"),
            "{text}"
        );
    }

    #[test]
    fn a_daemon_whose_decisions_are_not_kept_is_degraded() {
        let warning = Warning {
            code: "state_unusable".into(),
            message: "It would be forgotten.".into(),
            hint: "Name another file.".into(),
            unhealthy: false,
            degraded: true,
        };
        let text = status(&Status { degraded: true, warnings: vec![warning], ..example() }, Paint::new(false));
        assert!(text.starts_with("scanguard 0.1.0 is degraded, mode observe"), "{text}");
        assert!(text.ends_with("\nproblem: It would be forgotten.\n  Name another file.\n"), "{text}");
    }

    #[test]
    fn a_daemon_in_trouble() {
        let mut ill = example();
        ill.healthy = false;
        ill.interfaces[1].attached = false;
        ill.ring_lost = 7;
        let warning = |code: &str, unhealthy| Warning {
            code: code.into(),
            message: format!("This is what {code} says."),
            hint: "This is what to do.".into(),
            unhealthy,
            degraded: false,
        };
        ill.warnings = vec![warning("not_attached", true), warning("events_lost", false)];
        insta::assert_snapshot!(status(&ill, Paint::new(false)));
        assert!(status(&ill, Paint::new(true)).contains("\u{1b}[1m\u{1b}[31mproblem\u{1b}[0m"));
    }
}
