//! What a breaker that hears of others does: pure, the clock is an argument.
//!
//! Invariant: whatever is heard, in whatever order, and whatever is lost, calls are permitted again at the latest
//! one longest opening (`open_ms_max`) and one claim of another's after the last failure or the last news. News can make this breaker open or
//! try again; only calls that succeed here close it. Called by `shared`.

use bul_runtime::breaker::{Breaker, BreakerOptions, BreakerState, Outcome, Permit};

use super::turn::{EARLY_MS, GRACE_MS, Turn};

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
    /// Whether processes take turns at probing.
    is_shared: bool,
    turn: Turn,
}

impl Logic {
    /// A breaker of one process.
    pub(crate) fn new(options: BreakerOptions) -> Self {
        let breaker = Breaker::new(options.clone());
        let (is_shared, turn) = (false, Turn::Free);
        Self { options, breaker, life: 0, seen: None, opening: None, untold: None, is_shared, turn }
    }

    /// From now on others probe, too.
    pub(crate) fn share(&mut self) {
        self.is_shared = true;
    }

    /// While another probes it is open here.
    pub(crate) fn state(&self, now_ms: u64) -> BreakerState {
        match self.breaker.state(now_ms) {
            BreakerState::HalfOpen if self.turn.blocked_for(now_ms).is_some() => BreakerState::Open,
            state => state,
        }
    }

    /// Milliseconds during which no call is allowed.
    pub(crate) fn closed_for(&self, now_ms: u64) -> Option<u64> {
        self.elsewhere_for(now_ms).or_else(|| self.breaker.closed_for(now_ms))
    }

    /// Milliseconds for which the probe is another's.
    fn elsewhere_for(&self, now_ms: u64) -> Option<u64> {
        let is_half_open = self.breaker.state(now_ms) == BreakerState::HalfOpen;
        is_half_open.then(|| self.turn.blocked_for(now_ms)).flatten()
    }

    /// Whether the claim to the next probe is to be asked for, or prolonged.
    pub(crate) fn asks_for_turn(&self, now_ms: u64) -> bool {
        let is_near = match self.breaker.state(now_ms) {
            BreakerState::Closed => false,
            BreakerState::HalfOpen => true,
            BreakerState::Open => self.breaker.closed_for(now_ms).is_none_or(|left| left <= EARLY_MS),
        };
        self.is_shared && is_near && self.turn.asks(self.breaker.is_probing(), now_ms)
    }

    /// Redis has answered whose the claim is.
    pub(crate) fn turned(&mut self, turn: Turn) {
        self.turn = turn;
    }

    /// Nobody probes before the end of an opening and a moment in which claims are made.
    fn wait_for_turn(&mut self, until_ms: u64) {
        if self.is_shared {
            self.turn = Turn::Wait { until_ms: until_ms.saturating_add(GRACE_MS) };
        }
    }

    /// Asks to make a call; otherwise milliseconds after which to ask again.
    pub(crate) fn try_acquire(&mut self, now_ms: u64) -> Result<Leave, u64> {
        if let Some(wait) = self.elsewhere_for(now_ms) {
            return Err(wait);
        }
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
                self.wait_for_turn(now_ms.saturating_add(wait));
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
                self.turn = Turn::Free;
            }
            return;
        }
        self.opening = Some(record.generation);
        if state != BreakerState::Open {
            self.trip(now_ms.saturating_add(open_for_ms));
            self.wait_for_turn(now_ms.saturating_add(open_for_ms));
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
#[path = "logic_tests.rs"]
mod tests;
