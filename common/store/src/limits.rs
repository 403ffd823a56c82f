//! What both stores need to hold the limits of tenants: their rows, and what a process remembers of them.
//!
//! What is decided is decided by [`bul_job::TenantLimits`]; here stands how seldom the database has to be
//! asked for it. Invariant: where nobody has a limit that matters, no job costs a statement.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bul_job::{Lane, Load, OwnLimits, Parked, TenantId, TenantLimits, Timestamp};
use serde::Serialize;

/// How long limits are believed. Too low: a statement for nothing. Too high: a change takes that long to
/// reach the other processes.
const LIMITS_FOR: Duration = Duration::from_secs(2);
/// How long a count of queued jobs is believed while the queue is far from full.
const COUNT_FOR: Duration = Duration::from_secs(1);
/// Counts remembered; when there are more, all are forgotten.
const COUNTS_MAX: usize = 10_000;

/// A tenant's limits and what it has at work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TenantAccount {
    /// Tenant.
    pub tenant: TenantId,
    /// Limits of its own.
    pub own: OwnLimits,
    /// Limits in force: its own, else those for everybody.
    pub limits: TenantLimits,
    /// What it has at work.
    pub load: Load,
}

/// What stands before a job that waits for a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Place {
    /// Jobs of all tenants queued in its lane before it; `None` unless it is queued.
    pub before: Option<u64>,
    /// Jobs of all tenants queued in its lane.
    pub lane_queued: u64,
    /// Jobs of its tenant parked in its lane before it; `None` unless it is parked.
    pub parked_before: Option<u64>,
    /// Limits of its tenant.
    pub limits: TenantLimits,
    /// What its tenant has at work.
    pub load: Load,
}

/// The limits as a process knows them.
#[derive(Debug)]
pub struct KnownLimits {
    usual: TenantLimits,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    own: HashMap<TenantId, TenantLimits>,
    guarded: bool,
    read_at: Option<Instant>,
    counts: HashMap<(TenantId, Lane), Count>,
}

#[derive(Debug)]
struct Count {
    queued: u64,
    parked: bool,
    seen_at: Instant,
}

impl KnownLimits {
    /// Knows only what holds for everybody.
    pub fn new(usual: TenantLimits) -> Self {
        Self { usual, known: Mutex::default() }
    }

    /// What holds for everybody.
    pub fn usual(&self) -> TenantLimits {
        self.usual
    }

    /// Whether the limits of single tenants must be read now, by whoever is told so. Until they were read for
    /// the first time all are.
    pub fn is_stale(&self) -> bool {
        let mut known = self.known();
        match known.read_at {
            Some(at) if at.elapsed() < LIMITS_FOR => false,
            Some(_) => {
                known.read_at = Some(Instant::now());
                true
            }
            None => true,
        }
    }

    /// They were read.
    pub fn put(&self, own: impl IntoIterator<Item = (TenantId, OwnLimits)>) {
        let own: HashMap<_, _> =
            own.into_iter().map(|(tenant, own)| (tenant, own.over(self.usual))).collect();
        let mut known = self.known();
        known.guarded = self.usual.guard_begin() || own.values().any(TenantLimits::guard_begin);
        known.own = own;
        known.read_at = Some(Instant::now());
    }

    /// They have changed: nothing is believed any more.
    pub fn forget(&self) {
        *self.known() = Known { guarded: self.usual.guard_begin(), ..Known::default() };
    }

    /// The limits of a tenant.
    pub fn of(&self, tenant: &TenantId) -> TenantLimits {
        self.known().own.get(tenant).copied().unwrap_or(self.usual)
    }

