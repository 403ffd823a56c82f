//! A circuit breaker as a pure state machine; the clock is an argument.
//!
//! Closed: calls pass, outcomes of a sliding window are counted. Too many failures open it: calls
//! are refused for a while. Then a few probes pass (half-open); their outcome closes or re-opens
//! it, each time for longer. (Nygard, "Release It!", 2nd ed., ch. 5.)

use std::collections::VecDeque;

/// When the breaker opens and for how long.
#[derive(Debug, Clone)]
pub struct BreakerOptions {
    /// Outcomes older than this do not count, milliseconds.
    pub window_ms: u64,
    /// Fewer outcomes than this never open it: one failure after a quiet night says little.
    pub calls_min: usize,
    /// Share of failures, 0 to 1, from which on it opens.
    pub failure_rate: f64,
    /// How long it stays open the first time, milliseconds.
    pub open_ms: u64,
    /// How long it stays open at most, milliseconds; each failed probe doubles the time.
    pub open_ms_max: u64,
    /// Calls that may be under way at once while half-open.
    pub probes_max: usize,
    /// Successes in a row that close it again.
    pub probes_to_close: usize,
}

impl Default for BreakerOptions {
    fn default() -> Self {
        Self {
            window_ms: 60_000,
            calls_min: 5,
            failure_rate: 0.5,
            open_ms: 5_000,
            open_ms_max: 120_000,
            probes_max: 1,
            probes_to_close: 2,
        }
    }
}

/// What a breaker does with calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// Calls are refused.
    Open,
    /// A few calls pass as probes.
    HalfOpen,
}

/// Leave to make one call. Hand it back with the outcome; a probe that is only dropped would
/// hold its place until the next opening.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "record the outcome of the call"]
pub struct Permit {
    generation: u64,
}

/// How a permitted call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The other side works.
    Success,
    /// The other side fails: connection, time-out, 5xx.
    Failure,
    /// Says nothing about the other side: cancelled, or the caller's own mistake.
    Ignored,
}

/// See the module's text. Times are milliseconds of any monotonic clock.
#[derive(Debug)]
pub struct Breaker {
    options: BreakerOptions,
    state: BreakerState,
    /// Changes with the state, so that outcomes of calls from before are recognised.
    generation: u64,
    outcomes: VecDeque<(u64, bool)>,
    failures: usize,
    open_until_ms: u64,
    open_ms: u64,
    probes: usize,
    probes_succeeded: usize,
}

/// When to look again while all probes are under way, milliseconds.
const PROBE_LOOK_MS: u64 = 50;
/// Outcomes kept at most, whatever the rate of calls.
const OUTCOMES_MAX: usize = 1024;

impl Breaker {
    /// A closed breaker.
    pub fn new(options: BreakerOptions) -> Self {
        Self {
            state: BreakerState::Closed,
            generation: 0,
            outcomes: VecDeque::new(),
            failures: 0,
            open_until_ms: 0,
            open_ms: options.open_ms,
            probes: 0,
            probes_succeeded: 0,
            options,
        }
    }

    /// The state at `now_ms`.
    pub fn state(&self, now_ms: u64) -> BreakerState {
        match self.state {
            BreakerState::Open if now_ms >= self.open_until_ms => BreakerState::HalfOpen,
            state => state,
        }
    }

    /// How long no call is allowed, milliseconds; `None` when one may be made. Changes nothing.
    pub fn closed_for(&self, now_ms: u64) -> Option<u64> {
        match self.state(now_ms) {
            BreakerState::Closed => None,
            BreakerState::Open => Some(self.open_until_ms.saturating_sub(now_ms).max(1)),
            // The stored state is still "open" until somebody asks; then all probes are free.
            BreakerState::HalfOpen if self.state == BreakerState::Open => None,
            BreakerState::HalfOpen => (self.probes >= self.options.probes_max).then_some(PROBE_LOOK_MS),
        }
    }

    /// Whether a probe is under way.
    pub fn is_probing(&self) -> bool {
        self.state == BreakerState::HalfOpen && self.probes > 0
    }

    /// Asks to make a call.
    ///
    /// # Errors
    /// Milliseconds after which to ask again.
    pub fn try_acquire(&mut self, now_ms: u64) -> Result<Permit, u64> {
        if self.state == BreakerState::Open {
            if now_ms < self.open_until_ms {
                return Err(self.open_until_ms - now_ms);
            }
            self.enter(BreakerState::HalfOpen);
        }
        if self.state == BreakerState::HalfOpen {
            if self.probes >= self.options.probes_max {
                return Err(self.options.open_ms);
            }
            self.probes += 1;
        }
        Ok(Permit { generation: self.generation })
    }

    /// Records how a permitted call ended. Outcomes of calls made in an earlier state are ignored.
    pub fn record(&mut self, permit: Permit, outcome: Outcome, now_ms: u64) {
        if permit.generation != self.generation {
            return;
        }
        match self.state {
            BreakerState::Closed => self.count(outcome, now_ms),
            BreakerState::HalfOpen => {
                self.probes = self.probes.saturating_sub(1);
                match outcome {
                    Outcome::Success => {
                        self.probes_succeeded += 1;
                        if self.probes_succeeded >= self.options.probes_to_close {
                            self.open_ms = self.options.open_ms;
                            self.enter(BreakerState::Closed);
                        }
                    }
                    Outcome::Failure => {
                        self.open_ms = self.open_ms.saturating_mul(2).min(self.options.open_ms_max);
                        self.open(now_ms);
                    }
                    Outcome::Ignored => {}
                }
            }
            BreakerState::Open => {}
        }
    }

