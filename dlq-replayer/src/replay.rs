//! Replaying and purging many dead letters: chosen, paced, bounded, repeatable.
//!
//! Which ones were done already is known by the store alone, so a call that was cut short is simply
//! made again. [`Tally::record`] decides what an answer of the store means for the rest.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use bul_job::{JobId, TenantId, Timestamp};
use bul_store::{DeadFilter, StoreError};
use serde::Serialize;
use tracing::warn;

use crate::health::{LOOK_AGAIN, Looks};
use crate::pages::Pages;
use crate::{PER_CALL_MAX, Rate, Replayer};

/// Ids named in a report.
const REPORT_IDS_MAX: usize = 20;
/// How long a replay that waits at a terminal halts in all for dependencies that are down.
pub const HALT_MAX: Duration = Duration::from_secs(15 * 60);

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
    /// when this process ends. For requests, which must not last as long as the replay.
    Spread,
}

/// How to replay.
#[derive(Debug, Clone, Default)]
pub struct ReplayOptions {
    /// Speed; `None` for as fast as it goes.
    pub rate: Option<Rate>,
    /// Where the pacing happens.
    pub pace: Pace,
    /// Only count and name the first ids.
    pub dry_run: bool,
    /// Fewer than [`PER_CALL_MAX`].
    pub limit: Option<usize>,
    /// How long the call may halt in all while dependencies of the jobs are down; behind it the call ends
    /// and says so. `None`: [`HALT_MAX`] where the call waits, not at all where it returns at once.
    pub halt_max: Option<Duration>,
    /// Go on although a dependency is down.
    pub ignore_breakers: bool,
}

impl ReplayOptions {
    fn halt_max(&self) -> Duration {
        self.halt_max.unwrap_or(match self.pace {
            Pace::Wait => HALT_MAX,
            Pace::Spread => Duration::ZERO,
        })
    }
}

/// What a replay did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ReplayReport {
    /// Dead letters chosen at the start.
    pub matched: u64,
    /// Put back to work; in a dry run 0.
    pub replayed: u64,
    /// Not dead any more: replayed by an earlier or another call, or unknown.
    pub skipped: u64,
    /// The store refused for another reason.
    pub failed: u64,
    /// Why the call ended before all were done; call again for the rest.
    pub stopped: Option<String>,
    /// In the progress only: why the call halts at present; it goes on by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub halted: Option<String>,
    /// Whether nothing was changed on purpose.
    pub dry_run: bool,
    /// The first ids: of those replayed, in a dry run of those that would be.
    pub ids: Vec<JobId>,
}

/// What a purge did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct PurgeReport {
    /// Dead letters chosen at the start.
    pub matched: u64,
    /// Erased.
    pub purged: u64,
    /// Not dead letters any more.
    pub skipped: u64,
    /// The store refused for another reason.
    pub failed: u64,
    /// Why the call ended before all were done.
    pub stopped: Option<String>,
    /// Whether nothing was changed on purpose.
    pub dry_run: bool,
    /// The first ids.
    pub ids: Vec<JobId>,
}

impl From<ReplayReport> for PurgeReport {
    fn from(r: ReplayReport) -> Self {
        let ReplayReport { matched, replayed, skipped, failed, stopped, halted: _, dry_run, ids } = r;
        Self { matched, purged: replayed, skipped, failed, stopped, dry_run, ids }
    }
}

#[derive(Clone, Copy)]
enum Operation {
    Replay,
    Purge,
}

/// The running account of a call.
#[derive(Debug, Default)]
struct Tally {
    report: ReplayReport,
}

impl Tally {
    /// Takes in one answer. `false`: the store is in trouble, and going on would only add to it.
    fn record(&mut self, id: JobId, answer: Result<(), StoreError>) -> bool {
        let report = &mut self.report;
        match answer {
            Ok(()) => {
                report.replayed += 1;
                if report.ids.len() < REPORT_IDS_MAX {
                    report.ids.push(id);
                }
                true
            }
            Err(StoreError::Refused(_) | StoreError::NotFound(_)) => {
                report.skipped += 1;
                true
            }
            Err(error @ (StoreError::Unavailable(_) | StoreError::Failed(_))) => {
                report.stopped = Some(error.to_string());
                false
            }
            Err(error @ (StoreError::Conflict(_) | StoreError::Corrupt(_))) => {
                warn!(job.id = %id, %error, "dead letter could not be changed");
                report.failed += 1;
                true
            }
        }
    }

    fn done(&self) -> u64 {
        self.report.replayed + self.report.skipped + self.report.failed
    }
}

/// When to look at the dependencies, and how long the call may still halt for them.
struct Halt {
    looks: Looks,
    left: Duration,
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

impl Replayer {
    /// Puts dead letters back to work. `progress` is called after each one, and while the call halts because
    /// a dependency of the jobs is down.
    pub async fn replay(
        &self,
        tenant: &TenantId,
        selection: &Selection,
        options: &ReplayOptions,
        actor: &str,
        progress: &mut (dyn FnMut(&ReplayReport) + Send),
    ) -> Result<ReplayReport, StoreError> {
        self.run(Operation::Replay, tenant, selection, options, actor, progress).await
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
        let report = self.run(Operation::Purge, tenant, selection, &options, actor, &mut |_| {}).await?;
        Ok(report.into())
    }

