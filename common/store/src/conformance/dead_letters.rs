//! Cases about dead letters.

use std::sync::Arc;
use std::time::Duration;

use bul_job::{AttemptNo, DeadReason, FailureClass, JobId, State};
use chrono::TimeDelta;
use serde_json::json;

use super::Fixture;
use super::kit::*;
use crate::{DeadFilter, ReplayAs, UnreadableMessage};

/// Each condition, alone and together, in the list and in the count.
pub async fn filters_and_counts_agree(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let mut all = Vec::new();
    for n in 0..6 {
        let template = if n % 2 == 0 { "invoice" } else { "report" };
        all.push(dead(&store, json!({"template": template})).await);
        fixture.advance(Duration::from_secs(10));
    }
    let since = store.now() - TimeDelta::seconds(10);
    let (poisoned, attempt) = running(&store).await;
    store.fail(poisoned, attempt, &failure(FailureClass::Poison)).await.unwrap();
    all.push(poisoned);
    let every = DeadFilter::default;
    let cases: Vec<(DeadFilter, Vec<JobId>)> = vec![
        (every(), all.clone()),
        (DeadFilter { template: Some("invoice".into()), ..every() }, vec![all[0], all[2], all[4]]),
        (DeadFilter { reason: Some(DeadReason::Poison), ..every() }, vec![poisoned]),
        (DeadFilter { code: Some("no_template".into()), ..every() }, all[..6].to_vec()),
        (DeadFilter { since: Some(since), ..every() }, vec![all[5], poisoned]),
        (DeadFilter { ids: vec![all[4], all[1], JobId::new()], ..every() }, vec![all[1], all[4]]),
        (DeadFilter { after: Some(all[3]), ..every() }, all[4..].to_vec()),
        (DeadFilter { template: Some("report".into()), reason: Some(DeadReason::Poison), ..every() }, vec![]),
    ];
    for (filter, expected) in cases {
        let found = store.dead_letters(&acme(), &filter).await.unwrap();
        assert_eq!(found.iter().map(|l| l.id).collect::<Vec<_>>(), expected, "{filter:?}");
        assert_eq!(
            store.count_dead_letters(&acme(), &filter).await.unwrap(),
            expected.len() as u64,
            "{filter:?}"
        );
        let page = DeadFilter { limit: 2, ..filter };
        assert_eq!(store.dead_letters(&acme(), &page).await.unwrap().len(), expected.len().min(2));
        assert_eq!(store.count_dead_letters(&acme(), &page).await.unwrap(), expected.len() as u64);
    }
    let letter = &store.dead_letters(&acme(), &every()).await.unwrap()[0];
    assert_eq!((letter.code.as_str(), letter.message.as_str()), ("no_template", "there is no such template"));
    assert_eq!((letter.attempts, letter.reason, letter.raw_bytes), (1, DeadReason::Permanent, None));
    assert_eq!(letter.job.as_ref().map(|job| job.template.as_str()), Some("invoice"));
}

/// Eight operators press the button at once.
pub async fn a_replay_runs_once(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let id = dead(&store, json!({"query": "x", "max_attempts": 1})).await;
    let tasks = (0..8).map(|n| {
        let store = Arc::clone(&store);
        tokio::spawn(
            async move { store.replay(&acme(), id, None, ReplayAs::default(), &format!("op-{n}")).await },
        )
    });
    let results: Vec<_> = futures::future::join_all(tasks).await.into_iter().map(|r| r.unwrap()).collect();
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1, "{results:?}");
    results.into_iter().filter(Result::is_err).for_each(assert_refused);
    assert_eq!(state(&store, id).await, State::Waiting);
    assert_eq!(only(drain(&store).await).id, id);
    let attempt = begin(&store, id).await;
    assert_eq!(
        (attempt.attempt, attempt.failures),
        (AttemptNo(2), 0),
        "the fence goes on, the failures do not"
    );
    store.complete(id, attempt.attempt, &output()).await.unwrap();
    assert_refused(store.replay(&acme(), id, None, ReplayAs::default(), "op").await);
    let line = only(store.audit(&acme(), 10).await.unwrap());
    assert_eq!((line.action.as_str(), line.job, line.at), ("dlq.replay", id, store.now()));
    let detail = detail(&store, id).await;
    assert_eq!((detail.summary.status.message, detail.summary.status.dead_reason), (None, None));
    assert_eq!(balanced(&store).await.total.completed, 1);
}

