//! Accepting: a row, a payload and a count, in one transaction.

use bul_job::{Action, DeadReason, JobCore, JobId, Lane, PublishNo, TenantId, Timestamp};
use bul_store::{Accepted, NewJob, Ready, StoreError, UnreadableMessage};

use crate::fault::Fault;
use crate::rows::{blob, column, id, micros, state};
use crate::writer::Tx;

/// A job made ready for the writer: what costs time is done before the transaction.
pub(crate) struct Prepared {
    id: JobId,
    tenant: TenantId,
    template: String,
    business_area: String,
    lane: Lane,
    source: String,
    key: Option<String>,
    digest: [u8; 32],
    dedup: bool,
    run_at: Option<Timestamp>,
    deadline: Option<Timestamp>,
    max_attempts: u32,
    body: String,
}

impl Prepared {
    pub(crate) fn new(new: &NewJob) -> Result<Self, StoreError> {
        let body = serde_json::to_string(&new.job).map_err(|e| StoreError::Corrupt(e.to_string()))?;
        Ok(Self {
            id: new.id,
            tenant: new.tenant.clone(),
            template: new.job.template.clone(),
            business_area: new.job.business_area.clone().unwrap_or_default(),
            lane: new.job.lane,
            source: new.source.clone(),
            key: new.job.idempotency_key.clone(),
            digest: new.job.digest(),
            dedup: new.job.dedup,
            run_at: new.job.run_at,
            deadline: new.job.deadline,
            max_attempts: new.job.max_attempts,
            body,
        })
    }

    fn dedup_digest(&self) -> Option<&[u8]> {
        self.dedup.then_some(self.digest.as_slice())
    }
}

pub(crate) async fn accept(tx: &mut Tx, jobs: Vec<Prepared>) -> Result<Vec<Accepted>, Fault> {
    let mut answers = Vec::with_capacity(jobs.len());
    let mut counts: std::collections::BTreeMap<TenantId, u64> = std::collections::BTreeMap::new();
    for job in jobs {
        let tenant = job.tenant.clone();
        let answer = accept_one(tx, job).await?;
        if matches!(answer, Accepted::New { .. }) {
            *counts.entry(tenant).or_default() += 1;
        }
        answers.push(answer);
    }
    for (tenant, n) in counts {
        count_accepted(tx, &tenant, n).await?;
    }
    Ok(answers)
}

async fn accept_one(tx: &mut Tx, job: Prepared) -> Result<Accepted, Fault> {
    let (core, action) = JobCore::accept(tx.now, job.run_at, job.deadline, job.max_attempts, &tx.rules);
    if !insert(tx, &job, &core).await? {
        return find_claim(tx, &job).await;
    }
    sqlx::query(include_str!("../queries/accept_payload.sql"))
        .bind(blob(job.id))
        .bind(job.body)
        .execute(&mut tx.conn)
        .await?;
    let ready = |publish: PublishNo| Ready { id: job.id, tenant: job.tenant, lane: job.lane, publish };
    let publish = match action {
        Action::Publish(publish) => Some(ready(publish)),
        Action::None | Action::Run(_) => None,
    };
    Ok(Accepted::New { id: job.id, state: core.state, publish })
}

/// Whether the row is new.
async fn insert(tx: &mut Tx, job: &Prepared, core: &JobCore) -> Result<bool, Fault> {
    let written = sqlx::query(include_str!("../queries/accept_job.sql"))
        .bind(blob(job.id))
        .bind(job.tenant.as_str())
        .bind(job.template.as_str())
        .bind(job.business_area.as_str())
        .bind(job.lane.index() as i64)
        .bind(job.source.as_str())
        .bind(job.key.as_deref())
        .bind(job.digest.as_slice())
        .bind(job.dedup_digest())
        .bind(micros(tx.now))
        .bind(core.state.as_str())
        .bind(core.publish.0)
        .bind(core.max_attempts)
        .bind(core.due_at.map(micros))
        .bind(core.deadline.map(micros))
        .execute(&mut tx.conn)
        .await?
        .rows_affected();
    Ok(written == 1)
}

/// The job that was there first.
async fn find_claim(tx: &mut Tx, job: &Prepared) -> Result<Accepted, Fault> {
    let (found, tenant, state_name, digest): (Vec<u8>, String, String, Vec<u8>) =
        sqlx::query_as(include_str!("../queries/find_claim.sql"))
            .bind(blob(job.id))
            .bind(job.tenant.as_str())
            .bind(job.key.as_deref())
            .bind(job.dedup_digest())
            .fetch_one(&mut tx.conn)
            .await?;
    let same = digest == job.digest && tenant == job.tenant.as_str();
    let id = id(&found)?;
    Ok(if same { Accepted::Existing { id, state: state(&state_name)? } } else { Accepted::Conflict { id } })
}

async fn count_accepted(tx: &mut Tx, tenant: &TenantId, n: u64) -> Result<(), Fault> {
    sqlx::query(include_str!("../queries/count_accepted.sql"))
        .bind(tenant.as_str())
        .bind(column(n))
        .execute(&mut tx.conn)
        .await?;
    Ok(())
}

pub(crate) async fn accept_unreadable(
    tx: &mut Tx,
    message: UnreadableMessage,
    digest: [u8; 32],
) -> Result<JobId, Fault> {
    let id = JobId::new();
    sqlx::query(include_str!("../queries/accept_unreadable.sql"))
        .bind(blob(id))
        .bind(message.tenant.as_str())
        .bind(Lane::default().index() as i64)
        .bind(message.source)
        .bind(digest.as_slice())
        .bind(micros(tx.now))
        .bind(1i64)
        .bind(message.reason)
        .bind(DeadReason::Unreadable.as_str())
        .execute(&mut tx.conn)
        .await?;
    sqlx::query(include_str!("../queries/accept_raw.sql"))
        .bind(blob(id))
        .bind(message.raw)
        .execute(&mut tx.conn)
        .await?;
    count_accepted(tx, &message.tenant, 1).await?;
    Ok(id)
}