    async fn run(
        &self,
        operation: Operation,
        tenant: &TenantId,
        selection: &Selection,
        options: &ReplayOptions,
        actor: &str,
        progress: &mut (dyn FnMut(&ReplayReport) + Send),
    ) -> Result<ReplayReport, StoreError> {
        let limit = options.limit.unwrap_or(PER_CALL_MAX).min(PER_CALL_MAX);
        let mut pages = Pages::new(selection);
        let mut tally = Tally::default();
        tally.report.matched = pages.count(self, tenant).await?;
        if options.dry_run {
            tally.report.dry_run = true;
            tally.report.ids = pages.next(self, tenant).await?.into_iter().take(REPORT_IDS_MAX).collect();
            return Ok(tally.report);
        }
        let interval = options.rate.map_or(Duration::ZERO, Rate::interval);
        let mut pacer = Pacer { interval, next: None };
        let mut release_at = self.store.now();
        let mut halt = Halt { looks: Looks::default(), left: options.halt_max() };
        let heeds_breakers = matches!(operation, Operation::Replay) && !options.ignore_breakers;
        let mut seen = HashSet::new();
        loop {
            let page = match pages.next(self, tenant).await {
                Ok(page) => page,
                // What was done before is worth a report.
                Err(error) if tally.done() > 0 => {
                    tally.report.stopped = Some(error.to_string());
                    return Ok(tally.report);
                }
                Err(error) => return Err(error),
            };
            if page.is_empty() {
                return Ok(tally.report);
            }
            for id in page.into_iter().filter(|id| seen.insert(*id)) {
                if tally.done() >= limit as u64 {
                    tally.report.stopped = Some(format!("the limit of {limit} per call is reached"));
                    return Ok(tally.report);
                }
                if heeds_breakers && !self.may_go_on(&mut halt, &mut tally.report, progress).await {
                    return Ok(tally.report);
                }
                let at = match options.pace {
                    Pace::Wait => {
                        let pause = pacer.pause(Instant::now());
                        if !pause.is_zero() {
                            (self.sleep)(pause).await;
                        }
                        None
                    }
                    Pace::Spread => (!interval.is_zero()).then_some(release_at),
                };
                let answer = self.one(operation, tenant, id, at, actor).await;
                if answer.is_ok() {
                    release_at += interval;
                }
                let go_on = tally.record(id, answer);
                progress(&tally.report);
                if !go_on {
                    return Ok(tally.report);
                }
            }
        }
    }

    /// Halts while a dependency is down. False when that lasts too long, or the store does not say.
    async fn may_go_on(
        &self,
        halt: &mut Halt,
        report: &mut ReplayReport,
        progress: &mut (dyn FnMut(&ReplayReport) + Send),
    ) -> bool {
        if !halt.looks.is_due(Instant::now()) {
            return true;
        }
        loop {
            let why = match (self.halted)().await {
                Ok(Some(why)) => why,
                Ok(None) => {
                    report.halted = None;
                    return true;
                }
                Err(error) => {
                    (report.halted, report.stopped) = (None, Some(error.to_string()));
                    return false;
                }
            };
            if halt.left.is_zero() {
                let (done, matched) = (report.replayed, report.matched);
                let rest = "replay the rest once it is back";
                report.halted = None;
                report.stopped = Some(format!("{why}; {done} of {matched} were replayed, {rest}"));
                return false;
            }
            report.halted = Some(why);
            progress(report);
            let pause = LOOK_AGAIN.min(halt.left);
            (self.sleep)(pause).await;
            halt.left -= pause;
        }
    }

    async fn one(
        &self,
        operation: Operation,
        tenant: &TenantId,
        id: JobId,
        at: Option<Timestamp>,
        actor: &str,
    ) -> Result<(), StoreError> {
        match operation {
            Operation::Replay => self.store.replay(tenant, id, at, actor).await,
            Operation::Purge => self.store.purge(tenant, id, actor).await,
        }
    }
}

#[cfg(test)]
mod unit {
    use bul_job::{Refused, State};

    use super::*;

    #[test]
    fn answers_of_the_store_decide_how_it_goes_on() {
        let mut tally = Tally::default();
        let id = JobId::new();
        assert!(tally.record(id, Ok(())));
        assert!(tally.record(id, Err(StoreError::Refused(Refused::Final(State::Completed)))));
        assert!(tally.record(id, Err(StoreError::NotFound("job"))));
        assert!(tally.record(id, Err(StoreError::Corrupt("x".into()))));
        assert!(!tally.record(id, Err(StoreError::Unavailable("gone".into()))));
        let report = tally.report;
        assert_eq!((report.replayed, report.skipped, report.failed), (1, 2, 1));
        assert!(report.stopped.is_some_and(|why| why.contains("gone")));
    }

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
