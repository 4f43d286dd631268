//! Lists that others make: which there are, whom they name, and reading them again.

use std::time::SystemTime;

use ipnetwork::IpNetwork;
use scanguard_common::source::SourceKey;
use tracing::info;

use super::desk::Desk;
use super::error::OperatorError;
use super::kept::shown;
use crate::api::{FeedEntry, FeedList, FeedMatch, FeedTest, FeedsRefreshed, SCHEMA_VERSION, timestamp};
use crate::config::{AutoLevel, Feed};
use crate::feeds::{Feeds, Listed};
use crate::prefix;
use crate::prefix_map::Prefix;

impl Desk {
    /// Puts feeds in place of those before.
    pub fn set_feeds(&mut self, feeds: Feeds) {
        for listed in feeds.iter() {
            let Feed { name, file, level } = &listed.feed;
            info!(feed = name, file = %file.display(), level = level.label(), prefixes = listed.len(), "a feed was read");
        }
        self.feeds = feeds;
    }

    /// How far the strongest feed that names a source may go.
    #[must_use]
    pub fn feed_of(&self, source: &SourceKey) -> Option<AutoLevel> {
        self.feeds.level(self.prefix_of(source))
    }

    /// Who says that many people share a source's address: `sources.shared`, where the configuration names its network there, and feeds by
    /// their names.
    #[must_use]
    pub fn sharing(&self, source: &SourceKey, configured: &[IpNetwork]) -> Vec<String> {
        let prefix = self.prefix_of(source);
        let configured = configured.iter().any(|network| Prefix::from(*network).covers(&prefix));
        let configured = configured.then(|| "sources.shared".to_owned());
        configured.into_iter().chain(self.feeds.sharing(prefix).map(|name| format!("feed {name}"))).collect()
    }

    /// Names of the feeds that name a source.
    pub(super) fn feeds_naming(&self, source: &SourceKey) -> Vec<String> {
        self.feeds.naming(self.prefix_of(source)).map(|(listed, _)| listed.feed.name.clone()).collect()
    }

    /// All feeds.
    #[must_use]
    pub fn feed_list(&self) -> FeedList {
        FeedList { schema_version: SCHEMA_VERSION, feeds: self.feeds.iter().map(entry).collect() }
    }

    /// Which feeds name an address or prefix.
    ///
    /// # Errors
    /// When the text is neither.
    pub fn feed_test(&self, text: &str) -> Result<FeedTest, OperatorError> {
        let asked: Prefix = prefix::parse(text)?.into();
        // An address is meant as the source it belongs to.
        let source = self.source_of(asked);
        let matches = self.feeds.naming(source).map(|(listed, by)| FeedMatch {
            name: listed.feed.name.clone(),
            level: listed.feed.level.label().to_owned(),
            prefix: shown(&by),
        });
        Ok(FeedTest {
            schema_version: SCHEMA_VERSION,
            address: text.to_owned(),
            level: self.feeds.level(source).map(|level| level.label().to_owned()),
            shared: self.feeds.sharing(source).next().is_some(),
            feeds: matches.collect(),
        })
    }

    /// Reads the files of all feeds again.
    ///
    /// # Errors
    /// When one cannot be read or is no list: then those of before stay.
    pub fn feeds_refresh(&mut self, now: SystemTime) -> Result<FeedsRefreshed, OperatorError> {
        let configured: Vec<Feed> = self.feeds.iter().map(|listed| listed.feed.clone()).collect();
        let feeds = Feeds::read(&configured, now)
            .map_err(|error| OperatorError::Failed(anyhow::anyhow!("the feeds of before stay: {error}")))?;
        let before = self.feeds.iter().map(|listed| listed.len() as u64).collect();
        self.set_feeds(feeds);
        Ok(FeedsRefreshed { schema_version: SCHEMA_VERSION, feeds: self.feed_list().feeds, before })
    }
}

fn entry(listed: &Listed) -> FeedEntry {
    let Feed { name, file, level } = &listed.feed;
    FeedEntry {
        name: name.clone(),
        file: file.display().to_string(),
        level: level.label().to_owned(),
        prefixes: listed.len() as u64,
        read_at: timestamp(listed.read_at),
    }
}
