//! The calendar: due schedules → jobs.
//!
//! A fire's job, its entry `(schedule, time)` and the schedule's next time are one transaction in the
//! store, so that a fire happens once, whoever makes it and wherever the process dies.

use bul_job::{Group, JobError, JobId, ScheduleSpec, Timestamp, ValidJob};
use bul_store::{Accepted, NewJob, Ready, Schedule, StoreError};
use tracing::{info, warn};

use crate::Scheduler;

/// Schedules handled in one turn.
const SCHEDULES_MAX: usize = 100;

/// Why a schedule cannot fire.
#[derive(Debug, thiserror::Error)]
pub enum FireError {
    /// Its expression or zone is no longer understood.
    #[error(transparent)]
    Cron(#[from] bul_job::CronError),
    /// Its job is not valid.
    #[error("the job is not valid: {0}")]
    Job(#[from] JobError),
    /// The store did not take it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Scheduler {
    /// Makes the jobs of all due schedules. `true` when something fired.
    pub(crate) async fn fire_due(&self) -> bool {
        let schedules = match self.store.due_schedules(SCHEDULES_MAX).await {
            Ok(schedules) => schedules,
            Err(error) => {
                warn!(%error, "due schedules cannot be read");
                return false;
            }
        };
        let mut fired = false;
        for schedule in &schedules {
            match self.fire(schedule).await {
                Ok(jobs) => fired |= jobs > 0,
                Err(error) => {
                    self.metrics.fires.with_label_values(&["invalid"]).inc();
                    warn!(schedule = schedule.name, tenant = %schedule.tenant, %error, "a schedule cannot fire");
                    self.skip_broken(schedule, &error).await;
                }
            }
        }
        fired
    }

    async fn fire(&self, schedule: &Schedule) -> Result<usize, FireError> {
        let Some(next) = schedule.next_at else { return Ok(0) };
        let spec = ScheduleSpec::parse(&schedule.cron, &schedule.zone)?;
        let fires = spec.fires(next, self.store.now(), schedule.missed);
        let mut jobs = Vec::with_capacity(fires.due.len());
        for at in &fires.due {
            jobs.push((*at, self.job_of(schedule, *at)?));
        }
        let accepted = self.store.fire(schedule.id, &jobs, fires.next).await?;
        let ready: Vec<Ready> = accepted.iter().filter_map(ready).collect();
        let made = accepted.iter().filter(|a| matches!(a, Accepted::New { .. })).count();
        self.metrics.fires.with_label_values(&["made"]).inc_by(made as u64);
        self.metrics.fires.with_label_values(&["duplicate"]).inc_by((jobs.len() - made) as u64);
        info!(schedule = schedule.name, tenant = %schedule.tenant, due = jobs.len(), made, "schedule fired");
        self.publish(&ready).await;
        Ok(made)
    }

    /// The job of one fire; its time is its idempotency key and stands in its labels.
    fn job_of(&self, schedule: &Schedule, at: Timestamp) -> Result<NewJob, JobError> {
        let mut raw = schedule.job.clone();
        raw.idempotency_key = Some(format!("schedule:{}:{}", schedule.id, at.to_rfc3339()));
        raw.run_at = None;
        raw.metadata.get_or_insert_default().insert("scheduled_for".into(), at.to_rfc3339().into());
        let job = ValidJob::parse(raw, self.store.now(), &self.options.limits)?;
        let source = format!("schedule:{}", schedule.name);
        let id = JobId::in_group(Group::of(&schedule.tenant, &job));
        Ok(NewJob { id, tenant: schedule.tenant.clone(), job, source })
    }

    /// A schedule that cannot fire is moved on, so that it neither blocks the others nor fills the log
    /// at every turn; it stays in the list and tries again at its next time.
    async fn skip_broken(&self, schedule: &Schedule, error: &FireError) {
        if matches!(error, FireError::Store(_)) {
            return;
        }
        let spec = ScheduleSpec::parse(&schedule.cron, &schedule.zone).ok();
        let next = spec.and_then(|spec| spec.next_after(self.store.now()));
        if let Err(error) = self.store.fire(schedule.id, &[], next).await {
            warn!(schedule = schedule.name, %error, "the schedule could not be moved on");
        }
    }
}

fn ready(accepted: &Accepted) -> Option<Ready> {
    match accepted {
        Accepted::New { publish, .. } => publish.clone(),
        Accepted::Existing { .. } | Accepted::Conflict { .. } => None,
    }
}
