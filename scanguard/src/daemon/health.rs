//! What a person should look at.

use std::time::{Duration, SystemTime};

use super::decide::LostEvents;
use super::live::Drifted;
use crate::api::{Interface, MapFill, ProposedKnown, SessionsWatch, Warning, timestamp};
use crate::duration;
use crate::known::Fronted;
use crate::store::{Health, SetAside, Trouble, TroubleKind};

/// A full table is no harm while it holds everybody seen in this time: what goes is older.
const MEMORY: Duration = Duration::from_secs(3600);
/// How long after somebody altered the kernel's tables there is a warning of it.
const DRIFT_IS_NEWS: Duration = Duration::from_secs(600);
/// How long after a damaged file was set aside there is a warning of it.
const ASIDE_IS_NEWS: Duration = Duration::from_secs(86_400);
/// Part of its capacity at which a table that forgets counts as full: the kernel keeps some entries free on every CPU.
const FULL: f64 = 0.98;

/// Tables from which nothing is forgotten.
const KEEPS_ALL: [&str; 4] = ["VERDICTS", "PREFIX_VERDICTS", "ALLOW", "KNOWN"];

/// What the warnings are drawn from.
pub(super) struct Facts<'f> {
    /// Whether a daemon runs.
    pub(super) daemon: bool,
    /// How long ago the kernel part was last told so.
    pub(super) heartbeat: Duration,
    pub(super) interfaces: &'f [Interface],
    /// Whose TCP sessions are counted.
    pub(super) sessions: &'f SessionsWatch,
    /// Why some who are logged in are not seen.
    pub(super) logins_unseen: Option<&'f str>,
    pub(super) maps: &'f [MapFill],
    /// How long ago the longest unseen source of the table was seen.
    pub(super) oldest: Option<Duration>,
    /// Attempts that could not be counted per source.
    pub(super) uncounted: u64,
    pub(super) ring_lost: u64,
    /// Events on which nothing was decided, because they came too fast.
    pub(super) undecided: LostEvents,
    /// Log lines that were dropped because nobody read them in time.
    pub(super) unread_lines: u64,
    /// Attempts at public ports of sources that got no record in a flood.
    pub(super) unrecorded: u64,
    /// Whether suspects arise faster than real ones do.
    pub(super) storm: bool,
    /// Whether this host forwards packets for others.
    pub(super) forwards: bool,
    /// When enforcing ends unless it is confirmed.
    pub(super) reverts: Option<SystemTime>,
    /// How the file of state is.
    pub(super) archive: &'f Health,
    /// What somebody else altered in the kernel's tables lately.
    pub(super) drifted: Option<&'f Drifted>,
    /// Whether no more automatic blocks are made now.
    pub(super) breaker_open: bool,
    /// Blocks that wait for a person.
    pub(super) pending: u64,
    /// Where most sessions come from, if that is few networks.
    pub(super) fronted: Option<Fronted>,
    /// Clients that may be worth adding to those who are known.
    pub(super) known_proposed: &'f [ProposedKnown],
}

fn warning(code: &str, message: impl Into<String>, hint: impl Into<String>) -> Warning {
    Warning { code: code.into(), message: message.into(), hint: hint.into(), unhealthy: false, degraded: false }
}

