//! Drains what the kernel part tells as it happens.

use std::net::IpAddr;

use scanguard_common::class::{PortClass, Protocol};
use scanguard_common::contact::Outcome;
use scanguard_common::event::{Event, EventKind};
use scanguard_common::source::KeyRules;
use tracing::{debug, error};

use crate::kernel::EventStream;

/// Events after which other tasks get their turn, however many more there are.
const TURN: u32 = 256;

/// Drains the stream until the task is dropped.
pub(super) async fn drain(mut events: EventStream, keys: KeyRules) {
    let mut in_turn = 0;
    loop {
        match events.next().await {
            Ok(event) => tell(&event, &keys),
            Err(error) => {
                // Counting goes on in the kernel; the events lost from now on are counted there too.
                error!(%error, "no more events can be read");
                return;
            }
        }
        in_turn += 1;
        if in_turn == TURN {
            in_turn = 0;
            tokio::task::yield_now().await;
        }
    }
}

fn tell(event: &Event, keys: &KeyRules) {
    match EventKind::from_u8(event.kind) {
        Some(EventKind::Contact) => debug!(
            source = %keys.display(event.source),
            destination = %IpAddr::from(event.destination),
            protocol = Protocol::from_u8(event.protocol).map_or("unknown", Protocol::label),
            port = event.port,
            class = PortClass::from_u8(event.class).label(),
            outcome = Outcome::from_u8(event.outcome).map_or("unknown", Outcome::label),
            "contact"
        ),
        None => debug!(kind = event.kind, "an event of a kind this version does not know"),
    }
}
