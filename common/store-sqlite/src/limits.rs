//! Limits of tenants: reading and setting them, counting what is at work, and parking what has no place.
//!
//! The number of running jobs is exact, since it is counted under the write lock, in the transaction that begins
//! more. Invariant: nothing is counted for a begin where the tenant has no limit.

use std::collections::{BTreeMap, HashMap};

use bul_job::{
    Action, Input, JobId, Lane, Load, OwnLimits, State, TenantId, TenantLimits, Timestamp, day_of, minute_of,
};
use bul_store::{Due, Place, Ready, TenantAccount, Turns};
use sqlx::sqlite::SqliteConnection;

use crate::fault::Fault;
use crate::from_row::row;
use crate::rows::{Job, JobRow, blob, column, count, lane as lane_of, tenant as tenant_of};
use crate::transition::{Draft, all, write};
use crate::wide::{Binds, Wide};
use crate::writer::Tx;

/// Lanes of tenants that one call of [`release`] serves.
const LANES_AT_ONCE: i64 = 4_000;
/// Tokens of a job that count: a wrong number must neither overflow a sum nor cost a finished document.
const TOKENS_MAX: u64 = 1 << 40;

static COUNT_LOADS: Wide = Wide::new(include_str!("../queries/count_loads.sql"));

row! {
    struct OwnRow {
        tenant: String,
        running_max: Option<i64>,
        queued_max: Option<i64>,
        tokens_per_minute: Option<i64>,
        tokens_per_day: Option<i64>,
    }
}

async fn own_limits(conn: &mut SqliteConnection) -> Result<Vec<(TenantId, OwnLimits)>, Fault> {
    let rows: Vec<OwnRow> = sqlx::query_as(include_str!("../queries/limits.sql")).fetch_all(conn).await?;
    let own = |row: OwnRow| {
        let own = OwnLimits {
            running_max: row.running_max.map(count).transpose()?,
            queued_max: row.queued_max.map(count).transpose()?,
            tokens_per_minute: row.tokens_per_minute.map(count).transpose()?,
            tokens_per_day: row.tokens_per_day.map(count).transpose()?,
        };
        Ok((tenant_of(&row.tenant)?, own))
    };
    rows.into_iter().map(own).collect()
}

async fn refresh(tx: &mut Tx) -> Result<(), Fault> {
    if tx.limits.is_stale() {
        let own = own_limits(&mut tx.conn).await?;
        tx.limits.put(own);
    }
    Ok(())
}

row! {
    struct LoadRow {
        tenant: String,
        lane: i64,
        queued: i64,
        running: i64,
        minute_tokens: i64,
        day_tokens: i64,
        parked: bool,
    }
}

/// What tenants have at work.
async fn loads(
    conn: &mut SqliteConnection,
    tenants: &[TenantId],
    now: Timestamp,
) -> Result<HashMap<TenantId, Load>, Fault> {
    if tenants.is_empty() {
        return Ok(HashMap::new());
    }
    let names: Vec<&str> = tenants.iter().map(TenantId::as_str).collect();
    let rows: Vec<LoadRow> = sqlx::query_as(include_str!("../queries/loads.sql"))
        .bind(serde_json::Value::from(names).to_string())
        .bind(minute_of(now))
        .bind(day_of(now))
        .fetch_all(conn)
        .await?;
    let mut loads: HashMap<TenantId, Load> = HashMap::with_capacity(tenants.len());
    for row in rows {
        let (load, lane) = (loads.entry(tenant_of(&row.tenant)?).or_default(), lane_of(row.lane)?.index());
        load.queued[lane] = count(row.queued)?;
        load.running += count::<u64>(row.running)?;
        load.parked[lane] = row.parked;
        load.minute_tokens += count::<u64>(row.minute_tokens)?;
        load.day_tokens += count::<u64>(row.day_tokens)?;
    }
    Ok(loads)
}

/// What a set of changes does to the loads.
#[derive(Default)]
pub(crate) struct Counts<'j> {
    changes: BTreeMap<(&'j TenantId, Lane), Change>,
}

