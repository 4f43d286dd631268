//! A packet's way through the filter.
//!
//! ```text
//! plain segment of a connection? passes at once
//! parse -> established TCP passes
//!       -> new flow: source key -> port class -> SOURCES -> first contact? -> EVENTS
//!       -> everything else is counted under its reason
//! ```
//!
//! Every packet is counted exactly once under (level, reason, mode), whatever happens to it.

use crate::class::{PortClass, Protocol};
use crate::contact::{ContactBit, Outcome};
use crate::counter::{CounterIndex, Loss};
use crate::event::{Event, EventKind};
use crate::packet::{Packet, Parsed, Shape, is_plainly_established, parse, tcp_flags};
use crate::reason::{Level, Mode, Reason};
use crate::tables::Tables;

/// What is to be done with a packet.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Action {
    /// On to the stack.
    Pass,
}

/// Judges one frame. The commonest ones are told at a glance, the others read first.
///
/// The kernel part does these steps itself, because it has two ways of reading.
#[inline(always)]
pub fn process_frame<P: Packet, T: Tables>(frame: &P, tables: &T) -> Action {
    let length = frame.len() as u64;
    if is_plainly_established(frame) {
        return pass_established(length, tables);
    }
    process(&parse(frame), length, tables)
}

/// Counts and passes a frame that [`is_plainly_established`].
#[inline(always)]
pub fn pass_established<T: Tables>(length: u64, tables: &T) -> Action {
    finish(Reason::Established, length, tables)
}

/// Judges one packet, read by [`crate::packet::parse`]; `length` is that of the frame in bytes.
#[inline(always)]
pub fn process<T: Tables>(parsed: &Parsed, length: u64, tables: &T) -> Action {
    finish(judge(parsed, tables, length), length, tables)
}

#[inline(always)]
fn finish<T: Tables>(reason: Reason, length: u64, tables: &T) -> Action {
    let mode = tables.config().map_or(Mode::Observe, |config| Mode::from_u32(config.mode));
    tables.count(CounterIndex::verdict(Level::None, reason, mode), length);
    Action::Pass
}

#[inline(always)]
fn judge<T: Tables>(parsed: &Parsed, tables: &T, length: u64) -> Reason {
    match parsed.shape {
        Shape::Tcp => match Segment::of(parsed.tcp_flags) {
            Segment::Established => Reason::Established,
            Segment::SynAck => Reason::SynAck,
            Segment::Syn => attempt(parsed, Protocol::Tcp, Reason::NewFlow, tables, length),
            // A SYN with FIN or RST asks for a port as well, and is counted as the attempt it is.
            Segment::IllegalSyn => attempt(parsed, Protocol::Tcp, Reason::IllegalFlags, tables, length),
            Segment::Illegal => Reason::IllegalFlags,
        },
        Shape::Udp => {
            if tables.udp_connected(parsed) {
                Reason::UdpEstablished
            } else {
                attempt(parsed, Protocol::Udp, Reason::NewFlow, tables, length)
            }
        }
        Shape::Icmp if parsed.is_echo_request() => attempt(parsed, Protocol::Icmp, Reason::NewFlow, tables, length),
        Shape::Icmp => Reason::IcmpMessage,
        Shape::NotIp => Reason::NotIp,
        Shape::Malformed => Reason::Malformed,
        Shape::Fragment => Reason::Fragment,
        Shape::TinyFragment => Reason::TinyFragment,
        Shape::LongChain => Reason::LongChain,
        Shape::Other => Reason::OtherProtocol,
    }
}

/// What a TCP segment is by its flags alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Segment {
    Established,
    Syn,
    SynAck,
    IllegalSyn,
    Illegal,
}

