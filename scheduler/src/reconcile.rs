//! Store and broker disagree: what the broker lost is published again.
//!
//! A broker may lose messages that it confirmed: its disk was wiped, it was restored from a backup, or the machine went
//! down before they were synced. The store is the record, so the remedy is always the same: every queued row becomes
//! due, and the dispatcher publishes it under a new number. Publishing what was not lost is harmless, since the second
//! message finds the job running or done. Only the leader does this. A single message that is lost among others is not
//! seen here; its row becomes due by itself (`Rules::look_again`).

use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};

use crate::Scheduler;

/// How long the broker must hold nothing while the store has queued jobs and none is running. Too low: messages that are
/// being published or handed over count as lost. Too high: lost ones wait that long.
const EMPTY_FOR: Duration = Duration::from_secs(12);
/// The same while jobs are running. Over AMQP a process sees, of the messages in workers' hands, only its own: as long as
/// somebody works, somebody may hold the messages of the queued jobs. No worker does so for long, since it takes no more
/// than it can begin.
const EMPTY_FOR_BUSY: Duration = Duration::from_secs(60);

/// Fresh counts: messages that the broker is seen to hold, and jobs of the store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub(crate) held: u64,
    pub(crate) queued: u64,
    pub(crate) running: u64,
}

/// What the leader remembers from look to look.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    incarnation: Option<String>,
    empty_since: Option<Instant>,
}

impl Seen {
    /// Whether the broker is another one than was seen last; the first one is never another.
    fn is_another(&self, incarnation: &str) -> bool {
        self.incarnation.as_deref().is_some_and(|before| before != incarnation)
    }

    /// Whether the broker has held nothing for long although jobs are queued.
    fn is_drained(&mut self, look: Look, now: Instant) -> bool {
        if look.held > 0 || look.queued == 0 {
            self.empty_since = None;
            return false;
        }
        let since = *self.empty_since.get_or_insert(now);
        let enough = if look.running > 0 { EMPTY_FOR_BUSY } else { EMPTY_FOR };
        let drained = now.duration_since(since) >= enough;
        if drained {
            self.empty_since = None;
        }
        drained
    }
}

impl Scheduler {
    /// Looks for lost messages.
    pub(crate) async fn reconcile(&self, seen: &mut Seen, look: Look) {
        // A broker that does not answer is not one that has lost anything.
        let Ok(incarnation) = self.broker.incarnation().await else { return };
        let is_another = seen.is_another(&incarnation);
        let is_drained = seen.is_drained(look, Instant::now());
        if !is_another && !is_drained {
            seen.incarnation = Some(incarnation);
            return;
        }
        let why = if is_another { "the broker has lost its data" } else { "the broker holds nothing" };
        match self.store.republish_queued().await {
            Ok(jobs) => {
                seen.incarnation = Some(incarnation);
                self.metrics.dispatched.with_label_values(&["reconciled"]).inc_by(jobs);
                info!(jobs, why, "queued jobs are published again");
            }
            // Nothing is remembered, so that the next look finds the difference again.
            Err(error) => {
                warn!(%error, why, "queued jobs could not be made due");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_incarnation_is_seen_once() {
        let mut seen = Seen::default();
        let looks = ["a", "a", "b", "b"].map(|name| {
            let is_another = seen.is_another(name);
            seen.incarnation = Some(name.into());
            is_another
        });
        assert_eq!(looks, [false, false, true, false]);
    }

    #[test]
    fn only_a_lasting_emptiness_counts() {
        let mut seen = Seen::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        for (held, queued, running, seconds, expected) in [
            (0, 5, 0, 0, false),
            (0, 5, 0, 5, false),
            (1, 5, 0, 10, false),
            (0, 5, 0, 15, false),
            (0, 0, 0, 20, false),
            (0, 5, 0, 25, false),
            (0, 5, 0, 37, true),
            (0, 5, 0, 38, false),
            // Somebody works, and may hold what is not seen.
            (0, 5, 3, 50, false),
            (0, 5, 3, 97, false),
            (0, 5, 3, 98, true),
            (0, 5, 3, 99, false),
            (0, 5, 0, 110, false),
            (0, 5, 0, 111, true),
        ] {
            let look = Look { held, queued, running };
            assert_eq!(seen.is_drained(look, at(seconds)), expected, "at {seconds} s");
        }
    }
}
