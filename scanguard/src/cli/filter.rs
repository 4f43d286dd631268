//! Which rows of a list are meant.

use ipnetwork::IpNetwork;

use crate::exit::{ExitStatus, Failure, OrExit as _};
use crate::prefix;
use crate::prefix_map::Prefix;

/// Addresses and prefixes that are asked for.
#[derive(Debug)]
pub(super) struct Addresses(Vec<Prefix>);

impl Addresses {
    /// Of what was written.
    pub(super) fn parse<'t>(texts: impl IntoIterator<Item = &'t String>) -> Result<Self, Failure> {
        let prefixes: Result<Vec<IpNetwork>, _> = texts.into_iter().map(|text| prefix::parse(text)).collect();
        Ok(Self(prefixes.or_exit(ExitStatus::Usage)?.into_iter().map(Prefix::from).collect()))
    }

    /// Whether nothing in particular is asked for.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a row about a source is meant: one that holds what is asked for, or lies in it. All are where nothing is asked for.
    pub(super) fn mean(&self, source: &str) -> bool {
        let Ok(source) = prefix::parse(source).map(Prefix::from) else { return self.is_empty() };
        self.is_empty() || self.0.iter().any(|asked| asked.covers(&source) || source.covers(asked))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_hold_an_address_or_lie_in_a_prefix_are_meant() {
        let of = |texts: &[&str]| {
            let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
            Addresses::parse(&texts)
        };
        let rows = [
            ("203.0.113.9", "203.0.113.9", true),
            ("203.0.113.9", "203.0.113.0/24", true),
            ("203.0.113.0/24", "203.0.113.9", true),
            ("203.0.113.8", "203.0.113.9", false),
            ("2001:db8:1:2::7", "2001:db8:1:2::/64", true),
            ("2001:db8:1:3::7", "2001:db8:1:2::/64", false),
        ];
        for (asked, source, is_meant) in rows {
            assert_eq!(of(&[asked]).expect("an address").mean(source), is_meant, "{asked} {source}");
            assert!(of(&["192.0.2.1", asked]).expect("addresses").mean(source) || !is_meant);
        }
        assert!(of(&[]).expect("none").mean("192.0.2.1"));
        assert_eq!(of(&["nobody"]).expect_err("no address").status, ExitStatus::Usage);
    }
}
