//! Dead letters: list, show, edit, replay, purge.
//!
//! Every command works on the store through [`bul_store::Store`] and is audited there. A replay is
//! safe to repeat: the store refuses a job that is not dead any more, and that refusal is counted as
//! skipped. It halts while a dependency of the jobs is down, whoever asks for it. Called by the HTTP API, and by
//! `bul dlq` with `--direct`.

mod edit;
mod filter;
mod health;
mod one;
mod pages;
mod rate;
mod replay;
mod report;

use std::sync::Arc;

use bul_job::{FieldError, JobId, Limits, TenantId, ValidJob};
use bul_store::{DeadFilter, DeadLetter, Store, StoreError};

pub use edit::{Edit, EditError, EditReport, as_raw};
pub use filter::{FilterError, parse_filter};
pub use health::Halted;
pub use one::ReplayError;
pub use rate::{Rate, RateError};
pub use replay::{HALT_MAX, Pace, ReplayOptions, SPREAD_AHEAD, Selection};
pub use report::{PurgeReport, Refusal, ReplayReport, Rest};

/// Dead letters replayed or purged in one call at most. Too high: one command floods the queue
/// before anybody can look at the first results. Too low: an operator repeats the command.
pub const PER_CALL_MAX: usize = 10_000;
/// Page of a list at most.
pub const LIST_MAX: usize = 500;

/// Checks an edited job against what its template wants.
pub type JobCheck = Arc<dyn Fn(&ValidJob) -> Result<(), Vec<FieldError>> + Send + Sync>;

/// Waits; replaced in tests, where no time passes.
pub type Sleep =
    Arc<dyn Fn(std::time::Duration) -> std::pin::Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>;

/// Works on the dead letters of one store.
#[derive(Clone)]
pub struct Replayer {
    store: Arc<dyn Store>,
    limits: Limits,
    check: JobCheck,
    sleep: Sleep,
    halted: Halted,
}

impl Replayer {
    /// A replayer that checks edited jobs with the general rules only, and that halts while the store knows
    /// of an open circuit breaker.
    pub fn new(store: Arc<dyn Store>, limits: Limits) -> Self {
        Self {
            halted: health::by_breakers(store.clone()),
            store,
            limits,
            check: Arc::new(|_| Ok(())),
            sleep: Arc::new(|pause| Box::pin(tokio::time::sleep(pause))),
        }
    }

    /// Also checks edited jobs with `check`, so that an edit cannot make a job that dies again at once.
    #[must_use]
    pub fn with_check(mut self, check: JobCheck) -> Self {
        self.check = check;
        self
    }

    /// Waits with `sleep` instead of the timer of the runtime.
    #[must_use]
    pub fn with_sleep(mut self, sleep: Sleep) -> Self {
        self.sleep = sleep;
        self
    }

    /// Halts by what `halted` says instead of the breakers in the store.
    #[must_use]
    pub fn with_halted(mut self, halted: Halted) -> Self {
        self.halted = halted;
        self
    }

    /// Dead letters, oldest first; at most [`LIST_MAX`].
    pub async fn list(&self, tenant: &TenantId, filter: &DeadFilter) -> Result<Vec<DeadLetter>, StoreError> {
        let page = DeadFilter { limit: filter.limit.clamp(1, LIST_MAX), ..filter.clone() };
        self.store.dead_letters(tenant, &page).await
    }

    /// How many match.
    pub async fn count(&self, tenant: &TenantId, filter: &DeadFilter) -> Result<u64, StoreError> {
        self.store.count_dead_letters(tenant, filter).await
    }

    /// One dead letter.
    pub async fn show(&self, tenant: &TenantId, id: JobId) -> Result<DeadLetter, StoreError> {
        let filter = DeadFilter { ids: vec![id], limit: 1, ..DeadFilter::default() };
        let found = self.store.dead_letters(tenant, &filter).await?;
        found.into_iter().next().ok_or(StoreError::NotFound("dead letter"))
    }

    /// Erases one dead letter for good.
    pub async fn purge(&self, tenant: &TenantId, id: JobId, actor: &str) -> Result<(), StoreError> {
        self.show(tenant, id).await?;
        self.store.purge(tenant, id, actor).await
    }
}

#[cfg(test)]
mod tests;
