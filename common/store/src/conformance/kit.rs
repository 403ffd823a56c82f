//! What the cases share: jobs, workers and expectations. A failed expectation panics, as tests do.

use std::sync::Arc;
use std::time::Duration;

use bul_job::{
    AttemptNo, Failure, FailureClass, Format, JobId, Limits, PublishNo, RawJob, State, TenantId, ValidJob,
};
use serde_json::{Value, json};

use crate::{Accepted, Attempt, Begin, JobDetail, NewJob, Output, Ready, Receipt, Store, StoreError, Usage};

/// The lease of the cases.
pub const LEASE: Duration = Duration::from_secs(30);
/// Long enough for every retry and lease.
pub const AGES: Duration = Duration::from_secs(3_600);

/// A tenant.
pub fn tenant(name: &str) -> TenantId {
    name.parse().expect("the test's tenant is valid")
}

/// The tenant of most cases.
pub fn acme() -> TenantId {
    tenant("acme")
}

/// A valid job of this JSON, at the store's time.
pub fn valid(store: &Arc<dyn Store>, value: Value) -> ValidJob {
    let raw = RawJob::from_value(value).expect("the test's job is well-formed");
    ValidJob::parse(raw, store.now(), &Limits::default()).expect("the test's job is valid")
}

/// A job of acme to accept.
pub fn new_job(store: &Arc<dyn Store>, value: Value) -> NewJob {
    new_job_of(store, "acme", value)
}

/// A job of a tenant to accept.
pub fn new_job_of(store: &Arc<dyn Store>, owner: &str, value: Value) -> NewJob {
    NewJob { id: JobId::new(), tenant: tenant(owner), job: valid(store, value), source: "test".into() }
}

/// Accepts a job of acme that must be new.
pub async fn accept(store: &Arc<dyn Store>, value: Value) -> JobId {
    accept_job(store, new_job(store, value)).await
}

/// Accepts a job that must be new.
pub async fn accept_job(store: &Arc<dyn Store>, job: NewJob) -> JobId {
    match only(store.accept(&[job]).await.expect("accept")) {
        Accepted::New { id, .. } => id,
        other => panic!("expected a new job, got {other:?}"),
    }
}

/// Accepts a plain job of acme.
pub async fn accept_any(store: &Arc<dyn Store>) -> JobId {
    accept(store, json!({"query": "a report"})).await
}

/// The one element.
pub fn only<T: std::fmt::Debug>(items: Vec<T>) -> T {
    let count = items.len();
    let mut items = items.into_iter();
    match (items.next(), count) {
        (Some(item), 1) => item,
        _ => panic!("expected one element, got {count}"),
    }
}

/// Begins an attempt that must run.
pub async fn begin(store: &Arc<dyn Store>, id: JobId) -> Attempt {
    match store.begin(id, "worker-1", LEASE).await.expect("begin") {
        Begin::Run(attempt) => *attempt,
        Begin::Skip(state) => panic!("expected to run, skipped as {state}"),
    }
}

/// A running job and its attempt.
pub async fn running(store: &Arc<dyn Store>) -> (JobId, AttemptNo) {
    let id = accept_any(store).await;
    (id, begin(store, id).await.attempt)
}

/// A dead letter of acme: a permanent failure with code `no_template`.
pub async fn dead(store: &Arc<dyn Store>, value: Value) -> JobId {
    let id = accept(store, value).await;
    let attempt = begin(store, id).await.attempt;
    let failure = Failure {
        class: FailureClass::Permanent,
        code: "no_template".into(),
        message: "there is no such template".into(),
        retry_after_ms: None,
    };
    let status = store.fail(id, attempt, &failure).await.expect("fail");
    assert_eq!(status.state, State::Dead);
    id
}

/// A failure of a class.
pub fn failure(class: FailureClass) -> Failure {
    Failure { class, code: "test_failure".into(), message: "it did not work".into(), retry_after_ms: None }
}

/// A small output.
pub fn output() -> Output {
    Output {
        documents: vec![(Format::Pdf, b"%PDF-1.7 test".to_vec()), (Format::Md, "# Bericht für Zoë".into())],
        title: "Bericht für Zoë".into(),
        usage: Usage {
            model: "test-model".into(),
            prompt_tokens: 100,
            cached_tokens: 60,
            output_tokens: 40,
            generate_ms: 12.5,
            write_ms: 2.25,
            total_ms: 15.0,
            receipt: Receipt {
                host_tokens: 16,
                disk_tokens: 8,
                remote_tokens: 4,
                attached: 1,
                kept_texts: 3,
                preemptions: 2,
                recomputed_tokens: 48,
                queue_ms: 3.25,
                first_token_ms: 7.5,
            },
        },
        findings: vec![json!({"check": "spelling", "ok": true})],
        kept_texts: false,
        turn: None,
    }
}

/// Everything about a job of acme.
pub async fn detail(store: &Arc<dyn Store>, id: JobId) -> JobDetail {
    store.job(&acme(), id).await.expect("the job exists")
}

/// The state of a job of acme.
pub async fn state(store: &Arc<dyn Store>, id: JobId) -> State {
    detail(store, id).await.core.state
}

/// Looks after due rows until there are none; what is to be published.
pub async fn drain(store: &Arc<dyn Store>) -> Vec<Ready> {
    let mut ready = Vec::new();
    loop {
        let due = store.take_due(100).await.expect("take_due");
        if due.seen == 0 {
            return ready;
        }
        ready.extend(due.ready);
    }
}

/// Confirms a publication.
pub async fn confirm(store: &Arc<dyn Store>, id: JobId, publish: u32) {
    store.published(&[(id, PublishNo(publish))]).await.expect("published");
}

/// The conservation equation.
pub async fn balanced(store: &Arc<dyn Store>) -> bul_job::Ledger {
    let ledger = store.ledger().await.expect("ledger");
    assert!(ledger.balances(), "the ledger does not balance: {ledger:?}");
    ledger
}

/// Expects "not found".
#[track_caller]
pub fn assert_not_found<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::NotFound(_))), "expected not found, got {result:?}");
}

/// Expects a refusal by the state machine.
#[track_caller]
pub fn assert_refused<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(matches!(result, Err(StoreError::Refused(_))), "expected a refusal, got {result:?}");
}

/// Expects that the attempt has lost its job.
#[track_caller]
pub fn assert_fenced<T: std::fmt::Debug>(result: Result<T, StoreError>) {
    assert!(matches!(&result, Err(error) if error.is_fenced()), "expected a fence, got {result:?}");
}
