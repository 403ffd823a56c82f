//! What users ask: one job, lists, a document; and the one command, cancel.

use std::collections::BTreeMap;

use bul_job::{AttemptNo, Format, Input, JobCore, JobId, PublishNo, State, TenantId, Timestamp};
use bul_store::{AttemptRecord, JobDetail, JobFilter, JobStatus, JobSummary, Receipt, StoreError, Usage};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::Shared;
use crate::fault::{Fault, corrupt};
use crate::rows::{Job, count, dead_reason, failure, format, id, json, lane, parked, readable, state, uuid};
use crate::transition::{Draft, record, save};

pub(crate) async fn job(conn: &mut PgConnection, tenant: &TenantId, id: JobId) -> Result<JobDetail, Fault> {
    let row = sqlx::query(include_str!("../queries/job.sql"))
        .bind(tenant.as_str())
        .bind(uuid(id))
        .fetch_optional(&mut *conn)
        .await?
        .ok_or(StoreError::NotFound("job"))?;
    let findings: Option<&str> = row.try_get(20)?;
    let summary = summary(&row)?;
    let core = core(&row)?;
    let mut attempts = ended_attempts(conn, tenant, id).await?;
    attempts.extend(latest_attempt(&row, &core, summary.ended_at)?);
    Ok(JobDetail {
        summary,
        job: readable(row.try_get(19)?),
        core,
        source: row.try_get(12)?,
        documents: documents(conn, tenant, id).await?,
        usage: usage(&row)?,
        findings: findings.map(|text| json(text, "findings")).transpose()?.unwrap_or_default(),
        attempts,
    })
}

/// The columns that `job.sql` and `jobs.sql` begin with.
fn summary(row: &PgRow) -> Result<JobSummary, Fault> {
    let reason: Option<&str> = row.try_get(9)?;
    Ok(JobSummary {
        id: id(row.try_get(0)?)?,
        template: row.try_get(1)?,
        business_area: row.try_get(2)?,
        lane: lane(row.try_get(3)?)?,
        accepted_at: row.try_get(4)?,
        ended_at: row.try_get(5)?,
        status: JobStatus {
            state: state(row.try_get(6)?)?,
            attempt: AttemptNo(number(row, 7)?),
            due_at: row.try_get(8)?,
            dead_reason: reason.map(dead_reason).transpose()?,
            message: row.try_get(10)?,
        },
        title: row.try_get::<Option<String>, _>(11)?.unwrap_or_default(),
    })
}

fn number(row: &PgRow, place: usize) -> Result<u32, Fault> {
    count(row.try_get::<i32, _>(place)?.into())
}

fn core(row: &PgRow) -> Result<JobCore, Fault> {
    let why: Option<&str> = row.try_get(30)?;
    Ok(JobCore {
        state: state(row.try_get(6)?)?,
        attempt: AttemptNo(number(row, 7)?),
        due_at: row.try_get(8)?,
        publish: PublishNo(number(row, 13)?),
        failures: number(row, 14)?,
        crashes: number(row, 15)?,
        max_attempts: number(row, 16)?,
        cancel_requested: row.try_get(17)?,
        deadline: row.try_get(18)?,
        parked: why.map(parked).transpose()?,
    })
}

fn usage(row: &PgRow) -> Result<Option<Usage>, Fault> {
    let Some(model) = row.try_get::<Option<String>, _>(21)? else { return Ok(None) };
    let receipt: Option<&str> = row.try_get(31)?;
    Ok(Some(Usage {
        model,
        prompt_tokens: count(row.try_get(22)?)?,
        cached_tokens: count(row.try_get(23)?)?,
        output_tokens: count(row.try_get(24)?)?,
        generate_ms: row.try_get(25)?,
        write_ms: row.try_get(26)?,
        total_ms: row.try_get(27)?,
        receipt: Receipt::from_text(receipt).map_err(|error| corrupt(format!("a receipt: {error}")))?,
    }))
}

/// The attempt that runs or has completed: its record is the row of the job.
fn latest_attempt(
    row: &PgRow,
    core: &JobCore,
    ended_at: Option<Timestamp>,
) -> Result<Option<AttemptRecord>, Fault> {
    let outcome = match core.state {
        State::Running => "",
        State::Completed => "completed",
        State::Waiting | State::Queued | State::Cancelled | State::Dead => return Ok(None),
    };
    Ok(Some(AttemptRecord {
        attempt: core.attempt,
        worker: row.try_get(28)?,
        started_at: row.try_get(29)?,
        ended_at,
        outcome: outcome.into(),
        failure: None,
    }))
}

