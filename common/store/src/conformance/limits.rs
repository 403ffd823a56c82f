//! Cases about the limits of tenants: who may begin, who stands in line, and that no job is forgotten there.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bul_job::{AttemptNo, DeadReason, JobId, Lane, OwnLimits, Parked, PublishNo, State};
use futures::future::join_all;
use serde_json::json;

use super::Fixture;
use super::kit::*;
use crate::{Accepted, Begin, Ready, ReplayAs, Store, TenantAccount, Usage};

async fn limit(store: &Arc<dyn Store>, own: OwnLimits) {
    store.set_tenant_limits(&acme(), &own).await.unwrap();
}

fn running_max(max: u32) -> OwnLimits {
    OwnLimits { running_max: Some(max), ..OwnLimits::default() }
}

fn queued_max(max: u32) -> OwnLimits {
    OwnLimits { queued_max: Some(max), ..OwnLimits::default() }
}

async fn account(store: &Arc<dyn Store>, name: &str) -> TenantAccount {
    let accounts = store.tenant_limits().await.unwrap();
    accounts.into_iter().find(|account| account.tenant == tenant(name)).expect("the tenant has an account")
}

/// The conservation equation, and the counts by which limits are held agree with the rows.
pub async fn counted(store: &Arc<dyn Store>) -> bul_job::Ledger {
    let ledger = balanced(store).await;
    for account in store.tenant_limits().await.unwrap() {
        let counts = ledger.tenants.get(&account.tenant).copied().unwrap_or_default();
        let load = (account.load.queued.iter().sum::<u64>(), account.load.running);
        assert_eq!(load, (counts.queued, counts.running), "{}", account.tenant);
    }
    ledger
}

async fn parked(store: &Arc<dyn Store>, id: JobId) -> Option<Parked> {
    let core = detail(store, id).await.core;
    assert!(core.parked.is_none() || core.state == State::Waiting);
    core.parked
}

async fn release(store: &Arc<dyn Store>) -> Vec<JobId> {
    store.release(100).await.unwrap().ready.into_iter().map(|ready| ready.id).collect()
}

async fn finish(store: &Arc<dyn Store>, id: JobId, attempt: AttemptNo) {
    store.complete(id, attempt, &output()).await.unwrap();
}

/// Whoever begins, and however many at once: never more run than may, and the others wait their turn.
pub async fn concurrent_begins_keep_the_limit(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let mut ids = Vec::new();
    for _ in 0..24 {
        ids.push(accept_any(&store).await);
    }
    limit(&store, running_max(3)).await;
    let begins = ids.iter().map(|id| {
        let (store, id) = (Arc::clone(&store), *id);
        tokio::spawn(async move { (id, store.begin(id, "w", LEASE).await.unwrap()) })
    });
    let begun = join_all(begins).await;
    let mut runs = Vec::new();
    for (id, begun) in begun.into_iter().map(|begun| begun.expect("a begin panicked")) {
        match begun {
            Begin::Run(attempt) => runs.push((id, attempt.attempt)),
            Begin::Skip(state) => assert_eq!(state, State::Waiting, "it stands in line"),
        }
    }
    assert_eq!(runs.len(), 3);
    let total = counted(&store).await.total;
    assert_eq!((total.running, total.waiting), (3, 21));
    // No attempt and no failure was spent on it.
    let waiting = *ids.iter().find(|id| runs.iter().all(|(run, _)| run != *id)).unwrap();
    let core = detail(&store, waiting).await.core;
    assert_eq!((core.attempt, core.failures, core.crashes), (AttemptNo(0), 0, 0));
    assert_eq!(core.parked, Some(Parked::RunningMax));
    assert!(release(&store).await.is_empty(), "there is no place");
    finish(&store, runs[0].0, runs[0].1).await;
    let next = only(release(&store).await);
    assert!(release(&store).await.is_empty(), "the place is taken");
    begin(&store, next).await;
    assert_eq!(counted(&store).await.total.running, 3);
}