    /// Of these tenants of jobs that are about to begin, those whose load must be looked at.
    pub fn guarded<'t>(&self, tenants: impl IntoIterator<Item = &'t TenantId>) -> Vec<TenantId> {
        let known = self.known();
        if !known.guarded {
            return Vec::new();
        }
        let limits = |tenant| known.own.get(tenant).copied().unwrap_or(self.usual);
        let mut guarded: Vec<TenantId> =
            tenants.into_iter().filter(|tenant| limits(*tenant).guard_begin()).cloned().collect();
        guarded.sort_unstable();
        guarded.dedup();
        guarded
    }

    /// Of the tenants of these jobs, which are ready to be published, those whose load must be looked at: not
    /// those that are known to have less than half of their share queued.
    pub fn to_look_at<'t>(&self, ready: impl IntoIterator<Item = (&'t TenantId, Lane)>) -> Vec<TenantId> {
        let mut wanted: BTreeMap<(&TenantId, Lane), u64> = BTreeMap::new();
        for key in ready {
            *wanted.entry(key).or_default() += 1;
        }
        let mut known = self.known();
        let mut asked: Vec<TenantId> = Vec::new();
        for ((tenant, lane), jobs) in wanted {
            if !known.has_room(self.usual, tenant, lane, jobs) && asked.last() != Some(tenant) {
                asked.push(tenant.clone());
            }
        }
        asked
    }

    /// Turns of jobs that are ready, by these loads; tenants without one have room.
    pub fn turns(&self, loads: HashMap<TenantId, Load>, now: Timestamp) -> Turns<'_> {
        Turns { limits: self, loads, now }
    }

    /// Remembers loads that were looked at.
    fn saw(&self, loads: &HashMap<TenantId, Load>) {
        let mut known = self.known();
        if known.counts.len() + Lane::ALL.len() * loads.len() > COUNTS_MAX {
            known.counts.clear();
        }
        for (tenant, load) in loads {
            for lane in Lane::ALL {
                let (queued, parked) = (load.queued[lane.index()], load.parked[lane.index()]);
                let count = Count { queued, parked, seen_at: Instant::now() };
                known.counts.insert((tenant.clone(), lane), count);
            }
        }
    }

    /// How many of the jobs parked in these lanes are to be published now, `jobs_max` in all at most. Each lane
    /// has its part of it, so that one tenant's backlog does not hold up another's few.
    pub fn places(
        &self,
        parked: &[(TenantId, Lane)],
        mut loads: HashMap<TenantId, Load>,
        jobs_max: usize,
        now: Timestamp,
    ) -> Vec<(TenantId, Lane, u64)> {
        let part = (jobs_max / parked.len().max(1)).max(1) as u64;
        let mut left = jobs_max as u64;
        let mut places = Vec::new();
        for (tenant, lane) in parked {
            let (load, limits) = (loads.entry(tenant.clone()).or_default(), self.of(tenant));
            let room = limits.room_to_queue(load, *lane, now);
            // A long queue that has begun to drain is no hurry: a transaction for few jobs would be a waste.
            let worth_it = room.bound != Parked::Turn || room.jobs >= u64::from(limits.share() / 4);
            let jobs = if worth_it { room.jobs.min(part).min(left) } else { 0 };
            if jobs > 0 {
                load.queued[lane.index()] += jobs;
                left -= jobs;
                places.push((tenant.clone(), *lane, jobs));
            }
        }
        places
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn has_room(&mut self, usual: TenantLimits, tenant: &TenantId, lane: Lane, jobs: u64) -> bool {
        let limits = self.own.get(tenant).copied().unwrap_or(usual);
        if limits.guard_begin() {
            return false;
        }
        if limits.queued_max == 0 {
            return true;
        }
        let Some(count) = self.counts.get_mut(&(tenant.clone(), lane)) else { return false };
        let room = !count.parked
            && count.seen_at.elapsed() < COUNT_FOR
            && count.queued + jobs <= u64::from(limits.queued_max) / 2;
        if room {
            count.queued += jobs;
        }
        room
    }
}

/// Decides which of the jobs that are ready are published, one after the other.
#[derive(Debug)]
pub struct Turns<'l> {
    limits: &'l KnownLimits,
    loads: HashMap<TenantId, Load>,
    now: Timestamp,
}

/// What was decided is known from then on.
impl Drop for Turns<'_> {
    fn drop(&mut self) {
        self.limits.saw(&self.loads);
    }
}

