//! A file of version 1 is brought up to date without loss. It is made here by the script that was
//! released, with rows as version 1 wrote them.

use std::path::Path;
use std::sync::Arc;

use bul_job::{AttemptNo, Format, JobId, State};
use bul_store::conformance::kit::{self, acme, detail};
use bul_store::{Accepted, Begin, NewJob, ReplayAs, Store, UnreadableMessage};
use bul_store_sqlite::{Options, SqliteStore};
use serde_json::json;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Executor, SqliteConnection};

const SCRIPT_1: &str = include_str!("../migrations/0001_initial.sql");
const T: i64 = 1_700_000_000_000_000;

async fn raw(path: &Path) -> SqliteConnection {
    sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap()
}

/// A job as version 1 inserted it; `columns` replace those of a fresh one.
async fn insert(conn: &mut SqliteConnection, new: &NewJob, state: &str, columns: &str) {
    let body = serde_json::to_string(&new.job).unwrap();
    sqlx::query(
        "INSERT INTO jobs (id, tenant, template, business_area, lane, source, idempotency_key, digest, \
         accepted_at, state, attempt, publish, failures, crashes, max_attempts, cancel_requested, due_at, \
         ended_at, dead_reason) \
         SELECT ?1, 'acme', ?2, '', 2, 'test', ?3, ?4, ?5, ?6, ?7, 1, 0, 0, 3, 0, ?8, ?9, ?10",
    )
    .bind(&new.id.as_bytes()[..])
    .bind(&new.job.template)
    .bind(&new.job.idempotency_key)
    .bind(&new.job.digest()[..])
    .bind(T)
    .bind(state)
    .bind(i64::from(state != "queued"))
    .bind(matches!(state, "queued" | "running" | "waiting").then_some(T + 5_000_000))
    .bind(matches!(state, "completed" | "dead" | "cancelled").then_some(T + 9))
    .bind((state == "dead").then_some("permanent"))
    .execute(&mut *conn)
    .await
    .unwrap();
    sqlx::query("INSERT INTO payloads (job, body) VALUES (?1, ?2)")
        .bind(&new.id.as_bytes()[..])
        .bind(body)
        .execute(&mut *conn)
        .await
        .unwrap();
    change(conn, new.id, "UPDATE jobs SET {} WHERE id = {id}", columns).await;
}

async fn change(conn: &mut SqliteConnection, id: JobId, sql: &str, with: &str) {
    if !with.is_empty() {
        let id = format!("x'{}'", id.to_string().replace('-', ""));
        let sql = sql.replace("{id}", &id).replace("{}", with);
        conn.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
    }
}

async fn attempt(conn: &mut SqliteConnection, id: JobId, values: &str) {
    change(conn, id, "INSERT INTO attempts VALUES ({id}, {})", values).await;
}

struct Old {
    completed: NewJob,
    running: NewJob,
    queued: NewJob,
    waiting: NewJob,
    dead: NewJob,
    purged: NewJob,
    cancelled: NewJob,
}

