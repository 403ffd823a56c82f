//! One computation per key at a time within this process.
//!
//! Invariant: of all callers with one key, at most one is the leader; the others wait. A leader that goes away, by
//! cancellation or panic, leaves its place to the next. What failed is shared with nobody: those who waited are let
//! go together and each finds out for itself. Called by `cache`.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::MutexGuard;

use crate::{Entry, Key};

/// How far a computation is.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Whoever sees this holds the turn and is the leader.
    Open,
    /// Done; this is it.
    Done(Entry),
    /// Done, and of no use to others.
    Unshared,
}

#[derive(Debug)]
struct Flight {
    progress: tokio::sync::Mutex<Progress>,
}

/// The computations under way. As many as there are callers, which the caller limits.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    under_way: Mutex<HashMap<Key, Arc<Flight>>>,
}

impl Flights {
    /// Joins the computation of a key, or begins one.
    pub(crate) fn join(&self, key: Key) -> Seat<'_> {
        let mut under_way = self.under_way.lock();
        let flight = under_way
            .entry(key)
            .or_insert_with(|| Arc::new(Flight { progress: tokio::sync::Mutex::new(Progress::Open) }))
            .clone();
        Seat { flights: self, key, flight }
    }

    /// Computations under way.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.under_way.lock().len()
    }
}

/// A place in the computation of one key.
pub(crate) struct Seat<'a> {
    flights: &'a Flights,
    key: Key,
    flight: Arc<Flight>,
}

impl Seat<'_> {
    /// Waits for the turn: until the leader is done, or has gone.
    pub(crate) async fn turn(&self) -> MutexGuard<'_, Progress> {
        self.flight.progress.lock().await
    }

    /// The computation is over: who comes later begins another, even while some still read this one's end.
    pub(crate) fn retire(&self) {
        self.flights.forget(self, usize::MAX);
    }
}

impl Flights {
    fn forget(&self, seat: &Seat<'_>, holders_max: usize) {
        let mut under_way = self.under_way.lock();
        // Places are taken under this lock only, so the count cannot grow meanwhile.
        let is_this = under_way.get(&seat.key).is_some_and(|flight| Arc::ptr_eq(flight, &seat.flight));
        if is_this && Arc::strong_count(&seat.flight) <= holders_max {
            under_way.remove(&seat.key);
        }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        // The table and this place: nobody else waits.
        self.flights.forget(self, 2);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::kit::key;

    #[tokio::test]
    async fn places_are_given_up() {
        let flights = Flights::default();
        let (a, b) = (flights.join(key(1)), flights.join(key(1)));
        drop(a);
        assert_eq!(flights.len(), 1);
        drop(b);
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test]
    async fn who_comes_after_the_end_begins_anew() {
        let flights = Flights::default();
        let (early, waiting) = (flights.join(key(1)), flights.join(key(1)));
        *early.turn().await = Progress::Unshared;
        early.retire();
        let late = flights.join(key(1));
        assert!(matches!(*late.turn().await, Progress::Open));
        assert!(matches!(*waiting.turn().await, Progress::Unshared));
        drop((early, waiting));
        assert_eq!(flights.len(), 1, "the later one is still under way");
        drop(late);
        assert_eq!(flights.len(), 0);
    }
}
