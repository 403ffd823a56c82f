//! Against a real store: what a command does, and what it does the second time.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bul_job::{
    Failure, FailureClass, FieldError, JobError, JobId, Limits, RawJob, State, TenantId, ValidJob,
};
use bul_store::{Begin, BreakerReport, DeadFilter, NewJob, Store, StoreError, UnreadableMessage};
use bul_store_sqlite::{Options, SqliteStore};
use serde_json::json;

use super::*;

mod edits;

async fn store() -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(":memory:", Options::default()).await.unwrap())
}

fn tenant() -> TenantId {
    TenantId::default_tenant()
}

/// Makes a job that died of `code`.
async fn dead(store: &dyn Store, template: &str, code: &str) -> JobId {
    let raw = RawJob::from_value(json!({"template": template, "data": {"a": 1}})).unwrap();
    let job = ValidJob::parse(raw, store.now(), &Limits::default()).unwrap();
    let id = JobId::new();
    store.accept(&[NewJob { id, tenant: tenant(), job, source: "test".into() }]).await.unwrap();
    let Begin::Run(attempt) = store.begin(id, "w", Duration::from_secs(60)).await.unwrap() else {
        panic!("not given out")
    };
    store.fail(id, attempt.attempt, &failure(code)).await.unwrap();
    id
}

fn failure(code: &str) -> Failure {
    let (class, message) = (FailureClass::Permanent, "no".into());
    Failure { class, code: code.into(), message, retry_after_ms: None }
}

async fn state(store: &dyn Store, id: JobId) -> State {
    store.job(&tenant(), id).await.unwrap().summary.status.state
}

fn all() -> Selection {
    Selection::Filter(DeadFilter::default())
}

async fn replay(replayer: &Replayer, selection: &Selection, options: &ReplayOptions) -> ReplayReport {
    replayer.replay(&tenant(), selection, options, "ann", &mut |_| {}).await.unwrap()
}

#[tokio::test]
async fn a_replay_takes_what_matches_and_nothing_twice() {
    let store = store().await;
    let replayer = Replayer::new(store.clone(), Limits::default());
    let first = dead(store.as_ref(), "invoice", "bad_data").await;
    let second = dead(store.as_ref(), "invoice", "bad_data").await;
    let other = dead(store.as_ref(), "report", "bad_data").await;
    let selection = Selection::Filter(parse_filter("template=invoice").unwrap());

    let dry = replay(&replayer, &selection, &ReplayOptions { dry_run: true, ..Default::default() }).await;
    assert_eq!((dry.matched, dry.replayed, dry.ids), (2, 0, vec![first, second]));
    assert_eq!(state(store.as_ref(), first).await, State::Dead);

    let done = replay(&replayer, &selection, &ReplayOptions::default()).await;
    assert_eq!((done.matched, done.replayed, done.skipped), (2, 2, 0));
    assert_eq!(state(store.as_ref(), first).await, State::Waiting);
    assert_eq!(state(store.as_ref(), other).await, State::Dead);

    let again = replay(&replayer, &selection, &ReplayOptions::default()).await;
    assert_eq!((again.matched, again.replayed), (0, 0));
    let by_id = Selection::Ids(vec![first, second, other, other, JobId::new()]);
    let mixed = replay(&replayer, &by_id, &ReplayOptions::default()).await;
    assert_eq!((mixed.matched, mixed.replayed, mixed.skipped), (1, 1, 3));

    let audit = store.audit(&tenant(), 10).await.unwrap();
    assert_eq!(audit.iter().filter(|line| line.action == "dlq.replay" && line.actor == "ann").count(), 3);
    assert!(store.ledger().await.unwrap().balances());
}

#[tokio::test]
async fn a_rate_is_kept_by_waiting_or_by_the_dispatcher() {
    let store = store().await;
    let pauses = Arc::new(AtomicUsize::new(0));
    let counted = pauses.clone();
    let sleep: Sleep = Arc::new(move |pause| {
        assert!(pause > Duration::ZERO);
        counted.fetch_add(1, Ordering::Relaxed);
        Box::pin(async {})
    });
    let replayer = Replayer::new(store.clone(), Limits::default()).with_sleep(sleep);
    let rate = Some("1/h".parse().unwrap());
    for _ in 0..3 {
        dead(store.as_ref(), "invoice", "x").await;
    }
    let waited = replay(&replayer, &all(), &ReplayOptions { rate, ..Default::default() }).await;
    assert_eq!((waited.replayed, pauses.load(Ordering::Relaxed)), (3, 2));

    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(dead(store.as_ref(), "invoice", "x").await);
    }
    let spread = ReplayOptions { rate, pace: Pace::Spread, ignore_breakers: true, ..Default::default() };
    replay(&replayer, &all(), &spread).await;
    assert_eq!(pauses.load(Ordering::Relaxed), 2);
    let due = due(store.as_ref(), &ids).await;
    assert_eq!(
        (due[1] - due[0], due[2] - due[1]),
        (chrono::TimeDelta::hours(1), chrono::TimeDelta::hours(1))
    );
}

