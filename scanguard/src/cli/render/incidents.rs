//! `scanguard incidents` for people.

use std::fmt::{self, Write as _};

use super::Paint;
use super::human::{ago, bytes, count, counted, moment};
use super::table::{Side, table};
use crate::api::{
    Incident, IncidentAnswer, IncidentDeed, IncidentList, IncidentPort, IncidentSessions, IncidentSource,
    IncidentState, IncidentSummary, IncidentTotals,
};
use crate::incidents::Cause;

const COLUMNS: [(&str, Side); 8] = [
    ("ID", Side::Right),
    ("KIND", Side::Left),
    ("WHO", Side::Left),
    ("STATE", Side::Left),
    ("SOURCES", Side::Right),
    ("CONTACTS", Side::Right),
    ("LAST SEEN", Side::Right),
    ("PORTS", Side::Left),
];
/// Lines of each table that are shown; JSON has all of them.
const MOST_LINES: usize = 20;

/// The incidents as a table.
#[must_use]
pub fn incidents(list: &IncidentList, paint: Paint) -> String {
    let IncidentList { as_of, total, incidents, .. } = list;
    if incidents.is_empty() {
        return "There are no such incidents.\n".to_owned();
    }
    let rows: Vec<_> = incidents.iter().map(|incident| row(incident, as_of)).collect();
    let mut text = table(COLUMNS, &rows, paint);
    let shown = incidents.len() as u64;
    if shown < *total {
        text.push_str(&format!("\n{} of {} incidents; --limit 0 lists all.\n", count(shown), count(*total)));
    }
    text
}

fn row(incident: &IncidentSummary, as_of: &str) -> [String; COLUMNS.len()] {
    let IncidentSummary { id, kind, subject, state, last_seen, most_asked, totals, .. } = incident;
    let mut ports = most_asked.iter().take(3).cloned().collect::<Vec<_>>().join(" ");
    if most_asked.len() > 3 {
        ports.push_str(" …");
    }
    [
        id.to_string(),
        kind.clone(),
        subject.clone().unwrap_or_else(|| "many networks".to_owned()),
        named(*state).to_owned(),
        count(totals.sources),
        count(totals.contacts),
        ago(last_seen, as_of),
        ports,
    ]
}

const fn named(state: IncidentState) -> &'static str {
    match state {
        IncidentState::Open => "open",
        IncidentState::Closed => "closed",
    }
}

/// A page: who, what was asked for, what was answered, what was done.
#[must_use]
pub fn incident(incident: &Incident, paint: Paint) -> String {
    let mut text = String::new();
    write(incident, paint, &mut text).expect("a String takes everything");
    text
}

fn write(incident: &Incident, paint: Paint, text: &mut String) -> fmt::Result {
    let Incident { summary, sources, sources_unlisted, ports, ports_unlisted, answered, sessions, done, .. } = incident;
    let IncidentSummary { id, kind, cause, subject, state, first_seen, last_seen, closed_at, part_of, totals, .. } =
        summary;
    let whose = match subject {
        Some(subject) => format!("{kind} {subject}"),
        None => kind.clone(),
    };
    let state = match state {
        IncidentState::Open => paint.doubtful("open"),
        IncidentState::Closed => paint.good("closed"),
    };
    writeln!(text, "{}, {whose}: {state}", paint.strong(&format!("Incident {id}")))?;
    if let Some(cause) = Cause::from_label(cause) {
        writeln!(text, "  {}", cause.sentence())?;
    }
    let closed = closed_at.as_deref().map_or_else(String::new, |closed| format!(", closed {}", moment(closed)));
    writeln!(text, "  Seen first {}, last {}{closed}.", moment(first_seen), moment(last_seen))?;
    if let Some(whole) = part_of {
        writeln!(text, "  It turned out to be a part of incident {whole}: `scanguard incidents show {whole}`.")?;
    }
    for line in sums(totals) {
        writeln!(text, "  {line}")?;
    }
    let rows: Vec<_> = ports.iter().map(port).collect();
    let columns = [("PORT", Side::Left), ("OUTCOME", Side::Left), ("CONTACTS", Side::Right)];
    section(text, "What was asked for", columns, &rows, paint)?;
    if *ports_unlisted > 0 {
        writeln!(text, "  {} with ports that are not listed.", counted(*ports_unlisted, "contact", "contacts"))?;
    }
    let rows: Vec<_> = answered.iter().map(answer).collect();
    let columns = [("PORT", Side::Left), ("ANSWER", Side::Left), ("TIMES", Side::Right)];
    section(text, "What suspects were answered", columns, &rows, paint)?;
    let rows: Vec<_> = sessions.iter().map(session).collect();
    let columns = [
        ("PORT", Side::Left),
        ("KIND", Side::Left),
        ("SESSIONS", Side::Right),
        ("WITH DATA", Side::Right),
        ("RECEIVED", Side::Right),
        ("SENT", Side::Right),
    ];
    section(text, "Sessions", columns, &rows, paint)?;
    let rows: Vec<_> = done.iter().map(deed).collect();
    let columns = [
        ("ACTION", Side::Left),
        ("REASON", Side::Left),
        ("TIMES", Side::Right),
        ("FIRST", Side::Left),
        ("LAST", Side::Left),
    ];
    section(text, "What was done", columns, &rows, paint)?;
    if done.is_empty() {
        writeln!(text, "\n{}\n  Nothing: none of its sources became a suspect.", paint.strong("What was done"))?;
    }
    let rows: Vec<_> = sources.iter().map(source).collect();
    let columns = [
        ("SOURCE", Side::Left),
        ("CONTACTS", Side::Right),
        ("FAILED", Side::Right),
        ("FIRST", Side::Left),
        ("LAST", Side::Left),
        ("SESSION AFTERWARDS", Side::Left),
    ];
    section(text, "Sources", columns, &rows, paint)?;
    if *sources_unlisted > 0 {
        writeln!(text, "  {} that are not listed.", counted(*sources_unlisted, "source", "sources"))?;
    }
    Ok(())
}

