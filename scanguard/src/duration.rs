//! Lengths of time as people write them, in the configuration and on the command line: `90s`, `10m`, `2h`, `7d`.

use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// The units, the longest first. A day has 24 hours: nothing here follows a calendar.
const UNITS: [(char, u64); 4] = [('d', DAY), ('h', HOUR), ('m', MINUTE), ('s', 1)];

/// Why a text is no length of time.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DurationError {
    /// There is nothing.
    #[error("an empty text is no length of time: write it like 90s, 10m, 2h or 7d")]
    Empty,
    /// Something else stands where a number is expected.
    #[error("{0:?} does not begin with a number: write it like 90s, 10m, 2h or 7d")]
    NoNumber(String),
    /// A number without its unit.
    #[error("{0} of what? Write {0}s, {0}m, {0}h or {0}d")]
    NoUnit(String),
    /// A unit that does not exist.
    #[error("{0:?} is no unit of time: the units are s, m, h and d")]
    UnknownUnit(char),
    /// A unit after itself or a shorter one.
    #[error("{0:?} has its units out of order: the longest comes first, each once, like 1h30m")]
    Order(String),
    /// More seconds than there are numbers for.
    #[error("{0} is longer than this program can count")]
    TooLong(String),
}

/// Reads whole seconds, minutes, hours or days, or several of them, the longest unit first: `90s`, `1h30m`.
///
/// # Errors
/// When the text is nothing like that.
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    if text.is_empty() {
        return Err(DurationError::Empty);
    }
    let too_long = || DurationError::TooLong(text.to_owned());
    let mut seconds = 0_u64;
    let mut shortest = u64::MAX;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        if number.is_empty() {
            return Err(DurationError::NoNumber(rest.to_owned()));
        }
        let mut letters = after.chars();
        let letter = letters.next().ok_or_else(|| DurationError::NoUnit(number.to_owned()))?;
        let (_, unit) = UNITS.iter().find(|(name, _)| *name == letter).ok_or(DurationError::UnknownUnit(letter))?;
        if *unit >= shortest {
            return Err(DurationError::Order(text.to_owned()));
        }
        shortest = *unit;
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(*unit)).ok_or_else(too_long)?;
        seconds = seconds.checked_add(part).ok_or_else(too_long)?;
        rest = letters.as_str();
    }
    Ok(Duration::from_secs(seconds))
}

/// Writes whole seconds in the longest unit that says them exactly, as people do: `60s` and `24h` rather than `1m` and
/// `1d`. What is less than a second is left out. [`parse`] reads it back.
#[must_use]
pub fn format(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let usual = |(letter, unit): &&(char, u64)| {
        let least = if matches!(letter, 'd' | 'm') { 2 } else { 1 };
        seconds.is_multiple_of(*unit) && seconds / unit >= least
    };
    let (letter, unit) = UNITS.iter().find(usual).unwrap_or(&('s', 1));
    format!("{}{letter}", seconds / unit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_people_write_is_read_and_written_as_they_do() {
        let rows = [
            ("0s", 0, "0s"),
            ("90s", 90, "90s"),
            ("1m", 60, "60s"),
            ("10m", 600, "10m"),
            ("60m", 3600, "1h"),
            ("2h", 7200, "2h"),
            ("1d", 86_400, "24h"),
            ("7d", 604_800, "7d"),
            ("1h30m", 5400, "90m"),
            ("1d2h3m4s", 93_784, "93784s"),
        ];
        for (text, seconds, written) in rows {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
            assert_eq!(format(Duration::from_secs(seconds)), written, "{text}");
        }
    }

    #[test]
    fn what_is_no_length_of_time_is_refused_with_the_reason() {
        let rows = [
            ("", "empty"),
            ("s", "begin with a number"),
            (" 1s", "begin with a number"),
            ("-1s", "begin with a number"),
            ("1.5h", "no unit"),
            ("10", "of what"),
            ("1h30", "of what"),
            ("1w", "no unit"),
            ("1M", "no unit"),
            ("1ms", "begin with a number"),
            ("30m1h", "out of order"),
            ("1h1h", "out of order"),
            ("99999999999999999999s", "longer"),
            ("999999999999999999d", "longer"),
        ];
        for (text, reason) in rows {
            let error = parse(text).expect_err(text).to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(seconds: u64) {
            let duration = Duration::from_secs(seconds);
            prop_assert_eq!(parse(&format(duration)), Ok(duration));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = parse(&text);
        }

        #[test]
        fn no_text_that_looks_like_one_panics(text in "([0-9]{1,21}[smhd]?){0,4}") {
            let _ = parse(&text);
        }
    }
}
