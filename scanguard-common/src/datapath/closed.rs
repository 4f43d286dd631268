//! Closed means verified: nothing listens there now, and nothing did lately.

use super::ask::tell;
use super::case::{Case, CaseRef};
use super::stage::Stage;
use crate::class::PortClass;
use crate::event::{Event, EventKind};
use crate::opened::Endpoint;
use crate::tables::{Socket, Stages, Tables};

/// What became of a port that userspace holds closed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u32)]
pub(super) enum Found {
    /// It is not closed for certain.
    NotClosed = 0,
    /// It is closed.
    Closed = 1,
    /// Something listens there of which userspace is to be told ([`tell_opened`]).
    Listening = 2,
}

/// Whether the port asked for is closed, see [`closed`].
#[inline(always)]
pub(super) fn is_closed<T: Stages>(case: &mut CaseRef<'_>, tables: &T) -> bool {
    let found = tables.stage(Stage::Closed, case);
    if found == Found::Listening as u32 {
        tell_opened(case, tables);
    }
    found == Found::Closed as u32
}

/// The same, inline.
#[inline(always)]
pub(super) fn is_closed_here<T: Stages>(case: &mut CaseRef<'_>, tables: &T) -> bool {
    let found = closed(case, tables);
    if found == Found::Listening {
        tell_opened(case, tables);
    }
    found == Found::Closed
}

/// Here and not where it was found, for the kernel part's stack.
#[cfg_attr(target_arch = "bpf", inline(never))]
fn tell_opened<T: Tables>(case: &Case, tables: &T) {
    // Of the class that userspace has.
    let class = tables.port(case.kind.protocol(), case.port).own();
    tell(|| Event { class: class as u8, ..case.event(EventKind::Opened) }, tables);
}

/// Whether the port asked for, which userspace holds closed, really is: no socket, whatever its state, and none seen in the
/// time that OPENED remembers [a service that restarts is not closed], nor an answer. A port that answered without a socket here is from then on
/// of the class that it has elsewhere.
#[inline(always)]
pub(super) fn closed<T: Stages>(case: &mut CaseRef<'_>, tables: &T) -> Found {
    let (protocol, now_ns) = (case.kind.protocol(), case.now_ns);
    if !case.class.should_be_closed() {
        return Found::NotClosed;
    }
    let endpoint = Endpoint::asked(&case.parsed, case.port, protocol);
    let memory_ns = tables.config().map_or(u64::MAX, |config| config.opened_ns);
    if let Some(seen_ns) = tables.opened(&endpoint)
        && now_ns.saturating_sub(seen_ns) < memory_ns
    {
        // Of an address, not of a port, nothing more is known than that it answers.
        let is_port = case.kind.has_port(&case.parsed);
        case.class = if is_port { tables.port(protocol, case.port).answering() } else { PortClass::Unknown };
        return Found::NotClosed;
    }
    if case.is_protected {
        return Found::Closed; // Its sockets are on another host: all that is known of them is what they answer.
    }
    let socket = if case.looked_up { case.socket } else { tables.socket(&case.parsed, protocol) };
    match socket {
        Socket::None => Found::Closed,
        Socket::Connected => Found::NotClosed,
        Socket::Listening => {
            tables.open(&endpoint, now_ns);
            // Userspace does not know it yet; what is not for customers is hidden from suspects from the first moment.
            case.class = tables.port(protocol, case.port).answering();
            Found::Listening
        }
    }
}
