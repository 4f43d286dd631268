//! Stages of the datapath, each of which the kernel's verifier checks by itself.
//!
//! It follows every path through a program with every value that a register may have, functions it calls included; only what
//! global functions do, which take nothing but the context and numbers, it checks once each. So the kernel part runs each of these as
//! a global function; elsewhere they are ordinary calls. What goes in and out lies in the [`Case`](super::Case).

use super::case::CaseRef;
use super::{ask, challenge, closed, decide, judge, leave, suspicion};
use crate::tables::Stages;

/// A stage of the datapath.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// From a packet that was read to what is to be done with it, as far as verdicts decide.
    Judge,
    /// From there on: the source's record, and what it says.
    Meet,
    /// From a SYN that is a first contact.
    First,
    /// Whether the port asked for is closed for certain.
    Closed,
    /// What a new contact says of its source.
    Contact,
    /// Makes a suspect of the source.
    Accuse,
    /// What it says of the source's network.
    Network,
    /// Hides a port from a suspect.
    Hide,
    /// Whether the source's network is a suspect.
    SuspectNetwork,
    /// The verdict on the prefix that the sender is of.
    Prefix,
    /// Whether a packet that asks for nothing is of a source that is blocked.
    Settle,
    /// Drops what is dropped whoever sends it.
    Refuse,
    /// Whether a packet that is cut short comes from a source that is blocked or a suspect.
    Malformed,
    /// Whether something that leaves is kept from the one it goes to.
    Withhold,
    /// What a frame that leaves tells.
    Answer,
    /// Challenges a SYN to a hidden port.
    Challenge,
    /// Looks whether an ACK completes a decoy.
    Complete,
    /// Looks whether a reset meets a challenge.
    Retry,
}

impl Stage {
    /// Runs the stage. What the number means is the stage's own business.
    #[inline(always)]
    pub fn run<T: Stages>(self, case: &mut CaseRef<'_>, tables: &T) -> u32 {
        match self {
            Self::Judge => decide(judge(case, tables), case, tables).number(),
            Self::Meet => decide(ask::meet(case, tables), case, tables).number(),
            Self::First => decide(ask::first(case, tables), case, tables).number(),
            Self::Closed => closed::closed(case, tables) as u32,
            Self::Contact => suspicion::contact(case, tables).into(),
            Self::Accuse => suspicion::accuse(case, tables).into(),
            Self::Settle => ask::settle_by_verdicts(case, tables).number(),
            Self::Refuse => ask::refuse(case, tables).number(),
            Self::Malformed => ask::malformed(case, tables).number(),
            Self::Withhold => leave::withhold(case, tables),
            Self::Network => {
                suspicion::accuse_network(case, tables);
                0
            }
            Self::Hide => suspicion::hide(case, tables).number(),
            Self::SuspectNetwork => suspicion::is_in_suspect_network(case, tables).into(),
            Self::Prefix => ask::prefix_rule(case, tables).number(),
            Self::Answer => leave::answer(case, tables).into(),
            Self::Challenge => challenge::challenge(case, tables).number(),
            Self::Complete => challenge::complete(case, tables).number(),
            Self::Retry => {
                challenge::retry(case, tables);
                0 // What becomes of the packet is known.
            }
        }
    }
}
