//! `scanguard doctor` for people.

use std::fmt::{self, Write as _};

use super::Paint;
use crate::doctor::{Check, Report, State};

/// The report as text: a line for each thing, and below it what that means and what to do.
#[must_use]
pub fn doctor(report: &Report, paint: Paint) -> String {
    let mut text = String::new();
    write(report, paint, &mut text).expect("a String takes everything");
    text
}

fn write(report: &Report, paint: Paint, text: &mut String) -> fmt::Result {
    for Check { state, name, message, meaning, hint } in &report.checks {
        let label = format!("{:<4}", state.label());
        let label = match state {
            State::Ok => paint.good(&label),
            State::Hint => label,
            State::Warn => paint.doubtful(&label),
            State::Fail => paint.bad(&label),
        };
        writeln!(text, "{label}  {}: {message}", paint.strong(name))?;
        if !meaning.is_empty() {
            writeln!(text, "      {meaning}")?;
        }
        if !hint.is_empty() {
            writeln!(text, "      To do: {hint}")?;
        }
    }
    let count = |wanted: State| report.checks.iter().filter(|check| check.state == wanted).count();
    let (warnings, failures) = (count(State::Warn), count(State::Fail));
    let things = |count: usize| if count == 1 { "1 thing".to_owned() } else { format!("{count} things") };
    let outcome = match (failures, warnings) {
        (0, 0) => paint.good("It can run here."),
        (0, warnings) => paint.doubtful(&format!("It can run here; {} should be seen to.", things(warnings))),
        (failures, _) => {
            let keep = if failures == 1 { "keeps" } else { "keep" };
            paint.bad(&format!("It cannot run here like that: {} {keep} it from doing so.", things(failures)))
        }
    };
    writeln!(text, "\n{outcome}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::judge;
    use crate::doctor::judge_tests::{busy, well};

    #[test]
    fn a_host_on_which_all_is_well() {
        insta::assert_snapshot!(doctor(&judge(&well()), Paint::new(false)));
    }

    #[test]
    fn a_host_on_which_much_is_to_be_said() {
        let report = judge(&busy());
        insta::assert_snapshot!(doctor(&report, Paint::new(false)));
        insta::assert_json_snapshot!(report);
    }
}
