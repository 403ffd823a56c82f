//! Waiting for what must come, with a limit.

use std::time::{Duration, Instant};

/// How long anything may take that should be done in seconds; the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(150);
/// How often it is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// Looks until `look` finds something; `what` is for the failure.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "{what}: not within {} s", PATIENCE.as_secs());
        std::thread::sleep(LOOK);
    }
}
