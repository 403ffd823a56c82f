//! Operations on the store without a server: schedules, dead letters, usage.

use bul_dlq_replayer::{
    Edit, EditError, EditReport, Rate, ReplayOptions, ReplayReport, Replayer, Selection, parse_filter,
};
use bul_job::{JobError, JobId, Limits, RawJob, ScheduleId, ScheduleSpec, Timestamp};
use bul_producer::submit::check_one;
use bul_store::{AuditLine, DeadFilter, DeadLetter, Schedule, ScheduleChange, UsageLine};

use super::direct::{ACTOR, DirectClient};
use super::replay::Told;
use super::store_fault;
use super::types::{BulkReport, NewSchedule, Receipt, ReplayHow, Selected, SubmitFailure};
use crate::exit::Fault;

impl DirectClient {
    pub async fn schedules(&self) -> anyhow::Result<Vec<Schedule>> {
        self.store.schedules(&self.tenant).await.map_err(store_fault)
    }

    pub async fn add_schedule(&self, new: &NewSchedule) -> anyhow::Result<Schedule> {
        let now = self.store.now();
        let spec = ScheduleSpec::parse(&new.cron, &new.zone).map_err(|e| Fault::usage(e.to_string()))?;
        let next_at = spec.first_after(now).map_err(|e| Fault::usage(e.to_string()))?;
        check_one(new.job.clone(), now, &Limits::default(), self.templates.as_ref())
            .map_err(|errors| Fault::usage(JobError::Fields(errors).to_string()))?;
        let schedule = Schedule {
            id: ScheduleId::new(),
            tenant: self.tenant.clone(),
            name: new.name.clone(),
            cron: new.cron.clone(),
            zone: new.zone.clone(),
            missed: new.missed,
            job: new.job.clone(),
            paused: false,
            next_at: Some(next_at),
            last_at: None,
        };
        self.store.add_schedule(&schedule).await.map_err(store_fault)?;
        Ok(schedule)
    }

    pub async fn remove_schedule(&self, schedule: &Schedule) -> anyhow::Result<()> {
        self.store.remove_schedule(&self.tenant, schedule.id).await.map_err(store_fault)
    }

    pub async fn pause_schedule(&self, schedule: &Schedule, paused: bool) -> anyhow::Result<()> {
        let change = if paused {
            ScheduleChange::Pause
        } else {
            let spec = ScheduleSpec::parse(&schedule.cron, &schedule.zone)?;
            ScheduleChange::Resume { next_at: spec.next_after(self.store.now()) }
        };
        self.store.set_schedule(&self.tenant, schedule.id, change).await.map_err(store_fault)
    }

    pub async fn run_schedule(&self, schedule: &Schedule) -> anyhow::Result<Receipt> {
        let source = format!("schedule:{}", schedule.name);
        match self.accept(std::slice::from_ref(&schedule.job), &source).await {
            Ok(receipts) => {
                Ok(receipts.into_iter().next().ok_or_else(|| Fault::failed("the job was not accepted"))?)
            }
            Err(SubmitFailure::Fields(errors)) => {
                Err(Fault::failed(JobError::Fields(errors).to_string()).into())
            }
            Err(SubmitFailure::Other(error)) => Err(error),
        }
    }

    fn replayer(&self) -> Replayer {
        let templates = self.templates.clone();
        Replayer::new(self.store.clone(), Limits::default())
            .with_check(std::sync::Arc::new(move |job| templates.check(job)))
    }

    pub async fn dead_letters(&self, filter: &DeadFilter) -> anyhow::Result<Vec<DeadLetter>> {
        self.replayer().list(&self.tenant, filter).await.map_err(store_fault)
    }

    pub async fn dead_letter(&self, id: JobId) -> anyhow::Result<DeadLetter> {
        self.replayer().show(&self.tenant, id).await.map_err(store_fault)
    }

    pub async fn edit_dead_letter(&self, id: JobId, job: RawJob) -> anyhow::Result<()> {
        let edit = Edit::Whole(Box::new(job));
        self.replayer().edit(&self.tenant, id, edit, ACTOR).await.map(drop).map_err(edit_fault)
    }

    pub async fn preview_edit(&self, id: JobId, job: RawJob) -> anyhow::Result<EditReport> {
        let edit = Edit::Whole(Box::new(job));
        self.replayer().preview(&self.tenant, id, edit).await.map_err(edit_fault)
    }

    /// The rate is kept by waiting here: ending the command leaves the rest dead.
    pub async fn replay(&self, which: &Selected, how: &ReplayHow) -> anyhow::Result<BulkReport> {
        let rate = how.rate.as_deref().map(str::parse::<Rate>).transpose();
        let rate = rate.map_err(|e| Fault::usage(e.to_string()))?;
        let ReplayHow { dry_run, ignore_breakers, .. } = *how;
        let patch = how.patch.clone();
        let options = ReplayOptions { rate, dry_run, ignore_breakers, patch, ..ReplayOptions::default() };
        let selection = selection(which)?;
        let mut told = Told::default();
        let mut tell = |report: &ReplayReport| {
            told.tell(report.halted.as_deref(), report.replayed, report.matched);
        };
        let report = self.replayer().replay(&self.tenant, &selection, &options, ACTOR, &mut tell).await;
        Ok(serde_json::from_value(serde_json::to_value(report.map_err(store_fault)?)?)?)
    }

    pub async fn purge(&self, which: &Selected, dry_run: bool) -> anyhow::Result<BulkReport> {
        let report = self.replayer().purge_many(&self.tenant, &selection(which)?, dry_run, ACTOR).await;
        Ok(serde_json::from_value(serde_json::to_value(report.map_err(store_fault)?)?)?)
    }

    pub async fn audit(&self, limit: usize) -> anyhow::Result<Vec<AuditLine>> {
        self.store.audit(&self.tenant, limit).await.map_err(store_fault)
    }

    pub async fn usage(&self, since: Timestamp) -> anyhow::Result<Vec<UsageLine>> {
        self.store.usage(&self.tenant, since).await.map_err(store_fault)
    }
}

fn edit_fault(error: EditError) -> anyhow::Error {
    match error {
        EditError::Store(error) => store_fault(error),
        error @ (EditError::NothingToPatch | EditError::Invalid(_)) => Fault::usage(error.to_string()).into(),
    }
}

fn selection(which: &Selected) -> anyhow::Result<Selection> {
    Ok(match which {
        Selected::Ids(ids) => Selection::Ids(ids.clone()),
        Selected::Filter(text) => {
            Selection::Filter(parse_filter(text).map_err(|e| Fault::usage(e.to_string()))?)
        }
    })
}
