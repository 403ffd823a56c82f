//! Waiting times and limits of the state machine, and what follows from them.

use std::time::Duration;

use crate::{PublishNo, RetryPolicy};

/// Waiting times and limits the machine works with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// How long a publication may stay unconfirmed before it is published again.
    pub publish_grace: Duration,
    /// How long the first publication of a job may stay confirmed without an attempt before it counts as
    /// lost by the broker. Too low: a healthy backlog is published again. Too high: a job whose message
    /// was lost while others came through waits that long.
    pub look_again: Duration,
    /// Longest such time; each further publication of a job doubles it up to here, so that a backlog of a
    /// day is published a handful of times and not every few minutes.
    pub look_again_max: Duration,
    /// Attempts without an outcome from which on a job runs alone in its worker: should it be what kills
    /// workers, it takes no other job along. At least one deploy that goes wrong is forgiven.
    pub alone_from: u32,
    /// Attempts without an outcome after which a job counts as poison.
    pub crashes_max: u32,
    /// How long a job that a worker cannot read is left to others before it is tried again: a newer version has
    /// written it, and its workers are on their way.
    pub newer_wait: Duration,
    /// Attempts of such a job until it is a dead letter.
    pub newer_tries: u32,
    /// Back-off.
    pub retry: RetryPolicy,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            publish_grace: Duration::from_secs(5),
            look_again: Duration::from_secs(10 * 60),
            look_again_max: Duration::from_secs(6 * 3600),
            alone_from: 2,
            crashes_max: 6,
            newer_wait: Duration::from_secs(10),
            newer_tries: 60,
            retry: RetryPolicy::default(),
        }
    }
}

impl Rules {
    /// How long after its confirmation a publication is looked at again. Stores use it for the statement
    /// that records many confirmations at once; it is what [`crate::JobCore::apply`] does for one.
    pub fn look_again_after(&self, publish: PublishNo) -> Duration {
        let doublings = publish.0.saturating_sub(1).min(16);
        self.look_again.saturating_mul(1 << doublings).min(self.look_again_max.max(self.look_again))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_to_look_again_doubles_up_to_its_limit() {
        let rules = Rules::default();
        let minutes = |publish| rules.look_again_after(PublishNo(publish)).as_secs() / 60;
        assert_eq!([0, 1, 2, 3, 6, 7, 1000].map(minutes), [10, 10, 20, 40, 320, 360, 360]);
        let odd = Rules { look_again: Duration::MAX, ..rules };
        assert_eq!(odd.look_again_after(PublishNo(9)), Duration::MAX);
    }
}
