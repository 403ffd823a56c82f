//! Accounts: the conservation equation, usage, leadership, health.

use std::collections::BTreeMap;
use std::time::Duration;

use bul_job::{Counts, Ledger, TenantId, Timestamp};
use bul_store::UsageLine;
use sqlx::sqlite::SqliteConnection;

use crate::fault::Fault;
use crate::from_row::row;
use crate::rows::{count, micros, state, tenant as tenant_of};
use crate::writer::Tx;

/// Longest lease of a role.
const LEAD_MAX: Duration = Duration::from_secs(3600);

pub(crate) async fn ledger(conn: &mut SqliteConnection) -> Result<Ledger, Fault> {
    let rows: Vec<(String, Option<String>, i64)> =
        sqlx::query_as(include_str!("../queries/ledger.sql")).fetch_all(conn).await?;
    let mut tenants: BTreeMap<TenantId, Counts> = BTreeMap::new();
    for (tenant, state_name, n) in rows {
        let counts = tenants.entry(tenant_of(&tenant)?).or_default();
        match state_name {
            Some(name) => counts.add(state(&name)?, count(n)?),
            None => counts.accepted = count(n)?,
        }
    }
    Ok(Ledger::from_tenants(tenants))
}

row! {
    struct UsageRow {
        template: String,
        business_area: String,
        jobs: i64,
        prompt_tokens: i64,
        cached_tokens: i64,
        output_tokens: i64,
        total_ms: f64,
        host_tokens: i64,
        disk_tokens: i64,
        remote_tokens: i64,
        attached: i64,
        preemptions: i64,
        recomputed_tokens: i64,
    }
}

pub(crate) async fn usage(
    conn: &mut SqliteConnection,
    tenant: TenantId,
    since: Timestamp,
) -> Result<Vec<UsageLine>, Fault> {
    let rows: Vec<UsageRow> = sqlx::query_as(include_str!("../queries/usage.sql"))
        .bind(tenant.as_str())
        .bind(micros(since))
        .fetch_all(conn)
        .await?;
    let line = |row: UsageRow| {
        Ok(UsageLine {
            template: row.template,
            business_area: row.business_area,
            jobs: count(row.jobs)?,
            prompt_tokens: count(row.prompt_tokens)?,
            cached_tokens: count(row.cached_tokens)?,
            output_tokens: count(row.output_tokens)?,
            total_ms: row.total_ms,
            host_tokens: count(row.host_tokens)?,
            disk_tokens: count(row.disk_tokens)?,
            remote_tokens: count(row.remote_tokens)?,
            attached: count(row.attached)?,
            preemptions: count(row.preemptions)?,
            recomputed_tokens: count(row.recomputed_tokens)?,
        })
    };
    rows.into_iter().map(line).collect()
}

pub(crate) async fn lead(tx: &mut Tx, role: String, holder: String, lease: Duration) -> Result<bool, Fault> {
    let done = sqlx::query(include_str!("../queries/lead.sql"))
        .bind(role)
        .bind(holder)
        .bind(micros(tx.now + lease.min(LEAD_MAX)))
        .bind(micros(tx.now))
        .execute(&mut tx.conn)
        .await?;
    Ok(done.rows_affected() == 1)
}

pub(crate) async fn resign(tx: &mut Tx, role: String, holder: String) -> Result<(), Fault> {
    sqlx::query(include_str!("../queries/resign.sql")).bind(role).bind(holder).execute(&mut tx.conn).await?;
    Ok(())
}

pub(crate) async fn check(tx: &mut Tx) -> Result<(), Fault> {
    sqlx::query(include_str!("../queries/check.sql")).bind(micros(tx.now)).execute(&mut tx.conn).await?;
    Ok(())
}
