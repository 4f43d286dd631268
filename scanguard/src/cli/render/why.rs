//! `scanguard why` for people.

use std::fmt::{self, Write as _};

use super::Paint;
use super::allow::by;
use super::human::{count, moment};
use super::table::{Side, table};
use crate::api::{Evidence, Why, WhyAnswered, WhyKnown, WhyPending, WhyProof, WhySessions, WhySignal, WhyVerdict};

const COLUMNS: [(&str, Side); 8] = [
    ("TIME", Side::Left),
    ("PROTO", Side::Left),
    ("DESTINATION", Side::Left),
    ("PORT", Side::Right),
    ("OUTCOME", Side::Left),
    ("STEP", Side::Right),
    ("SCORE", Side::Right),
    ("PROVEN", Side::Left),
];

/// A screen: verdict, what comes next, arithmetic, the latest evidence.
#[must_use]
pub fn why(why: &Why, paint: Paint) -> String {
    let mut text = String::new();
    write(why, Some(SHORT), paint, &mut text).expect("a String takes everything");
    text
}

/// All of it: verdict, evidence, arithmetic, allowlist, what comes next.
#[must_use]
pub fn why_in_full(why: &Why, paint: Paint) -> String {
    let mut text = String::new();
    write(why, None, paint, &mut text).expect("a String takes everything");
    text
}

/// How much of each section a screen has.
#[derive(Clone, Copy, Debug)]
struct Most {
    arithmetic: usize,
    evidence: usize,
    others: usize,
}

const SHORT: Most = Most { arithmetic: 6, evidence: 5, others: 2 };

/// The last so many lines, and how many there are before them.
fn latest<T>(lines: &[T], most: Option<usize>) -> (&[T], usize) {
    let before = most.map_or(0, |most| lines.len().saturating_sub(most));
    (&lines[before..], before)
}

fn write(why: &Why, most: Option<Most>, paint: Paint, text: &mut String) -> fmt::Result {
    let Why { address, source, verdict, evidence, allow, attempts, contacts, first_seen, last_seen, .. } = why;
    let whose = if address == source { String::new() } else { format!(", which belongs to the source {source}") };
    writeln!(text, "{}{whose}: {}", paint.strong(address), state(why, paint))?;
    writeln!(text, "  {}", meaning(why))?;
    for line in details(verdict) {
        writeln!(text, "  {line}")?;
    }
    if let (Some(first), Some(last)) = (first_seen, last_seen) {
        let (attempts, contacts) = (count(*attempts), count(*contacts));
        let (first, last) = (moment(first), moment(last));
        writeln!(text, "  Seen first {first}, last {last}: {attempts} attempts, {contacts} contacts.")?;
    }
    if most.is_some() {
        section(text, "Next", std::slice::from_ref(&why.next_step), paint)?;
    }
    // The first sentences say what counted and how it adds up.
    let arithmetic = &why.arithmetic[..why.arithmetic.len().min(most.map_or(usize::MAX, |most| most.arithmetic))];
    section(text, "Why", arithmetic, paint)?;
    if arithmetic.len() < why.arithmetic.len() {
        writeln!(text, "  … and {} more; --full shows them.", why.arithmetic.len() - arithmetic.len())?;
    }
    if !evidence.is_empty() {
        let (evidence, before) = latest(evidence, most.map(|most| most.evidence));
        let rows: Vec<_> = evidence.iter().map(row).collect();
        writeln!(text, "\n{}", paint.strong("Evidence"))?;
        if before > 0 {
            writeln!(text, "  The latest {}; --full shows {} before them.", evidence.len(), count(before as u64))?;
        }
        for line in table(COLUMNS, &rows, Paint::new(false)).lines() {
            writeln!(text, "  {line}")?;
        }
    }
    let on_the_list =
        allow.entry.as_ref().map_or_else(|| "It is not on it.".to_owned(), |entry| format!("By {}.", by(entry)));
    if allow.entry.is_some() || most.is_none() {
        section(text, "Allowlist", &[on_the_list], paint)?;
    }
    let proof: Vec<String> = why.proof.iter().map(proof_line).collect();
    let incidents = why.incidents.iter().map(|id| format!("Incident {id}: `scanguard incidents show {id}`."));
    let unread = why.incidents_unread.iter().map(|why| format!("Those of before cannot be read: {why}."));
    let incidents: Vec<String> = incidents.chain(unread).collect();
    let signals: Vec<String> = why.signals.iter().map(signal_line).collect();
    let answered: Vec<String> = why.answered.iter().map(answered).collect();
    let sessions: Vec<String> = why.sessions.iter().map(sessions).chain(known(&why.known)).collect();
    for (heading, lines) in [
        ("Signals", &signals),
        ("Feeds that name it", &why.feeds),
        ("Proof that the address is real", &proof),
        ("What it was answered as a suspect", &answered),
        ("Sessions", &sessions),
        ("Incidents", &incidents),
    ] {
        let (lines, before) = latest(lines, most.map(|most| most.others));
        section(text, heading, lines, paint)?;
        if before > 0 {
            writeln!(text, "  … and {} more; --full shows them.", count(before as u64))?;
        }
    }
    let pending: Vec<String> = why.pending.iter().map(waits).collect();
    section(text, "Waits for you", &pending, paint)?;
    if most.is_some() { Ok(()) } else { section(text, "Next", std::slice::from_ref(&why.next_step), paint) }
}

