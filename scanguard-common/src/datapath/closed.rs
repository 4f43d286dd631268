//! Closed means verified: nothing listens there now, and nothing did lately.

use super::ask::tell;
use super::case::Case;
use crate::class::PortClass;
use crate::event::EventKind;
use crate::opened::Endpoint;
use crate::tables::{Socket, Tables};

/// Whether the port asked for, which userspace holds closed, really is: no socket, whatever its state, and none seen in the
/// time that OPENED remembers [a service that restarts is not closed], nor an answer. A port that answered without a socket here is from then on
/// of the class that it has elsewhere.
#[inline(always)]
pub(super) fn is_closed<T: Tables>(case: &mut Case, tables: &T) -> bool {
    let (protocol, now_ns) = (case.kind.protocol(), case.now_ns);
    if !case.class.should_be_closed() {
        return false;
    }
    let endpoint = Endpoint::asked(&case.parsed, case.port, protocol);
    let memory_ns = tables.config().map_or(u64::MAX, |config| config.opened_ns);
    if let Some(seen_ns) = tables.opened(&endpoint)
        && now_ns.saturating_sub(seen_ns) < memory_ns
    {
        // Of an address, not of a port, nothing more is known than that it answers.
        let is_port = case.kind.has_port(&case.parsed);
        case.class = if is_port { tables.port(protocol, case.port).answering() } else { PortClass::Unknown };
        return false;
    }
    if case.is_protected {
        return true; // Its sockets are on another host: all that is known of them is what they answer.
    }
    let socket = if case.looked_up { case.socket } else { tables.socket(&case.parsed, protocol) };
    match socket {
        Socket::None => true,
        Socket::Connected => false,
        Socket::Listening => {
            tables.open(&endpoint, now_ns);
            tell(|| case.event(EventKind::Opened), tables);
            false
        }
    }
}