#[derive(Default)]
struct Change {
    queued: i64,
    running: i64,
    tokens: u64,
}

impl<'j> Counts<'j> {
    /// A job went from a state, or was new, to another.
    pub(crate) fn moved(&mut self, tenant: &'j TenantId, lane: Lane, from: Option<State>, to: State) {
        if from == Some(to) {
            return;
        }
        let is = |state: Option<State>, which| i64::from(state == Some(which));
        let queued = is(Some(to), State::Queued) - is(from, State::Queued);
        let running = is(Some(to), State::Running) - is(from, State::Running);
        if queued != 0 || running != 0 {
            let change = self.changes.entry((tenant, lane)).or_default();
            change.queued += queued;
            change.running += running;
        }
    }

    /// A job that is completed has used tokens.
    pub(crate) fn used(&mut self, tenant: &'j TenantId, lane: Lane, tokens: u64) {
        self.changes.entry((tenant, lane)).or_default().tokens += tokens.min(TOKENS_MAX);
    }

    pub(crate) async fn add(self, tx: &mut Tx) -> Result<(), Fault> {
        let (minute, day) = (minute_of(tx.now), day_of(tx.now));
        let changes: Vec<_> = self.changes.into_iter().collect();
        let bind = |((tenant, lane), change): &((&TenantId, Lane), Change), binds: &mut Binds| {
            binds
                .put(tenant.as_str())
                .put(lane.index() as i64)
                .put(change.queued)
                .put(change.running)
                .put(minute)
                .put(column(change.tokens))
                .put(day);
        };
        all(changes.len(), COUNT_LOADS.execute(&mut tx.conn, &changes, bind).await?)
    }
}

/// What turns are decided by: the loads of those tenants for which they may matter.
pub(crate) async fn loads_of_ready(
    tx: &mut Tx,
    ready: &[(&TenantId, Lane)],
) -> Result<HashMap<TenantId, Load>, Fault> {
    refresh(tx).await?;
    let asked = tx.limits.to_look_at(ready.iter().copied());
    loads(&mut tx.conn, &asked, tx.now).await
}

/// Marks those jobs that may not begin.
pub(crate) async fn guard_begin(tx: &mut Tx, drafts: &mut [&mut Draft]) -> Result<(), Fault> {
    refresh(tx).await?;
    let guarded = tx.limits.guarded(drafts.iter().map(|draft| &draft.job.tenant));
    if guarded.is_empty() {
        return Ok(());
    }
    let loads = loads(&mut tx.conn, &guarded, tx.now).await?;
    let mut turns: Turns<'_> = tx.limits.turns(loads, tx.now);
    drafts.sort_by_key(|draft| (draft.job.lane, draft.job.id));
    for draft in drafts {
        draft.park = turns.begin(&draft.job.tenant).err();
    }
    Ok(())
}

/// Whether any job is parked: a look that needs no write lock.
pub(crate) async fn is_parked(conn: &mut SqliteConnection) -> Result<bool, Fault> {
    Ok(sqlx::query_scalar(include_str!("../queries/is_parked.sql")).fetch_one(conn).await?)
}

