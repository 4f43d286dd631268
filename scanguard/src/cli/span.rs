//! Lengths of time among the arguments.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use crate::api::timestamp;
use crate::duration;

/// A length of time that is not nothing.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Span(Duration);

impl Span {
    pub(super) const fn as_secs(self) -> u64 {
        self.0.as_secs()
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match duration::parse(text) {
            Ok(Duration::ZERO) => Err("that is over before it begins".to_owned()),
            Ok(duration) => Ok(Self(duration)),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// A length of time, or for as long as nobody ends it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Until {
    Forever,
    Over(Span),
}

impl Until {
    /// Seconds; none for forever.
    pub(super) const fn as_secs(self) -> Option<u64> {
        match self {
            Self::Forever => None,
            Self::Over(span) => Some(span.as_secs()),
        }
    }
}

impl FromStr for Until {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "forever" { Ok(Self::Forever) } else { text.parse().map(Self::Over) }
    }
}

/// A moment: so long ago, or a date.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Since(SystemTime);

impl Since {
    /// As JSON has it.
    pub(super) fn shown(self) -> String {
        timestamp(self.0)
    }
}

impl FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(moment) = humantime::parse_rfc3339_weak(text) {
            return Ok(Self(moment));
        }
        let span = duration::parse(text)
            .map_err(|_| "neither a length of time such as 2h nor a moment such as 2026-11-27T12:00:00Z".to_owned())?;
        Ok(Self(SystemTime::now().checked_sub(span).unwrap_or(SystemTime::UNIX_EPOCH)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_a_date_or_so_long_ago() {
        assert_eq!("2026-11-27T12:00:00Z".parse::<Since>().map(Since::shown), Ok("2026-11-27T12:00:00.000Z".into()));
        assert_eq!("2026-11-27 12:00:00".parse::<Since>().map(Since::shown), Ok("2026-11-27T12:00:00.000Z".into()));
        let ago = "2h".parse::<Since>().expect("a length of time").0.elapsed().expect("in the past");
        assert!((7200..7210).contains(&ago.as_secs()), "{ago:?}");
        assert!("yesterday".parse::<Since>().is_err());
    }

    #[test]
    fn nothing_is_no_length_of_time_and_forever_only_where_it_is_offered() {
        assert_eq!("5m".parse::<Span>().map(Span::as_secs), Ok(300));
        assert_eq!("forever".parse::<Until>().map(Until::as_secs), Ok(None));
        assert_eq!("24h".parse::<Until>().map(Until::as_secs), Ok(Some(86_400)));
        for text in ["0s", "0d0h", "forever", "10"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        assert!("0s".parse::<Until>().is_err());
    }
}
