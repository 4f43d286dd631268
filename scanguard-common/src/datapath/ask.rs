//! The way of a packet that asks for something.

use super::case::{Case, CaseRef};
use super::closed::{is_closed, is_closed_here};
use super::kind::{Kind, belongs_to_links, is_query};
use super::ruling::Ruling;
use super::stage::Stage;
use super::{is_to_silence, suspicion};
use crate::class::{PortClass, PortEntry, Protocol};
use crate::config::KernelConfig;
use crate::contact::Outcome;
use crate::counter::{CounterIndex, Loss};
use crate::event::{Answer, Event};
use crate::flow::{FLOW_NS, Flow, SENT_NS, SentKey};
use crate::packet::Shape;
use crate::reason::{Level, Reason};
use crate::record::SourceCell;
use crate::storm::STORM_NEWCOMERS;
use crate::tables::{Socket, Stages, Tables};
use crate::verdict::Rule;

/// A packet that asks for nothing: it passes, unless its source is under a hard block, or under a block of everything and it would make
/// the stack answer where there is no flow.
#[inline(always)]
pub(super) fn settle<T: Stages>(case: &mut CaseRef<'_>, reason: Reason, tables: &T) -> Ruling {
    match tables.config() {
        Some(config) if config.census.hard_verdicts != 0 || (has_verdicts(config) && needs_flow(case)) => {
            case.hidden = reason;
            Ruling::from_number(tables.stage(Stage::Settle, case))
        }
        _ => Ruling::pass(reason),
    }
}

/// The rest of [`settle`], where there are verdicts to be asked.
#[inline(always)]
pub(super) fn settle_by_verdicts<T: Stages>(case: &mut CaseRef<'_>, tables: &T) -> Ruling {
    let pass = Ruling::pass(case.hidden);
    let Some(config) = tables.config() else { return pass };
    let Some(source) = config.keys.source(&case.parsed) else { return pass };
    let wants_flow = needs_flow(case);
    case.source = source;
    case.now_ns = tables.now_ns();
    let rule = tables.verdict(&source).map_or(Rule::NONE, |verdict| verdict.rule(case.now_ns));
    let ruling = settle_rule(rule, wants_flow, case, tables);
    if ruling != Ruling::NONE {
        return ruling;
    }
    if config.census.prefix_verdicts != 0 {
        let rule = Rule::from_number(tables.stage(Stage::Prefix, case));
        let ruling = settle_rule(rule, wants_flow, case, tables);
        if ruling != Ruling::NONE {
            return ruling;
        }
    }
    pass
}

const fn has_verdicts(config: &KernelConfig) -> bool {
    config.census.verdicts != 0 || config.census.prefix_verdicts != 0
}

/// Whether a packet that asks for no port makes the stack, or what is behind it, answer where there is no flow: a query of ICMP, or
/// another IP protocol. (Neighbour discovery belongs to the link, and is none.)
#[inline(always)]
fn needs_flow(case: &Case) -> bool {
    let parsed = &case.parsed;
    match parsed.shape {
        Shape::Icmp => is_query(parsed),
        Shape::Other => !belongs_to_links(parsed.protocol),
        _ => false,
    }
}

#[inline(always)]
fn settle_rule<T: Tables>(rule: Rule, wants_flow: bool, case: &Case, tables: &T) -> Ruling {
    if rule.is_hard() {
        return Ruling::block(Reason::BlockedHard, rule.is_operators());
    }
    if wants_flow && rule.blocks() && rule.covers_all() && !has_flow(case, tables) {
        return Ruling::block(Reason::BlockedAll, rule.is_operators());
    }
    Ruling::NONE
}

/// Whether something of this IP protocol left for the sender lately. A function of its own in the kernel, for its stack.
#[cfg_attr(target_arch = "bpf", inline(never))]
fn has_flow<T: Tables>(case: &Case, tables: &T) -> bool {
    case.parsed.shape as u8 == Shape::Other as u8
        && tables
            .flow(&Flow::without_ports(&case.parsed))
            .is_some_and(|left_ns| case.now_ns.saturating_sub(left_ns) < FLOW_NS)
}