impl Segment {
    #[inline(always)]
    const fn of(flags: u8) -> Self {
        use tcp_flags::{ACK, FIN, RST, SYN};
        match (flags & SYN != 0, flags & ACK != 0, flags & RST != 0, flags & FIN != 0) {
            (false, true, ..) | (false, false, true, false) => Self::Established,
            (false, ..) => Self::Illegal,
            (true, false, false, false) => Self::Syn,
            (true, true, false, false) => Self::SynAck,
            (true, false, ..) => Self::IllegalSyn,
            (true, true, ..) => Self::Illegal,
        }
    }
}

/// A connection attempt: counted for its source. Returns `reason`, or why it could not be counted.
///
/// A function of its own in the kernel, for its stack.
#[cfg_attr(target_arch = "bpf", inline(never))]
fn attempt<T: Tables>(parsed: &Parsed, protocol: Protocol, reason: Reason, tables: &T, length: u64) -> Reason {
    let Some(config) = tables.config() else {
        return reason;
    };
    let Some(source) = config.keys.source(parsed) else {
        return Reason::SpecialSource;
    };
    if tables.is_own(&parsed.source) {
        return Reason::SpecialSource;
    }
    let now_ns = tables.now_ns();
    let Some(record) = tables.source(&source, now_ns) else {
        return Reason::SourcesFull;
    };
    let class = match protocol {
        Protocol::Icmp => PortClass::Unknown,
        Protocol::Tcp | Protocol::Udp => match tables.port_class(protocol, parsed.destination_port) {
            PortClass::Unknown => PortClass::Unknown, // Whoever the destination is: spares the lookup.
            class if tables.is_own(&parsed.destination) => class,
            _ => PortClass::Unknown,
        },
    };
    tables.count(CounterIndex::attempt(class, protocol), length);
    record.count_attempt(now_ns);
    let bit = ContactBit::of(&config.contact_key, &parsed.destination, protocol, parsed.destination_port);
    if record.mark_contact(bit) {
        let outcome = outcome(class);
        tables.count(CounterIndex::contact(outcome), length);
        let event = Event {
            time_ns: now_ns,
            source,
            destination: parsed.destination,
            port: parsed.destination_port,
            kind: EventKind::Contact as u8,
            protocol: protocol as u8,
            class: class as u8,
            outcome: outcome as u8,
            tcp_flags: parsed.tcp_flags,
            reserved: 0,
        };
        if !tables.emit(&event) {
            tables.count(CounterIndex::loss(Loss::Events), 0);
        }
    }
    reason
}

#[inline(always)]
const fn outcome(class: PortClass) -> Outcome {
    match class {
        PortClass::Unknown => Outcome::Unknown,
        PortClass::Public => Outcome::Public,
        PortClass::Restricted => Outcome::Restricted,
        PortClass::Canary => Outcome::Canary,
        PortClass::Closed => Outcome::Closed,
    }
}

#[cfg(test)]
mod tests {
    use super::Segment;
    use crate::packet::tcp_flags::{ACK, FIN, PSH, RST, SYN, URG};

    #[test]
    fn flags_are_read_as_the_design_says() {
        let rows = [
            (SYN, Segment::Syn),
            (SYN | PSH, Segment::Syn),
            (SYN | 0xc0, Segment::Syn), // ECE and CWR of an ECN setup (RFC 3168)
            (SYN | ACK, Segment::SynAck),
            (ACK, Segment::Established),
            (ACK | PSH, Segment::Established),
            (FIN | ACK, Segment::Established),
            (RST, Segment::Established),
            (RST | ACK, Segment::Established),
            (0, Segment::Illegal),
            (FIN, Segment::Illegal),
            (PSH, Segment::Illegal),
            (URG, Segment::Illegal),
            (FIN | PSH | URG, Segment::Illegal),
            (FIN | RST, Segment::Illegal),
            (SYN | FIN, Segment::IllegalSyn),
            (SYN | RST, Segment::IllegalSyn),
            (SYN | FIN | ACK, Segment::Illegal),
            (SYN | RST | ACK, Segment::Illegal),
        ];
        for (flags, expected) in rows {
            assert_eq!(Segment::of(flags), expected, "{flags:#04x}");
        }
    }
}
