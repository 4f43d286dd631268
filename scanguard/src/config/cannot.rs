//! What a configuration makes impossible.

use scanguard_common::challenge::ChallengeMode;

use super::{AutoLevel, Config};
use crate::api::Cannot;

impl Config {
    /// What nobody should count on with this configuration.
    #[must_use]
    pub fn cannot(&self) -> Vec<Cannot> {
        self.no_automatic_block().into_iter().collect()
    }

    /// Why the daemon blocks nobody by itself, where it does not. A log tool that gives proof can still have it block somebody, if
    /// `max_auto_level` lets it.
    fn no_automatic_block(&self) -> Option<Cannot> {
        let cannot = |because: &str, hint: &str| {
            let (code, message) = ("automatic_block".into(), format!("No automatic block is possible: {because}."));
            Some(Cannot { code, message, hint: hint.into() })
        };
        if self.blocks.max_auto_level < AutoLevel::BlockPrivate {
            return cannot(
                "`max_auto_level` of [block] is \"conceal\"",
                "`max_auto_level = \"block private\"` blocks proven scanners from all but public ports.",
            );
        }
        let is_listed = |level: Option<AutoLevel>| level.is_some_and(|level| level > AutoLevel::Conceal);
        if self.blocks.unproven || self.feeds.iter().any(|feed| is_listed(feed.level.up_to())) {
            return None;
        }
        let way = "Only `scanguard signal --proof` of a log tool has a source blocked. ";
        match self.challenge {
            ChallengeMode::On => None,
            ChallengeMode::Canary if self.ports.canary.is_empty() && self.ports.canary_if_closed.is_empty() => cannot(
                "`challenge` is \"canary\" and no port is a canary, so that nothing can be proven",
                &format!("{way}`canary = [\"default\"]` in [ports] takes the shipped ones, where they are closed."),
            ),
            ChallengeMode::Canary => None,
            ChallengeMode::Off => cannot(
                "`challenge` is \"off\", so that nothing can be proven",
                &format!("{way}`challenge = \"canary\"` challenges suspects on canary ports."),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ports::PortList;
    use crate::config::{Feed, FeedLevel};

    #[test]
    fn a_configuration_that_can_prove_nothing_says_that_nothing_is_blocked_by_itself() {
        let feed = |level| Feed { name: "list".into(), file: "list".into(), level: FeedLevel::UpTo(level) };
        let with = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config
        };
        let no_canary = |config: &mut Config| config.ports.canary_if_closed = PortList::default();
        let rows = [
            ("default", with(|_| ()), None),
            ("no challenge", with(|config| config.challenge = ChallengeMode::Off), Some("`challenge` is \"off\"")),
            ("no canary", with(no_canary), Some("no port is a canary")),
            ("conceal", with(|config| config.blocks.max_auto_level = AutoLevel::Conceal), Some("\"conceal\"")),
        ];
        for (name, config, because) in rows {
            let told: Vec<String> = config.cannot().into_iter().map(|cannot| cannot.message).collect();
            assert_eq!(told.len(), usize::from(because.is_some()), "{name}: {told:?}");
            assert!(because.is_none_or(|because| told[0].contains(because)), "{name}: {told:?}");
        }
        let mut config = with(|config| config.challenge = ChallengeMode::Off);
        config.feeds = vec![feed(AutoLevel::Conceal)];
        assert_eq!(config.cannot().len(), 1, "such a feed blocks nobody");
        config.feeds = vec![feed(AutoLevel::BlockPrivate)];
        assert!(config.cannot().is_empty());
        config.feeds.clear();
        config.blocks.unproven = true;
        assert!(config.cannot().is_empty());
    }
}
