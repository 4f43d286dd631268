//! A configuration as a file, with a comment for every key or without comments.

use std::fmt::Write as _;

use super::ports::PortList;
use super::{Config, attach_label};

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
        if self.comments == Comments::With && !self.opened {
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
    let Config { interfaces, attach, mode, control_socket, metrics_listen, ports, sources, events_ring_kib, log } =
        config;
    let mut file = Document { text: String::new(), comments, opened: false };
    file.comment(
        "Configuration of scanguard, by default at /etc/scanguard/scanguard.toml.\n\
         Every key may be left out; the values here are the defaults unless you changed them.\n\
         `scanguard config check` tells what is wrong with a file, `scanguard config show` what is in force.",
    );
    file.key(
        "Interfaces to guard. \"auto\" stands for every interface with a default route.\n\
         `scanguard run -i NAME` overrides it.",
        "interfaces",
        &quoted_list(interfaces.iter()),
    );
    file.key(
        "Where in the receive path the program runs:\n\
         \"auto\"     native where the driver can, else generic; generic on veth, where native halves TCP throughput\n\
         \"native\"   in the driver, or not at all\n\
         \"generic\"  in the stack: slower, works everywhere",
        "attach",
        &quoted(attach_label(*attach)),
    );
    file.key(
        "\"observe\"  drop nothing, count everything\n\
         \"enforce\"  carry out verdicts. This version reaches none: it counts in both modes.",
        "mode",
        &quoted(mode.label()),
    );

    file.section("control");
    file.key(
        "The Unix socket on which the daemon answers the command line. Mode 0660: root and the socket's group.",
        "socket",
        &quoted(&control_socket.to_string_lossy()),
    );

    file.section("metrics");
    file.key(
        "Where /metrics (Prometheus) and /healthz are served; \"off\" serves nothing.\n\
         There is no password: on another address than loopback, let a firewall say who may ask.",
        "listen",
        &quoted(&metrics_listen.map_or_else(|| "off".to_owned(), |address| address.to_string())),
    );

    file.section("ports");
    file.comment(
        "What this host's ports are to the world. A number means TCP; ranges and UDP are texts:\n\
         [22, \"8000-8100\", \"53/udp\", \"6000-6010/udp\"]. A port is in one list at most; a port in none is neutral.\n\
         What you write in one list is taken out of the shipped default of the others.",
    );
    file.opened = false;
    file.key("Open and for everybody.", "public", &port_list(&ports.public));
    file.key(
        "Open, but not for customers: administration and databases. The default is a list of such ports,\n\
         whether or not anything listens on them here.",
        "restricted",
        &port_list(&ports.restricted),
    );
    file.key("Closed here, and nobody legitimate ever asks for them.", "canary", &port_list(&ports.canary));

    file.section("sources");
    file.key(
        "Bits of an IPv6 address that make one source, 32 to 128. Subscribers get at least a /64 (RFC 6177).",
        "ipv6_prefix",
        &sources.ipv6_prefix.to_string(),
    );
    file.key(
        "Prefixes of 96 bits with which your translators (NAT64) embed the client's IPv4 address, at most 4.\n\
         64:ff9b::/96 is always known.",
        "translators",
        &quoted_list(sources.translators.iter().map(|prefix| format!("{prefix}/96"))),
    );
    file.key(
        "Whether private addresses (RFC 1918, link-local, fc00::/7) are exempt from judgement.\n\
         false: they are counted and judged like any other.",
        "ignore_private",
        &sources.ignore_private.to_string(),
    );
    file.key(
        "Sources remembered, 1024 to 16777216; the longest unseen is forgotten first.\n\
         Some 200 bytes of kernel memory each, allocated at the start.",
        "max_sources",
        &sources.max_sources.to_string(),
    );

    file.section("events");
    file.key(
        "KiB of the buffer through which the kernel tells the daemon of first contacts, 16 to 1048576, rounded up to\n\
         a power of two. When it is full events are lost (and counted); counters lose nothing.",
        "ring_kib",
        &events_ring_kib.to_string(),
    );

    file.section("log");
    file.key(
        "\"text\" for people, \"json\" for programs. Both go to standard error.",
        "format",
        &quoted(log.format.label()),
    );
    file.key(
        "\"error\", \"warn\", \"info\", \"debug\" (each first contact) or \"trace\".",
        "level",
        &quoted(log.level.label()),
    );
    file.key(
        "Log every frame the kernel part sees, at level \"debug\". For developers: it costs microseconds a frame.",
        "frames",
        &log.frames.to_string(),
    );
    file.text.trim_start().to_owned()
}

/// A TOML basic string.
fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn quoted_list(items: impl Iterator<Item = impl AsRef<str>>) -> String {
    let items: Vec<String> = items.map(|item| quoted(item.as_ref())).collect();
    format!("[{}]", items.join(", "))
}

/// A list of ports, over several lines where one is too long.
fn port_list(list: &PortList) -> String {
    let items = list.0.iter().map(|range| {
        let text = range.to_string();
        if text.bytes().all(|byte| byte.is_ascii_digit()) { text } else { quoted(&text) }
    });
    let mut lines = vec![String::new()];
    for item in items {
        let last = lines.last_mut().expect("there is always a line");
        if last.is_empty() {
            *last = item;
        } else if last.len() + 2 + item.len() <= LINE {
            last.push_str(", ");
            last.push_str(&item);
        } else {
            last.push(',');
            lines.push(item);
        }
    }
    match lines.as_slice() {
        [line] => format!("[{line}]"),
        lines => format!("[\n    {},\n]", lines.join("\n    ")),
    }
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
            control.socket = "/run/a\tb.sock"
            metrics.listen = "[::1]:9000"
            ports = { public = ["8000-8100", "53/udp"], canary = [23] }
            sources = { ipv6_prefix = 56, translators = ["2001:db8:64::/96"], ignore_private = true, max_sources = 2048 }
            events.ring_kib = 64
            log = { format = "json", level = "debug", frames = true }
        "#;
        let config = Config::parse(text).expect("a valid configuration");
        for comments in [Comments::With, Comments::Without] {
            assert_eq!(Config::parse(document(&config, comments).as_bytes()).as_ref(), Ok(&config));
        }
    }
}
