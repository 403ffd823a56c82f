//! A circuit breaker that replicas share through Redis, and that is simply local where there is none.
//!
//! Invariant: no call waits for Redis. Asking and recording touch only this process; the [`Follower`], a task of its
//! own, tells others of changes and reads theirs. The record in Redis ends by itself (TTL), so a replica that dies
//! while a breaker is open leaves nothing behind. After an opening one process probes, the others wait for what it finds. Called by whoever guards a remote part: model, webhook, Redis itself.

pub(crate) mod logic;
mod record;
mod told;
mod turn;

use std::sync::Arc;
use std::time::Duration;

use bul_runtime::breaker::{BreakerOptions, BreakerState, Outcome};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::logic::{Leave, Logic};
use self::record::Board;
use crate::CacheMetrics;
use crate::meter::BreakerGauge;
use crate::redis::RedisLink;

pub use told::ToldOpen;

/// Time between two looks at the record. More seldom: others learn later; more often: traffic for nothing.
pub const LOOK_EVERY: Duration = Duration::from_millis(250);
/// What the local clock shows at the start, milliseconds: openings can be dated back.
const CLOCK_START_MS: u64 = 1 << 40;

/// The breaker; clones share it.
#[derive(Clone)]
pub struct SharedBreaker {
    inner: Arc<Inner>,
}

struct Inner {
    name: &'static str,
    logic: Mutex<Logic>,
    started: Instant,
    changed: Notify,
    gauge: BreakerGauge,
}

impl SharedBreaker {
    /// A breaker of this process alone.
    pub fn local(name: &'static str, options: BreakerOptions, metrics: &CacheMetrics) -> Self {
        let gauge = metrics.breaker(name);
        gauge.show(BreakerState::Closed);
        let inner = Inner {
            name,
            logic: Mutex::new(Logic::new(options)),
            started: Instant::now(),
            changed: Notify::new(),
            gauge,
        };
        Self { inner: Arc::new(inner) }
    }

    /// A breaker shared by all processes that give it the same name on the same Redis and mean the same by it (`of`, in
    /// characters fit for a key; may be empty), and the task that shares it.
    /// Share only what fails for all alike: a replica cut off from the rest by itself would stop the others too.
    pub fn shared(
        name: &'static str,
        of: &str,
        options: BreakerOptions,
        link: Arc<RedisLink>,
        metrics: &CacheMetrics,
    ) -> (Self, Follower) {
        let open_ms_max = options.open_ms_max;
        let breaker = Self::local(name, options, metrics);
        breaker.inner.logic.lock().share();
        let record = if of.is_empty() { name.to_owned() } else { format!("{name}:{of}") };
        let board = Board::new(link, &record, open_ms_max);
        (breaker.clone(), Follower { breaker, board })
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.inner.name
    }

    /// What it does with calls now.
    pub fn state(&self) -> BreakerState {
        self.inner.logic.lock().state(self.inner.now_ms())
    }

    /// How long no call is allowed; `None` when one may be made. Changes nothing.
    pub fn closed_for(&self) -> Option<Duration> {
        self.inner.logic.lock().closed_for(self.inner.now_ms()).map(Duration::from_millis)
    }

    /// Asks to make a call.
    ///
    /// # Errors
    /// Time after which to ask again.
    pub fn try_acquire(&self) -> Result<Pass, Duration> {
        let leave = self.inner.logic.lock().try_acquire(self.inner.now_ms());
        let leave = leave.map_err(Duration::from_millis)?;
        Ok(Pass { inner: self.inner.clone(), leave: Some(leave) })
    }
}

impl Inner {
    fn now_ms(&self) -> u64 {
        CLOCK_START_MS + self.started.elapsed().as_millis() as u64
    }

    /// Changes the state under the lock, then shows and logs what came of it.
    fn change<T>(&self, act: impl FnOnce(&mut Logic, u64) -> T) -> T {
        let now_ms = self.now_ms();
        let (result, before, after) = {
            let mut logic = self.logic.lock();
            let before = logic.state(now_ms);
            let result = act(&mut logic, now_ms);
            (result, before, logic.state(now_ms))
        };
        self.gauge.show(after);
        if before != after {
            match after {
                BreakerState::Open => warn!(breaker = self.name, "opened: calls are not made for a while"),
                BreakerState::Closed => info!(breaker = self.name, "closed: calls are made again"),
                BreakerState::HalfOpen => info!(breaker = self.name, "half open: a few calls are tried"),
            }
            self.changed.notify_one();
        }
        result
    }
}

/// Leave to make one call. Dropped without an outcome, as when the caller is cancelled, it counts as a call that says
/// nothing: a probe that kept its place for ever would keep the breaker from closing.
#[must_use = "record the outcome of the call"]
pub struct Pass {
    inner: Arc<Inner>,
    leave: Option<Leave>,
}

impl Pass {
    /// Records how the call ended.
    pub fn record(mut self, outcome: Outcome) {
        self.settle(outcome);
    }

    fn settle(&mut self, outcome: Outcome) {
        if let Some(leave) = self.leave.take() {
            self.inner.change(|logic, now_ms| logic.record(leave, outcome, now_ms));
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.settle(Outcome::Ignored);
    }
}

/// Keeps a shared breaker in step with the others.
#[must_use = "a breaker whose follower does not run is local"]
pub struct Follower {
    breaker: SharedBreaker,
    board: Board,
}

impl Follower {
    /// Runs until `stopping`. If the process dies at any point, the record in Redis ends by its TTL.
    pub fn run(mut self, stopping: CancellationToken) -> BoxFuture<'static, ()> {
        async move {
            loop {
                self.step().await;
                let changed = self.breaker.inner.changed.notified();
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = changed => {}
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                }
            }
        }
        .boxed()
    }

    async fn step(&mut self) {
        let inner = self.breaker.inner.clone();
        let untold = inner.logic.lock().untold(inner.now_ms());
        if let Some(change) = untold
            && let Some(generation) = self.board.tell(change, inner.now_ms()).await
        {
            inner.change(|logic, now_ms| logic.told(change, generation, now_ms));
        }
        // What was read is told at once, before it is old; a look that failed leaves the breaker to itself.
        let clock = inner.clone();
        if let Some(record) = self.board.look(move || clock.now_ms()).await {
            inner.change(|logic, now_ms| logic.learn(record, now_ms));
        } else {
            inner.change(|_, _| ());
        }
        let asked_ms = inner.now_ms();
        let asks = inner.logic.lock().asks_for_turn(asked_ms);
        if asks && let Some(turn) = self.board.claim(asked_ms).await {
            inner.change(|logic, _| logic.turned(turn));
        }
    }
}
