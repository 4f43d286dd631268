//! A configuration as a file, with a comment for every key or without comments.

mod sections;

use std::fmt::Write as _;
use std::time::Duration;

use super::Config;
use super::ports::{PortList, SHIPPED};
use crate::duration;

/// Whether to explain the keys.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Comments {
    /// Say what each key means.
    With,
    /// Keys and values alone.
    Without,
}

/// Widest line of a list.
const LINE: usize = 96;

struct Document {
    text: String,
    comments: Comments,
    /// Whether the last line was a section's name, which needs no blank line after it.
    opened: bool,
}

impl Document {
    fn comment(&mut self, comment: &str) {
        if self.comments == Comments::With {
            for line in comment.lines() {
                self.line(format!("# {line}").trim_end());
            }
        }
    }

    fn section(&mut self, name: &str) {
        self.line(&format!("\n[{name}]"));
        self.opened = true;
    }

    fn key(&mut self, comment: &str, key: &str, value: &str) {
        if self.comments == Comments::With && !self.opened && !comment.is_empty() {
            self.line("");
        }
        self.opened = false;
        self.comment(comment);
        self.line(&format!("{key} = {value}"));
    }

    fn line(&mut self, line: &str) {
        writeln!(self.text, "{line}").expect("a String takes everything");
    }
}

/// The file that says what this configuration says.
#[must_use]
pub fn document(config: &Config, comments: Comments) -> String {
    let mut file = Document { text: String::new(), comments, opened: false };
    sections::all(&mut file, config);
    file.text.trim_start().to_owned()
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn quoted_list(items: impl Iterator<Item = impl AsRef<str>>) -> String {
    bracketed(items.map(|item| quoted(item.as_ref())))
}

fn quoted_duration(span: Duration) -> String {
    quoted(&duration::format(span))
}

/// A number that reads as the same one again, short also if it is small.
fn real(number: f64) -> String {
    format!("{number:?}")
}

/// The list of restricted ports, with the word for the shipped ones if they are among them.
fn list_with_shipped(list: &PortList, shipped: &PortList) -> String {
    let word = (!shipped.0.is_empty()).then(|| quoted(SHIPPED));
    bracketed(word.into_iter().chain(port_items(list)))
}

fn port_list(list: &PortList) -> String {
    bracketed(port_items(list))
}

fn port_items(list: &PortList) -> impl Iterator<Item = String> {
    list.0.iter().map(|range| {
        let text = range.to_string();
        if text.bytes().all(|byte| byte.is_ascii_digit()) { text } else { quoted(&text) }
    })
}

/// A list over several lines where one is too long.
fn bracketed(items: impl Iterator<Item = String>) -> String {
    match wrapped(items).as_slice() {
        [line] => format!("[{line}]"),
        lines => format!("[\n    {},\n]", lines.join(",\n    ")),
    }
}

/// Items with commas between them, in lines of bearable width.
fn wrapped(items: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines = vec![String::new()];
    for item in items {
        let last = lines.last_mut().expect("there is always a line");
        if last.is_empty() {
            *last = item;
        } else if last.len() + 2 + item.len() <= LINE {
            last.push_str(", ");
            last.push_str(&item);
        } else {
            lines.push(item);
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_file_parses_to_the_defaults_and_comments_every_key() {
        let text = document(&Config::default(), Comments::With);
        assert_eq!(Config::parse(text.as_bytes()), Ok(Config::default()));
        insta::assert_snapshot!(text);
    }

    #[test]
    fn any_configuration_survives_being_written() {
        let text = br#"
            interfaces = ["auto", "eth\"1"]
            attach = "native"
            mode = "enforce"
            state = "/srv/s.db"
            allow = ["192.0.2.7", "198.51.100.0/24", "2001:db8::1", "2001:db8::/32", "::/0"]
            control = { socket = "/run/a\tb.sock", group = "adm" }
            retention = { audit_rows = 1000, audit_days = 1, history_rows = 2000, history_days = 3650 }
            metrics.listen = "[::1]:9000"
            ports = { public = ["8000-8100", "53/udp"], canary = [23], unchallenged = [2222], protect = ["198.51.100.0/24", "2001:db8:7::/48"], memory = "90m", learning = "0s" }
            score = { a = 0.123456789, b = 1e-9, block_a = 2.5e-5, t0 = 0.7, t1 = 0.3, half_life = "90s" }
            conceal = { duration = "61s", longest = "7d" }
            storm = { suspects_per_second = 7, duration = "1s" }
            keep = true
            feeds = [{ name = "drop", file = "/srv/a\"b.txt", level = "block all" }, { name = "x.1", file = "/srv/c", level = "shared" }]
            cgroup = "/sys/fs/cgroup/a b"
            challenge = "on"
            decoy_reply = "silence"
            pins = "/sys/fs/bpf/other"
            safety = { leases = false, lease = "1h", logins = "/run/l.sock", shortest_ipv4 = 8, shortest_ipv6 = 0 }
            block = { max_auto_level = "block all", unproven = true, first = "2m", factor = 2, longest = "2h", recurrence = "1d", per_minute = 7, most = 9, most_harmed = 3, question = "2h" }
            sources = { ipv6_prefix = 56, translators = ["2001:db8:64::/96"], ignore_private = true, shared = ["100.64.0.0/10"], max_sources = 2048, tables = "eighth", new_per_second = 5 }
            signals = { per_minute = 60, per_source = 6 }
            events.ring_kib = 64
            log = { format = "json", level = "debug", frames = true }
        "#;
        let config = Config::parse(text).expect("a valid configuration");
        for comments in [Comments::With, Comments::Without] {
            assert_eq!(Config::parse(document(&config, comments).as_bytes()).as_ref(), Ok(&config));
        }
    }

    #[test]
    fn what_is_said_of_restricted_ports_survives_being_written() {
        for (list, written) in [
            ("[]", "[]"),
            ("[\"default\"]", "[\"default\"]"),
            ("[22, \"default\"]", "[\"default\", 22]"),
            ("[\"1-65535\", \"default\"]", "[\"1-65535\"]"),
        ] {
            let config = Config::parse(format!("ports.restricted = {list}").as_bytes()).expect("valid");
            let text = document(&config, Comments::Without);
            assert!(text.contains(&format!("\nrestricted = {written}\n")), "{list}: {text}");
            assert_eq!(Config::parse(text.as_bytes()), Ok(config));
        }
    }
}