/// The warnings, the grave ones first.
pub(super) fn warnings(facts: &Facts<'_>) -> Vec<Warning> {
    let Facts { daemon, heartbeat, interfaces, maps, oldest, uncounted, ring_lost, unrecorded, storm, .. } = *facts;
    let Facts {
        sessions,
        logins_unseen,
        forwards,
        reverts,
        archive,
        drifted,
        breaker_open,
        pending,
        fronted,
        undecided,
        unread_lines,
        known_proposed,
        ..
    } = *facts;
    let mut warnings = Vec::new();
    if !daemon {
        warnings.push(no_daemon(heartbeat));
    }
    warnings.extend(interfaces.iter().filter(|interface| !interface.attached).map(detached));
    warnings.extend((daemon && interfaces.is_empty()).then(unguarded));
    let sources = maps.iter().find(|map| map.name == "SOURCES");
    warnings.extend(sources.filter(|_| oldest.is_some_and(|oldest| oldest < MEMORY)).and_then(full));
    warnings.extend(maps.iter().filter(|map| KEEPS_ALL.contains(&map.name.as_str())).filter_map(takes_no_more));
    warnings.extend(archive.trouble.as_ref().map(forgets));
    warnings.extend(archive.set_aside.as_ref().filter(|aside| is_news(aside.at, ASIDE_IS_NEWS)).map(set_aside));
    if archive.records_lost > 0 {
        warnings.push(warning(
            "records_lost",
            format!(
                "{} records of the audit or of the lives of blocks were lost since the start: the state file failed \
                 for too long.",
                archive.records_lost
            ),
            "Make room on its disk, or make it writable. What was lost is in the daemon's log alone.",
        ));
    }
    if let Some(reverts) = reverts {
        warnings.push(warning(
            "unconfirmed",
            format!("Enforcing ends at {} unless you confirm it.", timestamp(reverts)),
            "`scanguard confirm` keeps it.",
        ));
    }
    if uncounted > 0 {
        warnings.push(warning(
            "attempts_uncounted",
            format!("{uncounted} connection attempts could not be counted per source: the table took no entry."),
            "Raise `max_sources` in [sources] and restart.",
        ));
    }
    if ring_lost > 0 {
        warnings.push(warning(
            "events_lost",
            format!("{ring_lost} events were lost since the start: they came faster than they were read."),
            "Counters lost nothing. If it goes on, raise `ring_kib` in [events] and restart.",
        ));
    }
    if undecided != LostEvents::default() {
        let LostEvents { proofs, rest } = undecided;
        warnings.push(warning(
            "events_undecided",
            format!(
                "{proofs} completed decoys and {rest} other events were lost since the start before anything was \
                 decided on them: they came faster than it was decided."
            ),
            "Sources that go on are decided on with their next event. If the first number grows, give the daemon more \
             processor time.",
        ));
    }
    if unread_lines > 0 {
        warnings.push(warning(
            "log_lines_dropped",
            format!("{unread_lines} log lines were dropped since the start: whoever reads the log was too slow."),
            "Find out what held up its reader. Decisions do not wait for it, and none is missing from the audit.",
        ));
    }
    if unrecorded > 0 {
        warnings.push(warning(
            "flood",
            format!("{unrecorded} attempts at public ports since the start passed without a record of who sent them: new sources came in a flood."),
            "They are in the counters. If it was no flood, raise `new_per_second` in [sources].",
        ));
    }
    if let Some(Drifted { at, tables }) = drifted.filter(|drifted| is_news(drifted.at, DRIFT_IS_NEWS)) {
        let tables: Vec<String> = tables.iter().map(|(map, entries)| format!("{map}: {entries}")).collect();
        warnings.push(warning(
            "drift",
            format!(
                "Entries of the kernel's tables were altered by somebody else, and put right at {} ({}).",
                timestamp(*at),
                tables.join(", ")
            ),
            "Something beside scanguard writes its tables: `bpftool map` shows who holds them.",
        ));
    }
    if breaker_open {
        warnings.push(warning(
            "budget",
            "As many automatic blocks as may be were made: new scanners are concealed, and not blocked, until there is room.",
            "`per_minute` and `most` in [block] set the budget.",
        ));
    }
    if let Some(Fronted { networks, sessions, of }) = fronted {
        let few = if networks == 1 { "one network".to_owned() } else { format!("{networks} networks") };
        warnings.push(warning(
            "fronted",
            format!(
                "{sessions} of {of} sessions come from {few}: a proxy or a delivery network seems to be in front of this host. \
                 Nobody is blocked from public ports without a person, because who is behind them is not known."
            ),
            "Put the proxies' addresses on the allowlist: `scanguard allow add`. They are then never acted on.",
        ));
    }
    if pending > 0 {
        let blocks = if pending == 1 { "1 block waits".to_owned() } else { format!("{pending} blocks wait") };
        warnings.push(warning(
            "pending",
            format!("{blocks} for a person."),
            "`scanguard pending list` shows which and why; unanswered they come to nothing.",
        ));
    }
    if !known_proposed.is_empty() {
        let clients: Vec<String> =
            known_proposed.iter().map(|client| format!("{} ({} days)", client.source, client.days)).collect();
        warnings.push(warning(
            "known_proposed",
            format!(
                "Clients have worked on restricted ports on seven days or more, in sessions too short to make them known: {}. Were \
                 somebody to forge scans in their names, those ports would be hidden from them.",
                clients.join(", ")
            ),
            "Those you know: `scanguard known add`. (Who guesses passwords, and of whom no log tool tells, can look like that.)",
        ));
    }
    if storm {
        warnings.push(warning(
            "storm",
            "Suspects arise faster than real ones do: somebody forges them. Attempts on closed ports are dropped, \
             whoever makes them; open ports are as before.",
            "It ends by itself. `suspects_per_second` in [storm] says when it begins.",
        ));
    }
    let unseen: Vec<&str> = interfaces
        .iter()
        .filter(|interface| daemon && interface.attached && interface.egress == "none")
        .map(|interface| interface.name.as_str())
        .collect();
    if !unseen.is_empty() {
        let more = if forwards {
            " Ports that this host forwards to others (containers, DNAT) have no listener here, and count as closed once the \
             learning period is over, unless they are named in `public` or `restricted` of [ports]."
        } else {
            ""
        };
        warnings.push(warning(
            "egress_missing",
            format!(
                "What leaves by {} is neither seen nor judged. Late answers to what this host asked may look like questions. Segments \
                 to restricted ports that belong to no connection are looked up among the sockets as they arrive instead, which costs \
                 more; what only leaving answers tell, ports that opened a moment ago and errors for sources under block all, \
                 suspects and blocked sources get to see. Sessions cannot be told from those that somebody on this host makes in \
                 others' names: they make nobody known and back no signal, and in doubt whoever has one is a customer.{more}",
                unseen.join(", ")
            ),
            "The daemon's log says why. It takes Linux 6.6 (TCX), or the queueing discipline clsact (`modprobe sch_ingress`); it is \
             tried again whenever interfaces change.",
        ));
    }
    if daemon && let Some(reason) = &sessions.reason {
        warnings.push(warning(
            "sessions_unseen",
            format!(
                "TCP sessions are not counted: {reason}. Nobody becomes known by sessions on restricted ports; logins that are seen, \
                 and `scanguard known add`, do that all the same."
            ),
            "Mount control groups of version 2, or name one in `cgroup` of the configuration; \"off\" ends this warning.",
        ));
    }
    if let Some(reason) = logins_unseen {
        warnings.push(warning(
            "logins_unseen",
            format!(
                "Who is logged in by ssh is not seen ({reason}): it is not put on the allowlist, and what you type is not \
                 kept from locking it out."
            ),
            "Start `scanguard-logins.service`, or whatever runs `scanguard logins serve`, and name its socket in `logins` of \
             [safety]; or name your networks in `allow` and set `leases = false`.",
        ));
    }
    warnings
}

