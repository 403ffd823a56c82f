//! The trait, method by method: arguments made fit for a batch or a transaction, nothing else.

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

use crate::accept::Prepared;
use crate::attempts::{BeginOp, Begun, CompleteOp, Other, OtherOp};
use crate::calls::{LONG_CALL_MAX, in_tx};
use crate::rows::{narrow, uuid};
use crate::{
    PostgresStore, accept, backlog, breakers, confirm, dead_letters, dispatch, keys, ledger, limits, prune,
    queries, schedules, texts, turns, workers,
};

/// Pages of orphans ended in one call.
const ORPHAN_PAGES_MAX: usize = 100_000;

impl PostgresStore {
    async fn other(&self, id: JobId, what: Other) -> Result<crate::attempts::Now, StoreError> {
        self.inner.others.run(OtherOp { id, what }).await
    }
}

#[async_trait]
impl Store for PostgresStore {
    fn info(&self) -> StoreInfo {
        StoreInfo {
            kind: "postgres",
            version: self.inner.version.clone(),
            location: self.inner.location.clone(),
            durability: self.inner.durability.clone(),
            notes: self.inner.notes.clone(),
        }
    }

    fn now(&self) -> Timestamp {
        self.inner.shared.time.now()
    }

    async fn accept(&self, jobs: &[NewJob]) -> Result<Vec<Accepted>, StoreError> {
        let jobs = jobs.iter().map(Prepared::new).collect::<Result<Vec<_>, _>>()?;
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        self.inner.accepts.run(jobs).await
    }

    async fn accept_unreadable(&self, message: &UnreadableMessage) -> Result<JobId, StoreError> {
        let shared = &self.inner.shared;
        in_tx!(self.inner.system, write(), |conn| accept::accept_unreadable(shared, conn, message))
    }

    async fn take_due(&self, limit: usize) -> Result<Due, StoreError> {
        let shared = &self.inner.shared;
        in_tx!(self.inner.dispatch, write(), |conn| dispatch::take_due(shared, conn, limit))
    }

    async fn release(&self, limit: usize) -> Result<Due, StoreError> {
        let shared = &self.inner.shared;
        in_tx!(self.inner.dispatch, write(), |conn| limits::release(shared, conn, limit))
    }

    async fn published(&self, confirmed: &[(JobId, PublishNo)]) -> Result<(), StoreError> {
        let confirmed = confirmed.iter().map(|(id, publish)| (uuid(*id), narrow(publish.0)));
        let now = if self.inner.confirm_delay.is_zero() {
            confirmed.collect()
        } else {
            self.inner.shared.confirmations.hold(confirmed)
        };
        confirm::write(&self.inner.confirms, &now).await
    }

    async fn next_due_at(&self) -> Result<Option<Timestamp>, StoreError> {
        in_tx!(self.inner.dispatch, read(), |conn| dispatch::next_due_at(conn))
    }

    async fn republish_queued(&self) -> Result<u64, StoreError> {
        // The broker has forgotten what these confirm.
        drop(self.inner.shared.confirmations.take_all());
        let shared = &self.inner.shared;
        in_tx!(LONG_CALL_MAX, self.inner.system, write(), |conn| dispatch::republish_queued(shared, conn))
    }

    async fn end_orphaned(&self) -> Result<u64, StoreError> {
        let shared = &self.inner.shared;
        let mut total = 0;
        for _ in 0..ORPHAN_PAGES_MAX {
            let (found, ended) =
                in_tx!(LONG_CALL_MAX, self.inner.system, write(), |conn| dispatch::end_orphans(
                    shared, conn
                ))?;
            total += ended;
            if found == 0 {
                break;
            }
        }
        Ok(total)
    }

    async fn begin(&self, id: JobId, worker: &str, lease: Duration) -> Result<Begin, StoreError> {
        let begun = self.inner.begins.run(BeginOp { id, worker: worker.to_owned(), lease }).await?;
        if matches!(begun, Begun::Run(_)) {
            self.inner.shared.confirmations.forget([uuid(id)]);
        }
        let attempt = begun.attempt();
        match (begun.parse(), attempt) {
            (Err(fault), Some(attempt)) => {
                let error = StoreError::from(fault);
                tracing::warn!(job.id = %id, %error, "a job that this version cannot read is left to others");
                let what = match bul_store::unread(attempt, &self.inner.shared.rules, &error) {
                    Unread::Wait(wait) => Other::HandBack { attempt, wait },
                    Unread::Dead(failure) => Other::Fail { attempt, failure },
                };
                Ok(Begin::Skip(self.other(id, what).await?.status.state))
            }
            (parsed, _) => Ok(parsed?),
        }
    }

    async fn extend(&self, id: JobId, attempt: AttemptNo, lease: Duration) -> Result<Extended, StoreError> {
        Ok(self.other(id, Other::Extend { attempt, lease }).await?.extended)
    }

    async fn keep_text(&self, id: JobId, attempt: AttemptNo, text: &KeptText) -> Result<(), StoreError> {
        in_tx!(self.inner.system, write(), |conn| texts::keep(conn, id, attempt, text))
    }