/// A heading with its lines, unless there are none.
fn section(text: &mut String, heading: &str, lines: &[String], paint: Paint) -> fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n{}", paint.strong(heading))?;
    lines.iter().try_for_each(|line| writeln!(text, "  {line}"))
}

fn proof_line(proof: &WhyProof) -> String {
    let WhyProof { time, kind: _, proto, destination, port } = proof;
    format!("{} {destination} port {port}/{proto}: it completed a handshake with a port that is closed", moment(time))
}

fn signal_line(signal: &WhySignal) -> String {
    let WhySignal { time, weight, reason, backed, proof } = signal;
    let said = if *proof { ", said to be proof" } else { "" };
    let backing = if *backed { "backed by a session" } else { "not backed" };
    format!("{} {reason} (weight {weight}{said}, {backing})", moment(time))
}

fn waits(pending: &WhyPending) -> String {
    let WhyPending { scope, doubt: _, people, expires } = pending;
    let from = if scope == "all" { "public" } else { "private" };
    format!(
        "Whether to block it from {from} ports, which is taken to harm {people} people beside the scanner; unanswered it is not, from {} on.",
        moment(expires)
    )
}

fn answered(answered: &WhyAnswered) -> String {
    let WhyAnswered { time, proto, destination, port, answer } = answered;
    let said = match answer.as_str() {
        "open" => "it is open",
        "datagram" => "a datagram",
        "refused" => "it is closed",
        "unreachable" => "nobody is there",
        other => other,
    };
    format!("{} {destination} port {port}/{proto}: {said}", moment(time))
}

fn sessions(sessions: &WhySessions) -> String {
    let WhySessions { ports, sessions, worked, bytes_in, bytes_out, first, last } = sessions;
    format!(
        "{} on {ports} ports, {} of them work; {} bytes received and {} sent. The first {}, the latest {}.",
        count(*sessions),
        count(*worked),
        count(*bytes_in),
        count(*bytes_out),
        moment(first),
        moment(last)
    )
}

fn known(known: &WhyKnown) -> Option<String> {
    let WhyKnown { sessions, days, restricted_sessions, restricted_until, by } = known;
    let until = restricted_until.as_deref().map_or_else(String::new, |until| {
        let by = if by.is_empty() { String::new() } else { format!(" (by {})", by.join(", ")) };
        format!(" Known{by}: restricted ports stay open to it until {}.", moment(until))
    });
    (*sessions > 0 || !until.is_empty()).then(|| {
        format!(
            "Work on {} of the last 90 days, {} sessions, {} on restricted ports.{until}",
            count(*days),
            count(*sessions),
            count(*restricted_sessions)
        )
    })
}