/// A clock that was set since does not make it old news.
fn is_news(at: SystemTime, long: Duration) -> bool {
    at.elapsed().unwrap_or_default() < long
}

/// The file of state cannot be written.
fn forgets(trouble: &Trouble) -> Warning {
    let (code, hint) = match trouble.kind {
        TroubleKind::Full => ("state_full", "Make room on that disk: it goes on by itself then."),
        TroubleKind::ReadOnly => ("state_read_only", "Make it writable again: it goes on by itself then."),
        TroubleKind::Damaged => {
            ("state_damaged", "It is tried every two seconds to begin a new file: see the daemon's log.")
        }
        TroubleKind::Other => {
            ("state_unusable", "`state` in the configuration names the file; it is tried again every two seconds.")
        }
    };
    let message = format!(
        "What you allow, block or switch is in force, but would be forgotten at a restart: {}.",
        trouble.message
    );
    Warning { degraded: true, ..warning(code, message, hint) }
}

/// A damaged file was replaced.
fn set_aside(aside: &SetAside) -> Warning {
    let SetAside { at, path, reason } = aside;
    warning(
        "state_set_aside",
        format!(
            "The file of state was damaged ({reason}); it was set aside as {} at {}, and a new one has what the daemon knew.",
            path.display(),
            timestamp(*at)
        ),
        "Find out what damaged it (`scanguard audit list` and the lives of blocks before are in the damaged file alone).",
    )
}

