//! Cases about due rows and publications.

use std::time::Duration;

use bul_job::{AttemptNo, DeadReason, PublishNo, State};
use chrono::TimeDelta;
use serde_json::json;

use super::kit::*;
use super::{Fixture, rules};
use crate::{DeadFilter, Ready};

const SECOND: Duration = Duration::from_secs(1);

/// Waiting, then queued, and published once.
pub async fn a_delayed_job_waits_for_its_time(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let run_at = store.now() + TimeDelta::seconds(60);
    let id = accept(&store, json!({"query": "x", "run_at": run_at.to_rfc3339()})).await;
    assert_eq!(state(&store, id).await, State::Waiting);
    fixture.advance(59 * SECOND);
    assert_eq!(store.take_due(10).await.unwrap().seen, 0);
    fixture.advance(SECOND);
    let due = store.take_due(10).await.unwrap();
    let expected = Ready { id, tenant: acme(), lane: Default::default(), publish: PublishNo(1) };
    assert_eq!((due.ready, due.seen), (vec![expected], 1));
    assert_eq!(state(&store, id).await, State::Queued);
    assert_eq!(store.take_due(10).await.unwrap().seen, 0);
    balanced(&store).await;
}

/// The one due longest is the first, whatever the order of acceptance.
pub async fn due_rows_come_in_order_and_within_the_limit(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let mut expected = Vec::new();
    for seconds in [50, 10, 40, 20, 30] {
        let run_at = store.now() + TimeDelta::seconds(seconds);
        let id = accept(&store, json!({"query": "x", "run_at": run_at.to_rfc3339()})).await;
        expected.push((seconds, id));
    }
    expected.sort();
    fixture.advance(60 * SECOND);
    let mut seen = Vec::new();
    for size in [2, 2, 1, 0] {
        let due = store.take_due(2).await.unwrap();
        assert_eq!((due.seen, due.ready.len()), (size, size));
        seen.extend(due.ready.into_iter().map(|ready| ready.id));
    }
    assert_eq!(seen, expected.into_iter().map(|(_, id)| id).collect::<Vec<_>>());
}

/// A publication nobody confirmed within the grace period counts as lost.
pub async fn a_lost_publication_is_sent_again_with_the_next_number(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let id = accept_any(&store).await;
    assert_eq!(store.take_due(10).await.unwrap().seen, 0, "the first publication is under way");
    for publish in [2, 3] {
        fixture.advance(rules().publish_grace);
        let ready = only(store.take_due(10).await.unwrap().ready);
        assert_eq!((ready.id, ready.publish), (id, PublishNo(publish)));
    }
}

/// From then on the broker holds it, and only after a long time it counts as lost; each time a longer one.
pub async fn a_confirmed_publication_is_looked_at_again_after_long(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let id = accept_any(&store).await;
    for publish in 1..=3 {
        confirm(&store, id, publish).await;
        let wait = rules().look_again_after(PublishNo(publish));
        assert_eq!(detail(&store, id).await.core.due_at, Some(store.now() + wait), "publication {publish}");
        fixture.advance(rules().publish_grace);
        assert_eq!(store.take_due(10).await.unwrap().seen, 0, "nothing is due after the grace period");
        fixture.advance(wait - rules().publish_grace - SECOND);
        assert_eq!(store.take_due(10).await.unwrap().seen, 0);
        fixture.advance(SECOND);
        let ready = only(store.take_due(10).await.unwrap().ready);
        assert_eq!((ready.id, ready.publish), (id, PublishNo(publish + 1)));
    }
    // Of all these messages one starts the job.
    let attempt = begin(&store, id).await.attempt;
    let second = store.begin(id, "w", LEASE).await.unwrap();
    assert!(matches!(second, crate::Begin::Skip(State::Running)), "{second:?}");
    // Confirming what is running, finished or unknown is no error.
    confirm(&store, id, 4).await;
    store.complete(id, attempt, &output()).await.unwrap();
    confirm(&store, id, 4).await;
    confirm(&store, bul_job::JobId::new(), 1).await;
    assert_eq!(store.next_due_at().await.unwrap(), None);
}

/// A worker that has the job by a message of an earlier publication has it for as long as its lease.
pub async fn a_confirmed_job_that_begins_is_due_by_its_lease(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let id = accept_any(&store).await;
    confirm(&store, id, 1).await;
    fixture.advance(rules().publish_grace);
    assert_eq!(store.take_due(10).await.unwrap().seen, 0);
    begin(&store, id).await;
    fixture.advance(LEASE);
    let (_, found, status) = only(store.take_due(10).await.unwrap().changed);
    assert_eq!((found, status.state), (id, State::Waiting));
}