/// The most urgent lane first, and in a lane who came first; whatever clock is moved.
pub async fn parked_jobs_are_released_in_order(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    limit(&store, running_max(1)).await;
    let first = accept_any(&store).await;
    let attempt = begin(&store, first).await.attempt;
    let low = accept(&store, json!({"query": "x", "priority": "low"})).await;
    let mut expected = Vec::new();
    for _ in 0..3 {
        expected.push(accept_any(&store).await);
    }
    let urgent = accept(&store, json!({"query": "x", "priority": "critical"})).await;
    expected.insert(0, urgent);
    expected.push(low);
    assert_eq!(parked(&store, low).await, Some(Parked::RunningMax));
    fixture.advance(LEASE - Duration::from_secs(1));
    assert!(store.take_due(100).await.unwrap().ready.is_empty(), "they wait for a place, not for a time");
    let (mut last, mut order) = ((first, attempt), Vec::new());
    for _ in 0..expected.len() {
        finish(&store, last.0, last.1).await;
        let next = only(release(&store).await);
        counted(&store).await;
        last = (next, begin(&store, next).await.attempt);
        order.push(next);
    }
    assert_eq!(order, expected);
}

/// Another tenant waits behind as many as the share says, and the rest comes as these begin.
pub async fn a_tenant_has_its_share_of_a_lane(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    limit(&store, queued_max(10)).await;
    let batch: Vec<_> = (0..50).map(|_| new_job(&store, json!({"query": "x"}))).collect();
    let ids: Vec<JobId> = batch.iter().map(|job| job.id).collect();
    let answers = store.accept(&batch).await.unwrap();
    let published = |answer: &Accepted| matches!(answer, Accepted::New { publish: Some(_), .. });
    let waits =
        |answer: &Accepted| matches!(answer, Accepted::New { publish: None, state: State::Waiting, .. });
    assert!(answers[..10].iter().all(published) && answers[10..].iter().all(waits), "{answers:?}");
    assert_eq!(parked(&store, ids[10]).await, Some(Parked::Turn));
    assert!(release(&store).await.is_empty(), "its share is full");
    let late = accept(&store, json!({"query": "x"})).await;
    let other = accept(&store, json!({"query": "x", "priority": "high"})).await;
    let foreign = accept_job(&store, new_job_of(&store, "globex", json!({"query": "x"}))).await;
    assert_eq!((state(&store, late).await, state(&store, other).await), (State::Waiting, State::Queued));
    assert_eq!(store.place(foreign).await.unwrap().before, Some(10));
    let mut order = ids[..10].to_vec();
    for id in &order[..7] {
        begin(&store, *id).await;
    }
    let released = store.release(100).await.unwrap();
    assert_eq!((released.ready.len(), released.seen), (7, 7));
    let expected = Ready { id: ids[10], tenant: acme(), lane: Lane::Normal, publish: PublishNo(2) };
    assert_eq!(released.ready[0], expected);
    order.extend(released.ready.iter().map(|ready| ready.id));
    // One that comes now does not overtake those that are parked.
    begin(&store, order[7]).await;
    let later = accept(&store, json!({"query": "x"})).await;
    assert_eq!(parked(&store, later).await, Some(Parked::Turn));
    for n in 8.. {
        order.extend(store.release(5).await.unwrap().ready.iter().map(|ready| ready.id));
        counted(&store).await;
        let Some(id) = order.get(n) else { break };
        begin(&store, *id).await;
    }
    assert_eq!(order, [&ids[..], &[late, later][..]].concat());
}

