//! TCP connections of a capture: what sockets would tell of them.
//!
//! Only the segments that open and close a connection are looked at; how much was said in between, their sequence numbers tell, modulo
//! 4 GiB. So what is in between costs next to nothing, and captures that were cut lose nothing by it.

use foldhash::{HashMap, HashMapExt as _};
use scanguard_common::class::Protocol;
use scanguard_common::datapath::connection::Connection;
use scanguard_common::flow::Flow;
use scanguard_common::packet::{Parsed, tcp_flags};

/// Connections that are followed at most; of each kind those that are oldest are forgotten.
const MOST: usize = 1 << 16;

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Change {
    /// Both sides completed it.
    Begun(Connection),
    /// It ended, with so many bytes in and out.
    Ended(Connection, u64, u64),
}

/// What goes in, and what goes out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Ways<T> {
    inwards: T,
    outwards: T,
}

#[derive(Clone, Copy)]
struct Live {
    connection: Connection,
    /// The sequence numbers of the first byte.
    first: Ways<u32>,
    /// Bytes that were sent before a FIN.
    closed: Ways<Option<u32>>,
}

/// Connections whose handshake was seen.
pub(super) struct Sessions {
    /// Answered, but not by the third segment of the handshake.
    half_open: HashMap<Flow, Live>,
    open: HashMap<Flow, Live>,
    cookies: u64,
}

impl Sessions {
    pub(super) fn new() -> Self {
        Self { half_open: HashMap::new(), open: HashMap::new(), cookies: 0 }
    }

    /// Takes note of a TCP segment that arrives at, or leaves, what is guarded. `forget` hears which connections are followed no longer.
    pub(super) fn see(
        &mut self,
        parsed: &Parsed,
        frame: &[u8],
        (arrives, leaves): (bool, bool),
        forget: impl FnMut(u64),
    ) -> Option<Change> {
        use tcp_flags::{ACK, FIN, RST, SYN};
        match parsed.tcp_flags & (SYN | ACK | RST | FIN) {
            flags if flags == SYN | ACK && leaves => {
                self.answer(parsed, frame, forget);
                None
            }
            flags if flags & SYN != 0 => None,
            flags if flags & (RST | FIN) != 0 => self.close(parsed, frame, (arrives, leaves)),
            ACK if arrives && !self.half_open.is_empty() => {
                let flow = Flow::of(parsed, Protocol::Tcp);
                let live = self.half_open.remove(&flow)?;
                self.open.insert(flow, live);
                Some(Change::Begun(live.connection))
            }
            _ => None,
        }
    }

    /// A SYN-ACK leaves.
    fn answer(&mut self, parsed: &Parsed, frame: &[u8], mut forget: impl FnMut(u64)) {
        let flow = Flow::of(&turned(parsed), Protocol::Tcp);
        let (sequence, acknowledged) = numbers(parsed, frame);
        let first = Ways { inwards: acknowledged, outwards: sequence.wrapping_add(1) };
        if self.open.get(&flow).is_some_and(|live| live.first == first) {
            return; // Sent again.
        }
        if let Some(former) = self.open.remove(&flow) {
            forget(former.connection.cookie);
        }
        make_room(&mut self.half_open, |_| {});
        make_room(&mut self.open, forget);
        self.cookies += 1;
        let connection = Connection {
            cookie: self.cookies,
            remote: parsed.destination,
            local: parsed.source,
            version: parsed.version,
            port: parsed.source_port,
            remote_port: parsed.destination_port,
            sequence,
        };
        self.half_open.insert(flow, Live { connection, first, closed: Ways { inwards: None, outwards: None } });
    }

    /// A segment with FIN or RST.
    fn close(&mut self, parsed: &Parsed, frame: &[u8], (arrives, leaves): (bool, bool)) -> Option<Change> {
        use tcp_flags::{ACK, RST};
        let (to, from) = (Flow::of(parsed, Protocol::Tcp), Flow::of(&turned(parsed), Protocol::Tcp));
        let is_reset = parsed.tcp_flags & RST != 0;
        if is_reset {
            self.half_open.remove(&to);
            self.half_open.remove(&from);
        }
        let is_in = arrives && self.open.contains_key(&to);
        let flow = if is_in { to } else { from };
        if !is_in && !leaves {
            return None;
        }
        let live = self.open.get_mut(&flow)?;
        let (sequence, acknowledged) = numbers(parsed, frame);
        let (mine, others) = if is_in {
            (&mut live.closed.inwards, &mut live.closed.outwards)
        } else {
            (&mut live.closed.outwards, &mut live.closed.inwards)
        };
        let (my_first, others_first) =
            if is_in { (live.first.inwards, live.first.outwards) } else { (live.first.outwards, live.first.inwards) };
        if mine.is_none() {
            let data = if is_reset { 0 } else { payload(parsed, frame) };
            *mine = Some(sequence.wrapping_sub(my_first).wrapping_add(data));
        }
        if is_reset {
            if others.is_none() && parsed.tcp_flags & ACK != 0 {
                *others = Some(acknowledged.wrapping_sub(others_first));
            }
        } else if others.is_none() {
            return None;
        }
        let Live { connection, closed, .. } = *live;
        self.open.remove(&flow);
        // A number out of any window is no count of bytes: who made it up gets no credit for it.
        let bytes = |count: Option<u32>| count.filter(|count| count.leading_zeros() > 0).map_or(0, u64::from);
        Some(Change::Ended(connection, bytes(closed.inwards), bytes(closed.outwards)))
    }
}

