//! Work for the one task that owns the desk.

use std::sync::Arc;
use std::time::SystemTime;

use anyhow::anyhow;
use serde::Serialize;
use tokio::sync::{Mutex, MutexGuard, mpsc, oneshot};
use tokio::task::spawn_blocking;

use super::Options;
use super::decide::Decider;
use super::reload::{self, Read};
use crate::api::Reloaded;
use crate::operator::{Caller, Desk, OperatorError};
use crate::store::{Archive, Mark};
use crate::turns;

/// Jobs that may wait; who asks more waits to ask.
const QUEUE: usize = 256;

/// What a job is done with.
pub(super) struct Hands<'h> {
    pub(super) desk: &'h mut Desk,
    pub(super) decider: &'h mut Decider,
}

type Work = Box<dyn FnOnce(Hands<'_>) + Send>;

/// The outcome of a change, and between which marks of the archive its writes are.
pub(super) type Changed<T> = (Result<T, OperatorError>, Mark, Mark);

/// Something to do.
pub(super) enum Job {
    /// With the desk.
    Work(Work),
    /// A short look at what the desk knows, which changes nothing.
    Look(Box<dyn FnOnce(&Desk) + Send>),
    /// Put in force what was read of the configuration, or write down why it could not be.
    Reload(Caller, Box<Result<Read, OperatorError>>, oneshot::Sender<Changed<Reloaded>>),
}

/// Hands work over. Cheap to clone.
#[derive(Clone)]
pub(super) struct Jobs {
    sender: mpsc::Sender<Job>,
    /// One reads files at a time, until what he read is in force: nobody puts older ones over newer ones.
    reading: Arc<Mutex<()>>,
    options: Arc<Options>,
    /// Where it is seen whether a change is saved.
    archive: Archive,
}

impl Jobs {
    pub(super) fn new(options: Options, archive: Archive) -> (Self, mpsc::Receiver<Job>) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        (Self { sender, reading: Arc::default(), options: Arc::new(options), archive }, receiver)
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

    /// As [`Self::ask`], for what changes something. Answered when that is on the disk; if it does not get there, the
    /// error says that it is in force all the same.
    pub(super) async fn change<T: Serialize + Send + 'static>(
        &self,
        work: impl FnOnce(Hands<'_>) -> Result<T, OperatorError> + Send + 'static,
    ) -> Result<T, OperatorError> {
        let changed = self.ask(move |hands| {
            let archive = hands.desk.archive().clone();
            let since = archive.mark();
            let done = work(hands);
            Ok((done, since, archive.mark()))
        });
        answer(changed.await?, &self.archive).await
    }

    /// Looks at what the desk knows. Keep it short: nothing is decided meanwhile.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Desk) -> T + Send + 'static,
    ) -> Result<T, OperatorError> {
        let (sender, receiver) = oneshot::channel();
        let job = Job::Look(Box::new(move |desk: &Desk| {
            let _ = sender.send(look(desk)); // Whoever asked may be gone.
        }));
        self.sender.send(job).await.map_err(|_| stopping())?;
        receiver.await.map_err(|_| stopping())
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
        answer(receiver.await.map_err(|_| stopping())?, &self.archive).await
    }
}

/// The one place where a change is answered: nobody is told that something is done which a crash would undo.
async fn answer<T: Serialize>((done, since, until): Changed<T>, archive: &Archive) -> Result<T, OperatorError> {
    match (done, archive.saved(since, until).await) {
        (Ok(answer), Err(unsaved)) => Err(OperatorError::unsaved(&answer, unsaved)),
        (done, _) => done,
    }
}

fn stopping() -> OperatorError {
    OperatorError::Failed(anyhow!("the daemon is stopping"))
}
