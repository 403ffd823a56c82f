//! The trait, method by method: arguments made fit for the writer or a reader, nothing else.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use bul_job::{
    AttemptNo, Failure, Format, JobId, Ledger, OwnLimits, PublishNo, ScheduleId, TenantId, Timestamp,
    ValidJob,
};
use bul_store::{
    Accepted, ApiKey, AuditLine, BacklogFilter, Begin, BreakerReport, DeadFilter, DeadLetter, Due, Extended,
    JobDetail, JobFilter, JobStatus, JobSummary, KeptText, NewJob, OpenBreaker, Output, Place, Presence,
    Pruned, ReplayAs, Retention, Schedule, ScheduleChange, SessionTurn, Store, StoreError, StoreInfo,
    TenantAccount, Unread, UnreadableMessage, UsageLine, Waiting,
};

use crate::attempts::{Call, Produced};
use crate::intake::Prepared;
use crate::steps::Step;
use crate::{
    SqliteStore, backlog, breakers, dead_letters, dispatch, intake, keys, ledger, limits, prune, queries,
    schedules, texts, turns, workers,
};

const DURABILITY: &str = "an answered write is synced to the disk (write-ahead log, synchronous=FULL) \
    and survives a crash of the process, the system and the power";
const DURABILITY_MEMORY: &str = "nothing: it lives in memory and ends with the process";

#[async_trait]
impl Store for SqliteStore {
    fn info(&self) -> StoreInfo {
        let durability = if self.readers.is_some() { DURABILITY } else { DURABILITY_MEMORY };
        StoreInfo {
            kind: "sqlite",
            version: self.version.clone(),
            location: self.path.display().to_string(),
            durability: durability.into(),
            notes: Vec::new(),
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }

    async fn accept(&self, jobs: &[NewJob]) -> Result<Vec<Accepted>, StoreError> {
        let jobs = jobs.iter().map(Prepared::new).collect::<Result<Vec<_>, _>>()?;
        self.writer.accept(jobs).await
    }

    async fn accept_unreadable(&self, message: &UnreadableMessage) -> Result<JobId, StoreError> {
        let message = message.clone();
        let digest = message.digest();
        self.writer.run(move |tx| Box::pin(intake::accept_unreadable(tx, message, digest))).await
    }

    async fn take_due(&self, limit: usize) -> Result<Due, StoreError> {
        self.writer.run(move |tx| Box::pin(dispatch::take_due(tx, limit))).await
    }

    async fn release(&self, limit: usize) -> Result<Due, StoreError> {
        if !self.read(|conn| Box::pin(limits::is_parked(conn))).await? {
            return Ok(Due::default());
        }
        self.writer.run(move |tx| Box::pin(limits::release(tx, limit))).await
    }

    async fn published(&self, confirmed: &[(JobId, PublishNo)]) -> Result<(), StoreError> {
        self.writer.published(confirmed).await
    }

    async fn next_due_at(&self) -> Result<Option<Timestamp>, StoreError> {
        self.read(|conn| Box::pin(dispatch::next_due_at(conn))).await
    }

    async fn republish_queued(&self) -> Result<u64, StoreError> {
        self.writer.run(|tx| Box::pin(dispatch::republish_queued(tx))).await
    }

    async fn end_orphaned(&self) -> Result<u64, StoreError> {
        self.writer.run(|tx| Box::pin(dispatch::end_orphaned(tx))).await
    }

    async fn begin(&self, id: JobId, worker: &str, lease: Duration) -> Result<Begin, StoreError> {
        let call = Call::Begin { worker: worker.to_owned(), lease };
        let begun = self.writer.step(Step { id, call }).await?.begun()?;
        let attempt = begun.attempt();
        match (begun.parse(), attempt) {
            (Err(fault), Some(attempt)) => {
                let error = StoreError::from(fault);
                tracing::warn!(job.id = %id, %error, "a job that this version cannot read is left to others");
                let call = match bul_store::unread(attempt, &self.rules, &error) {
                    Unread::Wait(wait) => Call::HandBack { attempt, wait },
                    Unread::Dead(failure) => Call::Fail { attempt, failure },
                };
                Ok(Begin::Skip(self.writer.step(Step { id, call }).await?.now()?.0.state))
            }
            (parsed, _) => Ok(parsed?),
        }
    }

    async fn extend(&self, id: JobId, attempt: AttemptNo, lease: Duration) -> Result<Extended, StoreError> {
        let call = Call::Extend { attempt, lease };
        Ok(self.writer.step(Step { id, call }).await?.now()?.1)
    }

    async fn keep_text(&self, id: JobId, attempt: AttemptNo, text: &KeptText) -> Result<(), StoreError> {
        let text = text.clone();
        self.writer.run(move |tx| Box::pin(texts::keep(tx, id, attempt, text))).await
    }

    async fn kept_texts(&self, id: JobId) -> Result<Vec<KeptText>, StoreError> {
        self.read(move |conn| Box::pin(texts::kept(conn, id))).await
    }

    async fn session_turns(
        &self,
        tenant: &TenantId,
        session: &str,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<SessionTurn>, StoreError> {
        let (tenant, session) = (tenant.clone(), session.to_owned());
        self.read(move |conn| Box::pin(turns::latest(conn, tenant, session, until, limit))).await
    }

    async fn complete(&self, id: JobId, attempt: AttemptNo, output: &Output) -> Result<(), StoreError> {
        let call = Call::Complete { attempt, output: Produced::new(output)? };
        self.writer.step(Step { id, call }).await.map(drop)
    }

    async fn fail(&self, id: JobId, attempt: AttemptNo, failure: &Failure) -> Result<JobStatus, StoreError> {
        let call = Call::Fail { attempt, failure: failure.clone() };
        Ok(self.writer.step(Step { id, call }).await?.now()?.0)
    }

    async fn hand_back(&self, id: JobId, attempt: AttemptNo) -> Result<JobStatus, StoreError> {
        let call = Call::HandBack { attempt, wait: Duration::ZERO };
        Ok(self.writer.step(Step { id, call }).await?.now()?.0)
    }

    async fn job(&self, tenant: &TenantId, id: JobId) -> Result<JobDetail, StoreError> {
        let tenant = tenant.clone();
        self.read(move |conn| Box::pin(queries::job(conn, tenant, id))).await
    }

    async fn jobs(&self, tenant: &TenantId, filter: &JobFilter) -> Result<Vec<JobSummary>, StoreError> {
        let (tenant, filter) = (tenant.clone(), filter.clone());
        self.read(move |conn| Box::pin(queries::jobs(conn, tenant, filter))).await
    }

    async fn document(&self, tenant: &TenantId, id: JobId, format: Format) -> Result<Vec<u8>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |conn| Box::pin(queries::document(conn, tenant, id, format))).await
    }

