//! What ends by itself. The kernel part keeps to every end without being told; this clears up behind it.

use std::time::SystemTime;

use tracing::warn;

use super::desk::Desk;
use super::error::OperatorError;
use crate::api::timestamp;
use crate::kernel::clock::{self, ClockStep, WallClock};
use crate::prefix_map::Prefix;

impl Desk {
    /// Clears up what is over. Returns the blocks that have ended, as people write them.
    ///
    /// # Errors
    /// When the kernel part cannot be written.
    pub fn expire(&mut self, now: SystemTime) -> Result<Vec<String>, OperatorError> {
        self.follow_clock(now);
        self.revert(now)?;
        self.expire_lockdown(now)?;
        self.expire_allow(now)?;
        let ended = self.expire_blocks(now)?;
        self.expire_questions(now);
        self.expire_known(now);
        Ok(ended)
    }

    /// Sees whether the wall clock was set anew. Then every end moves with it, here and in the file of state: the
    /// kernel part, whose clock nobody sets, goes on with what was left. Without that what is to last an hour would end
    /// at once, or last for as long as the clock was set back.
    pub(super) fn follow_clock(&mut self, now: SystemTime) {
        let Some(step) = self.clock.follow(WallClock::at(now, clock::monotonic_ns())) else { return };
        let (direction, by) = match step {
            ClockStep::Ahead(by) => ("ahead", by),
            ClockStep::Back(by) => ("back", by),
        };
        warn!(
            direction,
            seconds = by.as_secs(),
            now = timestamp(now),
            "the wall clock was set: allowlist entries, blocks, a lockdown, questions and what operators said of known sources keep \
             the time that was left of them"
        );
        let shift = |time: &mut SystemTime| *time = step.shifted(*time);
        let allowed: Vec<Prefix> = self.allow.iter().map(|(prefix, _)| *prefix).collect();
        for prefix in &allowed {
            let Some(entry) = self.allow.get_mut(prefix) else { continue };
            entry.operator.iter_mut().filter_map(|entry| entry.expires.as_mut()).for_each(shift);
            entry.lease.iter_mut().map(|(until, _)| until).for_each(shift);
        }
        let blocked: Vec<Prefix> = self.blocks.iter().map(|(prefix, _)| *prefix).collect();
        for prefix in &blocked {
            let Some(block) = self.blocks.get_mut(prefix) else { continue };
            block.expires.iter_mut().for_each(shift);
            // How long it lasts in all is what the policy reads of both after a restart.
            block.since = step.shifted(block.since);
        }
        self.mode.reverts.iter_mut().for_each(shift);
        self.shift_lockdown(step);
        self.shift_questions(step);
        self.shift_known(step);
        self.write_all();
    }
}