    async fn kept_texts(&self, id: JobId) -> Result<Vec<KeptText>, StoreError> {
        in_tx!(self.inner.system, read(), |conn| texts::kept(conn, id))
    }

    async fn session_turns(
        &self,
        tenant: &TenantId,
        session: &str,
        until: Timestamp,
        limit: usize,
    ) -> Result<Vec<SessionTurn>, StoreError> {
        in_tx!(self.inner.system, read(), |conn| turns::latest(conn, tenant, session, until, limit))
    }

    async fn complete(&self, id: JobId, attempt: AttemptNo, output: &Output) -> Result<(), StoreError> {
        self.inner.completes.run(CompleteOp::new(id, attempt, output)?).await
    }

    async fn fail(&self, id: JobId, attempt: AttemptNo, failure: &Failure) -> Result<JobStatus, StoreError> {
        Ok(self.other(id, Other::Fail { attempt, failure: failure.clone() }).await?.status)
    }

    async fn hand_back(&self, id: JobId, attempt: AttemptNo) -> Result<JobStatus, StoreError> {
        Ok(self.other(id, Other::HandBack { attempt, wait: Duration::ZERO }).await?.status)
    }

    async fn job(&self, tenant: &TenantId, id: JobId) -> Result<JobDetail, StoreError> {
        in_tx!(self.inner.tenant, read_of(tenant), |conn| queries::job(conn, tenant, id))
    }

    async fn jobs(&self, tenant: &TenantId, filter: &JobFilter) -> Result<Vec<JobSummary>, StoreError> {
        in_tx!(self.inner.tenant, read_of(tenant), |conn| queries::jobs(conn, tenant, filter))
    }

    async fn document(&self, tenant: &TenantId, id: JobId, format: Format) -> Result<Vec<u8>, StoreError> {
        in_tx!(self.inner.tenant, read_of(tenant), |conn| queries::document(conn, tenant, id, format))
    }

    async fn cancel(&self, tenant: &TenantId, id: JobId) -> Result<JobStatus, StoreError> {
        let shared = &self.inner.shared;
        in_tx!(self.inner.tenant, write_of(tenant), |conn| queries::cancel(shared, conn, tenant, id))
    }

    async fn place(&self, id: JobId) -> Result<Place, StoreError> {
        let shared = &self.inner.shared;
        in_tx!(self.inner.system, read(), |conn| limits::place(shared, conn, id))
    }

    async fn backlog(&self, filter: &BacklogFilter) -> Result<Vec<Waiting>, StoreError> {
        let (shared, now) = (&self.inner.shared, self.now());
        in_tx!(self.inner.system, read(), |conn| backlog::backlog(shared, conn, filter, now))
    }

    async fn dead_letters(
        &self,
        tenant: &TenantId,
        filter: &DeadFilter,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        in_tx!(self.inner.tenant, read_of(tenant), |conn| dead_letters::list(conn, tenant, filter))
    }

    async fn count_dead_letters(&self, tenant: &TenantId, filter: &DeadFilter) -> Result<u64, StoreError> {
        in_tx!(self.inner.tenant, read_of(tenant), |conn| dead_letters::count_matching(conn, tenant, filter))
    }

    async fn edit_dead_letter(
        &self,
        tenant: &TenantId,
        id: JobId,
        job: &ValidJob,
        actor: &str,
    ) -> Result<(), StoreError> {
        let shared = &self.inner.shared;
        in_tx!(self.inner.tenant, write_of(tenant), |conn| dead_letters::edit(
            shared, conn, tenant, id, job, actor
        ))
    }

    async fn replay(
        &self,
        tenant: &TenantId,
        id: JobId,
        edited: Option<&ValidJob>,
        how: ReplayAs,
        actor: &str,
    ) -> Result<(), StoreError> {
        let shared = &self.inner.shared;
        in_tx!(self.inner.tenant, write_of(tenant), |conn| dead_letters::replay(
            shared, conn, tenant, id, edited, how, actor
        ))
    }

    async fn purge(&self, tenant: &TenantId, id: JobId, actor: &str) -> Result<(), StoreError> {
        let shared = &self.inner.shared;
        in_tx!(self.inner.tenant, write_of(tenant), |conn| dead_letters::purge(
            shared, conn, tenant, id, actor
        ))
    }

    async fn audit(&self, tenant: &TenantId, limit: usize) -> Result<Vec<AuditLine>, StoreError> {
        in_tx!(self.inner.tenant, read_of(tenant), |conn| dead_letters::audit(conn, tenant, limit))
    }

    async fn prune(
        &self,
        keep: &Retention,
        after: Option<JobId>,
        limit: usize,
    ) -> Result<Pruned, StoreError> {
        let shared = &self.inner.shared;
        in_tx!(self.inner.system, write(), |conn| prune::prune(shared, conn, keep, after, limit))
    }

    async fn add_schedule(&self, schedule: &Schedule) -> Result<(), StoreError> {
        let tenant = &schedule.tenant;
        in_tx!(self.inner.tenant, write_of(tenant), |conn| schedules::add(conn, schedule))
    }

