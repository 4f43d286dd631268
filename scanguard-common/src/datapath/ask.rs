//! The way of a packet that asks for something.

use super::case::Case;
use super::kind::Kind;
use super::part::Part;
use super::ruling::Ruling;
use super::suspicion;
use crate::class::{PortClass, PortEntry, Protocol};
use crate::config::KernelConfig;
use crate::contact::Outcome;
use crate::counter::{CounterIndex, Loss};
use crate::event::{Answer, Event};
use crate::flow::SENT_NS;
use crate::reason::{Level, Reason};
use crate::record::SourceCell;
use crate::tables::{Socket, Tables};
use crate::verdict::Rule;

/// A packet that asks for nothing: it passes, unless its source is under a hard block.
#[cfg_attr(target_arch = "bpf", inline(never))]
pub(super) fn settle<T: Tables>(case: &mut Case, reason: Reason, tables: &T) -> Ruling {
    if let Some(config) = tables.config()
        && config.census.hard_verdicts != 0
        && let Some(source) = config.keys.source(&case.parsed)
    {
        case.source = source;
        case.now_ns = tables.now_ns();
        let rule = tables.verdict(&source).map_or(Rule::NONE, |verdict| verdict.rule(case.now_ns));
        if rule.is_hard() {
            return Ruling::block(Reason::BlockedHard, rule.is_operators());
        }
        if config.census.prefix_verdicts != 0 {
            let rule = Rule::from_number(tables.part(Part::Prefix, case));
            if rule.is_hard() {
                return Ruling::block(Reason::BlockedHard, rule.is_operators());
            }
        }
    }
    Ruling::pass(reason)
}

/// The verdict on the prefix that the sender is of. Prefixes are blocked whole, so that what the allowlist covers of them is spared
/// here and not by their being disjoint.
#[inline(always)]
pub(super) fn prefix_rule<T: Tables>(case: &Case, tables: &T) -> Rule {
    let address = &case.parsed.source;
    // Behind a translator the IPv4 address counts as well.
    let translated = case.source.0.is_mapped() && !address.is_mapped();
    let mut rule = tables.prefix_verdict(address).map_or(Rule::NONE, |verdict| verdict.rule(case.now_ns));
    if rule == Rule::NONE && translated {
        rule = tables.prefix_verdict(&case.source.0).map_or(Rule::NONE, |verdict| verdict.rule(case.now_ns));
    }
    if rule == Rule::NONE || suspicion::is_allowed(case, tables) { Rule::NONE } else { rule }
}

/// A packet that asks for something.
#[inline(always)]
pub(super) fn ask<T: Tables>(case: &mut Case, tables: &T) -> Ruling {
    let ruling = identify(case, tables);
    if ruling != Ruling::NONE {
        return ruling;
    }
    consider(case, tables)
}

/// Finds out who sends and what is asked for; decides at once where nobody judges.
#[inline(always)]
fn identify<T: Tables>(case: &mut Case, tables: &T) -> Ruling {
    let kind = case.kind;
    let Some(config) = tables.config() else {
        return Ruling::pass(kind.reason());
    };
    if kind == Kind::AckProbe && !tables.is_own(&case.parsed.destination) {
        return settle(case, Reason::Established, tables); // Forwarded: it is not our port that is closed.
    }
    case.looked_up = kind.may_belong();
    if case.looked_up {
        case.socket = tables.socket(&case.parsed, kind.protocol());
        if case.socket == Socket::Connected {
            let reason = if kind.protocol() == Protocol::Udp { Reason::UdpEstablished } else { Reason::Established };
            return settle(case, reason, tables);
        }
    }
    let special = if kind.is_attempt() { Reason::SpecialSource } else { kind.reason() };
    let Some(source) = config.keys.source(&case.parsed) else {
        return Ruling::pass(special);
    };
    case.source = source;
    if tables.is_own(&case.parsed.source) {
        return Ruling::pass(special);
    }
    case.now_ns = tables.now_ns();
    case.port = kind.port(&case.parsed);
    case.outcome = Outcome::Unknown;
    case.answer = Answer::None;
    locate(case, config, tables);
    if kind == Kind::AckProbe && !is_closed(case, tables) {
        return settle(case, Reason::Established, tables); // Of a container, or a host behind this one.
    }
    if kind == Kind::Datagram
        && case.class.should_be_closed()
        && config.knows_what_left(case.now_ns)
        && tables.sent_to(&source).is_some_and(|left_ns| case.now_ns.saturating_sub(left_ns) < SENT_NS)
    {
        // To somebody whom we asked: it answers late, or from another port.
        (case.kind, case.class) = (Kind::Answer, PortClass::Unknown);
    }
    Ruling::NONE
}

