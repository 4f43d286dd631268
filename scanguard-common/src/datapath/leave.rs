//! The way of a frame that leaves. It tells which ports are open, what will be an answer, and what suspects were told. And it is judged
//! itself: whatever came in, the stack's answer from a port that is hidden does not leave for whom it is hidden from.
//!
//! Linux answers a segment of no connection by a reset without ACK, or, if the segment had no ACK, by one with ACK and sequence number 0
//! (`tcp_v4_send_reset`); resets of connections have ACK and the connection's number. So connections are told from probes by what leaves,
//! without a look at sockets.

use super::Action;
use super::ask::tell;
use super::case::{Case, CaseRef};
use super::kind::Kind;
use super::stage::Stage;
use super::suspicion;
use crate::address::Address;
use crate::challenge::{Pass, REFUSED_REFRESH_NS};
use crate::class::{PortClass, Protocol};
use crate::config::KernelConfig;
use crate::contact::Outcome;
use crate::counter::CounterIndex;
use crate::event::{Answer, EventKind};
use crate::flow::{FLOW_REFRESH_NS, Flow, SentKey};
use crate::opened::{Asked, Endpoint, OPENED_REFRESH_NS, Question};
use crate::packet::{Packet, Parsed, Plain, Shape, parse_leaving, plain_segment, plain_source, tcp_flags};
use crate::reason::{Level, Mode};
use crate::session::{SynAck, SynAckLeft};
use crate::source::{KeyRules, SourceKey};
use crate::tables::{Stages, Tables};
use crate::verdict::Rule;

/// Judges one frame that leaves, and learns from it. The commonest ones are told at a glance, as on the way in.
///
/// The kernel part does these steps itself, because it has two ways of reading.
#[inline(always)]
pub fn judge_leaving<P: Packet, T: Stages>(frame: &P, tables: &T) -> Action {
    if plain_segment(frame).is_some_and(Plain::is_ack) {
        see_plain_sender(frame, tables);
        return Action::Pass;
    }
    let mut parsed = Parsed::default();
    let answer = parse_leaving(frame, &mut parsed);
    leave(CaseRef::new(&mut Case::of(parsed)), answer, frame.len() as u64, tables)
}

/// Notes who sends a frame that [`plain_segment`] told, where networks are protected.
#[inline(always)]
pub fn see_plain_sender<P: Packet, T: Tables>(frame: &P, tables: &T) {
    if tables.config().is_some_and(|config| config.census.protected != 0) {
        note_sender(&plain_source(frame), tables);
    }
}

/// Notes an address, and the network that it is of: where others of it are silent, that says something.
#[inline(always)]
fn note_sender<T: Tables>(address: &Address, tables: &T) {
    if !tables.has_sent(address) {
        tables.see_sender(&KeyRules::network(&SourceKey(*address)).0);
        tables.see_sender(address);
    }
}

/// The same of another frame, as [`parse_leaving`] read it: turned about, where it may be an answer. An error tells of nobody: it is about
/// one who is not there, or does not want to be.
#[inline(always)]
fn see_sender<T: Tables>(case: &Case, tables: &T) {
    let parsed = &case.parsed;
    let is_wanted = tables.config().is_some_and(|config| config.census.protected != 0);
    if !is_wanted || parsed.version == 0 || case.answer == Answer::Unreachable {
        return;
    }
    let is_turned = matches!(parsed.shape, Shape::Tcp | Shape::Udp) || case.answer != Answer::None;
    note_sender(if is_turned { &parsed.destination } else { &parsed.source }, tables);
}

