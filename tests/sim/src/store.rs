//! The model store: every change is [`JobCore::apply`] in a transaction, as in the real ones.
//!
//! Invariant: no code here decides about a job's state; where it does, it is a mutant and says so. What
//! was committed goes into the journal, which the rules read after every step.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bul_job::{Action, Applied, AttemptNo, Counts, DeadReason, Failure, Input, JobCore, PublishNo, Refused};
use bul_job::{Rules, State, Timestamp};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::mutants::Mutant;
use crate::store_types::JobNo;
use crate::store_types::{
    Accepted, Attempt, Begin, Body, Change, Due, Key, Nature, NewJob, Ready, Row, Schedule, StoreError, Why,
};

/// What a call brings.
pub type Answer<T> = Result<T, StoreError>;

/// Longest sleep that a lease that never expires pretends.
const FOREVER: Duration = Duration::from_secs(100 * 24 * 3600);

/// The record.
pub struct Store {
    rows: BTreeMap<JobNo, Row>,
    keys: BTreeMap<(usize, Key), (JobNo, Body)>,
    /// Counted beside the rows, one per tenant.
    pub accepted: Vec<u64>,
    /// Its calendar.
    pub schedules: Vec<Schedule>,
    /// Fires made.
    pub fires: BTreeSet<(usize, Timestamp)>,
    /// Who leads, and until when.
    pub leader: Option<(usize, Timestamp)>,
    /// What was committed since somebody looked.
    pub journal: Vec<Change>,
    rules: Rules,
    rng: ChaCha8Rng,
    mutant: Option<Mutant>,
    unreadable_seen: BTreeMap<u32, JobNo>,
}

impl Store {
    /// An empty one.
    pub fn new(tenants: usize, rules: Rules, seed: u64, mutant: Option<Mutant>) -> Self {
        Self {
            rows: BTreeMap::new(),
            keys: BTreeMap::new(),
            accepted: vec![0; tenants],
            schedules: Vec::new(),
            fires: BTreeSet::new(),
            leader: None,
            journal: Vec::new(),
            rules,
            rng: ChaCha8Rng::seed_from_u64(seed ^ 0x5eed),
            mutant,
            unreadable_seen: BTreeMap::new(),
        }
    }

    /// Whether this mutation is on.
    pub fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// Rules in force.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// A row.
    pub fn row(&self, id: JobNo) -> Option<&Row> {
        self.rows.get(&id)
    }

    /// All rows.
    pub fn rows(&self) -> impl Iterator<Item = (JobNo, &Row)> {
        self.rows.iter().map(|(id, row)| (*id, row))
    }

    /// Jobs in a state.
    pub fn count(&self, state: State) -> u64 {
        self.rows.values().filter(|row| row.core.state == state).count() as u64
    }

    /// Rows by state beside the count of accepted ones.
    pub fn counts(&self, tenant: usize) -> Counts {
        let mut counts = Counts { accepted: self.accepted[tenant], ..Counts::default() };
        for row in self.rows.values().filter(|row| row.tenant == tenant) {
            counts.add(row.core.state, 1);
        }
        counts
    }

    /// The one way a job changes.
    fn apply(&mut self, id: JobNo, input: Input, why: Why, now: Timestamp) -> Answer<Applied> {
        let row = self.rows.get_mut(&id).ok_or(StoreError::NotFound)?;
        let before = row.core.clone();
        let result = row.core.apply(&input, now, &self.rules, &mut self.rng);
        let applied = crate::mutants::after_apply(self.mutant, &mut row.core, &before, why, now, result)
            .map_err(StoreError::Refused)?;
        let after = row.core.clone();
        if applied.dead.is_some() && self.mutant == Some(Mutant::DeadLetterLost) {
            self.rows.remove(&id);
        }
        self.journal.push(Change::Job { id, why, before: Some(before), after, dead: applied.dead });
        Ok(applied)
    }

    // --- intake ---------------------------------------------------------------------------------

    /// Accepts all of a batch.
    pub fn accept(&mut self, now: Timestamp, jobs: &[NewJob]) -> Answer<Vec<Accepted>> {
        Ok(jobs.iter().map(|job| self.accept_one(now, job)).collect())
    }

    /// Accepts one.
    pub fn accept_one(&mut self, now: Timestamp, new: &NewJob) -> Accepted {
        let same = |body: Body| Body { run_at: None, ..body } == Body { run_at: None, ..new.body };
        if self.rows.contains_key(&new.id) {
            return Accepted::Existing(new.id);
        }
        let claim = new.key.filter(|_| !self.is(Mutant::NoIdempotency));
        if let Some((id, body)) = claim.and_then(|key| self.keys.get(&(new.tenant, key))) {
            return if same(*body) { Accepted::Existing(*id) } else { Accepted::Conflict };
        }
        if let Some(key) = new.key {
            self.keys.insert((new.tenant, key), (new.id, new.body));
        }
        let Body { run_at, deadline, max_attempts, lane, .. } = new.body;
        let (mut core, action) = JobCore::accept(now, run_at, deadline, max_attempts, &self.rules);
        if self.is(Mutant::NoDueOnQueue) && core.state == State::Queued {
            core.due_at = None;
        }
        if !self.is(Mutant::NotCounted) || !new.id.is_multiple_of(8) {
            self.accepted[new.tenant] += 1;
        }
        self.add(new.id, new.tenant, Some(new.body), core, Why::Accepted(new.key), None);
        let ready = |publish| Ready { job: new.id, lane, publish };
        match action {
            Action::Publish(publish) => Accepted::New(new.id, Some(ready(publish))),
            Action::None | Action::Run(_) => Accepted::New(new.id, None),
        }
    }

