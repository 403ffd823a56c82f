//! Limits of tenants: reading and setting them, counting what is at work, and parking what has no place.
//!
//! The number of running jobs is exact: who begins jobs of a tenant that has a limit holds a lock in the
//! tenant's name until its commit, and counts after it has the lock. Invariant: no lock is taken and nothing
//! is counted for tenants without such a limit.

use std::collections::{BTreeSet, HashMap};

use bul_job::{Action, Input, JobId, Lane, Load, OwnLimits, State, TenantId, Timestamp, day_of, minute_of};
use bul_store::{Due, Place, TenantAccount, Turns};
use sqlx::postgres::PgBindIterExt;
use sqlx::{Executor, PgConnection};
use uuid::Uuid;

use crate::Shared;
use crate::dispatch::ready;
use crate::fault::Fault;
use crate::rows::{Job, column, count, id, lane as lane_of, lane_column, narrow, tenant as tenant_of, uuid};
use crate::transition::{Draft, record, save};

/// Lanes of tenants that one call of [`release`] serves; the next call goes on behind them.
const LANES_AT_ONCE: i64 = 1_000;
/// Jobs before one that are looked at for its place. More would make "why is my job waiting?" a query of
/// seconds; jobs still queued behind that many later ones are left out of the count.
const PLACE_LOOK_MAX: i64 = 200_000;

type OwnRow = (String, Option<i32>, Option<i32>, Option<i64>, Option<i64>);

/// Limits that tenants have of their own; of one, or of all.
async fn own_limits(
    conn: &mut PgConnection,
    tenant: Option<&TenantId>,
) -> Result<Vec<(TenantId, OwnLimits)>, Fault> {
    let rows: Vec<OwnRow> = sqlx::query_as(include_str!("../queries/limits.sql"))
        .bind(tenant.map(TenantId::as_str))
        .fetch_all(conn)
        .await?;
    let own = |(tenant, running, queued, minute, day): OwnRow| {
        let own = OwnLimits {
            running_max: running.map(|n| count(n.into())).transpose()?,
            queued_max: queued.map(|n| count(n.into())).transpose()?,
            tokens_per_minute: minute.map(count).transpose()?,
            tokens_per_day: day.map(count).transpose()?,
        };
        Ok((tenant_of(&tenant)?, own))
    };
    rows.into_iter().map(own).collect()
}

async fn refresh(shared: &Shared, conn: &mut PgConnection) -> Result<(), Fault> {
    if shared.limits.is_stale() {
        shared.limits.put(own_limits(conn, None).await?);
    }
    Ok(())
}

type LoadRow = (String, i16, i64, i64, i64, i64, bool);

/// What tenants have at work.
async fn loads(
    conn: &mut PgConnection,
    tenants: &[TenantId],
    now: Timestamp,
) -> Result<HashMap<TenantId, Load>, Fault> {
    if tenants.is_empty() {
        return Ok(HashMap::new());
    }
    let rows: Vec<LoadRow> = sqlx::query_as(include_str!("../queries/loads.sql"))
        .bind(tenants.iter().map(TenantId::as_str).bind_iter())
        .bind(minute_of(now))
        .bind(day_of(now))
        .fetch_all(conn)
        .await?;
    let mut loads: HashMap<TenantId, Load> = HashMap::with_capacity(tenants.len());
    // A sum that others are changing may be seen below zero, never for long.
    let positive = |n: i64| u64::try_from(n).unwrap_or(0);
    for (tenant, lane, queued, running, minute_tokens, day_tokens, parked) in rows {
        let (load, lane) = (loads.entry(tenant_of(&tenant)?).or_default(), lane_of(lane)?.index());
        load.queued[lane] = positive(queued);
        load.running += positive(running);
        load.parked[lane] = parked;
        load.minute_tokens += positive(minute_tokens);
        load.day_tokens += positive(day_tokens);
    }
    Ok(loads)
}