    async fn schedules(&self, tenant: &TenantId) -> Result<Vec<Schedule>, StoreError> {
        in_tx!(self.inner.tenant, read_of(tenant), |conn| schedules::list(conn, tenant))
    }

    async fn remove_schedule(&self, tenant: &TenantId, id: ScheduleId) -> Result<(), StoreError> {
        in_tx!(self.inner.tenant, write_of(tenant), |conn| schedules::remove(conn, tenant, id))
    }

    async fn set_schedule(
        &self,
        tenant: &TenantId,
        id: ScheduleId,
        change: ScheduleChange,
    ) -> Result<(), StoreError> {
        in_tx!(self.inner.tenant, write_of(tenant), |conn| schedules::set(conn, tenant, id, change))
    }

    async fn due_schedules(&self, limit: usize) -> Result<Vec<Schedule>, StoreError> {
        let now = self.now();
        in_tx!(self.inner.system, read(), |conn| schedules::due(conn, now, limit))
    }

    async fn fire(
        &self,
        schedule: ScheduleId,
        fires: &[(Timestamp, NewJob)],
        next_at: Option<Timestamp>,
    ) -> Result<Vec<Accepted>, StoreError> {
        let prepare = |(at, job): &(Timestamp, NewJob)| Ok::<_, StoreError>((*at, Prepared::new(job)?));
        let fires = fires.iter().map(prepare).collect::<Result<Vec<_>, _>>()?;
        let shared = &self.inner.shared;
        in_tx!(self.inner.system, write(), |conn| schedules::fire(shared, conn, schedule, &fires, next_at))
    }

    async fn report_breaker(&self, report: &BreakerReport) -> Result<(), StoreError> {
        let now = self.now();
        in_tx!(self.inner.system, write(), |conn| breakers::report(conn, now, report))
    }

    async fn open_breakers(&self) -> Result<Vec<OpenBreaker>, StoreError> {
        let now = self.now();
        in_tx!(self.inner.system, read(), |conn| breakers::open(conn, now))
    }

    async fn attend(&self, process: &str, presence: Presence) -> Result<BTreeSet<String>, StoreError> {
        let now = self.now();
        in_tx!(self.inner.system, write(), |conn| workers::attend(conn, now, process, presence))
    }

    async fn lead(&self, role: &str, holder: &str, lease: Duration) -> Result<bool, StoreError> {
        let now = self.now();
        in_tx!(self.inner.system, write(), |conn| ledger::lead(conn, now, role, holder, lease))
    }

    async fn resign(&self, role: &str, holder: &str) -> Result<(), StoreError> {
        in_tx!(self.inner.system, write(), |conn| ledger::resign(conn, role, holder))
    }

    async fn add_key(&self, key: &ApiKey) -> Result<(), StoreError> {
        in_tx!(self.inner.system, write(), |conn| keys::add(conn, key))
    }

    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        in_tx!(self.inner.system, read(), |conn| keys::list(conn))
    }

    async fn find_key(&self, hash: &[u8; 32]) -> Result<Option<ApiKey>, StoreError> {
        in_tx!(self.inner.system, read(), |conn| keys::find(conn, hash))
    }

    async fn revoke_key(&self, id: &str) -> Result<(), StoreError> {
        let now = self.now();
        in_tx!(self.inner.system, write(), |conn| keys::revoke(conn, now, id))
    }

    async fn ledger(&self) -> Result<Ledger, StoreError> {
        in_tx!(LONG_CALL_MAX, self.inner.system, read(), |conn| ledger::ledger(conn))
    }

    async fn usage(&self, tenant: &TenantId, since: Timestamp) -> Result<Vec<UsageLine>, StoreError> {
        in_tx!(LONG_CALL_MAX, self.inner.tenant, read_of(tenant), |conn| ledger::usage(conn, tenant, since))
    }

    async fn tenant_limits(&self) -> Result<Vec<TenantAccount>, StoreError> {
        let shared = &self.inner.shared;
        in_tx!(self.inner.system, read(), |conn| limits::accounts(shared, conn))
    }

    async fn set_tenant_limits(&self, tenant: &TenantId, own: &OwnLimits) -> Result<(), StoreError> {
        in_tx!(self.inner.system, write(), |conn| limits::set(conn, tenant, own))?;
        self.inner.shared.limits.forget();
        Ok(())
    }

    async fn check(&self) -> Result<(), StoreError> {
        let now = self.now();
        in_tx!(self.inner.system, write(), |conn| ledger::check(conn, now))?;
        self.next_due_at().await.map(drop)
    }

    async fn close(&self) {
        let inner = &self.inner;
        inner.stop.send_replace(());
        let confirmed = inner.shared.confirmations.take_all();
        if let Err(error) = confirm::write(&inner.confirms, &confirmed).await
            && !confirmed.is_empty()
        {
            tracing::warn!(%error, jobs = confirmed.len(), "confirmations are lost; the jobs are published again");
        }
        inner.accepts.close().await;
        inner.begins.close().await;
        inner.completes.close().await;
        inner.others.close().await;
        inner.confirms.close().await;
        [&inner.tenant, &inner.system, &inner.dispatch].iter().for_each(|pool| pool.close());
    }
}
