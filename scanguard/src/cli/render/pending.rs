//! `scanguard pending` for people.

use super::Paint;
use super::block::block_added;
use super::human::moment;
use crate::api::{BlockAdded, PendingApproved, PendingDenied, PendingEntry, PendingList, SCHEMA_VERSION};
use crate::duration;

/// What waits: a paragraph each, and what can be done.
#[must_use]
pub fn pending(list: &PendingList, paint: Paint) -> String {
    if list.entries.is_empty() {
        return "Nothing waits for you.\n".to_owned();
    }
    let mut text: String = list.entries.iter().map(|entry| paragraph(entry, paint)).collect();
    text.push_str("`scanguard pending approve ADDR` blocks one, `pending deny ADDR` leaves it as it is, `why ADDR` tells all that is known.\n");
    text
}

fn paragraph(entry: &PendingEntry, paint: Paint) -> String {
    let PendingEntry { source, scope, reason, people, ports, lasts_s, since, expires, sentence, why, .. } = entry;
    let from = if scope == "all" { "public ports, too," } else { "private ports" };
    let lasts = duration::format(std::time::Duration::from_secs(*lasts_s));
    let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
    let grounds = match reason.as_str() {
        "signal" => "Proof: a log tool told what it did, and it had a session here.".to_owned(),
        "feed" => "A feed names it, and it is a suspect.".to_owned(),
        _ => format!("Proof: it completed decoys on ports {}.", ports.join(", ")),
    };
    let harmed = match people {
        0 => "Nobody else is known behind it.".to_owned(),
        1 => "It is taken to harm 1 other person.".to_owned(),
        people => format!("It is taken to harm {people} other people."),
    };
    let known = why.as_ref().map_or_else(String::new, |why| {
        format!(
            "  Known: {} sessions with data on {} of the last 90 days; score {:.2}, {} contacts.\n",
            why.known.sessions, why.known.days, why.score.value, why.contacts
        )
    });
    format!(
        "{}: block it from {from} for {lasts}?\n  {grounds}\n  {harmed} {sentence}\n{known}  Asked \
         {}; unanswered it ends {}.\n\n",
        paint.strong(source),
        moment(since),
        moment(expires),
    )
}

/// A block that is in force now.
#[must_use]
pub fn approved(answer: &PendingApproved, paint: Paint) -> String {
    let PendingApproved { schema_version: _, entry } = answer;
    let added = BlockAdded { schema_version: SCHEMA_VERSION, entry: entry.clone(), ..BlockAdded::default() };
    block_added(&added, paint)
}

/// What was denied, and what did not wait.
#[must_use]
pub fn denied(answer: &PendingDenied, paint: Paint) -> String {
    let PendingDenied { schema_version: _, denied, missing, until } = answer;
    let left = denied
        .iter()
        .map(|source| format!("{source} stays as it is. Nobody is asked about it again until {}.\n", moment(until)));
    let note = paint.doubtful("note");
    let absent = missing
        .iter()
        .map(|source| format!("{note}: {source} did not wait; `scanguard pending list` shows what does.\n"));
    left.chain(absent).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{BlockEntry, Why, WhyKnown, WhyScore};

    fn entry() -> PendingEntry {
        PendingEntry {
            source: "198.51.100.7".into(),
            scope: "all".into(),
            reason: "harm".into(),
            doubt: "customer".into(),
            sentence: "It had a session with data on a public port in the last 30 days, begun before its first probe."
                .into(),
            people: 2,
            ports: vec![22, 23, 111, 9000],
            lasts_s: 2400,
            since: "2026-03-01T12:00:00.000Z".into(),
            expires: "2026-03-02T12:00:00.000Z".into(),
            why: Some(Box::new(Why {
                known: WhyKnown { sessions: 40, days: 17, ..WhyKnown::default() },
                score: WhyScore { value: 13.81, ..WhyScore::default() },
                contacts: 57,
                ..Why::default()
            })),
        }
    }

    #[test]
    fn the_list() {
        let stranger = PendingEntry { source: "203.0.113.66".into(), people: 0, why: None, ..entry() };
        let neighbour = PendingEntry { source: "198.51.100.8".into(), scope: "private".into(), why: None, ..entry() };
        let signalled = PendingEntry {
            source: "203.0.113.67".into(),
            reason: "signal".into(),
            ports: Vec::new(),
            why: None,
            ..entry()
        };
        let list =
            PendingList { schema_version: SCHEMA_VERSION, entries: vec![entry(), stranger, neighbour, signalled] };
        insta::assert_snapshot!(pending(&list, Paint::new(false)));
        assert_eq!(pending(&PendingList::default(), Paint::new(false)), "Nothing waits for you.\n");
    }

    #[test]
    fn answers() {
        let approval = PendingApproved {
            schema_version: SCHEMA_VERSION,
            entry: BlockEntry {
                source: "198.51.100.7".into(),
                scope: "all".into(),
                expires: Some("2026-03-01T12:40:00.000Z".into()),
                ..BlockEntry::default()
            },
        };
        let denial = PendingDenied {
            schema_version: SCHEMA_VERSION,
            denied: vec!["198.51.100.7".into()],
            missing: vec!["192.0.2.9".into()],
            until: "2026-03-08T12:00:00.000Z".into(),
        };
        insta::assert_snapshot!(approved(&approval, Paint::new(false)) + &denied(&denial, Paint::new(false)));
    }
}
