//! Lists as they are published: one prefix a line, with comments of several kinds.

use crate::prefix::{self, PrefixError};
use crate::prefix_map::{Prefix, PrefixMap};

/// Prefixes in a list; some 30 bytes of memory each.
pub const MOST_PREFIXES: usize = 500_000;
/// Problems that are told of one list.
const MOST_TOLD: usize = 10;

/// A line that is wrong.
#[derive(Clone, Debug, Eq, PartialEq, serde::Serialize)]
pub struct Bad {
    /// The line, from 1 on.
    pub line: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// Reads a list. What follows a prefix is its comment, whether it begins with `#`, with `;` as in the lists of Spamhaus, or with a blank; lines of
/// comment and empty ones are left out.
///
/// # Errors
/// The first few lines that are wrong.
pub(super) fn parse(bytes: &[u8]) -> Result<PrefixMap<()>, Vec<Bad>> {
    let (mut prefixes, mut problems) = (PrefixMap::default(), Vec::new());
    for (line, number) in bytes.split(|byte| *byte == b'\n').zip(1..) {
        let line = String::from_utf8_lossy(line);
        let text = line.trim_start_matches('\u{feff}').split(['#', ';']).next().unwrap_or_default();
        let Some(entry) = text.split_whitespace().next() else { continue };
        let wrong = match prefix::parse(entry) {
            Ok(network) if network.prefix() == 0 => "it names everybody".to_owned(),
            Ok(network) => {
                prefixes.insert(Prefix::from(network), ());
                if prefixes.len() <= MOST_PREFIXES {
                    continue;
                }
                problems.push(Bad { line: number, reason: format!("there are more than {MOST_PREFIXES} prefixes") });
                break;
            }
            Err(error) => unquoted(&error),
        };
        problems.push(Bad { line: number, reason: wrong });
        if problems.len() == MOST_TOLD {
            break;
        }
    }
    if problems.is_empty() { Ok(prefixes) } else { Err(problems) }
}

/// What is wrong, without the text: the file may be another one than somebody meant, and whoever reads the message not its reader.
fn unquoted(error: &PrefixError) -> String {
    match error {
        PrefixError::Neither(_) => "it begins with neither an address nor a prefix".to_owned(),
        PrefixError::BitsAfter { bits, meant, .. } => {
            format!("bits are set after the first {bits}: did you mean {}?", prefix::show(meant))
        }
        PrefixError::Mapped { meant, .. } => {
            format!("an IPv4 address is written as IPv6: did you mean {}?", prefix::show(meant))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn listed(text: &[u8]) -> Vec<String> {
        let prefixes = parse(text).expect("a list");
        prefixes.iter().map(|(prefix, ())| prefix::show(&(*prefix).into())).collect()
    }

    #[test]
    fn lists_are_read_as_they_are_published() {
        let text = b"\xef\xbb\xbf# a set of FireHOL\n#\n192.0.2.0/24\r\n\r\n198.51.100.7\n\
            ; Spamhaus DROP List\n203.0.113.0/24 ; SBL1\n2001:db8::/32\tof somebody\n  192.0.2.9  # caf\xe9\n192.0.2.0/24\n";
        let expected = ["192.0.2.0/24", "192.0.2.9", "198.51.100.7", "203.0.113.0/24", "2001:db8::/32"];
        assert_eq!(listed(text), expected);
        assert_eq!(listed(b""), Vec::<String>::new());
    }

    #[test]
    fn the_first_few_wrong_lines_are_told() {
        let problems = parse(b"192.0.2.1\nexample.org\n192.0.2.1/24\n0.0.0.0/0\n::/0\n").expect_err("wrong lines");
        assert_eq!(problems.iter().map(|bad| bad.line).collect::<Vec<_>>(), [2, 3, 4, 5]);
        assert!(problems[1].reason.contains("did you mean 192.0.2.0/24?"), "{problems:?}");
        let many = "x\n".repeat(100);
        assert_eq!(parse(many.as_bytes()).expect_err("wrong lines").len(), MOST_TOLD);
    }

    #[test]
    fn a_list_has_an_end() {
        let text: String = (0..=MOST_PREFIXES as u32)
            .map(|number| format!("{}\n", std::net::Ipv4Addr::from(number + (1 << 24))))
            .collect();
        let problems = parse(text.as_bytes()).expect_err("too many");
        assert_eq!(problems.iter().map(|bad| bad.line).collect::<Vec<_>>(), [MOST_PREFIXES + 1]);
        let last = text.trim_end().rfind('\n').expect("lines");
        assert_eq!(parse(&text.as_bytes()[..last]).expect("a list").len(), MOST_PREFIXES);
    }

    proptest! {
        #[test]
        fn no_text_panics(bytes: Vec<u8>) {
            let _ = parse(&bytes);
        }
    }
}