fn state(why: &Why, paint: Paint) -> String {
    match why.verdict.level.as_str() {
        _ if why.never_judged.is_some() => paint.good("never judged"),
        _ if why.allow.matched => paint.good("allowed"),
        "block" => paint.bad("blocked"),
        "conceal" => paint.doubtful("concealed"),
        _ => paint.good("nothing is done about it"),
    }
}

/// What a verdict does.
fn meaning(why: &Why) -> String {
    let Why { mode, verdict: WhyVerdict { level, scope, origin, .. }, .. } = why;
    let allowed = why.allow.matched || why.never_judged.is_some();
    let does = match (level.as_str(), scope.as_deref()) {
        _ if allowed => return "Nothing is held against it, whatever it does.".to_owned(),
        ("block", Some("private")) => "no new connection to any port but public ones",
        ("block", _) => "no new connection at all",
        ("conceal", _) => "no answer from closed, canary and restricted ports; public ones are open to it",
        _ => return "It is treated like everybody else.".to_owned(),
    };
    if mode == "observe" && origin.as_deref() != Some("operator") {
        return format!("It would get {does}. But the mode is observe.");
    }
    format!("It gets {does}.")
}

fn details(verdict: &WhyVerdict) -> Vec<String> {
    let WhyVerdict { level: _, scope: _, reason, origin, prefix, since, expires } = verdict;
    let by = origin.as_deref().map(|origin| match origin {
        "operator" => "Decided by a person".to_owned(),
        "controller" => "Decided by the daemon".to_owned(),
        "kernel" => "Decided by the kernel part".to_owned(),
        other => format!("Decided by {other}"),
    });
    let by = by.map(|by| by + &reason.as_ref().map_or_else(String::new, |reason| format!(", reason: {reason}")) + ".");
    let covering = prefix.as_ref().map(|prefix| format!("The whole of {prefix} is meant."));
    let since = since.as_deref().map(|since| {
        let end =
            expires.as_deref().map_or_else(|| "until it is removed".to_owned(), |end| format!("until {}", moment(end)));
        format!("Since {}, {end}.", moment(since))
    });
    [by, covering, since].into_iter().flatten().collect()
}

