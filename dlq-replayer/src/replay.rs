//! Replaying and purging many dead letters: chosen, edited, paced, halted, bounded, repeatable.
//!
//! Which ones were done already is known by the store alone, so a call that was cut short is simply
//! made again. A call that returns at once decides no more than [`SPREAD_AHEAD`] in advance: whoever
//! makes the next one meets the breaker that has opened since.

use std::time::{Duration, Instant};

use bul_job::{JobId, TenantId, Timestamp};
use bul_store::{DeadFilter, ReplayAs, StoreError};
use chrono::TimeDelta;
use serde_json::Value;

use crate::health::{LOOK_AGAIN, Looks};
use crate::pages::Pages;
use crate::report::{REPORT_IDS_MAX, Tally};
use crate::{Edit, EditError, EditReport, PER_CALL_MAX, PurgeReport, Rate, ReplayReport, Replayer, Rest};

/// How long a replay that waits at a terminal halts in all for dependencies that are down.
pub const HALT_MAX: Duration = Duration::from_secs(15 * 60);
/// How far ahead a call that returns at once gives out times to run. Too high: that much goes on after a
/// breaker has opened. Too low: slow rates take many calls.
pub const SPREAD_AHEAD: TimeDelta = TimeDelta::seconds(10);

/// Which dead letters.
#[derive(Debug, Clone)]
pub enum Selection {
    /// These; those that are not dead letters (any more) are skipped.
    Ids(Vec<JobId>),
    /// All that match; the page limit in it is ignored.
    Filter(DeadFilter),
}

/// Where the pacing happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Pace {
    /// The call waits between two jobs: ending it leaves the rest dead. For people at a terminal.
    #[default]
    Wait,
    /// The call returns at once; each job gets its own time to run, which the dispatcher keeps even
    /// when this process ends. For requests, which must not last as long as the replay. Ends [`SPREAD_AHEAD`]
    /// in advance and says how to go on, unless breakers are ignored.
    Spread,
}

/// How to replay.
#[derive(Debug, Clone, Default)]
pub struct ReplayOptions {
    /// Speed; `None` for as fast as it goes.
    pub rate: Option<Rate>,
    /// Where the pacing happens.
    pub pace: Pace,
    /// Only count, name the first ids and show what the patch would change in them.
    pub dry_run: bool,
    /// Fewer than [`PER_CALL_MAX`].
    pub limit: Option<usize>,
    /// How long the call may halt in all while dependencies of the jobs are down; behind it the call ends
    /// and says so. `None`: [`HALT_MAX`] where the call waits, not at all where it returns at once.
    pub halt_max: Option<Duration>,
    /// Go on although a dependency is down.
    pub ignore_breakers: bool,
    /// Merge patch (RFC 7396) of each job, in one transaction with its replay. A job that it does not fit stays dead.
    pub patch: Option<Value>,
    /// Begin behind this one, as [`Rest`] of the call before says.
    pub after: Option<JobId>,
}

impl ReplayOptions {
    fn halt_max(&self) -> Duration {
        self.halt_max.unwrap_or(match self.pace {
            Pace::Wait => HALT_MAX,
            Pace::Spread => Duration::ZERO,
        })
    }

    fn interval(&self) -> Duration {
        self.rate.map_or(Duration::ZERO, Rate::interval)
    }
}

#[derive(Clone, Copy)]
enum Operation {
    Replay,
    Purge,
}

/// Even spacing that never makes up for lost time by a burst.
struct Pacer {
    interval: Duration,
    next: Option<Instant>,
}

impl Pacer {
    /// How long to wait before the next job.
    fn pause(&mut self, now: Instant) -> Duration {
        let at = self.next.unwrap_or(now).max(now);
        self.next = Some(at + self.interval);
        at - now
    }
}

/// One call under way.
struct Call<'a> {
    operation: Operation,
    tenant: &'a TenantId,
    options: &'a ReplayOptions,
    actor: &'a str,
    tally: Tally,
    /// When to look at the dependencies, and how long the call may still halt for them.
    looks: Looks,
    halt_left: Duration,
    pacer: Pacer,
    begun: Timestamp,
    /// When the next job that is spread runs.
    release_at: Timestamp,
    /// The last one that is done with.
    after: Option<JobId>,
}

