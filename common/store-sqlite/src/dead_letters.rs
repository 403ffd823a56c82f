//! Dead letters: list, count, edit, replay, purge; each change leaves a line in the audit.

use bul_job::{Input, JobId, Refused, State, TenantId, ValidJob};
use bul_store::{AuditLine, DeadFilter, DeadLetter, ReplayAs, StoreError};
use sqlx::sqlite::SqliteConnection;

use crate::fault::Fault;
use crate::from_row::row;
use crate::rows::{
    Job, blob, body, count, dead_reason, id, id_list, micros, readable, tenant as tenant_of, time,
};
use crate::texts;
use crate::transition::{apply, load_of};
use crate::writer::Tx;

/// Bytes of an unreadable message that a list shows.
const RAW_SHOWN_MAX: i64 = 64 * 1024;

row! {
    struct LetterRow {
        id: Vec<u8>,
        tenant: String,
        dead_reason: String,
        failure_code: Option<String>,
        failure_message: Option<String>,
        attempt: i64,
        ended_at: i64,
        template: String,
        body: Option<String>,
        raw_bytes: Option<i64>,
        raw_head: Option<Vec<u8>>,
    }
}

impl TryFrom<LetterRow> for DeadLetter {
    type Error = Fault;

    fn try_from(row: LetterRow) -> Result<Self, Fault> {
        Ok(Self {
            id: id(&row.id)?,
            tenant: tenant_of(&row.tenant)?,
            reason: dead_reason(&row.dead_reason)?,
            code: row.failure_code.unwrap_or_default(),
            message: row.failure_message.unwrap_or_default(),
            attempts: count(row.attempt)?,
            died_at: time(row.ended_at)?,
            template: row.template,
            job: readable(row.body.as_deref()),
            raw_bytes: row.raw_bytes.map(count).transpose()?,
            raw_text: row.raw_head.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()),
        })
    }
}

/// Binds the conditions that both queries share.
macro_rules! bind_filter {
    ($sql:expr, $kind:ident, $tenant:expr, $filter:expr) => {
        sqlx::$kind(include_str!($sql))
            .bind($tenant.as_str())
            .bind((!$filter.ids.is_empty()).then(|| id_list($filter.ids.iter().copied())))
            .bind($filter.reason.map(|reason| reason.as_str()))
            .bind($filter.code)
            .bind($filter.template)
            .bind($filter.since.map(micros))
            .bind($filter.after.map(blob))
    };
}

pub(crate) async fn list(
    conn: &mut SqliteConnection,
    tenant: TenantId,
    filter: DeadFilter,
) -> Result<Vec<DeadLetter>, Fault> {
    let limit = bul_store::page_size(filter.limit);
    let rows: Vec<LetterRow> = bind_filter!("../queries/dead_letters.sql", query_as, tenant, filter)
        .bind(limit as i64)
        .bind(RAW_SHOWN_MAX)
        .fetch_all(conn)
        .await?;
    rows.into_iter().map(DeadLetter::try_from).collect()
}

pub(crate) async fn count_matching(
    conn: &mut SqliteConnection,
    tenant: TenantId,
    filter: DeadFilter,
) -> Result<u64, Fault> {
    let n: i64 = bind_filter!("../queries/count_dead_letters.sql", query_scalar, tenant, filter)
        .fetch_one(conn)
        .await?;
    count(n)
}

/// A letter that may be changed: dead, and not purged.
async fn load_letter(tx: &mut Tx, tenant: &TenantId, id: JobId) -> Result<Job, Fault> {
    let job = load_of(tx, tenant, id).await?;
    match job.core.state {
        State::Dead if job.purged => Err(StoreError::NotFound("dead letter").into()),
        State::Dead => Ok(job),
        ended @ (State::Completed | State::Cancelled) => Err(Refused::Final(ended).into()),
        open @ (State::Waiting | State::Queued | State::Running) => Err(Refused::NotNow(open).into()),
    }
}

async fn load_body(tx: &mut Tx, id: JobId) -> Result<Option<ValidJob>, Fault> {
    let text: Option<String> = sqlx::query_scalar(include_str!("../queries/load_body.sql"))
        .bind(blob(id))
        .fetch_optional(&mut tx.conn)
        .await?
        .flatten();
    body(text.as_deref())
}

