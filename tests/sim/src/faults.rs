//! What goes wrong, drawn from the seed at the rates of the scenario, until the chaos ends.
//!
//! A process may be killed or frozen at every await; a call may be refused, take effect without an answer,
//! take effect long after its caller gave up, or vanish.

use std::collections::BTreeMap;

use rand::{Rng, RngExt};
use rand_chacha::ChaCha8Rng;

use crate::clock::Ms;
use crate::exec::Role;

/// How long a caller waits for an answer.
pub const CALL_TIMEOUT: Ms = 5_000;

/// Longest time until a call takes effect that its caller has given up.
pub const LATE_MAX: Ms = 45_000;
/// Longest freeze: twice a lease.
const FREEZE_MAX: Ms = 60_000;

/// How often what goes wrong.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    /// Kills, of 100,000 awaits.
    pub killed: u32,
    /// Freezes, of 100,000 awaits.
    pub frozen: u32,
    /// Calls refused before they have an effect, of 1,000.
    pub refused: u32,
    /// Calls whose answer is lost, of 1,000.
    pub answer_lost: u32,
    /// Calls that vanish, of 1,000; the caller waits in vain.
    pub vanished: u32,
    /// Calls that take effect after their caller has given up, of 1,000.
    pub late: u32,
    /// Confirmed messages that are lost, of 1,000.
    pub message_lost: u32,
    /// Messages delivered many times, of 1,000.
    pub duplicated: u32,
    /// Fetches out of order, of 1,000.
    pub reordered: u32,
    /// Messages handed out a second time while still in a hand, of 1,000 fetches.
    pub redelivered: u32,
}

/// What befalls a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// Gone at once.
    Killed,
    /// Stands still.
    Frozen(Ms),
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy)]
pub struct Fate {
    /// When it takes effect, if it does.
    pub effect: Option<Ms>,
    /// When its caller hears or gives up.
    pub answer: Ms,
    /// Whether the caller hears what came of it.
    pub heard: bool,
}

/// How often what has happened, to show that a scenario is not idle.
pub type Stats = BTreeMap<&'static str, u64>;

/// The source of all chance.
pub struct Faults {
    /// Chance itself.
    pub rng: ChaCha8Rng,
    rates: Rates,
    until: Ms,
    /// What has happened.
    pub stats: Stats,
}

impl Faults {
    /// Faults at these rates until the chaos ends.
    pub fn new(rng: ChaCha8Rng, rates: Rates, until: Ms) -> Self {
        Self { rng, rates, until, stats: Stats::new() }
    }

    /// Counts.
    pub fn count(&mut self, what: &'static str) {
        *self.stats.entry(what).or_default() += 1;
    }

    /// A number within bounds.
    pub fn between(&mut self, low: Ms, high: Ms) -> Ms {
        self.rng.random_range(low..=high)
    }

    /// Whether something with this chance of 1,000 happens; counted under its name.
    pub fn happens(&mut self, of_1000: u32, now: Ms, name: &'static str) -> bool {
        let happens = of_1000 > 0 && now < self.until && self.rng.random_range(0..1_000) < of_1000;
        if happens {
            self.count(name);
        }
        happens
    }

    /// Rates in force.
    pub fn rates(&self) -> Rates {
        self.rates
    }

    /// How long a process takes to start again.
    pub fn restart_ms(&mut self) -> Ms {
        self.between(300, 4_000)
    }

    /// What befalls a process between two of its steps.
    pub fn at_await(&mut self, role: Role, now: Ms) -> Option<Blow> {
        let Rates { killed, frozen, .. } = self.rates;
        if killed + frozen == 0 || now >= self.until || role == Role::Outside {
            return None;
        }
        let drawn = self.rng.random_range(0..100_000);
        if drawn < killed {
            self.count("killed");
            return Some(Blow::Killed);
        }
        if drawn < killed + frozen {
            self.count("frozen");
            // Half of the freezes outlast every lease there is.
            let long = self.rng.random_bool(0.5);
            let ms = if long { self.between(31_000, FREEZE_MAX) } else { self.between(200, 12_000) };
            return Some(Blow::Frozen(ms));
        }
        None
    }

    /// What becomes of a call to a side that is up.
    pub fn fate(&mut self, now: Ms) -> Fate {
        let there = 1 + Ms::from(self.rng.next_u32() % 4);
        let back = 1 + Ms::from(self.rng.next_u32() % 4);
        let fine = Fate { effect: Some(there), answer: there + back, heard: true };
        let Rates { refused, answer_lost, vanished, late, .. } = self.rates;
        if refused + answer_lost + vanished + late == 0 || now >= self.until {
            return fine;
        }
        let drawn = self.rng.random_range(0..1_000);
        if drawn < refused {
            self.count("refused");
            return Fate { effect: None, heard: false, ..fine };
        }
        if drawn < refused + answer_lost {
            self.count("answer lost");
            let answer = if drawn % 2 == 0 { there + back } else { CALL_TIMEOUT };
            return Fate { effect: Some(there), answer, heard: false };
        }
        if drawn < refused + answer_lost + vanished {
            self.count("vanished");
            return Fate { effect: None, answer: CALL_TIMEOUT, heard: false };
        }
        if drawn < refused + answer_lost + vanished + late {
            self.count("late");
            let effect = self.between(CALL_TIMEOUT, LATE_MAX);
            return Fate { effect: Some(effect), answer: CALL_TIMEOUT, heard: false };
        }
        fine
    }

    /// A call to a side that is down: refused at once, or into a black hole.
    pub fn down(&mut self, black_hole: bool) -> Fate {
        self.count("down");
        let answer = if black_hole { CALL_TIMEOUT } else { 2 };
        Fate { effect: None, answer, heard: false }
    }
}
