//! The keys of the file, and what makes a valid value.
//!
//! | module | reads |
//! |---|---|
//! | `allow` | prefixes |
//! | `feeds` | lists that others make |
//! | `ports` | the section on ports |
//! | `judgement` | the sections on scores, concealment and storms |
//! | `operation` | the sections on safety, blocks, signals and retention |

mod allow;
mod feeds;
mod judgement;
mod operation;
mod ports;

use std::net::{Ipv6Addr, SocketAddr};

use ipnetwork::Ipv6Network;
use scanguard_common::challenge::{ChallengeMode, DecoyReply};
use scanguard_common::reason::Mode;
use scanguard_common::source::MAX_TRANSLATORS;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{Problem, Problems};
use super::section::Section;
use super::value::{absolute_path, boolean, list, number, placed, text, word};
use super::{Cgroup, Config, DEFAULT_PINS, DEFAULT_SOCKET, DEFAULT_STATE, Log, LogFormat, LogLevel, Sources};
use crate::kernel::{AttachMode, Share, TableSizes};

type Value<'i> = Spanned<DeValue<'i>>;

/// Most bytes of a socket's path, less the terminating zero (`sun_path` of `sockaddr_un`, unix(7)).
const LONGEST_SOCKET_PATH: usize = 107;
/// Most bytes of any other path, less the terminating zero (`PATH_MAX`, include/uapi/linux/limits.h).
const LONGEST_PATH: usize = 4095;
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
    let state = root.read("state", problems, absolute_path(LONGEST_PATH, DEFAULT_STATE));
    let keep = root.read("keep", problems, boolean);
    let pins = root.read("pins", problems, absolute_path(LONGEST_PATH, DEFAULT_PINS));
    let allow = root.read("allow", problems, list(allow::network));
    let feeds = root.read("feeds", problems, placed(list(feeds::feed)));
    if let Some((feeds, place)) = &feeds {
        feeds::distinct(feeds, place, problems);
    }
    let cgroup = root.read("cgroup", problems, cgroup);
    let challenge = root.read("challenge", problems, word(&ChallengeMode::ALL.map(|mode| (mode.label(), mode))));
    let decoy_reply = root.read("decoy_reply", problems, word(&DecoyReply::ALL.map(|reply| (reply.label(), reply))));

    let mut control = root.section("control", problems);
    let control_socket = control.read("socket", problems, absolute_path(LONGEST_SOCKET_PATH, DEFAULT_SOCKET));
    let control_group = control.read("group", problems, group);
    control.finish(problems);

    let mut metrics = root.section("metrics", problems);
    let metrics_listen = metrics.read("listen", problems, listen_address);
    metrics.finish(problems);

    let ports = ports::section(root.section("ports", problems), default.ports, problems);
    let sources = sources(root.section("sources", problems), default.sources, problems);
    let score = judgement::score(root.section("score", problems), default.score, problems);
    let conceal = judgement::conceal(root.section("conceal", problems), default.conceal, problems);
    let storm = judgement::storm(root.section("storm", problems), default.storm, problems);

    let safety = operation::safety(root.section("safety", problems), default.safety, problems);
    let blocks = operation::blocks(root.section("block", problems), default.blocks, problems);

    let signals = operation::signals(root.section("signals", problems), default.signals, problems);

    let mut events = root.section("events", problems);
    let events_ring_kib = events.read("ring_kib", problems, number(16..=1_048_576));
    events.finish(problems);

    let retention = operation::retention(root.section("retention", problems), default.retention, problems);

    let log = log(root.section("log", problems), default.log, problems);
    root.finish(problems);
    Config {
        interfaces: interfaces.unwrap_or(default.interfaces),
        attach: attach.unwrap_or(default.attach),
        mode: mode.unwrap_or(default.mode),
        state: state.unwrap_or(default.state),
        retention,
        control_group: control_group.flatten(),
        keep: keep.unwrap_or(default.keep),
        pins: pins.unwrap_or(default.pins),
        allow: allow.unwrap_or(default.allow),
        feeds: feeds.map_or(default.feeds, |(feeds, _)| feeds),
        cgroup: cgroup.unwrap_or(default.cgroup),
        control_socket: control_socket.unwrap_or(default.control_socket),
        metrics_listen: metrics_listen.unwrap_or(default.metrics_listen),
        ports,
        sources,
        score,
        conceal,
        storm,
        safety,
        challenge: challenge.unwrap_or(default.challenge),
        decoy_reply: decoy_reply.unwrap_or(default.decoy_reply),
        blocks,
        signals,
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

/// A group's name, or nothing for the daemon's own.
fn group(key: &str, value: &Value<'_>, problems: &mut Problems<'_>) -> Option<Option<String>> {
    let name = text(key, value, problems)?;
    let valid = !name.contains(|letter: char| letter == ':' || letter.is_whitespace() || letter.is_control());
    if !valid {
        problems.suggest(&value.span(), format!("{name:?} cannot be a group"), "`getent group` lists their names");
    }
    valid.then(|| (!name.is_empty()).then(|| name.to_owned()))
}

fn cgroup(key: &str, value: &Value<'_>, problems: &mut Problems<'_>) -> Option<Cgroup> {
    match text(key, value, problems)? {
        "auto" => Some(Cgroup::Auto),
        "off" => Some(Cgroup::Off),
        path if path.starts_with('/') && path.len() <= LONGEST_PATH && !path.contains('\0') => {
            Some(Cgroup::Folder(path.into()))
        }
        other => {
            let reason = format!("`{key}` is {other:?}, neither \"auto\", \"off\" nor an absolute path");
            problems.suggest(&value.span(), reason, "for example \"/sys/fs/cgroup/system.slice\"");
            None
        }
    }
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

/// Words for [`TableSizes::share`].
const SHARES: [(&str, Option<Share>); 5] = [
    (AUTO, None),
    (Share::Full.label(), Some(Share::Full)),
    (Share::Half.label(), Some(Share::Half)),
    (Share::Quarter.label(), Some(Share::Quarter)),
    (Share::Eighth.label(), Some(Share::Eighth)),
];
/// What stands for "as memory allows".
const AUTO: &str = "auto";

/// How many sources are remembered; none is as many as memory allows.
fn most_sources(key: &str, value: &Spanned<DeValue<'_>>, problems: &mut Problems<'_>) -> Option<Option<u32>> {
    match value.get_ref().as_str() {
        Some(AUTO) => Some(None),
        _ => number(1024..=16_777_216)(key, value, problems).map(Some),
    }
}

fn sources(mut section: Section<'_, '_>, default: Sources, problems: &mut Problems<'_>) -> Sources {
    let sources = Sources {
        ipv6_prefix: section.read("ipv6_prefix", problems, number(32..=128)).unwrap_or(default.ipv6_prefix),
        translators: section.read("translators", problems, translators).unwrap_or(default.translators),
        ignore_private: section.read("ignore_private", problems, boolean).unwrap_or(default.ignore_private),
        shared: section.read("shared", problems, list(allow::network)).unwrap_or(default.shared),
        sizes: TableSizes {
            sources: section.read("max_sources", problems, most_sources).unwrap_or(default.sizes.sources),
            share: section.read("tables", problems, word(&SHARES)).unwrap_or(default.sizes.share),
        },
        new_per_second: section
            .read("new_per_second", problems, number(0..=100_000_000))
            .unwrap_or(default.new_per_second),
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
    let frames = section.read("frames", problems, placed(boolean));
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
