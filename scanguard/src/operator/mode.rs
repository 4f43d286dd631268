//! The mode, and enforcing that must be confirmed.

use std::time::SystemTime;

use scanguard_common::config::KernelConfig;
use scanguard_common::reason::Mode;
use tracing::{info, warn};

use super::desk::{Desk, after, end_ns};
use super::error::OperatorError;
use crate::api::{ModeSet, ModeState, SCHEMA_VERSION, timestamp};
use crate::kernel::{NEVER_NS, clock};

/// The mode in force, and what becomes of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct ModeNow {
    pub(super) mode: Mode,
    /// What the configuration says.
    pub(super) configured: Mode,
    /// When enforcing ends unless it is confirmed. The kernel part keeps to it by itself.
    pub(super) reverts: Option<SystemTime>,
}

impl ModeNow {
    /// What the kernel part does now, of which `kept` knows more where they agree.
    pub(super) fn of_kernel(config: &KernelConfig, kept: Self, now: SystemTime) -> Self {
        let mode = config.mode_at(clock::monotonic_coarse_ns);
        if mode == kept.mode {
            return kept;
        }
        let ends = (config.enforce_until_ns != NEVER_NS).then(|| clock::monotonic_to_system(config.enforce_until_ns));
        Self { mode, configured: kept.configured, reverts: ends.filter(|ends| mode == Mode::Enforce && *ends > now) }
    }
}

impl Desk {
    /// The mode in force.
    #[must_use]
    pub fn mode(&self) -> ModeState {
        self.mode_state(self.mode.mode)
    }

    fn mode_state(&self, was: Mode) -> ModeState {
        let ModeNow { mode, configured, reverts } = self.mode;
        ModeState {
            schema_version: SCHEMA_VERSION,
            mode: mode.label().to_owned(),
            was: was.label().to_owned(),
            reverts_at: reverts.map(timestamp),
            configured: (configured != mode).then(|| configured.label().to_owned()),
        }
    }

    /// Changes the mode; in force in the kernel when this returns.
    ///
    /// # Errors
    /// When there is no such mode, or observing is to be confirmed.
    pub fn set_mode(&mut self, wanted: &ModeSet, now: SystemTime) -> Result<ModeState, OperatorError> {
        let ModeSet { mode: name, confirm_s } = wanted;
        let Some(mode) = Mode::ALL.into_iter().find(|mode| mode.label() == name) else {
            return Err(OperatorError::Usage(format!("there is no mode {name:?}: it is observe or enforce")));
        };
        if mode == Mode::Observe && confirm_s.is_some() {
            return Err(OperatorError::Usage("observing drops nothing: there is nothing to confirm".to_owned()));
        }
        let was = self.mode.mode;
        self.change_mode(mode, after(now, *confirm_s))?;
        Ok(self.mode_state(was))
    }

    /// Enforcing goes on.
    ///
    /// # Errors
    /// When there is nothing to confirm.
    pub fn confirm(&mut self, now: SystemTime) -> Result<ModeState, OperatorError> {
        self.expire(now)?;
        if self.mode.reverts.is_none() {
            return Err(OperatorError::NotFound(format!(
                "there is nothing to confirm: the mode is {}. `scanguard mode enforce --confirm 5m` enforces for a while",
                self.mode.mode.label()
            )));
        }
        self.change_mode(Mode::Enforce, None)?;
        Ok(self.mode_state(Mode::Enforce))
    }

    /// Goes back to observing when enforcing was not confirmed in time. The kernel part did already.
    pub(super) fn revert(&mut self, now: SystemTime) -> Result<(), OperatorError> {
        if self.mode.reverts.is_some_and(|reverts| reverts <= now) {
            warn!("enforcing was not confirmed in time: the mode is observe");
            self.change_mode(Mode::Observe, None)?;
        }
        Ok(())
    }

    fn change_mode(&mut self, mode: Mode, reverts: Option<SystemTime>) -> Result<(), OperatorError> {
        let config = *self.tables.config();
        let enforce_until_ns = if mode == Mode::Enforce { end_ns(&self.clock, reverts) } else { NEVER_NS };
        self.tables.set_config(&KernelConfig { mode: mode as u32, enforce_until_ns, ..config })?;
        self.mode = ModeNow { mode, reverts, ..self.mode };
        self.keep_mode();
        info!(mode = mode.label(), reverts = reverts.map(timestamp), "the mode was set");
        Ok(())
    }
}