/// An outage may be waited out.
pub async fn replay_at_a_time_waits_for_it(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let id = dead(&store, json!({"query": "x"})).await;
    let at = store.now() + TimeDelta::seconds(600);
    store.replay(&acme(), id, None, ReplayAs { at: Some(at), forced: true }, "op").await.unwrap();
    assert_eq!(store.next_due_at().await.unwrap(), Some(at));
    assert!(store.take_due(10).await.unwrap().ready.is_empty());
    fixture.advance(Duration::from_secs(600));
    assert_eq!(only(drain(&store).await).id, id);
    let line = only(store.audit(&acme(), 10).await.unwrap());
    assert!(line.detail.starts_with("forced; at "), "{line:?}");
}

/// The edit is what runs, and who edited which fields is on record.
pub async fn an_edited_letter_runs_as_edited(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let body = json!({"query": "x", "idempotency_key": "k", "max_attempts": 4});
    let id = dead(&store, body.clone()).await;
    let edited = valid(
        &store,
        json!({"query": "y", "priority": "critical", "max_attempts": 2, "template": "memo", "idempotency_key": "k"}),
    );
    store.edit_dead_letter(&acme(), id, &edited, "olga").await.unwrap();
    let line = only(store.audit(&acme(), 10).await.unwrap());
    assert_eq!((line.actor.as_str(), line.action.as_str(), line.job), ("olga", "dlq.edit", id));
    assert!(line.detail.contains("query") && line.detail.contains("lane"), "{line:?}");
    let letter = only(store.dead_letters(&acme(), &DeadFilter::default()).await.unwrap());
    assert_eq!((letter.template.as_str(), letter.job.as_ref()), ("memo", Some(&edited)));
    store.replay(&acme(), id, None, ReplayAs::default(), "olga").await.unwrap();
    let ready = only(drain(&store).await);
    assert_eq!((ready.id, ready.lane), (id, bul_job::Lane::Critical));
    assert_eq!(begin(&store, id).await.job, edited);
    assert_eq!(detail(&store, id).await.core.max_attempts, 2);
    assert_refused(store.edit_dead_letter(&acme(), id, &edited, "olga").await);
    assert_eq!(store.audit(&acme(), 1).await.unwrap()[0].action, "dlq.replay", "newest first");
    // The key still belongs to what was submitted under it.
    let again = only(store.accept(&[new_job(&store, body)]).await.unwrap());
    assert!(matches!(again, crate::Accepted::Existing { id: found, .. } if found == id), "{again:?}");
}

/// Eight operators repair the same letter at once, each in another way: one of the repairs runs, whole.
pub async fn an_edit_and_its_replay_are_one(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let id = dead(&store, json!({"query": "x"})).await;
    let repaired: Vec<_> = (0..8).map(|n| valid(&store, json!({"query": format!("by {n}")}))).collect();
    let tasks = repaired.iter().cloned().enumerate().map(|(n, job)| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            store.replay(&acme(), id, Some(&job), ReplayAs::default(), &format!("op-{n}")).await
        })
    });
    let results: Vec<_> = futures::future::join_all(tasks).await.into_iter().map(|r| r.unwrap()).collect();
    let winner = results.iter().position(Result::is_ok).expect("one of them");
    assert_eq!(results.iter().filter(|r| r.is_ok()).count(), 1, "{results:?}");
    results.into_iter().filter(Result::is_err).for_each(assert_refused);
    let lines = store.audit(&acme(), 10).await.unwrap();
    let actor = format!("op-{winner}");
    let told: Vec<_> = lines.iter().map(|l| (l.action.as_str(), l.actor.as_str(), l.job)).collect();
    assert_eq!(told, [("dlq.replay", actor.as_str(), id), ("dlq.edit", actor.as_str(), id)]);
    assert_eq!(only(drain(&store).await).id, id);
    let attempt = begin(&store, id).await;
    assert_eq!((attempt.attempt, &attempt.job), (AttemptNo(2), &repaired[winner]));
    store.complete(id, attempt.attempt, &output()).await.unwrap();
    balanced(&store).await;
}