/// Judges an answer of so many bytes, and learns from it and from what it is an answer to, as [`parse_leaving`] read them.
#[inline(always)]
pub fn leave<T: Stages>(mut case: CaseRef<'_>, answer: Answer, length: u64, tables: &T) -> Action {
    case.answer = answer;
    case.length = length;
    see_sender(&case, tables);
    let mut action = Action::Pass;
    if may_be_withheld(&case) && tables.config().is_some_and(|config| config.judges_leaving != 0) {
        let withheld = tables.stage(Stage::Withhold, &mut case);
        if withheld == Level::Conceal as u32 && !is_syn_ack(&case) {
            // As if it had been hidden on its way in, as one to a closed port is: it counts, and prolongs suspicion.
            weigh(&mut case, tables);
            tables.stage(Stage::Hide, &mut case);
        }
        if withheld == PASSES {
            action = Action::PassPlain;
        } else if withheld != 0 && withhold_counted(withheld, length, tables) == Action::Drop {
            return Action::Drop; // Nobody was answered.
        }
    }
    match answer {
        Answer::None if case.parsed.shape as u8 == Shape::Other as u8 => {
            turn(&mut case);
            note_flow(Flow::without_ports(&case.parsed), &mut case, tables);
        }
        Answer::None => {}
        Answer::Datagram => {
            if note_flow(Flow::of(&case.parsed, Protocol::Udp), &mut case, tables) {
                heed(&mut case, tables);
            }
        }
        Answer::Open | Answer::Refused | Answer::Unreachable => {
            case.now_ns = tables.now_ns();
            heed(&mut case, tables);
        }
    }
    action
}

/// Notes that something of a flow left; true when that is told, which is every [`FLOW_REFRESH_NS`].
#[inline(always)]
fn note_flow<T: Tables>(flow: Flow, case: &mut Case, tables: &T) -> bool {
    let now_ns = tables.now_ns();
    let is_due = tables.flow(&flow).is_none_or(|seen_ns| now_ns.saturating_sub(seen_ns) >= FLOW_REFRESH_NS);
    if is_due {
        tables.see_flow(&flow, now_ns);
        case.now_ns = now_ns;
    }
    is_due
}

/// What [`withhold`] says besides a [`Level`]: that a person wants it so.
const OPERATORS: u32 = 1 << 8;
/// That it is a SYN-ACK which leaves because its receiver met a challenge.
const PASSES: u32 = 1 << 9;

/// Counts an answer that was kept from somebody, and says what becomes of it.
#[cfg_attr(target_arch = "bpf", inline(never))]
fn withhold_counted<T: Tables>(withheld: u32, length: u64, tables: &T) -> Action {
    let level = if withheld & 0xff == Level::Block as u32 { Level::Block } else { Level::Conceal };
    let mode = match tables.config() {
        Some(_) if withheld & OPERATORS != 0 => Mode::Enforce,
        Some(config) => config.mode_at(|| tables.now_ns()),
        None => Mode::Observe,
    };
    tables.count(CounterIndex::withheld(level, mode), length);
    if mode == Mode::Enforce { Action::Drop } else { Action::Pass }
}

/// Whether a frame is of a kind that may be withheld: a SYN-ACK, a reset of no connection, an ICMP error or answer.
#[inline(always)]
fn may_be_withheld(case: &Case) -> bool {
    match case.answer {
        Answer::Open => true,
        Answer::Refused => is_stray_reset(&case.parsed),
        Answer::Unreachable => true,
        Answer::Datagram => false,
        Answer::None => case.parsed.shape as u8 == Shape::Icmp as u8 && is_icmp_answer(&case.parsed),
    }
}

/// Whether a reset answers a segment of no connection.
#[inline(always)]
const fn is_stray_reset(parsed: &Parsed) -> bool {
    parsed.tcp_flags & tcp_flags::ACK == 0 || parsed.sequence == 0
}

/// Whether an ICMP message that leaves answers something that is no flow: errors but those about packets that are too big, and replies to
/// timestamp, information and mask requests, of `ICMPv6` to queries for node information. Destination unreachable that quotes
/// what was asked is [`Answer::Unreachable`].
#[inline(always)]
const fn is_icmp_answer(parsed: &Parsed) -> bool {
    matches!((parsed.version, parsed.icmp_type), (4, 3 | 11 | 12 | 14 | 16 | 18) | (6, 1 | 3 | 4 | 140))
}

/// Whether it is an ICMP error about a packet that cannot be read or put together: the stack sends it before it comes to a port, so that to
/// a suspect it would tell what passed in from what was hidden.
#[inline(always)]
const fn is_error(case: &Case) -> bool {
    case.answer as u8 == Answer::None as u8
        && matches!((case.parsed.version, case.parsed.icmp_type), (4, 11 | 12) | (6, 3 | 4))
}

