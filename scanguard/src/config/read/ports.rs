//! The section on ports.

use std::ops::Range;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::allow;
use crate::config::ports::{PortList, PortRange, Ports, SHIPPED};
use crate::config::problem::{Place, Problems};
use crate::config::section::Section;
use crate::config::value::{list, time_span};

type Value<'i> = Spanned<DeValue<'i>>;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Names of the lists of ports, in the order of precedence of their problems.
const LISTS: [&str; 3] = ["public", "restricted", "canary"];

type Ranges = Vec<(PortRange, Range<usize>)>;

/// An item of a list that ports are shipped for.
enum Item {
    Range(PortRange, Range<usize>),
    Shipped,
}

pub(super) fn section(mut section: Section<'_, '_>, default: Ports, problems: &mut Problems<'_>) -> Ports {
    let public = section.read("public", problems, list(port));
    let restricted = section.read("restricted", problems, list(item));
    let canary = section.read("canary", problems, list(item));
    let protect = section.read("protect", problems, list(allow::network));
    let unchallenged = section.read("unchallenged", problems, list(port));
    let memory = section.read("memory", problems, time_span(HOUR..=90 * DAY));
    let learning = section.read("learning", problems, time_span(Duration::ZERO..=30 * DAY));
    section.finish(problems);

    let (restricted, with_restricted) = apart(restricted);
    let (canary, with_canaries) = apart(canary);
    let written: [Ranges; 3] = [public.unwrap_or_default(), restricted, canary];
    for (second, list) in written.iter().enumerate() {
        for (range, span) in list {
            if let Some((first, place)) = clash(&written[..second], range, problems) {
                let reason = format!("{range} is in `{}` and, at {place}, in `{first}` too", LISTS[second]);
                problems.suggest(span, reason, "a port has one class: leave it in one of the lists");
            }
        }
    }
    let [public, restricted, canary] = written.map(|list| PortList(list.into_iter().map(|(range, _)| range).collect()));
    let mut restricted_if_open = if with_restricted { default.restricted_if_open } else { PortList::default() };
    let mut canary_if_closed = if with_canaries { default.canary_if_closed } else { PortList::default() };
    // What the file says of a port wins over what is shipped of it.
    for shipped in [&mut restricted_if_open, &mut canary_if_closed] {
        shipped.retain_apart_from(&[&public, &restricted, &canary]);
    }
    Ports {
        public,
        restricted,
        restricted_if_open,
        canary,
        canary_if_closed,
        unchallenged: unchallenged
            .map_or(default.unchallenged, |list| PortList(list.into_iter().map(|(range, _)| range).collect())),
        protect: protect.unwrap_or(default.protect),
        memory: memory.unwrap_or(default.memory),
        learning: learning.unwrap_or(default.learning),
    }
}

/// The ranges of a list that ports are shipped for, and whether those are meant too: without the list they are.
fn apart(items: Option<Vec<Item>>) -> (Ranges, bool) {
    let with_shipped = items.as_ref().is_none_or(|items| items.iter().any(|item| matches!(item, Item::Shipped)));
    let ranges = items.into_iter().flatten().filter_map(|item| match item {
        Item::Range(range, span) => Some((range, span)),
        Item::Shipped => None,
    });
    (ranges.collect(), with_shipped)
}

/// The list before that shares a port with a range, and where.
fn clash(before: &[Ranges], range: &PortRange, problems: &Problems<'_>) -> Option<(&'static str, Place)> {
    LISTS.iter().zip(before).find_map(|(name, list)| {
        let (_, span) = list.iter().find(|(other, _)| other.overlaps(range))?;
        Some((*name, problems.place(span)))
    })
}

fn item(key: &str, value: &Value<'_>, problems: &mut Problems<'_>) -> Option<Item> {
    if value.get_ref().as_str() == Some(SHIPPED) {
        return Some(Item::Shipped);
    }
    port(key, value, problems).map(|(range, span)| Item::Range(range, span))
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
