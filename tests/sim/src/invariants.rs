//! The rules, checked after every step and once more at the end.
//!
//! They read what was committed (the journal), the counts, and what the broker holds; never what a
//! process believes. The first rule that is broken ends the run.

use std::collections::{BTreeMap, BTreeSet};

use bul_job::{AttemptNo, Lane, MissedPolicy, Rules, State, Timestamp};

use crate::broker::Broker;
use crate::life::{Expect, Life};
use crate::store::Store;
use crate::store_types::{Body, Change, JobNo, Key, Row, Why};
use crate::world::World;

/// Turns that a lane with work may be passed over: two rounds of the wheel, and what is in hand already.
const PASSED_OVER_MAX: u32 = 36;

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// `accepted = completed + cancelled + dead + waiting + queued + running`, per tenant.
    Conservation,
    /// Completed once; one document per format.
    Once,
    /// Only the attempt in charge stores anything, and no number is given twice.
    Fence,
    /// A job that is not at its end has a due time; one whose publication is confirmed has a message, or the
    /// broker has lost it.
    NotLost,
    /// After the faults everything comes to an end.
    Settles,
    /// Every end has a reason, and stays.
    Ends,
    /// Attempts are spent by failures only.
    Accounts,
    /// One job per key; a promise to a user is a row.
    Intake,
    /// A replay runs once.
    Replay,
    /// A fire happens once, and never behind the calendar.
    Cron,
    /// A job kills at most so many workers.
    Poison,
    /// A cancelled job ends cancelled or completed and never runs again.
    Cancelled,
    /// No lane starves.
    Lanes,
}

/// A rule that does not hold.
#[derive(Debug, Clone)]
pub struct Broken {
    /// Which.
    pub rule: Rule,
    /// How.
    pub how: String,
}

/// Says that a rule does not hold.
pub fn broken<T>(rule: Rule, how: String) -> Result<T, Broken> {
    Err(Broken { rule, how })
}

/// The watch.
#[derive(Default)]
pub struct Invariants {
    lives: BTreeMap<JobNo, Life>,
    keys: BTreeMap<(usize, Key), JobNo>,
    promised: BTreeSet<JobNo>,
    fires: BTreeSet<(usize, Timestamp)>,
    decided: BTreeMap<usize, Timestamp>,
    passed_over: [u32; 4],
    /// What processes have said that breaks a rule.
    said: Option<Broken>,
    watch_lanes: bool,
    /// Changes seen.
    pub changes: u64,
}

impl Invariants {
    /// One that sees nothing yet. How long lanes wait is measured only where no other fault delays a job.
    pub fn new(watch_lanes: bool) -> Self {
        Self { watch_lanes, ..Self::default() }
    }

    fn said(&mut self, result: Result<(), Broken>) {
        if let Err(broken) = result {
            self.said.get_or_insert(broken);
        }
    }

    /// A worker was given the lease.
    pub fn started(&mut self, id: JobNo, attempt: AttemptNo) {
        let result = self.lives.entry(id).or_default().started(id, attempt);
        self.said(result);
    }

    /// A worker is about to report a failure.
    pub fn fails(&mut self, id: JobNo) {
        self.lives.entry(id).or_default().fails();
    }

    /// A job kills its worker.
    pub fn kills(&mut self, id: JobNo, attempt: AttemptNo, rules: &Rules) {
        let result = self.lives.entry(id).or_default().kills(id, attempt, rules);
        self.said(result);
    }

    /// A user was told that the job is accepted.
    pub fn promise(&mut self, id: JobNo) {
        self.promised.insert(id);
    }

    /// Jobs that users know of.
    pub fn promised(&self) -> Vec<JobNo> {
        self.promised.iter().copied().collect()
    }

    fn read(&mut self, change: &Change, store: &Store, broker: &Broker, at: Timestamp) -> Result<(), Broken> {
        match change {
            Change::Document { id, format, attempt } => {
                self.lives.entry(*id).or_default().document(*id, *format, *attempt)
            }
            Change::Fired { schedule, made, next_at } => self.fired(*schedule, made, *next_at),
            Change::Job { id, why, before, after, dead } => {
                if let (Why::Accepted(Some(key)), Some(row)) = (why, store.row(*id))
                    && let Some(other) = self.keys.insert((row.tenant, *key), *id)
                {
                    return broken(Rule::Intake, format!("jobs {other} and {id} have one key, {key:?}"));
                }
                let life = self.lives.entry(*id).or_default();
                life.change(*id, *why, before.as_ref(), after, *dead, at)?;
                let begins = *why == Why::Begun && after.state == State::Running;
                if begins { self.lanes(*id, store, broker) } else { Ok(()) }
            }
        }
    }

