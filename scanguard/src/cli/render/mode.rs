//! `scanguard mode` and `scanguard confirm` for people.

use super::Paint;
use super::human::moment;
use crate::api::ModeState;

/// The mode as it is.
#[must_use]
pub fn mode(state: &ModeState, paint: Paint) -> String {
    format!("The mode is {}: {}.\n{}", paint.strong(&state.mode), meaning(&state.mode), rest(state))
}

/// The mode as it is now.
#[must_use]
pub fn mode_changed(state: &ModeState, paint: Paint) -> String {
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
            mode_changed(&tried, paint),
            mode_changed(&state("observe", "enforce"), paint),
            mode_changed(&state("enforce", "enforce"), paint),
            confirmed(&state("enforce", "enforce"), paint),
        ];
        insta::assert_snapshot!(texts.join("--\n"));
        insta::assert_json_snapshot!(tried);
    }
}