/// The message of publication 1 may be the very one that was lost.
pub async fn an_old_confirmation_is_ignored(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let id = accept_any(&store).await;
    fixture.advance(rules().publish_grace);
    drain(&store).await;
    confirm(&store, id, 1).await;
    fixture.advance(rules().publish_grace);
    assert_eq!(only(store.take_due(10).await.unwrap().ready).publish, PublishNo(3));
}

/// What the dispatcher sleeps by.
pub async fn next_due_at_is_the_earliest(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    assert_eq!(store.next_due_at().await.unwrap(), None);
    for seconds in [300, 100, 200] {
        let run_at = store.now() + TimeDelta::seconds(seconds);
        accept(&store, json!({"query": "x", "run_at": run_at.to_rfc3339()})).await;
    }
    assert_eq!(store.next_due_at().await.unwrap(), Some(store.now() + TimeDelta::seconds(100)));
    let id = accept_any(&store).await;
    assert_eq!(store.next_due_at().await.unwrap(), Some(store.now() + rules().publish_grace));
    confirm(&store, id, 1).await;
    assert_eq!(store.next_due_at().await.unwrap(), Some(store.now() + TimeDelta::seconds(100)));
}

/// For a broker that has forgotten everything.
pub async fn republish_makes_every_queued_row_due(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let mut queued = vec![accept_any(&store).await, accept_any(&store).await];
    confirm(&store, queued[0], 1).await;
    let (running, _) = running(&store).await;
    assert_eq!(store.republish_queued().await.unwrap(), 2);
    let ready = drain(&store).await;
    let mut published: Vec<_> = ready.iter().map(|ready| ready.id).collect();
    published.sort();
    queued.sort();
    assert_eq!(published, queued);
    assert!(ready.iter().all(|ready| ready.publish > PublishNo(1)));
    assert_eq!(state(&store, running).await, State::Running);
}

/// What was confirmed before the broker forgot is about a message that is gone.
pub async fn a_confirmation_from_before_a_republication_is_ignored(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let id = accept_any(&store).await;
    assert_eq!(store.republish_queued().await.unwrap(), 1);
    confirm(&store, id, 1).await;
    assert_eq!(only(drain(&store).await).id, id);
}

/// A process that starts alone ends what the one before it left running.
pub async fn orphans_wait_for_another_worker(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let (id, attempt) = running(&store).await;
    let (cancelled, _) = running(&store).await;
    store.cancel(&acme(), cancelled).await.unwrap();
    let queued = accept_any(&store).await;
    assert_eq!(store.end_orphaned().await.unwrap(), 2);
    assert_eq!(store.end_orphaned().await.unwrap(), 0);
    assert_eq!(state(&store, id).await, State::Waiting);
    assert_eq!(state(&store, cancelled).await, State::Cancelled);
    assert_eq!(state(&store, queued).await, State::Queued);
    assert_eq!(detail(&store, id).await.attempts[0].outcome, "crashed");
    assert_fenced(store.complete(id, attempt, &output()).await);
    drain(&store).await;
    assert_eq!(begin(&store, id).await.attempt, AttemptNo(2));
    balanced(&store).await;
}

/// Too late is a dead letter with the reason, by the dispatcher or at begin.
pub async fn a_passed_deadline_is_a_dead_letter(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let deadline = (store.now() + TimeDelta::seconds(10)).to_rfc3339();
    let lost = accept(&store, json!({"query": "x", "deadline": deadline})).await;
    let late = accept(&store, json!({"query": "y", "deadline": deadline})).await;
    confirm(&store, late, 1).await;
    fixture.advance(10 * SECOND);
    let due = store.take_due(10).await.unwrap();
    let (owner, id, status) = only(due.changed);
    assert_eq!((owner, id, status.state), (acme(), lost, State::Dead));
    assert_eq!(status.dead_reason, Some(DeadReason::DeadlinePassed));
    assert!(due.ready.is_empty());
    let skipped = store.begin(late, "w", LEASE).await.unwrap();
    assert!(matches!(skipped, crate::Begin::Skip(State::Dead)), "{skipped:?}");
    let letters = store.dead_letters(&acme(), &DeadFilter::default()).await.unwrap();
    assert_eq!(letters.len(), 2);
    assert!(letters.iter().all(|l| l.reason == DeadReason::DeadlinePassed && l.code == "deadline_passed"));
    assert_eq!(balanced(&store).await.total.dead, 2);
}
