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

/// How long messages may be in workers' hands, as the broker says, while no job is running and workers wait for one. A worker
/// holds one that long only with the job, and the broker hands those of dead workers out again within 30 s. On a NATS cluster
/// a consumer that has changed its leader may forget to do so until the next message comes. Too low: messages on their way back
/// are published twice. Too high: jobs wait that long in a lane without other traffic.
const STUCK_FOR: Duration = Duration::from_secs(75);
/// The same after each publication that changed nothing, doubled up to here.
const STUCK_FOR_MAX: Duration = Duration::from_secs(3600);

/// Fresh counts: messages that the broker is seen to hold, and jobs of the store.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Look {
    pub(crate) held: u64,
    /// Of these, messages that seem to be in nobody's hands; see [`bul_broker::Broker::stuck`].
    pub(crate) stuck: u64,
    pub(crate) queued: u64,
    pub(crate) running: u64,
}

/// What the leader remembers from look to look.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    incarnation: Option<String>,
    empty_since: Option<Instant>,
    stuck_since: Option<Instant>,
    /// Publications for stuck messages in a row.
    stuck_times: u32,
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

    /// Whether messages have been in nobody's hands for long although the broker says that somebody has them.
    fn is_stuck(&mut self, look: Look, now: Instant) -> bool {
        if look.running > 0 || look.queued == 0 {
            (self.stuck_since, self.stuck_times) = (None, 0);
            return false;
        }
        if look.stuck == 0 {
            self.stuck_since = None;
            return false;
        }
        let since = *self.stuck_since.get_or_insert(now);
        let enough = (STUCK_FOR * (1 << self.stuck_times.min(16))).min(STUCK_FOR_MAX);
        now.duration_since(since) >= enough
    }

    /// Stuck messages were published again: should that not help, the next time comes later.
    fn unstuck(&mut self) {
        (self.stuck_since, self.stuck_times) = (None, self.stuck_times + 1);
    }
}

impl Scheduler {
    /// Looks for lost messages.
    pub(crate) async fn reconcile(&self, seen: &mut Seen, look: Look) {
        // A broker that does not answer is not one that has lost anything.
        let Ok(incarnation) = self.broker.incarnation().await else { return };
        let is_another = seen.is_another(&incarnation);
        let is_drained = seen.is_drained(look, Instant::now());
        let is_stuck = seen.is_stuck(look, Instant::now());
        let why = match (is_another, is_drained, is_stuck) {
            (true, ..) => "the broker has lost its data",
            (_, true, _) => "the broker holds nothing",
            (.., true) => "the broker holds messages for workers that do not have them",
            _ => {
                seen.incarnation = Some(incarnation);
                return;
            }
        };
        match self.store.republish_queued().await {
            Ok(jobs) => {
                seen.incarnation = Some(incarnation);
                if is_stuck {
                    seen.unstuck();
                }
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
            let look = Look { held, stuck: 0, queued, running };
            assert_eq!(seen.is_drained(look, at(seconds)), expected, "at {seconds} s");
        }
    }

    #[test]
    fn messages_in_nobodys_hands_count_after_a_while_and_then_less_often() {
        let mut seen = Seen::default();
        let start = Instant::now();
        for (stuck, queued, running, seconds, expected) in [
            (20, 20, 0, 0, false),
            (20, 20, 0, 74, false),
            (20, 20, 0, 75, true),
            // Published again in vain: not every 75 s from now on.
            (40, 20, 0, 80, false),
            (40, 20, 0, 229, false),
            (40, 20, 0, 230, true),
            // The broker has taken them back, or nobody waits for them.
            (0, 20, 0, 240, false),
            (20, 20, 0, 250, false),
            (20, 20, 0, 540, false),
            // A job runs: all is well again.
            (20, 19, 1, 550, false),
            (20, 19, 0, 560, false),
            (20, 19, 0, 635, true),
            // Nobody waits for what is held.
            (20, 0, 0, 640, false),
            (20, 5, 0, 700, false),
            (20, 5, 0, 774, false),
            (20, 5, 0, 775, true),
        ] {
            let look = Look { held: stuck, stuck, queued, running };
            let is_stuck = seen.is_stuck(look, start + Duration::from_secs(seconds));
            assert_eq!(is_stuck, expected, "at {seconds} s");
            if is_stuck {
                seen.unstuck();
            }
        }
    }
}
