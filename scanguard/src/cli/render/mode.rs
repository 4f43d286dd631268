//! `scanguard mode` and `scanguard confirm` for people.

use std::time::Duration;

use serde::Serialize;

use super::Paint;
use super::human::moment;
use super::supposed;
use crate::api::{ModeState, Observed, Status};

/// What enforcing would have done until now, as `mode enforce` tells before it enforces.
#[derive(Clone, Debug, Serialize)]
pub struct Preview {
    /// Since when the mode is observe. RFC 3339, UTC; none where nobody knows.
    pub observing_since: Option<String>,
    /// Seconds since the daemon's start, since which it is counted.
    pub uptime_s: u64,
    /// What it would have done.
    #[serde(flatten)]
    pub observed: Observed,
}

impl Preview {
    /// Of a daemon that observes; none where there is none, or it enforces already.
    #[must_use]
    pub fn of(status: &Status) -> Option<Self> {
        let observes = status.daemon && status.mode == "observe";
        observes.then(|| Self {
            observing_since: status.mode_since.clone(),
            uptime_s: status.uptime_s,
            observed: status.observed.clone(),
        })
    }
}

/// What became of the mode, with what was told before.
#[derive(Clone, Debug, Serialize)]
pub struct ModeChanged {
    /// The mode as it is now.
    #[serde(flatten)]
    pub state: ModeState,
    /// What enforcing would have done until then; only where it begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub would_have: Option<Preview>,
}

/// What enforcing would have done, who may be a customer first, and the way back.
#[must_use]
pub fn preview(preview: &Preview, confirm: bool) -> String {
    let Preview { observing_since, uptime_s, observed } = preview;
    let mut text = supposed::sentence(observed, observing_since.as_deref(), Duration::from_secs(*uptime_s)) + "\n";
    for line in supposed::customers(observed) {
        text.push_str(&format!("  {line}\n"));
    }
    text.push_str("The way back: `scanguard mode observe`.");
    if !confirm {
        text.push_str(" With --confirm 5m it ends by itself unless you confirm it.");
    }
    text + "\n"
}

/// The mode as it is.
#[must_use]
pub fn mode(state: &ModeState, paint: Paint) -> String {
    format!("The mode is {}: {}.\n{}", paint.strong(&state.mode), meaning(&state.mode), rest(state))
}

/// The mode as it is now.
#[must_use]
pub fn mode_changed(changed: &ModeChanged, paint: Paint) -> String {
    let ModeChanged { state, would_have: _ } = changed;
    let ModeState { mode, was, reverts_at, .. } = state;
    let before = if mode == was { "as before".to_owned() } else { format!("it was {was}") };
    let mut text = format!("The mode is {} now ({before}): {}.\n{}", paint.strong(mode), meaning(mode), rest(state));
    if reverts_at.is_some() {
        text.push_str("Log in anew and run `scanguard confirm` there: that proves that you still get in.\n");
    }
    text
}

/// Enforcing goes on.
#[must_use]
pub fn confirmed(state: &ModeState, paint: Paint) -> String {
    format!("{}: the mode stays {}.\n{}", paint.good("Confirmed"), state.mode, rest(state))
}

fn meaning(mode: &str) -> &'static str {
    match mode {
        "enforce" => "what scanguard decides is carried out",
        _ => "nothing is dropped but what a person blocked; what enforcing would drop is counted",
    }
}

fn rest(state: &ModeState) -> String {
    let ModeState { reverts_at, configured, .. } = state;
    let mut text = String::new();
    if let Some(reverts) = reverts_at {
        text.push_str(&format!("It goes back to observe at {} unless `scanguard confirm` comes.\n", moment(reverts)));
    }
    if let Some(configured) = configured {
        text.push_str(&format!(
            "The configuration says {configured}; a mode set by command holds until that value is changed.\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::SCHEMA_VERSION;

    fn state(mode: &str, was: &str) -> ModeState {
        ModeState { schema_version: SCHEMA_VERSION, mode: mode.into(), was: was.into(), ..ModeState::default() }
    }

    fn changed(state: ModeState) -> ModeChanged {
        ModeChanged { state, would_have: None }
    }

    #[test]
    fn what_enforcing_would_have_done_is_told_before_with_customers_and_the_way_back() {
        let since = Some("2026-03-01T12:00:00.000Z".to_owned());
        let customer = crate::api::ObservedCustomer {
            source: "198.51.100.7".into(),
            level: "conceal".into(),
            sessions: 14,
            days: 3,
        };
        let observed = Observed {
            since: since.clone(),
            packets: 7,
            sources: 2,
            with_sessions: 1,
            customers: vec![customer],
            ..Observed::default()
        };
        let told = Preview { observing_since: since, uptime_s: 60, observed };
        assert_eq!(
            preview(&told, false),
            "Enforcing would have hidden 7 packets of 2 sources; 1 of these had sessions here: look at it first.\n  \
             198.51.100.7 (14 sessions on 3 days) would be concealed: `scanguard why 198.51.100.7`\nThe way back: `scanguard mode \
             observe`. With --confirm 5m it ends by itself unless you confirm it.\n"
        );
        assert!(preview(&told, true).ends_with("The way back: `scanguard mode observe`.\n"));
        let json = serde_json::to_value(ModeChanged { would_have: Some(told), ..changed(state("enforce", "observe")) });
        let json = json.expect("JSON");
        assert_eq!((json["mode"].as_str(), json["would_have"]["packets"].as_u64()), (Some("enforce"), Some(7)));
        assert_eq!(json["would_have"]["customers"][0]["source"], "198.51.100.7");
    }

    #[test]
    fn modes() {
        let tried = ModeState {
            reverts_at: Some("2026-03-01T12:05:00.000Z".into()),
            configured: Some("observe".into()),
            ..state("enforce", "observe")
        };
        let paint = Paint::new(false);
        let texts = [
            mode(&state("observe", "observe"), paint),
            mode(&tried, paint),
            mode_changed(&changed(tried.clone()), paint),
            mode_changed(&changed(state("observe", "enforce")), paint),
            mode_changed(&changed(state("enforce", "enforce")), paint),
            confirmed(&state("enforce", "enforce"), paint),
        ];
        insta::assert_snapshot!(texts.join("--\n"));
        insta::assert_json_snapshot!(tried);
    }
}
