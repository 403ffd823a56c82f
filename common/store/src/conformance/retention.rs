//! Cases about what is removed after its time.

use std::sync::Arc;
use std::time::Duration;

use bul_job::{DeadReason, FailureClass, Format, JobId, State};
use chrono::TimeDelta;
use serde_json::json;

use super::Fixture;
use super::kit::*;
use super::schedules::schedule;
use crate::{Accepted, DeadFilter, JobFilter, Pruned, ReplayAs, Retention, Store};

const DAY: Duration = Duration::from_secs(24 * 3_600);
/// More than any case has jobs.
const MANY: usize = 100;

async fn completed(store: &Arc<dyn Store>) -> JobId {
    let (id, attempt) = running(store).await;
    store.complete(id, attempt, &output()).await.unwrap();
    id
}

async fn cancelled(store: &Arc<dyn Store>) -> JobId {
    let id = accept_any(store).await;
    store.cancel(&acme(), id).await.unwrap();
    id
}

/// Calls until everything was looked at.
async fn prune(store: &Arc<dyn Store>, keep: &Retention, limit: usize) -> Pruned {
    let mut sum = Pruned::default();
    for _ in 0..MANY {
        let pruned = store.prune(keep, sum.next, limit).await.unwrap();
        sum.add(&pruned);
        if sum.next.is_none() {
            return sum;
        }
    }
    panic!("it comes to no end: {sum:?}");
}

/// The rows go, their number stays.
pub async fn ended_jobs_go_and_stay_counted(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let (done, stopped) = (completed(&store).await, cancelled(&store).await);
    let letter = dead(&store, json!({"query": "x", "max_attempts": 3})).await;
    let (retried, attempt) = running(&store).await;
    store.fail(retried, attempt, &failure(FailureClass::Transient)).await.unwrap();
    fixture.advance(AGES);
    drain(&store).await;
    let attempt = begin(&store, retried).await.attempt;
    store.complete(retried, attempt, &output()).await.unwrap();
    fixture.advance(10 * DAY);
    let young = completed(&store).await;
    let before = balanced(&store).await;
    let keep = Retention {
        completed: Some(7 * DAY),
        cancelled: Some(7 * DAY),
        dead: Some(7 * DAY),
        ..Retention::default()
    };
    let pruned = prune(&store, &keep, MANY).await;
    assert_eq!((pruned.completed, pruned.cancelled, pruned.dead, pruned.next), (2, 1, 1, None));
    assert_eq!(balanced(&store).await, before, "the totals are as they were");
    for gone in [done, stopped, letter, retried] {
        assert_not_found(store.job(&acme(), gone).await);
        assert_not_found(store.document(&acme(), gone, Format::Md).await);
    }
    let left = store.jobs(&acme(), &JobFilter::default()).await.unwrap();
    assert_eq!(left.iter().map(|job| job.id).collect::<Vec<_>>(), [young]);
    assert!(store.dead_letters(&acme(), &DeadFilter::default()).await.unwrap().is_empty());
    assert!(!store.document(&acme(), young, Format::Md).await.unwrap().is_empty());
    // A late message of a job that is gone finds nothing.
    assert_not_found(store.begin(done, "worker-1", LEASE).await);
    assert_eq!(prune(&store, &keep, MANY).await.total(), 0);
    let again = accept_any(&store).await;
    store.cancel(&acme(), again).await.unwrap();
    assert_eq!(balanced(&store).await.total.accepted, before.total.accepted + 1);
}

/// What is open, young, or kept for ever stays, however old.
pub async fn open_and_kept_jobs_stay(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let letter = dead(&store, json!({"query": "x"})).await;
    let delayed = accept(&store, json!({"query": "x", "run_at": "2999-01-01T00:00:00Z"})).await;
    let queued = accept_any(&store).await;
    let (runs, attempt) = running(&store).await;
    fixture.advance(400 * DAY);
    let done = completed(&store).await;
    fixture.advance(2 * DAY);
    let keep = Retention {
        completed: Some(3 * DAY),
        cancelled: Some(DAY),
        documents: Some(3 * DAY),
        ..Retention::default()
    };
    assert_eq!(prune(&store, &keep, MANY).await, Pruned::default());
    for (id, expected) in [
        (letter, State::Dead),
        (delayed, State::Waiting),
        (queued, State::Queued),
        (runs, State::Running),
        (done, State::Completed),
    ] {
        assert_eq!(state(&store, id).await, expected);
    }
    store.complete(runs, attempt, &output()).await.unwrap();
    assert_eq!(prune(&store, &keep, MANY).await.total(), 0, "it has only just ended");
    store.replay(&acme(), letter, None, ReplayAs::default(), "op").await.unwrap();
    assert_eq!(prune(&store, &Retention { dead: Some(DAY), ..keep }, MANY).await.total(), 0, "it runs again");
    assert_eq!(store.prune(&Retention::default(), None, MANY).await.unwrap(), Pruned::default());
    balanced(&store).await;
}

