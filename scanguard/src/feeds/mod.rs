//! Lists of addresses that the operator trusts others to make: which sources each names, and what it says of them.
//!
//! A feed acts on nobody by itself. It says how far the policy may go with a source that scans here, and that others saw scan before; or that many
//! people share its address.

mod text;

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use nix::libc;

use crate::config::{AutoLevel, Feed, FeedLevel};
use crate::prefix_map::{Prefix, PrefixMap};

pub use text::{Bad, MOST_PREFIXES};

/// Longest file that is read.
const MOST_BYTES: u64 = 64 * 1024 * 1024;

/// Why a feed cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The file cannot be read.
    #[error("cannot read {} of feed {name:?}: {source}", file.display())]
    Unreadable {
        /// The feed.
        name: String,
        /// Its file.
        file: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is no file but something that one waits for, or that leads elsewhere.
    #[error("{} of feed {name:?} is {what}: name a regular file, as root or the daemon's user keeps it", file.display())]
    NoFile {
        /// The feed.
        name: String,
        /// Its file.
        file: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// The file is longer than any list should be.
    #[error("{} of feed {name:?} is longer than {} MiB", file.display(), MOST_BYTES >> 20)]
    TooLong {
        /// The feed.
        name: String,
        /// Its file.
        file: PathBuf,
    },
    /// The file is no list of prefixes.
    #[error("{} of feed {name:?} is not a list of prefixes, one a line:{}", file.display(), lines(file, problems))]
    Wrong {
        /// The feed.
        name: String,
        /// Its file.
        file: PathBuf,
        /// What is wrong with it, the first few.
        problems: Vec<Bad>,
    },
}

fn lines(file: &std::path::Path, problems: &[Bad]) -> String {
    let line = |Bad { line, reason }: &Bad| format!("\n  {}:{line}: {reason}", file.display());
    problems.iter().map(line).collect()
}

/// All feeds, as they were read last.
#[derive(Clone, Debug, Default)]
pub struct Feeds(Vec<Listed>);

/// A feed and what it lists.
#[derive(Clone, Debug)]
pub struct Listed {
    /// The feed.
    pub feed: Feed,
    /// When it was read.
    pub read_at: SystemTime,
    prefixes: PrefixMap<()>,
}

impl Listed {
    /// How many prefixes it has, each once.
    #[must_use]
    pub fn len(&self) -> usize {
        self.prefixes.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.prefixes.is_empty()
    }

    /// The entry that names a source: the longest that covers it, or one within it, which only IPv6 sources have: a subscriber is named by any of
    /// his addresses.
    #[must_use]
    pub fn entry_for(&self, source: Prefix) -> Option<Prefix> {
        let covering = self.prefixes.covering(source).next();
        covering.or_else(|| self.prefixes.within(source).next()).map(|(prefix, ())| *prefix)
    }
}

impl Feeds {
    /// Reads the files of all feeds: all of them or none.
    ///
    /// # Errors
    /// When one cannot be read, or is no list.
    pub fn read(feeds: &[Feed], now: SystemTime) -> Result<Self, FeedError> {
        feeds.iter().map(|feed| read(feed, now)).collect::<Result<_, _>>().map(Self)
    }

    /// All of them, in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Listed> {
        self.0.iter()
    }

    /// What the configuration said of them.
    pub fn configured(&self) -> impl Iterator<Item = &Feed> {
        self.0.iter().map(|listed| &listed.feed)
    }

    /// Those that name a source, and by which entry.
    pub fn naming(&self, source: Prefix) -> impl Iterator<Item = (&Listed, Prefix)> {
        self.0.iter().filter_map(move |listed| Some((listed, listed.entry_for(source)?)))
    }

    /// How far the strongest that names a source may go.
    #[must_use]
    pub fn level(&self, source: Prefix) -> Option<AutoLevel> {
        self.naming(source).filter_map(|(listed, _)| listed.feed.level.up_to()).max()
    }

    /// Names of those that say that many people share its address.
    pub fn sharing(&self, source: Prefix) -> impl Iterator<Item = &str> {
        let sharing = self.naming(source).filter(|(listed, _)| listed.feed.level == FeedLevel::Shared);
        sharing.map(|(listed, _)| listed.feed.name.as_str())
    }
}

fn read(feed: &Feed, now: SystemTime) -> Result<Listed, FeedError> {
    let Feed { name, file, level: _ } = feed.clone();
    let mut bytes = Vec::new();
    let opened = match regular(&file) {
        Ok(Ok(opened)) => opened.take(MOST_BYTES + 1).read_to_end(&mut bytes),
        Ok(Err(what)) => return Err(FeedError::NoFile { name, file, what }),
        Err(error) => Err(error),
    };
    if let Err(source) = opened {
        return Err(FeedError::Unreadable { name, file, source });
    }
    if bytes.len() as u64 > MOST_BYTES {
        return Err(FeedError::TooLong { name, file });
    }
    match text::parse(&bytes) {
        Ok(prefixes) => Ok(Listed { feed: feed.clone(), read_at: now, prefixes }),
        Err(problems) => Err(FeedError::Wrong { name, file, problems }),
    }
}

