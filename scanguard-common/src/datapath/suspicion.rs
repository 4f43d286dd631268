//! Evidence against sources and networks, and who is exempt.

use super::ask::tell;
use super::case::{Case, CaseRef};
use super::kind::Kind;
use super::ruling::Ruling;
use super::stage::Stage;
use crate::class::PortClass;
use crate::contact::Outcome;
use crate::counter::CounterIndex;
use crate::event::{Answer, Event, EventKind};
use crate::opened::{Asked, Endpoint, Question};
use crate::reason::Reason;
use crate::record::SourceCell;
use crate::source::{KeyRules, SourceKey};
use crate::tables::{Stages, Tables};

/// Weighs a contact that is new, or may count against its source: counts it, tells of it, and adds to the scores of its source and its
/// network. True when the source is to be accused: it is no suspect, failed, and its score is that of one.
#[inline(always)]
pub(super) fn contact<T: Stages>(case: &mut CaseRef<'_>, tables: &T) -> bool {
    let (outcome, now_ns) = (case.outcome, case.now_ns);
    let Some(config) = tables.config() else {
        return false;
    };
    let Some(record) = tables.source(&case.source) else {
        return false; // Washed out a moment ago.
    };
    let worth = match outcome {
        Outcome::Restricted if is_known(case, tables) => 0,
        // What a suspect does not get adds the same whatever is behind it: else its score would tell later, when suspicion ends.
        _ if case.suspect && outcome.is_of_private_port() => config.score.points(Outcome::Closed),
        _ => config.score.points(outcome),
    };
    let counts = worth != 0 && case.is_unweighed && record.mark_failure(case.bit);
    case.points = if counts { worth } else { 0 };
    if config.has_elsewhere() && (counts || case.is_new || worth == 0) && waits_for_answer(case) {
        note_question(case, tables);
    }
    let score = record.add_points(&config.score, case.points, now_ns);
    if counts || case.is_new {
        tables.count(CounterIndex::contact(outcome), 0);
        tell_contact(case, score, tables);
    }
    if counts {
        record.count_failure();
        if !case.suspect {
            tables.stage(Stage::Network, case);
        }
    }
    worth != 0 && !case.suspect && score >= config.score.conceal_at
}

/// Whether only the port's answer tells what became of a contact: it may be of a container, or of a host behind this one.
#[inline(always)]
fn waits_for_answer(case: &Case) -> bool {
    let is_asked = matches!(case.kind, Kind::Syn | Kind::Datagram | Kind::Echo) && case.answer == Answer::None;
    let is_unsure = case.class.should_be_closed() || (case.is_protected && case.class == PortClass::Unknown);
    is_asked && is_unsure
}

