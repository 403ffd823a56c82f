//! The circuit breaker in front of the store: while it is open no work is pulled, since no attempt could begin.
//!
//! Pulling on would hand each message out and take it back all the time, and with a broker that counts deliveries it would
//! look as if the jobs failed. Used by `attempt` (outcomes) and `pull` (waiting).

use std::time::{Duration, Instant};

use bul_runtime::breaker::{Breaker, BreakerOptions, BreakerState, Outcome};
use parking_lot::Mutex;

/// Opens after a few failures and looks again soon: a database that restarts is back within seconds.
fn options() -> BreakerOptions {
    BreakerOptions {
        window_ms: 10_000,
        calls_min: 3,
        failure_rate: 0.5,
        open_ms: 500,
        open_ms_max: 2_000,
        probes_max: 2,
        probes_to_close: 1,
    }
}

pub(crate) struct Gate {
    breaker: Mutex<Breaker>,
    started: Instant,
}

impl Gate {
    pub(crate) fn new() -> Self {
        Self { breaker: Mutex::new(Breaker::new(options())), started: Instant::now() }
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// How long no call should be made.
    pub(crate) fn closed_for(&self) -> Option<Duration> {
        self.breaker.lock().closed_for(self.now_ms()).map(Duration::from_millis)
    }

    /// 0 closed, 1 half-open, 2 open.
    pub(crate) fn state(&self) -> i64 {
        match self.breaker.lock().state(self.now_ms()) {
            BreakerState::Closed => 0,
            BreakerState::HalfOpen => 1,
            BreakerState::Open => 2,
        }
    }

    /// Makes a call unless the breaker is open; `is_down` tells a dependency that is away from one that says no.
    pub(crate) async fn call<T, E>(
        &self,
        call: impl Future<Output = Result<T, E>>,
        is_down: impl Fn(&E) -> bool,
    ) -> Option<Result<T, E>> {
        let permit = self.breaker.lock().try_acquire(self.now_ms()).ok()?;
        let result = call.await;
        let outcome = match &result {
            Err(error) if is_down(error) => Outcome::Failure,
            Ok(_) | Err(_) => Outcome::Success,
        };
        self.breaker.lock().record(permit, outcome, self.now_ms());
        Some(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_opens_for_a_dependency_that_is_away_and_not_for_one_that_refuses() {
        let gate = Gate::new();
        let call = |down: bool| gate.call(async move { Err::<(), bool>(down) }, |down| *down);
        for _ in 0..5 {
            assert!(call(false).await.is_some());
        }
        assert_eq!((gate.closed_for(), gate.state()), (None, 0));
        while gate.closed_for().is_none() {
            call(true).await;
        }
        assert!(call(true).await.is_none(), "nothing is called while it is open");
        assert_eq!(gate.state(), 2);
    }
}
