//! Confirmed publications: kept for a moment, because most jobs begin before it is over and then need
//! no write at all.
//!
//! A crash in between loses confirmations, and the jobs are published a second time; nothing depends on
//! them but the silence of the dispatcher. Invariant: a confirmation is written within half of the grace
//! period, hence before the dispatcher would publish again.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bul_job::{PublishNo, Rules};
use futures::FutureExt;
use futures::future::BoxFuture;
use sqlx::PgConnection;
use sqlx::postgres::PgBindIterExt;
use tokio::sync::watch;
use uuid::Uuid;

use crate::Shared;
use crate::batch::{Batcher, Waiting, Work};
use crate::fault::Fault;

/// Confirmations in memory, 20 bytes each; beyond it they are written at once.
const HELD_MAX: usize = 50_000;
/// Confirmations in one statement.
const WRITE_MAX: usize = 2_000;

/// Writes confirmations.
pub(crate) struct ConfirmWork;

impl Work for ConfirmWork {
    type Op = Vec<(Uuid, i32)>;
    type Answer = ();
    const NAME: &'static str = "published";

    fn size(op: &Self::Op) -> usize {
        op.len()
    }

    fn flush<'f>(
        shared: &'f Shared,
        conn: &'f mut PgConnection,
        batch: &'f mut [Waiting<Self>],
    ) -> BoxFuture<'f, Result<(), Fault>> {
        async move {
            // In the order of the ids, like every batch; of two for one job the later one counts.
            let latest: std::collections::BTreeMap<Uuid, i32> =
                batch.iter().flat_map(|waiting| waiting.op.iter().copied()).collect();
            let now = shared.time.now();
            let look_again = |publish: &i32| {
                now + shared.rules.look_again_after(PublishNo(u32::try_from(*publish).unwrap_or(u32::MAX)))
            };
            sqlx::query(include_str!("../queries/published.sql"))
                .bind(latest.keys().copied().bind_iter())
                .bind(latest.values().copied().bind_iter())
                .bind(latest.values().map(look_again).bind_iter())
                .execute(conn)
                .await?;
            batch.iter_mut().for_each(|waiting| waiting.result = Some(Ok(())));
            Ok(())
        }
        .boxed()
    }
}

/// Confirmations that wait. Two generations: one that gathers, one that has waited for a while.
#[derive(Default)]
pub(crate) struct Confirmations {
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    young: HashMap<Uuid, i32>,
    old: HashMap<Uuid, i32>,
}

impl Confirmations {
    /// Keeps confirmations. Returns what must be written now because there are too many.
    pub(crate) fn hold(&self, confirmed: impl IntoIterator<Item = (Uuid, i32)>) -> Vec<(Uuid, i32)> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.young.extend(confirmed);
        if held.young.len() + held.old.len() < HELD_MAX { Vec::new() } else { held.take_all() }
    }

    /// Those that have waited long enough.
    fn turn(&self) -> Vec<(Uuid, i32)> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let young = std::mem::take(&mut held.young);
        std::mem::replace(&mut held.old, young).into_iter().collect()
    }

    /// All of them.
    pub(crate) fn take_all(&self) -> Vec<(Uuid, i32)> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).take_all()
    }

    /// A job that this process has begun needs none.
    pub(crate) fn forget(&self, ids: impl IntoIterator<Item = Uuid>) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.young.is_empty() && held.old.is_empty() {
            return;
        }
        for id in ids {
            held.young.remove(&id);
            held.old.remove(&id);
        }
    }
}

impl Held {
    fn take_all(&mut self) -> Vec<(Uuid, i32)> {
        // A later number of the same job comes last.
        let old = std::mem::take(&mut self.old);
        old.into_iter().chain(std::mem::take(&mut self.young)).collect()
    }
}

/// How long a generation gathers: both together stay within half of the grace period.
pub(crate) fn delay(asked: Duration, rules: &Rules) -> Duration {
    asked.min(rules.publish_grace / 4)
}

/// Writes a list, a statement at a time.
pub(crate) async fn write(
    batcher: &Batcher<ConfirmWork>,
    confirmed: &[(Uuid, i32)],
) -> Result<(), bul_store::StoreError> {
    for part in confirmed.chunks(WRITE_MAX) {
        batcher.run(part.to_vec()).await?;
    }
    Ok(())
}

/// Writes what has waited long enough, until the store is dropped or closed.
pub(crate) async fn keep_writing(
    shared: Arc<Shared>,
    batcher: Arc<Batcher<ConfirmWork>>,
    every: Duration,
    mut stop: watch::Receiver<()>,
) {
    loop {
        tokio::select! {
            biased;
            // Also when the sender is gone.
            _ = stop.changed() => return,
            () = tokio::time::sleep(every) => {}
        }
        let confirmed = shared.confirmations.turn();
        if let Err(error) = write(&batcher, &confirmed).await {
            let jobs = confirmed.len();
            tracing::warn!(%error, jobs, "confirmations are lost; the jobs are published again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confirmation_is_written_in_the_second_turn_unless_its_job_has_begun() {
        let (a, b) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let confirmations = Confirmations::default();
        assert!(confirmations.hold([(a, 1), (b, 1)]).is_empty());
        assert!(confirmations.turn().is_empty());
        confirmations.forget([b]);
        confirmations.hold([(b, 2)]);
        assert_eq!(confirmations.turn(), [(a, 1)]);
        assert_eq!(confirmations.take_all(), [(b, 2)]);
    }

    #[test]
    fn memory_is_bounded() {
        let confirmations = Confirmations::default();
        let many = (0..HELD_MAX as u128).map(|n| (Uuid::from_u128(n), 1));
        assert_eq!(confirmations.hold(many).len(), HELD_MAX);
        assert!(confirmations.take_all().is_empty());
    }

    #[test]
    fn both_generations_stay_within_half_of_the_grace_period() {
        let rules = Rules::default();
        assert!(2 * delay(Duration::MAX, &rules) <= rules.publish_grace / 2);
        assert_eq!(delay(Duration::ZERO, &rules), Duration::ZERO);
    }
}
