//! The events of the kernel part as a stream.

use aya::maps::{MapData, RingBuf};
use scanguard_common::event::Event;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::error::KernelError;
use super::maps::{EventBytes, from_bytes};

/// Events in the order in which CPUs committed them.
pub struct EventStream {
    ring: Ring,
}

enum Ring {
    /// Not yet registered with a runtime: loading needs none.
    Idle(Option<RingBuf<MapData>>),
    Polled(AsyncFd<RingBuf<MapData>>),
}

impl EventStream {
    pub(super) const fn new(ring: RingBuf<MapData>) -> Self {
        Self { ring: Ring::Idle(Some(ring)) }
    }

    /// Waits for the next event. Cancel safe: an event is taken only when it is returned.
    ///
    /// # Errors
    /// When the ring cannot be polled.
    pub async fn next(&mut self) -> Result<Event, KernelError> {
        let io_error = |source| KernelError::Io { what: "wait for events", source };
        if let Ring::Idle(ring) = &mut self.ring {
            let ring = ring.take().ok_or(KernelError::NoSuchPart("ring of events"))?;
            // SAFETY: the ring owns its descriptor and keeps the same one open until it is dropped.
            let polled = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }
                .map_err(|error| io_error(error.into()))?;
            self.ring = Ring::Polled(polled);
        }
        let Ring::Polled(ring) = &mut self.ring else { unreachable!("registered just above") };
        loop {
            if let Some(event) = take(ring.get_mut()) {
                return Ok(event);
            }
            let mut guard = ring.readable_mut().await.map_err(io_error)?;
            if let Some(event) = take(guard.get_inner_mut()) {
                return Ok(event);
            }
            // Only an empty ring clears readiness: the kernel wakes the poller once it was seen empty.
            guard.clear_ready();
        }
    }

    /// The next event if there is one now.
    pub fn try_next(&mut self) -> Option<Event> {
        match &mut self.ring {
            Ring::Idle(ring) => ring.as_mut().and_then(take),
            Ring::Polled(ring) => take(ring.get_mut()),
        }
    }
}

fn take(ring: &mut RingBuf<MapData>) -> Option<Event> {
    loop {
        let item = ring.next()?;
        // An entry of another size cannot come from this object; skipping it beats stopping.
        if let Some(bytes) = item.first_chunk::<{ size_of::<EventBytes>() }>() {
            return Some(from_bytes(bytes));
        }
    }
}
