//! `scanguard mode`, `scanguard confirm`.

use clap::{Args, ValueEnum};

use super::backend::{Backend, operate};
use super::output::{Output, print};
use super::span::Span;
use super::{Global, render};
use crate::api::{Confirm, ModeSet, ModeState, Nothing};
use crate::exit::{ExitStatus, Failure};

/// Show the mode, or change it
///
/// In mode observe packets are counted, and what enforcing would drop is counted, but nothing is dropped except what a person
/// blocked. In mode enforce scanguard's own decisions are carried out.
///
/// With --confirm enforcing ends by itself after that time, unless `scanguard confirm` comes before: whoever is locked out by it
/// gets in again. The kernel part keeps to it, whatever becomes of this terminal and of the daemon. A mode set by command holds
/// over restarts, until the configuration's `mode` is changed.
///
/// Before it enforces, `mode enforce` tells what enforcing would have done since the daemon's start, and to whom that had sessions
/// here (`would_have` with --json). It asks nothing.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard mode                         which it is
  sudo scanguard mode enforce --confirm 5m    try it; then log in anew, and from there:
  sudo scanguard confirm
  sudo scanguard mode observe                 drop nothing")]
pub(super) struct ModeVerb {
    /// The mode to be; `confirm` is the same as `scanguard confirm` [default: show it]
    #[arg(value_enum, value_name = "observe|enforce|confirm")]
    wanted: Option<Wanted>,
    /// End enforcing after this time, such as 5m, unless it is confirmed
    #[arg(long, value_name = "DURATION", requires = "wanted")]
    confirm: Option<Span>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Wanted {
    /// Count only
    Observe,
    /// Carry decisions out
    Enforce,
    /// Keep enforcing
    Confirm,
}

/// Keep enforcing: the answer to `mode enforce --confirm`
///
/// Best from a new login: it proves that you still get in. Exit code 1 if there is nothing to confirm, such as when the time is
/// over.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  sudo scanguard mode enforce --confirm 5m
  ssh server sudo scanguard confirm           from somewhere else, while there is time")]
pub(super) struct ConfirmVerb {}

impl ModeVerb {
    pub(super) fn execute(self, global: &Global, output: Output) -> Result<ExitStatus, Failure> {
        let Self { wanted, confirm } = self;
        let mode = match wanted {
            None => {
                output.show(&operate(global, Nothing::<ModeState>::default())?, render::mode)?;
                return Ok(ExitStatus::Done);
            }
            Some(Wanted::Observe | Wanted::Confirm) if confirm.is_some() => {
                let message = "--confirm goes with `mode enforce`: only enforcing can lock anybody out";
                return Err(Failure::message(ExitStatus::Usage, message));
            }
            Some(Wanted::Confirm) => return ConfirmVerb {}.execute(global, output),
            Some(Wanted::Observe) => "observe",
            Some(Wanted::Enforce) => "enforce",
        };
        let mut backend = Backend::new(global)?;
        let would_have = match wanted {
            // What would be told is no reason not to enforce.
            Some(Wanted::Enforce) => backend.status().ok().as_ref().and_then(render::Preview::of),
            _ => None,
        };
        if let Some(preview) = would_have.as_ref().filter(|_| !output.is_json()) {
            print(render::preview(preview, confirm.is_some()).as_bytes())?;
        }
        let state = backend.operate(ModeSet { mode: mode.to_owned(), confirm_s: confirm.map(Span::as_secs) })?;
        output.show(&render::ModeChanged { state, would_have }, render::mode_changed)?;
        Ok(ExitStatus::Done)
    }
}

impl ConfirmVerb {
    pub(super) fn execute(self, global: &Global, output: Output) -> Result<ExitStatus, Failure> {
        output.show(&operate(global, Confirm {})?, render::confirmed)?;
        Ok(ExitStatus::Done)
    }
}