fn sums(totals: &IncidentTotals) -> Vec<String> {
    let IncidentTotals { sources, contacts, failures, before_suspicion, .. } = *totals;
    let mut lines = vec![format!(
        "{} made {} on distinct ports; {} counted against them, {} of these before suspicion, and answered like anybody's.",
        counted(sources, "source", "sources"),
        counted(contacts, "contact", "contacts"),
        count(failures),
        count(before_suspicion)
    )];
    let IncidentTotals { decoys_completed, sessions, worked, sources_with_sessions, events_lost, .. } = *totals;
    if decoys_completed > 0 {
        lines.push(format!("{} completed.", counted(decoys_completed, "decoy was", "decoys were")));
    }
    if sources_with_sessions > 0 {
        lines.push(format!("{} had a TCP session afterwards.", counted(sources_with_sessions, "source", "sources")));
    }
    if sessions > 0 {
        let sessions = counted(sessions, "session", "sessions");
        lines.push(format!("{sessions} of suspects or on restricted ports, {} with data both ways.", count(worked)));
    }
    if sources_with_sessions + sessions == 0 {
        lines.push("No session followed.".to_owned());
    }
    if events_lost > 0 {
        lines.push(format!("{} lost meanwhile: it may be larger.", counted(events_lost, "event was", "events were")));
    }
    lines
}

/// A heading with a table, unless that is empty.
fn section<const N: usize>(
    text: &mut String,
    heading: &str,
    columns: [(&str, Side); N],
    rows: &[[String; N]],
    paint: Paint,
) -> fmt::Result {
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(text, "\n{}", paint.strong(heading))?;
    for line in table(columns, &rows[..rows.len().min(MOST_LINES)], Paint::new(false)).lines() {
        writeln!(text, "  {line}")?;
    }
    match rows.len().checked_sub(MOST_LINES) {
        Some(more) if more > 0 => writeln!(text, "  … and {} more; --json lists them.", count(more as u64)),
        _ => Ok(()),
    }
}

fn port(port: &IncidentPort) -> [String; 3] {
    let IncidentPort { proto, port, outcome, contacts } = port;
    [format!("{port}/{proto}"), outcome.clone(), count(*contacts)]
}

fn answer(answer: &IncidentAnswer) -> [String; 3] {
    let IncidentAnswer { proto, port, answer, answers } = answer;
    [format!("{port}/{proto}"), answer.clone(), count(*answers)]
}

fn session(session: &IncidentSessions) -> [String; 6] {
    let IncidentSessions { ports, port, sessions, ended: _, worked, bytes_in, bytes_out } = session;
    [port.to_string(), ports.clone(), count(*sessions), count(*worked), bytes(*bytes_in), bytes(*bytes_out)]
}

fn deed(deed: &IncidentDeed) -> [String; 5] {
    let IncidentDeed { action, carried_out, scope, reason, times, first, last } = deed;
    let action = match (*carried_out, action.as_str(), scope.as_deref()) {
        (true, action, None) => action.to_owned(),
        (true, action, Some(scope)) => format!("{action} {scope}"),
        (false, "conceal", _) => "would have been concealed (mode observe)".to_owned(),
        (false, "block", Some("private")) => "would have been blocked from private ports (mode observe)".to_owned(),
        (false, "block", _) => "would have been blocked (mode observe)".to_owned(),
        (false, action, _) => format!("{action}, not carried out (mode observe)"),
    };
    [action, reason.clone(), count(*times), moment(first), moment(last)]
}

