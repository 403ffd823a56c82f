//! Cases about whole histories: random ones, interrupted ones, and what a store remembers.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bul_job::{AttemptNo, FailureClass, Format, JobId, OwnLimits, PublishNo, State};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use super::Fixture;
use super::kit::*;
use super::limits::counted;
use crate::{Begin, DeadFilter, JobFilter, NewJob, ReplayAs, Store, StoreError};

const TASKS: u64 = 4;
const OPERATIONS_EACH: usize = 100;
const SEED: u64 = 20_261_121;
const TENANTS: [&str; 3] = ["acme", "globex", "initech"];

/// Jobs all tasks know of, with the attempt last seen.
type Known = Arc<Mutex<Vec<(usize, JobId, AttemptNo)>>>;

/// Several tasks do whatever may be done, in any order; nothing is lost or counted twice, and what is
/// open can be brought to an end.
pub async fn the_ledger_balances_after_a_random_history(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let own = OwnLimits { running_max: Some(3), queued_max: Some(5), ..OwnLimits::default() };
    store.set_tenant_limits(&tenant(TENANTS[1]), &own).await.expect("set_tenant_limits");
    let fixture: Arc<dyn Fixture> = fixture.into();
    let known = Known::default();
    let tasks = (0..TASKS).map(|task| {
        let (fixture, known) = (Arc::clone(&fixture), Arc::clone(&known));
        tokio::spawn(async move {
            let mut rng = ChaCha8Rng::seed_from_u64(SEED + task);
            for _ in 0..OPERATIONS_EACH {
                let result = operate(&*fixture, &known, &mut rng).await;
                let fine = matches!(result, Ok(()) | Err(StoreError::Refused(_) | StoreError::NotFound(_)));
                assert!(fine, "seed {SEED}, task {task}: {result:?}");
            }
        })
    });
    for task in futures::future::join_all(tasks).await {
        task.expect("a task of the history failed");
    }
    let ledger = counted(&store).await;
    let accepted = known.lock().expect("no task panicked").len() as u64;
    assert_eq!(ledger.total.accepted, accepted, "seed {SEED}");
    bring_to_an_end(&store, &*fixture).await;
    let ledger = counted(&store).await;
    assert_eq!((ledger.total.accepted, ledger.total.open()), (accepted, 0), "seed {SEED}");
}

/// One random operation.
async fn operate(fixture: &dyn Fixture, known: &Known, rng: &mut ChaCha8Rng) -> Result<(), StoreError> {
    let store = fixture.store();
    let choice: u32 = rng.random_range(0..100);
    let picked = {
        let known = known.lock().expect("no task panicked");
        (!known.is_empty()).then(|| rng.random_range(0..known.len())).map(|i| (i, known[i]))
    };
    let Some((index, (owner, id, attempt))) = picked.filter(|_| choice >= 25) else {
        return accept_random(&store, known, rng).await;
    };
    let owner = tenant(TENANTS[owner]);
    match choice {
        25..32 => store.take_due(rng.random_range(1..20)).await.map(drop),
        32..38 => store.published(&[(id, PublishNo(rng.random_range(1..4)))]).await,
        38..58 => {
            if let Begin::Run(run) = store.begin(id, "w", LEASE).await? {
                known.lock().expect("no task panicked")[index].2 = run.attempt;
            }
            Ok(())
        }
        58..62 => store.extend(id, attempt, LEASE).await.map(drop),
        62..72 => store.complete(id, attempt, &output()).await,
        72..82 => {
            let classes = [FailureClass::Transient, FailureClass::Permanent, FailureClass::Poison];
            store.fail(id, attempt, &failure(classes[rng.random_range(0..3)])).await.map(drop)
        }
        82..85 => store.hand_back(id, attempt).await.map(drop),
        85..88 => store.cancel(&owner, id).await.map(drop),
        88..92 => store.replay(&owner, id, None, ReplayAs::default(), "op").await,
        92..94 => store.purge(&owner, id, "op").await,
        94..95 => store.end_orphaned().await.map(drop),
        95..96 => store.republish_queued().await.map(drop),
        96..97 => store.job(&owner, id).await.map(drop),
        97..98 => store.release(20).await.map(drop),
        _ => {
            fixture.advance(Duration::from_secs(rng.random_range(1..60)));
            balanced(&store).await;
            Ok(())
        }
    }
}

