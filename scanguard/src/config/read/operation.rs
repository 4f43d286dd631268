//! The sections on safety, blocks, signals and retention.

use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::LONGEST_SOCKET_PATH;
use crate::config::problem::Problems;
use crate::config::section::Section;
use crate::config::value::{absolute_path, boolean, number, placed, time_span, word};
use crate::config::{AutoLevel, Blocks, Safety, SignalLimits};
use crate::duration;
use crate::logins::Watcher;
use crate::store::Limits;

type Value<'i> = Spanned<DeValue<'i>>;

/// The socket in `contrib/systemd`.
const LOGINS_SOCKET: &str = "/run/scanguard-logins.sock";
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

pub(super) fn safety(mut section: Section<'_, '_>, default: Safety, problems: &mut Problems<'_>) -> Safety {
    let safety = Safety {
        leases: section.read("leases", problems, boolean).unwrap_or(default.leases),
        lease: section.read("lease", problems, time_span(MINUTE..=DAY)).unwrap_or(default.lease),
        logins: section.read("logins", problems, watcher).unwrap_or(default.logins),
        shortest_ipv4: section.read("shortest_ipv4", problems, number(0..=32)).unwrap_or(default.shortest_ipv4),
        shortest_ipv6: section.read("shortest_ipv6", problems, number(0..=128)).unwrap_or(default.shortest_ipv6),
    };
    section.finish(problems);
    safety
}

/// The socket of a process that looks who is logged in, or an empty text.
fn watcher(key: &str, value: &Value<'_>, problems: &mut Problems<'_>) -> Option<Watcher> {
    match value.get_ref().as_str() {
        Some("") => Some(Watcher::Here),
        _ => absolute_path(LONGEST_SOCKET_PATH, LOGINS_SOCKET)(key, value, problems).map(Watcher::Helper),
    }
}

pub(super) fn signals(
    mut section: Section<'_, '_>,
    default: SignalLimits,
    problems: &mut Problems<'_>,
) -> SignalLimits {
    let limits = SignalLimits {
        per_minute: section.read("per_minute", problems, number(1..=100_000)).unwrap_or(default.per_minute),
        per_source: section.read("per_source", problems, number(1..=100_000)).unwrap_or(default.per_source),
    };
    section.finish(problems);
    limits
}

pub(super) fn retention(mut section: Section<'_, '_>, default: Limits, problems: &mut Problems<'_>) -> Limits {
    let (rows, days) = (1000..=10_000_000, 1..=3650);
    let limits = Limits {
        audit_rows: section.read("audit_rows", problems, number(rows.clone())).unwrap_or(default.audit_rows),
        audit_days: section.read("audit_days", problems, number(days.clone())).unwrap_or(default.audit_days),
        history_rows: section.read("history_rows", problems, number(rows)).unwrap_or(default.history_rows),
        history_days: section.read("history_days", problems, number(days)).unwrap_or(default.history_days),
    };
    section.finish(problems);
    limits
}

pub(super) fn blocks(mut section: Section<'_, '_>, default: Blocks, problems: &mut Problems<'_>) -> Blocks {
    let levels = AutoLevel::ALL.map(|level| (level.label(), level));
    let max_auto_level = section.read("max_auto_level", problems, word(&levels));
    let unproven = section.read("unproven", problems, boolean);
    let first = section.read("first", problems, placed(time_span(MINUTE..=7 * DAY)));
    let factor = section.read("factor", problems, number(1..=100));
    let longest = section.read("longest", problems, placed(time_span(MINUTE..=7 * DAY)));
    let recurrence = section.read("recurrence", problems, time_span(HOUR..=90 * DAY));
    let per_minute = section.read("per_minute", problems, number(0..=100_000));
    let most = section.read("most", problems, number(0..=100_000));
    let most_harmed = section.read("most_harmed", problems, number(0..=1_000_000));
    let question = section.read("question", problems, time_span(MINUTE..=30 * DAY));
    section.finish(problems);
    let place = longest.as_ref().or(first.as_ref()).map_or(0..0, |(_, span)| span.clone());
    let blocks = Blocks {
        max_auto_level: max_auto_level.unwrap_or(default.max_auto_level),
        unproven: unproven.unwrap_or(default.unproven),
        first: first.map_or(default.first, |(first, _)| first),
        factor: factor.unwrap_or(default.factor),
        longest: longest.map_or(default.longest, |(longest, _)| longest),
        recurrence: recurrence.unwrap_or(default.recurrence),
        per_minute: per_minute.unwrap_or(default.per_minute),
        most: most.unwrap_or(default.most),
        most_harmed: most_harmed.unwrap_or(default.most_harmed),
        question: question.unwrap_or(default.question),
    };
    if blocks.longest < blocks.first {
        let [longest, first] = [blocks.longest, blocks.first].map(duration::format);
        let reason =
            format!("`block.longest` is \"{longest}\", but must not be shorter than `block.first`, \"{first}\"");
        problems.suggest(&place, reason, format!("set `longest` to \"{first}\" or more"));
    }
    blocks
}
