//! Calls that are done together: each gets the answer it would have got alone.

use std::path::PathBuf;
use std::sync::Arc;

use bul_job::{AttemptNo, Format, JobId, Refused, State};
use bul_store::conformance::kit::{self, LEASE, acme};
use bul_store::{Accepted, Begin, Output, Store, StoreError};
use bul_store_sqlite::{Options, SqliteStore};
use futures::FutureExt;
use futures::future::{BoxFuture, join_all};
use serde_json::json;
use sqlx::{AssertSqlSafe, ConnectOptions, Executor, SqliteConnection};

struct File {
    store: Arc<dyn Store>,
    other: SqliteConnection,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

impl File {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bul.db");
        let store = SqliteStore::open(&path, Options::default()).await.unwrap();
        let other = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(&path)
            .foreign_keys(false)
            .connect()
            .await
            .unwrap();
        Self { store: Arc::new(store), other, path, _folder: folder }
    }

    /// Runs the calls as one set, in their order: on a runtime of one thread the writer has no turn before
    /// all of them wait in its queue.
    async fn together<T>(&self, calls: Vec<BoxFuture<'static, T>>) -> Vec<T> {
        join_all(calls).await
    }

    async fn sql(&mut self, sql: &str, id: JobId) {
        let sql = sql.replace("{id}", &format!("x'{}'", id.to_string().replace('-', "")));
        self.other.execute(sqlx::raw_sql(AssertSqlSafe(sql))).await.unwrap();
    }

    fn begin(&self, id: JobId) -> BoxFuture<'static, Result<Begin, StoreError>> {
        let store = Arc::clone(&self.store);
        async move { store.begin(id, "w", LEASE).await }.boxed()
    }

    fn complete(
        &self,
        id: JobId,
        attempt: u32,
        output: Output,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        let store = Arc::clone(&self.store);
        async move { store.complete(id, AttemptNo(attempt), &output).await }.boxed()
    }

    async fn running(&self, jobs: usize) -> Vec<JobId> {
        let mut ids = Vec::new();
        for _ in 0..jobs {
            ids.push(kit::running(&self.store).await.0);
        }
        ids
    }
}

#[tokio::test]
async fn calls_for_one_job_act_one_after_the_other() {
    let file = File::new().await;
    let id = kit::accept_any(&file.store).await;
    let store = Arc::clone(&file.store);
    let say = |call: BoxFuture<'static, String>| call;
    let extend = async move { format!("{:?}", store.extend(id, AttemptNo(1), LEASE).await.is_ok()) };
    let calls = vec![
        say(file.complete(id, 1, kit::output()).map(|r| format!("{:?}", r.unwrap_err())).boxed()),
        say(file.begin(id).map(|r| format!("{}", matches!(r, Ok(Begin::Run(_))))).boxed()),
        say(file.begin(id).map(|r| format!("{:?}", r.unwrap())).boxed()),
        say(extend.boxed()),
        say(file.complete(id, 1, kit::output()).map(|r| format!("{r:?}")).boxed()),
        say(file.complete(id, 1, kit::output()).map(|r| format!("{:?}", r.unwrap_err())).boxed()),
        say(file.begin(id).map(|r| format!("{:?}", r.unwrap())).boxed()),
    ];
    let fenced = StoreError::Refused(Refused::Fenced { given: AttemptNo(1), latest: AttemptNo(0) });
    let ended = StoreError::Refused(Refused::Final(State::Completed));
    let expected = [
        format!("{fenced:?}"),
        "true".into(),
        format!("{:?}", Begin::Skip(State::Running)),
        "true".into(),
        "Ok(())".into(),
        format!("{ended:?}"),
        format!("{:?}", Begin::Skip(State::Completed)),
    ];
    assert_eq!(file.together(calls).await, expected);
    let detail = kit::detail(&file.store, id).await;
    let record = kit::only(detail.attempts);
    assert_eq!((record.worker.as_str(), record.outcome.as_str()), ("w", "completed"));
    assert_eq!((detail.usage, detail.documents.len()), (Some(kit::output().usage), 2));
    kit::balanced(&file.store).await;
}

#[tokio::test]
async fn refused_calls_among_many_fail_alone() {
    let file = File::new().await;
    let ids = file.running(40).await;
    let twice = Output { documents: vec![(Format::Md, vec![1]), (Format::Md, vec![2])], ..kit::output() };
    let calls = ids
        .iter()
        .enumerate()
        .map(|(n, id)| match n {
            3 => file.complete(*id, 2, kit::output()),
            7 => file.complete(*id, 1, twice.clone()),
            11 => file.complete(JobId::new(), 1, kit::output()),
            _ => file.complete(*id, 1, kit::output()),
        })
        .collect();
    let results = file.together(calls).await;
    for (n, (result, id)) in results.into_iter().zip(&ids).enumerate() {
        let expected = match n {
            3 => matches!(result, Err(StoreError::Refused(Refused::Fenced { .. }))),
            7 => matches!(result, Err(StoreError::Conflict("document"))),
            11 => matches!(result, Err(StoreError::NotFound("job"))),
            _ => result.is_ok(),
        };
        assert!(expected, "call {n}: {result:?}");
        let state = if matches!(n, 3 | 7 | 11) { State::Running } else { State::Completed };
        assert_eq!(kit::state(&file.store, *id).await, state, "job {n}");
    }
    kit::balanced(&file.store).await;
}