/// A packet whose headers are cut short or contradict each other, of a sender that can be read: it obeys blocks, and of a suspect it is
/// dropped, because nobody knows what Linux makes of it.
#[inline(always)]
pub(super) fn malformed<T: Stages>(case: &mut CaseRef<'_>, tables: &T) -> Ruling {
    let pass = Ruling::pass(Reason::Malformed);
    let Some(config) = tables.config() else { return pass };
    let Some(source) = config.keys.source(&case.parsed) else { return pass };
    if tables.is_own(&case.parsed.source) {
        return pass;
    }
    (case.source, case.now_ns) = (source, tables.now_ns());
    let mut rule = tables.verdict(&source).map_or(Rule::NONE, |verdict| verdict.rule(case.now_ns));
    if !rule.blocks() && config.census.prefix_verdicts != 0 {
        rule = Rule::from_number(tables.stage(Stage::Prefix, case));
    }
    if rule.blocks() {
        let reason = if rule.covers_all() { Reason::BlockedAll } else { Reason::BlockedPrivate };
        return Ruling::block(reason, rule.is_operators());
    }
    if (rule.conceals() || suspicion::is_suspect(case, tables)) && !suspicion::is_allowed(case, tables) {
        return Ruling::hide(Reason::HiddenMalformed);
    }
    pass
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
pub(super) fn ask<T: Stages>(case: &mut CaseRef<'_>, tables: &T) -> Ruling {
    let ruling = identify(case, tables);
    if ruling != Ruling::NONE {
        return ruling;
    }
    consider(case, tables)
}

/// What is dropped whoever sends it, but for whom the allowlist covers, and what only passes through; no decision where it stays with the one
/// that was made. In a lockdown that is whatever asks for a port which it closes.
#[inline(always)]
pub(super) fn refuse<T: Tables>(case: &Case, tables: &T) -> Ruling {
    if case.is_locked && !suspicion::is_admitted(case, tables) {
        return Ruling::lock();
    }
    let Some(reason) = case.kind.refused() else { return Ruling::NONE };
    let destination = &case.parsed.destination;
    let is_ours = tables.is_own(destination) || tables.is_protected(destination) || tables.is_group(destination);
    if is_ours && !suspicion::is_allowed(case, tables) { Ruling::hide(reason) } else { Ruling::NONE }
}

/// Finds out who sends and what is asked for; decides at once where nobody judges.
#[inline(always)]
fn identify<T: Stages>(case: &mut CaseRef<'_>, tables: &T) -> Ruling {
    let kind = case.kind;
    let Some(config) = tables.config() else {
        return Ruling::pass(kind.reason());
    };
    if kind == Kind::AckProbe && !tables.is_own(&case.parsed.destination) {
        let is_nobody = is_to_silence(&case.parsed, config, tables) && config.knows_senders(tables.now_ns());
        if !is_nobody {
            return settle(case, Reason::Established, tables); // Forwarded: it is not our port that is closed.
        }
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
        if case.is_ours && !case.is_protected {
            case.class = tables.port(Protocol::Tcp, case.port).unless_closed();
        }
        if case.class != PortClass::Restricted || !is_hidden_probe(case, config, tables) {
            // Of a container, or a host behind this one, or a connection: egress judges what the stack says to it.
            return settle(case, Reason::Established, tables);
        }
    }
    if kind == Kind::Datagram
        && case.class.should_be_closed()
        && config.knows_what_left(case.now_ns)
        && tables
            .sent_to(&SentKey::new(source, case.port))
            .is_some_and(|left_ns| case.now_ns.saturating_sub(left_ns) < SENT_NS)
    {
        // To a port from which we asked its sender: it answers late, or from another port.
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
    (case.is_protected, case.is_group, case.class) = (false, false, PortClass::Unknown);
    // Whose port it is matters only where something is known of it.
    // What may be a late answer has no class, but a lock counts for it, too: else it would be a way in.
    let is_locked = config.lockdown_until_ns != 0
        && (entry.is_locked() || (kind == Kind::Answer && tables.port(Protocol::Udp, case.port).is_locked()))
        && config.is_locked_down(case.now_ns);
    let is_any = entry.unless_closed() != PortClass::Unknown || is_locked;
    case.is_ours = (is_any || !kind.is_attempt()) && tables.is_own(destination);
    if case.is_ours {
        case.class = entry.own();
    } else if config.census.protected != 0 && tables.is_protected(destination) && !tables.is_own(destination) {
        (case.is_ours, case.is_protected) = (true, true);
        case.class = match kind {
            _ if config.learnt == 0 => PortClass::Unknown,
            Kind::Echo | Kind::AckProbe => PortClass::Closed,
            _ => entry.silent(),
        };
    } else if kind == Kind::Datagram && is_any && entry.is_private() && tables.is_group(destination) {
        // Services get what is sent to many, and answer it from their own address; Linux refuses none of it. So whether such a port is
        // open is hidden as that of a restricted one, and asking is no evidence: neighbours ask all whether they have a printer.
        (case.is_ours, case.is_group, case.class) = (true, true, PortClass::Restricted);
    }
    let may_open =
        matches!(case.class, PortClass::Closed | PortClass::Unknown) && entry.answering() == PortClass::Restricted;
    if is_locked && case.is_ours && may_open {
        case.class = PortClass::Restricted; // What it is worth to ask must not tell whether it is open either.
    }
    // A segment with ACK may be of a connection that has no socket here: it goes on, and what the stack says to others does not leave.
    case.is_locked = is_locked && case.is_ours && kind != Kind::AckProbe;
}

/// Whether an ACK to a restricted port that belongs to no connection is hidden from suspects on its way in: it may complete a decoy, or
/// nobody judges what leaves, or it is a fragment or has options, to which the stack may answer before it comes to the port (RFC 792, RFC
/// 4443), and which a queue of fragments remembers.
#[cfg_attr(target_arch = "bpf", inline(never))]
fn is_hidden_probe<T: Tables>(case: &Case, config: &KernelConfig, tables: &T) -> bool {
    case.parsed.is_odd != 0
        || config.egress_since_ns == u64::MAX
        || tables.pass(&Flow::of(&case.parsed, Protocol::Tcp)).is_decoy()
}

/// A packet whose source and port are known.
#[inline(always)]
fn consider<T: Stages>(case: &mut CaseRef<'_>, tables: &T) -> Ruling {
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
        let rule = Rule::from_number(tables.stage(Stage::Prefix, case));
        let ruling = carry_out(rule, case, tables);
        if ruling != Ruling::NONE {
            return ruling;
        }
    }
    if !kind.is_attempt() && !case.is_ours {
        return Ruling::pass(kind.reason()); // Somebody else's business.
    }
    Ruling::WEIGH
}

/// Whether a source without a record gets none: in a storm most that ask for what is hidden then are forged.
#[inline(always)]
fn is_left_out<T: Tables>(case: &Case, tables: &T) -> bool {
    (case.class.should_be_closed() || case.kind.is_illegal())
        && tables.state().is_some_and(|state| state.is_storm(case.now_ns))
        && tables.backup(&case.source, |_| ()).is_none()
        && !tables.admits(&STORM_NEWCOMERS, case.now_ns)
}

/// Whether a source without a record gets none in a flood of SYNs to a public port that a lockdown closes. (To other public ports that is
/// told at a glance.)
#[inline(always)]
fn is_in_flood<T: Tables>(case: &Case, config: &KernelConfig, tables: &T) -> bool {
    case.is_locked
        && case.kind == Kind::Syn
        && !case.class.may_be_hidden()
        && !tables.admits(&config.newcomers, case.now_ns)
}

/// Counts what a source that gets no record asks for.
#[inline(always)]
pub(super) fn leave_unrecorded<T: Tables>(case: &Case, tables: &T) {
    tables.count(CounterIndex::attempt(case.class, Protocol::Tcp), case.length);
    tables.count(CounterIndex::loss(Loss::Newcomers), 0);
    if let Some(state) = tables.state() {
        state.leave_unrecorded(case.now_ns);
    }
}

/// In a storm whatever asks for a closed or canary port is hidden, whoever sends it but known and allowed sources.
#[inline(always)]
fn hide_in_storm<T: Stages>(case: &CaseRef<'_>, closed: bool, tables: &T) -> Option<Ruling> {
    let is_hidden = closed && case.kind.hidden(case.class, closed).is_some() && suspicion::is_storm(case, tables);
    is_hidden.then(|| Ruling::hide(Reason::Storm))
}

/// What a verdict means for this packet; no decision where it leaves that to suspicion.
#[inline(always)]
fn carry_out<T: Stages>(rule: Rule, case: &mut CaseRef<'_>, tables: &T) -> Ruling {
    if rule.blocks() {
        if rule.covers_all() {
            return Ruling::block(Reason::BlockedAll, rule.is_operators());
        }
        if is_private(case, tables) {
            count_blocked_attempt(case, tables);
            return Ruling::block(Reason::BlockedPrivate, rule.is_operators());
        }
    }
    case.suspect |= rule.conceals();
    Ruling::NONE
}

/// Counts an attempt that a block of private ports covers, where its source has a record. (A block of all ports is told at a glance and
/// counts none: that would cost each packet of a flood a look at SOURCES.)
#[inline(always)]
fn count_blocked_attempt<T: Tables>(case: &Case, tables: &T) {
    if case.kind.is_attempt() {
        tables.count(CounterIndex::attempt(case.class, case.kind.protocol()), case.length);
        if let Some(record) = tables.source(&case.source) {
            record.count_attempt(case.now_ns);
        }
    }
}

/// Whether a block of private ports covers what is asked for.
#[inline(always)]
fn is_private<T: Stages>(case: &mut CaseRef<'_>, tables: &T) -> bool {
    let closed = case.class.should_be_closed() && is_closed(case, tables);
    see_restricted(case, tables);
    if !case.is_ours || case.kind.hidden(case.class, closed).is_none() {
        return false;
    }
    case.class != PortClass::Restricted || !suspicion::is_known(case, tables)
}

/// A port that was open lately, or is not known yet, is as restricted as it would be: who is kept from restricted ports cannot tell them
/// apart.
#[inline(always)]
fn see_restricted<T: Tables>(case: &mut Case, tables: &T) {
    let is_of_nobody = case.class == PortClass::Unknown && case.is_ours && !case.is_protected;
    if is_of_nobody && case.kind.has_port(&case.parsed) {
        case.class = tables.port(case.kind.protocol(), case.port).unless_closed();
    }
}

/// A record for a source that has none. It begins with what was kept of a suspect.
#[inline(always)]
fn new_record<'t, T: Tables>(case: &Case, tables: &'t T) -> Option<SourceCell<'t>> {
    let record = tables.new_source(&case.source, case.now_ns)?;
    // Also of one whose suspicion has ended: its score goes on to be halved from where it was.
    let _ = tables.backup(&case.source, |backup| record.restore(backup));
    Some(record)
}