    /// While a lane has work that the broker holds, it gets a turn within two rounds of the wheel.
    fn lanes(&mut self, begun: JobNo, store: &Store, broker: &Broker) -> Result<(), Broken> {
        let lane_of = |row: &Row| row.body.map(|body| body.lane);
        let Some(turn) = store.row(begun).and_then(lane_of).filter(|_| self.watch_lanes) else {
            return Ok(());
        };
        for lane in Lane::ALL {
            let waits = |(id, row): (JobNo, &Row)| {
                lane_of(row) == Some(lane) && row.core.state == State::Queued && broker.holds(id)
            };
            let passed = &mut self.passed_over[lane.index()];
            *passed = if lane != turn && store.rows().any(waits) { *passed + 1 } else { 0 };
            if *passed > PASSED_OVER_MAX {
                return broken(Rule::Lanes, format!("lane {lane} was passed over {passed} times"));
            }
        }
        Ok(())
    }

    fn fired(&mut self, schedule: usize, made: &[Timestamp], next: Option<Timestamp>) -> Result<(), Broken> {
        let decided = self.decided.get(&schedule).copied();
        for at in made {
            if !self.fires.insert((schedule, *at)) {
                return broken(Rule::Cron, format!("schedule {schedule} has fired twice at {at}"));
            }
            if decided.is_some_and(|decided| *at < decided) {
                let how = format!("schedule {schedule} fires at {at}, which was decided about before");
                return broken(Rule::Cron, how);
            }
        }
        if let Some(next) = next {
            self.decided.insert(schedule, next);
        }
        Ok(())
    }
}

impl World {
    /// After a step: everything it touched, and the sums.
    pub fn check(&mut self, now: Timestamp) -> Result<(), Broken> {
        if let Some(said) = self.rules.said.take() {
            return Err(said);
        }
        let journal = std::mem::take(&mut self.store.journal);
        let mut touched = std::mem::take(&mut self.broker.touched);
        for change in &journal {
            self.rules.changes += 1;
            self.rules.read(change, &self.store, &self.broker, now)?;
            if let Change::Job { id, .. } = change {
                touched.push(*id);
            }
        }
        if !journal.is_empty() {
            self.check_sums()?;
        }
        touched.into_iter().try_for_each(|id| self.check_not_lost(id))
    }

    fn check_sums(&self) -> Result<(), Broken> {
        for tenant in 0..self.store.accepted.len() {
            let counts = self.store.counts(tenant);
            if !counts.balances() {
                return broken(Rule::Conservation, format!("tenant {tenant}: {counts:?}"));
            }
        }
        Ok(())
    }

    fn check_not_lost(&self, id: JobNo) -> Result<(), Broken> {
        let Some(row) = self.store.row(id) else { return Ok(()) };
        let (core, is_queued) = (&row.core, row.core.state == State::Queued);
        let known_to_broker = || self.broker.holds(id) || self.broker.has_lost(id);
        if !core.state.is_final() && core.due_at.is_none() && !(is_queued && known_to_broker()) {
            let how = format!("job {id} is {}, has no due time and no message", core.state);
            return broken(Rule::NotLost, how);
        }
        let is_confirmed = self.rules.lives.get(&id).is_some_and(|life| life.confirmed);
        if is_queued && is_confirmed && !known_to_broker() {
            let how = format!("job {id} is confirmed, and the broker neither holds nor has lost its message");
            return broken(Rule::NotLost, how);
        }
        Ok(())
    }

    /// Once everything has settled.
    pub fn check_end(&self, expect: &Expect) -> Result<(), Broken> {
        self.check_sums()?;
        for (id, row) in self.store.rows().filter(|(id, _)| self.must_settle(*id)) {
            let Some(life) = self.rules.lives.get(&id) else { continue };
            let died_as = |body: Body| Body { nature: row.unmended.unwrap_or(body.nature), ..body };
            life.ended(id, row.body.map(died_as), &row.core, expect)?;
        }
        for id in &self.rules.promised {
            if self.store.row(*id).is_none() {
                return broken(Rule::Intake, format!("job {id} was promised to a user and is not there"));
            }
        }
        (0..self.store.schedules().len()).try_for_each(|schedule| self.check_calendar(schedule))
    }

    /// Under `all`, every fire up to the next one was made.
    fn check_calendar(&self, number: usize) -> Result<(), Broken> {
        let schedule = &self.store.schedules()[number];
        let mut fires = self.rules.fires.range((number, Timestamp::MIN_UTC)..=(number, Timestamp::MAX_UTC));
        let first = schedule.starts_at;
        if schedule.missed != MissedPolicy::All {
            return match fires.next() {
                Some(_) => Ok(()),
                None => broken(Rule::Cron, format!("schedule {number} has never fired")),
            };
        }
        let mut cursor = Some(first);
        while let Some(at) = cursor.filter(|at| schedule.next_at.is_some_and(|next| *at < next)) {
            if !self.rules.fires.contains(&(number, at)) {
                return broken(Rule::Cron, format!("schedule {number} has missed its fire at {at}"));
            }
            cursor = schedule.spec.next_after(at);
        }
        if schedule.next_at == Some(first) {
            return broken(Rule::Cron, format!("schedule {number} has never fired"));
        }
        Ok(())
    }
}
