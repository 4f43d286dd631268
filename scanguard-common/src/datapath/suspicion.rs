//! Evidence against sources and networks, and who is exempt.

use super::ask::tell;
use super::case::Case;
use super::kind::Kind;
use super::part::Part;
use super::ruling::Ruling;
use crate::class::PortClass;
use crate::contact::Outcome;
use crate::counter::CounterIndex;
use crate::event::{Answer, Event, EventKind};
use crate::opened::{Asked, Endpoint, Question};
use crate::reason::Reason;
use crate::record::SourceCell;
use crate::source::KeyRules;
use crate::tables::Tables;

/// Weighs a first contact: counts it, tells of it, and adds to the scores of its source and its network. Returns whether the
/// source is a suspect then.
#[inline(always)]
pub(super) fn contact<T: Tables>(case: &mut Case, tables: &T) -> bool {
    let (outcome, now_ns, was_suspect) = (case.outcome, case.now_ns, case.suspect);
    let Some(config) = tables.config() else {
        return was_suspect;
    };
    let Some(record) = tables.source(&case.source) else {
        return was_suspect; // Washed out a moment ago.
    };
    let mut points = config.score.points(outcome);
    if outcome == Outcome::Restricted && is_known(case, tables) {
        points = 0;
    }
    case.points = points;
    if config.has_elsewhere() && waits_for_answer(case) {
        let endpoint = Endpoint::asked(&case.parsed, case.port, case.kind.protocol());
        let asked = Asked::new(now_ns, points);
        tables.ask(&Question { source: case.source, endpoint }, &asked);
    }
    let score = record.add_points(&config.score, points, now_ns);
    tables.count(CounterIndex::contact(outcome), 0);
    tell_contact(case, score, tables);
    if points == 0 {
        return was_suspect;
    }
    record.count_failure();
    if !was_suspect {
        tables.part(Part::Network, case);
    }
    if was_suspect || score < config.score.conceal_at {
        return was_suspect;
    }
    // Nodes of the table are recycled: what was read may belong to somebody else by now. (ALLOW is asked here, for the kernel part's stack.)
    if !config.is_watched(now_ns) || !record.is_of(&case.source) || is_allowed(case, tables) {
        return false;
    }
    accuse(case, record, score, tables)
}

/// Whether only the port's answer tells what became of a contact: it may be of a container, or of a host behind this one.
#[inline(always)]
fn waits_for_answer(case: &Case) -> bool {
    let is_asked = matches!(case.kind, Kind::Syn | Kind::Datagram | Kind::Echo) && case.answer == Answer::None;
    let is_unsure = case.class.should_be_closed() || (case.is_protected && case.class == PortClass::Unknown);
    is_asked && is_unsure
}

#[cfg_attr(target_arch = "bpf", inline(never))]
fn tell_contact<T: Tables>(case: &Case, score: u32, tables: &T) {
    if is_urgent(case, score, tables) {
        // How long a decision takes is measured by the fine clock, for the coarse one is up to two ticks late.
        let time_ns = tables.precise_ns(case.now_ns);
        let event = || Event { time_ns, points: case.points, score, ..case.event(EventKind::Contact) };
        if tables.emit_urgently(event) {
            return;
        }
    }
    tell(|| Event { points: case.points, score, ..case.event(EventKind::Contact) }, tables);
}

/// Whether a block may follow a contact: its source's score is that of one. Of too many at once the others wait for their turn among all
/// that is told.
#[inline(always)]
fn is_urgent<T: Tables>(case: &Case, score: u32, tables: &T) -> bool {
    case.points > 0
        && tables.config().is_some_and(|config| score >= config.score.cap)
        && tables.state().is_some_and(|state| state.take_urgent(case.now_ns))
}

/// The score of a source that is not exempt reached the threshold: makes it a suspect.
#[cfg_attr(target_arch = "bpf", inline(never))]
fn accuse<T: Tables>(case: &Case, record: SourceCell<'_>, score: u32, tables: &T) -> bool {
    let now_ns = case.now_ns;
    let Some(config) = tables.config() else {
        return false;
    };
    if record.suspect(&config.conceal, config.census.allow_generation, case.outcome as u8, now_ns) {
        tables.back_up(&case.source, &record.backup());
        tell(|| Event { score, ..case.event(EventKind::Suspect) }, tables);
        if tables.state().is_some_and(|state| state.count_suspect(&config.storm, now_ns)) {
            tell(|| Event { score, ..case.event(EventKind::Storm) }, tables);
        }
    }
    true
}