/// Finds out whose port is asked for, and of which class it is as far as userspace can tell.
#[inline(always)]
fn locate<T: Tables>(case: &mut Case, config: &KernelConfig, tables: &T) {
    let kind = case.kind;
    let has_port = kind.has_port(&case.parsed);
    let entry =
        if has_port { tables.port(kind.protocol(), case.parsed.destination_port) } else { PortEntry::default() };
    let destination = &case.parsed.destination;
    (case.is_protected, case.class) = (false, PortClass::Unknown);
    // Whose port it is matters only where something is known of it.
    case.is_ours = (entry.own() != PortClass::Unknown || !kind.is_attempt()) && tables.is_own(destination);
    if case.is_ours {
        case.class = entry.own();
    } else if config.census.protected != 0 && tables.is_protected(destination) && !tables.is_own(destination) {
        (case.is_ours, case.is_protected) = (true, true);
        case.class = match kind {
            _ if config.learnt == 0 => PortClass::Unknown,
            Kind::Echo => PortClass::Closed,
            _ => entry.silent(),
        };
    }
}

/// A packet whose source and port are known.
#[inline(always)]
fn consider<T: Tables>(case: &mut Case, tables: &T) -> Ruling {
    let kind = case.kind;
    let Some(config) = tables.config() else {
        return Ruling::pass(kind.reason());
    };
    case.suspect = false;
    if config.census.verdicts != 0 {
        let rule = tables.verdict(&case.source).map_or(Rule::NONE, |verdict| verdict.rule(case.now_ns));
        let ruling = carry_out(rule, case, tables);
        if ruling != Ruling::NONE {
            return ruling;
        }
    }
    if config.census.prefix_verdicts != 0 {
        let rule = Rule::from_number(tables.part(Part::Prefix, case));
        let ruling = carry_out(rule, case, tables);
        if ruling != Ruling::NONE {
            return ruling;
        }
    }
    if !kind.is_attempt() && !case.is_ours {
        return Ruling::pass(kind.reason()); // Somebody else's business.
    }
    if kind == Kind::Syn
        && case.class.should_be_closed()
        && suspicion::is_storm(case, tables)
        && is_closed(case, tables)
    {
        return Ruling::hide(Reason::Storm);
    }
    let Some(record) = record(case, tables) else {
        return Ruling::pass(Reason::SourcesFull);
    };
    count_attempt(case, config, record, tables)
}

/// What a verdict means for this packet; no decision where it leaves that to suspicion.
#[inline(always)]
fn carry_out<T: Tables>(rule: Rule, case: &mut Case, tables: &T) -> Ruling {
    if rule.blocks() {
        if rule.covers_all() {
            return Ruling::block(Reason::BlockedAll, rule.is_operators());
        }
        if is_private(case, tables) {
            return Ruling::block(Reason::BlockedPrivate, rule.is_operators());
        }
    }
    case.suspect |= rule.conceals();
    Ruling::NONE
}

#[inline(always)]
fn is_closed<T: Tables>(case: &mut Case, tables: &T) -> bool {
    tables.part(Part::Closed, case) != 0
}

/// Whether a block of private ports covers what is asked for.
#[inline(always)]
fn is_private<T: Tables>(case: &mut Case, tables: &T) -> bool {
    let closed = case.class.should_be_closed() && is_closed(case, tables);
    if !case.is_ours || case.kind.hidden(case.class, closed).is_none() {
        return false;
    }
    case.class != PortClass::Restricted || !suspicion::is_known(case, tables)
}

/// The record of the source. A new one begins with what was kept of a suspect.
#[inline(always)]
fn record<'t, T: Tables>(case: &Case, tables: &'t T) -> Option<SourceCell<'t>> {
    tables.source(&case.source).or_else(|| new_record(case, tables))
}

