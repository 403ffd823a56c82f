//! Gauges that somebody has to look up: depth of the lanes, jobs by state. The leader looks.

use std::time::Duration;

use bul_broker::Depth;
use bul_job::{Counts, Lane};
use tracing::debug;

use crate::Scheduler;
use crate::reconcile::{Look, Seen};

/// How often; an autoscaler reads these at most every ten seconds or so.
pub(crate) const EVERY: Duration = Duration::from_secs(5);

/// Looking takes a fiftieth of the time at most: counting the rows of millions of jobs every few seconds would slow down
/// what is counted.
const SHARE: u32 = 50;

/// How long to rest after a look that took this long.
pub(crate) fn pause(took: Duration) -> Duration {
    EVERY.max(took * SHARE)
}

impl Scheduler {
    pub(crate) async fn observe(&self, seen: &mut Seen) {
        let held = match self.broker.depths().await {
            Ok(depths) => {
                self.show_depths(&depths);
                Some(depths.iter().map(|depth| depth.ready + depth.unacked).sum())
            }
            Err(error) => {
                debug!(%error, "depths unknown");
                None
            }
        };
        let jobs = match self.store.ledger().await {
            Ok(ledger) => {
                self.show_jobs(&ledger.total);
                Some(ledger.total)
            }
            Err(error) => {
                debug!(%error, "ledger unknown");
                None
            }
        };
        if let (Some(held), Some(Counts { queued, running, .. })) = (held, jobs) {
            self.reconcile(seen, Look { held, queued, running }).await;
        }
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