    fn count(&mut self, outcome: Outcome, now_ms: u64) {
        let failed = match outcome {
            Outcome::Success => false,
            Outcome::Failure => true,
            Outcome::Ignored => return,
        };
        self.outcomes.push_back((now_ms, failed));
        self.failures += usize::from(failed);
        let horizon = now_ms.saturating_sub(self.options.window_ms);
        while let Some((at, failed)) = self.outcomes.front().copied() {
            if at >= horizon && self.outcomes.len() <= OUTCOMES_MAX {
                break;
            }
            self.outcomes.pop_front();
            self.failures -= usize::from(failed);
        }
        let calls = self.outcomes.len();
        let rate = self.failures as f64 / calls.max(1) as f64;
        // Only a failure opens it, or a success would when older successes leave the window.
        if failed && calls >= self.options.calls_min && rate >= self.options.failure_rate {
            self.open(now_ms);
        }
    }

    fn open(&mut self, now_ms: u64) {
        self.open_until_ms = now_ms.saturating_add(self.open_ms);
        self.enter(BreakerState::Open);
    }

    fn enter(&mut self, state: BreakerState) {
        self.state = state;
        self.generation += 1;
        self.outcomes.clear();
        self.failures = 0;
        self.probes = 0;
        self.probes_succeeded = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaker() -> Breaker {
        Breaker::new(BreakerOptions {
            window_ms: 1000,
            calls_min: 4,
            failure_rate: 0.5,
            open_ms: 100,
            open_ms_max: 300,
            probes_max: 1,
            probes_to_close: 2,
        })
    }

    fn call(breaker: &mut Breaker, outcome: Outcome, now_ms: u64) {
        let permit = breaker.try_acquire(now_ms).expect("the call is permitted");
        breaker.record(permit, outcome, now_ms);
    }

    fn opened() -> Breaker {
        let mut breaker = breaker();
        (0..4).for_each(|t| call(&mut breaker, Outcome::Failure, t));
        breaker
    }

    #[test]
    fn it_says_how_long_no_call_is_allowed() {
        let mut b = opened();
        assert_eq!((b.closed_for(3), b.closed_for(53), b.closed_for(103)), (Some(100), Some(50), None));
        let probe = b.try_acquire(103).expect("half-open");
        assert_eq!(b.closed_for(103), Some(PROBE_LOOK_MS));
        b.record(probe, Outcome::Success, 104);
        assert_eq!(b.closed_for(104), None);
    }

    #[test]
    fn few_or_old_failures_do_not_open_it() {
        let mut b = breaker();
        (0..3).for_each(|t| call(&mut b, Outcome::Failure, t));
        assert_eq!(b.state(3), BreakerState::Closed);
        // The three have left the window.
        call(&mut b, Outcome::Failure, 5000);
        assert_eq!(b.state(5000), BreakerState::Closed);
        for t in 0..20 {
            call(&mut b, if t % 3 == 2 { Outcome::Failure } else { Outcome::Success }, 9000 + t);
        }
        assert_eq!(b.state(9020), BreakerState::Closed);
        (0..50).for_each(|_| call(&mut b, Outcome::Ignored, 9020));
        assert_eq!(b.state(9020), BreakerState::Closed);
    }

    #[test]
    fn it_opens_probes_and_closes() {
        let mut b = opened();
        assert_eq!(b.state(3), BreakerState::Open);
        assert_eq!(b.try_acquire(50), Err(53));
        assert_eq!(b.state(103), BreakerState::HalfOpen);
        let probe = b.try_acquire(103).expect("a probe is permitted");
        assert_eq!(b.try_acquire(103), Err(100), "one probe at a time");
        b.record(probe, Outcome::Success, 104);
        assert_eq!(b.state(104), BreakerState::HalfOpen);
        call(&mut b, Outcome::Success, 105);
        assert_eq!(b.state(105), BreakerState::Closed);
    }

    #[test]
    fn failed_probes_lengthen_the_wait_up_to_a_limit() {
        let mut b = opened();
        let mut now = 103;
        for wait in [200, 300, 300] {
            call(&mut b, Outcome::Failure, now);
            assert_eq!(b.try_acquire(now), Err(wait));
            now += wait;
        }
        call(&mut b, Outcome::Ignored, now);
        assert_eq!(b.state(now), BreakerState::HalfOpen, "an ignored probe gives its place back");
    }

    #[test]
    fn late_outcomes_of_an_earlier_state_do_not_count() {
        let mut b = breaker();
        let late: Vec<Permit> = (0..5).map(|_| b.try_acquire(0).expect("closed")).collect();
        (0..4).for_each(|t| call(&mut b, Outcome::Failure, t));
        let probe = b.try_acquire(200).expect("half-open");
        for permit in late {
            b.record(permit, Outcome::Failure, 201);
        }
        assert_eq!(b.state(201), BreakerState::HalfOpen);
        b.record(probe, Outcome::Success, 202);
    }
}