    fn add(
        &mut self,
        id: JobNo,
        tenant: usize,
        body: Option<Body>,
        core: JobCore,
        why: Why,
        dead: Option<DeadReason>,
    ) {
        self.rows.insert(id, Row { tenant, body, unmended: None, core: core.clone(), documents: Vec::new() });
        self.journal.push(Change::Job { id, why, before: None, after: core, dead });
    }

    /// Keeps a message nobody can read. `message` names its bytes.
    pub fn accept_unreadable(&mut self, now: Timestamp, id: JobNo, message: u32) -> Answer<JobNo> {
        if !self.is(Mutant::UnreadableTwice)
            && let Some(kept) = self.unreadable_seen.get(&message)
        {
            return Ok(*kept);
        }
        self.unreadable_seen.insert(message, id);
        let (mut core, _) = JobCore::accept(now, None, None, 1, &self.rules);
        core.state = State::Dead;
        core.publish = PublishNo(0);
        core.due_at = None;
        self.accepted[0] += 1;
        let why = Why::Accepted(Some(Key::Message(message)));
        self.add(id, 0, None, core, why, Some(DeadReason::Unreadable));
        Ok(id)
    }

    // --- dispatch -------------------------------------------------------------------------------

    /// Moves what is due, longest due first.
    pub fn take_due(&mut self, now: Timestamp, limit: usize) -> Answer<Due> {
        let is_due = |row: &Row| row.core.due_at.filter(|due| *due <= now);
        let mut ids: Vec<_> = self.rows.iter().filter_map(|(id, row)| Some((is_due(row)?, *id))).collect();
        ids.sort_unstable();
        ids.truncate(limit);
        let mut due = Due { seen: ids.len(), ..Due::default() };
        for (_, job) in ids {
            let applied = self.apply(job, Input::Due, Why::Due, now)?;
            if let (Action::Publish(publish), Some(row)) = (applied.action, self.rows.get(&job)) {
                let lane = row.body.map(|body| body.lane).unwrap_or_default();
                due.ready.push(Ready { job, lane, publish });
            }
        }
        Ok(due)
    }

