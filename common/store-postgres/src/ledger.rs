//! Accounts: the conservation equation, usage, leadership, health.

use std::collections::BTreeMap;
use std::time::Duration;

use bul_job::{Counts, Ledger, TenantId, Timestamp};
use bul_store::UsageLine;
use chrono::TimeDelta;
use sqlx::PgConnection;

use crate::fault::Fault;
use crate::rows::{count, first_id, state, tenant as tenant_of, text};

/// Longest lease of a role.
const LEAD_MAX: Duration = Duration::from_secs(3600);

pub(crate) async fn ledger(conn: &mut PgConnection) -> Result<Ledger, Fault> {
    let rows: Vec<(String, i64, Option<String>, Option<i64>)> =
        sqlx::query_as(include_str!("../queries/ledger.sql")).fetch_all(conn).await?;
    let mut tenants: BTreeMap<TenantId, Counts> = BTreeMap::new();
    for (tenant, accepted, state_name, n) in rows {
        let counts = tenants.entry(tenant_of(&tenant)?).or_default();
        counts.accepted = count(accepted)?;
        if let (Some(name), Some(n)) = (state_name, n) {
            counts.add(state(&name)?, count(n)?);
        }
    }
    Ok(Ledger::from_tenants(tenants))
}

type UsageRow = (String, String, i64, i64, i64, i64, f64, i64, i64, i64, i64, i64, i64);

pub(crate) async fn usage(
    conn: &mut PgConnection,
    tenant: &TenantId,
    since: Timestamp,
) -> Result<Vec<UsageLine>, Fault> {
    // The day is the one by which `ended_late` is set.
    let first = first_id(since.checked_sub_signed(TimeDelta::days(1)).unwrap_or(since));
    let rows: Vec<UsageRow> = sqlx::query_as(include_str!("../queries/usage.sql"))
        .bind(tenant.as_str())
        .bind(since)
        .bind(first)
        .fetch_all(conn)
        .await?;
    let line = |row: UsageRow| {
        Ok(UsageLine {
            template: row.0,
            business_area: row.1,
            jobs: count(row.2)?,
            prompt_tokens: count(row.3)?,
            cached_tokens: count(row.4)?,
            output_tokens: count(row.5)?,
            total_ms: row.6,
            host_tokens: count(row.7)?,
            disk_tokens: count(row.8)?,
            remote_tokens: count(row.9)?,
            attached: count(row.10)?,
            preemptions: count(row.11)?,
            recomputed_tokens: count(row.12)?,
        })
    };
    rows.into_iter().map(line).collect()
}

pub(crate) async fn lead(
    conn: &mut PgConnection,
    now: Timestamp,
    role: &str,
    holder: &str,
    lease: Duration,
) -> Result<bool, Fault> {
    let done = sqlx::query(include_str!("../queries/lead.sql"))
        .bind(text(role))
        .bind(text(holder))
        .bind(now + lease.min(LEAD_MAX))
        .bind(now)
        .execute(conn)
        .await?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn resign(conn: &mut PgConnection, role: &str, holder: &str) -> Result<(), Fault> {
    sqlx::query(include_str!("../queries/resign.sql"))
        .bind(text(role))
        .bind(text(holder))
        .execute(conn)
        .await?;
    Ok(())
}

pub(crate) async fn check(conn: &mut PgConnection, now: Timestamp) -> Result<(), Fault> {
    sqlx::query(include_str!("../queries/check.sql")).bind(now).execute(conn).await?;
    Ok(())
}