async fn documents(
    conn: &mut PgConnection,
    tenant: &TenantId,
    id: JobId,
) -> Result<BTreeMap<Format, u64>, Fault> {
    let rows: Vec<(String, i64)> = sqlx::query_as(include_str!("../queries/job_documents.sql"))
        .bind(tenant.as_str())
        .bind(uuid(id))
        .fetch_all(conn)
        .await?;
    rows.into_iter().map(|(name, size)| Ok((format(&name)?, count(size)?))).collect()
}

/// The columns of `job_attempts.sql`.
fn ended_attempt(row: &PgRow) -> Result<AttemptRecord, Fault> {
    Ok(AttemptRecord {
        attempt: AttemptNo(number(row, 0)?),
        worker: row.try_get(1)?,
        started_at: row.try_get(2)?,
        ended_at: row.try_get(3)?,
        outcome: row.try_get(4)?,
        failure: failure(row.try_get(5)?, row.try_get(6)?, row.try_get(7)?, row.try_get(8)?)?,
    })
}

async fn ended_attempts(
    conn: &mut PgConnection,
    tenant: &TenantId,
    id: JobId,
) -> Result<Vec<AttemptRecord>, Fault> {
    let rows = sqlx::query(include_str!("../queries/job_attempts.sql"))
        .bind(tenant.as_str())
        .bind(uuid(id))
        .fetch_all(conn)
        .await?;
    rows.iter().map(ended_attempt).collect()
}

pub(crate) async fn jobs(
    conn: &mut PgConnection,
    tenant: &TenantId,
    filter: &JobFilter,
) -> Result<Vec<JobSummary>, Fault> {
    let states: Vec<&str> = filter.states.iter().map(|state| state.as_str()).collect();
    let rows = sqlx::query(include_str!("../queries/jobs.sql"))
        .bind(tenant.as_str())
        .bind((!states.is_empty()).then_some(states))
        .bind(filter.template.as_deref())
        .bind(filter.before.map(uuid))
        .bind(bul_store::page_size(filter.limit) as i64)
        .fetch_all(conn)
        .await?;
    rows.iter().map(summary).collect()
}

pub(crate) async fn document(
    conn: &mut PgConnection,
    tenant: &TenantId,
    id: JobId,
    format: Format,
) -> Result<Vec<u8>, Fault> {
    let bytes: Option<Vec<u8>> = sqlx::query_scalar(include_str!("../queries/document.sql"))
        .bind(tenant.as_str())
        .bind(uuid(id))
        .bind(format.as_str())
        .fetch_optional(conn)
        .await?;
    Ok(bytes.ok_or(StoreError::NotFound("document"))?)
}

/// Reads a job of the tenant and keeps everybody else from changing it. A foreign job does not exist.
pub(crate) async fn lock(conn: &mut PgConnection, tenant: &TenantId, id: JobId) -> Result<Draft, Fault> {
    let row = sqlx::query(include_str!("../queries/lock_job.sql"))
        .bind(uuid(id))
        .bind(tenant.as_str())
        .fetch_optional(conn)
        .await?
        .ok_or(StoreError::NotFound("job"))?;
    Ok(Draft::new(Job::try_from(&row)?, None))
}

/// Writes the transition of a locked job.
pub(crate) async fn save_locked(
    shared: &Shared,
    conn: &mut PgConnection,
    now: Timestamp,
    draft: &Draft,
) -> Result<(), Fault> {
    let written: std::collections::HashSet<Uuid> = save(shared, conn, &[draft]).await?;
    if written.is_empty() {
        return Err(corrupt("a job changed under its lock"));
    }
    record(conn, now, &[draft]).await
}

pub(crate) async fn cancel(
    shared: &Shared,
    conn: &mut PgConnection,
    tenant: &TenantId,
    id: JobId,
) -> Result<JobStatus, Fault> {
    let now = shared.time.now();
    let mut draft = lock(conn, tenant, id).await?;
    draft.apply(shared, now, &Input::Cancel)?;
    save_locked(shared, conn, now, &draft).await?;
    Ok(draft.job.status())
}
