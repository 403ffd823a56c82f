//! Whether anybody wants a feed's messages, and whether they are coming.
//!
//! A consumer runs only while someone fetches or waits: a producer never holds messages, and a worker
//! whose slots are all busy lets go of those it has not begun. Written by `lib`, read by `lane`.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::options::HOARD_MAX;

/// The demand for one feed.
#[derive(Default)]
pub(crate) struct Demand {
    asked: Mutex<Option<Instant>>,
    waiting: AtomicUsize,
    wake: Notify,
    /// Whether a consumer runs.
    active: AtomicBool,
    /// Why none does.
    reason: Mutex<Option<String>>,
}

impl Demand {
    /// Someone asks now.
    pub(crate) fn touch(&self) {
        *self.asked.lock() = Some(Instant::now());
        if !self.is_active() {
            self.wake.notify_one();
        }
    }

    /// Someone waits, until the answer is dropped.
    pub(crate) fn wait(&self) -> Waiting<'_> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        self.touch();
        Waiting(self)
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
            || self.asked.lock().is_some_and(|at| at.elapsed() < HOARD_MAX)
    }

    pub(crate) async fn until_wanted(&self) {
        loop {
            let wake = self.wake.notified();
            if self.is_wanted() {
                return;
            }
            wake.await;
        }
    }

    pub(crate) fn is_active(&self) -> bool {
        self.active.load(Ordering::SeqCst)
    }

    pub(crate) fn set_active(&self, active: bool) {
        self.active.store(active, Ordering::SeqCst);
        if active {
            *self.reason.lock() = None;
        }
    }

    pub(crate) fn set_reason(&self, reason: String) {
        *self.reason.lock() = Some(reason);
    }

    pub(crate) fn reason(&self) -> Option<String> {
        self.reason.lock().clone()
    }
}

/// A waiter; dropped, it waits no more.
pub(crate) struct Waiting<'a>(&'a Demand);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // What it was woken for is still worth a moment.
        *self.0.asked.lock() = Some(Instant::now());
        self.0.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}
