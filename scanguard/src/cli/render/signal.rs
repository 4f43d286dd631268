//! `scanguard signal` for people.

use super::Paint;
use crate::api::Signalled;

/// What came of a signal.
#[must_use]
pub fn signalled(answer: &Signalled, paint: Paint) -> String {
    let Signalled { schema_version: _, source, backed, applied, score, level, scope, decision, next_step } = answer;
    let level = match (level.as_str(), scope) {
        ("block", Some(scope)) => paint.bad(&format!("blocked ({scope})")),
        ("conceal", _) => paint.doubtful("concealed"),
        ("none", _) if !applied => paint.good("allowed"),
        ("none", _) => paint.good("nothing is done about it"),
        (other, _) => other.to_owned(),
    };
    let score = if *applied {
        format!("  Its score is {:.3} now; {:.3} conceals it.\n", score.value, score.conceal_at)
    } else {
        "  The signal was not applied.\n".to_owned()
    };
    let backing = if *backed {
        "Backed: it had a session here in the last 10 minutes, so that it is really there."
    } else {
        "Not backed: it had no session here in the last 10 minutes, so that this is suspicion and no more."
    };
    format!("{}: {level}\n{score}  {backing}\n  {}\n  {next_step}\n", paint.strong(source), decision.sentence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{SignalDecision, WhyScore};

    #[test]
    fn what_came_of_it() {
        let blocked = Signalled {
            source: "203.0.113.66".into(),
            backed: true,
            applied: true,
            score: WhyScore { value: 5.547, conceal_at: 4.595, block_at: 13.806, ..WhyScore::default() },
            level: "block".into(),
            scope: Some("private".into()),
            decision: SignalDecision {
                action: "block".into(),
                reason: Some("signal".into()),
                sentence: "It is blocked from private ports for 10m.".into(),
            },
            next_step: "It stays blocked until 2026-03-01T12:10:00.000Z.".into(),
            ..Signalled::default()
        };
        let concealed = Signalled {
            backed: false,
            level: "conceal".into(),
            scope: None,
            decision: SignalDecision { sentence: "It is a suspect now.".into(), ..SignalDecision::default() },
            next_step: "Closed ports stay hidden from it.".into(),
            ..blocked.clone()
        };
        let allowed = Signalled {
            applied: false,
            level: "none".into(),
            decision: SignalDecision { sentence: "It is on the allowlist.".into(), ..SignalDecision::default() },
            next_step: "Nothing.".into(),
            ..concealed.clone()
        };
        let told: String = [blocked, concealed, allowed].iter().map(|it| signalled(it, Paint::new(false))).collect();
        insta::assert_snapshot!(told);
    }
}
