//! A packet's way through the filter.
//!
//! ```text
//! plain segment of a connection? passes at once
//! plain SYN of a source that is blocked, or known and asks for nothing new? is dropped, or passes, at once
//! parse -> established TCP passes, unless it looks like a probe of a closed port
//!       -> what asks for something: source key -> port class -> VERDICTS -> storm? -> SOURCES
//!          -> first contact? -> verified closed? -> score -> suspect? -> ALLOW
//!          -> hidden from this source?
//!       -> everything else is counted under its reason
//! ```
//!
//! Every packet is counted exactly once under (level, reason, mode), whatever happens to it. In mode observe everything but what
//! an operator blocked passes; the counters say what would not have.
//!
//! | module | does |
//! |---|---|
//! | `segment` | what a TCP segment is by its flags |
//! | `syn` | the short way of SYNs |
//! | `kind` | what a packet asks for, what becomes of it, and whether it is hidden from suspects |
//! | `case` | a packet that is being judged |
//! | `ask` | the way of a packet that asks for something |
//! | `closed` | verifies that a port is closed |
//! | `suspicion` | evidence, suspects, networks of suspects, and who is exempt |
//! | `challenge` | answers to suspects, and what they prove |
//! | `stage` | stages of the way that the kernel's verifier checks by themselves |
//! | `ruling` | the decision |
//! | `leave` | what frames that leave tell, and which are kept from suspects |
//! | `connection` | what sockets tell of connections |

mod ask;
mod case;
mod challenge;
mod closed;
pub mod connection;
mod kind;
mod leave;
mod ruling;
mod segment;
mod stage;
mod suspicion;
mod syn;

use crate::class::{PortClass, Protocol};
use crate::config::KernelConfig;
use crate::counter::CounterIndex;
use crate::flow::{FLOW_NS, Flow};
use crate::packet::reply::{REPLY_BYTES, compose};
use crate::packet::{Packet, Parsed, Plain, Shape, parse, plain_destination, plain_segment};
use crate::reason::{Level, Mode, Reason};
use crate::tables::{Stages, Tables};

use ask::{ask, settle};
pub use case::{Case, CaseRef};
use kind::{Kind, is_common_protocol, may_be_answer};
pub use leave::{judge_leaving, leave, see_plain_sender};
pub use ruling::Action;
use ruling::Ruling;
use segment::Segment;
pub use stage::Stage;
use syn::{Glance, glance};

/// Judges one frame. The commonest ones are told at a glance, the others read first.
///
/// The kernel part does these steps itself, because it has two ways of reading.
#[inline(always)]
pub fn process_frame<P: Packet, T: Stages>(frame: &P, tables: &T) -> Action {
    process_with(frame, CaseRef::new(&mut Case::default()), |case| case.parsed = parse(frame), tables)
}

/// The same, with the answer where there is one: its bytes in `to`, which holds zeros, and its length.
#[inline(always)]
pub fn answer_frame<P: Packet, T: Stages>(frame: &P, tables: &T, to: &mut [u8; REPLY_BYTES]) -> (Action, usize) {
    let mut case = Case::default();
    match process_with(frame, CaseRef::new(&mut case), |case| case.parsed = parse(frame), tables) {
        Action::Answer => match compose(frame, &case.parsed, &case.reply, to) {
            0 => (Action::Drop, 0),
            length => (Action::Answer, length),
        },
        action => (action, 0),
    }
}

/// The same; `read` reads the frame into the case if it must be.
#[inline(always)]
pub fn process_with<P: Packet, T: Stages>(
    frame: &P,
    case: CaseRef<'_>,
    read: impl FnOnce(&mut Case),
    tables: &T,
) -> Action {
    let plain = plain_segment(frame);
    if let Some(segment) = plain
        && let Some(action) = pass_plain(frame, segment, tables)
    {
        return action;
    }
    process_rest(frame, plain.is_none(), case, read, tables)
}

/// Judges a frame that was not passed as a plain segment of a connection; `may_ask` unless it is one.
#[inline(always)]
pub fn process_rest<P: Packet, T: Stages>(
    frame: &P,
    may_ask: bool,
    mut case: CaseRef<'_>,
    read: impl FnOnce(&mut Case),
    tables: &T,
) -> Action {
    let stage = match if may_ask { glance(frame, &mut case, tables) } else { Glance::Long } {
        Glance::Pass => return Action::Pass,
        Glance::Drop => return Action::Drop,
        Glance::Meet => Stage::Meet,
        Glance::First => Stage::First,
        Glance::Long => {
            read(&mut case);
            case.begin(frame.len() as u64);
            Stage::Judge
        }
    };
    go_on(stage, &mut case, tables)
}