/// One job at a time, from the oldest to the youngest.
pub async fn small_steps_come_to_the_end(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    for n in 0..7 {
        if n % 3 == 0 {
            cancelled(&store).await;
        } else {
            completed(&store).await;
        }
    }
    fixture.advance(2 * DAY);
    let young = completed(&store).await;
    let keep = Retention { completed: Some(DAY), ..Retention::default() };
    let first = store.prune(&keep, None, 2).await.unwrap();
    assert!(first.next.is_some() && first.completed == 1, "{first:?}");
    let rest = prune(&store, &keep, 2).await;
    assert_eq!((rest.completed, rest.cancelled), (3, 0));
    assert_eq!(store.jobs(&acme(), &JobFilter::default()).await.unwrap().len(), 4);
    assert_eq!(state(&store, young).await, State::Completed);
    let ledger = balanced(&store).await;
    assert_eq!((ledger.total.completed, ledger.total.cancelled), (5, 3));
}

/// The record of a job outlives its documents.
pub async fn documents_go_before_their_jobs(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let old = completed(&store).await;
    fixture.advance(3 * DAY);
    let young = completed(&store).await;
    let keep = Retention { completed: Some(30 * DAY), documents: Some(2 * DAY), ..Retention::default() };
    let pruned = prune(&store, &keep, MANY).await;
    assert_eq!((pruned.documents, pruned.completed), (2, 0));
    assert_not_found(store.document(&acme(), old, Format::Md).await);
    let detail = detail(&store, old).await;
    assert_eq!((detail.summary.status.state, detail.documents.len()), (State::Completed, 0));
    assert!(detail.usage.is_some_and(|usage| usage.output_tokens == 40));
    assert!(!store.document(&acme(), young, Format::Pdf).await.unwrap().is_empty());
    assert_eq!(prune(&store, &keep, MANY).await.total(), 0, "they go once");
    balanced(&store).await;
}

/// A key holds for as long as its job is kept, and is free afterwards.
pub async fn a_key_is_free_once_its_job_is_gone(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let body = json!({"query": "x", "idempotency_key": "k", "dedup": true});
    let id = accept(&store, body.clone()).await;
    let attempt = begin(&store, id).await.attempt;
    store.complete(id, attempt, &output()).await.unwrap();
    let keep = Retention { completed: Some(2 * DAY), ..Retention::default() };
    fixture.advance(DAY);
    assert_eq!(prune(&store, &keep, MANY).await.total(), 0);
    let again = only(store.accept(&[new_job(&store, body.clone())]).await.unwrap());
    assert_eq!(again, Accepted::Existing { id, state: State::Completed });
    fixture.advance(2 * DAY);
    assert_eq!(prune(&store, &keep, MANY).await.completed, 1);
    let again = only(store.accept(&[new_job(&store, body)]).await.unwrap());
    assert!(matches!(again, Accepted::New { id: new, .. } if new != id), "{again:?}");
    assert_eq!(balanced(&store).await.total.accepted, 2);
}

/// The audit outlives the letters it is about, and goes in its own time; fires go once no schedule can make them again.
pub async fn events_go_in_their_own_time(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let letter = dead(&store, json!({"query": "x"})).await;
    store.purge(&acme(), letter, "op").await.unwrap();
    let weekly = schedule(&store, "acme", "weekly");
    store.add_schedule(&weekly).await.unwrap();
    let first = weekly.next_at.unwrap();
    let next = first + TimeDelta::days(60);
    fixture.advance(Duration::from_secs(60));
    let made =
        store.fire(weekly.id, &[(first, new_job(&store, json!({"query": "x"})))], Some(next)).await.unwrap();
    assert_eq!(made.len(), 1);
    fixture.advance(10 * DAY);
    let keep = Retention { dead: Some(DAY), events: Some(20 * DAY), ..Retention::default() };
    let pruned = prune(&store, &keep, MANY).await;
    assert_eq!((pruned.dead, pruned.events), (1, 0));
    let line = only(store.audit(&acme(), 10).await.unwrap());
    assert_eq!((line.action.as_str(), line.job), ("dlq.purge", letter));
    fixture.advance(20 * DAY);
    assert_eq!(prune(&store, &keep, MANY).await.events, 2);
    assert!(store.audit(&acme(), 10).await.unwrap().is_empty());
    // The calendar has moved on: the old fire is not made again.
    let again =
        store.fire(weekly.id, &[(first, new_job(&store, json!({"query": "x"})))], Some(next)).await.unwrap();
    assert!(again.is_empty(), "{again:?}");
    let ledger = balanced(&store).await;
    assert_eq!((ledger.total.accepted, ledger.total.dead), (2, 1));
}

/// A letter that nobody could read leaves with its bytes.
pub async fn unreadable_letters_go_too(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let message = crate::UnreadableMessage {
        tenant: acme(),
        raw: b"no job".to_vec(),
        message_id: Some("m-1".into()),
        reason: "no JSON".into(),
        source: "t".into(),
    };
    let id = store.accept_unreadable(&message).await.unwrap();
    let reason = DeadFilter { reason: Some(DeadReason::Unreadable), ..DeadFilter::default() };
    assert_eq!(store.count_dead_letters(&acme(), &reason).await.unwrap(), 1);
    fixture.advance(2 * DAY);
    assert_eq!(prune(&store, &Retention { dead: Some(DAY), ..Retention::default() }, MANY).await.dead, 1);
    assert_eq!(store.count_dead_letters(&acme(), &reason).await.unwrap(), 0);
    let later = store.accept_unreadable(&message).await.unwrap();
    assert_ne!(later, id);
    assert_eq!(balanced(&store).await.total.dead, 2);
}
