//! What users ask: one job, lists, a document; and the one command, cancel.

use std::collections::BTreeMap;

use bul_job::{AttemptNo, Format, Input, JobCore, JobId, PublishNo, State, TenantId};
use bul_store::{AttemptRecord, JobDetail, JobFilter, JobStatus, JobSummary, Receipt, StoreError, Usage};
use sqlx::Row;
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use crate::fault::{Fault, corrupt};
use crate::from_row::row;
use crate::rows::{
    blob, count, dead_reason, failure, format, id, json, lane, parked, readable, state, time, time_or_none,
};
use crate::transition::{apply, load_of};
use crate::writer::Tx;

pub(crate) async fn job(
    conn: &mut SqliteConnection,
    tenant: TenantId,
    id: JobId,
) -> Result<JobDetail, Fault> {
    let row = sqlx::query(include_str!("../queries/job.sql"))
        .bind(tenant.as_str())
        .bind(blob(id))
        .fetch_optional(&mut *conn)
        .await?
        .ok_or(StoreError::NotFound("job"))?;
    let findings: Option<String> = row.try_get("findings")?;
    let text: Option<String> = row.try_get("body")?;
    Ok(JobDetail {
        summary: summary(&row)?,
        job: readable(text.as_deref()),
        core: core(&row)?,
        source: row.try_get("source")?,
        documents: documents(conn, id).await?,
        usage: usage(&row)?,
        findings: findings.map(|text| json(&text, "findings")).transpose()?.unwrap_or_default(),
        attempts: attempts(conn, id, &row).await?,
    })
}

fn summary(row: &SqliteRow) -> Result<JobSummary, Fault> {
    let reason: Option<String> = row.try_get("dead_reason")?;
    let title: Option<String> = row.try_get("title")?;
    Ok(JobSummary {
        id: id(row.try_get("id")?)?,
        template: row.try_get("template")?,
        business_area: row.try_get("business_area")?,
        lane: lane(row.try_get("lane")?)?,
        status: JobStatus {
            state: state(row.try_get("state")?)?,
            attempt: AttemptNo(count(row.try_get("attempt")?)?),
            due_at: time_or_none(row.try_get("due_at")?)?,
            dead_reason: reason.as_deref().map(dead_reason).transpose()?,
            message: row.try_get("failure_message")?,
        },
        title: title.unwrap_or_default(),
        accepted_at: time(row.try_get("accepted_at")?)?,
        ended_at: time_or_none(row.try_get("ended_at")?)?,
    })
}

fn core(row: &SqliteRow) -> Result<JobCore, Fault> {
    let why: Option<String> = row.try_get("parked")?;
    Ok(JobCore {
        state: state(row.try_get("state")?)?,
        attempt: AttemptNo(count(row.try_get("attempt")?)?),
        publish: PublishNo(count(row.try_get("publish")?)?),
        failures: count(row.try_get("failures")?)?,
        crashes: count(row.try_get("crashes")?)?,
        max_attempts: count(row.try_get("max_attempts")?)?,
        due_at: time_or_none(row.try_get("due_at")?)?,
        cancel_requested: row.try_get("cancel_requested")?,
        deadline: time_or_none(row.try_get("deadline")?)?,
        parked: why.as_deref().map(parked).transpose()?,
    })
}

fn usage(row: &SqliteRow) -> Result<Option<Usage>, Fault> {
    let Some(model) = row.try_get::<Option<String>, _>("model")? else { return Ok(None) };
    let receipt: Option<&str> = row.try_get("receipt")?;
    Ok(Some(Usage {
        model,
        prompt_tokens: count(row.try_get("prompt_tokens")?)?,
        cached_tokens: count(row.try_get("cached_tokens")?)?,
        output_tokens: count(row.try_get("output_tokens")?)?,
        generate_ms: row.try_get("generate_ms")?,
        write_ms: row.try_get("write_ms")?,
        total_ms: row.try_get("total_ms")?,
        receipt: Receipt::from_text(receipt).map_err(|error| corrupt(format!("a receipt: {error}")))?,
    }))
}