/// A place that became free, many times over: in the end everything has run, and nothing twice.
pub async fn a_limited_tenant_gets_through(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    limit(&store, OwnLimits { running_max: Some(4), queued_max: Some(6), ..OwnLimits::default() }).await;
    let batch: Vec<_> = (0..60).map(|_| new_job(&store, json!({"query": "x"}))).collect();
    let mut messages: Vec<JobId> = Vec::new();
    for answer in store.accept(&batch).await.unwrap() {
        if let Accepted::New { publish: Some(ready), .. } = answer {
            messages.push(ready.id);
        }
    }
    let mut done = BTreeSet::new();
    while done.len() < batch.len() {
        assert!(!messages.is_empty(), "nobody moves any more after {} jobs", done.len());
        let begins = messages.drain(..).map(|id| {
            let store = Arc::clone(&store);
            async move { (id, store.begin(id, "w", LEASE).await.unwrap()) }
        });
        let begun = join_all(begins).await;
        assert!(counted(&store).await.total.running <= 4);
        for (id, begun) in begun {
            if let Begin::Run(run) = begun {
                finish(&store, id, run.attempt).await;
                assert!(done.insert(id), "it ran twice");
            }
        }
        messages.extend(release(&store).await);
    }
    assert_eq!(counted(&store).await.total.completed, 60);
}

/// A job that stands in line can be cancelled, and has a deadline.
pub async fn parked_jobs_can_end(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    limit(&store, running_max(1)).await;
    let (run, attempt) = running(&store).await;
    let cancelled = accept_any(&store).await;
    let deadline = (store.now() + chrono::TimeDelta::seconds(10)).to_rfc3339();
    let late = accept(&store, json!({"query": "x", "deadline": deadline})).await;
    let next = accept_any(&store).await;
    let status = store.cancel(&acme(), cancelled).await.unwrap();
    assert_eq!((status.state, status.due_at), (State::Cancelled, None));
    assert_eq!(
        (parked(&store, cancelled).await, parked(&store, late).await),
        (None, Some(Parked::RunningMax))
    );
    fixture.advance(Duration::from_secs(10));
    let (owner, id, status) = only(store.take_due(100).await.unwrap().changed);
    assert_eq!((owner, id, status.dead_reason), (acme(), late, Some(DeadReason::DeadlinePassed)));
    finish(&store, run, attempt).await;
    assert_eq!(only(release(&store).await), next);
    let total = counted(&store).await.total;
    assert_eq!((total.cancelled, total.dead, total.queued, total.completed), (1, 1, 1, 1));
}

/// A limit that is raised, lowered or taken away holds for those that stand in line already.
pub async fn a_change_reaches_those_that_wait(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    limit(&store, running_max(1)).await;
    let mut ids = Vec::new();
    for _ in 0..8 {
        ids.push(accept_any(&store).await);
    }
    begin(&store, ids[0]).await;
    limit(&store, running_max(3)).await;
    assert_eq!(release(&store).await, ids[1..3]);
    begin(&store, ids[1]).await;
    // Lowered below what runs: what runs goes on, what comes now waits, and stands before those behind it.
    limit(&store, running_max(1)).await;
    let begun = store.begin(ids[2], "w", LEASE).await.unwrap();
    assert!(matches!(begun, Begin::Skip(State::Waiting)), "{begun:?}");
    assert!(release(&store).await.is_empty());
    limit(&store, OwnLimits::default()).await;
    assert_eq!(release(&store).await, ids[2..]);
    for id in &ids[2..] {
        begin(&store, *id).await;
    }
    assert_eq!(counted(&store).await.total.running, 8);
    let account = account(&store, "acme").await;
    assert_eq!((account.own, account.load.running), (OwnLimits::default(), 8));
}

/// Its replay is a job like others.
pub async fn a_replayed_letter_of_a_limited_tenant_waits_its_turn(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let letter = dead(&store, json!({"query": "x"})).await;
    limit(&store, running_max(1)).await;
    let (run, attempt) = running(&store).await;
    store.replay(&acme(), letter, None, ReplayAs::default(), "op").await.unwrap();
    assert!(drain(&store).await.is_empty(), "the place is taken");
    assert_eq!(parked(&store, letter).await, Some(Parked::RunningMax));
    counted(&store).await;
    finish(&store, run, attempt).await;
    assert_eq!(only(release(&store).await), letter);
    begin(&store, letter).await;
    counted(&store).await;
}