    /// Confirmations of the broker; outdated ones are ignored.
    pub fn published(&mut self, now: Timestamp, confirmed: &[(JobNo, PublishNo)]) -> Answer<()> {
        for (id, publish) in confirmed {
            match self.apply(*id, Input::Published(*publish), Why::Published, now) {
                Ok(_)
                | Err(StoreError::Refused(Refused::Stale | Refused::Final(_)) | StoreError::NotFound) => {}
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }

    /// When the next row is due.
    pub fn next_due_at(&self) -> Option<Timestamp> {
        self.rows.values().filter_map(|row| row.core.due_at).min()
    }

    /// Every queued row is due at once. A new publication number makes confirmations that are still under
    /// way outdated: they are about messages that the broker has lost.
    pub fn republish_queued(&mut self, now: Timestamp) -> Answer<u64> {
        let mut queued = 0;
        for (id, row) in self.rows.iter_mut().filter(|(_, row)| row.core.state == State::Queued) {
            let before = Some(row.core.clone());
            row.core.due_at = Some(row.core.due_at.map_or(now, |due| due.min(now)));
            row.core.publish = row.core.publish.next();
            let (id, why, after) = (*id, Why::Lost, row.core.clone());
            self.journal.push(Change::Job { id, why, before, after, dead: None });
            queued += 1;
        }
        Ok(queued)
    }

    /// Every running attempt belongs to a process that is gone.
    pub fn end_orphaned(&mut self, now: Timestamp) -> Answer<u64> {
        let running = |row: &Row| row.core.state == State::Running;
        let ids: Vec<_> = self.rows.iter().filter(|(_, row)| running(row)).map(|(id, _)| *id).collect();
        for id in &ids {
            self.apply(*id, Input::Orphaned, Why::Orphaned, now)?;
        }
        Ok(ids.len() as u64)
    }

    // --- attempts -------------------------------------------------------------------------------

    /// Gives the lease.
    pub fn begin(&mut self, now: Timestamp, id: JobNo, lease: Duration) -> Answer<Begin> {
        let lease = if self.is(Mutant::LeaseNeverExpires) { FOREVER } else { lease };
        let applied = match self.apply(id, Input::Begin { lease }, Why::Begun, now) {
            Ok(applied) => applied,
            Err(StoreError::Refused(Refused::NotNow(state) | Refused::Final(state))) => {
                return Ok(Begin::Skip(state));
            }
            Err(other) => return Err(other),
        };
        let row = self.rows.get(&id).ok_or(StoreError::NotFound)?;
        let (Action::Run(attempt), Some(body)) = (applied.action, row.body) else {
            return Ok(Begin::Skip(row.core.state));
        };
        let attempt = if self.is(Mutant::AttemptOffByOne) { AttemptNo(attempt.0 - 1) } else { attempt };
        let alone = row.core.runs_alone(&self.rules) && !self.is(Mutant::SuspectsTogether);
        Ok(Begin::Run(Attempt { job: id, attempt, failures: row.core.failures, alone, body }))
    }

    /// Extends the lease; whether the user wants the job to end.
    pub fn extend(&mut self, now: Timestamp, id: JobNo, attempt: AttemptNo, lease: Duration) -> Answer<bool> {
        let lease = if self.is(Mutant::LeaseNeverExpires) { FOREVER } else { lease };
        self.apply(id, Input::Extend { attempt, lease }, Why::Extended, now)?;
        Ok(self.rows.get(&id).is_some_and(|row| row.core.cancel_requested))
    }

    /// Documents and end, in one transaction, fenced.
    pub fn complete(&mut self, now: Timestamp, id: JobNo, attempt: AttemptNo, formats: u8) -> Answer<()> {
        if self.is(Mutant::NoFence) {
            let row = self.rows.get_mut(&id).ok_or(StoreError::NotFound)?;
            let before = row.core.clone();
            row.core.state = State::Completed;
            row.core.due_at = None;
            let (after, why) = (row.core.clone(), Why::Completed);
            self.put_documents(id, attempt, formats)?;
            self.journal.push(Change::Job { id, why, before: Some(before), after, dead: None });
            return Ok(());
        }
        // The documents first, as far as the journal is concerned: they must be those of a running attempt.
        let mark = self.journal.len();
        if !self.is(Mutant::DocumentsBefore) {
            self.put_documents(id, attempt, formats)?;
        }
        let applied = self.apply(id, Input::Complete { attempt }, Why::Completed, now);
        if applied.is_err() && !self.is(Mutant::DocumentsBefore) {
            self.journal.truncate(mark);
            let row = self.rows.get_mut(&id).ok_or(StoreError::NotFound)?;
            let kept = row.documents.len() - usize::from(formats);
            row.documents.truncate(kept);
        }
        applied.map(|_| ())
    }

    /// Stores documents; a transaction of its own only in a mutant.
    pub fn put_documents(&mut self, id: JobNo, attempt: AttemptNo, formats: u8) -> Answer<()> {
        let row = self.rows.get_mut(&id).ok_or(StoreError::NotFound)?;
        for format in 0..formats {
            row.documents.push((format, attempt));
            self.journal.push(Change::Document { id, format, attempt });
        }
        Ok(())
    }

    /// A failed attempt; where the job is now.
    pub fn fail(&mut self, now: Timestamp, id: JobNo, attempt: AttemptNo, failure: Failure) -> Answer<State> {
        let why = Why::Failed(failure.class);
        self.apply(id, Input::Fail { attempt, failure }, why, now)?;
        Ok(self.rows.get(&id).map_or(State::Dead, |row| row.core.state))
    }

    /// An attempt given back unfinished.
    pub fn hand_back(&mut self, now: Timestamp, id: JobNo, attempt: AttemptNo) -> Answer<()> {
        if self.is(Mutant::HandBackSpends) {
            let failure = crate::worker::failure(bul_job::FailureClass::Transient);
            return self.fail(now, id, attempt, failure).map(|_| ());
        }
        self.apply(id, Input::HandBack { attempt, wait: std::time::Duration::ZERO }, Why::HandedBack, now)
            .map(|_| ())
    }

    // --- users and operators --------------------------------------------------------------------

    /// The user wants it to end.
    pub fn cancel(&mut self, now: Timestamp, id: JobNo) -> Answer<()> {
        self.apply(id, Input::Cancel, Why::Cancelled, now).map(|_| ())
    }

    /// Dead letters that can run.
    pub fn dead_letters(&self, limit: usize) -> Vec<JobNo> {
        let dead = |row: &Row| row.core.state == State::Dead && row.body.is_some();
        self.rows.iter().filter(|(_, row)| dead(row)).map(|(id, _)| *id).take(limit).collect()
    }

    /// The operator mends a dead letter.
    pub fn edit(&mut self, id: JobNo) -> Answer<()> {
        let row = self.rows.get_mut(&id).ok_or(StoreError::NotFound)?;
        match &mut row.body {
            Some(body) if row.core.state == State::Dead => {
                row.unmended.get_or_insert(body.nature);
                body.nature = Nature::Good;
            }
            _ => return Err(StoreError::NotFound),
        }
        Ok(())
    }

    /// Puts a dead letter back to work.
    pub fn replay(&mut self, now: Timestamp, id: JobNo, at: Option<Timestamp>) -> Answer<()> {
        let why = Why::Replayed(at.unwrap_or(now));
        self.apply(id, Input::Replay { at }, why, now)?;
        if let Some(row) = self.rows.get_mut(&id) {
            row.unmended = None;
        }
        Ok(())
    }
}