async fn documents(conn: &mut SqliteConnection, id: JobId) -> Result<BTreeMap<Format, u64>, Fault> {
    let rows: Vec<(String, i64)> =
        sqlx::query_as(include_str!("../queries/job_documents.sql")).bind(blob(id)).fetch_all(conn).await?;
    rows.into_iter().map(|(name, size)| Ok((format(&name)?, count(size)?))).collect()
}

row! {
    struct AttemptRow {
        attempt: i64,
        worker: String,
        started_at: i64,
        ended_at: i64,
        outcome: String,
        failure_class: Option<String>,
        failure_code: Option<String>,
        failure_message: Option<String>,
        retry_after_ms: Option<i64>,
    }
}

/// Earlier attempts, and the latest where it stands in the row of the job.
async fn attempts(
    conn: &mut SqliteConnection,
    id: JobId,
    job: &SqliteRow,
) -> Result<Vec<AttemptRecord>, Fault> {
    let rows: Vec<AttemptRow> =
        sqlx::query_as(include_str!("../queries/job_attempts.sql")).bind(blob(id)).fetch_all(conn).await?;
    let record = |row: AttemptRow| {
        Ok(AttemptRecord {
            attempt: AttemptNo(count(row.attempt)?),
            worker: row.worker,
            started_at: time(row.started_at)?,
            ended_at: Some(time(row.ended_at)?),
            outcome: row.outcome,
            failure: failure(
                row.failure_class.as_deref(),
                row.failure_code,
                row.failure_message,
                row.retry_after_ms,
            )?,
        })
    };
    rows.into_iter().map(record).chain(latest(job).transpose()).collect()
}

fn latest(job: &SqliteRow) -> Result<Option<AttemptRecord>, Fault> {
    let outcome = match state(job.try_get("state")?)? {
        State::Running => "",
        State::Completed => "completed",
        State::Waiting | State::Queued | State::Cancelled | State::Dead => return Ok(None),
    };
    Ok(Some(AttemptRecord {
        attempt: AttemptNo(count(job.try_get("attempt")?)?),
        worker: job.try_get("worker")?,
        started_at: time(job.try_get("started_at")?)?,
        ended_at: time_or_none(job.try_get("ended_at")?)?,
        outcome: outcome.into(),
        failure: None,
    }))
}

pub(crate) async fn jobs(
    conn: &mut SqliteConnection,
    tenant: TenantId,
    filter: JobFilter,
) -> Result<Vec<JobSummary>, Fault> {
    let states: Vec<&str> = filter.states.iter().map(|state| state.as_str()).collect();
    let rows = sqlx::query(include_str!("../queries/jobs.sql"))
        .bind(tenant.as_str())
        .bind((!states.is_empty()).then(|| serde_json::Value::from(states).to_string()))
        .bind(filter.template)
        .bind(filter.before.map(blob))
        .bind(bul_store::page_size(filter.limit) as i64)
        .fetch_all(conn)
        .await?;
    rows.iter().map(summary).collect()
}

pub(crate) async fn document(
    conn: &mut SqliteConnection,
    tenant: TenantId,
    id: JobId,
    format: Format,
) -> Result<Vec<u8>, Fault> {
    let bytes: Option<Vec<u8>> = sqlx::query_scalar(include_str!("../queries/document.sql"))
        .bind(tenant.as_str())
        .bind(blob(id))
        .bind(format.as_str())
        .fetch_optional(conn)
        .await?;
    Ok(bytes.ok_or(StoreError::NotFound("document"))?)
}

pub(crate) async fn cancel(tx: &mut Tx, tenant: TenantId, id: JobId) -> Result<JobStatus, Fault> {
    let job = load_of(tx, &tenant, id).await?;
    Ok(apply(tx, job, &Input::Cancel).await?.status())
}
