//! What the model will still be asked: by the jobs in hand, and by those that wait. The queue knows its future: told of it, the
//! model's cache keeps the prefixes that come again.
//!
//! One for all workers that share a model, since each forecast replaces the one before. Called by `prose` and `backlog`. Invariant:
//! what was expected of a job in hand is taken back when it is done or its attempt ends, however it ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bul_engine::{ExpectedPrefix, Forecast, Generate, Message, Role, Scope, need};
use parking_lot::Mutex;

use crate::Metrics;

/// Time between two forecasts. Each replaces the one before, so that a few may be skipped.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// Prefixes told of; the most needed first.
const PREFIXES_MAX: usize = 256;

/// Requests that are still going to be made, by the system message they share.
pub struct Ahead {
    model: Arc<dyn Generate>,
    /// Otherwise nothing is counted: a model that makes no use of it answers thousands of requests a second.
    is_heeded: bool,
    metrics: Metrics,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Of the attempts of all workers.
    in_hand: HashMap<String, u32>,
    /// Of jobs that waited at the last look and have not begun since.
    backlog: HashMap<String, u32>,
    told_at: Option<Instant>,
}

/// Requests of one attempt; those not made yet are taken back when it is dropped.
pub(crate) struct Expected<'a> {
    ahead: &'a Ahead,
    system: String,
    left: u32,
}

impl Ahead {
    /// Of one model; every worker that asks it has a share in this.
    pub fn new(model: Arc<dyn Generate>, metrics: Metrics) -> Arc<Self> {
        let is_heeded = model.heeds_forecasts();
        Arc::new(Self { model, is_heeded, metrics, state: Mutex::default() })
    }

    /// Whether the model makes use of what it is told.
    pub(crate) fn is_heeded(&self) -> bool {
        self.is_heeded
    }

    /// An attempt will make this many requests with this system message.
    pub(crate) fn expect(&self, system: &str, times: usize) -> Expected<'_> {
        if !self.is_heeded {
            return Expected { ahead: self, system: String::new(), left: 0 };
        }
        let times = u32::try_from(times).unwrap_or(u32::MAX);
        self.change(|state| {
            state.add(system, times);
            // It waited until now. Left there it would count twice until the next look.
            state.backlog.entry(system.to_owned()).and_modify(|known| *known = known.saturating_sub(times));
        });
        Expected { ahead: self, system: system.to_owned(), left: times }
    }

    /// What the jobs that wait will ask, in place of what was said of them before.
    pub(crate) fn expect_backlog(&self, backlog: HashMap<String, u32>) {
        let forecast = {
            let mut state = self.state.lock();
            state.backlog = backlog;
            state.told_at = Some(Instant::now());
            state.forecast()
        };
        self.tell(&forecast);
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let forecast = {
            let mut state = self.state.lock();
            change(&mut state);
            if state.told_at.is_some_and(|at| at.elapsed() < TELL_EVERY) {
                return;
            }
            state.told_at = Some(Instant::now());
            state.forecast()
        };
        self.tell(&forecast);
    }

    fn tell(&self, forecast: &Forecast) {
        let (in_hand, backlog) = self.state.lock().requests();
        self.metrics.forecast(in_hand, backlog);
        self.model.announce(forecast);
    }
}

impl State {
    fn add(&mut self, system: &str, times: u32) {
        let known = self.in_hand.entry(system.to_owned()).or_default();
        *known = known.saturating_add(times);
    }

    fn take_back(&mut self, system: &str, times: u32) {
        let left = self.in_hand.get(system).map_or(0, |known| known.saturating_sub(times));
        match left {
            0 => drop(self.in_hand.remove(system)),
            left => drop(self.in_hand.insert(system.to_owned(), left)),
        }
    }

    /// Of jobs in hand, and of those that wait.
    fn requests(&self) -> (u64, u64) {
        let sum = |of: &HashMap<String, u32>| of.values().map(|times| u64::from(*times)).sum();
        (sum(&self.in_hand), sum(&self.backlog))
    }

