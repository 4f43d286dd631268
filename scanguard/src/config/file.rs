//! Finds and reads the file.

use std::fmt::Write as _;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::{fs, io};

use super::{Config, Problem};

/// Where the file is unless an option says otherwise.
pub const DEFAULT_FILE: &str = "/etc/scanguard/scanguard.toml";

/// A configuration and where it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// The file; none when there is none and the defaults hold.
    pub file: Option<PathBuf>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is wrong.
    #[error("{}", describe(file, problems))]
    Invalid {
        /// The file.
        file: PathBuf,
        /// Everything that is wrong with it.
        problems: Vec<Problem>,
    },
}

/// Reads a named file, or the default one, which need not exist.
///
/// # Errors
/// When the file cannot be read or is wrong.
pub fn load(file: Option<&Path>) -> Result<Loaded, LoadError> {
    let path = file.unwrap_or(Path::new(DEFAULT_FILE));
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound && file.is_none() => {
            return Ok(Loaded { config: Config::default(), file: None });
        }
        Err(source) => return Err(LoadError::Unreadable { file: path.to_owned(), source }),
    };
    match Config::parse(&text) {
        Ok(config) => Ok(Loaded { config, file: Some(path.to_owned()) }),
        Err(problems) => Err(LoadError::Invalid { file: path.to_owned(), problems }),
    }
}

fn describe(file: &Path, problems: &[Problem]) -> String {
    let count = problems.len();
    let mut text = format!("{} has {count} problem{}:", file.display(), if count == 1 { "" } else { "s" });
    for Problem { place, reason, suggestion } in problems {
        write!(text, "\n  {}:{}:{}: {reason}", file.display(), place.line, place.column)
            .expect("a String takes everything");
        if let Some(suggestion) = suggestion {
            write!(text, "\n      {suggestion}").expect("a String takes everything");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_problem_is_told_with_its_place_and_a_way_out() {
        let text = br#"
interface = ["eth0"]
atach = "auto"
mode = "obsrve"
state = "state.db"
allow = ["192.0.2.1/24", "example.org", "::ffff:192.0.2.7", 7]

[metrics]
listen = "9477"

[ports]
public = [80, 443, 22, "ssh"]
restricted = [22, 70000, "9-8", true, "80-90", "default"]
canary = ["shipped"]
memory = "10"
learning = 24

[sources]
ipv6_prefix = 200
translators = ["2001:db8::1/96", "10.0.0.0/8"]
max_sources = "many"

[score]
a = 1e-7
b = 1
t0 = 0.15
half_life = "5s"

[conceal]
longest = "30m"

[storm]
suspects_per_second = 0
duration = "1h1h"

[log]
frames = true
colour = "red"
"#;
        let problems = Config::parse(text).expect_err("a broken configuration");
        insta::assert_snapshot!(describe(Path::new("scanguard.toml"), &problems));
    }

    #[test]
    fn values_that_do_not_fit_each_other_are_told_where_the_later_one_is_written() {
        let text = b"score = { a = 0.5, b = 0.5, block_a = 0.1 }\nconceal = { duration = \"2h\", longest = \"1h\" }";
        let problems = Config::parse(text).expect_err("a contradiction");
        insta::assert_snapshot!(describe(Path::new("scanguard.toml"), &problems));
    }

    #[test]
    fn feeds_are_whole_and_told_apart() {
        let text = br#"
feeds = [
    { name = "drop", file = "/srv/drop.txt", level = "block all" },
    { name = "drop", file = "drop.txt", level = "block" },
    { name = "a b", file = "/srv/c", level = "conceal", colour = "red" },
    { file = "/srv/d" },
    "/srv/e",
]
"#;
        let problems = Config::parse(text).expect_err("broken feeds");
        insta::assert_snapshot!(describe(Path::new("scanguard.toml"), &problems));
        let text = "[[feeds]]\nname = \"drop\"\nfile = \"/srv/drop.txt\"\nlevel = \"conceal\"\n";
        assert_eq!(Config::parse(text.as_bytes()).expect("one feed").feeds.len(), 1);
        let twice = Config::parse([text, text].concat().as_bytes()).expect_err("the same name");
        assert_eq!(twice.len(), 1, "{twice:?}");
    }

    #[test]
    fn broken_text_is_told_with_its_place() {
        let problems = Config::parse(b"mode = \"observe\nattach = = 3\n[ports\n").expect_err("broken text");
        insta::assert_snapshot!(describe(Path::new("scanguard.toml"), &problems));
        let problems = Config::parse(b"mode = \"observe\" # caf\xe9\n").expect_err("broken text");
        insta::assert_snapshot!(describe(Path::new("scanguard.toml"), &problems));
    }

    #[test]
    fn only_the_default_file_may_be_missing() {
        let missing = load(Some(Path::new("/nonexistent/scanguard.toml"))).expect_err("no such file");
        assert!(missing.to_string().starts_with("cannot read the configuration /nonexistent/scanguard.toml: "));
    }

    proptest! {
        #[test]
        fn no_text_panics(bytes: Vec<u8>) {
            let _ = Config::parse(&bytes);
        }

        #[test]
        fn no_text_that_looks_like_one_panics(text in "((interfaces|allow|state|score.t0|conceal.longest|ports\\.(public|canary)|sources\\.translators|log\\.level|ports.memory|\\[ports\\]) ?=? ?(\\[[0-9\", a-f:/-]{0,12}\\]?|\"[a-z0-9./:-]{0,8}\"|-?[0-9_]{1,21})\n){0,6}") {
            let _ = Config::parse(text.as_bytes());
        }
    }
}
