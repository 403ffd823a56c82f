//! Cases about accepting.

use std::sync::Arc;

use bul_job::{DeadReason, Lane, PublishNo, State};
use serde_json::json;

use super::Fixture;
use super::kit::*;
use crate::{Accepted, DeadFilter, Ready, ReplayAs, UnreadableMessage};

/// A job without a time is queued; what it asked for can be read back.
pub async fn a_new_job_is_queued_with_its_first_publication(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let job = new_job(&store, json!({"template": "invoice", "business_area": "finance", "priority": "high"}));
    let (id, content) = (job.id, job.job.clone());
    let ready = Ready { id, tenant: acme(), lane: Lane::High, publish: PublishNo(1) };
    let expected = Accepted::New { id, state: State::Queued, publish: Some(ready) };
    assert_eq!(only(store.accept(&[job]).await.unwrap()), expected);
    let detail = detail(&store, id).await;
    assert_eq!(detail.job, Some(content));
    assert_eq!(
        (detail.summary.template.as_str(), detail.summary.business_area.as_str()),
        ("invoice", "finance")
    );
    assert_eq!((detail.summary.accepted_at, detail.summary.ended_at), (store.now(), None));
    assert_eq!(detail.source, "test");
    assert_eq!(balanced(&store).await.total.queued, 1);
    assert!(store.accept(&[]).await.unwrap().is_empty());
}

/// The caller makes the id, so that it may repeat a call whose answer was lost.
pub async fn accepting_the_same_id_twice_is_harmless(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let job = new_job(&store, json!({"query": "x"}));
    store.accept(std::slice::from_ref(&job)).await.unwrap();
    let again = only(store.accept(std::slice::from_ref(&job)).await.unwrap());
    assert_eq!(again, Accepted::Existing { id: job.id, state: State::Queued });
    assert_eq!(balanced(&store).await.total.accepted, 1);
}

/// Also once the job has ended.
pub async fn same_key_and_body_gives_the_existing_job(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let body = json!({"query": "x", "idempotency_key": "k"});
    let id = accept(&store, body.clone()).await;
    let again = only(store.accept(&[new_job(&store, body.clone())]).await.unwrap());
    assert_eq!(again, Accepted::Existing { id, state: State::Queued });
    let attempt = begin(&store, id).await.attempt;
    store.complete(id, attempt, &output()).await.unwrap();
    let again = only(store.accept(&[new_job(&store, body)]).await.unwrap());
    assert_eq!(again, Accepted::Existing { id, state: State::Completed });
    assert_eq!(balanced(&store).await.total.accepted, 1);
}

/// The job that holds the key stays what it is.
pub async fn same_key_and_other_body_is_a_conflict(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let id = accept(&store, json!({"query": "x", "idempotency_key": "k"})).await;
    let other = new_job(&store, json!({"query": "y", "idempotency_key": "k"}));
    assert_eq!(only(store.accept(std::slice::from_ref(&other)).await.unwrap()), Accepted::Conflict { id });
    assert_not_found(store.job(&acme(), other.id).await);
    assert_eq!(balanced(&store).await.total.accepted, 1);
}

/// The second of two in one call meets the first.
pub async fn jobs_of_one_batch_see_each_other(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let make = |query: &str| new_job(&store, json!({"query": query, "idempotency_key": "k"}));
    let batch = [make("x"), make("x"), make("y")];
    let answers = store.accept(&batch).await.unwrap();
    assert!(matches!(answers[0], Accepted::New { id, .. } if id == batch[0].id));
    assert_eq!(answers[1], Accepted::Existing { id: batch[0].id, state: State::Queued });
    assert_eq!(answers[2], Accepted::Conflict { id: batch[0].id });
    assert_eq!(balanced(&store).await.total.accepted, 1);
}

/// The race that clients with retries run.
pub async fn sixteen_tasks_with_one_key_make_one_job(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let tasks = (0..16).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let job = new_job(&store, json!({"query": "x", "idempotency_key": "k"}));
            only(store.accept(&[job]).await.unwrap())
        })
    });
    let answers: Vec<Accepted> =
        futures::future::join_all(tasks).await.into_iter().map(|r| r.unwrap()).collect();
    let (new, existing): (Vec<_>, Vec<_>) =
        answers.into_iter().partition(|a| matches!(a, Accepted::New { .. }));
    let Accepted::New { id: first, .. } = only(new) else { panic!("the partition holds new jobs") };
    assert_eq!(existing.len(), 15);
    for answer in existing {
        assert!(matches!(answer, Accepted::Existing { id, .. } if id == first), "{answer:?}");
    }
    assert_eq!(balanced(&store).await.total.accepted, 1);
}

/// Two tenants may use the same key.
pub async fn keys_belong_to_tenants(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    for owner in ["acme", "globex"] {
        accept_job(&store, new_job_of(&store, owner, json!({"query": owner, "idempotency_key": "k"}))).await;
    }
    let ledger = balanced(&store).await;
    assert_eq!((ledger.tenants.len(), ledger.total.accepted), (2, 2));
}