/// Turns for jobs that are ready to be published. Asks the database only where that may matter.
pub(crate) async fn turns<'s, 't>(
    shared: &'s Shared,
    conn: &mut PgConnection,
    ready: impl Iterator<Item = (&'t TenantId, Lane)>,
    now: Timestamp,
) -> Result<Turns<'s>, Fault> {
    refresh(shared, conn).await?;
    let asked = shared.limits.to_look_at(ready);
    Ok(shared.limits.turns(loads(conn, &asked, now).await?, now))
}

/// Marks those jobs that may not begin. True when that has opened a transaction, in which their rows must be
/// written: until its end nobody else begins jobs of the same tenants.
pub(crate) async fn guard_begin(
    shared: &Shared,
    conn: &mut PgConnection,
    drafts: &mut HashMap<Uuid, Draft>,
    now: Timestamp,
) -> Result<bool, Fault> {
    refresh(shared, conn).await?;
    let queued = drafts.values().filter(|draft| draft.job.core.state == State::Queued);
    let guarded = shared.limits.guarded(queued.map(|draft| &draft.job.tenant));
    if guarded.is_empty() {
        return Ok(false);
    }
    conn.execute("BEGIN").await?;
    // Sorted, so that two who want the same locks do not wait for each other.
    let locks: BTreeSet<i64> = guarded.iter().map(lock_of).collect();
    sqlx::query(include_str!("../queries/lock_tenants.sql"))
        .bind(locks.into_iter().bind_iter())
        .execute(&mut *conn)
        .await?;
    let mut turns = shared.limits.turns(loads(conn, &guarded, now).await?, now);
    let mut queued: Vec<&mut Draft> =
        drafts.values_mut().filter(|draft| draft.job.core.state == State::Queued).collect();
    queued.sort_by_key(|draft| (draft.job.lane, draft.job.id));
    for draft in queued {
        draft.park = turns.begin(&draft.job.tenant).err();
    }
    Ok(true)
}

/// The number of a tenant's lock. Two tenants of one number only wait for each other.
fn lock_of(tenant: &TenantId) -> i64 {
    let hash = blake3::hash(tenant.as_str().as_bytes());
    i64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap_or_default())
}

/// Publishes parked jobs for which there is a place.
pub(crate) async fn release(shared: &Shared, conn: &mut PgConnection, limit: usize) -> Result<Due, Fault> {
    let now = shared.time.now();
    let parked = parked_lanes(shared, conn).await?;
    if parked.is_empty() {
        return Ok(Due::default());
    }
    refresh(shared, conn).await?;
    let tenants: BTreeSet<&TenantId> = parked.iter().map(|(tenant, _)| tenant).collect();
    let tenants: Vec<TenantId> = tenants.into_iter().cloned().collect();
    let places = shared.limits.places(&parked, loads(conn, &tenants, now).await?, limit, now);
    let rows = sqlx::query(include_str!("../queries/next_parked.sql"))
        .bind(places.iter().map(|(tenant, ..)| tenant.as_str()).bind_iter())
        .bind(places.iter().map(|(_, lane, _)| lane_column(*lane)).bind_iter())
        .bind(places.iter().map(|(.., jobs)| column(*jobs)).bind_iter())
        .fetch_all(&mut *conn)
        .await?;
    let mut moved = Vec::with_capacity(rows.len());
    for row in &rows {
        let mut draft = Draft::new(Job::try_from(row)?, None);
        let applied = draft.apply(shared, now, &Input::Release)?;
        moved.push((draft, applied.action));
    }
    moved.sort_by_key(|(draft, _)| draft.job.id);
    let drafts: Vec<&Draft> = moved.iter().map(|(draft, _)| draft).collect();
    // Their rows are locked, hence all are written.
    save(shared, conn, &drafts).await?;
    record(conn, now, &drafts).await?;
    let mut due = Due { seen: moved.len(), ..Due::default() };
    moved.sort_by_key(|(draft, _)| (draft.job.lane, draft.job.id));
    for (draft, action) in moved {
        match action {
            Action::Publish(publish) => due.ready.push(ready(draft.job, publish)?),
            Action::None | Action::Run(_) => {
                let status = draft.job.status();
                due.changed.push((draft.job.tenant, id(draft.job.id)?, status));
            }
        }
    }
    Ok(due)
}

