//! What is known of a source when a block is decided on, for the policy.

use std::time::SystemTime;

use ipnetwork::IpNetwork;
use scanguard_common::source::SourceKey;
use tracing::warn;

use super::desk::Desk;
use super::people::seconds;
use crate::kernel::clock;
use crate::policy::harm::CUSTOMER_DAYS;
use crate::policy::{BACKED_WITHIN, Facts};

impl Desk {
    /// What is known of a source, but for whether proxies are in front of this host, whether a session of it backs what others say
    /// ([`Self::is_backed`]), and which stacks its sessions show. What cannot be read counts in its favour.
    #[must_use]
    pub fn facts_of(&self, source: &SourceKey, shared: &[IpNetwork], now: SystemTime) -> Facts {
        let person = self.acquainted(source);
        Facts {
            allowed: self.spares(source),
            eligible: self.is_eligible(source),
            is_customer: self.is_customer(source, now),
            sessions: person.public.sessions.saturating_add(person.restricted.sessions),
            days: person.days_known(seconds(now)),
            shared: !self.sharing(source, shared).is_empty(),
            stacks: 0,
            unseen: false,
            fronted: false,
            denied: self.is_denied(source, now),
            backed: false,
            feed: self.feed_of(source),
        }
    }

    /// Whether a session shows that it is really at its address: one that goes on, that began lately, or that was work and ended lately. Both sides
    /// completed a handshake, on whatever open port, and this side's part of it left by a guarded interface; data is not asked for, since who is
    /// refused by sshd may have sent next to none.
    #[must_use]
    pub fn is_backed(&self, source: &SourceKey) -> bool {
        let lately_ns = u64::try_from(BACKED_WITHIN.as_nanos()).unwrap_or(u64::MAX);
        let since_ns = clock::monotonic_coarse_ns().saturating_sub(lately_ns);
        let is_lately = |ns: u64| ns > 0 && ns >= since_ns;
        let counted = match self.tables.readings().sessions_of(source) {
            Ok(counted) => counted,
            Err(error) => {
                warn!(%error, "the sessions of a source cannot be read: what others say of it counts as not backed");
                return false;
            }
        };
        if counted.is_some_and(|record| is_lately(record.there_ns)) {
            return true;
        }
        self.going_on(source, counted.as_ref()).is_ok_and(|going_on| going_on.any)
    }

    fn is_eligible(&self, source: &SourceKey) -> bool {
        let rules = self.tables.config().score;
        let record = self.tables.readings().source(source).unwrap_or_else(|error| {
            warn!(%error, "the score of a proven scanner cannot be read: it counts as low");
            None
        });
        record.is_some_and(|record| record.score_at(&rules, clock::monotonic_coarse_ns()) >= rules.cap)
    }

    /// Whether it had a session with data on a public port lately that began before its first probe: one that ended, by what is known of it, or
    /// one that goes on. Both count only if nothing was held against the source when they began.
    fn is_customer(&self, source: &SourceKey, now: SystemTime) -> bool {
        const DAY: u64 = 86_400;
        let worked = self.acquainted(source).public;
        if worked.sessions > 0 && worked.last.saturating_add(CUSTOMER_DAYS * DAY) >= seconds(now) {
            return true;
        }
        let counted = self.tables.readings().sessions_of(source);
        // Work that ended since it was last looked, or a session that goes on.
        let has_sessions = counted.and_then(|counted| {
            let ended = counted.is_some_and(|record| record.public.worked > 0);
            Ok(ended || self.going_on(source, counted.as_ref())?.customers)
        });
        has_sessions.unwrap_or_else(|error| {
            warn!(%error, "the sessions of a proven scanner cannot be read: it counts as a customer");
            true
        })
    }
}