/// The same for the network of the source: its own first contacts, its own score, a higher threshold.
#[inline(always)]
pub(super) fn accuse_network<T: Tables>(case: &Case, tables: &T) {
    let (now_ns, points) = (case.now_ns, case.points);
    let Some(config) = tables.config() else {
        return;
    };
    let Some(network) = KeyRules::network(&case.source) else {
        return;
    };
    let Some(record) = tables.network(&network).or_else(|| tables.new_network(&network, now_ns)) else {
        return;
    };
    record.decay(&config.score, now_ns);
    if !record.mark_contact(case.bit) {
        return;
    }
    record.count_attempt(now_ns);
    let score = record.add_points(&config.score, points, now_ns);
    if score < config.score.prefix_at || !config.is_watched(now_ns) || !record.is_of(&network) {
        return;
    }
    if record.suspect(&config.conceal, 0, case.outcome as u8, now_ns) {
        tell(|| Event { source: network, score, ..case.event(EventKind::PrefixSuspect) }, tables);
    } else {
        let _ = record.prolong(&config.conceal, now_ns);
    }
    if let Some(state) = tables.state() {
        state.keep_networks(now_ns + config.conceal.duration_ns);
    }
}

/// Hides a port from a suspect, unless it is on the allowlist by now.
#[inline(always)]
pub(super) fn hide<T: Tables>(case: &Case, tables: &T) -> Ruling {
    let (now_ns, reason) = (case.now_ns, case.hidden);
    let Some(config) = tables.config() else {
        return Ruling::pass(case.kind.reason());
    };
    let Some(record) = tables.source(&case.source) else {
        return Ruling::pass(case.kind.reason()); // Washed out a moment ago; the next packet finds it in SUSPECTS.
    };
    let generation = config.census.allow_generation;
    let is_older = record.allow_generation() != generation;
    if (is_older || config.census.allowed_within != 0) && is_allowed(case, tables) {
        if config.census.allowed_within == 0 {
            record.clear(); // Every entry covers whole sources, so this one.
            tables.forget(&case.source);
        }
        return Ruling::pass(Reason::Allowed);
    }
    if is_older {
        record.set_allow_generation(generation);
    }
    // Not where a verdict of userspace conceals it, which has its own end.
    let goes_on = record.is_suspect(now_ns) && config.is_watched(now_ns) && record.is_of(&case.source);
    if goes_on && record.prolong(&config.conceal, now_ns) {
        tables.back_up(&case.source, &record.backup());
    }
    Ruling::hide(reason)
}

/// Whether the source's network is a suspect, and neither the address nor the source is on the allowlist.
#[inline(always)]
pub(super) fn is_in_suspect_network<T: Tables>(case: &Case, tables: &T) -> bool {
    let Some(network) = KeyRules::network(&case.source) else {
        return false;
    };
    tables.network(&network).is_some_and(|record| record.is_suspect(case.now_ns)) && !is_allowed(case, tables)
}

/// Whether there is a storm and this source is not one of those that it spares.
#[inline(always)]
pub(super) fn is_storm<T: Tables>(case: &Case, tables: &T) -> bool {
    tables.state().is_some_and(|state| state.is_storm(case.now_ns))
        && !is_known(case, tables)
        && !is_allowed(case, tables)
}

/// Whether the source has worked on a restricted port lately.
#[inline(always)]
pub(super) fn is_known<T: Tables>(case: &Case, tables: &T) -> bool {
    tables.config().is_some_and(|config| config.census.known != 0)
        && tables.known(&case.source).is_some_and(|known| known.restricted_until_ns > case.now_ns)
}

/// Whether the address, or the source it stands for, is on the allowlist.
#[cfg_attr(target_arch = "bpf", inline(never))]
pub(super) fn is_allowed<T: Tables>(case: &Case, tables: &T) -> bool {
    if tables.config().is_none_or(|config| config.census.allowed == 0) {
        return false;
    }
    let address = &case.parsed.source;
    if tables.allowed(address, case.now_ns) {
        return true;
    }
    // Behind a translator the IPv4 address counts as well.
    case.source.0.is_mapped() && !address.is_mapped() && tables.allowed(&case.source.0, case.now_ns)
}