#[tokio::test]
async fn what_the_database_refuses_for_one_is_done_for_the_others() {
    let mut file = File::new().await;
    let ids = file.running(20).await;
    // Somebody has put a document of the first there, and made the row of the second unreadable.
    file.sql("INSERT INTO documents VALUES ({id}, 'pdf', x'00')", ids[0]).await;
    file.sql("UPDATE jobs SET tenant = 'No Such Name' WHERE id = {id}", ids[1]).await;
    let calls = ids.iter().map(|id| file.complete(*id, 1, kit::output())).collect();
    let results = file.together(calls).await;
    assert!(matches!(results[0], Err(StoreError::Conflict("document"))), "{:?}", results[0]);
    assert!(matches!(results[1], Err(StoreError::Corrupt(_))), "{:?}", results[1]);
    assert!(results[2..].iter().all(Result::is_ok), "{results:?}");
    assert_eq!(kit::state(&file.store, ids[0]).await, State::Running);
    file.sql("UPDATE jobs SET tenant = 'acme' WHERE id = {id}", ids[1]).await;
    file.sql("DELETE FROM documents WHERE job = {id}", ids[0]).await;
    for id in &ids[..2] {
        file.complete(*id, 1, kit::output()).await.unwrap();
    }
    assert_eq!(kit::balanced(&file.store).await.total.completed, 20);
}

#[tokio::test]
async fn callers_that_have_gone_leave_their_jobs_to_others() {
    let file = File::new().await;
    let mut ids = Vec::new();
    for _ in 0..40 {
        ids.push(kit::accept_any(&file.store).await);
    }
    let mut calls: Vec<_> = ids.iter().map(|id| file.begin(*id)).collect();
    for call in &mut calls {
        assert!(futures::poll!(call).is_pending());
    }
    let left: Vec<_> = calls.drain(20..).collect();
    drop(left);
    for begun in join_all(calls).await {
        assert!(matches!(begun, Ok(Begin::Run(_))), "{begun:?}");
    }
    for id in &ids[20..] {
        assert!(matches!(file.begin(*id).await, Ok(Begin::Run(_))), "nobody has begun it");
        file.complete(*id, 1, kit::output()).await.unwrap();
    }
    let total = kit::balanced(&file.store).await.total;
    assert_eq!((total.running, total.completed), (20, 20));
}

#[tokio::test]
async fn single_accepts_that_meet_see_each_other() {
    let file = File::new().await;
    let body = |text: &str| json!({"query": text, "idempotency_key": "k"});
    let jobs = [
        kit::new_job(&file.store, body("a")),
        kit::new_job(&file.store, json!({"query": "b"})),
        kit::new_job(&file.store, body("a")),
        kit::new_job(&file.store, body("c")),
        kit::new_job_of(&file.store, "globex", body("a")),
    ];
    let (first, plain) = (jobs[0].id, jobs[1].clone());
    let mut calls = Vec::new();
    for job in jobs.into_iter().chain([plain]) {
        let store = Arc::clone(&file.store);
        calls.push(async move { kit::only(store.accept(&[job]).await.unwrap()) }.boxed());
    }
    let answers = file.together(calls).await;
    let new = |answer: &Accepted| matches!(answer, Accepted::New { publish: Some(_), .. });
    assert!(new(&answers[0]) && new(&answers[1]) && new(&answers[4]), "{answers:?}");
    assert_eq!(answers[2], Accepted::Existing { id: first, state: State::Queued });
    assert_eq!(answers[3], Accepted::Conflict { id: first });
    assert!(matches!(answers[5], Accepted::Existing { .. }), "the same call twice: {answers:?}");
    assert_eq!(kit::balanced(&file.store).await.total.accepted, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_another_process_has_done_is_seen() {
    let file = File::new().await;
    let second: Arc<dyn Store> = Arc::new(SqliteStore::open(&file.path, Options::default()).await.unwrap());
    for _ in 0..10 {
        let id = kit::accept_any(&file.store).await;
        let attempt = kit::begin(&second, id).await.attempt;
        let late = file.begin(id).await.unwrap();
        assert!(matches!(late, Begin::Skip(State::Running)), "{late:?}");
        second.hand_back(id, attempt).await.unwrap();
        kit::assert_fenced(file.complete(id, 1, kit::output()).await);
        second.cancel(&acme(), id).await.unwrap();
    }
    assert_eq!(kit::balanced(&file.store).await.total.cancelled, 10);
}
