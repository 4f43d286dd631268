//! TCP connections of this host, as its sockets tell of them.

use super::ask::tell;
use crate::address::Address;
use crate::class::{PortClass, Protocol};
use crate::contact::{ContactKind, Outcome};
use crate::event::{Event, EventKind};
use crate::session::{END_OF_STREAM, LiveSession, SYN_ACK_NS, SynAck, login_time_ns};
use crate::source::SourceKey;
use crate::tables::Tables;

/// A connection that somebody opened to a socket of this host, or of a namespace on it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Connection {
    /// What the kernel calls the socket (`bpf_get_socket_cookie`).
    pub cookie: u64,
    /// The other side.
    pub remote: Address,
    /// This side.
    pub local: Address,
    /// IP version: 4 or 6.
    pub version: u8,
    /// The port of this side, host order.
    pub port: u16,
    /// The port of the other side, host order.
    pub remote_port: u16,
    /// The sequence number of this side's SYN-ACK, host order.
    pub sequence: u32,
}

/// Both sides completed the handshake.
#[inline(always)]
pub fn begin<T: Tables>(connection: &Connection, tables: &T) {
    let Some(config) = tables.config() else { return };
    let Some(source) = config.keys.source_of(connection.remote, connection.version) else { return };
    if tables.is_own(&connection.remote) {
        return; // A proxy of our own: whoever is behind it, it is not this address.
    }
    let now_ns = tables.now_ns();
    let arrived = has_arrived(connection, source, now_ns, tables);
    // Where all that leaves is seen, nobody came whose answer did not: it is somebody on this host, or he came another way.
    if !arrived && config.egress_since_ns.saturating_add(SYN_ACK_NS) <= now_ns {
        return;
    }
    let record = tables.source(&source);
    let suspect = match record {
        Some(record) => record.is_suspect(now_ns),
        // Washed out, and not put back if new sources come too fast.
        None => tables.backup(&source, |backup| backup.suspect_until_ns > now_ns).unwrap_or(false),
    };
    let restricted = is_restricted(connection.port, tables);
    // Who came by no guarded interface has no record: then it is a translator between the two that we see. Nor has, in a flood, somebody who asked for
    // nothing but public ports.
    let clean = match record {
        Some(record) => !suspect && record.score() <= config.score.step,
        None => !suspect && tables.state().is_some_and(|state| state.has_unrecorded(now_ns)),
    };
    let clean = clean || (restricted && is_known(&source, now_ns, tables));
    // In doubt he may be a customer; known by it, or backed, is nobody.
    let clean = clean && (arrived || !restricted);
    let live = LiveSession {
        source,
        since_ns: now_ns,
        restricted: u32::from(restricted),
        clean: u32::from(clean),
        arrived: u32::from(arrived),
        reserved: 0,
    };
    if !tables.begin_session(connection.cookie, &live) {
        return;
    }
    if let Some(sessions) = tables.sessions(&source).or_else(|| tables.new_sessions(&source)) {
        sessions.begin(restricted, now_ns);
        if arrived {
            sessions.is_there(now_ns);
        }
    }
    if suspect || restricted {
        tell_session(EventKind::Session, connection, &live, now_ns, [0; 2], tables);
    }
}

/// Whether the SYN-ACK of a connection left by a guarded interface, from the connection's own socket where that is told.
#[inline(always)]
fn has_arrived<T: Tables>(connection: &Connection, source: SourceKey, now_ns: u64, tables: &T) -> bool {
    let left = tables.take_syn_ack(&SynAck::new(source, connection.remote_port, connection.sequence));
    let is_its_own = left.cookie == 0 || left.cookie == connection.cookie;
    left.time_ns != 0 && now_ns.saturating_sub(left.time_ns) < SYN_ACK_NS && is_its_own
}

/// One side ended its half of an established connection, or the connection is no more: what counts of a session that is longer than the time
/// for a login is counted now. (The socket may live on: a client that takes nothing keeps one for minutes that its service closed long ago.)
/// Bytes are as in [`end`].
#[inline(always)]
pub fn half_close<T: Tables>(connection: &Connection, bytes_in: u64, bytes_out: u64, tables: &T) {
    let Some(login_ns) = login_time_ns(connection.port) else { return };
    let Some(live) = tables.live_session(connection.cookie) else { return };
    let now_ns = tables.now_ns();
    let is_held = live.clean != 0
        && live.restricted != 0
        && bytes_in > END_OF_STREAM
        && bytes_out > END_OF_STREAM
        && now_ns.saturating_sub(live.since_ns) > login_ns;
    if is_held && let Some(sessions) = tables.sessions(&live.source) {
        sessions.hold(now_ns);
    }
}

/// The connection is no more. Bytes are those received, and those that the other side acknowledged.
#[inline(always)]
pub fn end<T: Tables>(connection: &Connection, bytes_in: u64, bytes_out: u64, tables: &T) {
    let Some(live) = tables.end_session(connection.cookie) else { return };
    let Some(config) = tables.config() else { return };
    let now_ns = tables.now_ns();
    let restricted = live.restricted != 0;
    let worked = live.clean != 0 && bytes_in > END_OF_STREAM && bytes_out > END_OF_STREAM;
    let record = tables.source(&live.source);
    if let Some(sessions) = tables.sessions(&live.source) {
        sessions.end(restricted, bytes_in, bytes_out);
        if worked {
            sessions.work(restricted, now_ns);
            if live.arrived != 0 {
                sessions.is_there(now_ns);
            }
        }
        if worked
            && !restricted
            && let Some(record) = record
            && record.score() > 0
            && record.is_of(&live.source)
            && sessions.take_credit(now_ns)
        {
            record.lower(config.score.step);
        }
    }
    if restricted || record.is_some_and(|record| record.is_suspect(now_ns)) {
        tell_session(EventKind::SessionEnd, connection, &live, now_ns, [bytes_in, bytes_out], tables);
    }
}

/// Whether a port is not for customers: by its class here, or, in a container, by what it is elsewhere.
#[inline(always)]
fn is_restricted<T: Tables>(port: u16, tables: &T) -> bool {
    let entry = tables.port(Protocol::Tcp, port);
    match entry.own() {
        PortClass::Restricted => true,
        PortClass::Public => false,
        PortClass::Unknown | PortClass::Canary | PortClass::Closed => entry.answering() == PortClass::Restricted,
    }
}

#[inline(always)]
fn is_known<T: Tables>(source: &SourceKey, now_ns: u64, tables: &T) -> bool {
    tables.config().is_some_and(|config| config.census.known != 0)
        && tables.known(source).is_some_and(|known| known.restricted_until_ns > now_ns)
}

#[inline(always)]
fn tell_session<T: Tables>(
    kind: EventKind,
    connection: &Connection,
    live: &LiveSession,
    now_ns: u64,
    [bytes_in, bytes_out]: [u64; 2],
    tables: &T,
) {
    let class = if live.restricted != 0 { PortClass::Restricted } else { PortClass::Public };
    let event = || Event {
        time_ns: now_ns,
        source: live.source,
        destination: connection.local,
        port: connection.port,
        kind: kind as u8,
        asked: ContactKind::Tcp as u8,
        class: class as u8,
        outcome: Outcome::Unknown as u8,
        tcp_flags: 0,
        answer: 0,
        score: 0,
        points: 0,
        bytes_in,
        bytes_out,
    };
    tell(event, tables);
}