/// Without a daemon the kernel part goes on for a while as it was.
fn no_daemon(heartbeat: Duration) -> Warning {
    let since = duration::format(Duration::from_secs(heartbeat.as_secs()));
    Warning {
        code: "no_daemon".into(),
        message: format!(
            "No daemon runs, since {since}: what is concealed or blocked stays so until its time is over, and nothing new begins."
        ),
        hint: "Start one with `scanguard run`, which takes over; `scanguard detach` ends it.".into(),
        unhealthy: true,
        degraded: false,
    }
}

/// A table from which nothing is forgotten is full.
fn takes_no_more(map: &MapFill) -> Option<Warning> {
    (map.entries >= map.capacity).then(|| Warning {
        code: "table_full".into(),
        message: format!("The table {} is full ({} entries) and takes no more.", map.name, map.entries),
        hint: "Remove entries (`scanguard allow list`, `scanguard block list`), or use prefixes instead of addresses."
            .into(),
        unhealthy: true,
        degraded: false,
    })
}

fn detached(interface: &Interface) -> Warning {
    Warning {
        code: "not_attached".into(),
        message: format!("{} is not guarded: our program is not on it.", interface.name),
        hint: format!(
            "`ip -d link show dev {}` tells what is there. It is tried again whenever interfaces change.",
            interface.name
        ),
        unhealthy: true,
        degraded: false,
    }
}

fn unguarded() -> Warning {
    Warning {
        code: "not_attached".into(),
        message: "No interface is guarded: none has a default route, which is what `auto` waits for.".into(),
        hint: "`ip route` tells which routes there are. It is tried again whenever interfaces change.".into(),
        unhealthy: true,
        degraded: false,
    }
}

