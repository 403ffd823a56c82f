//! Gauges that somebody has to look up: depth of the lanes, jobs by state. The leader looks.

use std::time::Duration;

use bul_broker::Depth;
use bul_job::{Counts, Lane};
use tracing::debug;

use crate::Scheduler;
use crate::reconcile::{Look, Seen};

/// How often; an autoscaler reads these at most every ten seconds or so.
pub(crate) const EVERY: Duration = Duration::from_secs(5);

/// Counting jobs takes a fiftieth of the time at most: with millions of rows, every few seconds would slow down what is
/// counted.
const SHARE: u32 = 50;
/// Longest pause: lost messages are found by looking.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How long to rest after a look that has counted jobs for so long.
pub(crate) fn pause(counting: Duration) -> Duration {
    (counting * SHARE).clamp(EVERY, PAUSE_MAX)
}

impl Scheduler {
    /// Returns how long the jobs were counted.
    pub(crate) async fn observe(&self, seen: &mut Seen) -> Duration {
        let held = match self.broker.depths().await {
            Ok(depths) => {
                self.show_depths(&depths);
                Some(depths.iter().fold((0, 0), |sum, d| (sum.0 + d.ready, sum.1 + d.unacked)))
            }
            Err(error) => {
                debug!(%error, "depths unknown");
                None
            }
        };
        let started = tokio::time::Instant::now();
        let ledger = self.store.ledger().await;
        // One that failed says nothing of how long counting takes.
        let counting = if ledger.is_ok() { started.elapsed() } else { Duration::ZERO };
        let jobs = match ledger {
            Ok(ledger) => {
                self.show_jobs(&ledger.total);
                Some(ledger.total)
            }
            Err(error) => {
                debug!(%error, "ledger unknown");
                None
            }
        };
        if let (Some((ready, unacked)), Some(Counts { queued, running, .. })) = (held, jobs) {
            let stuck = match unacked > 0 && queued > 0 && running == 0 {
                // A broker that does not say has none for now.
                true => self.broker.stuck().await.unwrap_or(0),
                false => 0,
            };
            self.reconcile(seen, Look { held: ready + unacked, stuck, queued, running }).await;
        }
        counting
    }

    fn show_depths(&self, depths: &[Depth; 4]) {
        for lane in Lane::ALL {
            let depth = depths[lane.index()];
            let gauge = |kind| self.metrics.depth.with_label_values(&[lane.as_str(), kind]);
            gauge("ready").set(depth.ready as i64);
            gauge("unacked").set(depth.unacked as i64);
        }
    }

    fn show_jobs(&self, total: &Counts) {
        for (state, count) in [
            ("waiting", total.waiting),
            ("queued", total.queued),
            ("running", total.running),
            ("completed", total.completed),
            ("cancelled", total.cancelled),
            ("dead", total.dead),
        ] {
            self.metrics.jobs.with_label_values(&[state]).set(count as i64);
        }
    }
}