    async fn cancel(&self, tenant: &TenantId, id: JobId) -> Result<JobStatus, StoreError> {
        let tenant = tenant.clone();
        self.writer.run(move |tx| Box::pin(queries::cancel(tx, tenant, id))).await
    }

    async fn place(&self, id: JobId) -> Result<Place, StoreError> {
        let (usual, now) = (self.limits, self.clock.now());
        self.read(move |conn| Box::pin(limits::place(conn, usual, id, now))).await
    }

    async fn backlog(&self, filter: &BacklogFilter) -> Result<Vec<Waiting>, StoreError> {
        let (filter, now) = (filter.clone(), self.clock.now());
        self.read(move |conn| Box::pin(async move { backlog::backlog(conn, &filter, now).await })).await
    }

    async fn dead_letters(
        &self,
        tenant: &TenantId,
        filter: &DeadFilter,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let (tenant, filter) = (tenant.clone(), filter.clone());
        self.read(move |conn| Box::pin(dead_letters::list(conn, tenant, filter))).await
    }

    async fn count_dead_letters(&self, tenant: &TenantId, filter: &DeadFilter) -> Result<u64, StoreError> {
        let (tenant, filter) = (tenant.clone(), filter.clone());
        self.read(move |conn| Box::pin(dead_letters::count_matching(conn, tenant, filter))).await
    }

    async fn edit_dead_letter(
        &self,
        tenant: &TenantId,
        id: JobId,
        job: &ValidJob,
        actor: &str,
    ) -> Result<(), StoreError> {
        let (tenant, job, actor) = (tenant.clone(), job.clone(), actor.to_owned());
        self.writer.run(move |tx| Box::pin(dead_letters::edit(tx, tenant, id, job, actor))).await
    }

    async fn replay(
        &self,
        tenant: &TenantId,
        id: JobId,
        edited: Option<&ValidJob>,
        how: ReplayAs,
        actor: &str,
    ) -> Result<(), StoreError> {
        let (tenant, edited, actor) = (tenant.clone(), edited.cloned(), actor.to_owned());
        self.writer.run(move |tx| Box::pin(dead_letters::replay(tx, tenant, id, edited, how, actor))).await
    }

    async fn purge(&self, tenant: &TenantId, id: JobId, actor: &str) -> Result<(), StoreError> {
        let (tenant, actor) = (tenant.clone(), actor.to_owned());
        self.writer.run(move |tx| Box::pin(dead_letters::purge(tx, tenant, id, actor))).await
    }