/// Someone reads it, after all.
pub async fn an_unreadable_letter_runs_once_it_is_edited(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let message = UnreadableMessage {
        tenant: acme(),
        raw: b"query=x".to_vec(),
        message_id: None,
        reason: "no JSON".into(),
        source: "t".into(),
    };
    let id = store.accept_unreadable(&message).await.unwrap();
    let job = valid(&store, json!({"query": "x"}));
    store.edit_dead_letter(&acme(), id, &job, "op").await.unwrap();
    store.replay(&acme(), id, None, ReplayAs::default(), "op").await.unwrap();
    drain(&store).await;
    let attempt = begin(&store, id).await;
    assert_eq!((attempt.attempt, attempt.job), (AttemptNo(1), job));
    store.complete(id, AttemptNo(1), &output()).await.unwrap();
    balanced(&store).await;
}

/// Nothing readable is left, and the job is still counted.
pub async fn a_purge_erases_and_keeps_the_ledger(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let id = dead(&store, json!({"query": "secret"})).await;
    let message = UnreadableMessage {
        tenant: acme(),
        raw: b"secret".to_vec(),
        message_id: None,
        reason: "secret".into(),
        source: "t".into(),
    };
    let raw = store.accept_unreadable(&message).await.unwrap();
    let kept = dead(&store, json!({"query": "kept"})).await;
    for purged in [id, raw] {
        store.purge(&acme(), purged, "op").await.unwrap();
        let detail = detail(&store, purged).await;
        assert_eq!((detail.job.as_ref(), detail.summary.status.message.as_ref()), (None, None));
        let texts = detail.attempts.iter().filter_map(|a| a.failure.as_ref()).map(|f| f.message.as_str());
        assert!(texts.into_iter().all(str::is_empty));
        assert_not_found(store.replay(&acme(), purged, None, ReplayAs::default(), "op").await);
        assert_not_found(store.purge(&acme(), purged, "op").await);
        let job = valid(&store, json!({"query": "x"}));
        assert_not_found(store.edit_dead_letter(&acme(), purged, &job, "op").await);
    }
    assert_eq!(only(store.dead_letters(&acme(), &DeadFilter::default()).await.unwrap()).id, kept);
    assert_eq!(store.count_dead_letters(&acme(), &DeadFilter::default()).await.unwrap(), 1);
    let open = accept_any(&store).await;
    assert_refused(store.purge(&acme(), open, "op").await);
    assert_not_found(store.purge(&acme(), JobId::new(), "op").await);
    let actions: Vec<_> =
        store.audit(&acme(), 10).await.unwrap().into_iter().map(|l| (l.action, l.job)).collect();
    assert_eq!(actions, [("dlq.purge".to_owned(), raw), ("dlq.purge".to_owned(), id)]);
    let ledger = balanced(&store).await;
    assert_eq!((ledger.total.accepted, ledger.total.dead), (4, 3));
}

/// `dedup` must not keep a dead letter from running again.
pub async fn a_replay_beside_an_open_twin_is_no_error(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let body = json!({"query": "x", "dedup": true});
    let id = dead(&store, body.clone()).await;
    let twin = accept(&store, body.clone()).await;
    store.replay(&acme(), id, None, ReplayAs::default(), "op").await.unwrap();
    assert_eq!(state(&store, id).await, State::Waiting);
    let again = only(store.accept(&[new_job(&store, body)]).await.unwrap());
    assert_eq!(again, crate::Accepted::Existing { id: twin, state: State::Queued });
    balanced(&store).await;
}
