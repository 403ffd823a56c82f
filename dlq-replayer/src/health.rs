//! Whether what the jobs depend on works: a replay that goes on while the model is down only makes the same dead
//! letters once more.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bul_store::{Store, StoreError};

/// Jobs replayed between two looks. Too high: that many fail before the outage is seen.
const LOOK_JOBS: u32 = 50;
/// Longest time between two looks while jobs are replayed slowly.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Time between two looks while a dependency is down.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(2);
/// Dependencies named in a message.
const NAMED_MAX: usize = 3;

/// Says why a replay must not go on at present, in words; `None` when it may. Asked between batches.
pub type Halted =
    Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<Option<String>, StoreError>> + Send>> + Send + Sync>;

/// What the workers have told the store about their circuit breakers.
pub(crate) fn by_breakers(store: Arc<dyn Store>) -> Halted {
    Arc::new(move || {
        let store = store.clone();
        Box::pin(async move {
            let mut open = store.open_breakers().await?;
            open.retain(bul_store::OpenBreaker::holds_work_back);
            let mut words: Vec<String> = open.iter().take(NAMED_MAX).map(ToString::to_string).collect();
            if open.len() > NAMED_MAX {
                words.push(format!("and {} more", open.len() - NAMED_MAX));
            }
            Ok((!words.is_empty()).then(|| words.join(", ")))
        })
    })
}

/// When to look next.
#[derive(Default)]
pub(crate) struct Looks {
    last: Option<Instant>,
    jobs: u32,
}

impl Looks {
    /// Whether a look is due before the next job; counts the job.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        let fresh = self.last.is_some_and(|last| now.duration_since(last) < LOOK_EVERY);
        if fresh && self.jobs < LOOK_JOBS {
            self.jobs += 1;
            return false;
        }
        (self.last, self.jobs) = (Some(now), 1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_come_by_jobs_and_by_time() {
        let (mut looks, start) = (Looks::default(), Instant::now());
        let due: Vec<u32> = (0..120).filter(|_| looks.is_due(start)).collect();
        assert_eq!(due, [0, 50, 100]);
        assert!(!looks.is_due(start + LOOK_EVERY / 2));
        assert!(looks.is_due(start + LOOK_EVERY));
    }
}
