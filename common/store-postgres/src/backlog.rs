//! What waits, by kind. A change of state touches no index here (see the first migration), so none leads to queued rows; but ids
//! are in the order of acceptance, and the queue lies behind what began last.
//!
//! Invariant: a look reads a bounded number of rows by their ids.

use std::sync::{Mutex, PoisonError};

use bul_job::{Lane, Timestamp};
use bul_store::{BACKLOG_MAX, BacklogFilter, Waiting, WaitingJob, count_waiting};
use sqlx::PgConnection;
use sqlx::postgres::PgBindIterExt;
use uuid::Uuid;

use crate::Shared;
use crate::fault::Fault;
use crate::rows::{Job, id, lane as lane_of, lane_column, tenant};

/// Rows looked at from each place, however few jobs are asked for: among them are jobs of other lanes, and some that have begun.
const LOOKED_AT: i64 = BACKLOG_MAX as i64;

/// The job of each lane that this process began last. A process that has begun none sees the jobs that came last.
#[derive(Default)]
pub(crate) struct Fronts(Mutex<[Option<Uuid>; 4]>);

impl Fronts {
    /// A job has begun. The last one counts and not the youngest: one that was taken out of turn must not hide the queue
    /// before it for good.
    pub(crate) fn begun(&self, job: &Job) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)[job.lane.index()] = Some(job.id);
    }

    fn of(&self, lanes: &[Lane]) -> Vec<Uuid> {
        let fronts = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lanes.iter().filter_map(|lane| fronts[lane.index()]).collect()
    }
}

type Row = (Uuid, String, i16, String, String);

fn job((job, owner, lane, template, business_area): Row) -> Result<WaitingJob, Fault> {
    Ok(WaitingJob { lane: lane_of(lane)?, id: id(job)?, tenant: tenant(&owner)?, template, business_area })
}

pub(crate) async fn backlog(
    shared: &Shared,
    conn: &mut PgConnection,
    filter: &BacklogFilter,
    now: Timestamp,
) -> Result<Vec<Waiting>, Fault> {
    let lanes = || filter.lanes.iter().map(|lane| lane_column(*lane)).bind_iter();
    let ready: Vec<Row> = sqlx::query_as(include_str!("../queries/backlog.sql"))
        .bind(shared.fronts.of(&filter.lanes).into_iter().bind_iter())
        .bind(LOOKED_AT)
        .bind(lanes())
        .fetch_all(&mut *conn)
        .await?;
    let soon: Vec<Row> = sqlx::query_as(include_str!("../queries/backlog_soon.sql"))
        .bind(now + filter.within)
        .bind(lanes())
        .bind(LOOKED_AT)
        .fetch_all(conn)
        .await?;
    let jobs = |rows: Vec<Row>| rows.into_iter().map(job).collect::<Result<Vec<_>, Fault>>();
    Ok(count_waiting(jobs(ready)?, jobs(soon)?, filter.limit()))
}