pub(crate) async fn edit(
    tx: &mut Tx,
    tenant: TenantId,
    id: JobId,
    job: ValidJob,
    actor: String,
) -> Result<(), Fault> {
    load_letter(tx, &tenant, id).await?;
    let text = serde_json::to_string(&job).map_err(|e| StoreError::Corrupt(e.to_string()))?;
    let detail = changed_fields(load_body(tx, id).await?.as_ref(), &job);
    sqlx::query(include_str!("../queries/edit_dead_letter.sql"))
        .bind(blob(id))
        .bind(job.template.as_str())
        .bind(job.business_area.as_deref().unwrap_or_default())
        .bind(job.lane.index() as i64)
        .bind(job.max_attempts.max(1))
        .bind(job.deadline.map(micros))
        .bind(job.dedup.then(|| job.digest().to_vec()))
        .execute(&mut tx.conn)
        .await?;
    sqlx::query(include_str!("../queries/edit_payload.sql"))
        .bind(blob(id))
        .bind(text)
        .execute(&mut tx.conn)
        .await?;
    add_audit(tx, &tenant, id, actor, "dlq.edit", detail).await
}

/// Names of the fields that differ; never their values, which may be confidential.
fn changed_fields(old: Option<&ValidJob>, new: &ValidJob) -> String {
    let fields = |job: &ValidJob| match serde_json::to_value(job) {
        Ok(serde_json::Value::Object(map)) => map,
        Ok(_) | Err(_) => serde_json::Map::new(),
    };
    let Some(old) = old else { return "the whole job".into() };
    let (old, new) = (fields(old), fields(new));
    let names: std::collections::BTreeSet<&String> =
        old.keys().chain(new.keys()).filter(|name| old.get(*name) != new.get(*name)).collect();
    names.into_iter().map(String::as_str).collect::<Vec<_>>().join(", ")
}

pub(crate) async fn replay(
    tx: &mut Tx,
    tenant: TenantId,
    id: JobId,
    edited: Option<ValidJob>,
    how: ReplayAs,
    actor: String,
) -> Result<(), Fault> {
    if let Some(job) = edited {
        edit(tx, tenant.clone(), id, job, actor.clone()).await?;
    }
    let job = load_letter(tx, &tenant, id).await?;
    if load_body(tx, id).await?.is_none() {
        // Nobody could read it, and nobody has edited it since: there is nothing to run.
        return Err(Refused::NotNow(State::Dead).into());
    }
    sqlx::query(include_str!("../queries/yield_dedup.sql")).bind(blob(id)).execute(&mut tx.conn).await?;
    apply(tx, job, &Input::Replay { at: how.at }).await?;
    add_audit(tx, &tenant, id, actor, "dlq.replay", how.detail()).await
}

pub(crate) async fn purge(tx: &mut Tx, tenant: TenantId, id: JobId, actor: String) -> Result<(), Fault> {
    load_letter(tx, &tenant, id).await?;
    sqlx::query(include_str!("../queries/purge_job.sql"))
        .bind(blob(id))
        .bind(micros(tx.now))
        .execute(&mut tx.conn)
        .await?;
    sqlx::query(include_str!("../queries/purge_payload.sql")).bind(blob(id)).execute(&mut tx.conn).await?;
    sqlx::query(include_str!("../queries/purge_attempts.sql")).bind(blob(id)).execute(&mut tx.conn).await?;
    texts::forget(tx, &[id]).await?;
    add_audit(tx, &tenant, id, actor, "dlq.purge", String::new()).await
}

async fn add_audit(
    tx: &mut Tx,
    tenant: &TenantId,
    id: JobId,
    actor: String,
    action: &'static str,
    detail: String,
) -> Result<(), Fault> {
    sqlx::query(include_str!("../queries/add_audit.sql"))
        .bind(tenant.as_str())
        .bind(micros(tx.now))
        .bind(actor)
        .bind(action)
        .bind(blob(id))
        .bind(detail)
        .execute(&mut tx.conn)
        .await?;
    Ok(())
}

pub(crate) async fn audit(
    conn: &mut SqliteConnection,
    tenant: TenantId,
    limit: usize,
) -> Result<Vec<AuditLine>, Fault> {
    let rows: Vec<(i64, String, String, Vec<u8>, String)> =
        sqlx::query_as(include_str!("../queries/audit.sql"))
            .bind(tenant.as_str())
            .bind(bul_store::page_size(limit) as i64)
            .fetch_all(conn)
            .await?;
    let line = |(at, actor, action, job, detail): (i64, String, String, Vec<u8>, String)| {
        Ok(AuditLine { at: time(at)?, actor, action, job: id(&job)?, detail })
    };
    rows.into_iter().map(line).collect()
}
