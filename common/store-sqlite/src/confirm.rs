//! Confirmed publications: kept for a moment, because most jobs begin before it is over and then need
//! no write at all.
//!
//! A crash in between loses confirmations, and those jobs are published a second time; nothing depends on
//! them but the silence of the dispatcher. Invariant: a confirmation is written within half of the grace
//! period, hence before the dispatcher would publish again.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use bul_job::{JobId, PublishNo, Rules};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::fault::Fault;
use crate::rows::{blob, micros};
use crate::wide::{Binds, Wide};
use crate::writer::Tx;

/// Confirmations in memory; beyond it they are written at once.
const HELD_MAX: usize = 50_000;

static PUBLISHED: Wide = Wide::new(include_str!("../queries/published.sql"));

/// Confirmations that wait. Two generations: one that gathers, one that has waited for a while.
pub(crate) struct Confirmations {
    /// How long a generation gathers; zero to write each at once.
    delay: Duration,
    held: Mutex<Held>,
    /// Wakes the writer when there is something to wait for.
    news: Notify,
}

#[derive(Default)]
struct Held {
    young: HashMap<JobId, PublishNo>,
    old: HashMap<JobId, PublishNo>,
    turn_at: Option<Instant>,
}

impl Confirmations {
    pub(crate) fn new(delay: Duration, rules: &Rules) -> Self {
        // Both generations together stay within half of the grace period.
        let delay = delay.min(rules.publish_grace / 4);
        Self { delay, held: Mutex::default(), news: Notify::new() }
    }

    /// Keeps confirmations. Returns what must be written now.
    pub(crate) fn hold(&self, confirmed: &[(JobId, PublishNo)]) -> Vec<(JobId, PublishNo)> {
        if self.delay.is_zero() {
            return confirmed.to_vec();
        }
        let mut held = self.held();
        held.young.extend(confirmed.iter().copied());
        if held.young.len() + held.old.len() >= HELD_MAX {
            return held.take_all();
        }
        if held.turn_at.is_none() && !held.young.is_empty() {
            held.turn_at = Some(Instant::now() + self.delay);
            self.news.notify_one();
        }
        Vec::new()
    }

    /// Waits until some have waited long enough. May be dropped and called again.
    pub(crate) async fn due(&self) {
        loop {
            let turn_at = self.held().turn_at;
            match turn_at {
                Some(at) => return tokio::time::sleep_until(at).await,
                None => self.news.notified().await,
            }
        }
    }

    /// Those that have waited long enough.
    pub(crate) fn turn(&self) -> Vec<(JobId, PublishNo)> {
        let mut held = self.held();
        let young = std::mem::take(&mut held.young);
        held.turn_at = (!young.is_empty()).then(|| Instant::now() + self.delay);
        std::mem::replace(&mut held.old, young).into_iter().collect()
    }

    /// All of them.
    pub(crate) fn take_all(&self) -> Vec<(JobId, PublishNo)> {
        self.held().take_all()
    }

    /// A job that this process has begun needs none.
    pub(crate) fn forget(&self, ids: impl Iterator<Item = JobId>) {
        let mut held = self.held();
        if held.young.is_empty() && held.old.is_empty() {
            return;
        }
        for id in ids {
            held.young.remove(&id);
            held.old.remove(&id);
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn take_all(&mut self) -> Vec<(JobId, PublishNo)> {
        self.turn_at = None;
        let mut all = std::mem::take(&mut self.old);
        all.extend(std::mem::take(&mut self.young));
        all.into_iter().collect()
    }
}

/// Writes confirmations.
pub(crate) async fn write(tx: &mut Tx, mut confirmed: Vec<(JobId, PublishNo)>) -> Result<(), Fault> {
    confirmed.sort_unstable();
    let (now, rules) = (tx.now, tx.rules);
    let bind = |(id, publish): &(JobId, PublishNo), binds: &mut Binds| {
        binds.put(blob(*id)).put(publish.0).put(micros(now + rules.look_again_after(*publish)));
    };
    PUBLISHED.execute(&mut tx.conn, &confirmed, bind).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confirmations() -> Confirmations {
        Confirmations::new(Duration::from_secs(1), &Rules::default())
    }

    #[test]
    fn a_confirmation_is_written_in_the_second_turn_unless_its_job_has_begun() {
        let (a, b) = (JobId::new(), JobId::new());
        let confirmations = confirmations();
        assert!(confirmations.hold(&[(a, PublishNo(1)), (b, PublishNo(1))]).is_empty());
        assert!(confirmations.turn().is_empty());
        confirmations.forget([b].into_iter());
        confirmations.hold(&[(b, PublishNo(2))]);
        assert_eq!(confirmations.turn(), [(a, PublishNo(1))]);
        assert_eq!(confirmations.take_all(), [(b, PublishNo(2))]);
    }

    #[test]
    fn memory_is_bounded() {
        let many: Vec<_> = (0..HELD_MAX).map(|_| (JobId::new(), PublishNo(1))).collect();
        assert_eq!(confirmations().hold(&many).len(), HELD_MAX);
    }

    #[test]
    fn both_generations_stay_within_half_of_the_grace_period() {
        let rules = Rules::default();
        assert!(2 * Confirmations::new(Duration::MAX, &rules).delay <= rules.publish_grace / 2);
    }
}
