//! The keys of the file, and what makes a valid value.

use std::net::{Ipv6Addr, SocketAddr};
use std::ops::Range;
use std::path::PathBuf;

use ipnetwork::Ipv6Network;
use scanguard_common::reason::Mode;
use scanguard_common::source::MAX_TRANSLATORS;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ports::{PortList, PortRange};
use super::problem::{Place, Problem, Problems};
use super::section::Section;
use super::value::{boolean, list, number, text, word};
use super::{Config, Log, LogFormat, LogLevel, Ports, Sources};
use crate::kernel::AttachMode;

type Value<'i> = Spanned<DeValue<'i>>;

/// Most bytes of a socket's path, less the terminating zero (`sun_path` of `sockaddr_un`, unix(7)).
const LONGEST_SOCKET_PATH: usize = 107;
/// Most bytes of an interface's name, less the terminating zero (`IFNAMSIZ`).
const LONGEST_INTERFACE: usize = 15;

pub(super) fn config(bytes: &[u8]) -> Result<Config, Vec<Problem>> {
    let mut problems = Problems::new(bytes);
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            problems.suggest(&(error.valid_up_to()..bytes.len()), "this is not UTF-8 text", "save the file as UTF-8");
            return Err(problems.finish());
        }
    };
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        problems.add(&error.span().unwrap_or(0..0), error.message());
    }
    if !errors.is_empty() {
        // What a broken text seems to say is not worth judging.
        return Err(problems.finish());
    }
    let config = sections(Section::root(document.get_ref()), &mut problems);
    let problems = problems.finish();
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

fn sections(mut root: Section<'_, '_>, problems: &mut Problems<'_>) -> Config {
    let default = Config::default();
    let interfaces = root.read("interfaces", problems, list(interface));
    let attach = root.read("attach", problems, word(&ATTACH_MODES));
    let mode = root.read("mode", problems, word(&Mode::ALL.map(|mode| (mode.label(), mode))));

    let mut control = root.section("control", problems);
    let control_socket = control.read("socket", problems, socket_path);
    control.finish(problems);

    let mut metrics = root.section("metrics", problems);
    let metrics_listen = metrics.read("listen", problems, listen_address);
    metrics.finish(problems);

    let ports = ports(root.section("ports", problems), problems);
    let sources = sources(root.section("sources", problems), default.sources, problems);

    let mut events = root.section("events", problems);
    let events_ring_kib = events.read("ring_kib", problems, number(16..=1_048_576));
    events.finish(problems);

    let log = log(root.section("log", problems), default.log, problems);
    root.finish(problems);
    Config {
        interfaces: interfaces.unwrap_or(default.interfaces),
        attach: attach.unwrap_or(default.attach),
        mode: mode.unwrap_or(default.mode),
        control_socket: control_socket.unwrap_or(default.control_socket),
        metrics_listen: metrics_listen.unwrap_or(default.metrics_listen),
        ports,
        sources,
        events_ring_kib: events_ring_kib.unwrap_or(default.events_ring_kib),
        log,
    }
}

const ATTACH_MODES: [(&str, AttachMode); 3] =
    [("auto", AttachMode::Auto), ("native", AttachMode::Native), ("generic", AttachMode::Generic)];

fn interface(key: &str, value: &Value<'_>, problems: &mut Problems<'_>) -> Option<String> {
    let name = text(key, value, problems)?;
    let valid = (1..=LONGEST_INTERFACE).contains(&name.len())
        && !name.contains(|c: char| c == '/' || c.is_whitespace() || c.is_control());
    if !valid {
        problems.suggest(&value.span(), format!("{name:?} cannot be an interface"), "`ip link` lists their names");
    }
    valid.then(|| name.to_owned())
}

fn socket_path(key: &str, value: &Value<'_>, problems: &mut Problems<'_>) -> Option<PathBuf> {
    let path = text(key, value, problems)?;
    let complaint = if !path.starts_with('/') {
        "must be an absolute path".to_owned()
    } else if path.contains('\0') {
        "contains a zero byte".to_owned()
    } else if path.len() > LONGEST_SOCKET_PATH {
        format!("is longer than the {LONGEST_SOCKET_PATH} bytes that the kernel takes")
    } else {
        return Some(path.into());
    };
    problems.suggest(
        &value.span(),
        format!("`{key}` {complaint}"),
        format!("for example \"{}\"", super::DEFAULT_SOCKET),
    );
    None
}

fn listen_address(key: &str, value: &Value<'_>, problems: &mut Problems<'_>) -> Option<Option<SocketAddr>> {
    let found = text(key, value, problems)?;
    if found == "off" {
        return Some(None);
    }
    let address = found.parse().ok();
    if address.is_none() {
        let suggestion = match found.trim_start_matches(':').parse::<u16>() {
            Ok(port) => format!("for this host alone: \"127.0.0.1:{port}\""),
            Err(_) => "for example \"127.0.0.1:9477\", \"[::1]:9477\" or \"off\"".to_owned(),
        };
        problems.suggest(&value.span(), format!("`{key}` is {found:?}, not an IP address with a port"), suggestion);
    }
    address.map(Some)
}

fn sources(mut section: Section<'_, '_>, default: Sources, problems: &mut Problems<'_>) -> Sources {
    let sources = Sources {
        ipv6_prefix: section.read("ipv6_prefix", problems, number(32..=128)).unwrap_or(default.ipv6_prefix),
        translators: section.read("translators", problems, translators).unwrap_or(default.translators),
        ignore_private: section.read("ignore_private", problems, boolean).unwrap_or(default.ignore_private),
        max_sources: section.read("max_sources", problems, number(1024..=16_777_216)).unwrap_or(default.max_sources),
    };
    section.finish(problems);
    sources
}