/// Remembers what was asked, for the answer. A function of its own in the kernel, for its stack.
#[cfg_attr(target_arch = "bpf", inline(never))]
fn note_question<T: Tables>(case: &Case, tables: &T) {
    let endpoint = Endpoint::asked(&case.parsed, case.port, case.kind.protocol());
    let asked = Asked::new(case.now_ns, case.points);
    tables.ask(&Question { source: case.source, endpoint }, &asked);
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

/// The score of a source reached the threshold: makes it a suspect, unless it is exempt or nobody watches. Says whether it is one.
#[inline(always)]
pub(super) fn accuse<T: Stages>(case: &CaseRef<'_>, tables: &T) -> bool {
    let now_ns = case.now_ns;
    let (Some(config), Some(record)) = (tables.config(), tables.source(&case.source)) else {
        return false;
    };
    // Nodes of the table are recycled: what was read may belong to somebody else by now.
    if !config.is_watched(now_ns) || !record.is_of(&case.source) {
        return false;
    }
    if is_allowed(case, tables) {
        if config.census.allowed_within == 0 {
            // Every entry covers whole sources. What is done while one holds is not held against the source when it ends: it is
            // scored anew then, from its next failures on.
            record.absolve();
        }
        return false;
    }
    let score = record.score();
    if record.suspect(&config.conceal, config.census.allow_generation, case.outcome as u8, now_ns) {
        back_up(&case.source, record, now_ns, tables);
        tell(|| Event { score, ..case.event(EventKind::Suspect) }, tables);
        if tables.state().is_some_and(|state| state.count_suspect(&config.storm, now_ns)) {
            tell(|| Event { score, ..case.event(EventKind::Storm) }, tables);
        }
    }
    record.is_suspect(now_ns)
}

/// Keeps a suspect apart from SOURCES. Who has had a session, or met a challenge, is really there and has a place of its own; the others
/// share a limited number, so that forged suspects wash nobody out.
#[inline(always)]
fn back_up<T: Tables>(source: &SourceKey, record: SourceCell<'_>, now_ns: u64, tables: &T) {
    let is_proven = tables.sessions(source).is_some();
    let is_kept = is_proven || tables.backup(source, |_| ()).is_some();
    if is_kept || tables.state().is_some_and(|state| state.take_backup(now_ns)) {
        keep(source, record, is_proven, tables);
    }
}

/// A function of its own in the kernel, for its stack.
#[cfg_attr(target_arch = "bpf", inline(never))]
pub(super) fn keep<T: Tables>(source: &SourceKey, record: SourceCell<'_>, is_proven: bool, tables: &T) {
    if is_proven && let Some(state) = tables.state() {
        state.keep_proven();
    }
    tables.back_up(source, &record.backup(), is_proven);
}

/// The same for the network of the source: its own first failures, its own score, a higher threshold.
#[inline(always)]
pub(super) fn accuse_network<T: Tables>(case: &Case, tables: &T) {
    let (now_ns, points) = (case.now_ns, case.points);
    let Some(config) = tables.config() else {
        return;
    };
    let network = KeyRules::network(&case.source);
    let Some(record) = tables.network(&network).or_else(|| tables.new_network(&network, now_ns)) else {
        return;
    };
    record.decay(&config.score, now_ns);
    let counts = record.mark_failure(case.bit);
    if counts {
        record.count_attempt(now_ns);
        record.count_failure();
    }
    let score = record.add_points(&config.score, if counts { points } else { 0 }, now_ns);
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
        // Washed out a moment ago; the next packet finds it in SUSPECTS.
        return if is_allowed(case, tables) { Ruling::pass(Reason::Allowed) } else { Ruling::hide(reason) };
    };
    let generation = config.census.allow_generation;
    let is_older = record.allow_generation() != generation;
    if (is_older || config.census.allowed_within != 0) && is_allowed(case, tables) {
        if config.census.allowed_within == 0 {
            record.absolve(); // Every entry covers whole sources, so this one.
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
        back_up(&case.source, record, now_ns, tables);
    }
    Ruling::hide(reason)
}

/// Whether the source is a suspect, by its record or by what is kept of it.
#[inline(always)]
pub(super) fn is_suspect<T: Tables>(case: &Case, tables: &T) -> bool {
    let now_ns = case.now_ns;
    match tables.source(&case.source) {
        Some(record) => record.is_suspect(now_ns) && record.is_of(&case.source),
        None => tables.backup(&case.source, |backup| backup.suspect_until_ns > now_ns).unwrap_or(false),
    }
}

/// Whether the source's network is a suspect, and neither the address nor the source is on the allowlist.
#[inline(always)]
pub(super) fn is_in_suspect_network<T: Tables>(case: &Case, tables: &T) -> bool {
    tables.network(&KeyRules::network(&case.source)).is_some_and(|record| record.is_suspect(case.now_ns))
        && !is_allowed(case, tables)
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

/// Whether a lockdown lets the source through: the allowlist covers it, or it is known and those are let through.
#[inline(always)]
pub(super) fn is_admitted<T: Tables>(case: &Case, tables: &T) -> bool {
    let keeps_known = tables.config().is_some_and(|config| config.lockdown_keeps_known != 0);
    (keeps_known && is_known(case, tables)) || is_allowed(case, tables)
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