    async fn audit(&self, tenant: &TenantId, limit: usize) -> Result<Vec<AuditLine>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |conn| Box::pin(dead_letters::audit(conn, tenant, limit))).await
    }

    async fn prune(
        &self,
        keep: &Retention,
        after: Option<JobId>,
        limit: usize,
    ) -> Result<Pruned, StoreError> {
        let keep = *keep;
        self.writer.run(move |tx| Box::pin(prune::prune(tx, keep, after, limit))).await
    }

    async fn add_schedule(&self, schedule: &Schedule) -> Result<(), StoreError> {
        let schedule = schedule.clone();
        self.writer.run(move |tx| Box::pin(schedules::add(tx, schedule))).await
    }

    async fn schedules(&self, tenant: &TenantId) -> Result<Vec<Schedule>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |conn| Box::pin(schedules::list(conn, tenant))).await
    }

    async fn remove_schedule(&self, tenant: &TenantId, id: ScheduleId) -> Result<(), StoreError> {
        let tenant = tenant.clone();
        self.writer.run(move |tx| Box::pin(schedules::remove(tx, tenant, id))).await
    }

    async fn set_schedule(
        &self,
        tenant: &TenantId,
        id: ScheduleId,
        change: ScheduleChange,
    ) -> Result<(), StoreError> {
        let tenant = tenant.clone();
        self.writer.run(move |tx| Box::pin(schedules::set(tx, tenant, id, change))).await
    }

    async fn due_schedules(&self, limit: usize) -> Result<Vec<Schedule>, StoreError> {
        let now = self.clock.now();
        self.read(move |conn| Box::pin(schedules::due(conn, now, limit))).await
    }

    async fn fire(
        &self,
        schedule: ScheduleId,
        fires: &[(Timestamp, NewJob)],
        next_at: Option<Timestamp>,
    ) -> Result<Vec<Accepted>, StoreError> {
        let prepare = |(at, job): &(Timestamp, NewJob)| Ok::<_, StoreError>((*at, Prepared::new(job)?));
        let fires = fires.iter().map(prepare).collect::<Result<Vec<_>, _>>()?;
        self.writer.run(move |tx| Box::pin(schedules::fire(tx, schedule, fires, next_at))).await
    }

    async fn report_breaker(&self, report: &BreakerReport) -> Result<(), StoreError> {
        let report = report.clone();
        self.writer.run(move |tx| Box::pin(breakers::report(tx, report))).await
    }

    async fn open_breakers(&self) -> Result<Vec<OpenBreaker>, StoreError> {
        let now = self.clock.now();
        self.read(move |conn| Box::pin(breakers::open(conn, now))).await
    }

    async fn attend(&self, process: &str, presence: Presence) -> Result<BTreeSet<String>, StoreError> {
        let process = process.to_owned();
        self.writer.run(move |tx| Box::pin(workers::attend(tx, process, presence))).await
    }

    async fn lead(&self, role: &str, holder: &str, lease: Duration) -> Result<bool, StoreError> {
        let (role, holder) = (role.to_owned(), holder.to_owned());
        self.writer.run(move |tx| Box::pin(ledger::lead(tx, role, holder, lease))).await
    }

    async fn resign(&self, role: &str, holder: &str) -> Result<(), StoreError> {
        let (role, holder) = (role.to_owned(), holder.to_owned());
        self.writer.run(move |tx| Box::pin(ledger::resign(tx, role, holder))).await
    }

    async fn add_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        let key = key.clone();
        self.writer.run(move |tx| Box::pin(keys::add(tx, key))).await
    }

    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        self.read(|conn| Box::pin(keys::list(conn))).await
    }

    async fn find_key(&self, hash: &[u8; 32]) -> Result<Option<ApiKey>, StoreError> {
        let hash = *hash;
        self.read(move |conn| Box::pin(keys::find(conn, hash))).await
    }

    async fn revoke_key(&self, id: &str) -> Result<(), StoreError> {
        let id = id.to_owned();
        self.writer.run(move |tx| Box::pin(keys::revoke(tx, id))).await
    }

    async fn ledger(&self) -> Result<Ledger, StoreError> {
        self.read(|conn| Box::pin(ledger::ledger(conn))).await
    }

    async fn usage(&self, tenant: &TenantId, since: Timestamp) -> Result<Vec<UsageLine>, StoreError> {
        let tenant = tenant.clone();
        self.read(move |conn| Box::pin(ledger::usage(conn, tenant, since))).await
    }

    async fn tenant_limits(&self) -> Result<Vec<TenantAccount>, StoreError> {
        let (usual, now) = (self.limits, self.clock.now());
        self.read(move |conn| Box::pin(limits::accounts(conn, usual, now))).await
    }

    async fn set_tenant_limits(&self, tenant: &TenantId, own: &OwnLimits) -> Result<(), StoreError> {
        let (tenant, own) = (tenant.clone(), *own);
        self.writer.run(move |tx| Box::pin(limits::set(tx, tenant, own))).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.writer.run(|tx| Box::pin(ledger::check(tx))).await?;
        self.read(|conn| Box::pin(dispatch::next_due_at(conn))).await.map(drop)
    }

    async fn close(&self) {
        // Readers first: the last connection to close writes the log back into the main file.
        if let Some(readers) = &self.readers {
            readers.close().await;
        }
        self.writer.close().await;
    }
}
