//! Schedules and their fires. A fire is a unique row `(schedule, time)`: two leaders make it once.

use bul_job::{MissedPolicy, ScheduleId, TenantId, Timestamp};
use bul_store::{Accepted, Schedule, ScheduleChange, StoreError};
use sqlx::sqlite::SqliteConnection;

use crate::fault::{Fault, corrupt, unique};
use crate::from_row::row;
use crate::intake::{Prepared, accept};
use crate::rows::{id, json, micros, tenant as tenant_of, time_or_none};
use crate::writer::Tx;

row! {
    struct ScheduleRow {
        id: Vec<u8>,
        tenant: String,
        name: String,
        cron: String,
        zone: String,
        missed: String,
        job: String,
        paused: bool,
        next_at: Option<i64>,
        last_at: Option<i64>,
    }
}

impl TryFrom<ScheduleRow> for Schedule {
    type Error = Fault;

    fn try_from(row: ScheduleRow) -> Result<Self, Fault> {
        Ok(Self {
            id: id(&row.id)?,
            tenant: tenant_of(&row.tenant)?,
            name: row.name,
            cron: row.cron,
            zone: row.zone,
            missed: MissedPolicy::parse(&row.missed)
                .ok_or_else(|| corrupt("unknown policy for missed fires"))?,
            job: json(&row.job, "the job of a schedule")?,
            paused: row.paused,
            next_at: time_or_none(row.next_at)?,
            last_at: time_or_none(row.last_at)?,
        })
    }
}

fn blob(id: ScheduleId) -> Vec<u8> {
    id.as_bytes().to_vec()
}

pub(crate) async fn add(tx: &mut Tx, schedule: Schedule) -> Result<(), Fault> {
    let job = serde_json::to_string(&schedule.job).map_err(|e| StoreError::Corrupt(e.to_string()))?;
    sqlx::query(include_str!("../queries/add_schedule.sql"))
        .bind(blob(schedule.id))
        .bind(schedule.tenant.as_str())
        .bind(schedule.name)
        .bind(schedule.cron)
        .bind(schedule.zone)
        .bind(schedule.missed.as_str())
        .bind(job)
        .bind(schedule.paused)
        .bind(schedule.next_at.map(micros))
        .bind(schedule.last_at.map(micros))
        .execute(&mut tx.conn)
        .await
        .map_err(unique("schedule"))?;
    Ok(())
}

pub(crate) async fn list(conn: &mut SqliteConnection, tenant: TenantId) -> Result<Vec<Schedule>, Fault> {
    let rows: Vec<ScheduleRow> = sqlx::query_as(include_str!("../queries/schedules.sql"))
        .bind(tenant.as_str())
        .fetch_all(conn)
        .await?;
    rows.into_iter().map(Schedule::try_from).collect()
}

pub(crate) async fn due(
    conn: &mut SqliteConnection,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Schedule>, Fault> {
    let rows: Vec<ScheduleRow> = sqlx::query_as(include_str!("../queries/due_schedules.sql"))
        .bind(micros(now))
        .bind(bul_store::page_size(limit) as i64)
        .fetch_all(conn)
        .await?;
    rows.into_iter().map(Schedule::try_from).collect()
}

pub(crate) async fn remove(tx: &mut Tx, tenant: TenantId, id: ScheduleId) -> Result<(), Fault> {
    let done = sqlx::query(include_str!("../queries/remove_schedule.sql"))
        .bind(tenant.as_str())
        .bind(blob(id))
        .execute(&mut tx.conn)
        .await?;
    found(done.rows_affected())
}

pub(crate) async fn set(
    tx: &mut Tx,
    tenant: TenantId,
    id: ScheduleId,
    change: ScheduleChange,
) -> Result<(), Fault> {
    let query = match change {
        ScheduleChange::Pause => {
            sqlx::query(include_str!("../queries/pause_schedule.sql")).bind(tenant.as_str()).bind(blob(id))
        }
        ScheduleChange::Resume { next_at } => sqlx::query(include_str!("../queries/resume_schedule.sql"))
            .bind(tenant.as_str())
            .bind(blob(id))
            .bind(next_at.map(micros)),
    };
    found(query.execute(&mut tx.conn).await?.rows_affected())
}

fn found(rows: u64) -> Result<(), Fault> {
    if rows == 1 { Ok(()) } else { Err(StoreError::NotFound("schedule").into()) }
}

pub(crate) async fn fire(
    tx: &mut Tx,
    schedule: ScheduleId,
    fires: Vec<(Timestamp, Prepared)>,
    next_at: Option<Timestamp>,
) -> Result<Vec<Accepted>, Fault> {
    let (paused, decided): (bool, Option<i64>) =
        sqlx::query_as(include_str!("../queries/schedule_stands.sql"))
            .bind(blob(schedule))
            .fetch_optional(&mut tx.conn)
            .await?
            .ok_or(StoreError::NotFound("schedule"))?;
    let (false, Some(decided)) = (paused, decided) else {
        // Paused, or at its end, between the leader's look and its fire: resuming says when it goes on.
        return Ok(Vec::new());
    };
    let last_at = fires.iter().map(|(at, _)| *at).max();
    let mut jobs = Vec::with_capacity(fires.len());
    // What lies before was decided about by whoever moved the schedule on.
    for (at, job) in fires.into_iter().filter(|(at, _)| micros(*at) >= decided) {
        let claimed = sqlx::query(include_str!("../queries/fire.sql"))
            .bind(blob(schedule))
            .bind(micros(at))
            .execute(&mut tx.conn)
            .await?
            .rows_affected();
        if claimed == 1 {
            jobs.push(job);
        }
    }
    let accepted = accept(tx, &jobs).await?;
    sqlx::query(include_str!("../queries/move_schedule.sql"))
        .bind(blob(schedule))
        .bind(next_at.map(micros))
        .bind(last_at.map(micros))
        .execute(&mut tx.conn)
        .await?;
    Ok(accepted)
}
