//! Processes with workers as the store knows them: what lets them share out the jobs whose prompts begin alike.

use std::time::Duration;

/// How long a sign of life counts. Too low: a busy process loses its partitions, and with them what it has computed for them. Too
/// high: those of one that has died are nobody's for so long, and served by whoever helps out.
pub const WORKER_FRESH: Duration = Duration::from_secs(30);

/// What a process says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It takes jobs.
    Here,
    /// It takes no more.
    Leaving,
}