/// Counts the attempt, and goes on.
#[inline(always)]
fn count_attempt<T: Stages>(
    case: &mut CaseRef<'_>,
    config: &KernelConfig,
    record: SourceCell<'_>,
    tables: &T,
) -> Ruling {
    if case.kind.is_attempt() {
        tables.count(CounterIndex::attempt(case.class, case.kind.protocol()), case.length);
        record.count_attempt(case.now_ns);
    } else {
        record.see(case.now_ns);
    }
    weigh(case, config, record, tables)
}

/// The rest of the way of a packet on which no verdict decided: its source is found or recorded, the attempt counted and weighed.
#[inline(always)]
pub(super) fn meet<T: Stages>(case: &mut CaseRef<'_>, tables: &T) -> Ruling {
    let Some(config) = tables.config() else {
        return Ruling::pass(case.kind.reason());
    };
    let mut record = tables.source(&case.source);
    if record.is_none() {
        if is_left_out(case, tables) {
            let closed = case.class.should_be_closed() && is_closed(case, tables);
            return hide_in_storm(case, closed, tables).unwrap_or(Ruling::pass(case.kind.reason()));
        }
        if is_in_flood(case, config, tables) {
            leave_unrecorded(case, tables);
            return Ruling::pass(case.kind.reason());
        }
        record = new_record(case, tables);
    }
    match record {
        Some(record) => count_attempt(case, config, record, tables),
        None => Ruling::pass(Reason::SourcesFull),
    }
}

