//! Schedules and leadership of the model store.

use std::time::Duration;

use bul_job::Timestamp;

use crate::mutants::Mutant;
use crate::store::{Answer, Store};
use crate::store_types::{Accepted, Change, NewJob, Schedule, StoreError};

impl Store {
    /// Adds a schedule.
    pub fn add_schedule(&mut self, schedule: Schedule) {
        self.schedules.push(schedule);
    }

    /// No more fires.
    pub fn pause_schedules(&mut self) {
        self.schedules.iter_mut().for_each(|schedule| schedule.paused = true);
    }

    /// All schedules.
    pub fn schedules(&self) -> &[Schedule] {
        &self.schedules
    }

    /// Schedules whose time has come.
    pub fn due_schedules(&self, now: Timestamp) -> Vec<(usize, Schedule)> {
        let due = |s: &Schedule| !s.paused && s.next_at.is_some_and(|next| next <= now);
        self.schedules.iter().cloned().enumerate().filter(|(_, s)| due(s)).collect()
    }

    /// Makes the jobs of these fires and moves the schedule on, in one transaction. A fire that was made
    /// is skipped, and so is one that the calendar has passed: somebody has decided about it.
    pub fn fire(
        &mut self,
        now: Timestamp,
        schedule: usize,
        fires: &[(Timestamp, NewJob)],
        next_at: Option<Timestamp>,
    ) -> Answer<Vec<Accepted>> {
        let (unguarded, behind) = (self.is(Mutant::FireUnguarded), self.is(Mutant::FireBehindCalendar));
        let Schedule { next_at: current, paused, .. } =
            *self.schedules.get(schedule).ok_or(StoreError::NotFound)?;
        if paused {
            return Ok(Vec::new());
        }
        let mut accepted = Vec::new();
        let mut made = Vec::new();
        for (at, job) in fires {
            let passed = current.is_none_or(|next| *at < next) && !behind;
            if unguarded || (!passed && self.fires.insert((schedule, *at))) {
                let job = NewJob { key: job.key.filter(|_| !unguarded), ..*job };
                accepted.push(self.accept_one(now, &job));
                made.push(*at);
            }
        }
        let slot = &mut self.schedules[schedule].next_at;
        *slot = match (*slot, next_at) {
            (Some(current), Some(next)) => Some(current.max(next)),
            (None, next) | (_, next @ None) => next,
        };
        let next_at = *slot;
        self.journal.push(Change::Fired { schedule, made, next_at });
        Ok(accepted)
    }

    /// Takes or renews the leader's lease.
    pub fn lead(&mut self, now: Timestamp, holder: usize, lease: Duration) -> Answer<bool> {
        let free = self.leader.is_none_or(|(by, until)| by == holder || until <= now);
        if free {
            self.leader = Some((holder, now + lease));
        }
        Ok(free || self.is(Mutant::FireUnguarded))
    }

    /// Gives it up.
    pub fn resign(&mut self, holder: usize) {
        self.leader = self.leader.filter(|(by, _)| *by != holder);
    }
}
