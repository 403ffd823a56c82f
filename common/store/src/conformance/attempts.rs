//! Cases about begin, lease, fence and the ways an attempt ends.

use std::sync::Arc;
use std::time::Duration;

use bul_job::{AttemptNo, DeadReason, FailureClass, Format, JobId, State};
use serde_json::json;

use super::kit::*;
use super::{Fixture, rules};
use crate::{Begin, Output, Receipt, ReplayAs, StoreError, Usage};

const SECOND: Duration = Duration::from_secs(1);

/// A second delivery of the same message is skipped.
pub async fn begin_runs_a_job_once(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let id = accept(&store, json!({"query": "x", "max_attempts": 3})).await;
    let attempt = begin(&store, id).await;
    assert_eq!((attempt.id, attempt.tenant.clone(), attempt.attempt), (id, acme(), AttemptNo(1)));
    assert_eq!((attempt.failures, attempt.accepted_at), (0, store.now()));
    assert_eq!(attempt.job.query.as_deref(), Some("x"));
    let second = store.begin(id, "worker-2", LEASE).await.unwrap();
    assert!(matches!(second, Begin::Skip(State::Running)), "{second:?}");
    let detail = detail(&store, id).await;
    let record = only(detail.attempts);
    assert_eq!((record.worker.as_str(), record.outcome.as_str(), record.ended_at), ("worker-1", "", None));
}

/// Finished, cancelled, dead and waiting jobs are acknowledged without work.
pub async fn begin_skips_what_cannot_run(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let (completed, attempt) = running(&store).await;
    store.complete(completed, attempt, &output()).await.unwrap();
    let cancelled = accept_any(&store).await;
    store.cancel(&acme(), cancelled).await.unwrap();
    let dead = dead(&store, json!({"query": "x"})).await;
    let (waiting, attempt) = running(&store).await;
    store.hand_back(waiting, attempt).await.unwrap();
    for (id, expected) in [
        (completed, State::Completed),
        (cancelled, State::Cancelled),
        (dead, State::Dead),
        (waiting, State::Waiting),
    ] {
        let begun = store.begin(id, "w", LEASE).await.unwrap();
        assert!(matches!(begun, Begin::Skip(state) if state == expected), "{begun:?}");
    }
}

/// For every method of a worker.
pub async fn begin_of_an_unknown_job_is_not_found(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let (id, attempt) = (JobId::new(), AttemptNo(1));
    assert_not_found(store.begin(id, "w", LEASE).await);
    assert_not_found(store.extend(id, attempt, LEASE).await);
    assert_not_found(store.complete(id, attempt, &output()).await);
    assert_not_found(store.fail(id, attempt, &failure(FailureClass::Transient)).await);
    assert_not_found(store.hand_back(id, attempt).await);
}

/// A worker that was frozen and comes back cannot write anything, before and after another took over.
pub async fn an_expired_lease_fences_its_worker_off(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let (id, old) = running(&store).await;
    fixture.advance(LEASE);
    let due = store.take_due(10).await.unwrap();
    assert_eq!((only(due.changed).2.state, due.ready.len()), (State::Waiting, 0));
    for taken_over in [false, true] {
        if taken_over {
            drain(&store).await;
            assert_eq!(begin(&store, id).await.attempt, AttemptNo(2));
        }
        assert_fenced(store.extend(id, old, LEASE).await);
        assert_fenced(store.complete(id, old, &output()).await);
        assert_fenced(store.fail(id, old, &failure(FailureClass::Permanent)).await);
        assert_fenced(store.hand_back(id, old).await);
    }
    assert!(detail(&store, id).await.documents.is_empty());
    store.complete(id, AttemptNo(2), &output()).await.unwrap();
    let attempts = detail(&store, id).await.attempts;
    let outcomes: Vec<_> = attempts.iter().map(|a| a.outcome.as_str()).collect();
    assert_eq!(outcomes, ["crashed", "completed"]);
    assert!(attempts.iter().all(|a| a.ended_at.is_some()));
    balanced(&store).await;
}

/// A sign of life moves the end of the lease.
pub async fn an_extended_lease_does_not_expire(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let (id, attempt) = running(&store).await;
    for _ in 0..5 {
        fixture.advance(LEASE - SECOND);
        assert!(!store.extend(id, attempt, LEASE).await.unwrap().cancel_requested);
        assert_eq!(store.take_due(10).await.unwrap().seen, 0);
    }
    store.complete(id, attempt, &output()).await.unwrap();
}

