//! The datapath over ordinary memory, for replay and tests.

mod memory;

pub use memory::MemoryTables;

use crate::packet::Packet;

/// A frame in a byte slice.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a>(pub &'a [u8]);

impl Packet for Frame<'_> {
    fn view<const N: usize>(&self, offset: usize) -> Option<&[u8; N]> {
        self.0.get(offset..)?.first_chunk()
    }

    fn len(&self) -> usize {
        self.0.len()
    }
}