fn translators<'a, 'i>(key: &str, value: &'a Value<'i>, problems: &mut Problems<'_>) -> Option<Vec<Ipv6Addr>> {
    let prefixes = list(translator)(key, value, problems)?;
    if prefixes.len() > MAX_TRANSLATORS {
        problems
            .add(&value.span(), format!("`{key}` takes at most {MAX_TRANSLATORS} prefixes, not {}", prefixes.len()));
    }
    Some(prefixes)
}

fn translator(key: &str, value: &Value<'_>, problems: &mut Problems<'_>) -> Option<Ipv6Addr> {
    let found = text(key, value, problems)?;
    let network = found.parse::<Ipv6Network>().ok().filter(|network| network.prefix() == 96);
    let Some(network) = network else {
        let reason = format!("{found:?} is no IPv6 prefix of 96 bits");
        problems.suggest(&value.span(), reason, "for example \"2001:db8:64::/96\"");
        return None;
    };
    let prefix = network.network();
    if prefix != network.ip() {
        let reason = format!("{found:?} has bits set after its first 96");
        problems.suggest(&value.span(), reason, format!("did you mean \"{prefix}/96\"?"));
        return None;
    }
    Some(prefix)
}

fn log(mut section: Section<'_, '_>, default: Log, problems: &mut Problems<'_>) -> Log {
    let formats = [LogFormat::Text, LogFormat::Json].map(|format| (format.label(), format));
    let levels = [LogLevel::Error, LogLevel::Warn, LogLevel::Info, LogLevel::Debug, LogLevel::Trace];
    let format = section.read("format", problems, word(&formats));
    let level = section.read("level", problems, word(&levels.map(|level| (level.label(), level))));
    let frames = section.read("frames", problems, |key, value, problems| {
        boolean(key, value, problems).map(|frames| (frames, value.span()))
    });
    section.finish(problems);
    let level = level.unwrap_or(default.level);
    if let Some((true, span)) = &frames
        && !matches!(level, LogLevel::Debug | LogLevel::Trace)
    {
        let reason = format!("`log.frames` costs time, but its lines do not pass `log.level` {:?}", level.label());
        problems.suggest(span, reason, "set `level = \"debug\"` too");
    }
    Log { format: format.unwrap_or(default.format), level, frames: frames.map_or(default.frames, |(frames, _)| frames) }
}

/// Names of the lists of ports, in the order of the fields of [`Ports`].
const LISTS: [&str; 3] = ["public", "restricted", "canary"];

type WrittenList = Option<Vec<(PortRange, Range<usize>)>>;

fn ports(mut section: Section<'_, '_>, problems: &mut Problems<'_>) -> Ports {
    let written: [WrittenList; 3] = LISTS.map(|key| section.read(key, problems, list(port)));
    section.finish(problems);
    for (second, list) in written.iter().enumerate() {
        for (range, span) in list.iter().flatten() {
            if let Some((first, place)) = clash(&written[..second], range, problems) {
                let reason = format!("{range} is in `{}` and, at {place}, in `{first}` too", LISTS[second]);
                problems.suggest(span, reason, "a port has one class: leave it in one of the lists");
            }
        }
    }
    let shipped = Ports::default();
    let plain = |list: &WrittenList| -> Option<PortList> {
        list.as_ref().map(|ranges| PortList(ranges.iter().map(|(range, _)| *range).collect()))
    };
    let [public, restricted, canary] = [&written[0], &written[1], &written[2]].map(plain);
    // What the file says of a port wins over what is shipped of it.
    let said: Vec<PortList> = [&public, &restricted, &canary].into_iter().flatten().cloned().collect();
    let or_shipped = |list: Option<PortList>, mut shipped: PortList| {
        list.unwrap_or_else(|| {
            shipped.retain_apart_from(&said.iter().collect::<Vec<_>>());
            shipped
        })
    };
    Ports {
        public: or_shipped(public, shipped.public),
        restricted: or_shipped(restricted, shipped.restricted),
        canary: or_shipped(canary, shipped.canary),
    }
}

/// The list before that shares a port with a range, and where.
fn clash(before: &[WrittenList], range: &PortRange, problems: &Problems<'_>) -> Option<(&'static str, Place)> {
    LISTS.iter().zip(before).find_map(|(name, list)| {
        let (_, span) = list.iter().flatten().find(|(other, _)| other.overlaps(range))?;
        Some((*name, problems.place(span)))
    })
}

fn port(key: &str, value: &Value<'_>, problems: &mut Problems<'_>) -> Option<(PortRange, Range<usize>)> {
    let parsed = match value.get_ref() {
        DeValue::Integer(integer) => match u16::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(port @ 1..) => Ok(PortRange::tcp(port)),
            _ => Err(format!("{integer} is no port from 1 to 65535")),
        },
        DeValue::String(text) => text.parse(),
        other => Err(format!("a port is a number or a text, not a value of type {}", other.type_str())),
    };
    match parsed {
        Ok(range) => Some((range, value.span())),
        Err(reason) => {
            let suggestion = "for example 22, \"8000-8100\" or \"53/udp\"; a number alone means TCP";
            problems.suggest(&value.span(), format!("`{key}`: {reason}"), suggestion);
            None
        }
    }
}
