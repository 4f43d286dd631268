//! Work for the one task that owns the desk.

use std::sync::Arc;
use std::time::SystemTime;

use anyhow::anyhow;
use tokio::sync::{Mutex, MutexGuard, mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::Options;
use super::decide::Decider;
use super::reload::{self, Read};
use crate::api::Reloaded;
use crate::operator::{Caller, Desk, OperatorError};
use crate::turns;

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
    /// Put in force what was read of the configuration, or write down why it could not be.
    Reload(Caller, Box<Result<Read, OperatorError>>, oneshot::Sender<Result<Reloaded, OperatorError>>),
}

/// Hands work over. Cheap to clone.
#[derive(Clone)]
pub(super) struct Jobs {
    sender: mpsc::Sender<Job>,
    /// One reads files at a time, until what he read is in force: nobody puts older ones over newer ones.
    reading: Arc<Mutex<()>>,
    options: Arc<Options>,
}

impl Jobs {
    pub(super) fn new(options: Options) -> (Self, mpsc::Receiver<Job>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self { sender, reading: Arc::default(), options: Arc::new(options) }, receiver)
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
        self.sender.send(job).await.map_err(|_| stopping())?;
        receiver.await.map_err(|_| stopping())?
    }

    /// Waits until nobody else reads files.
    pub(super) async fn reading(&self) -> MutexGuard<'_, ()> {
        self.reading.lock().await
    }

    /// Reads the configuration anew, on another thread, and has it put in force.
    pub(super) async fn reload(&self, caller: Caller) -> Result<Reloaded, OperatorError> {
        let _reading = self.reading().await;
        let options = Arc::clone(&self.options);
        let read = spawn_blocking(move || turns::in_the_background(|| reload::read(&options))).await;
        let read = Box::new(read.unwrap_or_else(|error| Err(OperatorError::Failed(error.into()))));
        let (sender, receiver) = oneshot::channel();
        self.sender.send(Job::Reload(caller, read, sender)).await.map_err(|_| stopping())?;
        receiver.await.map_err(|_| stopping())?
    }
}

fn stopping() -> OperatorError {
    OperatorError::Failed(anyhow!("the daemon is stopping"))
}