async fn due(store: &dyn Store, ids: &[JobId]) -> Vec<bul_job::Timestamp> {
    let mut due = Vec::new();
    for id in ids {
        due.push(store.job(&tenant(), *id).await.unwrap().core.due_at.unwrap());
    }
    due
}

/// A call that returns at once decides little in advance, and says where and when the next one goes on.
#[tokio::test]
async fn a_spread_replay_goes_on_call_by_call_and_meets_the_breaker_that_opened_since() {
    let store = store().await;
    let mut ids = Vec::new();
    for _ in 0..30 {
        ids.push(dead(store.as_ref(), "invoice", "x").await);
    }
    let replayer = Replayer::new(store.clone(), Limits::default());
    let rate = Some("1/s".parse().unwrap());
    let spread = ReplayOptions { rate, pace: Pace::Spread, ..Default::default() };
    let first = replay(&replayer, &all(), &spread).await;
    let rest = first.rest.unwrap();
    assert_eq!((first.matched, first.replayed, first.halted), (30, 11, None));
    assert_eq!(rest.after, Some(ids[10]));
    assert!(rest.wait <= Duration::from_secs(11), "{rest:?}");
    let due = due(store.as_ref(), &ids[..11]).await;
    assert_eq!(due[10] - due[0], SPREAD_AHEAD);

    // One that was replayed and died again lies behind the cursor: it is not met a second time.
    store.take_due(10).await.unwrap();
    let Begin::Run(attempt) = store.begin(ids[0], "w", Duration::from_secs(60)).await.unwrap() else {
        panic!("not given out")
    };
    store.fail(ids[0], attempt.attempt, &failure("x")).await.unwrap();
    breaker(store.as_ref(), true).await;
    let going_on = ReplayOptions { after: rest.after, ..spread.clone() };
    let halted = replay(&replayer, &all(), &going_on).await;
    let why = halted.halted.as_deref().unwrap();
    assert!(why.contains("model is down for worker-1"), "{why}");
    assert_eq!((halted.matched, halted.replayed, halted.rest.unwrap().after), (19, 0, rest.after));
    assert_eq!(state(store.as_ref(), ids[11]).await, State::Dead);

    breaker(store.as_ref(), false).await;
    let second = replay(&replayer, &all(), &going_on).await;
    let after = second.rest.unwrap().after;
    let by_id = Selection::Ids(ids.clone());
    let third = replay(&replayer, &by_id, &ReplayOptions { after, ..spread }).await;
    assert_eq!((second.replayed, third.matched, third.replayed, third.rest), (11, 8, 8, None));
    assert_eq!(state(store.as_ref(), ids[0]).await, State::Dead);
    assert!(store.ledger().await.unwrap().balances());
}

#[tokio::test]
async fn a_call_is_bounded_and_can_be_repeated() {
    let store = store().await;
    let replayer = Replayer::new(store.clone(), Limits::default());
    for _ in 0..5 {
        dead(store.as_ref(), "invoice", "x").await;
    }
    let options = ReplayOptions { limit: Some(3), ..Default::default() };
    let mut seen = Vec::new();
    let first = replayer
        .replay(&tenant(), &all(), &options, "ann", &mut |report| seen.push(report.replayed))
        .await
        .unwrap();
    assert_eq!((first.matched, first.replayed, first.stopped.is_some()), (5, 3, true));
    assert_eq!(seen, [1, 2, 3]);
    let rest = replay(&replayer, &all(), &options).await;
    assert_eq!((rest.matched, rest.replayed, rest.stopped), (2, 2, None));
}

async fn breaker(store: &dyn Store, open: bool) {
    let report = BreakerReport { process: "worker-1".into(), dependency: "model".into(), open };
    store.report_breaker(&report).await.unwrap();
}

/// Lets no time pass; the outage ends during the pause of this number, from 1.
fn outage_ends_at(store: &Arc<dyn Store>, pause: usize) -> Sleep {
    let (store, pauses) = (store.clone(), Arc::new(AtomicUsize::new(0)));
    Arc::new(move |_| {
        let (store, number) = (store.clone(), pauses.fetch_add(1, Ordering::Relaxed) + 1);
        Box::pin(async move {
            if number == pause {
                breaker(store.as_ref(), false).await;
            }
        })
    })
}

