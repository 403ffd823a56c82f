//! Retention: what has been kept long enough is removed, by the leader, a little at a time.
//!
//! It runs beside the scheduler's other duties and not between them: removing documents takes longer than a publication
//! may wait. Two that believe to lead do no harm, since each removal is one transaction of the store.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bul_runtime::Shutdown;
use bul_store::Pruned;
use tracing::{info, warn};

use crate::Scheduler;

/// Jobs looked at in one transaction. Too high: others wait for it. Too low: a large store is never through.
const BATCH_JOBS: usize = 200;
/// Of the time, this part at most is spent on removing: `1 / (1 + REST)`.
const REST: u32 = 9;
/// Shortest and longest pause between two batches.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(10));
/// Pause between two walks through all jobs. Things are kept for days: an hour more does not matter.
const BETWEEN_WALKS: Duration = Duration::from_secs(3600);
/// Pause after a failure, and until a process that does not lead looks again whether it does.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

impl Scheduler {
    /// Walks through all jobs again and again, until `shutdown` stops it.
    pub(crate) async fn keep_house(&self, shutdown: &Shutdown) {
        if self.options.retention.keeps_all() {
            return;
        }
        let (mut walk, mut pause) = (Pruned::default(), LOOK_AGAIN);
        loop {
            tokio::select! {
                () = shutdown.stopping().cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = if self.leads.load(Ordering::Relaxed) { self.step(&mut walk).await } else { LOOK_AGAIN };
        }
    }

    /// One batch; how long to rest behind it.
    async fn step(&self, walk: &mut Pruned) -> Duration {
        let started = Instant::now();
        let pruned = match self.store.prune(&self.options.retention, walk.next, BATCH_JOBS).await {
            Ok(pruned) => pruned,
            Err(error) => {
                warn!(%error, "what is old cannot be removed; trying again");
                return LOOK_AGAIN;
            }
        };
        self.count(&pruned);
        walk.add(&pruned);
        if walk.next.is_some() || pruned.events >= BATCH_JOBS as u64 {
            return (started.elapsed() * REST).clamp(PAUSE.0, PAUSE.1);
        }
        let Pruned { completed, cancelled, dead, documents, events, next: _ } = std::mem::take(walk);
        if completed + cancelled + dead + documents + events > 0 {
            info!(completed, cancelled, dead, documents, events, "removed after their time");
        }
        BETWEEN_WALKS
    }

    fn count(&self, pruned: &Pruned) {
        for (what, rows) in [
            ("completed", pruned.completed),
            ("cancelled", pruned.cancelled),
            ("dead", pruned.dead),
            ("documents", pruned.documents),
            ("events", pruned.events),
        ] {
            self.metrics.pruned.with_label_values(&[what]).inc_by(rows);
        }
    }
}
