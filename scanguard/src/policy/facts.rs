//! What is known of the source of an event besides what the policy itself remembers.

use std::time::Duration;

use crate::config::AutoLevel;

/// Facts about one source at one moment. Whoever calls the policy reads them; they are part of what a run's record must have, so that the same
/// events give the same verdicts again.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub struct Facts {
    /// The allowlist covers it, in whole or in part.
    pub allowed: bool,
    /// Its score is block-eligible now.
    pub eligible: bool,
    /// It had a session with data on a public port in the last [`super::harm::CUSTOMER_DAYS`] days that began before its first probe.
    pub is_customer: bool,
    /// Sessions with data that began while nothing was held against it, in the last 90 days.
    pub sessions: u64,
    /// Days of the last 90 on which there were such.
    pub days: u32,
    /// The configuration, or a feed that it names, says that many people share the addresses of its network.
    pub shared: bool,
    /// Distinct TCP stacks that its sessions showed at one time lately; 0 where it had none, or none was looked at.
    pub stacks: u32,
    /// Its sessions could not be looked at, or not in time: who else is behind it is not known, and counts as
    /// several people.
    pub unseen: bool,
    /// Most sessions of this host come from few sources: what is seen are proxies in front of it, not those behind them.
    pub fronted: bool,
    /// A person has said that it is not to be blocked, lately.
    pub denied: bool,
    /// It has a session, or had one in the last [`BACKED_WITHIN`]: both sides completed a handshake, so that it is really at its address.
    pub backed: bool,
    /// How far the strongest of the operator's feeds that name it may go.
    pub feed: Option<AutoLevel>,
}

/// A session this long ago still shows that whoever a signal is about is really at its address.
pub const BACKED_WITHIN: Duration = Duration::from_secs(600);