#[tokio::test]
async fn a_replay_halts_while_a_breaker_is_open_and_goes_on_by_itself() {
    let store = store().await;
    for _ in 0..3 {
        dead(store.as_ref(), "invoice", "model_unavailable").await;
    }
    breaker(store.as_ref(), true).await;
    let replayer = Replayer::new(store.clone(), Limits::default()).with_sleep(outage_ends_at(&store, 4));
    let told = Mutex::new(Vec::new());
    let mut progress = |report: &ReplayReport| {
        told.lock().unwrap().push((report.replayed, report.halted.clone()));
    };
    let options = ReplayOptions::default();
    let done = replayer.replay(&tenant(), &all(), &options, "ann", &mut progress).await.unwrap();
    assert_eq!((done.matched, done.replayed, done.stopped, done.halted), (3, 3, None, None));
    let told = told.into_inner().unwrap();
    let halted = told.iter().take_while(|(_, halted)| halted.is_some()).count();
    assert_eq!((halted, told.len()), (4, 7), "{told:?}");
    let why = told[0].1.as_deref().unwrap();
    assert!(why.contains("model is down for worker-1"), "{why}");
}

/// The outage begins when a batch is done.
#[tokio::test]
async fn a_halt_is_bounded_and_says_how_to_go_on() {
    let store = store().await;
    for _ in 0..60 {
        dead(store.as_ref(), "invoice", "x").await;
    }
    let looks = Arc::new(AtomicUsize::new(0));
    let halted: Halted = Arc::new(move || {
        let down = looks.fetch_add(1, Ordering::Relaxed) > 0;
        Box::pin(async move { Ok(down.then(|| "model is down".to_owned())) })
    });
    let slept = Arc::new(Mutex::new(Duration::ZERO));
    let sum = slept.clone();
    let sleep: Sleep = Arc::new(move |pause| {
        *sum.lock().unwrap() += pause;
        Box::pin(async {})
    });
    let replayer = Replayer::new(store.clone(), Limits::default()).with_sleep(sleep).with_halted(halted);
    let limited = ReplayOptions { halt_max: Some(Duration::from_secs(61)), ..Default::default() };
    let first = replay(&replayer, &all(), &limited).await;
    let why = first.stopped.as_deref().unwrap();
    assert_eq!(why, "model is down; 50 of 60 were replayed, replay the rest once it is back");
    assert_eq!((first.replayed, *slept.lock().unwrap()), (50, Duration::from_secs(61)));
    // A request does not wait, and nothing is in the way of somebody who knows better.
    let spread = ReplayOptions { pace: Pace::Spread, ..Default::default() };
    let refused = replay(&replayer, &all(), &spread).await;
    assert_eq!((refused.replayed, refused.stopped.is_some()), (0, true));
    let anyway = replay(&replayer, &all(), &ReplayOptions { ignore_breakers: true, ..spread }).await;
    assert_eq!((anyway.replayed, anyway.stopped), (10, None));
    assert_eq!(*slept.lock().unwrap(), Duration::from_secs(61));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replayers_at_once_replay_each_letter_once() {
    let store = store().await;
    let mut ids = Vec::new();
    for _ in 0..150 {
        ids.push(dead(store.as_ref(), "invoice", "x").await);
    }
    let calls = (0..2).map(|_| {
        let replayer = Replayer::new(store.clone(), Limits::default());
        tokio::spawn(async move { replay(&replayer, &all(), &ReplayOptions::default()).await })
    });
    let mut replayed = 0;
    for call in calls.collect::<Vec<_>>() {
        let report = call.await.unwrap();
        assert_eq!((report.failed, report.stopped), (0, None));
        replayed += report.replayed;
    }
    assert_eq!(replayed, 150);
    let audit = store.audit(&tenant(), 1_000).await.unwrap();
    assert_eq!(audit.len(), 150);
    for id in ids {
        assert_eq!(state(store.as_ref(), id).await, State::Waiting);
    }
    assert!(store.ledger().await.unwrap().balances());
}

#[tokio::test]
async fn a_closed_store_is_an_error_not_an_empty_report() {
    let store = store().await;
    let replayer = Replayer::new(store.clone(), Limits::default());
    let id = dead(store.as_ref(), "invoice", "x").await;
    store.close().await;
    let selection = Selection::Ids(vec![id]);
    assert!(
        replayer.replay(&tenant(), &selection, &ReplayOptions::default(), "ann", &mut |_| {}).await.is_err()
    );
}

#[tokio::test]
async fn a_purge_erases_and_keeps_the_count() {
    let store = store().await;
    let replayer = Replayer::new(store.clone(), Limits::default());
    let one = dead(store.as_ref(), "invoice", "x").await;
    let two = dead(store.as_ref(), "report", "x").await;
    replayer.purge(&tenant(), one, "ann").await.unwrap();
    assert!(matches!(replayer.show(&tenant(), one).await, Err(StoreError::NotFound(_))));
    assert!(matches!(replayer.purge(&tenant(), one, "ann").await, Err(StoreError::NotFound(_))));
    let dry = replayer.purge_many(&tenant(), &all(), true, "ann").await.unwrap();
    assert_eq!((dry.matched, dry.purged, dry.ids), (1, 0, vec![two]));
    let done = replayer.purge_many(&tenant(), &all(), false, "ann").await.unwrap();
    assert_eq!((done.matched, done.purged), (1, 1));
    let ledger = store.ledger().await.unwrap();
    assert_eq!((ledger.total.dead, ledger.balances()), (2, true));
}