/// The first answer counts; the second changes nothing.
pub async fn completing_twice_is_refused(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let (id, attempt) = running(&store).await;
    store.complete(id, attempt, &output()).await.unwrap();
    let other = Output { title: "another".into(), ..output() };
    assert_fenced(store.complete(id, attempt, &other).await);
    assert_fenced(store.fail(id, attempt, &failure(FailureClass::Permanent)).await);
    assert_eq!(detail(&store, id).await.summary.title, output().title);
    assert_eq!(balanced(&store).await.total.completed, 1);
}

/// One transaction: state, documents, title, usage and findings; a bad output leaves none of them.
pub async fn documents_and_usage_are_stored_with_the_end(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let (id, attempt) = running(&store).await;
    let twice = Output { documents: vec![(Format::Md, vec![1]), (Format::Md, vec![2])], ..output() };
    let result = store.complete(id, attempt, &twice).await;
    assert!(
        matches!(result, Err(StoreError::Conflict(_))),
        "a document is stored once per format: {result:?}"
    );
    assert_eq!(state(&store, id).await, State::Running);
    fixture.advance(SECOND);
    store.complete(id, attempt, &output()).await.unwrap();
    let detail = detail(&store, id).await;
    assert_eq!((detail.core.state, detail.summary.ended_at), (State::Completed, Some(store.now())));
    assert_eq!((detail.usage, detail.findings), (Some(output().usage), output().findings));
    assert_eq!(detail.summary.title, output().title);
    let sizes: Vec<_> =
        output().documents.iter().map(|(format, bytes)| (*format, bytes.len() as u64)).collect();
    assert_eq!(detail.documents, sizes.into_iter().collect());
    for (format, bytes) in output().documents {
        assert_eq!(store.document(&acme(), id, format).await.unwrap(), bytes);
    }
    assert_not_found(store.document(&acme(), id, Format::Html).await);
}

/// Several at once, with and without something to tell; a bad measurement costs no document.
pub async fn receipts_are_kept_with_their_jobs(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let whole = output().usage.receipt;
    let nothing = Receipt::default();
    let bad = Receipt { queue_ms: f64::NAN, first_token_ms: f64::INFINITY, ..whole };
    let mended = Receipt { queue_ms: 0.0, first_token_ms: 0.0, ..whole };
    let kept = [(whole, whole), (nothing, nothing), (bad, mended)].map(|(told, expected)| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let (id, attempt) = running(&store).await;
            let usage = Usage { receipt: told, ..output().usage };
            store.complete(id, attempt, &Output { usage, ..output() }).await.unwrap();
            assert_eq!(detail(&store, id).await.usage.map(|usage| usage.receipt), Some(expected));
        })
    });
    for kept in kept {
        kept.await.unwrap();
    }
    balanced(&store).await;
}

/// Five mebibytes, every byte value.
pub async fn a_large_document_round_trips(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let (id, attempt) = running(&store).await;
    let bytes: Vec<u8> = (0..5 * 1024 * 1024u32).map(|i| (i.wrapping_mul(31) >> 3) as u8).collect();
    let documents = vec![(Format::Pdf, bytes.clone()), (Format::Txt, Vec::new())];
    store.complete(id, attempt, &Output { documents, ..Output::default() }).await.unwrap();
    assert!(store.document(&acme(), id, Format::Pdf).await.unwrap() == bytes, "the bytes differ");
    assert!(store.document(&acme(), id, Format::Txt).await.unwrap().is_empty());
}

/// Retries back off; the last failure is a dead letter that tells why.
pub async fn a_transient_failure_waits_and_then_is_dead(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let id = accept(&store, json!({"query": "x", "max_attempts": 3})).await;
    for n in 1..=3u32 {
        let attempt = begin(&store, id).await;
        assert_eq!((attempt.attempt, attempt.failures), (AttemptNo(n), n - 1));
        let status = store.fail(id, attempt.attempt, &failure(FailureClass::Transient)).await.unwrap();
        assert_eq!(status.message.as_deref(), Some("it did not work"));
        if n < 3 {
            assert_eq!(status.state, State::Waiting);
            assert!(status.due_at.unwrap() <= store.now() + Duration::from_millis(rules().retry.cap_ms));
            fixture.advance(AGES);
            assert_eq!(drain(&store).await.len(), 1);
        } else {
            assert_eq!((status.state, status.dead_reason), (State::Dead, Some(DeadReason::AttemptsSpent)));
        }
    }
    let detail = detail(&store, id).await;
    assert_eq!((detail.core.failures, detail.attempts.len()), (3, 3));
    assert!(detail.attempts.iter().all(|a| a.failure == Some(failure(FailureClass::Transient))));
    assert_eq!(balanced(&store).await.total.dead, 1);
}

