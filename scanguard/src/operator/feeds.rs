//! Lists that others make: which there are, whom they name, and reading them again.

use std::thread;

use anyhow::anyhow;
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
    /// Puts feeds in place of those before, which are freed on another thread: that takes a while, too.
    pub fn set_feeds(&mut self, feeds: Feeds) {
        for listed in feeds.iter() {
            let Feed { name, file, level } = &listed.feed;
            info!(feed = name, file = %file.display(), level = level.label(), prefixes = listed.len(), "a feed was read");
        }
        let before = std::mem::replace(&mut self.feeds, feeds);
        // (Where there is no thread to be had, here.)
        let _ = thread::Builder::new().name("feeds".to_owned()).spawn(move || drop(before));
    }

    /// All feeds, as they were read last.
    #[must_use]
    pub const fn feeds(&self) -> &Feeds {
        &self.feeds
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

    /// Puts in force what was read of the files of all feeds again, elsewhere: that may take long.
    ///
    /// # Errors
    /// When one could not be read or is no list, or the configuration names others meanwhile: then those of before stay.
    pub fn feeds_refresh(&mut self, read: Result<Feeds, String>) -> Result<FeedsRefreshed, OperatorError> {
        let stay = |why: &str| OperatorError::Failed(anyhow!("the feeds of before stay: {why}"));
        let feeds = read.map_err(|error| stay(&error))?;
        if !feeds.configured().eq(self.feeds.configured()) {
            return Err(stay("the configuration was read anew meanwhile"));
        }
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
