//! What the labels of `/metrics` say. It may be open to others, and what anybody can read is an answer, too: who reads it before and after
//! a packet of his must not be told by a label whether a port that is not for customers is restricted, a canary, or closed. The
//! split is on the control socket (`counters` of `scanguard status --json`).

use scanguard_common::class::PortClass;
use scanguard_common::contact::Outcome;
use scanguard_common::counter::Counter;
use scanguard_common::reason::Reason;

/// In the place of outcomes and classes of ports that are not for customers.
pub const PRIVATE: &str = "private";
/// In the place of reasons for which such a port is hidden.
pub const HIDDEN_PORT: &str = "hidden_port";
/// In the place of both kinds of challenges: which one a suspect gets after it met the first tells what is behind the port.
pub const CHALLENGE: &str = "challenge";

/// Why packets got what they got.
#[must_use]
pub const fn reason(reason: Reason) -> &'static str {
    match reason {
        Reason::HiddenRestricted
        | Reason::HiddenCanary
        | Reason::HiddenClosed
        | Reason::HiddenProbe
        | Reason::DecoyCompleted => HIDDEN_PORT,
        // To a restricted port it is part of a connection for all that the datapath knows.
        Reason::AckProbe => Reason::Established.label(),
        // Of a restricted port only.
        Reason::Retried => Reason::NewFlow.label(),
        other => other.label(),
    }
}

/// What became of contacts.
#[must_use]
pub const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Restricted | Outcome::Canary | Outcome::Closed | Outcome::AckProbe => PRIVATE,
        other => other.label(),
    }
}

/// What was asked for.
#[must_use]
pub const fn class(class: PortClass) -> &'static str {
    match class {
        PortClass::Restricted | PortClass::Canary | PortClass::Closed => PRIVATE,
        other => other.label(),
    }
}

/// What is counted under the same labels, added up; in the order in which labels come first.
pub(super) fn merged<L: PartialEq>(counts: impl IntoIterator<Item = (L, Counter)>) -> Vec<(L, Counter)> {
    let mut all: Vec<(L, Counter)> = Vec::new();
    for (labels, Counter { packets, bytes }) in counts {
        match all.iter_mut().find(|(known, _)| *known == labels) {
            Some((_, sum)) => *sum = Counter { packets: sum.packets + packets, bytes: sum.bytes + bytes },
            None => all.push((labels, Counter { packets, bytes })),
        }
    }
    all
}

/// The same of numbers alone.
pub(super) fn summed<L: PartialEq>(counts: impl IntoIterator<Item = (L, u64)>) -> Vec<(L, u64)> {
    let counts = counts.into_iter().map(|(labels, packets)| (labels, Counter { packets, bytes: 0 }));
    merged(counts).into_iter().map(|(labels, Counter { packets, .. })| (labels, packets)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_told_of_a_port_that_is_not_for_customers_says_of_which_kind_it_is() {
        let kinds = [PortClass::Restricted, PortClass::Canary, PortClass::Closed];
        assert!(kinds.into_iter().all(|kind| class(kind) == PRIVATE));
        // Each reason, outcome and class that names one of them is told under another name.
        let named = |label: &str| {
            ["restricted", "canary", "closed", "decoy", "retr", "probe"].iter().any(|kind| label.contains(kind))
        };
        assert!(Reason::ALL.iter().all(|of| !named(reason(*of))));
        assert!(Outcome::ALL.iter().all(|of| !named(outcome(*of))));
        assert!(PortClass::ALL.into_iter().all(|of| !named(class(of))));
    }

    #[test]
    fn reasons_that_are_told_as_one_have_one_level() {
        for one in Reason::ALL {
            for other in Reason::ALL.iter().filter(|other| reason(**other) == reason(*one)) {
                assert_eq!(one.level(), other.level(), "{one:?} {other:?}");
            }
        }
    }

    #[test]
    fn what_has_the_same_labels_is_added_up() {
        let count = |packets| Counter { packets, bytes: packets * 60 };
        let counts = [("hidden_port", count(2)), ("new_flow", count(5)), ("hidden_port", count(3))];
        assert_eq!(merged(counts), [("hidden_port", count(5)), ("new_flow", count(5))]);
    }
}
