//! Parts of the way that the kernel's verifier checks by themselves.
//!
//! It follows every path through a program with every value that a register may have, functions it calls included; only what
//! global functions do, which take nothing but the context and numbers, it checks once each. So the kernel part runs each of these as
//! a global function; elsewhere they are ordinary calls. What goes in and out lies in the [`Case`].

use super::case::Case;
use super::{ask, challenge, closed, judge, leave, suspicion};
use crate::tables::Tables;

/// A part of the way.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// From a packet that was read to what is to be done with it.
    Judge,
    /// From a SYN of a source that has no record.
    Meet,
    /// From a SYN that is a first contact.
    First,
    /// Whether the port asked for is closed for certain.
    Closed,
    /// What a new contact says of its source.
    Contact,
    /// What it says of the source's network.
    Network,
    /// Hides a port from a suspect.
    Hide,
    /// Whether the source's network is a suspect.
    SuspectNetwork,
    /// The verdict on the prefix that the sender is of.
    Prefix,
    /// What a frame that leaves tells.
    Answer,
    /// Challenges a SYN to a hidden port.
    Challenge,
    /// Looks whether an ACK completes a decoy.
    Complete,
    /// Looks whether a reset meets a challenge.
    Retry,
}

impl Part {
    /// Runs the part. What the number means is the part's own business.
    #[inline(always)]
    pub fn run<T: Tables>(self, case: &mut Case, tables: &T) -> u32 {
        match self {
            Self::Judge => judge(case, tables).number(),
            Self::Meet => ask::meet(case, tables).number(),
            Self::First => ask::first(case, tables).number(),
            Self::Closed => closed::is_closed(case, tables).into(),
            Self::Contact => suspicion::contact(case, tables).into(),
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
                0
            }
        }
    }
}
