//! The dispatcher: due rows, and parked ones that have a place → broker.
//!
//! What if the process dies here? Before the publication the row is queued with a due time ahead and
//! comes up again as a lost publication; after it and before `published` the same happens, and the
//! second message finds the job running or done.

use std::sync::atomic::Ordering;

use bul_broker::{BrokerError, Message};
use bul_job::{Event, EventKind, State};
use bul_store::{Due, Ready};
use tracing::warn;

use crate::Scheduler;

impl Scheduler {
    /// Moves one batch. `true` when it was full, so that there may be more.
    pub(crate) async fn dispatch_due(&self) -> bool {
        let due = match self.store.take_due(self.options.batch_max).await {
            Ok(due) => due,
            Err(error) => {
                warn!(%error, "due rows cannot be read");
                return false;
            }
        };
        let full = due.seen >= self.options.batch_max;
        self.announce(&due).await;
        let published = self.publish(&due.ready).await;
        full && published
    }

    /// Publishes parked jobs for which there is a place now. `true` when there may be more.
    pub(crate) async fn release(&self) -> bool {
        let released = match self.store.release(self.options.batch_max).await {
            Ok(released) => released,
            Err(error) => {
                warn!(%error, "parked jobs cannot be let go");
                self.released.store(false, Ordering::Relaxed);
                return false;
            }
        };
        self.released.store(released.seen > 0, Ordering::Relaxed);
        let full = released.seen >= self.options.batch_max / 2;
        self.metrics.dispatched.with_label_values(&["released"]).inc_by(released.ready.len() as u64);
        self.announce(&released).await;
        let published = self.publish(&released.ready).await;
        full && published
    }

    /// Whether jobs wait for a place and not for a time.
    pub(crate) fn standing_in_line(&self) -> bool {
        self.released.load(Ordering::Relaxed)
    }

    /// Publishes and records the confirmation. `false` when the broker takes no more for now.
    pub(crate) async fn publish(&self, ready: &[Ready]) -> bool {
        if ready.is_empty() {
            return true;
        }
        let messages: Vec<Message> = ready
            .iter()
            .map(|r| Message { job: r.id, tenant: r.tenant.clone(), lane: r.lane, publish: r.publish })
            .collect();
        if let Err(error) = self.broker.publish(&messages).await {
            self.metrics.dispatched.with_label_values(&["unpublished"]).inc_by(messages.len() as u64);
            warn!(%error, messages = messages.len(), "not published; the rows come up again");
            return !matches!(
                error,
                BrokerError::Full(_) | BrokerError::Unavailable(_) | BrokerError::Closed
            );
        }
        self.metrics.dispatched.with_label_values(&["published"]).inc_by(messages.len() as u64);
        let confirmed: Vec<_> = ready.iter().map(|r| (r.id, r.publish)).collect();
        if let Err(error) = self.store.published(&confirmed).await {
            // The rows come up again and are published a second time, which is harmless.
            warn!(%error, "confirmations not recorded");
        }
        true
    }

    async fn announce(&self, due: &Due) {
        self.metrics.dispatched.with_label_values(&["changed"]).inc_by(due.changed.len() as u64);
        let at = self.store.now();
        for ready in &due.ready {
            let kind = EventKind::State { state: State::Queued, attempt: 0, message: None };
            self.tell(Event { tenant: ready.tenant.clone(), job: ready.id, at, kind }).await;
        }
        for (tenant, job, status) in &due.changed {
            let kind = EventKind::State {
                state: status.state,
                attempt: status.attempt.0,
                message: status.message.clone(),
            };
            self.tell(Event { tenant: tenant.clone(), job: *job, at, kind }).await;
        }
    }

    /// Events are a courtesy; the store is the truth.
    async fn tell(&self, event: Event) {
        if let Err(error) = self.broker.publish_event(event).await {
            tracing::debug!(%error, "event not sent");
        }
    }
}
