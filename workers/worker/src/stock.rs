//! Jobs that came in bundles and found no free slot: kept for a moment, then given back.
//!
//! Invariant: what lies here is taken before the broker is asked again, and no longer than [`KEPT_MAX`], or [`IDLE_MAX`] without a
//! slot for any of it: a worker whose slots are busy must not hide work from one that idles. Called by `fetch` and `pull`.

use std::collections::VecDeque;
use std::time::Duration;

use bul_broker::Delivery;
use bul_job::Lane;
use tokio::time::Instant;

/// Where slots come free more seldom than this, others shall have what is left of a bundle. Too low: workers of jobs of a few
/// milliseconds hand their bundles back and forth.
const IDLE_MAX: Duration = Duration::from_millis(50);
/// And at the latest after this.
const KEPT_MAX: Duration = Duration::from_secs(1);

/// What is kept of each lane.
#[derive(Default)]
pub(crate) struct Stock {
    shelves: [Shelf; Lane::ALL.len()],
}

struct Shelf {
    kept: VecDeque<(Box<dyn Delivery>, Instant)>,
    /// When something was put here or taken last.
    moved: Instant,
    /// Jobs in a message of this lane, lately.
    per_message: f32,
}

impl Default for Shelf {
    fn default() -> Self {
        Self { kept: VecDeque::new(), moved: Instant::now(), per_message: 1.0 }
    }
}

impl Shelf {
    fn due(&self) -> Option<Instant> {
        let (_, since) = self.kept.front()?;
        Some((self.moved + IDLE_MAX).min(*since + KEPT_MAX))
    }

    fn give_back_overdue(&mut self, now: Instant) {
        if self.moved + IDLE_MAX <= now {
            // Dropped, they go back.
            self.kept.clear();
        }
        self.kept.retain(|(_, since)| *since + KEPT_MAX > now);
    }
}

impl Stock {
    /// Up to `max` jobs of a lane, first come first.
    pub(crate) fn take(&mut self, lane: Lane, max: usize) -> Vec<Box<dyn Delivery>> {
        let shelf = &mut self.shelves[lane.index()];
        let now = Instant::now();
        shelf.give_back_overdue(now);
        let taken: Vec<_> = shelf.kept.drain(..max.min(shelf.kept.len())).map(|(job, _)| job).collect();
        if !taken.is_empty() {
            shelf.moved = now;
        }
        taken
    }

    /// Keeps jobs of a lane.
    pub(crate) fn keep(&mut self, lane: Lane, jobs: Vec<Box<dyn Delivery>>) {
        if jobs.is_empty() {
            return;
        }
        let shelf = &mut self.shelves[lane.index()];
        shelf.moved = Instant::now();
        shelf.kept.extend(jobs.into_iter().map(|job| (job, shelf.moved)));
    }

    /// So many messages of a lane held so many jobs.
    pub(crate) fn saw(&mut self, lane: Lane, messages: usize, jobs: usize) {
        if messages > 0 {
            let per_message = &mut self.shelves[lane.index()].per_message;
            *per_message = f32::midpoint(*per_message, jobs as f32 / messages as f32);
        }
    }

    /// Messages to ask for so many jobs.
    pub(crate) fn messages(&self, lane: Lane, jobs: usize) -> usize {
        (jobs as f32 / self.shelves[lane.index()].per_message.max(1.0)).ceil() as usize
    }

    /// Waits, and gives back meanwhile what is due.
    pub(crate) async fn during<T>(&mut self, wait: impl Future<Output = T>) -> T {
        tokio::pin!(wait);
        loop {
            let Some(due) = self.shelves.iter().filter_map(Shelf::due).min() else { return wait.await };
            tokio::select! {
                biased;
                done = &mut wait => return done,
                () = tokio::time::sleep_until(due) => {
                    let now = Instant::now();
                    self.shelves.iter_mut().for_each(|shelf| shelf.give_back_overdue(now));
                }
            }
        }
    }
}
