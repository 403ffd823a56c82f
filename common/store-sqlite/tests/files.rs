//! What only a file has: rights, versions, locks, and several stores on it at once.

use std::sync::Arc;
use std::time::Duration;

use bul_job::JobId;
use bul_store::conformance::kit;
use bul_store::{Store, StoreError};
use bul_store_sqlite::{OpenError, Options, SqliteStore};
use serde_json::json;
use sqlx::{ConnectOptions, Connection, Executor};

async fn raw(path: &std::path::Path) -> sqlx::SqliteConnection {
    sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap()
}

#[cfg(unix)]
#[tokio::test]
async fn nobody_else_can_read_the_files() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("data/bul.db");
    let store = SqliteStore::open(&path, Options::default()).await.unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    kit::accept_any(&store).await;
    let mut seen = 0;
    for entry in std::fs::read_dir(path.parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{:?}", entry.file_name());
        seen += 1;
    }
    assert!(seen >= 2, "the file and its write-ahead log");
    let mode = std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o700);
}

#[tokio::test]
async fn a_newer_schema_and_a_foreign_database_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bul.db");
    SqliteStore::open(&path, Options::default()).await.unwrap().close().await;
    let mut conn = raw(&path).await;
    conn.execute("PRAGMA user_version = 99").await.unwrap();
    conn.close().await.unwrap();
    let refused = SqliteStore::open(&path, Options::default()).await.err().unwrap();
    assert!(matches!(refused, OpenError::TooNew { found: 99, known: 9, .. }), "{refused}");

    let foreign = folder.path().join("other.db");
    let mut conn = raw(&foreign).await;
    conn.execute("CREATE TABLE notes (text TEXT)").await.unwrap();
    conn.close().await.unwrap();
    let refused = SqliteStore::open(&foreign, Options::default()).await.err().unwrap();
    assert!(matches!(refused, OpenError::Foreign(_)), "{refused}");

    let text = folder.path().join("text.db");
    std::fs::write(&text, "this is no database, however long it may be ".repeat(100)).unwrap();
    let refused = SqliteStore::open(&text, Options::default()).await.err().unwrap();
    assert!(matches!(refused, OpenError::Database { .. }), "{refused}");
}

#[tokio::test]
async fn one_holder_of_the_lock_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new/bul.db");
    let lock = SqliteStore::lock_exclusive(&path).unwrap();
    let refused = SqliteStore::lock_exclusive(&path).err().unwrap();
    assert!(matches!(refused, OpenError::InUse(_)), "{refused}");
    assert!(refused.to_string().contains("in use by another process"));
    // The lock keeps out who asks for it; a command that works beside `bul up` does not ask.
    SqliteStore::open(&path, Options::default()).await.unwrap().close().await;
    drop(lock);
    SqliteStore::lock_exclusive(&path).unwrap();
    SqliteStore::lock_exclusive(":memory:").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_stores_on_one_file_share_the_work() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bul.db");
    let opened =
        futures::future::join_all((0..2).map(|_| SqliteStore::open(&path, Options::default()))).await;
    let stores: Vec<Arc<dyn Store>> =
        opened.into_iter().map(|s| Arc::new(s.unwrap()) as Arc<dyn Store>).collect();
    let tasks = (0..8).map(|n| {
        let store = Arc::clone(&stores[n % 2]);
        tokio::spawn(async move {
            for round in 0..10 {
                let body = json!({"query": "x", "idempotency_key": format!("k{round}")});
                store.accept(&[kit::new_job(&store, body)]).await.unwrap();
            }
        })
    });
    for task in futures::future::join_all(tasks).await {
        task.unwrap();
    }
    for store in &stores {
        assert_eq!(kit::balanced(store).await.total.accepted, 10);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_long_foreign_transaction_makes_writes_unavailable_and_reads_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bul.db");
    let impatient = Options { busy_timeout: Duration::from_millis(20), ..Options::default() };
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, impatient).await.unwrap());
    let id = kit::accept_any(&store).await;
    let mut other = raw(&path).await;
    other.execute("BEGIN IMMEDIATE").await.unwrap();
    let refused = store.cancel(&kit::acme(), id).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    kit::detail(&store, id).await;
    other.execute("ROLLBACK").await.unwrap();
    store.cancel(&kit::acme(), id).await.unwrap();
    kit::balanced(&store).await;
}

#[tokio::test]
async fn a_row_that_breaks_the_state_machine_is_refused_by_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bul.db");
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, Options::default()).await.unwrap());
    let id: JobId = kit::accept_any(&store).await;
    let mut conn = raw(&path).await;
    for change in [
        "state = 'done'",
        "state = 'completed'",
        "state = 'completed', ended_at = 1",
        "state = 'dead', ended_at = 1, due_at = NULL",
        "state = 'running'",
        "state = 'waiting', due_at = NULL",
        "dead_reason = 'poison'",
        "lane = 4",
        "tenant = 'nobody'",
    ] {
        let sql = sqlx::AssertSqlSafe(format!("UPDATE jobs SET {change}"));
        assert!(conn.execute(sqlx::raw_sql(sql)).await.is_err(), "{change}");
    }
    assert_eq!(kit::state(&store, id).await, bul_job::State::Queued);
}