impl<'a> Call<'a> {
    fn new(
        operation: Operation,
        tenant: &'a TenantId,
        options: &'a ReplayOptions,
        actor: &'a str,
        now: Timestamp,
    ) -> Self {
        Self {
            operation,
            tenant,
            options,
            actor,
            tally: Tally::default(),
            looks: Looks::default(),
            halt_left: options.halt_max(),
            pacer: Pacer { interval: options.interval(), next: None },
            begun: now,
            release_at: now,
            after: options.after,
        }
    }

    fn heeds_breakers(&self) -> bool {
        matches!(self.operation, Operation::Replay) && !self.options.ignore_breakers
    }

    fn is_spread(&self) -> bool {
        self.options.pace == Pace::Spread && !self.pacer.interval.is_zero()
    }

    /// Whether enough is decided in advance.
    fn is_ahead(&self) -> bool {
        self.is_spread() && self.heeds_breakers() && self.release_at - self.begun > SPREAD_AHEAD
    }

    /// Ends early; the rest may be asked for after `wait`, or not at all by the same caller.
    fn stop(&mut self, why: String, wait: Option<Duration>) {
        self.tally.report.stopped = Some(why);
        self.tally.report.rest = wait.map(|wait| Rest { after: self.after, wait });
    }

    /// Takes in an answer; false when the call ends with it.
    fn record(&mut self, id: JobId, answer: Result<Option<EditReport>, EditError>) -> bool {
        if answer.is_ok() {
            self.release_at += self.pacer.interval;
        }
        let go_on = self.tally.record(id, answer);
        if go_on {
            self.after = Some(id);
        }
        go_on
    }
}

/// Told after each job, and while the call halts.
type Progress<'a> = &'a mut (dyn FnMut(&ReplayReport) + Send);

impl Replayer {
    /// Puts dead letters back to work. `progress` is called after each one, and while the call halts because
    /// a dependency of the jobs is down.
    pub async fn replay(
        &self,
        tenant: &TenantId,
        selection: &Selection,
        options: &ReplayOptions,
        actor: &str,
        progress: Progress<'_>,
    ) -> Result<ReplayReport, StoreError> {
        let call = Call::new(Operation::Replay, tenant, options, actor, self.store.now());
        self.run(call, selection, progress).await
    }

    /// Erases dead letters for good.
    pub async fn purge_many(
        &self,
        tenant: &TenantId,
        selection: &Selection,
        dry_run: bool,
        actor: &str,
    ) -> Result<PurgeReport, StoreError> {
        let options = ReplayOptions { dry_run, ..ReplayOptions::default() };
        let call = Call::new(Operation::Purge, tenant, &options, actor, self.store.now());
        Ok(self.run(call, selection, &mut |_| {}).await?.into())
    }

    async fn run(
        &self,
        mut call: Call<'_>,
        selection: &Selection,
        progress: Progress<'_>,
    ) -> Result<ReplayReport, StoreError> {
        let mut pages = Pages::new(selection, call.options.after);
        call.tally.report.matched = pages.count(self, call.tenant).await?;
        if call.options.dry_run {
            return self.foresee(call, pages).await;
        }
        loop {
            let page = match pages.next(self, call.tenant).await {
                Ok(page) => page,
                // What was done before is worth a report.
                Err(error) if call.tally.done() > 0 => {
                    call.stop(error.to_string(), None);
                    return Ok(call.tally.report);
                }
                Err(error) => return Err(error),
            };
            if page.is_empty() {
                return Ok(call.tally.report);
            }
            for id in page {
                if !self.may_go_on(&mut call, progress).await {
                    return Ok(call.tally.report);
                }
                let at = self.turn(&mut call).await;
                let answer = self.one(&call, id, at).await;
                let go_on = call.record(id, answer);
                progress(&call.tally.report);
                if !go_on {
                    return Ok(call.tally.report);
                }
            }
        }
    }

