//! A configuration as what the kernel part is told.

use std::time::Duration;

use scanguard_common::challenge::ChallengeRules;
use scanguard_common::config::KernelConfig;
use scanguard_common::flow::SENT_NS;
use scanguard_common::newcomers::NewcomerRules;
use scanguard_common::record::ConcealRules;
use scanguard_common::score::{ScoreRules, UNITS_PER_NAT};
use scanguard_common::source::KeyRules;
use scanguard_common::storm::StormRules;

use super::{Conceal, Config, Score, Storm};
use crate::kernel::LoadOptions;

impl Config {
    /// How addresses become sources.
    #[must_use]
    pub fn key_rules(&self) -> KeyRules {
        let mut rules = KeyRules::new();
        rules.set_ipv6_prefix(self.sources.ipv6_prefix);
        for (slot, translator) in rules.translators.iter_mut().zip(&self.sources.translators) {
            *slot = std::net::IpAddr::V6(*translator).into();
            rules.translator_count += 1;
        }
        rules.ignore_private = u32::from(self.sources.ignore_private);
        rules
    }

    /// The settings of the datapath. The heartbeat and the ephemeral range are the daemon's to add.
    #[must_use]
    pub fn kernel_config(&self, contact_key: [u64; 2]) -> KernelConfig {
        let Storm { suspects_per_second, duration } = self.storm;
        let Conceal { duration: conceal, longest } = self.conceal;
        KernelConfig {
            keys: self.key_rules(),
            mode: self.mode as u32,
            opened_ns: nanoseconds(self.ports.memory),
            egress_warm_up_ns: nanoseconds(self.ports.learning).min(SENT_NS),
            score: self.score.rules(),
            conceal: ConcealRules { duration_ns: nanoseconds(conceal), longest_ns: nanoseconds(longest) },
            challenge: ChallengeRules {
                mode: self.challenge as u32,
                reply: self.decoy_reply as u32,
                ..ChallengeRules::default()
            },
            newcomers: NewcomerRules { per_second: self.sources.new_per_second, reserved: 0 },
            storm: StormRules { duration_ns: nanoseconds(duration), suspects_per_second, reserved: 0 },
            ..KernelConfig::new(contact_key)
        }
    }

    /// How the kernel part is loaded.
    #[must_use]
    pub fn load_options(&self) -> LoadOptions {
        LoadOptions {
            sizes: self.sources.sizes,
            events_bytes: self.events_ring_kib * 1024,
            debug_log: self.log.frames,
            ..LoadOptions::default()
        }
    }
}

impl Score {
    /// The constants of the test: Wald's upper threshold ln((1 - b) / a), and the step of a failure,
    /// ln((1 - t1) / (1 - t0)), in units of 1/1024 nat (section 3 of the paper).
    #[must_use]
    pub fn rules(&self) -> ScoreRules {
        let Self { a, b, block_a, t0, t1, half_life } = *self;
        let units = |ratio: f64| (ratio.ln() * f64::from(UNITS_PER_NAT)).round() as u32;
        let block_at = units((1.0 - b) / block_a);
        ScoreRules {
            half_life_ns: nanoseconds(half_life),
            step: units((1.0 - t1) / (1.0 - t0)),
            conceal_at: units((1.0 - b) / a),
            prefix_at: block_at,
            cap: block_at,
        }
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_that_the_datapath_was_built_with() {
        assert_eq!(Score::default().rules(), ScoreRules::new());
        let config = Config::default().kernel_config([1, 2]);
        assert_eq!(config, KernelConfig::new([1, 2]));
    }

    #[test]
    fn four_failures_make_a_suspect_and_ten_are_block_eligible() {
        let ScoreRules { step, conceal_at, cap, .. } = Score::default().rules();
        assert_eq!((conceal_at.div_ceil(step), cap.div_ceil(step)), (4, 10));
    }

    #[test]
    fn stricter_errors_take_more_evidence() {
        let strict = Score { a: 0.001, ..Score::default() }.rules();
        assert_eq!(strict.conceal_at.div_ceil(strict.step), 5);
        let sure = Score { t0: 0.9, t1: 0.1, ..Score::default() }.rules();
        assert_eq!(sure.conceal_at.div_ceil(sure.step), 3);
    }
}