/// Opens a regular file. Whoever may write the folder of a feed must not have this program read another file of root's (a symbolic
/// link), or wait for ever (a FIFO).
fn regular(file: &Path) -> io::Result<Result<File, &'static str>> {
    // A FIFO without a writer is opened at once.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
    let opened = match OpenOptions::new().read(true).custom_flags(flags).open(file) {
        Ok(opened) => opened,
        Err(error) if error.raw_os_error() == Some(libc::ELOOP) => return Ok(Err("a symbolic link")),
        // A socket, or a device without a driver.
        Err(error) if error.raw_os_error() == Some(libc::ENXIO) => return Ok(Err("no regular file")),
        Err(error) => return Err(error),
    };
    Ok(if opened.metadata()?.is_file() { Ok(opened) } else { Err("no regular file") })
}

#[cfg(test)]
mod tests {
    use ipnetwork::IpNetwork;

    use super::*;

    fn prefix(text: &str) -> Prefix {
        text.parse::<IpNetwork>().expect("a prefix").into()
    }

    fn feed(folder: &tempfile::TempDir, name: &str, level: FeedLevel, text: &str) -> Feed {
        let file = folder.path().join(name);
        std::fs::write(&file, text).expect("a file");
        Feed { name: name.to_owned(), file, level }
    }

    #[test]
    fn the_strongest_feed_that_names_a_source_decides() {
        let folder = tempfile::tempdir().expect("a folder");
        let feeds = [
            feed(&folder, "mild", FeedLevel::UpTo(AutoLevel::Conceal), "203.0.113.0/24\n2001:db8:7:1::66\n"),
            feed(&folder, "drop", FeedLevel::UpTo(AutoLevel::BlockAll), "203.0.113.64/26\n"),
            feed(&folder, "none", FeedLevel::UpTo(AutoLevel::BlockAll), "# nothing today\n"),
            feed(&folder, "cgnat", FeedLevel::Shared, "198.51.100.0/24\n203.0.113.7\n"),
        ];
        let feeds = Feeds::read(&feeds, SystemTime::now()).expect("lists");
        let rows = [
            ("203.0.113.66", Some(AutoLevel::BlockAll)),
            ("203.0.113.7", Some(AutoLevel::Conceal)),
            ("198.51.100.7", None),
            ("2001:db8:7:1::/64", Some(AutoLevel::Conceal)),
            ("2001:db8:7:2::/64", None),
        ];
        for (source, level) in rows {
            assert_eq!(feeds.level(prefix(source)), level, "{source}");
            let is_shared = ["203.0.113.7", "198.51.100.7"].contains(&source);
            let sharing: Vec<_> = feeds.sharing(prefix(source)).collect();
            assert_eq!(sharing, if is_shared { vec!["cgnat"] } else { vec![] }, "{source}");
        }
        let naming: Vec<_> = feeds.naming(prefix("203.0.113.66")).map(|(it, by)| (it.feed.name.clone(), by)).collect();
        assert_eq!(naming, [("mild".into(), prefix("203.0.113.0/24")), ("drop".into(), prefix("203.0.113.64/26"))]);
        assert_eq!(feeds.iter().map(Listed::len).collect::<Vec<_>>(), [2, 1, 0, 2]);
    }

    #[test]
    fn a_file_that_is_no_list_is_told_with_its_lines_and_nothing_is_taken() {
        let folder = tempfile::tempdir().expect("a folder");
        let good = feed(&folder, "good", FeedLevel::Shared, "192.0.2.7\n");
        let bad = feed(&folder, "bad", FeedLevel::Shared, "192.0.2.7\nexample.org\n192.0.2.1/24\n");
        let error = Feeds::read(&[good.clone(), bad.clone()], SystemTime::now()).expect_err("no list").to_string();
        let file = bad.file.display();
        assert!(error.starts_with(&format!("{file} of feed \"bad\" is not a list")), "{error}");
        assert!(error.contains(&format!("\n  {file}:2: ")) && error.contains(&format!("\n  {file}:3: ")), "{error}");
        let missing = Feed { file: folder.path().join("missing"), ..good };
        let error = Feeds::read(&[missing], SystemTime::now()).expect_err("no file").to_string();
        assert!(error.starts_with("cannot read ") && error.contains("of feed \"good\""), "{error}");
    }

    #[test]
    fn a_feed_that_leads_elsewhere_or_never_ends_is_refused_at_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let good = feed(&folder, "good", FeedLevel::Shared, "192.0.2.7\n");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&good.file, &link).expect("a link");
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        for (file, what) in [
            (link, "a symbolic link"),
            (fifo, "no regular file"),
            (socket, "no regular file"),
            (folder.path().to_owned(), "no regular file"),
            ("/dev/null".into(), "no regular file"),
        ] {
            let found = Feeds::read(&[Feed { file: file.clone(), ..good.clone() }], SystemTime::now());
            let error = found.expect_err("no file").to_string();
            assert!(error.contains(&format!("is {what}: name a regular file")), "{}: {error}", file.display());
        }
    }

    #[test]
    fn no_text_of_a_file_is_in_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let text = "root:$6$salt$secret:19000:0:99999:7:::\n192.0.2.secret\n::ffff:192.0.2.1/128secret\n";
        let bad = feed(&folder, "bad", FeedLevel::Shared, text);
        let error = Feeds::read(&[bad], SystemTime::now()).expect_err("no list").to_string();
        assert!(error.contains(":1: it begins with neither an address nor a prefix"), "{error}");
        assert!(!error.contains("secret") && !error.contains("root") && !error.contains("$6"), "{error}");
    }
}
