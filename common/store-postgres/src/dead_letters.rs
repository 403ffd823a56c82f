//! Dead letters: list, count, edit, replay, purge; each change leaves a line in the audit.

use bul_job::{Input, JobId, Refused, State, TenantId, Timestamp, ValidJob};
use bul_store::{AuditLine, DeadFilter, DeadLetter, ReplayAs, StoreError};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::Shared;
use crate::fault::{Fault, is_unique};
use crate::queries::{lock, save_locked};
use crate::rows::{
    body, count, dead_reason, id, lane_column, narrow, readable, tenant as tenant_of, text, to_json, uuid,
};
use crate::texts;
use crate::transition::Draft;

/// Bytes of an unreadable message that a list shows.
const RAW_SHOWN_MAX: i32 = 64 * 1024;

fn letter(row: &PgRow) -> Result<DeadLetter, Fault> {
    let raw_bytes: Option<i64> = row.try_get(9)?;
    let raw_head: Option<&[u8]> = row.try_get(10)?;
    Ok(DeadLetter {
        id: id(row.try_get(0)?)?,
        tenant: tenant_of(row.try_get(1)?)?,
        reason: dead_reason(row.try_get(2)?)?,
        code: row.try_get::<Option<String>, _>(3)?.unwrap_or_default(),
        message: row.try_get::<Option<String>, _>(4)?.unwrap_or_default(),
        attempts: count(row.try_get::<i32, _>(5)?.into())?,
        died_at: row.try_get(6)?,
        template: row.try_get(7)?,
        job: readable(row.try_get(8)?),
        raw_bytes: raw_bytes.map(count).transpose()?,
        raw_text: raw_head.map(|bytes| String::from_utf8_lossy(bytes).into_owned()),
    })
}

/// Binds the conditions that both queries share.
macro_rules! bind_filter {
    ($query:expr, $tenant:expr, $filter:expr) => {
        $query
            .bind($tenant.as_str())
            .bind(
                (!$filter.ids.is_empty()).then(|| $filter.ids.iter().map(|id| uuid(*id)).collect::<Vec<_>>()),
            )
            .bind($filter.reason.map(|reason| reason.as_str()))
            .bind($filter.code.as_deref())
            .bind($filter.template.as_deref())
            .bind($filter.since)
            .bind($filter.after.map(uuid))
    };
}

pub(crate) async fn list(
    conn: &mut PgConnection,
    tenant: &TenantId,
    filter: &DeadFilter,
) -> Result<Vec<DeadLetter>, Fault> {
    let query = sqlx::query(include_str!("../queries/dead_letters.sql"));
    let rows = bind_filter!(query, tenant, filter)
        .bind(bul_store::page_size(filter.limit) as i64)
        .bind(RAW_SHOWN_MAX)
        .fetch_all(conn)
        .await?;
    rows.iter().map(letter).collect()
}

pub(crate) async fn count_matching(
    conn: &mut PgConnection,
    tenant: &TenantId,
    filter: &DeadFilter,
) -> Result<u64, Fault> {
    let query = sqlx::query_scalar(include_str!("../queries/count_dead_letters.sql"));
    let n: i64 = bind_filter!(query, tenant, filter).fetch_one(conn).await?;
    count(n)
}

/// A letter that may be changed: dead, and not purged.
async fn lock_letter(conn: &mut PgConnection, tenant: &TenantId, id: JobId) -> Result<Draft, Fault> {
    let draft = lock(conn, tenant, id).await?;
    match draft.job.core.state {
        State::Dead if draft.job.purged => Err(StoreError::NotFound("dead letter").into()),
        State::Dead => Ok(draft),
        ended @ (State::Completed | State::Cancelled) => Err(Refused::Final(ended).into()),
        open @ (State::Waiting | State::Queued | State::Running) => Err(Refused::NotNow(open).into()),
    }
}

async fn load_body(conn: &mut PgConnection, tenant: &TenantId, id: JobId) -> Result<Option<ValidJob>, Fault> {
    let text: Option<String> = sqlx::query_scalar(include_str!("../queries/load_body.sql"))
        .bind(tenant.as_str())
        .bind(uuid(id))
        .fetch_optional(conn)
        .await?
        .flatten();
    body(text.as_deref())
}

