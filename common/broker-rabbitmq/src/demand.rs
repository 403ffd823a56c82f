//! Whether anybody wants a feed's messages, and whether they are coming.
//!
//! A consumer runs only while someone fetches or waits: a producer never holds messages, and a worker
//! whose slots are all busy lets go of those it has not begun. Written by `lib`, read by `lane`.

use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::options::{HOARD_MAX, PREFETCH_FIRST, PREFETCH_GROWTH, PREFETCH_WHOLE};

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
    /// Messages that the consumer may have here; 0 where it was not yet limited.
    prefetch: AtomicU16,
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

    /// Messages that the consumer may have here, where `most` are allowed at all.
    pub(crate) fn prefetch(&self, most: u16, is_divided: bool) -> u16 {
        match self.prefetch.load(Ordering::SeqCst) {
            0 if is_divided => PREFETCH_FIRST.min(most),
            0 => PREFETCH_WHOLE.min(most),
            prefetch => prefetch.min(most),
        }
    }

    /// Workers have all `taken` messages in hand and ask for more.
    pub(crate) fn asked_for_more(&self, taken: usize, most: u16, is_divided: bool) {
        let prefetch = self.prefetch(most, is_divided);
        if taken >= usize::from(prefetch) {
            self.prefetch.store(prefetch.saturating_mul(PREFETCH_GROWTH).min(most), Ordering::SeqCst);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_lie_here_grows_with_the_workers_that_take_it() {
        let demand = Demand::default();
        assert_eq!(
            (demand.prefetch(256, true), demand.prefetch(256, false)),
            (PREFETCH_FIRST, PREFETCH_WHOLE)
        );
        demand.asked_for_more(usize::from(PREFETCH_FIRST) - 1, 256, true);
        assert_eq!(demand.prefetch(256, true), PREFETCH_FIRST, "more are on their way");
        for expected in [16, 64, 256, 256] {
            demand.asked_for_more(usize::from(demand.prefetch(256, true)), 256, true);
            assert_eq!(demand.prefetch(256, true), expected);
        }
        assert_eq!(demand.prefetch(3, true), 3, "never more than is allowed");
    }
}