/// Whether what leaves is kept from the one it goes to: 0, or the [`Level`] for which it is, plus [`OPERATORS`] if a person wants it so.
#[inline(always)]
pub(super) fn withhold<T: Stages>(case: &mut CaseRef<'_>, tables: &T) -> u32 {
    let Some(config) = tables.config() else { return 0 };
    // Not turned: to whom it goes is its destination.
    if case.answer as u8 == Answer::None as u8 {
        turn(case);
    }
    // An ICMP error about a segment, too: a firewall says so of ports that it rejects.
    let is_about_segment = case.parsed.shape as u8 == Shape::Tcp as u8
        && matches!(case.answer, Answer::Open | Answer::Refused | Answer::Unreachable);
    let class = if is_about_segment {
        hidden_class(case, tables)
    } else if is_error(case) {
        PortClass::Closed
    } else {
        PortClass::Public
    };
    let is_hidden = class as u8 != PortClass::Public as u8;
    let is_locked = is_about_segment && is_locked(case, config, tables);
    let has_verdicts = config.census.verdicts != 0 || config.census.prefix_verdicts != 0;
    if !is_hidden && !is_locked && !has_verdicts {
        return 0;
    }
    let Some(source) = config.keys.source(&case.parsed) else { return 0 };
    if tables.is_own(&case.parsed.source) {
        return 0;
    }
    (case.source, case.now_ns) = (source, tables.now_ns());
    let rule = rule(case, tables);
    if rule.blocks() && (rule.covers_all() || (is_hidden && !may_see(class, case, tables))) {
        let operators = if rule.is_operators() { OPERATORS } else { 0 };
        return if suspicion::is_allowed(case, tables) { 0 } else { Level::Block as u32 | operators };
    }
    if is_locked && !suspicion::is_admitted(case, tables) {
        return Level::Conceal as u32 | OPERATORS;
    }
    if !is_hidden || may_see(class, case, tables) {
        return 0;
    }
    if !rule.conceals() && !suspicion::is_suspect(case, tables) {
        return 0;
    }
    if takes_pass(case, tables) {
        PASSES
    } else if suspicion::is_allowed(case, tables) {
        0
    } else {
        Level::Conceal as u32
    }
}

#[inline(always)]
const fn is_syn_ack(case: &Case) -> bool {
    case.answer as u8 == Answer::Open as u8
}

/// Weighs what was refused to a suspect as the contact with a private port that it is. (Not of others: a SYN-ACK is refused
/// in the same words, and is evidence against nobody.)
#[cfg_attr(target_arch = "bpf", inline(never))]
fn weigh<T: Stages>(case: &mut CaseRef<'_>, tables: &T) {
    let Some(config) = tables.config() else { return };
    let Some(record) = tables.source(&case.source) else { return };
    (case.kind, case.port) = (Kind::Syn, case.parsed.destination_port);
    (case.class, case.outcome) = (PortClass::Restricted, Outcome::Restricted);
    (case.suspect, case.is_ours, case.is_protected) = (true, true, false);
    record.decay(&config.score, case.now_ns);
    case.mark(config);
    (case.is_new, case.is_unweighed) = (record.mark_contact(case.bit), !record.has_failed(case.bit));
    tables.stage(Stage::Contact, case);
}

/// Whether a segment leaves a port that a lockdown in force closes.
#[inline(always)]
fn is_locked<T: Tables>(case: &Case, config: &KernelConfig, tables: &T) -> bool {
    config.lockdown_until_ns != 0
        && tables.port(Protocol::Tcp, case.parsed.destination_port).is_locked()
        && config.is_locked_down(tables.now_ns())
}

/// The verdict on whom a frame goes to.
#[inline(always)]
fn rule<T: Stages>(case: &mut CaseRef<'_>, tables: &T) -> Rule {
    let Some(config) = tables.config() else { return Rule::NONE };
    let mut rule = Rule::NONE;
    if config.census.verdicts != 0 {
        rule = tables.verdict(&case.source).map_or(Rule::NONE, |verdict| verdict.rule(case.now_ns));
    }
    if !rule.covers_all() && config.census.prefix_verdicts != 0 {
        let wider = Rule::from_number(tables.stage(Stage::Prefix, case));
        if wider.blocks() || (wider.conceals() && !rule.blocks()) {
            rule = wider;
        }
    }
    rule
}

