//! Feeds.

use toml::Spanned;
use toml::de::DeValue;

use super::LONGEST_PATH;
use crate::config::problem::Problems;
use crate::config::section::Section;
use crate::config::value::{absolute_path, text, word};
use crate::config::{Feed, FeedLevel};

/// Most bytes of a name.
const LONGEST_NAME: usize = 64;
/// A file that one may have.
const EXAMPLE: &str = "/etc/scanguard/feeds/drop.txt";

/// One of the list.
pub(super) fn feed(key: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) -> Option<Feed> {
    let example = || format!("for example {{ name = \"drop\", file = \"{EXAMPLE}\", level = \"block private\" }}");
    let Some(table) = value.get_ref().as_table() else {
        problems.suggest(&value.span(), format!("`{key}` is a list of tables"), example());
        return None;
    };
    let mut section = Section::item("feeds", table);
    let name = section.read("name", problems, name);
    let file = section.read("file", problems, absolute_path(LONGEST_PATH, EXAMPLE));
    let levels = FeedLevel::ALL.map(|level| (level.label(), level));
    let level = section.read("level", problems, word(&levels));
    section.finish(problems);
    for missing in ["name", "file", "level"].into_iter().filter(|key| !table.contains_key(*key)) {
        problems.suggest(&value.span(), format!("a feed has no `{missing}`"), example());
    }
    Some(Feed { name: name?, file: file?, level: level? })
}

fn name(key: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) -> Option<String> {
    let found = text(key, value, problems)?;
    let is_plain = |letter: u8| letter.is_ascii_alphanumeric() || b"._-".contains(&letter);
    let valid = (1..=LONGEST_NAME).contains(&found.len()) && found.bytes().all(is_plain);
    if !valid {
        let reason =
            format!("`{key}`: {found:?} is no name of at most {LONGEST_NAME} letters, digits, `.`, `_` and `-`");
        problems.suggest(&value.span(), reason, "for example \"drop\"");
    }
    valid.then(|| found.to_owned())
}

/// Feeds whose names are told apart.
pub(super) fn distinct(feeds: &[Feed], place: &std::ops::Range<usize>, problems: &mut Problems<'_>) {
    for (position, feed) in feeds.iter().enumerate() {
        if feeds[..position].iter().any(|other| other.name == feed.name) {
            problems.add(place, format!("`feeds`: two have the name {:?}", feed.name));
        }
    }
}