    fn forecast(&self) -> Forecast {
        let only_waiting = self.backlog.keys().filter(|system| !self.in_hand.contains_key(*system));
        let of = |from: &HashMap<String, u32>, system| from.get(system).copied().unwrap_or(0);
        let systems = self.in_hand.keys().chain(only_waiting);
        let mut times: Vec<(&String, u32)> = systems
            .map(|system| (system, need(of(&self.in_hand, system), of(&self.backlog, system))))
            .filter(|(_, need)| *need > 0)
            .collect();
        times.sort_by(|a, b| (b.1, a.0).cmp(&(a.1, b.0)));
        times.truncate(PREFIXES_MAX);
        Forecast { prefixes: times.into_iter().map(|(system, times)| prefix_of(system, times)).collect() }
    }
}

/// What requests with this system message begin with, in the scope that `prose` gives it: what is announced and warmed up must be
/// what will be asked. A system message is public: it holds the template's words, or the area and type of a free document.
pub(crate) fn prefix_of(system: &str, times: u32) -> ExpectedPrefix {
    let message = Message { role: Role::System, text: system.to_owned(), scope: Scope::Public };
    ExpectedPrefix { tenant: String::new(), messages: vec![message], times }
}

impl Expected<'_> {
    /// One of the requests is answered.
    pub(crate) fn one_done(&mut self) {
        if self.left > 0 {
            self.left -= 1;
            self.ahead.change(|state| state.take_back(&self.system, 1));
        }
    }
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        if self.left > 0 {
            self.ahead.change(|state| state.take_back(&self.system, self.left));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ahead() -> Arc<Ahead> {
        let registry = prometheus::Registry::new();
        let metrics = Metrics::new(&registry, bul_telemetry::breakers(&registry));
        let model = Arc::new(bul_engine::Scripted::default());
        Arc::new(Ahead { model, is_heeded: true, metrics, state: Mutex::default() })
    }

    #[test]
    fn nothing_is_counted_for_a_model_that_makes_no_use_of_it() {
        let counting = ahead();
        let ahead = Ahead::new(counting.model.clone(), counting.metrics.clone());
        let mut expected = ahead.expect("invoice", 3);
        assert!(!ahead.is_heeded() && ahead.state.lock().in_hand.is_empty());
        expected.one_done();
        drop(expected);
        assert!(ahead.state.lock().in_hand.is_empty());
    }

    fn told(ahead: &Ahead) -> Vec<(String, u32)> {
        let forecast = ahead.state.lock().forecast();
        forecast.prefixes.into_iter().map(|p| (p.messages[0].text.clone(), p.times)).collect()
    }

    fn of(expected: &[(&str, u32)]) -> Vec<(String, u32)> {
        expected.iter().map(|(system, times)| ((*system).to_owned(), *times)).collect()
    }

    /// Each forecast replaces the one before: two workers with a count of their own would take turns at being forgotten.
    #[test]
    fn requests_of_all_workers_are_counted_and_taken_back() {
        let (first, second) = {
            let shared = ahead();
            (shared.clone(), shared)
        };
        let mut invoice = first.expect("invoice", 2);
        let report = second.expect("report", 5);
        let other = second.expect("invoice", 1);
        assert_eq!(told(&first), of(&[("report", need(5, 0)), ("invoice", need(3, 0))]));
        invoice.one_done();
        drop(report);
        assert_eq!(told(&second), of(&[("invoice", need(2, 0))]));
        invoice.one_done();
        invoice.one_done();
        drop((invoice, other));
        assert!(told(&first).is_empty(), "nothing stays behind");
    }

    #[test]
    fn what_waits_is_added_until_it_begins() {
        let ahead = ahead();
        ahead.expect_backlog(of(&[("invoice", 30), ("report", 4)]).into_iter().collect());
        let mut begun = ahead.expect("invoice", 3);
        let expected = of(&[("invoice", need(3, 27)), ("report", need(0, 4))]);
        assert_eq!(
            (told(&ahead), ahead.state.lock().requests()),
            (expected, (3, 31)),
            "no request counts twice"
        );
        begun.one_done();
        assert_eq!(told(&ahead), of(&[("invoice", need(2, 27)), ("report", need(0, 4))]));
        // The next look replaces what waited; what is in hand stays.
        ahead.expect_backlog(of(&[("report", 1)]).into_iter().collect());
        assert_eq!(told(&ahead), of(&[("invoice", need(2, 0)), ("report", need(0, 1))]));
        let late = ahead.expect("contract", 1);
        drop((begun, late));
        ahead.expect_backlog(HashMap::new());
        assert!(told(&ahead).is_empty());
    }
}
