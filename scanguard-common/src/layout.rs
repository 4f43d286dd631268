//! The version of everything that lies in maps.
//!
//! Maps outlive the daemon that made them where they are pinned, and a pinned map is used again without a word about what its bytes
//! mean. So the version is part of the path of the pins, and rises with every change of a struct, a number or a capacity below.

/// The version.
pub const LAYOUT: u32 = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::challenge::{ChallengeRecord, Nic, Pass};
    use crate::class::PORT_ENTRIES;
    use crate::config::KernelConfig;
    use crate::counter::{COUNTER_ENTRIES, Counter};
    use crate::event::Event;
    use crate::flow::{Flow, SentKey};
    use crate::opened::{Asked, Endpoint, Question};
    use crate::record::{Backup, SourceRecord};
    use crate::session::{LiveSession, SessionRecord, SynAck, SynAckLeft};
    use crate::sieve::SIEVE_WORDS;
    use crate::storm::State;
    use crate::verdict::{Allowance, Census, Known, Verdict};

    /// A change of any number here is a new layout: raise [`LAYOUT`] with it. (A change of meaning without one is a new layout as
    /// well, and no test tells.)
    #[test]
    fn what_lies_in_maps_is_that_of_this_version() {
        let sizes = [
            size_of::<KernelConfig>(),
            size_of::<Census>(),
            size_of::<Counter>(),
            size_of::<Event>(),
            size_of::<Endpoint>(),
            size_of::<SourceRecord>(),
            size_of::<Backup>(),
            size_of::<State>(),
            size_of::<Verdict>(),
            size_of::<Known>(),
            size_of::<Allowance>(),
            size_of::<Question>(),
            size_of::<Asked>(),
            size_of::<Flow>(),
            size_of::<SentKey>(),
            size_of::<SessionRecord>(),
            size_of::<LiveSession>(),
            size_of::<SynAck>(),
            size_of::<SynAckLeft>(),
            size_of::<ChallengeRecord>(),
            size_of::<Pass>(),
            size_of::<Nic>(),
            PORT_ENTRIES as usize,
            SIEVE_WORDS as usize,
            COUNTER_ENTRIES as usize,
        ];
        assert_eq!(
            (LAYOUT, sizes),
            (
                8,
                [
                    400, 40, 16, 72, 24, 160, 48, 80, 16, 8, 8, 40, 16, 40, 24, 160, 40, 24, 16, 80, 16, 8, 131_072,
                    16_384, 485
                ]
            )
        );
    }
}
