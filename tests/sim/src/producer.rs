//! The one way in, step for step as in `producer/src/submit.rs` and `adopt.rs`: accept in one transaction,
//! publish, confirm.

use std::cell::Cell;
use std::rc::Rc;

use crate::broker::BrokerError;
use crate::clock::Ms;
use crate::mutants::Mutant;
use crate::proc::{Proc, race};
use crate::store_types::{Accepted, Body, Key, NewJob, Ready, StoreError};

/// Tries to accept, with the same ids.
const ACCEPT_TRIES: u32 = 2;
/// How long a caller waits for the broker; behind it the dispatcher takes over.
const PUBLISH_TIMEOUT: Ms = 3_000;
/// How long the store's part in the process keeps a confirmation in memory: half of the grace period.
const CONFIRM_WITHIN: Ms = 2_500;

/// Where a user waits for the answer.
pub type Reply = Rc<Cell<Option<Result<Vec<Accepted>, StoreError>>>>;

/// A submission of a user.
pub async fn submit(p: Proc, jobs: Vec<NewJob>, reply: Reply) {
    let accepted = accept(&p, jobs).await;
    if let Ok(accepted) = &accepted {
        announce(&p, accepted).await;
    }
    reply.set(Some(accepted));
}

async fn accept(p: &Proc, jobs: Vec<NewJob>) -> Result<Vec<Accepted>, StoreError> {
    let mut tries = 1;
    loop {
        let batch = jobs.clone();
        let first = jobs.first().map_or(0, |job| job.id);
        match p.store(("accept", first), move |s, now| s.accept(now, &batch)).await {
            Err(StoreError::Unavailable) if tries < ACCEPT_TRIES => tries += 1,
            other => return other,
        }
    }
}

/// Tells the broker. Nothing here may fail the submission: the rows are committed.
async fn announce(p: &Proc, accepted: &[Accepted]) {
    let ready: Vec<Ready> = accepted.iter().filter_map(|answer| answer.ready()).collect();
    let work = async {
        publish(p, ready).await;
    };
    race(work, p.sleep(PUBLISH_TIMEOUT)).await;
}

/// Publishes and records the confirmation, a moment later. Whether the broker can take more.
pub async fn publish(p: &Proc, ready: Vec<Ready>) -> bool {
    if ready.is_empty() {
        return true;
    }
    let first = ready.first().map_or(0, |ready| ready.job);
    let messages = ready.clone();
    let published = p.broker(("publish", first), move |b, f, now| b.publish(f, now, &messages)).await;
    if matches!(published, Err(BrokerError::Unavailable | BrokerError::Full))
        && !p.sim.is(Mutant::ConfirmUnpublished)
    {
        return false;
    }
    let confirmed: Vec<_> = ready.iter().map(|ready| (ready.job, ready.publish)).collect();
    let (confirming, delay) = (p.clone(), p.sim.faults(|f| f.between(0, CONFIRM_WITHIN)));
    p.spawn(async move {
        confirming.sleep(delay).await;
        // If it is not recorded, the rows come up again and are published a second time, which is harmless.
        let _ = confirming.store(("published", first), move |s, now| s.published(now, &confirmed)).await;
    });
    true
}

/// Takes over a message of another program. `Ok` once the store holds what it was.
pub async fn adopt(p: &Proc, message: u32, body: Option<Body>) -> Result<(), StoreError> {
    let id = p.sim.world(|w| w.new_id());
    match body {
        Some(body) => {
            let job = NewJob { id, tenant: 0, key: Some(Key::Message(message)), body };
            let accepted = accept(p, vec![job]).await?;
            announce(p, &accepted).await;
        }
        None => {
            let keep = p.store(("unreadable", id), move |s, now| s.accept_unreadable(now, id, message));
            keep.await?;
        }
    }
    Ok(())
}
