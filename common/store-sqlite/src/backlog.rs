//! What waits, by kind. Reads only, and of each index as many entries as jobs are asked for.

use bul_job::Timestamp;
use bul_store::{BacklogFilter, Waiting, WaitingJob, count_waiting};
use sqlx::sqlite::SqliteConnection;

use crate::fault::Fault;
use crate::from_row::row;
use crate::rows::{id, lane as lane_of, micros, tenant};

row! {
    struct Row {
        id: Vec<u8>,
        tenant: String,
        lane: i64,
        template: String,
        business_area: String,
    }
}

impl Row {
    fn job(self) -> Result<WaitingJob, Fault> {
        Ok(WaitingJob {
            lane: lane_of(self.lane)?,
            id: id(&self.id)?,
            tenant: tenant(&self.tenant)?,
            template: self.template,
            business_area: self.business_area,
        })
    }
}

pub(crate) async fn backlog(
    conn: &mut SqliteConnection,
    filter: &BacklogFilter,
    now: Timestamp,
) -> Result<Vec<Waiting>, Fault> {
    let limit = filter.limit() as i64;
    let mut ready = Vec::new();
    for lane in &filter.lanes {
        let rows: Vec<Row> = sqlx::query_as(include_str!("../queries/backlog.sql"))
            .bind(lane.index() as i64)
            .bind(limit)
            .fetch_all(&mut *conn)
            .await?;
        ready.extend(rows.into_iter().map(Row::job).collect::<Result<Vec<_>, _>>()?);
    }
    let rows: Vec<Row> = sqlx::query_as(include_str!("../queries/backlog_soon.sql"))
        .bind(micros(now + filter.within))
        .bind(limit)
        .fetch_all(conn)
        .await?;
    let mut soon = rows.into_iter().map(Row::job).collect::<Result<Vec<_>, _>>()?;
    soon.retain(|job| filter.lanes.contains(&job.lane));
    Ok(count_waiting(ready, soon, filter.limit()))
}

#[cfg(test)]
mod tests {
    use crate::migrate::tests::memory;

    async fn plan(sql: &'static str) -> Vec<String> {
        let sql = sqlx::AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
        let plan = sqlx::query(sql).fetch_all(&mut memory().await).await.unwrap();
        plan.iter().map(|row| sqlx::Row::get(row, 3)).collect()
    }

    /// A sort would read the whole queue before it gives the first row.
    #[tokio::test]
    async fn a_look_walks_the_indexes_and_sorts_nothing() {
        let queued = plan(include_str!("../queries/backlog.sql")).await;
        assert_eq!(queued, ["SEARCH jobs USING INDEX jobs_place (lane=?)"]);
        let soon = plan(include_str!("../queries/backlog_soon.sql")).await;
        let steps = [
            "SEARCH jobs USING COVERING INDEX jobs_due (due_at<?)",
            "SEARCH j USING INTEGER PRIMARY KEY (rowid=?)",
        ];
        assert!(steps.iter().all(|step| soon.iter().any(|s| s == step)), "{soon:?}");
        assert!(queued.iter().chain(&soon).all(|step| !step.contains("TEMP B-TREE")), "{soon:?}");
    }
}