/// The class of the port that a segment leaves, as far as it is hidden; public if what leaves tells nothing that is.
#[inline(always)]
fn hidden_class<T: Tables>(case: &Case, tables: &T) -> PortClass {
    let entry = tables.port(Protocol::Tcp, case.parsed.destination_port);
    let address = &case.parsed.destination;
    let is_elsewhere = tables.config().is_some_and(|config| config.census.protected != 0)
        && !tables.is_own(address)
        && tables.is_protected(address);
    // What this host's own port of that number is says nothing of a host behind it.
    let own = if is_elsewhere { PortClass::Unknown } else { entry.own() };
    let is_syn_ack = is_syn_ack(case);
    let is_restricted = entry.answering() as u8 == PortClass::Restricted as u8;
    match own {
        PortClass::Public => PortClass::Public,
        PortClass::Restricted => PortClass::Restricted,
        // A port that opened a moment ago, or that is open elsewhere.
        PortClass::Unknown | PortClass::Canary | PortClass::Closed if is_restricted => PortClass::Restricted,
        _ if is_syn_ack => PortClass::Public,
        // A reset with ACK refuses an attempt, and of ports of which nothing is known attempts are refused as ever.
        PortClass::Unknown if case.parsed.tcp_flags & tcp_flags::ACK != 0 => PortClass::Public,
        _ => PortClass::Closed,
    }
}

/// Whether restricted ports are visible to whom a frame goes to.
#[inline(always)]
fn may_see<T: Tables>(class: PortClass, case: &Case, tables: &T) -> bool {
    class as u8 == PortClass::Restricted as u8 && suspicion::is_known(case, tables)
}

/// Whether a SYN-ACK answers a SYN that passed because its sender met a challenge. One does, see [`Pass::ANSWERED`].
#[inline(always)]
fn takes_pass<T: Tables>(case: &Case, tables: &T) -> bool {
    if case.answer as u8 != Answer::Open as u8 {
        return false;
    }
    let flow = Flow::of(&case.parsed, Protocol::Tcp);
    let pass = tables.pass(&flow);
    if !pass.lets_answer(case.now_ns) {
        return false;
    }
    tables.set_pass(&flow, &Pass { isn: pass.isn | Pass::ANSWERED, ..pass });
    true
}

/// Makes a packet that leaves the one that it answers.
#[inline(always)]
fn turn(case: &mut Case) {
    let Parsed { source, destination, .. } = case.parsed;
    (case.parsed.source, case.parsed.destination) = (destination, source);
}

#[inline(always)]
fn heed<T: Stages>(case: &mut CaseRef<'_>, tables: &T) {
    if tables.stage(Stage::Answer, case) != 0 {
        // What could not be told when it was asked is told by the answer: the port is closed.
        if tables.stage(Stage::Contact, case) != 0 {
            tables.stage(Stage::Accuse, case);
        }
    }
}