impl Turns<'_> {
    /// Whether the next job of the tenant is published.
    ///
    /// # Errors
    /// Why it is parked instead.
    pub fn admit(&mut self, tenant: &TenantId, lane: Lane) -> Result<(), Parked> {
        let Some(load) = self.loads.get_mut(tenant) else { return Ok(()) };
        let admitted = self.limits.of(tenant).admit(load, lane, self.now);
        match admitted {
            Ok(()) => load.queued[lane.index()] += 1,
            Err(_) => load.parked[lane.index()] = true,
        }
        admitted
    }

    /// Whether the next job of the tenant begins.
    ///
    /// # Errors
    /// Why it is parked instead.
    pub fn begin(&mut self, tenant: &TenantId) -> Result<(), Parked> {
        let Some(load) = self.loads.get_mut(tenant) else { return Ok(()) };
        let room = self.limits.of(tenant).room_to_run(load, self.now);
        if room.jobs == 0 {
            return Err(room.bound);
        }
        load.running += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LANE: Lane = Lane::Normal;

    fn acme() -> TenantId {
        "acme".parse().unwrap()
    }

    fn loads(queued: u64) -> HashMap<TenantId, Load> {
        let mut load = Load::default();
        load.queued[LANE.index()] = queued;
        HashMap::from([(acme(), load)])
    }

    fn known(own: OwnLimits) -> KnownLimits {
        let known = KnownLimits::new(TenantLimits { queued_max: 10, ..TenantLimits::default() });
        assert!(known.is_stale() && known.is_stale(), "nobody goes on before they were read");
        known.put([(acme(), own)]);
        assert!(!known.is_stale());
        known
    }

    #[test]
    fn a_queue_that_is_far_from_full_is_not_counted_again() {
        let known = known(OwnLimits::default());
        let acme = acme();
        let ask = |jobs: usize| known.to_look_at(std::iter::repeat_n((&acme, LANE), jobs)).len();
        assert_eq!(ask(1), 1, "nothing is known yet");
        known.turns(loads(1), Timestamp::UNIX_EPOCH);
        assert_eq!([ask(2), ask(2), ask(1)], [0, 0, 1], "half of the share is five");
        known.forget();
        assert_eq!(ask(1), 1);
    }

    #[test]
    fn jobs_are_admitted_until_the_share_is_full_and_stand_in_line_then() {
        let known = known(OwnLimits::default());
        let mut turns = known.turns(loads(8), Timestamp::UNIX_EPOCH);
        let admitted: Vec<bool> = (0..4).map(|_| turns.admit(&acme(), LANE).is_ok()).collect();
        assert_eq!(admitted, [true, true, false, false]);
        assert_eq!(turns.admit(&acme(), Lane::High), Ok(()));
        assert_eq!(turns.admit(&"globex".parse().unwrap(), LANE), Ok(()));
        drop(turns);
        let acme = acme();
        assert_eq!(
            known.to_look_at([(&acme, LANE)]),
            std::slice::from_ref(&acme),
            "jobs are parked there now"
        );
    }

    #[test]
    fn only_tenants_with_a_limit_are_looked_at_when_they_begin() {
        let known = known(OwnLimits { running_max: Some(2), ..OwnLimits::default() });
        let globex: TenantId = "globex".parse().unwrap();
        assert_eq!(known.guarded([&globex, &acme(), &acme()]), [acme()]);
        let mut turns = known.turns(loads(0), Timestamp::UNIX_EPOCH);
        let begun: Vec<_> = (0..3).map(|_| turns.begin(&acme())).collect();
        assert_eq!(begun, [Ok(()), Ok(()), Err(Parked::RunningMax)]);
        known.put([]);
        assert!(known.guarded([&acme()]).is_empty());
    }

    #[test]
    fn places_are_shared_among_the_lanes_and_never_more_than_asked_for() {
        let known = known(OwnLimits { running_max: Some(3), ..OwnLimits::default() });
        let globex: TenantId = "globex".parse().unwrap();
        let parked = [(acme(), Lane::High), (acme(), LANE), (globex.clone(), LANE)];
        let places = known.places(&parked, loads(1), 30, Timestamp::UNIX_EPOCH);
        assert_eq!(places, [(acme(), Lane::High, 2), (globex.clone(), LANE, 10)]);
        let places = known.places(&parked, loads(1), 2, Timestamp::UNIX_EPOCH);
        assert_eq!(places, [(acme(), Lane::High, 1), (acme(), LANE, 1)]);
        let globex_has = |queued| HashMap::from([(globex.clone(), loads(queued)[&acme()])]);
        let line = [(globex.clone(), LANE)];
        let places = |queued| known.places(&line, globex_has(queued), 30, Timestamp::UNIX_EPOCH);
        assert_eq!(places(9), [], "one of ten is not worth it");
        assert_eq!(places(8), [(globex.clone(), LANE, 2)]);
    }
}