async fn accept_random(
    store: &Arc<dyn Store>,
    known: &Known,
    rng: &mut ChaCha8Rng,
) -> Result<(), StoreError> {
    let owner = rng.random_range(0..TENANTS.len());
    let seconds: i64 = rng.random_range(-60..60);
    let run_at = (store.now() + chrono::TimeDelta::seconds(seconds)).to_rfc3339();
    let body = match rng.random_range(0..3) {
        0 => json!({"query": "x", "max_attempts": rng.random_range(1..4)}),
        1 => json!({"query": "x", "run_at": run_at}),
        _ => json!({"query": "x", "idempotency_key": format!("k{}", rng.random_range(0..5))}),
    };
    let job: NewJob = new_job_of(store, TENANTS[owner], body);
    if let crate::Accepted::New { id, .. } = only(store.accept(&[job]).await?) {
        known.lock().expect("no task panicked").push((owner, id, AttemptNo(0)));
    }
    Ok(())
}

/// A dispatcher that keeps looking and a worker that works.
async fn bring_to_an_end(store: &Arc<dyn Store>, fixture: &dyn Fixture) {
    store.end_orphaned().await.expect("end_orphaned");
    for _ in 0..40 {
        fixture.advance(AGES);
        store.republish_queued().await.expect("republish_queued");
        let mut all = drain(store).await;
        all.extend(store.release(100).await.expect("release").ready);
        for ready in all {
            if let Begin::Run(run) = store.begin(ready.id, "w", LEASE).await.expect("begin") {
                store.complete(ready.id, run.attempt, &output()).await.expect("complete");
            }
        }
    }
}

/// A caller that gives up at any point leaves no transaction open and no job half accepted.
pub async fn a_dropped_call_leaves_the_store_usable(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    for polls in 0..40 {
        let job = new_job(&store, json!({"query": "x"}));
        let call = store.accept(std::slice::from_ref(&job));
        let mut call = std::pin::pin!(call);
        for _ in 0..polls {
            if futures::poll!(call.as_mut()).is_ready() {
                break;
            }
            tokio::task::yield_now().await;
        }
    }
    let id = accept_any(&store).await;
    let attempt = begin(&store, id).await.attempt;
    store.complete(id, attempt, &output()).await.unwrap();
    let ledger = balanced(&store).await;
    let listed = store.jobs(&acme(), &JobFilter { limit: 100, ..Default::default() }).await.unwrap();
    assert_eq!(listed.len() as u64, ledger.total.accepted);
}

/// After a restart everything is as it was.
pub async fn reopening_keeps_everything(mut fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let (completed, attempt) = running(&store).await;
    store.complete(completed, attempt, &output()).await.unwrap();
    let dead = dead(&store, json!({"template": "invoice", "data": {"a": [1, 2]}})).await;
    let (run, attempt) = running(&store).await;
    let queued = accept(&store, json!({"query": "x", "idempotency_key": "k"})).await;
    let schedule = super::schedules::schedule(&store, "acme", "weekly");
    store.add_schedule(&schedule).await.unwrap();
    store.lead("scheduler", "a", LEASE).await.unwrap();
    let before = detail(&store, dead).await;
    let ledger = balanced(&store).await;
    drop(store);
    if !fixture.reopen().await {
        return;
    }
    let store = fixture.store();
    assert_eq!(balanced(&store).await, ledger);
    assert_eq!(store.document(&acme(), completed, Format::Md).await.unwrap(), output().documents[1].1);
    assert_eq!(detail(&store, completed).await.usage, Some(output().usage));
    let after = detail(&store, dead).await;
    assert_eq!(
        (after.job, after.core, after.summary.status),
        (before.job, before.core, before.summary.status)
    );
    assert_eq!(store.count_dead_letters(&acme(), &DeadFilter::default()).await.unwrap(), 1);
    let again =
        only(store.accept(&[new_job(&store, json!({"query": "x", "idempotency_key": "k"}))]).await.unwrap());
    assert_eq!(again, crate::Accepted::Existing { id: queued, state: State::Queued });
    assert_eq!(only(store.schedules(&acme()).await.unwrap()).id, schedule.id);
    assert!(!store.lead("scheduler", "b", LEASE).await.unwrap());
    store.complete(run, attempt, &output()).await.unwrap();
    balanced(&store).await;
}
