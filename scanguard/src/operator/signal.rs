//! What a log tool says of a source: whether it makes sense, and what it adds to the score.

use scanguard_common::source::SourceKey;

use super::allow::one_line;
use super::desk::Desk;
use super::error::OperatorError;
use crate::api::{HEAVIEST_SIGNAL, Signal};
use crate::kernel::Weighed;
use crate::prefix;
use crate::prefix_map::Prefix;

impl Signal {
    /// Whether it can be meant.
    ///
    /// # Errors
    /// When the weight is none, or the reason no line of text.
    pub fn check(&self) -> Result<(), OperatorError> {
        let Self { address: _, weight, reason, proof: _ } = self;
        if !(weight.is_finite() && *weight > 0.0 && *weight <= HEAVIEST_SIGNAL) {
            return Err(OperatorError::Usage(format!(
                "a signal has no weight of {weight}: it is more than 0 and at most {HEAVIEST_SIGNAL}, where 1 is that of one failed contact"
            )));
        }
        if reason.trim().is_empty() {
            return Err(OperatorError::Usage("a signal has a reason, such as \"sshd: 5 failed logins\"".to_owned()));
        }
        one_line(reason)
    }
}

impl Desk {
    /// The source that a signal is about.
    ///
    /// # Errors
    /// When the text is no source, or one that is never judged: special addresses, and this host's own.
    pub fn signalled(&self, text: &str) -> Result<SourceKey, OperatorError> {
        let prefix: Prefix = prefix::parse(text)?.into();
        self.source_named(text)?;
        let address = prefix.address();
        let version = if address.is_mapped() { 4 } else { 6 };
        let source = self.keys().source_of(address, version).ok_or_else(|| OperatorError::Refused {
            rule: "special".to_owned(),
            message: format!(
                "{text} is never judged: loopback, multicast, broadcast, unspecified and translators' addresses are nobody's, and private \
                 ones where `ignore_private` of [sources] says so"
            ),
        })?;
        if self.tables.readings().own_addresses()?.contains(&address) {
            let message = format!("{text} is an address of this host, which is never judged");
            return Err(OperatorError::Refused { rule: "own".to_owned(), message });
        }
        Ok(source)
    }

    /// Adds so many steps to a source's score.
    ///
    /// # Errors
    /// When the kernel part cannot be read or written.
    pub fn weigh(&mut self, source: &SourceKey, weight: f64) -> Result<Weighed, OperatorError> {
        let rules = self.tables.config().score;
        let points = (f64::from(rules.step) * weight).round().clamp(1.0, f64::from(rules.cap));
        // Within the bounds of the line above.
        Ok(self.tables.weigh(source, points as u32)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signal(weight: f64, reason: &str) -> Signal {
        Signal { address: "192.0.2.7".into(), weight, reason: reason.into(), proof: false }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let long = "x".repeat(201);
        let rows = [
            (1.0, "sshd", true),
            (0.25, "sshd: 5 failed logins in 10m", true),
            (10.0, "x", true),
            (10.1, "x", false),
            (0.0, "x", false),
            (-1.0, "x", false),
            (f64::NAN, "x", false),
            (f64::INFINITY, "x", false),
            (1.0, "", false),
            (1.0, "  ", false),
            (1.0, "two\nlines", false),
            (1.0, "\u{1b}[31mred", false),
            (1.0, &long, false),
        ];
        for (weight, reason, expected) in rows {
            assert_eq!(signal(weight, reason).check().is_ok(), expected, "{weight} {reason:?}");
        }
    }
}
