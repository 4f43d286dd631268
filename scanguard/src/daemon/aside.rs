//! What is found out on another thread, so that no decision waits for it.

use std::future::pending;

use tokio::task::{JoinHandle, spawn_blocking};

use crate::turns;

/// Something that is looked at again and again, one look at a time.
pub(super) struct Aside<T>(Option<JoinHandle<T>>);

impl<T> Default for Aside<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T: Send + 'static> Aside<T> {
    /// Looks, unless that goes on.
    pub(super) fn look(&mut self, look: impl FnOnce() -> T + Send + 'static) {
        self.0.get_or_insert_with(|| spawn_blocking(|| turns::in_the_background(look)));
    }

    /// Whether somebody looks.
    pub(super) const fn is_at_work(&self) -> bool {
        self.0.is_some()
    }

    /// Waits until it was looked; for ever where nobody does. Cancel safe. None when the look failed in a way of its own.
    pub(super) async fn looked(&mut self) -> Option<T> {
        let Some(looking) = &mut self.0 else { return pending().await };
        let seen = looking.await;
        self.0 = None;
        seen.ok()
    }
}
