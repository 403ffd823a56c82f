//! What a breaker that hears of others does: pure, the clock is an argument.
//!
//! Invariant: whatever is heard, in whatever order, and whatever is lost, calls are permitted again at the latest
//! one longest opening (`open_ms_max`) after the last failure or the last news. News can make this breaker open or
//! try again; only calls that succeed here close it. Called by `shared`.

use bul_runtime::breaker::{Breaker, BreakerOptions, BreakerState, Outcome, Permit};

/// The record others see, as it was read. Times are relative: clocks of two machines are never compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record {
    /// Changes with each opening and closing.
    pub(crate) generation: u64,
    /// How long it is still open, milliseconds; 0 when it was closed.
    pub(crate) open_for_ms: u64,
}

/// A change that others should hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// Opened until this time of the local clock.
    Opened { until_ms: u64 },
    /// The opening of this generation is over.
    Closed { generation: u64 },
}

/// Leave to make one call; of use only to the breaker that gave it.
#[derive(Debug)]
pub(crate) struct Leave {
    permit: Permit,
    life: u64,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Logic {
    options: BreakerOptions,
    breaker: Breaker,
    /// Counts the breakers this one has had: outcomes of calls permitted by an earlier one say nothing.
    life: u64,
    /// Generation of the last record read or written.
    seen: Option<u64>,
    /// Generation of the opening that is under way, once it is known.
    opening: Option<u64>,
    /// What others have not been told yet.
    untold: Option<Change>,
}

impl Logic {
    pub(crate) fn new(options: BreakerOptions) -> Self {
        let breaker = Breaker::new(options.clone());
        Self { options, breaker, life: 0, seen: None, opening: None, untold: None }
    }

    pub(crate) fn state(&self, now_ms: u64) -> BreakerState {
        self.breaker.state(now_ms)
    }

    /// Milliseconds during which no call is allowed.
    pub(crate) fn closed_for(&self, now_ms: u64) -> Option<u64> {
        self.breaker.closed_for(now_ms)
    }

    /// Asks to make a call; otherwise milliseconds after which to ask again.
    pub(crate) fn try_acquire(&mut self, now_ms: u64) -> Result<Leave, u64> {
        self.breaker.try_acquire(now_ms).map(|permit| Leave { permit, life: self.life })
    }

    /// Records how a call ended.
    pub(crate) fn record(&mut self, leave: Leave, outcome: Outcome, now_ms: u64) {
        if leave.life != self.life {
            return;
        }
        let before = self.breaker.state(now_ms);
        self.breaker.record(leave.permit, outcome, now_ms);
        match (before, self.breaker.state(now_ms)) {
            (BreakerState::Closed | BreakerState::HalfOpen, BreakerState::Open) => {
                // An open breaker answers with the time left and changes nothing.
                let wait = self.breaker.try_acquire(now_ms).err().unwrap_or(self.options.open_ms);
                self.opening = None;
                self.untold = Some(Change::Opened { until_ms: now_ms.saturating_add(wait) });
            }
            (BreakerState::HalfOpen, BreakerState::Closed) => {
                // An opening nobody was told of needs no closing either.
                self.untold = self.opening.take().map(|generation| Change::Closed { generation });
            }
            _ => {}
        }
    }

    /// Takes in the record as it stands now.
    pub(crate) fn learn(&mut self, record: Record, now_ms: u64) {
        if self.seen == Some(record.generation) {
            return;
        }
        self.seen = Some(record.generation);
        // A record is believed for no longer than this breaker would ever stay open by itself.
        let open_for_ms = record.open_for_ms.min(self.options.open_ms_max);
        let state = self.breaker.state(now_ms);
        if open_for_ms == 0 {
            if state != BreakerState::Closed {
                // Somebody got through. The calls from here may still fail, so they begin as probes.
                self.trip(now_ms);
            }
            return;
        }
        self.opening = Some(record.generation);
        if state != BreakerState::Open {
            self.trip(now_ms.saturating_add(open_for_ms));
        }
    }