/// Tokens count when a job is completed; when they are used up, jobs wait for the next minute or day.
pub async fn a_spent_budget_waits_for_its_next_window(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let (first, attempt) = running(&store).await;
    let queued = accept_any(&store).await;
    // `output` uses 100 - 60 + 40 tokens.
    limit(
        &store,
        OwnLimits { tokens_per_minute: Some(80), tokens_per_day: Some(160), ..OwnLimits::default() },
    )
    .await;
    finish(&store, first, attempt).await;
    assert_eq!(account(&store, "acme").await.load.minute_tokens, 80);
    let begun = store.begin(queued, "w", LEASE).await.unwrap();
    assert!(matches!(begun, Begin::Skip(State::Waiting)), "{begun:?}");
    assert_eq!(parked(&store, queued).await, Some(Parked::Budget));
    let next = accept_any(&store).await;
    assert_eq!(parked(&store, next).await, Some(Parked::Budget));
    let place = store.place(next).await.unwrap();
    let until = place.limits.spent_until(&place.load, store.now()).unwrap();
    assert!(until > store.now() && until <= store.now() + chrono::TimeDelta::seconds(60));
    assert!(release(&store).await.is_empty());
    fixture.advance((until - store.now()).to_std().unwrap());
    assert_eq!(release(&store).await, [queued, next]);
    let attempt = begin(&store, queued).await.attempt;
    finish(&store, queued, attempt).await;
    assert_eq!(account(&store, "acme").await.load.day_tokens, 160);
    fixture.advance(Duration::from_secs(60));
    let begun = store.begin(next, "w", LEASE).await.unwrap();
    assert!(matches!(begun, Begin::Skip(State::Waiting)), "the day's tokens are used up: {begun:?}");
    fixture.advance(Duration::from_secs(86_400));
    assert_eq!(release(&store).await, [next]);
    counted(&store).await;
}

/// A number that cannot be right costs no finished document.
pub async fn an_absurd_usage_is_stored_all_the_same(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    for _ in 0..2 {
        let (id, attempt) = running(&store).await;
        let usage = Usage { prompt_tokens: u64::MAX, output_tokens: u64::MAX, ..Usage::default() };
        store.complete(id, attempt, &crate::Output { usage, ..output() }).await.unwrap();
    }
    counted(&store).await;
}

/// Delayed jobs that come due together stand in line like new ones.
pub async fn delayed_jobs_stand_in_line_too(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    limit(&store, queued_max(3)).await;
    let run_at = (store.now() + chrono::TimeDelta::seconds(60)).to_rfc3339();
    let batch: Vec<_> = (0..8).map(|_| new_job(&store, json!({"query": "x", "run_at": run_at}))).collect();
    store.accept(&batch).await.unwrap();
    fixture.advance(Duration::from_secs(60));
    let ready = drain(&store).await;
    assert_eq!(ready.len(), 3);
    assert_eq!(counted(&store).await.total.waiting, 5);
    for ready in &ready {
        begin(&store, ready.id).await;
    }
    assert_eq!(release(&store).await.len(), 3);
    // A publication that was lost had its turn: it comes again, whatever the share.
    fixture.advance(super::rules().publish_grace);
    assert_eq!(drain(&store).await.len(), 3);
    counted(&store).await;
}

/// What is asked for the sentence that says why a job waits.
pub async fn a_place_tells_what_stands_before(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    limit(&store, OwnLimits { running_max: Some(1), ..OwnLimits::default() }).await;
    running(&store).await;
    let parked: Vec<JobId> = [accept_any(&store).await, accept_any(&store).await].into();
    let foreign = accept_job(&store, new_job_of(&store, "globex", json!({"query": "x"}))).await;
    let place = store.place(parked[1]).await.unwrap();
    assert_eq!((place.before, place.parked_before, place.lane_queued), (None, Some(1), 1));
    assert_eq!((place.limits.running_max, place.load.running), (1, 1));
    let place = store.place(foreign).await.unwrap();
    assert_eq!((place.before, place.parked_before, place.load.running), (Some(0), None, 0));
}
