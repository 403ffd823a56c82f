//! A store whose line to the server loses answers, or goes dead.

mod patience;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bul_harness::{Fault, Postgres, Proxy, wait_until};
use bul_job::{JobId, State};
use bul_store::conformance::kit;
use bul_store::{Accepted, Begin, Store, StoreError, StoreErrorClass};
use bul_store_postgres::{Options, PostgresStore};
use patience::insist;
use serde_json::json;

/// A store that reaches its server through a line that can be broken.
async fn open_through_proxy(server: &Postgres) -> (Proxy, Arc<dyn Store>) {
    let proxy = Proxy::start(server.port()).unwrap();
    let url = format!("postgres://postgres@127.0.0.1:{}/bul", proxy.port());
    let store = PostgresStore::open(&url, Options::default()).await.expect("open");
    (proxy, Arc::new(store))
}

/// Runs a call whose statement arrives, so that `query` then says "1" on a line of its own, and whose answer does not.
async fn with_lost_answer<T: Send + 'static>(
    (server, proxy): (&Postgres, &Proxy),
    query: &str,
    call: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    assert_eq!(server.psql(query).unwrap(), "0", "{query}");
    proxy.set(Fault::LostAnswers);
    let call = tokio::spawn(call);
    wait_until("it has arrived", || server.psql(query).unwrap() == "1").unwrap();
    assert!(!call.is_finished(), "an answer came through");
    // What was on its way is thrown away, and the client hears of it by an error, not by an orderly end.
    proxy.reset_all().unwrap();
    call.await.unwrap()
}

/// The same for a call that waits at its row, which another session holds: no answer from then on arrives.
async fn with_lost_lock<T: Send + 'static>(
    (server, proxy): (&Postgres, &Proxy),
    id: JobId,
    query: &str,
    call: impl Future<Output = Result<T, StoreError>> + Send + 'static,
) -> Result<T, StoreError> {
    let lock = format!("BEGIN; SELECT FROM bul.jobs WHERE id = '{id}' FOR UPDATE; SELECT pg_sleep(60)");
    let one = |query: &str| wait_until(query, || server.psql(query).unwrap() == "1").unwrap();
    let call = std::thread::scope(|scope| {
        let locking = scope.spawn(|| server.psql(&lock));
        one("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'");
        let call = tokio::spawn(call);
        one("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'");
        proxy.set(Fault::LostAnswers);
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'";
        assert_eq!(server.psql(end).unwrap(), "t");
        assert!(locking.join().unwrap().is_err(), "its session was ended");
        call
    });
    one(query);
    assert!(!call.is_finished(), "an answer came through");
    proxy.cut_all().unwrap();
    call.await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_answer_is_lost_counts_once() {
    let server = Postgres::start().unwrap();
    let (proxy, store) = open_through_proxy(&server).await;
    // Connections with prepared statements, so that one message is the whole call: those of both tasks of each kind.
    let prepare = async || {
        for _ in 0..2 {
            let (id, attempt) = kit::running(&store).await;
            store.complete(id, attempt, &kit::output()).await.unwrap();
            let (id, attempt) = kit::running(&store).await;
            store.hand_back(id, attempt).await.unwrap();
        }
    };
    prepare().await;
    let line = (&server, &proxy);
    let job = kit::new_job(&store, json!({"query": "x"}));
    let (id, copy, jobs) = (job.id, Arc::clone(&store), vec![job]);
    let is = |id: JobId, state: &str| {
        format!("SELECT count(*) FROM bul.jobs WHERE id = '{id}' AND state = '{state}'")
    };
    let accepted =
        with_lost_answer(line, &is(id, "queued"), async move { copy.accept(&jobs).await }).await.unwrap();
    assert!(matches!(&accepted[..], [Accepted::New { publish: Some(_), .. }]), "{accepted:?}");
    assert_eq!(server.psql("SELECT count(*) FROM bul.jobs").unwrap(), "5");

    // The answer is lost which tells of the lease itself.
    let copy = Arc::clone(&store);
    let begin = async move { copy.begin(id, "w", kit::LEASE).await };
    let begun = with_lost_lock(line, id, &is(id, "running"), begin).await.unwrap();
    let Begin::Run(attempt) = begun else { panic!("the lease was given to nobody: {begun:?}") };
    assert_eq!(attempt.attempt.0, 1);

    store.complete(id, attempt.attempt, &kit::output()).await.unwrap();
    prepare().await;
    // Begun without a fault, so that its row is remembered and its end is one statement.
    let (id, no) = kit::running(&store).await;
    let copy = Arc::clone(&store);
    let completing = async move { copy.complete(id, no, &kit::output()).await };
    with_lost_answer(line, &is(id, "completed"), completing).await.unwrap();
    let detail = kit::detail(&store, id).await;
    assert_eq!((detail.core.state, detail.documents.len(), detail.attempts.len()), (State::Completed, 2, 1));

    prepare().await;
    let (id, no) = kit::running(&store).await;
    let copy = Arc::clone(&store);
    let back = async move { copy.hand_back(id, no).await };
    // Several statements: an answer in the middle is lost, and the transaction with it.
    let midway = "SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction'";
    let status = with_lost_lock(line, id, midway, back).await.unwrap();
    assert_eq!((status.state, kit::detail(&store, id).await.attempts.len()), (State::Waiting, 1));
    assert_eq!(kit::balanced(&store).await.total.accepted, 5 + 4 + 1 + 4 + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_line_that_goes_dead_without_a_word_is_noticed_and_replaced() {
    let server = Postgres::start().unwrap();
    let (proxy, store) = open_through_proxy(&server).await;
    let (id, attempt) = kit::running(&store).await;
    kit::detail(&store, id).await;
    proxy.set(Fault::BlackHole);
    let started = Instant::now();
    let (output, tenant) = (kit::output(), kit::acme());
    let (write, read, due) =
        tokio::join!(store.complete(id, attempt, &output), store.job(&tenant, id), store.take_due(10));
    for result in [write, read.map(drop), due.map(drop)] {
        assert!(matches!(&result, Err(e) if e.class() == StoreErrorClass::Transient), "{result:?}");
    }
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    proxy.set(Fault::None);
    insist(|| store.complete(id, attempt, &output)).await.unwrap();
    assert_eq!(kit::state(&store, id).await, State::Completed);
    kit::balanced(&store).await;
}
