//! The life of an attempt: begin, extend, and one of complete, fail and hand back.

use std::time::Duration;

use bul_job::{Action, AttemptNo, Failure, Format, Input, JobId, Refused};
use bul_store::{Attempt, Begin, Extended, JobStatus, Output, StoreError, Usage};

use crate::fault::{Fault, corrupt, unique};
use crate::rows::{Job, blob, body, column, micros};
use crate::transition::{apply, load};
use crate::writer::Tx;

/// Longest lease: a worker that asks for more would hide its own death for longer.
const LEASE_MAX: Duration = Duration::from_secs(24 * 3600);

pub(crate) async fn begin(tx: &mut Tx, id: JobId, worker: String, lease: Duration) -> Result<Begin, Fault> {
    let mut job = load(tx, id).await?;
    let applied = match apply(tx, &mut job, &Input::Begin { lease: lease.min(LEASE_MAX) }).await {
        Ok(applied) => applied,
        Err(Fault::Store(StoreError::Refused(Refused::NotNow(state) | Refused::Final(state)))) => {
            return Ok(Begin::Skip(state));
        }
        Err(other) => return Err(other),
    };
    let Action::Run(attempt) = applied.action else { return Ok(Begin::Skip(job.core.state)) };
    sqlx::query(include_str!("../queries/begin_attempt.sql"))
        .bind(blob(id))
        .bind(attempt.0)
        .bind(worker)
        .bind(micros(tx.now))
        .execute(&mut tx.conn)
        .await?;
    let text: Option<String> = sqlx::query_scalar(include_str!("../queries/load_body.sql"))
        .bind(blob(id))
        .fetch_optional(&mut tx.conn)
        .await?
        .flatten();
    let content = body(text.as_deref())?.ok_or_else(|| corrupt("an open job has no payload"))?;
    Ok(Begin::Run(Box::new(Attempt {
        id,
        tenant: job.tenant,
        attempt,
        failures: job.core.failures,
        accepted_at: job.accepted_at,
        job: content,
    })))
}

pub(crate) async fn extend(
    tx: &mut Tx,
    id: JobId,
    attempt: AttemptNo,
    lease: Duration,
) -> Result<Extended, Fault> {
    let mut job = load(tx, id).await?;
    apply(tx, &mut job, &Input::Extend { attempt, lease: lease.min(LEASE_MAX) }).await?;
    Ok(Extended { cancel_requested: job.core.cancel_requested })
}

/// An output made ready for the writer.
pub(crate) struct Produced {
    documents: Vec<(Format, Vec<u8>)>,
    title: String,
    usage: Usage,
    findings: String,
}

impl Produced {
    pub(crate) fn new(output: &Output) -> Result<Self, StoreError> {
        let findings =
            serde_json::to_string(&output.findings).map_err(|e| StoreError::Corrupt(e.to_string()))?;
        Ok(Self {
            documents: output.documents.clone(),
            title: output.title.clone(),
            usage: output.usage.clone(),
            findings,
        })
    }
}

pub(crate) async fn complete(
    tx: &mut Tx,
    id: JobId,
    attempt: AttemptNo,
    output: Produced,
) -> Result<(), Fault> {
    let mut job = load(tx, id).await?;
    apply(tx, &mut job, &Input::Complete { attempt }).await?;
    for (format, bytes) in output.documents {
        sqlx::query(include_str!("../queries/commit_document.sql"))
            .bind(blob(id))
            .bind(format.as_str())
            .bind(bytes)
            .execute(&mut tx.conn)
            .await
            .map_err(unique("document"))?;
    }
    let usage = output.usage;
    sqlx::query(include_str!("../queries/commit_result.sql"))
        .bind(blob(id))
        .bind(output.title)
        .bind(output.findings)
        .bind(usage.model)
        .bind(column(usage.prompt_tokens))
        .bind(column(usage.cached_tokens))
        .bind(column(usage.output_tokens))
        .bind(finite(usage.generate_ms))
        .bind(finite(usage.write_ms))
        .bind(finite(usage.total_ms))
        .execute(&mut tx.conn)
        .await?;
    Ok(())
}

/// SQLite keeps "not a number" as NULL, which the table refuses; a bad measurement must not cost a
/// finished document.
fn finite(value: f64) -> f64 {
    if value.is_finite() { value } else { 0.0 }
}

pub(crate) async fn fail(
    tx: &mut Tx,
    id: JobId,
    attempt: AttemptNo,
    failure: Failure,
) -> Result<JobStatus, Fault> {
    end(tx, id, Input::Fail { attempt, failure }).await
}

pub(crate) async fn hand_back(tx: &mut Tx, id: JobId, attempt: AttemptNo) -> Result<JobStatus, Fault> {
    end(tx, id, Input::HandBack { attempt }).await
}

async fn end(tx: &mut Tx, id: JobId, input: Input) -> Result<JobStatus, Fault> {
    let mut job: Job = load(tx, id).await?;
    apply(tx, &mut job, &input).await?;
    Ok(job.status())
}
