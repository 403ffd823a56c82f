//! Tells the store that the model's circuit breaker is open, so that others can say why jobs wait and replays halt.
//!
//! The store's own breaker is not told: who could hear of it cannot reach the store either.

use std::time::Duration;

use bul_store::BreakerReport;
use tokio::time::Instant;
use tracing::debug;

use crate::Worker;

/// How often the breaker is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often an open one is told again: three times within the time that a report counts.
const TELL_EVERY: Duration = Duration::from_secs(10);

impl Worker {
    /// Runs for ever; dropped with the worker. What a process that dies has told counts for half a minute.
    pub(crate) async fn report_breakers(&self) {
        let mut told: Option<Instant> = None;
        loop {
            tokio::time::sleep(LOOK).await;
            let open = self.model.closed_for().is_some();
            let is_due = match told {
                Some(at) => !open || at.elapsed() >= TELL_EVERY,
                None => open,
            };
            if !is_due {
                continue;
            }
            let (process, dependency) = (self.options.name.clone(), "model".into());
            match self.store.report_breaker(&BreakerReport { process, dependency, open }).await {
                Ok(()) => told = open.then(Instant::now),
                // It is told again at the next look.
                Err(error) => debug!(%error, open, "the breaker could not be reported"),
            }
        }
    }
}