fn source(source: &IncidentSource) -> [String; 6] {
    let IncidentSource { source, contacts, failures, first_seen, last_seen, last_session } = source;
    let session = last_session.as_deref().map_or_else(|| "-".to_owned(), moment);
    [source.clone(), count(*contacts), count(*failures), moment(first_seen), moment(last_seen), session]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::SCHEMA_VERSION;

    fn time(second: u32) -> String {
        format!("2026-03-01T12:00:{second:02}.000Z")
    }

    fn scan() -> Incident {
        let port = |port, outcome: &str, proto: &str| IncidentPort {
            proto: proto.into(),
            port,
            outcome: outcome.into(),
            contacts: 1,
        };
        let mut ports: Vec<_> = (1..=24).map(|number| port(number, "closed", "tcp")).collect();
        ports.push(port(443, "public", "tcp"));
        Incident {
            schema_version: SCHEMA_VERSION,
            summary: IncidentSummary {
                id: 7,
                kind: "source".into(),
                cause: "suspect".into(),
                subject: Some("203.0.113.66".into()),
                state: IncidentState::Open,
                first_seen: time(0),
                last_seen: time(9),
                opened_at: time(5),
                closed_at: None,
                part_of: None,
                most_asked: ["1/tcp", "2/tcp", "3/tcp", "4/tcp"].map(str::to_owned).to_vec(),
                totals: IncidentTotals {
                    sources: 1,
                    contacts: 25,
                    failures: 24,
                    before_suspicion: 3,
                    answers: 2,
                    decoys_completed: 4,
                    sessions: 1,
                    worked: 1,
                    sources_with_sessions: 1,
                    events_lost: 0,
                },
            },
            sources: vec![IncidentSource {
                source: "203.0.113.66".into(),
                contacts: 25,
                failures: 24,
                first_seen: time(0),
                last_seen: time(9),
                last_session: Some(time(7)),
            }],
            sources_unlisted: 0,
            ports,
            ports_unlisted: 0,
            answered: vec![IncidentAnswer { proto: "tcp".into(), port: 443, answer: "open".into(), answers: 2 }],
            sessions: vec![IncidentSessions {
                ports: "public".into(),
                port: 443,
                sessions: 1,
                ended: 1,
                worked: 1,
                bytes_in: 517,
                bytes_out: 49_000,
            }],
            done: vec![
                IncidentDeed {
                    action: "conceal".into(),
                    carried_out: true,
                    scope: None,
                    reason: "closed".into(),
                    times: 1,
                    first: time(1),
                    last: time(1),
                },
                IncidentDeed {
                    action: "block".into(),
                    carried_out: true,
                    scope: Some("private".into()),
                    reason: "proven".into(),
                    times: 1,
                    first: time(2),
                    last: time(2),
                },
            ],
        }
    }

    fn campaign() -> Incident {
        let scan = scan();
        Incident {
            summary: IncidentSummary {
                id: 8,
                kind: "campaign".into(),
                cause: "ports".into(),
                subject: None,
                state: IncidentState::Closed,
                closed_at: Some("2026-03-01T13:00:09.000Z".into()),
                most_asked: ["23/tcp", "2323/tcp", "5555/tcp"].map(str::to_owned).to_vec(),
                totals: IncidentTotals {
                    sources: 5000,
                    contacts: 15_000,
                    failures: 15_000,
                    before_suspicion: 15_000,
                    events_lost: 3,
                    ..IncidentTotals::default()
                },
                ..scan.summary
            },
            sources_unlisted: 4999,
            ports: vec![IncidentPort { proto: "tcp".into(), port: 23, outcome: "canary".into(), contacts: 5000 }],
            ports_unlisted: 10_000,
            answered: Vec::new(),
            sessions: Vec::new(),
            done: Vec::new(),
            ..scan
        }
    }

    #[test]
    fn a_list() {
        let network = IncidentSummary {
            id: 6,
            kind: "network".into(),
            cause: "network".into(),
            subject: Some("2001:db8:66::/48".into()),
            part_of: Some(8),
            ..scan().summary
        };
        let list = IncidentList {
            schema_version: SCHEMA_VERSION,
            as_of: "2026-03-01T12:01:09.000Z".into(),
            total: 30,
            incidents: vec![campaign().summary, scan().summary, network],
        };
        insta::assert_snapshot!(incidents(&list, Paint::new(false)));
        insta::assert_json_snapshot!(list);
        assert_eq!(incidents(&IncidentList::default(), Paint::new(true)), "There are no such incidents.\n");
    }

    #[test]
    fn a_scan() {
        insta::assert_snapshot!(incident(&scan(), Paint::new(false)));
        let mut brief = scan();
        brief.ports.truncate(1);
        insta::assert_json_snapshot!(brief);
    }

    #[test]
    fn what_was_not_carried_out_in_mode_observe_is_told_so() {
        let mut observed = scan();
        observed.done.iter_mut().for_each(|deed| deed.carried_out = false);
        let told = incident(&observed, Paint::new(false));
        for expected in
            ["would have been concealed (mode observe)", "would have been blocked from private ports (mode observe)"]
        {
            assert!(told.contains(expected), "{told}");
        }
        assert!(!told.contains("  conceal ") && !told.contains("  block "), "{told}");
    }

    #[test]
    fn a_campaign_and_a_part_of_one() {
        let mut part = campaign();
        part.summary.part_of = Some(9);
        let texts = [campaign(), part].map(|it| incident(&it, Paint::new(false)));
        insta::assert_snapshot!(texts.join("--\n"));
    }
}