    /// A change to tell others, if it still matters. It stays until [`Logic::told`].
    pub(crate) fn untold(&mut self, now_ms: u64) -> Option<Change> {
        if let Some(Change::Opened { until_ms }) = self.untold
            && until_ms <= now_ms
        {
            self.untold = None;
        }
        self.untold
    }

    /// The change was written; `generation` is that of the record now.
    pub(crate) fn told(&mut self, change: Change, generation: Option<u64>, now_ms: u64) {
        if self.untold == Some(change) {
            self.untold = None;
        }
        let Some(generation) = generation else { return };
        self.seen = Some(generation);
        if matches!(change, Change::Opened { .. }) {
            if self.breaker.state(now_ms) == BreakerState::Closed {
                // It closed while its opening was on its way.
                self.untold = Some(Change::Closed { generation });
            } else {
                self.opening = Some(generation);
            }
        }
    }

    /// Starts a new breaker that is open until `until_ms`: fed as many failures as it needs, at the time from which
    /// its first opening ends then. Its options stay what they are, and so does the doubling of later openings.
    fn trip(&mut self, until_ms: u64) {
        let at = until_ms.saturating_sub(self.options.open_ms);
        let mut breaker = Breaker::new(self.options.clone());
        for _ in 0..self.options.calls_min.max(1) {
            if let Ok(permit) = breaker.try_acquire(at) {
                breaker.record(permit, Outcome::Failure, at);
            }
        }
        self.breaker = breaker;
        self.life += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use BreakerState::{Closed, HalfOpen, Open};
    use proptest::prelude::*;

    /// Clocks begin late enough that an opening can be dated back.
    const T: u64 = 1_000_000;

    fn options() -> BreakerOptions {
        BreakerOptions {
            window_ms: 1000,
            calls_min: 2,
            failure_rate: 0.5,
            open_ms: 100,
            open_ms_max: 400,
            probes_max: 1,
            probes_to_close: 2,
        }
    }

    fn call(logic: &mut Logic, outcome: Outcome, now: u64) {
        let leave = logic.try_acquire(now).expect("the call is permitted");
        logic.record(leave, outcome, now);
    }

    fn record(generation: u64, open_for_ms: u64) -> Record {
        Record { generation, open_for_ms }
    }

    #[test]
    fn it_tells_of_its_opening_and_its_closing() {
        let mut a = Logic::new(options());
        call(&mut a, Outcome::Failure, T);
        assert_eq!(a.untold(T), None);
        call(&mut a, Outcome::Failure, T);
        let opened = Change::Opened { until_ms: T + 100 };
        assert_eq!((a.state(T), a.untold(T)), (Open, Some(opened)));
        a.told(opened, Some(7), T + 1);
        assert_eq!(a.untold(T + 1), None);
        call(&mut a, Outcome::Success, T + 100);
        call(&mut a, Outcome::Success, T + 101);
        assert_eq!((a.state(T + 101), a.untold(T + 101)), (Closed, Some(Change::Closed { generation: 7 })));
    }

    #[test]
    fn another_opens_with_it_and_tries_when_it_closes() {
        let mut b = Logic::new(options());
        b.learn(record(7, 80), T);
        assert_eq!((b.state(T), b.try_acquire(T + 30).err(), b.untold(T)), (Open, Some(50), None));
        b.learn(record(8, 0), T + 40);
        assert_eq!(b.state(T + 40), HalfOpen);
        call(&mut b, Outcome::Success, T + 41);
        call(&mut b, Outcome::Success, T + 41);
        assert_eq!(b.state(T + 41), Closed);
    }

    #[test]
    fn an_adopted_opening_ends_by_itself_and_is_closed_by_its_generation() {
        let mut b = Logic::new(options());
        b.learn(record(7, 80), T);
        call(&mut b, Outcome::Success, T + 80);
        call(&mut b, Outcome::Success, T + 81);
        assert_eq!(b.untold(T + 81), Some(Change::Closed { generation: 7 }));
        // The same record, read once more before it was taken away, opens nothing.
        b.learn(record(7, 10), T + 82);
        assert_eq!(b.state(T + 82), Closed);
    }

    #[test]
    fn a_failed_probe_after_an_adopted_opening_is_an_opening_of_its_own() {
        let mut b = Logic::new(options());
        b.learn(record(7, 80), T);
        call(&mut b, Outcome::Failure, T + 80);
        assert_eq!(b.untold(T + 80), Some(Change::Opened { until_ms: T + 280 }), "twice the first time");
    }

    #[test]
    fn an_opening_that_is_over_or_was_never_told_is_not_told() {
        let mut a = Logic::new(options());
        call(&mut a, Outcome::Failure, T);
        call(&mut a, Outcome::Failure, T);
        assert_eq!(a.untold(T + 100), None, "too late to matter");
        call(&mut a, Outcome::Success, T + 100);
        call(&mut a, Outcome::Success, T + 100);
        assert_eq!(a.untold(T + 100), None);
    }

    #[test]
    fn a_closing_that_overtakes_its_opening_is_told_after_it() {
        let mut a = Logic::new(options());
        call(&mut a, Outcome::Failure, T);
        call(&mut a, Outcome::Failure, T);
        let opened = a.untold(T).unwrap();
        call(&mut a, Outcome::Success, T + 100);
        call(&mut a, Outcome::Success, T + 100);
        a.told(opened, Some(9), T + 101);
        assert_eq!(a.untold(T + 101), Some(Change::Closed { generation: 9 }));
    }

    #[test]
    fn outcomes_of_calls_from_before_the_news_do_not_count() {
        let mut b = Logic::new(options());
        let early: Vec<Leave> = (0..3).map(|_| b.try_acquire(T).unwrap()).collect();
        b.learn(record(7, 80), T);
        assert_eq!(b.state(T + 80), HalfOpen);
        let probe = b.try_acquire(T + 80).unwrap();
        for leave in early {
            b.record(leave, Outcome::Failure, T + 81);
        }
        assert_eq!(b.state(T + 81), HalfOpen);
        b.record(probe, Outcome::Success, T + 82);
    }

    #[test]
    fn a_record_is_not_believed_for_longer_than_the_limit() {
        let mut b = Logic::new(options());
        b.learn(record(7, u64::MAX), T);
        assert_eq!(b.state(T + 399), Open);
        assert_eq!(b.state(T + 400), HalfOpen);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Pass(u64),
        Hear { generation: u64, open_for_ms: u64 },
        Call(Outcome),
        Told { generation: Option<u64> },
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0..300_u64).prop_map(Step::Pass),
            (0..6_u64, prop_oneof![Just(0), 0..900_u64, Just(u64::MAX)])
                .prop_map(|(generation, open_for_ms)| Step::Hear { generation, open_for_ms }),
            prop_oneof![Just(Outcome::Success), Just(Outcome::Failure), Just(Outcome::Ignored)]
                .prop_map(Step::Call),
            proptest::option::of(0..6_u64).prop_map(|generation| Step::Told { generation }),
        ]
    }

    proptest! {
        #[test]
        fn no_news_keeps_it_open_for_ever(steps in proptest::collection::vec(step(), 0..60)) {
            let mut now = T;
            let mut logic = Logic::new(options());
            for step in steps {
                match step {
                    Step::Pass(ms) => now += ms,
                    Step::Hear { generation, open_for_ms } => logic.learn(record(generation, open_for_ms), now),
                    Step::Call(outcome) => {
                        if let Ok(leave) = logic.try_acquire(now) {
                            logic.record(leave, outcome, now);
                        }
                    }
                    Step::Told { generation } => {
                        if let Some(change) = logic.untold(now) {
                            logic.told(change, generation, now);
                        }
                    }
                }
            }
            now += options().open_ms_max;
            for _ in 0..2 {
                if logic.state(now) != Closed {
                    call(&mut logic, Outcome::Success, now);
                }
            }
            prop_assert_eq!(logic.state(now), Closed);
        }
    }
}