/// `dedup` joins open jobs and never finished ones.
pub async fn dedup_holds_while_the_job_is_open(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let body = json!({"query": "x", "dedup": true});
    let id = accept(&store, body.clone()).await;
    let join = || async { only(store.accept(&[new_job(&store, body.clone())]).await.unwrap()) };
    assert_eq!(join().await, Accepted::Existing { id, state: State::Queued });
    let attempt = begin(&store, id).await.attempt;
    assert_eq!(join().await, Accepted::Existing { id, state: State::Running });
    store.complete(id, attempt, &output()).await.unwrap();
    assert!(matches!(join().await, Accepted::New { .. }));
    // Other content, or another tenant's, is not joined.
    accept(&store, json!({"query": "y", "dedup": true})).await;
    accept_job(&store, new_job_of(&store, "globex", body.clone())).await;
    assert_eq!(balanced(&store).await.total.accepted, 4);
}

/// A refusal is an answer to one job, not an error of the batch.
pub async fn a_conflict_in_a_batch_spoils_no_other(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let holder = accept(&store, json!({"query": "x", "idempotency_key": "k"})).await;
    let batch = [
        new_job(&store, json!({"query": "a"})),
        new_job(&store, json!({"query": "b", "idempotency_key": "k"})),
        new_job(&store, json!({"query": "c"})),
    ];
    let answers = store.accept(&batch).await.unwrap();
    assert!(matches!(answers[0], Accepted::New { .. }) && matches!(answers[2], Accepted::New { .. }));
    assert_eq!(answers[1], Accepted::Conflict { id: holder });
    assert_eq!(balanced(&store).await.total.accepted, 3);
}

/// Nothing unreadable is dropped.
pub async fn an_unreadable_message_is_kept_with_its_bytes(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let raw = b"{\"query\": \xff\xfe".to_vec();
    let message = UnreadableMessage {
        tenant: acme(),
        raw: raw.clone(),
        message_id: None,
        reason: "not valid JSON: line 1 column 11".into(),
        source: "nats".into(),
    };
    let id = store.accept_unreadable(&message).await.unwrap();
    let letter = only(store.dead_letters(&acme(), &DeadFilter::default()).await.unwrap());
    assert_eq!((letter.id, letter.reason), (id, DeadReason::Unreadable));
    assert_eq!((letter.code.as_str(), letter.message.as_str()), ("unreadable", message.reason.as_str()));
    assert_eq!((letter.raw_bytes, letter.job), (Some(raw.len() as u64), None));
    assert_eq!(letter.raw_text, Some(String::from_utf8_lossy(&raw).into_owned()));
    let detail = detail(&store, id).await;
    assert_eq!((detail.core.state, detail.job, detail.source.as_str()), (State::Dead, None, "nats"));
    let ledger = balanced(&store).await;
    assert_eq!((ledger.total.accepted, ledger.total.dead), (1, 1));
    assert_refused(store.replay(&acme(), id, None, ReplayAs::default(), "op").await);
}

/// A worker died between keeping and acknowledging it, or two had it in their hands at once. Once nobody has
/// its bytes any more, or somebody has read it, it is kept anew.
pub async fn an_unreadable_message_that_comes_again_is_kept_once(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let message = |owner: &str, id: Option<&str>| UnreadableMessage {
        tenant: tenant(owner),
        raw: b"{broken".to_vec(),
        message_id: id.map(Into::into),
        reason: "no JSON".into(),
        source: "nats".into(),
    };
    let keep = async |owner: &str, id: Option<&str>| {
        store.accept_unreadable(&message(owner, id)).await.expect("accept_unreadable")
    };
    let first = keep("acme", None).await;
    let tasks = (0..8).map(|_| {
        let (store, message) = (Arc::clone(&store), message("acme", None));
        tokio::spawn(async move { store.accept_unreadable(&message).await.expect("accept_unreadable") })
    });
    for again in futures::future::join_all(tasks).await {
        assert_eq!(again.expect("no task panics"), first);
    }
    let others =
        [keep("globex", None).await, keep("acme", Some("m-1")).await, keep("acme", Some("m-2")).await];
    assert_eq!(keep("acme", Some("m-1")).await, others[1]);
    assert!(!others.contains(&first));
    assert_eq!(balanced(&store).await.total.accepted, 4);
    store.purge(&acme(), first, "op").await.expect("purge");
    let anew = keep("acme", None).await;
    assert_ne!(anew, first);
    store.edit_dead_letter(&acme(), anew, &valid(&store, json!({"query": "x"})), "op").await.expect("edit");
    assert_eq!(keep("acme", None).await, anew, "it is a dead letter still");
    store.replay(&acme(), anew, None, ReplayAs::default(), "op").await.expect("replay");
    assert_ne!(keep("acme", None).await, anew);
    let ledger = balanced(&store).await;
    assert_eq!((ledger.total.accepted, ledger.total.dead, ledger.total.waiting), (6, 5, 1));
}

/// Text is kept as it is, and size alone breaks nothing.
pub async fn unicode_and_a_mebibyte_of_data_round_trip(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let job = new_job(
        &store,
        json!({
            "query": "Grüße aus 東京 🚀 \u{202e}x ' \" \\ ; DROP TABLE jobs; --",
            "data": {"large": "ä".repeat(512 * 1024), "n": 0.1, "big": u64::MAX, "null": null},
            "params": {"temperature": 0.7, "seed": 18_446_744_073_709_551_615u64},
            "metadata": {"z": 1, "a": "é"},
        }),
    );
    let (id, content) = (job.id, job.job.clone());
    accept_job(&store, job).await;
    assert_eq!(detail(&store, id).await.job, Some(content.clone()));
    assert_eq!(begin(&store, id).await.job, content);
}
