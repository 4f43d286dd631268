//! Holds the kernel's tables to what they were told: whatever somebody else alters in them (`bpftool`, a bug) is put right within
//! [`EVERY`] and a moment.

use std::time::Duration;

use tokio::task::{JoinHandle, block_in_place, spawn_blocking};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::warn;

use super::live::Live;
use crate::kernel::{Altered, Comparison, KernelError, Reading};
use crate::operator::Desk;
use crate::turns;

/// How often the tables are looked at.
const EVERY: Duration = Duration::from_secs(2);
/// Readings that come to nothing because ports or addresses changed meanwhile. The next one is made while this process waits.
const TRIES: u8 = 3;

/// Looks at the tables on another thread, again and again.
pub(super) struct Reconciler {
    due: Interval,
    reading: Option<JoinHandle<Result<Reading, KernelError>>>,
    tries: u8,
    failing: bool,
    live: Live,
}

/// What is to be done next.
pub(super) enum Step {
    /// It is time to look.
    Due,
    /// It was looked.
    Read(Box<Result<Reading, KernelError>>),
}

impl Reconciler {
    pub(super) fn new(live: Live) -> Self {
        let mut due = interval(EVERY);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self { due, reading: None, tries: 0, failing: false, live }
    }

    /// Waits until there is something to do. Cancel safe.
    pub(super) async fn next(&mut self) -> Step {
        let Some(reading) = &mut self.reading else {
            self.due.tick().await;
            return Step::Due;
        };
        let read = reading.await;
        self.reading = None;
        Step::Read(Box::new(read.unwrap_or_else(|error| {
            Err(KernelError::Io { what: "read the kernel's tables", source: std::io::Error::other(error) })
        })))
    }

    /// Does it.
    pub(super) fn step(&mut self, step: Step, desk: &mut Desk) {
        match step {
            Step::Due => {
                self.tries = 0;
                self.settings(desk);
                self.look(desk);
            }
            Step::Read(read) => match (*read).map(|reading| (desk.read_tables().compare(&reading), reading)) {
                Ok((Comparison::Same, _)) => self.note(Ok(Vec::new())),
                Ok((Comparison::Different, reading)) => block_in_place(|| self.note(desk.repair(&reading))),
                Ok((Comparison::Unclear, _)) if self.tries < TRIES => self.look(desk),
                Ok((Comparison::Unclear, _)) => block_in_place(|| {
                    let read = desk.tables().begin_look().read();
                    self.note(read.and_then(|reading| desk.repair(&reading)));
                }),
                Err(error) => self.note(Err(error)),
            },
        }
    }

    /// Puts the settings right, which this process writes too often for a later look to tell.
    pub(super) fn settings(&mut self, desk: &mut Desk) {
        match desk.tables().repair_settings() {
            Ok(Some(altered)) => self.tell(&[altered]),
            Ok(None) => {}
            Err(error) => self.fail(&error),
        }
    }

    fn look(&mut self, desk: &mut Desk) {
        self.tries += 1;
        let look = desk.tables().begin_look();
        self.reading = Some(spawn_blocking(|| turns::in_the_background(|| look.read())));
    }

    /// Takes note of a look that is over.
    fn note(&mut self, repaired: Result<Vec<Altered>, KernelError>) {
        match repaired {
            Ok(altered) => {
                self.failing = false;
                let drift = altered.iter().map(|altered| altered.missing + altered.foreign).sum();
                self.live.change(|state| state.drift = drift);
                self.tell(&altered);
            }
            Err(error) => self.fail(&error),
        }
    }

    fn fail(&mut self, error: &KernelError) {
        if !std::mem::replace(&mut self.failing, true) {
            warn!(%error, "cannot compare the kernel's tables with what they should hold");
        }
    }

    fn tell(&self, altered: &[Altered]) {
        for Altered { map, missing, foreign } in altered {
            warn!(map, missing, foreign, "a table of the kernel was altered by somebody else: it was put right");
        }
        if !altered.is_empty() {
            self.live.drifted(altered);
        }
    }
}
