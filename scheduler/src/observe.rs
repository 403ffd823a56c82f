//! Gauges that somebody has to look up: depth of the lanes, jobs by state.

use std::time::Duration;

use bul_job::Lane;
use tracing::debug;

use crate::Scheduler;

/// How often; an autoscaler reads these at most every ten seconds or so.
pub(crate) const EVERY: Duration = Duration::from_secs(5);

impl Scheduler {
    pub(crate) async fn observe(&self) {
        match self.broker.depths().await {
            Ok(depths) => {
                for lane in Lane::ALL {
                    let depth = depths[lane.index()];
                    self.metrics.depth.with_label_values(&[lane.as_str(), "ready"]).set(depth.ready as i64);
                    self.metrics
                        .depth
                        .with_label_values(&[lane.as_str(), "unacked"])
                        .set(depth.unacked as i64);
                }
            }
            Err(error) => debug!(%error, "depths unknown"),
        }
        match self.store.ledger().await {
            Ok(ledger) => {
                let total = ledger.total;
                let counts = [
                    ("waiting", total.waiting),
                    ("queued", total.queued),
                    ("running", total.running),
                    ("completed", total.completed),
                    ("cancelled", total.cancelled),
                    ("dead", total.dead),
                ];
                for (state, count) in counts {
                    self.metrics.jobs.with_label_values(&[state]).set(count as i64);
                }
            }
            Err(error) => debug!(%error, "ledger unknown"),
        }
    }
}
