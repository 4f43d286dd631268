//! Work for the one task that owns the desk.

use std::time::SystemTime;

use anyhow::anyhow;
use tokio::sync::{mpsc, oneshot};

use super::decide::Decider;
use crate::api::Reloaded;
use crate::operator::{Caller, Desk, OperatorError};

/// Jobs that may wait; who asks more waits to ask.
const QUEUE: usize = 256;

/// What a job is done with.
pub(super) struct Hands<'h> {
    pub(super) desk: &'h mut Desk,
    pub(super) decider: &'h mut Decider,
}

type Work = Box<dyn FnOnce(Hands<'_>) + Send>;

/// Something to do.
pub(super) enum Job {
    /// With the desk.
    Work(Work),
    /// Read the configuration anew.
    Reload(Caller, oneshot::Sender<Result<Reloaded, OperatorError>>),
}

/// Hands work over. Cheap to clone.
#[derive(Clone)]
pub(super) struct Jobs(mpsc::Sender<Job>);

impl Jobs {
    pub(super) fn new() -> (Self, mpsc::Receiver<Job>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self(sender), receiver)
    }

    /// Has something done with the desk. What is over is cleared up before.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        work: impl FnOnce(Hands<'_>) -> Result<T, OperatorError> + Send + 'static,
    ) -> Result<T, OperatorError> {
        let (sender, receiver) = oneshot::channel();
        let job = Job::Work(Box::new(move |hands: Hands<'_>| {
            let done = match hands.desk.expire(SystemTime::now()) {
                Ok(_) => work(hands),
                Err(error) => Err(error),
            };
            let _ = sender.send(done); // Whoever asked may be gone.
        }));
        self.0.send(job).await.map_err(|_| stopping())?;
        receiver.await.map_err(|_| stopping())?
    }

    /// Has the configuration read anew.
    pub(super) async fn reload(&self, caller: Caller) -> Result<Reloaded, OperatorError> {
        let (sender, receiver) = oneshot::channel();
        self.0.send(Job::Reload(caller, sender)).await.map_err(|_| stopping())?;
        receiver.await.map_err(|_| stopping())?
    }
}

fn stopping() -> OperatorError {
    OperatorError::Failed(anyhow!("the daemon is stopping"))
}