/// One job of each kind.
async fn old_file(path: &Path, store: &Arc<dyn Store>) -> Old {
    let mut conn = raw(path).await;
    conn.execute(sqlx::raw_sql(SCRIPT_1)).await.unwrap();
    let new = |n: usize| kit::new_job(store, json!({"query": "x", "idempotency_key": format!("k{n}")}));
    let [completed, running, queued, waiting, dead, purged, cancelled] = [0, 1, 2, 3, 4, 5, 6].map(new);
    let c = &mut conn;
    c.execute("INSERT INTO tenants VALUES ('acme', 7)").await.unwrap();
    insert(c, &completed, "completed", "attempt = 2, failures = 1").await;
    attempt(c, completed.id, &format!("1, 'w0', {T}, {T} + 3, 'failed', 'transient', 'busy', 'later', 7"))
        .await;
    attempt(c, completed.id, &format!("2, 'w1', {T} + 4, {T} + 9, 'completed', NULL, NULL, NULL, NULL"))
        .await;
    let result = r#"'A title', '[{"ok":true}]', 'm', 100, 60, 40, 12.5, 2.25, 15.0"#;
    change(c, completed.id, "INSERT INTO results VALUES ({id}, {})", result).await;
    change(c, completed.id, "INSERT INTO documents VALUES ({id}, {})", "'pdf', x'00ff10'").await;
    change(c, completed.id, "INSERT INTO audit VALUES (1, 'acme', 5, 'op', 'dlq.replay', {id}, {})", "''")
        .await;
    insert(c, &running, "running", "").await;
    attempt(c, running.id, &format!("1, 'w2', {T} + 1, NULL, '', NULL, NULL, NULL, NULL")).await;
    insert(c, &queued, "queued", "").await;
    insert(c, &waiting, "waiting", "").await;
    attempt(c, waiting.id, &format!("1, 'w3', {T}, {T} + 2, 'handed_back', NULL, NULL, NULL, NULL")).await;
    for job in [&dead, &purged] {
        insert(c, job, "dead", "failure_code = 'bad', failure_message = 'no such template'").await;
        attempt(c, job.id, &format!("1, 'w4', {T}, {T} + 9, 'failed', 'permanent', 'bad', 'no', NULL")).await;
    }
    change(c, purged.id, "UPDATE jobs SET {} WHERE id = {id}", "purged_at = 77").await;
    change(c, purged.id, "DELETE FROM payloads WHERE job = {id} {}", "AND 1").await;
    insert(c, &cancelled, "cancelled", "").await;
    c.execute(sqlx::raw_sql("PRAGMA application_id = 0x42554c31; PRAGMA user_version = 1")).await.unwrap();
    conn.close().await.unwrap();
    Old { completed, running, queued, waiting, dead, purged, cancelled }
}

async fn open(path: &Path) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(path, Options::default()).await.unwrap())
}

#[tokio::test]
async fn a_file_of_version_1_keeps_everything() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bul.db");
    let memory = open(Path::new(":memory:")).await;
    let old = old_file(&path, &memory).await;
    let store = open(&path).await;
    let ledger = kit::balanced(&store).await.total;
    assert_eq!((ledger.accepted, ledger.completed, ledger.running, ledger.queued), (7, 1, 1, 1));
    assert_eq!((ledger.waiting, ledger.dead, ledger.cancelled), (1, 2, 1));
    check_completed(&store, &old).await;
    for (job, worker, outcome) in
        [(&old.running, "w2", ""), (&old.waiting, "w3", "handed_back"), (&old.dead, "w4", "failed")]
    {
        let record = kit::only(detail(&store, job.id).await.attempts);
        assert_eq!((record.worker.as_str(), record.outcome.as_str()), (worker, outcome));
        assert_eq!(record.ended_at.is_none(), outcome.is_empty());
    }
    let dead = detail(&store, old.dead.id).await;
    assert_eq!(dead.summary.status.message.as_deref(), Some("no such template"));
    assert_eq!(dead.job.as_ref(), Some(&old.dead.job));
    assert!(detail(&store, old.purged.id).await.job.is_none());
    assert_eq!(store.dead_letters(&acme(), &Default::default()).await.unwrap().len(), 1);
    assert_eq!(detail(&store, old.cancelled.id).await.core.state, State::Cancelled);
    go_on(&store, &old).await;
    store.close().await;
    check_file(&path).await;
    kit::balanced(&open(&path).await).await;
}

