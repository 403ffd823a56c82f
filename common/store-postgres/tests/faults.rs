//! Several processes on one database, and a server that goes away in the middle of the work.

mod patience;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bul_harness::Postgres;
use bul_job::{JobId, State};
use bul_store::conformance::kit;
use bul_store::{Accepted, Begin, Store, StoreErrorClass};
use bul_store_postgres::{Options, PostgresStore};
use patience::insist;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

async fn open(server: &Postgres) -> Arc<dyn Store> {
    Arc::new(PostgresStore::open(&server.url(), Options::default()).await.expect("open"))
}

async fn accept_many(store: &Arc<dyn Store>, n: usize) -> Vec<JobId> {
    let jobs: Vec<_> = (0..n).map(|n| kit::new_job(store, json!({"query": "x", "data": {"n": n}}))).collect();
    let answers = store.accept(&jobs).await.unwrap();
    assert!(answers.iter().all(|answer| matches!(answer, Accepted::New { publish: Some(_), .. })));
    jobs.into_iter().map(|job| job.id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_workers_that_race_for_a_job_one_gets_it() {
    let server = Postgres::start().unwrap();
    let stores = [open(&server).await, open(&server).await];
    let ids = accept_many(&stores[0], 300).await;
    let mut races = JoinSet::new();
    // Each message is delivered three times to each of two processes.
    for n in 0..6 {
        let (store, ids) = (Arc::clone(&stores[n % 2]), ids.clone());
        races.spawn(async move {
            let begins = ids.iter().map(|id| store.begin(*id, "w", kit::LEASE));
            futures::future::join_all(begins).await
        });
    }
    let mut runs: BTreeMap<JobId, u32> = BTreeMap::new();
    while let Some(begun) = races.join_next().await {
        for begin in begun.unwrap() {
            if let Begin::Run(attempt) = begin.unwrap() {
                *runs.entry(attempt.id).or_default() += 1;
                assert_eq!(attempt.attempt.0, 1);
            }
        }
    }
    assert_eq!(runs.len(), 300);
    assert!(runs.values().all(|n| *n == 1));
    // The same for their results: one counts, the others are fenced off.
    let mut ends = JoinSet::new();
    for n in 0..4 {
        let (store, ids) = (Arc::clone(&stores[n % 2]), ids.clone());
        ends.spawn(async move {
            let output = kit::output();
            let ends = ids.iter().map(|id| store.complete(*id, bul_job::AttemptNo(1), &output));
            futures::future::join_all(ends).await
        });
    }
    let mut completed = 0;
    while let Some(results) = ends.join_next().await {
        for result in results.unwrap() {
            match result {
                Ok(()) => completed += 1,
                Err(error) => assert!(error.is_fenced(), "{error:?}"),
            }
        }
    }
    assert_eq!(completed, 300);
    assert_eq!(kit::balanced(&stores[1]).await.total.completed, 300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_schedulers_make_a_fire_once_and_take_no_row_twice() {
    let server = Postgres::start().unwrap();
    let stores = [open(&server).await, open(&server).await];
    let schedule = bul_store::conformance::schedules::schedule(&stores[0], "acme", "hourly");
    stores[0].add_schedule(&schedule).await.unwrap();
    let start = schedule.next_at.unwrap();
    for hour in 0..10 {
        let at = start + chrono::TimeDelta::hours(hour);
        let fires = stores.iter().map(|store| async move {
            let job = kit::new_job(store, json!({"query": "hourly"}));
            store.fire(schedule.id, &[(at, job)], Some(at + chrono::TimeDelta::hours(1))).await.unwrap()
        });
        let made: usize = futures::future::join_all(fires).await.iter().map(Vec::len).sum();
        assert_eq!(made, 1, "hour {hour}");
    }
    accept_many(&stores[0], 2000).await;
    assert_eq!(stores[0].republish_queued().await.unwrap(), 2010);
    let mut seen = BTreeSet::new();
    let takers = (0..6).map(|n| {
        let store = Arc::clone(&stores[n % 2]);
        tokio::spawn(async move {
            let mut mine = Vec::new();
            loop {
                let due = store.take_due(77).await.unwrap();
                if due.seen == 0 {
                    return mine;
                }
                mine.extend(due.ready);
            }
        })
    });
    for taken in futures::future::join_all(takers).await {
        for ready in taken.unwrap() {
            assert_eq!(ready.publish.0, 3);
            assert!(seen.insert(ready.id), "{} was taken twice", ready.id);
        }
    }
    assert_eq!(seen.len(), 2010);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_accept_the_same_keys_once() {
    let server = Postgres::start().unwrap();
    let stores = [open(&server).await, open(&server).await];
    let tasks = (0..8).map(|n| {
        let store = Arc::clone(&stores[n % 2]);
        tokio::spawn(async move {
            let mut new = 0;
            for round in 0..10 {
                let body = |k: usize| json!({"query": "x", "idempotency_key": format!("k{k}"), "dedup": k.is_multiple_of(2)});
                // Each task in an order of its own, which is what makes deadlocks.
                let batch: Vec<_> =
                    (0..20).map(|k| kit::new_job(&store, body((k * (2 * n + 1) + round) % 40))).collect();
                let answers = store.accept(&batch).await.unwrap();
                new += answers.iter().filter(|answer| matches!(answer, Accepted::New { .. })).count();
            }
            new
        })
    });
    let new: usize = futures::future::join_all(tasks).await.into_iter().map(|task| task.unwrap()).sum();
    assert_eq!(kit::balanced(&stores[0]).await.total.accepted, new as u64);
    // The even ones share one content and `dedup`, hence one job.
    assert_eq!(new, 21);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_again_and_again_loses_nothing_that_was_answered() {
    let options = bul_harness::PostgresOptions { fsync: true, ..Default::default() };
    let mut server = Postgres::start_with(options).unwrap();
    let store = open(&server).await;
    let stop = Arc::new(AtomicBool::new(false));
    // Jobs that came to an end, whichever; told to whoever waits for some.
    let ends = Arc::new(watch::Sender::new(0u64));
    let workers: Vec<_> = (0..16)
        .map(|_| {
            let (store, stop, ends) = (Arc::clone(&store), Arc::clone(&stop), Arc::clone(&ends));
            tokio::spawn(async move {
                let (mut accepted, mut completed, mut fenced) = (0u64, Vec::new(), 0u64);
                while !stop.load(Ordering::Relaxed) {
                    let job = kit::new_job(&store, json!({"query": "x"}));
                    insist(|| store.accept(std::slice::from_ref(&job))).await.unwrap();
                    accepted += 1;
                    match insist(|| store.begin(job.id, "w", kit::LEASE)).await.unwrap() {
                        Begin::Run(attempt) => {
                            let output = kit::output();
                            match insist(|| store.complete(job.id, attempt.attempt, &output)).await {
                                Ok(()) => completed.push(job.id),
                                Err(error) if error.is_fenced() => fenced += 1,
                                Err(error) => panic!("{error:?}"),
                            }
                        }
                        // The lease was given, and its answer lost for good.
                        Begin::Skip(State::Running) => fenced += 1,
                        Begin::Skip(state) => panic!("skipped as {state}"),
                    }
                    ends.send_modify(|ends| *ends += 1);
                }
                (accepted, completed, fenced)
            })
        })
        .collect();
    let in_full_swing = async || {
        let mut ends = ends.subscribe();
        let enough = *ends.borrow() + 32;
        tokio::time::timeout(Duration::from_secs(60), ends.wait_for(|ends| *ends >= enough))
            .await
            .unwrap()
            .unwrap();
    };
    for round in 0..4 {
        in_full_swing().await;
        if round % 2 == 0 {
            server.kill()
        } else {
            server.stop().unwrap()
        }
        let error = tokio::time::timeout(Duration::from_secs(30), store.check()).await.unwrap();
        assert!(matches!(&error, Err(e) if e.class() == StoreErrorClass::Transient), "{error:?}");
        server.restart().unwrap();
        let back = Instant::now();
        insist(|| store.check()).await.unwrap();
        println!("round {round}: it healed after {} ms", back.elapsed().as_millis());
    }
    in_full_swing().await;
    stop.store(true, Ordering::Relaxed);
    let (mut accepted, mut completed, mut fenced) = (0, Vec::new(), 0);
    for worker in workers {
        let (a, c, f) = worker.await.unwrap();
        accepted += a;
        completed.extend(c);
        fenced += f;
    }
    let ledger = kit::balanced(&store).await;
    assert_eq!(ledger.total.accepted, accepted, "a repeated call counted twice, or one was lost");
    assert!(ledger.total.completed >= completed.len() as u64);
    assert!(ledger.total.completed + ledger.total.running >= accepted - fenced);
    assert!(completed.len() > 50, "{} completed", completed.len());
    for id in completed {
        let detail = kit::detail(&store, id).await;
        assert_eq!((detail.core.state, detail.documents.len()), (State::Completed, 2));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_away_is_unavailable_and_heals_without_reopening() {
    let mut server = Postgres::start().unwrap();
    let store = open(&server).await;
    let (id, attempt) = kit::running(&store).await;
    kit::detail(&store, id).await;
    server.stop().unwrap();
    let job = kit::new_job(&store, json!({"query": "x"}));
    let (output, jobs) = (kit::output(), [job]);
    let tenant = kit::acme();
    let results = [
        store.accept(&jobs).await.map(drop),
        store.begin(id, "w", kit::LEASE).await.map(drop),
        store.complete(id, attempt, &output).await,
        store.job(&tenant, id).await.map(drop),
        store.take_due(10).await.map(drop),
        store.ledger().await.map(drop),
    ];
    for result in results {
        assert!(matches!(&result, Err(e) if e.class() == StoreErrorClass::Transient), "{result:?}");
    }
    server.restart().unwrap();
    store.complete(id, attempt, &output).await.unwrap();
    store.accept(&jobs).await.unwrap();
    assert_eq!(kit::state(&store, id).await, State::Completed);
    store.take_due(10).await.unwrap();
    kit::balanced(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn confirmations_are_held_back_and_written_by_close() {
    let server = Postgres::start().unwrap();
    let store = open(&server).await;
    let ids = accept_many(&store, 20).await;
    for id in &ids {
        kit::confirm(&store, *id, 1).await;
    }
    for id in &ids[..10] {
        kit::begin(&store, *id).await;
    }
    let confirmed =
        "SELECT count(*) FROM bul.jobs WHERE state = 'queued' AND due_at > now() + interval '1 minute'";
    assert_eq!(server.psql(confirmed).unwrap(), "0");
    store.close().await;
    assert_eq!(server.psql(confirmed).unwrap(), "10");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_job_with_a_due_time_is_watched_after_a_random_history() {
    let server = Postgres::start().unwrap();
    // One of them writes each confirmation at once.
    let at_once = Options { confirm_delay: Duration::ZERO, ..Options::default() };
    let at_once: Arc<dyn Store> = Arc::new(PostgresStore::open(&server.url(), at_once).await.unwrap());
    let stores = [open(&server).await, at_once];
    let tasks = (0..8u64).map(|task| {
        let store = Arc::clone(&stores[task as usize % 2]);
        tokio::spawn(async move {
            for round in 0..30u64 {
                let ids = accept_many(&store, 1 + (task as usize + round as usize) % 5).await;
                let dice = (task * 31 + round * 17) % 10;
                if dice < 5 {
                    for id in &ids {
                        kit::confirm(&store, *id, 1).await;
                    }
                }
                for id in ids {
                    let Begin::Run(attempt) =
                        store.begin(id, "w", Duration::from_millis(20 * dice)).await.unwrap()
                    else {
                        continue;
                    };
                    let _ = match dice {
                        0 | 1 => store.complete(id, attempt.attempt, &kit::output()).await,
                        2 | 3 => store.hand_back(id, attempt.attempt).await.map(drop),
                        4 => store
                            .fail(id, attempt.attempt, &kit::failure(bul_job::FailureClass::Transient))
                            .await
                            .map(drop),
                        5 => store.extend(id, attempt.attempt, kit::LEASE).await.map(drop),
                        6 => store.extend(id, attempt.attempt, Duration::from_millis(1)).await.map(drop),
                        7 => store.cancel(&kit::acme(), id).await.map(drop),
                        _ => Ok(()),
                    };
                }
                store.take_due(20).await.unwrap();
            }
        })
    });
    for task in futures::future::join_all(tasks).await {
        task.unwrap();
    }
    let unwatched = "SELECT count(*) FROM bul.jobs j WHERE j.due_at IS NOT NULL AND NOT EXISTS (
        SELECT 1 FROM bul.watches w WHERE w.look_at <= j.due_at AND j.id = ANY(w.jobs))";
    let which = unwatched.replacen(
        "count(*)",
        "j.id, j.state, j.attempt, j.publish, j.due_at, j.started_at, j.accepted_at,
        (SELECT array_agg(w.look_at) FROM bul.watches w WHERE j.id = ANY(w.jobs)), now()",
        1,
    );
    assert_eq!(server.psql(unwatched).unwrap(), "0", "{}", server.psql(&which).unwrap());
    kit::balanced(&stores[0]).await;
}