pub(crate) async fn edit(
    shared: &Shared,
    conn: &mut PgConnection,
    tenant: &TenantId,
    id: JobId,
    job: &ValidJob,
    actor: &str,
) -> Result<(), Fault> {
    lock_letter(conn, tenant, id).await?;
    let detail = changed_fields(load_body(conn, tenant, id).await?.as_ref(), job);
    sqlx::query(include_str!("../queries/edit_dead_letter.sql"))
        .bind(tenant.as_str())
        .bind(uuid(id))
        .bind(text(&job.template))
        .bind(text(job.business_area.as_deref().unwrap_or_default()))
        .bind(lane_column(job.lane))
        .bind(narrow(job.max_attempts.max(1)))
        .bind(job.deadline)
        .bind(to_json(job)?)
        .execute(&mut *conn)
        .await?;
    add_audit(conn, tenant, shared.time.now(), id, (actor, "dlq.edit"), &detail).await
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
    shared: &Shared,
    conn: &mut PgConnection,
    tenant: &TenantId,
    id: JobId,
    edited: Option<&ValidJob>,
    how: ReplayAs,
    actor: &str,
) -> Result<(), Fault> {
    if let Some(job) = edited {
        edit(shared, conn, tenant, id, job, actor).await?;
    }
    let now = shared.time.now();
    let mut draft = lock_letter(conn, tenant, id).await?;
    let Some(job) = load_body(conn, tenant, id).await? else {
        // Nobody could read it, and nobody has edited it since: there is nothing to run.
        return Err(Refused::NotNow(State::Dead).into());
    };
    draft.apply(shared, now, &Input::Replay { at: how.at })?;
    save_locked(shared, conn, now, &draft).await?;
    if job.dedup {
        sqlx::query(include_str!("../queries/claim_dedup.sql"))
            .bind(tenant.as_str())
            .bind(uuid(id))
            .bind(job.digest().as_slice())
            .execute(&mut *conn)
            .await
            .map_err(twin)?;
    }
    add_audit(conn, tenant, now, id, (actor, "dlq.replay"), &how.detail()).await
}

/// An equal job is being accepted at this very moment: the next try sees it.
fn twin(error: sqlx::Error) -> Fault {
    if is_unique(&error) {
        StoreError::Unavailable("an equal job is being accepted".into()).into()
    } else {
        error.into()
    }
}

pub(crate) async fn purge(
    shared: &Shared,
    conn: &mut PgConnection,
    tenant: &TenantId,
    id: JobId,
    actor: &str,
) -> Result<(), Fault> {
    let now = shared.time.now();
    lock_letter(conn, tenant, id).await?;
    sqlx::query(include_str!("../queries/purge_job.sql"))
        .bind(tenant.as_str())
        .bind(uuid(id))
        .bind(now)
        .execute(&mut *conn)
        .await?;
    sqlx::query(include_str!("../queries/purge_attempts.sql"))
        .bind(tenant.as_str())
        .bind(uuid(id))
        .execute(&mut *conn)
        .await?;
    texts::forget(conn, &[uuid(id)]).await?;
    add_audit(conn, tenant, now, id, (actor, "dlq.purge"), "").await
}

async fn add_audit(
    conn: &mut PgConnection,
    tenant: &TenantId,
    at: Timestamp,
    id: JobId,
    (actor, action): (&str, &'static str),
    detail: &str,
) -> Result<(), Fault> {
    sqlx::query(include_str!("../queries/add_audit.sql"))
        .bind(tenant.as_str())
        .bind(at)
        .bind(text(actor))
        .bind(action)
        .bind(uuid(id))
        .bind(text(detail))
        .execute(conn)
        .await?;
    Ok(())
}

pub(crate) async fn audit(
    conn: &mut PgConnection,
    tenant: &TenantId,
    limit: usize,
) -> Result<Vec<AuditLine>, Fault> {
    let rows: Vec<(Timestamp, String, String, Uuid, String)> =
        sqlx::query_as(include_str!("../queries/audit.sql"))
            .bind(tenant.as_str())
            .bind(bul_store::page_size(limit) as i64)
            .fetch_all(conn)
            .await?;
    let line = |(at, actor, action, job, detail): (Timestamp, String, String, Uuid, String)| {
        Ok(AuditLine { at, actor, action, job: id(job)?, detail })
    };
    rows.into_iter().map(line).collect()
}