/// Earlier versions kept a message that came twice as two letters with one digest.
#[tokio::test]
async fn letters_of_one_unreadable_message_stay_two_and_a_new_one_is_kept_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bul.db");
    let memory = open(Path::new(":memory:")).await;
    let mut conn = raw(&path).await;
    conn.execute(sqlx::raw_sql(SCRIPT_1)).await.unwrap();
    conn.execute("INSERT INTO tenants VALUES ('acme', 2)").await.unwrap();
    for _ in 0..2 {
        let job = kit::new_job(&memory, json!({"query": "x"}));
        insert(&mut conn, &job, "dead", "dead_reason = 'unreadable', digest = zeroblob(32)").await;
    }
    conn.execute(sqlx::raw_sql("PRAGMA application_id = 0x42554c31; PRAGMA user_version = 1")).await.unwrap();
    conn.close().await.unwrap();
    let store = open(&path).await;
    let message = UnreadableMessage {
        tenant: acme(),
        raw: b"{".to_vec(),
        message_id: None,
        reason: "no JSON".into(),
        source: "nats".into(),
    };
    let kept = store.accept_unreadable(&message).await.unwrap();
    assert_eq!(store.accept_unreadable(&message).await.unwrap(), kept);
    assert_eq!(store.dead_letters(&acme(), &Default::default()).await.unwrap().len(), 3);
    kit::balanced(&store).await;
}

async fn check_completed(store: &Arc<dyn Store>, old: &Old) {
    let done = detail(store, old.completed.id).await;
    let usage = done.usage.unwrap();
    assert_eq!((usage.model.as_str(), usage.prompt_tokens, usage.generate_ms), ("m", 100, 12.5));
    assert_eq!(usage.receipt, bul_store::Receipt::default());
    assert_eq!((done.summary.title.as_str(), done.findings), ("A title", vec![json!({"ok": true})]));
    let [first, second] = &done.attempts[..] else { panic!("{:?}", done.attempts) };
    assert_eq!(
        (first.worker.as_str(), first.outcome.as_str(), first.attempt),
        ("w0", "failed", AttemptNo(1))
    );
    let failure = first.failure.as_ref().unwrap();
    assert_eq!((failure.code.as_str(), failure.retry_after_ms), ("busy", Some(7)));
    assert_eq!((second.worker.as_str(), second.outcome.as_str()), ("w1", "completed"));
    assert_eq!(second.started_at.timestamp_micros(), T + 4);
    assert_eq!(second.ended_at.unwrap().timestamp_micros(), T + 9);
    assert_eq!(store.document(&acme(), old.completed.id, Format::Pdf).await.unwrap(), [0, 255, 16]);
    assert_eq!(kit::only(store.audit(&acme(), 10).await.unwrap()).job, old.completed.id);
    let usage = kit::only(store.usage(&acme(), bul_job::Timestamp::UNIX_EPOCH).await.unwrap());
    assert_eq!((usage.jobs, usage.output_tokens), (1, 40));
}

/// Work goes on where it was.
async fn go_on(store: &Arc<dyn Store>, old: &Old) {
    store.complete(old.running.id, AttemptNo(1), &kit::output()).await.unwrap();
    assert_eq!(kit::only(detail(store, old.running.id).await.attempts).worker, "w2");
    let again = kit::only(store.accept(std::slice::from_ref(&old.queued)).await.unwrap());
    assert_eq!(again, Accepted::Existing { id: old.queued.id, state: State::Queued });
    let Begin::Run(run) = store.begin(old.queued.id, "w9", kit::LEASE).await.unwrap() else {
        panic!("a queued job runs")
    };
    assert_eq!(run.job, old.queued.job);
    store.replay(&acme(), old.dead.id, None, ReplayAs::default(), "op").await.unwrap();
    assert_eq!(kit::only(detail(store, old.dead.id).await.attempts).outcome, "failed");
}

async fn check_file(path: &Path) {
    let mut conn = raw(path).await;
    let version: i64 = sqlx::query_scalar("PRAGMA user_version").fetch_one(&mut conn).await.unwrap();
    assert_eq!(version, 9);
    let sound: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut conn).await.unwrap();
    assert_eq!(sound, "ok");
    assert!(conn.fetch_all("PRAGMA foreign_key_check").await.unwrap().is_empty());
    let script: String = sqlx::query_scalar("SELECT group_concat(sql, ';') FROM sqlite_schema")
        .fetch_one(&mut conn)
        .await
        .unwrap();
    assert!(!script.contains("jobs_2") && !script.contains("results"), "{script}");
}