/// Counts and passes a plain segment of a connection, unless it must be looked at more closely.
#[inline(always)]
pub fn pass_plain<P: Packet, T: Tables>(frame: &P, segment: Plain, tables: &T) -> Option<Action> {
    let mode = match tables.config() {
        None => Mode::Observe,
        Some(config) => {
            if config.census.hard_verdicts != 0 {
                return None;
            }
            let port = segment.destination_port();
            if segment.is_ack() && !config.is_ephemeral(port) && is_looked_at(config, port, tables) {
                return None;
            }
            if segment.is_reset()
                && config.challenge.is_on()
                && !config.is_ephemeral(port)
                && tables.port_class(Protocol::Tcp, port).may_be_hidden()
            {
                return None;
            }
            if config.asks_for_senders() && segment.is_ack() && !tables.has_sent(&plain_destination(frame)) {
                return None;
            }
            Mode::from_u32(config.mode)
        }
    };
    let length = frame.len_of(segment.claimed()) as u64;
    tables.count(CounterIndex::verdict(Level::None, Reason::Established, mode), length);
    Some(Action::Pass)
}

/// Judges one packet, whose `parsed` was read by [`crate::packet::parse`]; `length` is that of the frame in bytes. The long way, which every
/// packet may take.
#[inline(always)]
pub fn process<T: Stages>(case: &mut Case, length: u64, tables: &T) -> Action {
    case.begin(length);
    go_on(Stage::Judge, &mut CaseRef::new(case), tables)
}

/// Goes on with a stage that decides; counts what was decided, and says what is to be done.
#[inline(always)]
fn go_on<T: Stages>(stage: Stage, case: &mut CaseRef<'_>, tables: &T) -> Action {
    let mut ruling = Ruling::from_number(tables.stage(stage, case));
    // One after the other, and not each where it was found out, for the kernel part's stack.
    if ruling == Ruling::WEIGH {
        ruling = Ruling::from_number(tables.stage(Stage::Meet, case));
    }
    if stage == Stage::Judge && ruling.counted().is_none() && is_to_refuse(ruling, case, tables) {
        let refused = Ruling::from_number(tables.stage(Stage::Refuse, case));
        if refused.is_decision() {
            ruling = refused;
        }
    }
    match ruling.last_word() {
        Some(Stage::Retry) => {
            tables.stage(Stage::Retry, case);
            ruling = ruling.last();
        }
        Some(stage) => ruling = Ruling::from_number(tables.stage(stage, case)),
        None => {}
    }
    let mode = match ruling.counted() {
        Some(mode) => mode,
        None => count_ruling_apart(ruling, case.length, tables),
    };
    if ruling.level() == Level::None as u32 && ruling.reason() == Reason::Retried as u32 {
        Action::PassPlain
    } else if ruling.level() == Level::None as u32 || mode == Mode::Observe {
        Action::Pass
    } else if case.has_reply() {
        Action::Answer
    } else {
        Action::Drop
    }
}

/// Whether a decision may be overruled, because some such packets are dropped whoever sends them: one to pass, and in a lockdown one that mode
/// observe would not carry out.
#[inline(always)]
fn is_to_refuse<T: Tables>(ruling: Ruling, case: &Case, tables: &T) -> bool {
    let is_passed = ruling.level() == Level::None as u32;
    (is_passed && case.kind.refused().is_some())
        || (case.is_locked && (is_passed || (!ruling.is_operators() && is_observing(case, tables))))
}

/// Whether the mode is observe at the time of this packet.
#[inline(always)]
fn is_observing<T: Tables>(case: &Case, tables: &T) -> bool {
    tables.config().is_none_or(|config| config.mode_at(|| case.now_ns) == Mode::Observe)
}

/// Counts a stage's decision, if it is the last one about this packet: where the stage is verified by itself this is, too, and spares a call.
#[inline(always)]
fn decide<T: Tables>(ruling: Ruling, case: &Case, tables: &T) -> Ruling {
    if !ruling.is_decision() || ruling.last_word().is_some() || is_to_refuse(ruling, case, tables) {
        return ruling;
    }
    ruling.with_mode(count_ruling(ruling, case.length, tables))
}

/// As [`count_ruling`]. A function of its own in the kernel, for its stack.
#[cfg_attr(target_arch = "bpf", inline(never))]
fn count_ruling_apart<T: Tables>(ruling: Ruling, length: u64, tables: &T) -> Mode {
    count_ruling(ruling, length, tables)
}

/// Counts what was decided of a packet of this length, and says in which mode that is.
#[inline(always)]
fn count_ruling<T: Tables>(ruling: Ruling, length: u64, tables: &T) -> Mode {
    let mode = match tables.config() {
        // Of what passes anyway it matters to nobody whether enforcing ended a moment ago.
        Some(config) if ruling.level() == Level::None as u32 => Mode::from_u32(config.mode),
        Some(config) if !ruling.is_operators() => config.mode_at(|| tables.now_ns()),
        // An operator's block is carried out in both modes, and counted as what it is.
        Some(_) => Mode::Enforce,
        None => Mode::Observe,
    };
    tables.count(CounterIndex::ruling(ruling.level(), ruling.reason(), mode), length);
    mode
}