fn full(map: &MapFill) -> Option<Warning> {
    (map.entries as f64 >= FULL * map.capacity as f64).then(|| Warning {
        code: "sources_full".into(),
        message: format!(
            "The table of sources is full ({} of {}) and forgets sources seen less than an hour ago.",
            map.entries, map.capacity
        ),
        hint: "Raise `max_sources` in [sources] and restart.".into(),
        unhealthy: true,
        degraded: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::WARNING_CODES;

    fn codes(facts: &Facts<'_>) -> Vec<(String, bool)> {
        warnings(facts).into_iter().map(|warning| (warning.code, warning.unhealthy)).collect()
    }

    fn map(name: &str, entries: u64) -> MapFill {
        MapFill { name: name.into(), entries, capacity: 100, bytes: 0 }
    }

    #[test]
    fn a_daemon_that_does_its_work_has_no_warnings() {
        let interfaces =
            [Interface { name: "eth0".into(), driver_mode: "native".into(), attached: true, egress: "tcx".into() }];
        let maps = [map("SOURCES", 100), map("VERDICTS", 99), map("ALLOW", 0)];
        let quiet = Facts {
            daemon: true,
            heartbeat: Duration::from_secs(1),
            interfaces: &interfaces,
            sessions: &SessionsWatch::default(),
            logins_unseen: None,
            maps: &maps,
            oldest: Some(Duration::from_secs(7200)),
            uncounted: 0,
            ring_lost: 0,
            undecided: LostEvents::default(),
            unread_lines: 0,
            unrecorded: 0,
            storm: false,
            forwards: false,
            reverts: None,
            archive: &Health::default(),
            drifted: None,
            breaker_open: false,
            pending: 0,
            fronted: None,
            known_proposed: &[],
        };
        assert_eq!(codes(&quiet), [], "a full table that forgets only old sources is as it should be");
    }

    #[test]
    fn what_keeps_it_from_its_work_is_unhealthy_and_the_rest_is_not() {
        let interfaces =
            [Interface { name: "eth0".into(), driver_mode: "native".into(), attached: false, egress: "none".into() }];
        let maps = [map("SOURCES", 99), map("VERDICTS", 100)];
        let client = ProposedKnown { source: "203.0.113.20".into(), days: 9, ..ProposedKnown::default() };
        let proposed = vec![client];
        let drifted = Drifted { at: SystemTime::now(), tables: vec![("ALLOW", 1)] };
        let trouble = Trouble { kind: TroubleKind::Full, message: "no room".into() };
        let aside = SetAside { at: SystemTime::now(), path: "/aside".into(), reason: "rubbish".into() };
        let ill = Facts {
            daemon: false,
            heartbeat: Duration::from_secs(3700),
            interfaces: &interfaces,
            sessions: &SessionsWatch::default(),
            logins_unseen: None,
            maps: &maps,
            oldest: Some(Duration::from_secs(5)),
            uncounted: 1,
            ring_lost: 1,
            undecided: LostEvents { proofs: 1, rest: 0 },
            unread_lines: 1,
            unrecorded: 1,
            storm: true,
            forwards: true,
            reverts: Some(SystemTime::UNIX_EPOCH),
            archive: &Health { trouble: Some(trouble), set_aside: Some(aside), records_lost: 1, ..Health::default() },
            drifted: Some(&drifted),
            breaker_open: true,
            pending: 1,
            fronted: Some(Fronted { networks: 1, sessions: 900, of: 1000 }),
            known_proposed: &proposed,
        };
        let expected = [
            ("no_daemon", true),
            ("not_attached", true),
            ("sources_full", true),
            ("table_full", true),
            ("state_full", false),
            ("state_set_aside", false),
            ("records_lost", false),
            ("unconfirmed", false),
            ("attempts_uncounted", false),
            ("events_lost", false),
            ("events_undecided", false),
            ("log_lines_dropped", false),
            ("flood", false),
            ("drift", false),
            ("budget", false),
            ("fronted", false),
            ("pending", false),
            ("known_proposed", false),
            ("storm", false),
        ];
        let degraded = warnings(&ill).into_iter().filter(|warning| warning.degraded);
        assert_eq!(degraded.map(|warning| warning.code).collect::<Vec<_>>(), ["state_full"]);
        assert_eq!(codes(&ill), expected.map(|(code, unhealthy)| (code.to_owned(), unhealthy)));
        let interfaces =
            [Interface { name: "eth0".into(), driver_mode: "native".into(), attached: true, egress: "none".into() }];
        let sessions = SessionsWatch { watched: false, cgroup: None, reason: Some("for some reason".into()) };
        let blind = Facts {
            daemon: true,
            interfaces: &interfaces,
            sessions: &sessions,
            logins_unseen: Some("this takes CAP_SYS_PTRACE"),
            maps: &[],
            uncounted: 0,
            ring_lost: 0,
            undecided: LostEvents::default(),
            unread_lines: 0,
            unrecorded: 0,
            storm: false,
            reverts: None,
            archive: &Health::default(),
            drifted: None,
            breaker_open: false,
            pending: 0,
            fronted: None,
            known_proposed: &[],
            ..ill
        };
        let expected = ["egress_missing", "sessions_unseen", "logins_unseen"].map(|code| (code.to_owned(), false));
        assert_eq!(codes(&blind), expected);
        let told = &warnings(&blind)[0].message;
        for part in ["What leaves by eth0 is neither seen nor judged", "looked up among the sockets as they arrive"] {
            assert!(told.contains(part), "{told}");
        }
    }

    /// By this file's own text.
    #[test]
    fn each_code_of_a_warning_can_be_counted_and_is_in_the_operations_manual() {
        let source = include_str!("health.rs");
        let (program, _) = source.split_once("#[cfg(test)]").expect("tests at the end");
        for code in WARNING_CODES {
            assert!(program.contains(&format!("\"{code}\"")), "nothing here warns of {code}");
            let manual = include_str!("../../../docs/operations.md");
            assert!(manual.contains(&format!("`{code}`")), "docs/operations.md does not say what {code} means");
        }
        let begins = program.split("warning(\n            \"").skip(1).chain(program.split("code: \"").skip(1));
        let named: Vec<&str> = begins.filter_map(|rest| rest.split('"').next()).collect();
        assert!(named.len() > 15, "{named:?}");
        let kinds = [TroubleKind::Full, TroubleKind::ReadOnly, TroubleKind::Damaged, TroubleKind::Other];
        let troubles = kinds.map(|kind| forgets(&Trouble { kind, message: String::new() }).code);
        for code in named.into_iter().chain(troubles.iter().map(String::as_str)) {
            assert!(WARNING_CODES.contains(&code), "{code} is not among the codes that metrics count");
        }
    }
}