/// Whether this is a first contact, what it says of the source, and whether the source gets what it asks for.
#[inline(always)]
fn weigh<T: Stages>(case: &mut CaseRef<'_>, config: &KernelConfig, record: SourceCell<'_>, tables: &T) -> Ruling {
    record.decay(&config.score, case.now_ns);
    case.mark(config);
    case.is_new = record.mark_contact(case.bit);
    case.suspect |= record.is_suspect(case.now_ns);
    answer_contact(case, config, record, tables)
}

/// The rest of the way of a SYN of a source that is no suspect, and whose contact was marked.
#[inline(always)]
pub(super) fn first<T: Stages>(case: &mut CaseRef<'_>, tables: &T) -> Ruling {
    let (Some(config), Some(record)) = (tables.config(), tables.source(&case.source)) else {
        return Ruling::pass(case.kind.reason());
    };
    answer_contact(case, config, record, tables)
}

/// What a contact is worth depends on its outcome and on whether it was worth something before, and on nothing else that the source
/// sent: what is worth nothing leaves no mark that this looks at.
#[inline(always)]
fn answer_contact<T: Stages>(
    case: &mut CaseRef<'_>,
    config: &KernelConfig,
    record: SourceCell<'_>,
    tables: &T,
) -> Ruling {
    let (kind, now_ns) = (case.kind, case.now_ns);
    let is_candidate = case.class.should_be_closed();
    let in_networks = is_candidate && tables.state().is_some_and(|state| state.has_networks(now_ns));
    let in_storm = is_candidate && tables.state().is_some_and(|state| state.is_storm(now_ns));
    case.is_unweighed = !record.has_failed(case.bit);
    // A source whose score is that of a suspect, and whose suspicion ended, is accused by its next failure, whichever it is.
    let may_accuse = case.is_unweighed || (!case.suspect && record.score() >= config.score.conceal_at);
    let closed =
        is_candidate && (may_accuse || case.suspect || in_networks || in_storm) && is_closed_here(case, tables);
    let class = case.class; // Another one now, if the port turned out to be open.
    case.outcome = if case.is_group { Outcome::Unknown } else { kind.outcome(class, closed) };
    if case.is_new || (may_accuse && config.score.points(case.outcome) != 0) {
        let crosses = tables.stage(Stage::Contact, case) != 0;
        if crosses && tables.stage(Stage::Accuse, case) != 0 {
            case.suspect = true;
        }
    }
    if case.suspect {
        see_restricted(case, tables);
    }
    let class = case.class;
    let Some(reason) = kind.hidden(class, closed).or(refused_datagram(case, config, tables)) else {
        return Ruling::pass(kind.reason());
    };
    if case.suspect {
        if class == PortClass::Restricted && suspicion::is_known(case, tables) {
            return Ruling::pass(kind.reason());
        }
        case.hidden = reason;
        let ruling = Ruling::from_number(tables.stage(Stage::Hide, case));
        if ruling.level() != Level::Conceal as u32 || !config.challenge.is_on() {
            return ruling;
        }
        return match kind {
            Kind::Syn => ruling.to_challenge(),
            Kind::AckProbe => ruling.to_complete(),
            _ => ruling,
        };
    }
    // Asked anew: this packet may be the one that made a suspect of its network, or a storm.
    let in_networks = closed && tables.state().is_some_and(|state| state.has_networks(now_ns));
    if in_networks && tables.stage(Stage::SuspectNetwork, case) != 0 {
        return Ruling::hide(Reason::HiddenNetwork);
    }
    hide_in_storm(case, closed, tables).unwrap_or(Ruling::pass(kind.reason()))
}

/// A suspect's datagram to a port of this host's clients that belongs to no flow and finds no socket: the stack would only refuse it, and
/// tell such a port from those that are hidden.
#[inline(always)]
fn refused_datagram<T: Tables>(case: &Case, config: &KernelConfig, tables: &T) -> Option<Reason> {
    let is_clients = case.suspect
        && case.kind == Kind::Datagram
        && case.class == PortClass::Unknown
        && case.socket == Socket::None
        && config.is_ephemeral(case.port)
        && tables.is_own(&case.parsed.destination);
    is_clients.then_some(Reason::HiddenClosed)
}

/// Tells userspace of a packet; what it cannot be told is counted.
#[inline(always)]
pub(super) fn tell<T: Tables>(event: impl FnOnce() -> Event, tables: &T) {
    if !tables.emit(event) {
        tables.count(CounterIndex::loss(Loss::Events), 0);
    }
}
