//! Schedules and their fires. A fire is a unique row `(schedule, time)`: two leaders make it once.

use std::collections::HashSet;

use bul_job::{MissedPolicy, ScheduleId, TenantId, Timestamp};
use bul_store::{Accepted, Schedule, ScheduleChange, StoreError};
use sqlx::postgres::{PgBindIterExt, PgRow};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use crate::Shared;
use crate::accept::{Asked, Prepared, accept_careful};
use crate::fault::{Fault, corrupt, unique};
use crate::rows::{id, json, tenant as tenant_of, text, to_json};

/// The columns of `schedules.sql` and `due_schedules.sql`.
fn schedule(row: &PgRow) -> Result<Schedule, Fault> {
    Ok(Schedule {
        id: id(row.try_get(0)?)?,
        tenant: tenant_of(row.try_get(1)?)?,
        name: row.try_get(2)?,
        cron: row.try_get(3)?,
        zone: row.try_get(4)?,
        missed: MissedPolicy::parse(row.try_get(5)?)
            .ok_or_else(|| corrupt("unknown policy for missed fires"))?,
        job: json(row.try_get(6)?, "the job of a schedule")?,
        paused: row.try_get(7)?,
        next_at: row.try_get(8)?,
        last_at: row.try_get(9)?,
    })
}

fn uuid(id: ScheduleId) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}

pub(crate) async fn add(conn: &mut PgConnection, schedule: &Schedule) -> Result<(), Fault> {
    sqlx::query(include_str!("../queries/add_schedule.sql"))
        .bind(uuid(schedule.id))
        .bind(schedule.tenant.as_str())
        .bind(text(&schedule.name))
        .bind(text(&schedule.cron))
        .bind(text(&schedule.zone))
        .bind(schedule.missed.as_str())
        .bind(to_json(&schedule.job)?)
        .bind(schedule.paused)
        .bind(schedule.next_at)
        .bind(schedule.last_at)
        .execute(conn)
        .await
        .map_err(unique("schedule"))?;
    Ok(())
}

pub(crate) async fn list(conn: &mut PgConnection, tenant: &TenantId) -> Result<Vec<Schedule>, Fault> {
    let rows =
        sqlx::query(include_str!("../queries/schedules.sql")).bind(tenant.as_str()).fetch_all(conn).await?;
    rows.iter().map(schedule).collect()
}

pub(crate) async fn due(
    conn: &mut PgConnection,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Schedule>, Fault> {
    let rows = sqlx::query(include_str!("../queries/due_schedules.sql"))
        .bind(now)
        .bind(bul_store::page_size(limit) as i64)
        .fetch_all(conn)
        .await?;
    rows.iter().map(schedule).collect()
}

pub(crate) async fn remove(conn: &mut PgConnection, tenant: &TenantId, id: ScheduleId) -> Result<(), Fault> {
    let done = sqlx::query(include_str!("../queries/remove_schedule.sql"))
        .bind(tenant.as_str())
        .bind(uuid(id))
        .execute(conn)
        .await?;
    found(done.rows_affected())
}

pub(crate) async fn set(
    conn: &mut PgConnection,
    tenant: &TenantId,
    id: ScheduleId,
    change: ScheduleChange,
) -> Result<(), Fault> {
    let query = match change {
        ScheduleChange::Pause => {
            sqlx::query(include_str!("../queries/pause_schedule.sql")).bind(tenant.as_str()).bind(uuid(id))
        }
        ScheduleChange::Resume { next_at } => sqlx::query(include_str!("../queries/resume_schedule.sql"))
            .bind(tenant.as_str())
            .bind(uuid(id))
            .bind(next_at),
    };
    found(query.execute(conn).await?.rows_affected())
}

fn found(rows: u64) -> Result<(), Fault> {
    if rows == 1 { Ok(()) } else { Err(StoreError::NotFound("schedule").into()) }
}

pub(crate) async fn fire(
    shared: &Shared,
    conn: &mut PgConnection,
    schedule: ScheduleId,
    fires: &[(Timestamp, Prepared)],
    next_at: Option<Timestamp>,
) -> Result<Vec<Accepted>, Fault> {
    let (paused, decided): (bool, Option<Timestamp>) =
        sqlx::query_as(include_str!("../queries/lock_schedule.sql"))
            .bind(uuid(schedule))
            .fetch_optional(&mut *conn)
            .await?
            .ok_or(StoreError::NotFound("schedule"))?;
    let (false, Some(decided)) = (paused, decided) else {
        // Paused, or at its end, between the leader's look and its fire: resuming says when it goes on.
        return Ok(Vec::new());
    };
    // As the table keeps them.
    let micros = |at: &Timestamp| Timestamp::from_timestamp_micros(at.timestamp_micros());
    // What lies before was decided about by whoever moved the schedule on.
    let open = || fires.iter().filter(|(at, _)| micros(at).is_some_and(|at| at >= decided));
    let claimed: Vec<Timestamp> = sqlx::query_scalar(include_str!("../queries/fire.sql"))
        .bind(uuid(schedule))
        .bind(open().map(|(at, _)| *at).bind_iter())
        .fetch_all(&mut *conn)
        .await?;
    let mut claimed: HashSet<Timestamp> = claimed.into_iter().collect();
    // Of two jobs for one time the first is made.
    let jobs: Vec<Asked<'_>> = open()
        .filter(|(at, _)| micros(at).is_some_and(|at| claimed.remove(&at)))
        .map(|(_, job)| Asked { job, sent_at: &[] })
        .collect();
    let accepted = accept_careful(shared, conn, &jobs, shared.time.now()).await?;
    sqlx::query(include_str!("../queries/move_schedule.sql"))
        .bind(uuid(schedule))
        .bind(next_at)
        .bind(fires.iter().map(|(at, _)| *at).max())
        .execute(conn)
        .await?;
    Ok(accepted)
}