#[inline(always)]
fn new_record<'t, T: Tables>(case: &Case, tables: &'t T) -> Option<SourceCell<'t>> {
    let record = tables.new_source(&case.source, case.now_ns)?;
    if let Some(backup) = tables.backup(&case.source)
        && backup.suspect_until_ns > case.now_ns
    {
        record.restore(backup);
    }
    Some(record)
}

/// Counts the attempt, and goes on.
#[inline(always)]
fn count_attempt<T: Tables>(case: &mut Case, config: &KernelConfig, record: SourceCell<'_>, tables: &T) -> Ruling {
    if case.kind.is_attempt() {
        tables.count(CounterIndex::attempt(case.class, case.kind.protocol()), case.length);
        record.count_attempt(case.now_ns);
    } else {
        record.see(case.now_ns);
    }
    weigh(case, config, record, tables)
}

/// The rest of the way of a SYN of a source that has no record, on which there is no verdict.
#[inline(always)]
pub(super) fn meet<T: Tables>(case: &mut Case, tables: &T) -> Ruling {
    let Some(config) = tables.config() else {
        return Ruling::pass(case.kind.reason());
    };
    match new_record(case, tables) {
        Some(record) => count_attempt(case, config, record, tables),
        None => Ruling::pass(Reason::SourcesFull),
    }
}

/// Whether this is a first contact, what it says of the source, and whether the source gets what it asks for.
#[inline(always)]
fn weigh<T: Tables>(case: &mut Case, config: &KernelConfig, record: SourceCell<'_>, tables: &T) -> Ruling {
    record.decay(&config.score, case.now_ns);
    case.mark(config);
    let is_first = record.mark_contact(case.bit);
    case.suspect |= record.is_suspect(case.now_ns);
    answer_contact(case, config, is_first, tables)
}

/// The rest of the way of a SYN whose contact was just marked as a first one, of a source that is no suspect.
#[inline(always)]
pub(super) fn first<T: Tables>(case: &mut Case, tables: &T) -> Ruling {
    let Some(config) = tables.config() else {
        return Ruling::pass(case.kind.reason());
    };
    answer_contact(case, config, true, tables)
}

#[inline(always)]
fn answer_contact<T: Tables>(case: &mut Case, config: &KernelConfig, is_first: bool, tables: &T) -> Ruling {
    let (kind, now_ns) = (case.kind, case.now_ns);
    let in_networks = case.class.should_be_closed() && tables.state().is_some_and(|state| state.has_networks(now_ns));
    let closed = case.class.should_be_closed() && (is_first || case.suspect || in_networks) && is_closed(case, tables);
    let class = case.class; // Another one now, if the port turned out to be open.
    if is_first {
        case.outcome = kind.outcome(class, closed);
        case.suspect = tables.part(Part::Contact, case) != 0;
    }
    let Some(reason) = kind.hidden(class, closed) else {
        return Ruling::pass(kind.reason());
    };
    if case.suspect {
        if class == PortClass::Restricted && suspicion::is_known(case, tables) {
            return Ruling::pass(kind.reason());
        }
        case.hidden = reason;
        let ruling = Ruling::from_number(tables.part(Part::Hide, case));
        if ruling.level() != Level::Conceal as u32 || !config.challenge.is_on() {
            return ruling;
        }
        return match kind {
            Kind::Syn => ruling.to_challenge(),
            Kind::AckProbe => ruling.to_complete(),
            _ => ruling,
        };
    }
    // Asked anew: this packet may be the one that made a suspect of its network.
    let in_networks = closed && tables.state().is_some_and(|state| state.has_networks(now_ns));
    if in_networks && tables.part(Part::SuspectNetwork, case) != 0 {
        return Ruling::hide(Reason::HiddenNetwork);
    }
    Ruling::pass(kind.reason())
}

/// Tells userspace of a packet; what it cannot be told is counted.
#[inline(always)]
pub(super) fn tell<T: Tables>(event: impl FnOnce() -> Event, tables: &T) {
    if !tables.emit(event) {
        tables.count(CounterIndex::loss(Loss::Events), 0);
    }
}
