//! Something done in rounds at a steady pace until told to stop.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::lab::wait::patiently;

/// Rounds of work on a thread of their own. Dropping it stops the rounds.
#[derive(Debug)]
pub(in crate::lab) struct Rounds<T> {
    shared: Arc<Shared>,
    worker: Option<JoinHandle<Result<T>>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    done: u64,
    stop: bool,
    ended: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }
}

impl<T: Send + 'static> Rounds<T> {
    /// Calls `round` with its number from 0 up, not more often than `every`, and keeps `result` through all of them.
    pub(in crate::lab) fn start(
        every: Duration,
        mut result: T,
        mut round: impl FnMut(u64, &mut T) -> Result<()> + Send + 'static,
    ) -> Self {
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        let worker = thread::spawn(move || {
            let mut rounds = || {
                for number in 0.. {
                    let next = Instant::now() + every;
                    round(number, &mut result)?;
                    theirs.change(|state| state.done += 1);
                    let pause = next.saturating_duration_since(Instant::now());
                    let waiting = theirs.changed.wait_timeout_while(theirs.lock(), pause, |state| !state.stop);
                    if waiting.unwrap_or_else(PoisonError::into_inner).0.stop {
                        break;
                    }
                }
                Ok(())
            };
            let outcome = rounds();
            theirs.change(|state| state.ended = true);
            outcome.map(|()| result)
        });
        Self { shared, worker: Some(worker) }
    }

    /// Waits until `count` rounds are done, or they ended with an error (which [`Self::stop`] tells).
    pub(in crate::lab) fn wait_for(&self, count: u64, limit: Duration) -> Result<()> {
        let limit = patiently(limit);
        let waiting = self
            .shared
            .changed
            .wait_timeout_while(self.shared.lock(), limit, |state| state.done < count && !state.ended)
            .unwrap_or_else(PoisonError::into_inner);
        if waiting.1.timed_out() {
            bail!("{} of {count} rounds of the customers done within {} s", waiting.0.done, limit.as_secs());
        }
        Ok(())
    }

    /// Lets the round that is running end and gives the result.
    pub(in crate::lab) fn stop(mut self) -> Result<T> {
        self.shared.change(|state| state.stop = true);
        match self.worker.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => bail!("the rounds were stopped before"),
        }
    }
}

impl<T> Drop for Rounds<T> {
    fn drop(&mut self) {
        self.shared.change(|state| state.stop = true);
        if let Some(worker) = self.worker.take() {
            // Only reached when an error is on its way up already; that one counts.
            let _ = worker.join();
        }
    }
}