/// Lanes in which tenants have jobs parked, behind those of the call before.
async fn parked_lanes(shared: &Shared, conn: &mut PgConnection) -> Result<Vec<(TenantId, Lane)>, Fault> {
    let behind = shared.release_behind();
    let rows: Vec<(String, i16)> = sqlx::query_as(include_str!("../queries/parked_lanes.sql"))
        .bind(&behind)
        .bind(LANES_AT_ONCE)
        .fetch_all(conn)
        .await?;
    let is_cut = rows.len() as i64 == LANES_AT_ONCE;
    let last = rows.last().filter(|_| is_cut).map(|(tenant, _)| tenant.clone());
    shared.set_release_behind(last.unwrap_or_default());
    rows.into_iter().map(|(tenant, lane)| Ok((tenant_of(&tenant)?, lane_of(lane)?))).collect()
}

pub(crate) async fn accounts(shared: &Shared, conn: &mut PgConnection) -> Result<Vec<TenantAccount>, Fault> {
    let own: HashMap<TenantId, OwnLimits> = own_limits(conn, None).await?.into_iter().collect();
    let names: Vec<String> =
        sqlx::query_scalar(include_str!("../queries/loaded_tenants.sql")).fetch_all(&mut *conn).await?;
    let tenants = names.iter().map(|name| tenant_of(name)).collect::<Result<Vec<_>, _>>()?;
    let mut loads = loads(conn, &tenants, shared.time.now()).await?;
    let account = |tenant: TenantId| {
        let own = own.get(&tenant).copied().unwrap_or_default();
        let load = loads.remove(&tenant).unwrap_or_default();
        TenantAccount { own, limits: own.over(shared.limits.usual()), load, tenant }
    };
    Ok(tenants.into_iter().map(account).collect())
}

pub(crate) async fn set(conn: &mut PgConnection, tenant: &TenantId, own: &OwnLimits) -> Result<(), Fault> {
    if *own == OwnLimits::default() {
        let remove = sqlx::query(include_str!("../queries/remove_limits.sql"));
        remove.bind(tenant.as_str()).execute(conn).await?;
        return Ok(());
    }
    sqlx::query(include_str!("../queries/set_limits.sql"))
        .bind(tenant.as_str())
        .bind(own.running_max.map(narrow))
        .bind(own.queued_max.map(narrow))
        .bind(own.tokens_per_minute.map(column))
        .bind(own.tokens_per_day.map(column))
        .execute(conn)
        .await?;
    Ok(())
}

type PlaceRow = (String, Option<i64>, Option<i64>, i64);

pub(crate) async fn place(shared: &Shared, conn: &mut PgConnection, id: JobId) -> Result<Place, Fault> {
    let row: Option<PlaceRow> = sqlx::query_as(include_str!("../queries/place.sql"))
        .bind(uuid(id))
        .bind(PLACE_LOOK_MAX)
        .fetch_optional(&mut *conn)
        .await?;
    let Some((name, before, parked_before, lane_queued)) = row else { return Ok(Place::default()) };
    let tenant = tenant_of(&name)?;
    let own = own_limits(conn, Some(&tenant)).await?.pop().map(|(_, own)| own).unwrap_or_default();
    let load = loads(conn, std::slice::from_ref(&tenant), shared.time.now()).await?.remove(&tenant);
    Ok(Place {
        before: before.map(count).transpose()?,
        lane_queued: u64::try_from(lane_queued).unwrap_or(0),
        parked_before: parked_before.map(count).transpose()?,
        limits: own.over(shared.limits.usual()),
        load: load.unwrap_or_default(),
    })
}