    /// What the call would do.
    async fn foresee(&self, mut call: Call<'_>, mut pages: Pages) -> Result<ReplayReport, StoreError> {
        let page = pages.next(self, call.tenant).await?;
        let ids: Vec<JobId> = page.into_iter().take(REPORT_IDS_MAX).collect();
        for id in ids.iter().copied() {
            let Some(patch) = &call.options.patch else { break };
            match self.preview(call.tenant, id, Edit::Patch(patch.clone())).await {
                // It would be skipped.
                Err(EditError::Store(StoreError::NotFound(_))) => {}
                Err(EditError::Store(error)) => return Err(error),
                answer => call.tally.foresee(id, answer),
            }
        }
        let halted = if call.heeds_breakers() { (self.halted)().await? } else { None };
        let report = ReplayReport { dry_run: true, ids, halted, ..call.tally.report };
        Ok(report)
    }

    /// Whether another job may be done. Halts while a dependency is down; false when that lasts too long, the store
    /// does not say, or the call has done all it may.
    async fn may_go_on(&self, call: &mut Call<'_>, progress: Progress<'_>) -> bool {
        let limit = call.options.limit.unwrap_or(PER_CALL_MAX).min(PER_CALL_MAX);
        if call.tally.done() >= limit as u64 {
            call.stop(format!("the limit of {limit} per call is reached"), None);
            return false;
        }
        if call.is_ahead() {
            let seconds = SPREAD_AHEAD.num_seconds();
            let wait = (call.release_at - self.store.now()).to_std().unwrap_or_default();
            let (done, matched) = (call.tally.report.replayed, call.tally.report.matched);
            let why = format!("{done} of {matched} have their time to run, {seconds} s in advance");
            call.stop(format!("{why}; ask again for the rest, or ignore breakers"), Some(wait));
            return false;
        }
        if !call.heeds_breakers() || !call.looks.is_due(Instant::now()) {
            return true;
        }
        loop {
            let why = match (self.halted)().await {
                Ok(Some(why)) => why,
                Ok(None) => {
                    call.tally.report.halted = None;
                    return true;
                }
                Err(error) => {
                    call.tally.report.halted = None;
                    call.stop(error.to_string(), None);
                    return false;
                }
            };
            call.tally.report.halted = Some(why.clone());
            if call.halt_left.is_zero() {
                let (done, matched) = (call.tally.report.replayed, call.tally.report.matched);
                let rest = "replay the rest once it is back";
                call.stop(format!("{why}; {done} of {matched} were replayed, {rest}"), Some(LOOK_AGAIN));
                return false;
            }
            progress(&call.tally.report);
            let pause = LOOK_AGAIN.min(call.halt_left);
            (self.sleep)(pause).await;
            call.halt_left -= pause;
        }
    }

    /// Waits for the turn of the next job, or says when it runs.
    async fn turn(&self, call: &mut Call<'_>) -> Option<Timestamp> {
        match call.options.pace {
            Pace::Wait => {
                let pause = call.pacer.pause(Instant::now());
                if !pause.is_zero() {
                    (self.sleep)(pause).await;
                }
                None
            }
            Pace::Spread => call.is_spread().then_some(call.release_at),
        }
    }

    async fn one(
        &self,
        call: &Call<'_>,
        id: JobId,
        at: Option<Timestamp>,
    ) -> Result<Option<EditReport>, EditError> {
        match call.operation {
            Operation::Replay => {
                let how = ReplayAs { at, forced: call.options.ignore_breakers };
                self.replay_patched(call.tenant, id, how, call.options.patch.as_ref(), call.actor).await
            }
            Operation::Purge => Ok(self.store.purge(call.tenant, id, call.actor).await.map(|()| None)?),
        }
    }
}

#[cfg(test)]
mod unit {
    use super::*;

    #[test]
    fn a_pacer_spaces_evenly_and_never_bursts() {
        let start = Instant::now();
        let interval = Duration::from_millis(100);
        let mut pacer = Pacer { interval, next: None };
        assert_eq!(pacer.pause(start), Duration::ZERO);
        assert_eq!(pacer.pause(start), interval);
        // Far behind: no pause, and the next one is a full interval away again.
        let late = start + Duration::from_secs(10);
        assert_eq!(pacer.pause(late), Duration::ZERO);
        assert_eq!(pacer.pause(late), interval);
    }
}
