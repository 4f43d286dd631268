//! The way of a frame that leaves: nothing is decided about it. It tells which ports are open, what will be an answer, and what suspects
//! were told.

use super::ask::tell;
use super::case::Case;
use super::kind::Kind;
use super::part::Part;
use crate::challenge::REFUSED_REFRESH_NS;
use crate::class::{PortClass, Protocol};
use crate::contact::Outcome;
use crate::event::{Answer, EventKind};
use crate::flow::{FLOW_REFRESH_NS, Flow};
use crate::opened::{Asked, Endpoint, OPENED_REFRESH_NS, Question};
use crate::packet::{Packet, Parsed, Plain, Shape, parse_leaving, plain_segment};
use crate::source::KeyRules;
use crate::tables::Tables;

/// Learns from one frame that leaves. The commonest ones are told at a glance, as on the way in.
///
/// The kernel part does these steps itself, because it has two ways of reading.
#[inline(always)]
pub fn learn_from_frame<P: Packet, T: Tables>(frame: &P, tables: &T) {
    if plain_segment(frame).is_some_and(Plain::is_ack) {
        return;
    }
    let mut parsed = Parsed::default();
    let answer = parse_leaving(frame, &mut parsed);
    leave(&mut Case::of(parsed), answer, tables);
}

/// Learns from an answer and from what it is an answer to, as [`parse_leaving`] read them.
#[inline(always)]
pub fn leave<T: Tables>(case: &mut Case, answer: Answer, tables: &T) {
    case.answer = answer;
    match answer {
        Answer::None => {}
        Answer::Datagram => {
            let flow = Flow::of(&case.parsed, Protocol::Udp);
            let now_ns = tables.now_ns();
            if tables.flow(&flow).is_none_or(|seen_ns| now_ns.saturating_sub(seen_ns) >= FLOW_REFRESH_NS) {
                tables.see_flow(&flow, now_ns);
                case.now_ns = now_ns;
                heed(case, tables);
            }
        }
        Answer::Open | Answer::Refused | Answer::Unreachable => {
            case.now_ns = tables.now_ns();
            heed(case, tables);
        }
    }
}

#[inline(always)]
fn heed<T: Tables>(case: &mut Case, tables: &T) {
    if tables.part(Part::Answer, case) != 0 {
        // What could not be told when it was asked is told by the answer: the port is closed.
        tables.part(Part::Contact, case);
    }
}

/// What an answer tells of the port it comes from, and of the source it goes to. True when it shows that the source asked for a closed port of
/// which that was not known: then the case is ready for being weighed.
#[inline(always)]
pub(super) fn answer<T: Tables>(case: &mut Case, tables: &T) -> bool {
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
    let address = case.parsed.destination;
    let is_own = tables.is_own(&address);
    case.is_protected = !is_own && config.census.protected != 0 && tables.is_protected(&address);
    case.is_ours = is_own || case.is_protected;
    if !case.is_ours || (is_own && case.kind == Kind::Echo) {
        // Somebody behind us may ask as well, by an address that is not protected.
        if case.answer == Answer::Datagram {
            tables.send_to(&source, case.now_ns);
        }
        return false;
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
    let is_service = matches!(case.class, PortClass::Public | PortClass::Restricted) && !case.is_protected;
    if case.answer == Answer::Datagram && !is_answered && seen_ns.is_none() {
        // Not an answer but a question of our own, unless it is a service's.
        if !is_service {
            tables.send_to(&case.source, case.now_ns);
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
        && record.give_back(&config.score, asked.points, asked.time_ns)
    {
        tables.forget(&case.source);
    }
    if let Some(network) = KeyRules::network(&case.source)
        && let Some(record) = tables.network(&network)
        && record.is_of(&network)
    {
        record.lower(asked.points);
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
