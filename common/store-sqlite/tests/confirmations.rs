//! Confirmations of publications that are written a moment later.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bul_job::{JobId, PublishNo, Rules, State};
use bul_store::Store;
use bul_store::conformance::kit;
use bul_store_sqlite::{Options, SqliteStore};

/// Longer than any test waits.
const EVENTUALLY_MAX: Duration = Duration::from_secs(20);

async fn open(path: &Path, confirm_delay: Duration) -> Arc<dyn Store> {
    let options = Options { confirm_delay, ..Options::default() };
    Arc::new(SqliteStore::open(path, options).await.unwrap())
}

async fn is_confirmed(store: &Arc<dyn Store>, id: JobId) -> bool {
    let core = kit::detail(store, id).await.core;
    core.state == State::Queued && core.due_at > Some(store.now() + Rules::default().publish_grace)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_are_written_in_time_for_jobs_that_are_still_queued() {
    let store = open(Path::new(":memory:"), Duration::from_millis(20)).await;
    let (queued, begun) = (kit::accept_any(&store).await, kit::accept_any(&store).await);
    store.published(&[(queued, PublishNo(1)), (begun, PublishNo(1))]).await.unwrap();
    let attempt = kit::begin(&store, begun).await.attempt;
    let written = async {
        while !is_confirmed(&store, queued).await {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(EVENTUALLY_MAX, written).await.unwrap();
    assert!(!is_confirmed(&store, begun).await, "a running job keeps its lease");
    store.complete(begun, attempt, &kit::output()).await.unwrap();
    kit::begin(&store, queued).await;
    kit::balanced(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_writes_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bul.db");
    let store = open(&path, Duration::from_secs(3600)).await;
    let id = kit::accept_any(&store).await;
    kit::confirm(&store, id, 1).await;
    assert!(!is_confirmed(&store, id).await);
    store.close().await;
    assert!(store.published(&[(id, PublishNo(1))]).await.is_err(), "it is closed");
    assert!(is_confirmed(&open(&path, Duration::ZERO).await, id).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_forgot_makes_them_void() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bul.db");
    let store = open(&path, Duration::from_secs(3600)).await;
    let id = kit::accept_any(&store).await;
    kit::confirm(&store, id, 1).await;
    assert_eq!(store.republish_queued().await.unwrap(), 1);
    store.close().await;
    let store = open(&path, Duration::ZERO).await;
    assert_eq!(kit::only(kit::drain(&store).await).id, id);
}