/// A server that said when to come back is not asked before.
pub async fn retry_after_is_kept(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let (id, attempt) = running(&store).await;
    let mut slow = failure(FailureClass::Transient);
    slow.retry_after_ms = Some(1_200_000);
    let status = store.fail(id, attempt, &slow).await.unwrap();
    assert_eq!(status.due_at, Some(store.now() + Duration::from_secs(1_200)));
    assert_eq!(detail(&store, id).await.attempts[0].failure, Some(slow));
}

/// Whatever attempts are left.
pub async fn permanent_and_poison_are_dead_at_once(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    for (class, reason) in
        [(FailureClass::Permanent, DeadReason::Permanent), (FailureClass::Poison, DeadReason::Poison)]
    {
        let (id, attempt) = running(&store).await;
        let status = store.fail(id, attempt, &failure(class)).await.unwrap();
        assert_eq!((status.state, status.dead_reason, status.due_at), (State::Dead, Some(reason), None));
    }
    let (id, attempt) = running(&store).await;
    let status = store.fail(id, attempt, &failure(FailureClass::Cancelled)).await.unwrap();
    assert_eq!((status.state, status.dead_reason), (State::Cancelled, None));
    let ledger = balanced(&store).await;
    assert_eq!((ledger.total.dead, ledger.total.cancelled), (2, 1));
}

/// Attempts that end without an outcome are limited, too.
pub async fn a_job_that_kills_its_workers_is_poison(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let id = accept(&store, json!({"query": "x", "max_attempts": 50})).await;
    for crash in 1..=rules().crashes_max {
        begin(&store, id).await;
        fixture.advance(LEASE);
        let (_, _, status) = only(store.take_due(10).await.unwrap().changed);
        let expected = if crash < rules().crashes_max { State::Waiting } else { State::Dead };
        assert_eq!(status.state, expected, "after crash {crash}");
        fixture.advance(AGES);
        drain(&store).await;
    }
    let detail = detail(&store, id).await;
    assert_eq!(detail.summary.status.dead_reason, Some(DeadReason::Poison));
    assert!(detail.attempts.iter().all(|a| a.outcome == "crashed"));
    assert_eq!(detail.core.failures, 0, "a crash spends no attempt of the job");
}

/// What runs beside it would vanish with it: it is given out with the wish to be alone, and a replay is a
/// new start.
pub async fn a_job_whose_attempts_vanish_runs_alone(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let id = accept_any(&store).await;
    for crashes in 0..rules().crashes_max {
        assert_eq!(begin(&store, id).await.alone, crashes >= rules().alone_from, "after {crashes} crashes");
        fixture.advance(LEASE);
        drain(&store).await;
        fixture.advance(AGES);
        drain(&store).await;
    }
    assert_eq!(state(&store, id).await, State::Dead);
    store.replay(&acme(), id, None, ReplayAs::default(), "op").await.unwrap();
    drain(&store).await;
    assert!(!begin(&store, id).await.alone);
}

/// A worker that shuts down costs the job nothing.
pub async fn handing_back_spends_nothing(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let id = accept(&store, json!({"query": "x", "max_attempts": 1})).await;
    for _ in 0..10 {
        let attempt = begin(&store, id).await.attempt;
        let status = store.hand_back(id, attempt).await.unwrap();
        assert_eq!((status.state, status.due_at), (State::Waiting, Some(store.now())));
        drain(&store).await;
    }
    let detail = detail(&store, id).await;
    assert_eq!((detail.core.failures, detail.core.crashes), (0, 0));
    assert!(detail.attempts.iter().all(|a| a.outcome == "handed_back" && a.failure.is_none()));
}

/// A message delivered to many at once is run by one.
pub async fn sixteen_workers_begin_one_attempt(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let id = accept_any(&store).await;
    let workers = (0..16).map(|n| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.begin(id, &format!("worker-{n}"), LEASE).await.unwrap() })
    });
    let begun = futures::future::join_all(workers).await;
    let runs = begun.into_iter().filter(|b| matches!(b, Ok(Begin::Run(_)))).count();
    assert_eq!(runs, 1);
}
