//! Circuit breakers as the store knows them: what lets one process see that another one's dependency is down.

use std::time::Duration;

use bul_job::Timestamp;
use serde::{Deserialize, Serialize};

/// How long a report of an open breaker counts. Too low: a busy process seems to have closed it. Too high:
/// one that has died holds up replays that long.
pub const BREAKER_FRESH: Duration = Duration::from_secs(30);

/// The dependency without which all jobs go on.
pub const REDIS: &str = "redis";

/// What a process says about one of its dependencies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerReport {
    /// Name of the process, as in the attempts' record.
    pub process: String,
    /// What it depends on, for example `model`.
    pub dependency: String,
    /// Whether calls are refused at present.
    pub open: bool,
}

/// A breaker that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenBreaker {
    /// Whose.
    pub process: String,
    /// Towards what.
    pub dependency: String,
    /// When it opened.
    pub since: Timestamp,
    /// When it was last told.
    pub reported_at: Timestamp,
}

impl OpenBreaker {
    /// Whether jobs wait for it. Without Redis they only share less.
    pub fn holds_work_back(&self) -> bool {
        self.dependency != REDIS
    }
}

impl std::fmt::Display for OpenBreaker {
    /// For example `model is down for worker-1 since 10:02:11 UTC`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let since = self.since.format("%H:%M:%S");
        write!(f, "{} is down for {} since {since} UTC", self.dependency, self.process)
    }
}
