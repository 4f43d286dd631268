//! `scanguard status` for people.

use std::fmt::{self, Write as _};
use std::time::{Duration, SystemTime};

use super::Paint;
use super::human::{bytes, count, duration, moment};
use super::supposed;
use crate::api::{Cannot, Interface, MapFill, Packets, Status, Takes, VerdictCounts, Warning, WouldHave};

/// The status as text.
#[must_use]
pub fn status(status: &Status, paint: Paint) -> String {
    let mut text = String::new();
    write(status, paint, &mut text).expect("a String takes everything");
    text
}

fn write(status: &Status, paint: Paint, text: &mut String) -> fmt::Result {
    let Status { mode, uptime_s, kernel, interfaces, packets, sources, suspects, verdicts, maps, .. } = status;
    writeln!(text, "{}", headline(status, paint))?;
    for line in supposed::customers(&status.observed).iter().filter(|_| status.mode == "observe") {
        writeln!(text, "  {line}")?;
    }
    for Cannot { message, hint, .. } in &status.cannot {
        writeln!(text, "{message} {hint}")?;
    }
    writeln!(text)?;
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
            "{:<12}since the daemon's start, in mode observe: {} times a source would have been concealed and {} times blocked; {} of \
             these had sessions here",
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

/// What a person needs to know first, in a sentence or two.
fn headline(status: &Status, paint: Paint) -> String {
    let Status { interfaces, packets, verdicts, observed, .. } = status;
    let names = |attached: bool| -> Vec<&str> {
        let those = interfaces.iter().filter(|interface| interface.attached == attached);
        those.map(|interface| interface.name.as_str()).collect()
    };
    let (guarded, missing) = (listed(&names(true)), listed(&names(false)));
    let enforces = status.mode == "enforce";
    let does = if enforces { "enforcing" } else { "observing" };
    let span = status.mode_since.as_deref().and_then(|since| super::human::since(since, now(status)));
    let span = span.map_or_else(String::new, |span| format!(" for {span}"));
    let mut text = match (guarded.is_empty(), missing.is_empty()) {
        (true, _) => paint.bad("Guarding nothing: it is attached to no interface."),
        (false, true) => format!("Guarding {guarded}, {does}{span}."),
        (false, false) => format!("Guarding {guarded}, {}, {does}{span}.", paint.bad(&format!("but not {missing}"))),
    };
    if !status.daemon {
        text.push_str(" No daemon runs: the kernel part goes on alone, and decides nothing new for long.");
        return text;
    }
    text.push(' ');
    if enforces {
        let hidden = if verdicts.conceal == 1 { "source" } else { "sources" };
        text.push_str(&format!(
            "{} packets were dropped so far; restricted and closed ports are hidden from {} {hidden} now, and {} are blocked.",
            count(packets.dropped),
            count(verdicts.conceal),
            count(verdicts.block)
        ));
    } else {
        text.push_str(&supposed::sentence(
            observed,
            status.mode_since.as_deref(),
            Duration::from_secs(status.uptime_s),
        ));
    }
    text
}

/// When this was so: the daemon's start, and as long after it as the daemon is up.
fn now(status: &Status) -> SystemTime {
    let started = status.observed.since.as_deref().and_then(|since| humantime::parse_rfc3339(since).ok());
    started.map_or_else(SystemTime::now, |started| started + Duration::from_secs(status.uptime_s))
}

/// `a`, `a and b`, `a, b and c`.
fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

fn waiting(status: &Status) -> String {
    if status.pending == 0 { String::new() } else { format!(", {} wait for you", count(status.pending)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{Counted, CountedPackets, Observed, ObservedCustomer, SCHEMA_VERSION, SessionsWatch};

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
            mode_since: None,
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
            observed: Observed {
                since: Some("2026-03-01T12:00:00.000Z".into()),
                packets: 12,
                sources: 3,
                at_least: false,
                with_sessions: 1,
                customers: vec![ObservedCustomer {
                    source: "198.51.100.7".into(),
                    level: "conceal".into(),
                    sessions: 14,
                    days: 3,
                }],
            },
            cannot: Vec::new(),
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
        let head: Vec<&str> = text.lines().take(4).collect();
        insta::assert_snapshot!(head.join("\n"));
    }

    #[test]
    fn no_daemon_but_a_kernel_part_at_work() {
        let text = status(&Status { daemon: false, kept: true, healthy: false, ..example() }, Paint::new(false));
        assert!(
            text.contains("\nscanguard 0.1.0 is unhealthy, mode observe, without a daemon, Linux 6.18.5\n"),
            "{text}"
        );
        assert!(text.starts_with("Guarding eth0 and veth7, observing. No daemon runs: "), "{text}");
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
        assert!(text.contains("\nscanguard 0.1.0 is degraded, mode observe"), "{text}");
        assert!(text.ends_with("\nproblem: It would be forgotten.\n  Name another file.\n"), "{text}");
    }

    #[test]
    fn the_first_sentence_says_what_enforcing_would_do_and_what_is_not_possible() {
        let first =
            |status: &Status| super::status(status, Paint::new(false)).lines().next().unwrap_or_default().to_owned();
        let since = Some("2026-02-23T14:01:01.000Z".to_owned());
        let observing = Status { mode_since: since, ..example() };
        assert!(first(&observing).starts_with("Guarding eth0 and veth7, observing for 6d. "), "{}", first(&observing));
        let enforcing = Status { mode: "enforce".into(), ..observing };
        assert!(first(&enforcing).starts_with("Guarding eth0 and veth7, enforcing for 6d. 0 packets were dropped"));
        let mut nothing = example();
        nothing.interfaces.iter_mut().for_each(|interface| interface.attached = false);
        assert!(first(&nothing).starts_with("Guarding nothing"), "{}", first(&nothing));
        let (message, hint) = ("No automatic block is possible: so it is.".to_owned(), "Do that.".to_owned());
        let cannot = vec![Cannot { code: "automatic_block".into(), message, hint }];
        let text = super::status(&Status { cannot, ..example() }, Paint::new(false));
        assert!(text.contains("\nNo automatic block is possible: so it is. Do that.\n"), "{text}");
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