/// Forgets the older half of what is full.
fn make_room(connections: &mut HashMap<Flow, Live>, mut forget: impl FnMut(u64)) {
    if connections.len() < MOST {
        return;
    }
    let mut cookies: Vec<u64> = connections.values().map(|live| live.connection.cookie).collect();
    let middle = cookies.len() / 2;
    let oldest_kept = *cookies.select_nth_unstable(middle).1;
    connections.retain(|_, live| {
        let is_kept = live.connection.cookie >= oldest_kept;
        if !is_kept {
            forget(live.connection.cookie);
        }
        is_kept
    });
}

fn turned(parsed: &Parsed) -> Parsed {
    Parsed {
        source: parsed.destination,
        destination: parsed.source,
        source_port: parsed.destination_port,
        destination_port: parsed.source_port,
        ..*parsed
    }
}

fn be16(frame: &[u8], at: usize) -> u32 {
    frame.get(at..at + 2).map_or(0, |bytes| u32::from(bytes[0]) << 8 | u32::from(bytes[1]))
}

/// The sequence number and the acknowledgement number of a TCP segment.
fn numbers(parsed: &Parsed, frame: &[u8]) -> (u32, u32) {
    let at = usize::from(parsed.transport_offset);
    let be32 = |at: usize| be16(frame, at) << 16 | be16(frame, at + 2);
    (be32(at + 4), be32(at + 8))
}

/// Bytes of data in a TCP segment, as its headers have it: captures are often cut.
fn payload(parsed: &Parsed, frame: &[u8]) -> u32 {
    const ETHERNET: usize = 14;
    const TAG: usize = 4;
    const IP6: u32 = 40;
    let network = ETHERNET + TAG * usize::from(parsed.vlan_tags);
    let transport = usize::from(parsed.transport_offset);
    let total = if parsed.version == 4 { be16(frame, network + 2) } else { be16(frame, network + 4) + IP6 };
    let header = frame.get(transport + 12).map_or(0, |byte| u32::from(byte >> 4) * 4);
    total.saturating_sub(transport.saturating_sub(network) as u32 + header)
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;
    use scanguard_common::host::Frame;
    use scanguard_common::packet::parse;

    use super::*;

    type Segment = etherparse::PacketBuilderStep<etherparse::TcpHeader>;

    fn follow(
        sessions: &mut Sessions,
        inwards: bool,
        seq: u32,
        flags: impl Fn(Segment) -> Segment,
        data: &[u8],
    ) -> Option<Change> {
        let (client, server) = (([198, 51, 100, 7], 40_000), ([192, 0, 2, 1], 22));
        let (from, to) = if inwards { (client, server) } else { (server, client) };
        let builder = PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(from.0, to.0, 64).tcp(from.1, to.1, seq, 64_000);
        let mut bytes = Vec::new();
        flags(builder).write(&mut bytes, data).expect("a frame");
        let parsed = parse(&Frame(&bytes));
        sessions.see(&parsed, &bytes, (inwards, !inwards), |_| {})
    }

    fn shake_hands(sessions: &mut Sessions) {
        assert_eq!(follow(sessions, true, 999, |to| to.syn(), &[]), None);
        assert_eq!(follow(sessions, false, 4_999, |to| to.syn().ack(1_000), &[]), None);
        let begun = follow(sessions, true, 1_000, |to| to.ack(5_000), &[]);
        assert!(matches!(begun, Some(Change::Begun(connection)) if connection.port == 22), "{begun:?}");
        assert_eq!(follow(sessions, true, 1_000, |to| to.ack(5_000), b"hello"), None, "it began once");
    }

    fn bytes(change: Option<Change>) -> (u64, u64) {
        match change {
            Some(Change::Ended(_, bytes_in, bytes_out)) => (bytes_in, bytes_out),
            other => panic!("{other:?} is no end"),
        }
    }

    #[test]
    fn a_session_is_as_long_as_its_sequence_numbers_tell() {
        let mut sessions = Sessions::new();
        shake_hands(&mut sessions);
        assert_eq!(follow(&mut sessions, true, 1_005, |to| to.fin().ack(5_100), &[1; 5]), None);
        assert_eq!(bytes(follow(&mut sessions, false, 5_100, |to| to.fin().ack(1_011), &[])), (10, 100));
        assert_eq!(follow(&mut sessions, true, 1_011, |to| to.rst(), &[]), None, "it is over");
    }

    #[test]
    fn a_reset_ends_it_with_what_was_acknowledged() {
        let mut sessions = Sessions::new();
        shake_hands(&mut sessions);
        assert_eq!(bytes(follow(&mut sessions, true, 1_005, |to| to.rst().ack(5_100), &[])), (5, 100));
        shake_hands(&mut sessions);
        assert_eq!(bytes(follow(&mut sessions, true, 1_000, |to| to.rst(), &[])), (0, 0), "a scanner that hangs up");
        shake_hands(&mut sessions);
        assert_eq!(bytes(follow(&mut sessions, true, 4_000_000_000, |to| to.rst().ack(3), &[])), (0, 0), "made up");
    }

    #[test]
    fn half_a_handshake_is_no_session() {
        let mut sessions = Sessions::new();
        follow(&mut sessions, false, 4_999, |to| to.syn().ack(1_000), &[]);
        assert_eq!(follow(&mut sessions, true, 1_000, |to| to.rst(), &[]), None);
        assert_eq!(follow(&mut sessions, true, 1_000, |to| to.ack(5_000), &[]), None);
    }
}
