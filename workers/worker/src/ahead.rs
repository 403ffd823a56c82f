//! What the jobs in hand will still ask of the model. The queue knows its future: told of it, the model's cache keeps the
//! prefixes that come again.
//!
//! Called by `prose`. Invariant: what was expected is taken back when it is done or its attempt ends, however it ends.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bul_engine::{ExpectedPrefix, Forecast, Generate, Message, Role, Scope};
use parking_lot::Mutex;

/// Time between two forecasts. Each replaces the one before, so that a few may be skipped.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// Prefixes told of; the most needed first.
const PREFIXES_MAX: usize = 256;

/// Requests that the attempts of this worker are still going to make, by the system message they share.
pub(crate) struct Ahead {
    model: Arc<dyn Generate>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    times: HashMap<String, u32>,
    told_at: Option<Instant>,
}

/// Requests of one attempt; those not made yet are taken back when it is dropped.
pub(crate) struct Expected<'a> {
    ahead: &'a Ahead,
    system: String,
    left: u32,
}

impl Ahead {
    pub(crate) fn new(model: Arc<dyn Generate>) -> Self {
        Self { model, state: Mutex::default() }
    }

    /// An attempt will make this many requests with this system message.
    pub(crate) fn expect(&self, system: &str, times: usize) -> Expected<'_> {
        let times = u32::try_from(times).unwrap_or(u32::MAX);
        self.change(system, |known| known.saturating_add(times));
        Expected { ahead: self, system: system.to_owned(), left: times }
    }

    fn change(&self, system: &str, change: impl Fn(u32) -> u32) {
        let forecast = {
            let mut state = self.state.lock();
            let times = change(state.times.get(system).copied().unwrap_or(0));
            match times {
                0 => drop(state.times.remove(system)),
                _ => drop(state.times.insert(system.to_owned(), times)),
            }
            if state.told_at.is_some_and(|at| at.elapsed() < TELL_EVERY) {
                return;
            }
            state.told_at = Some(Instant::now());
            state.forecast()
        };
        self.model.announce(&forecast);
    }
}

impl State {
    fn forecast(&self) -> Forecast {
        let prefix = |(system, times): (&String, &u32)| ExpectedPrefix {
            // A system message is public: it holds the template's words and no tenant's.
            tenant: String::new(),
            messages: vec![Message { role: Role::System, text: system.clone(), scope: Scope::Public }],
            times: *times,
        };
        let mut prefixes: Vec<ExpectedPrefix> = self.times.iter().map(prefix).collect();
        prefixes.sort_by(|a, b| (b.times, &a.messages[0].text).cmp(&(a.times, &b.messages[0].text)));
        prefixes.truncate(PREFIXES_MAX);
        Forecast { prefixes }
    }
}

impl Expected<'_> {
    /// One of the requests is answered.
    pub(crate) fn one_done(&mut self) {
        if self.left > 0 {
            self.left -= 1;
            self.ahead.change(&self.system, |known| known.saturating_sub(1));
        }
    }
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        if self.left > 0 {
            self.ahead.change(&self.system, |known| known.saturating_sub(self.left));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(ahead: &Ahead) -> Vec<(String, u32)> {
        let forecast = ahead.state.lock().forecast();
        forecast.prefixes.into_iter().map(|p| (p.messages[0].text.clone(), p.times)).collect()
    }

    #[test]
    fn requests_of_all_attempts_are_counted_and_taken_back() {
        let ahead = Ahead::new(Arc::new(bul_engine::Scripted::default()));
        let mut invoice = ahead.expect("invoice", 2);
        let report = ahead.expect("report", 5);
        let other = ahead.expect("invoice", 1);
        assert_eq!(told(&ahead), [("report".into(), 5), ("invoice".into(), 3)]);
        invoice.one_done();
        drop(report);
        assert_eq!(told(&ahead), [("invoice".into(), 2)]);
        invoice.one_done();
        invoice.one_done();
        drop((invoice, other));
        assert!(told(&ahead).is_empty(), "nothing stays behind");
    }
}