/// Publishes parked jobs for which there is a place.
pub(crate) async fn release(tx: &mut Tx, limit: usize) -> Result<Due, Fault> {
    refresh(tx).await?;
    let rows: Vec<(String, i64)> = sqlx::query_as(include_str!("../queries/parked_lanes.sql"))
        .bind(LANES_AT_ONCE)
        .fetch_all(&mut tx.conn)
        .await?;
    let parked = rows
        .into_iter()
        .map(|(tenant, lane)| Ok((tenant_of(&tenant)?, lane_of(lane)?)))
        .collect::<Result<Vec<_>, Fault>>()?;
    let mut tenants: Vec<TenantId> = parked.iter().map(|(tenant, _)| tenant.clone()).collect();
    tenants.dedup();
    let loads = loads(&mut tx.conn, &tenants, tx.now).await?;
    let places = tx.limits.places(&parked, loads, limit, tx.now);
    let (mut due, mut drafts) = (Due::default(), Vec::new());
    for (tenant, lane, jobs) in places {
        let rows: Vec<JobRow> = sqlx::query_as(include_str!("../queries/next_parked.sql"))
            .bind(tenant.as_str())
            .bind(lane.index() as i64)
            .bind(column(jobs))
            .fetch_all(&mut tx.conn)
            .await?;
        for row in rows {
            let mut draft = Draft::new(Job::try_from(row)?);
            let applied = draft.apply(tx, &Input::Release)?;
            let (id, tenant) = (draft.job.id, draft.job.tenant.clone());
            match applied.action {
                Action::Publish(publish) => due.ready.push(Ready { id, tenant, lane, publish }),
                Action::None | Action::Run(_) => due.changed.push((tenant, id, draft.job.status())),
            }
            drafts.push(draft);
        }
    }
    write(tx, &drafts).await?;
    due.seen = drafts.len();
    due.ready.sort_by_key(|ready| ready.lane);
    Ok(due)
}

pub(crate) async fn accounts(
    conn: &mut SqliteConnection,
    usual: TenantLimits,
    now: Timestamp,
) -> Result<Vec<TenantAccount>, Fault> {
    let own: HashMap<TenantId, OwnLimits> = own_limits(conn).await?.into_iter().collect();
    let names: Vec<String> =
        sqlx::query_scalar(include_str!("../queries/loaded_tenants.sql")).fetch_all(&mut *conn).await?;
    let tenants = names.iter().map(|name| tenant_of(name)).collect::<Result<Vec<_>, _>>()?;
    let mut loads = loads(conn, &tenants, now).await?;
    let account = |tenant: TenantId| {
        let own = own.get(&tenant).copied().unwrap_or_default();
        let load = loads.remove(&tenant).unwrap_or_default();
        TenantAccount { own, limits: own.over(usual), load, tenant }
    };
    Ok(tenants.into_iter().map(account).collect())
}

pub(crate) async fn set(tx: &mut Tx, tenant: TenantId, own: OwnLimits) -> Result<(), Fault> {
    if own == OwnLimits::default() {
        let remove = sqlx::query(include_str!("../queries/remove_limits.sql"));
        remove.bind(tenant.as_str()).execute(&mut tx.conn).await?;
    } else {
        sqlx::query(include_str!("../queries/set_limits.sql"))
            .bind(tenant.as_str())
            .bind(own.running_max)
            .bind(own.queued_max)
            .bind(own.tokens_per_minute.map(column))
            .bind(own.tokens_per_day.map(column))
            .execute(&mut tx.conn)
            .await?;
    }
    // Read again by the next set, which comes behind this one.
    tx.limits.forget();
    Ok(())
}

row! {
    struct PlaceRow {
        tenant: String,
        before: Option<i64>,
        parked_before: Option<i64>,
        lane_queued: i64,
    }
}

pub(crate) async fn place(
    conn: &mut SqliteConnection,
    usual: TenantLimits,
    id: JobId,
    now: Timestamp,
) -> Result<Place, Fault> {
    let row: Option<PlaceRow> = sqlx::query_as(include_str!("../queries/place.sql"))
        .bind(blob(id))
        .fetch_optional(&mut *conn)
        .await?;
    let Some(row) = row else { return Ok(Place::default()) };
    let tenant = tenant_of(&row.tenant)?;
    let own = own_limits(conn).await?.into_iter().find(|(name, _)| *name == tenant).map(|(_, own)| own);
    let load = loads(conn, std::slice::from_ref(&tenant), now).await?.remove(&tenant);
    Ok(Place {
        before: row.before.map(count).transpose()?,
        lane_queued: count(row.lane_queued)?,
        parked_before: row.parked_before.map(count).transpose()?,
        limits: own.unwrap_or_default().over(usual),
        load: load.unwrap_or_default(),
    })
}
