//! Settings of the store.

use std::sync::Arc;
use std::time::Duration;

use bul_job::{Rules, TenantLimits, Timestamp};

/// Source of time for tests. The store makes it monotone, whatever it gives.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Settings of a [`crate::PostgresStore`].
#[derive(Clone)]
pub struct Options {
    /// Time for leases, due times and fires; the database's when absent, so that all processes agree.
    pub clock: Option<Clock>,
    /// Waiting times and limits of the state machine.
    pub rules: Rules,
    /// Limits of tenants that have none of their own.
    pub limits: TenantLimits,
    /// Seed of the jitter of retries; random when absent, so that two processes do not retry in step.
    pub seed: Option<u64>,
    /// Connections that write accepted, begun and completed jobs, for each of these kinds. With one,
    /// nothing is prepared while a commit waits for the disk; with many, batches become small.
    pub writers: usize,
    /// Connections for what users ask, and as many for accounts, keys and schedules.
    pub readers: usize,
    /// Operations in one transaction. Too low: a sync of the disk for few. Too high: the first waits
    /// for the last.
    pub batch_max: usize,
    /// How long confirmed publications are kept in memory; jobs that begin within it need no write.
    /// Zero writes at once. At most a quarter of [`Rules::publish_grace`] is used. A crash in between
    /// costs a second publication of the job and nothing else.
    pub confirm_delay: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            clock: None,
            rules: Rules::default(),
            limits: TenantLimits::default(),
            seed: None,
            writers: 2,
            readers: 4,
            batch_max: 512,
            confirm_delay: Duration::from_secs(1),
        }
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Options")
            .field("rules", &self.rules)
            .field("limits", &self.limits)
            .field("seed", &self.seed)
            .field("writers", &self.writers)
            .field("readers", &self.readers)
            .field("batch_max", &self.batch_max)
            .field("confirm_delay", &self.confirm_delay)
            .finish_non_exhaustive()
    }
}