/// What an answer tells of the port it comes from, and of the source it goes to. True when it shows that the source asked for a closed port of
/// which that was not known: then the case is ready for being weighed.
#[inline(always)]
pub(super) fn answer<T: Tables>(case: &mut CaseRef<'_>, tables: &T) -> bool {
    let Some(config) = tables.config() else { return false };
    let Some(source) = config.keys.source(&case.parsed) else { return false };
    (case.kind, case.port) = match case.parsed.shape {
        Shape::Tcp => (Kind::Syn, case.parsed.destination_port),
        Shape::Udp => (Kind::Datagram, case.parsed.destination_port),
        _ => (Kind::Echo, 0),
    };
    case.source = source;
    // In the kernel the case is that of the frame before.
    (case.suspect, case.class, case.outcome) = (false, PortClass::Unknown, Outcome::Unknown);
    (case.is_new, case.is_unweighed) = (false, true);
    let address = case.parsed.destination;
    let is_own = tables.is_own(&address);
    case.is_protected = !is_own && config.census.protected != 0 && tables.is_protected(&address);
    case.is_ours = is_own || case.is_protected;
    if !case.is_ours || (is_own && case.kind == Kind::Echo) {
        // Somebody behind us may ask as well, by an address that is not protected.
        if case.answer == Answer::Datagram {
            tables.send_to(&SentKey::new(source, case.port), case.now_ns);
        }
        return false;
    }
    if case.kind == Kind::Syn && case.answer == Answer::Open {
        // By this the session that may follow is told from one that somebody on this host makes in the same name.
        let syn_ack = SynAck::new(source, case.parsed.source_port, u32::from_be(case.parsed.sequence));
        let left = SynAckLeft { time_ns: case.now_ns, cookie: tables.sender_cookie() };
        tables.leave_syn_ack(&syn_ack, &left);
    }
    if is_own && case.answer == Answer::Refused {
        let refused_ns = tables.refused(&address);
        // Never is not long ago where the host itself was started a moment ago.
        if refused_ns == 0 || case.now_ns.saturating_sub(refused_ns) >= REFUSED_REFRESH_NS {
            tables.refuse(&address, case.now_ns);
        }
    }
    let endpoint = Endpoint::asked(&case.parsed, case.port, case.kind.protocol());
    let asked =
        if config.has_elsewhere() { tables.take_asked(&Question { source, endpoint }) } else { Asked::default() };
    let is_answered = asked.is_answered(case.now_ns);
    if case.answer.is_open() {
        see_open(case, &endpoint, is_answered, tables);
        if is_answered && asked.points > 0 {
            case.mark(config);
            give_back(case, &asked, tables);
        }
    }
    let suspect = tell_answer(case, tables);
    if case.answer.is_open() || !is_answered || asked.points != 0 {
        return false;
    }
    (case.suspect, case.class, case.outcome) = (suspect, PortClass::Closed, Outcome::Closed);
    case.mark(config);
    true
}

/// The port is open: it answered a handshake, an echo, or a datagram for which an answer was waited for.
#[cfg_attr(target_arch = "bpf", inline(never))]
fn see_open<T: Tables>(case: &mut Case, endpoint: &Endpoint, is_answered: bool, tables: &T) {
    let Some(config) = tables.config() else { return };
    let entry = tables.port(case.kind.protocol(), case.port);
    let seen_ns = tables.opened(endpoint);
    case.class = if case.is_protected { entry.answering() } else { entry.own() };
    let is_service = !case.is_protected
        && (matches!(case.class, PortClass::Public | PortClass::Restricted)
            || entry.answering() == PortClass::Restricted);
    if case.answer == Answer::Datagram && !is_answered && seen_ns.is_none() {
        // Not an answer but a question of our own, unless it is a service's.
        if !is_service {
            tables.send_to(&SentKey::new(case.source, case.port), case.now_ns);
        }
        return;
    }
    let since_ns = seen_ns.map_or(u64::MAX, |seen_ns| case.now_ns.saturating_sub(seen_ns));
    if since_ns >= OPENED_REFRESH_NS {
        tables.open(endpoint, case.now_ns);
    }
    if since_ns >= config.opened_ns && !is_service {
        let kind = if case.is_protected { EventKind::OpenedElsewhere } else { EventKind::Opened };
        tell(|| case.event(kind), tables);
    }
}

/// What was taken for a failure was none.
#[cfg_attr(target_arch = "bpf", inline(never))]
fn give_back<T: Tables>(case: &Case, asked: &Asked, tables: &T) {
    let Some(config) = tables.config() else { return };
    if let Some(record) = tables.source(&case.source)
        && record.is_of(&case.source)
        && record.give_back(&config.score, case.bit, asked.points, asked.time_ns)
    {
        tables.forget(&case.source);
    }
    let network = KeyRules::network(&case.source);
    if let Some(record) = tables.network(&network)
        && record.is_of(&network)
    {
        record.give_back_to_network(case.bit, asked.points);
    }
}

/// Tells userspace what a suspect was answered; says whether it is one.
#[cfg_attr(target_arch = "bpf", inline(never))]
fn tell_answer<T: Tables>(case: &Case, tables: &T) -> bool {
    let Some(record) = tables.source(&case.source) else { return false };
    if !record.is_suspect(case.now_ns) || !record.is_of(&case.source) {
        return false;
    }
    if record.may_tell(case.now_ns) {
        tell(|| case.event(EventKind::Answered), tables);
    }
    true
}