#[inline(always)]
fn judge<T: Stages>(case: &mut CaseRef<'_>, tables: &T) -> Ruling {
    let parsed = &case.parsed;
    let kind = match parsed.shape {
        Shape::Tcp => match Segment::of(parsed.tcp_flags) {
            Segment::Established if may_be_probe(parsed, tables) => Kind::AckProbe,
            Segment::Established if may_meet_challenge(parsed, tables) => {
                return settle(case, Reason::Established, tables).to_retry();
            }
            Segment::Established => return settle(case, Reason::Established, tables),
            Segment::SynAck => return settle(case, Reason::SynAck, tables),
            Segment::Syn => Kind::Syn,
            // A SYN with FIN or RST asks for a port as well, and is counted as the attempt it is.
            Segment::IllegalSyn => Kind::IllegalSyn,
            Segment::Illegal => Kind::Illegal,
        },
        Shape::Udp if belongs_to_flow(parsed, tables) => return settle(case, Reason::UdpEstablished, tables),
        Shape::Udp if tables.config().is_some_and(|config| may_be_answer(parsed, config, tables.now_ns())) => {
            Kind::Answer
        }
        Shape::Udp => Kind::Datagram,
        Shape::Icmp if parsed.is_echo_request() => Kind::Echo,
        Shape::Icmp => return settle(case, Reason::IcmpMessage, tables),
        Shape::NotIp => return Ruling::pass(Reason::NotIp),
        Shape::PriorityTags => return Ruling::hide(Reason::PriorityTags),
        Shape::Malformed if parsed.version == 0 => return Ruling::pass(Reason::Malformed),
        Shape::Malformed => return Ruling::from_number(tables.stage(Stage::Malformed, case)),
        Shape::Fragment => return settle(case, Reason::Fragment, tables),
        Shape::TinyFragment => Kind::TinyFragment,
        Shape::LongChain => Kind::LongChain,
        Shape::CutChain => Kind::CutChain,
        Shape::Other if is_common_protocol(parsed.protocol) => return settle(case, Reason::OtherProtocol, tables),
        Shape::Other => Kind::Protocol,
    };
    case.kind = kind;
    ask(case, tables)
}

/// Whether a segment may be what a real stack answers to a challenge: a reset without ACK to a port that may be hidden.
#[inline(always)]
fn may_meet_challenge<T: Tables>(parsed: &Parsed, tables: &T) -> bool {
    use crate::packet::tcp_flags::{ACK, RST};
    let port = parsed.destination_port;
    parsed.tcp_flags & (ACK | RST) == RST
        && tables.config().is_some_and(|config| config.challenge.is_on() && !config.is_ephemeral(port))
        && tables.port_class(Protocol::Tcp, port).may_be_hidden()
}

/// Whether a datagram answers one that left lately.
#[inline(always)]
fn belongs_to_flow<T: Tables>(parsed: &Parsed, tables: &T) -> bool {
    tables.config().is_some_and(|config| config.egress_since_ns != u64::MAX)
        && tables
            .flow(&Flow::of(parsed, Protocol::Udp))
            .is_some_and(|left_ns| tables.now_ns().saturating_sub(left_ns) < FLOW_NS)
}

/// Whether an established-looking segment may be a probe (nmap -sA, -sM, -sW): it has ACK and asks for a port that should be
/// closed, and not one to which answers to our own connections come.
#[inline(always)]
fn may_be_probe<T: Tables>(parsed: &Parsed, tables: &T) -> bool {
    use crate::packet::tcp_flags::{ACK, RST};
    let port = parsed.destination_port;
    parsed.tcp_flags & (ACK | RST) == ACK
        && tables.config().is_some_and(|config| {
            (!config.is_ephemeral(port) && is_looked_at(config, port, tables))
                || (parsed.is_odd != 0 && tables.port(Protocol::Tcp, port).unless_closed().may_be_hidden())
                || is_to_silence(parsed, config, tables)
        })
}

/// Whether a packet goes to an address of a protected network with which no connection can be: nothing ever came from there.
#[inline(always)]
fn is_to_silence<T: Tables>(parsed: &Parsed, config: &KernelConfig, tables: &T) -> bool {
    config.asks_for_senders() && tables.is_silent(&parsed.destination) && tables.is_protected(&parsed.destination)
}

/// Whether a segment with ACK to this port is looked at: the port should be closed, or is restricted and a decoy may be completed there, or
/// nobody judges what leaves, or the segment may go to a protected network where nobody is.
#[inline(always)]
fn is_looked_at<T: Tables>(config: &KernelConfig, port: u16, tables: &T) -> bool {
    let class = tables.port_class(Protocol::Tcp, port);
    let is_restricted = || {
        class == PortClass::Restricted
            && (config.egress_since_ns == u64::MAX
                || (config.challenge.is_on()
                    && tables.state().is_some_and(|state| state.has_decoys(|| tables.now_ns()))))
    };
    class.should_be_closed() || is_restricted()
}