fn row(evidence: &Evidence) -> [String; COLUMNS.len()] {
    let Evidence { time, proto, destination, port, outcome, step, score, proven } = evidence;
    [
        moment(time),
        proto.clone(),
        destination.clone(),
        port.to_string(),
        outcome.clone(),
        format!("{step:+.3}"),
        format!("{score:.3}"),
        proven.as_deref().map_or_else(|| "no".to_owned(), moment),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{AllowEntry, SCHEMA_VERSION, WhyAllow, WhyScore};

    fn suspect() -> Why {
        let evidence = |port, step, score| Evidence {
            time: "2026-03-01T12:00:00.123Z".into(),
            proto: "tcp".into(),
            destination: "192.0.2.10".into(),
            port,
            outcome: if step > 0.0 { "closed" } else { "public" }.into(),
            step,
            score,
            proven: (port == 23).then(|| "2026-03-01T12:00:01.500Z".into()),
        };
        Why {
            schema_version: SCHEMA_VERSION,
            address: "203.0.113.66".into(),
            source: "203.0.113.66".into(),
            mode: "observe".into(),
            verdict: WhyVerdict {
                level: "conceal".into(),
                reason: Some("closed".into()),
                origin: Some("kernel".into()),
                since: Some("2026-03-01T12:00:01.000Z".into()),
                expires: Some("2026-03-01T13:00:01.000Z".into()),
                ..WhyVerdict::default()
            },
            score: WhyScore { value: 4.6, conceal_at: 4.5, block_at: 9.0, step: 1.5, half_life_s: 600 },
            evidence: vec![evidence(443, 0.0, 0.0), evidence(23, 1.5, 1.5), evidence(8080, 1.5, 3.0)],
            evidence_forgotten: 1,
            incidents: vec![12, 7],
            attempts: 1_004,
            contacts: 4,
            first_seen: Some("2026-03-01T12:00:00.000Z".into()),
            last_seen: Some("2026-03-01T12:00:09.000Z".into()),
            arithmetic: vec!["It made 1004 attempts.".into(), "Its score is 4.600 now.".into()],
            next_step: "`scanguard allow add 203.0.113.66` ends it.".into(),
            ..Why::default()
        }
    }

    #[test]
    fn a_scan_of_a_thousand_ports_is_told_on_one_screen_and_in_full_on_request() {
        let mut scan = suspect();
        let first = scan.evidence[1].clone();
        scan.evidence = (1..=32).map(|port| Evidence { port, ..first.clone() }).collect();
        scan.arithmetic = (1..=9).map(|number| format!("Sentence {number}.")).collect();
        let answered =
            |port| WhyAnswered { port, proto: "tcp".into(), answer: "refused".into(), ..WhyAnswered::default() };
        scan.answered = (1..=40).map(answered).collect();
        let short = why(&scan, Paint::new(false));
        assert!(short.lines().count() <= 40, "{} lines:\n{short}", short.lines().count());
        assert!(short.contains("The latest 5; --full shows 27 before them.\n"), "{short}");
        assert!(short.contains("… and 38 more; --full shows them.\n") && short.contains(&scan.next_step), "{short}");
        let full = why_in_full(&scan, Paint::new(false));
        assert!(full.lines().count() > 80 && !full.contains("--full"), "{full}");
    }

    #[test]
    fn a_suspect() {
        insta::assert_snapshot!(why(&suspect(), Paint::new(false)));
        insta::assert_json_snapshot!(suspect());
        assert!(why(&suspect(), Paint::new(true)).contains("\u{1b}["));
    }

    #[test]
    fn a_blocked_prefix_around_an_ipv6_source() {
        let blocked = Why {
            address: "2001:db8:bad:1::7".into(),
            source: "2001:db8:bad:1::/64".into(),
            mode: "observe".into(),
            verdict: WhyVerdict {
                level: "block".into(),
                scope: Some("private".into()),
                reason: Some("spam".into()),
                origin: Some("operator".into()),
                prefix: Some("2001:db8:bad::/48".into()),
                since: Some("2026-03-01T12:00:00.000Z".into()),
                expires: None,
            },
            arithmetic: vec!["It was never seen.".into()],
            next_step: "It stays blocked until it is lifted.".into(),
            proof: vec![WhyProof {
                time: "2026-03-01T12:00:00.000Z".into(),
                kind: "decoy".into(),
                proto: "tcp".into(),
                destination: "192.0.2.1".into(),
                port: 23,
            }],
            ..Why::default()
        };
        insta::assert_snapshot!(why(&blocked, Paint::new(false)));
    }

    #[test]
    fn somebody_on_the_allowlist() {
        let entry = AllowEntry {
            prefix: "198.51.100.0/24".into(),
            comment: Some("the office".into()),
            source: "operator".into(),
            ..AllowEntry::default()
        };
        let allowed = Why {
            address: "198.51.100.7".into(),
            source: "198.51.100.7".into(),
            mode: "enforce".into(),
            verdict: WhyVerdict { level: "none".into(), ..WhyVerdict::default() },
            allow: WhyAllow { matched: true, entry: Some(entry) },
            arithmetic: vec!["It was never seen.".into()],
            next_step: "Nothing.".into(),
            ..Why::default()
        };
        insta::assert_snapshot!(why(&allowed, Paint::new(false)));
    }
}
