//! When a failed attempt is tried again.
//!
//! Exponential back-off with full jitter (M. Brooker, "Exponential Backoff and Jitter", AWS
//! Architecture Blog, 2015), never earlier than what the failing side asked for, and a budget
//! that keeps retries from multiplying an outage (Google SRE book, chapter 21).

use std::time::Duration;

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// Longest `Retry-After` that is believed; a server that says "next year" must not park a job.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(6 * 3600);

/// Back-off settings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// Upper bound of the first delay, milliseconds. Too low: retries hit a server that is still
    /// down. Too high: a blip costs minutes.
    pub base_ms: u64,
    /// Upper bound of any delay, milliseconds.
    pub cap_ms: u64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { base_ms: 1_000, cap_ms: 15 * 60_000 }
    }
}

impl RetryPolicy {
    /// Delay before the try that follows failure number `failures` (from 1): uniform in
    /// `[0, min(cap, base · 2^(failures-1))]`, at least `retry_after_ms` where given.
    pub fn delay(&self, failures: u32, retry_after_ms: Option<u64>, rng: &mut impl Rng) -> Duration {
        let doublings = failures.saturating_sub(1).min(32);
        let bound = self.base_ms.saturating_mul(1 << doublings).min(self.cap_ms);
        let jittered = Duration::from_millis(rng.random_range(0..=bound));
        let asked = Duration::from_millis(retry_after_ms.unwrap_or(0)).min(RETRY_AFTER_MAX);
        jittered.max(asked)
    }
}

/// A token bucket: first attempts fill it, retries drain it. An empty budget never drops a retry,
/// it only moves it out to the cap.
#[derive(Debug, Clone)]
pub struct RetryBudget {
    tokens: f64,
    capacity: f64,
    ratio: f64,
}

impl RetryBudget {
    /// A full bucket of `capacity` retries; each first attempt adds `ratio` of a retry.
    pub fn new(capacity: f64, ratio: f64) -> Self {
        Self { tokens: capacity, capacity, ratio }
    }

    /// Counts a first attempt.
    pub fn deposit(&mut self) {
        self.tokens = (self.tokens + self.ratio).min(self.capacity);
    }

    /// Takes a retry out of the budget; `false` when it is empty.
    pub fn withdraw(&mut self) -> bool {
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            true
        } else {
            false
        }
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self::new(100.0, 0.2)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;

    use super::*;

    proptest! {
        #[test]
        fn delay_keeps_its_bounds(failures in 1u32..200, seed: u64, asked in prop::option::of(0u64..10_000_000)) {
            let policy = RetryPolicy::default();
            let delay = policy.delay(failures, asked, &mut ChaCha8Rng::seed_from_u64(seed));
            let bound = policy.base_ms.saturating_mul(1 << (failures - 1).min(32)).min(policy.cap_ms);
            let asked = asked.unwrap_or(0).min(RETRY_AFTER_MAX.as_millis() as u64);
            prop_assert!(delay.as_millis() as u64 <= bound.max(asked));
            prop_assert!(delay.as_millis() as u64 >= asked);
        }
    }

    #[test]
    fn jitter_spreads_over_the_whole_range() {
        let policy = RetryPolicy { base_ms: 1000, cap_ms: 1000 };
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let delays: Vec<u128> = (0..200).map(|_| policy.delay(1, None, &mut rng).as_millis()).collect();
        assert!(delays.iter().any(|d| *d < 100) && delays.iter().any(|d| *d > 900));
    }

    #[test]
    fn budget_bounds_retries_by_first_attempts() {
        let mut budget = RetryBudget::new(2.0, 0.5);
        assert!(budget.withdraw() && budget.withdraw() && !budget.withdraw());
        budget.deposit();
        assert!(!budget.withdraw());
        budget.deposit();
        assert!(budget.withdraw());
    }
}
