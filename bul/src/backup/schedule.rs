//! Backups by the calendar, in the process that has the scheduler's role.

use std::path::PathBuf;
use std::time::Duration;

use bul_job::{ScheduleSpec, Timestamp};
use chrono::Utc;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Parts, create};
use crate::exit::Fault;

/// Longest sleep: after it the clock is read again, which may have been set.
const SLEEP_MAX: Duration = Duration::from_secs(60);

/// When to make backups, and where.
#[derive(Debug, Clone)]
pub struct Schedule {
    parts: Parts,
    folder: PathBuf,
    keep: usize,
    cron: ScheduleSpec,
}

impl Schedule {
    /// A schedule in UTC.
    ///
    /// # Errors
    /// When the expression is wrong or never comes true.
    pub fn new(parts: Parts, folder: PathBuf, keep: usize, cron: &str) -> anyhow::Result<Self> {
        let wrong = |error| Fault::usage(format!("backup.cron: {error}"));
        let cron = ScheduleSpec::parse(cron, "UTC").map_err(wrong)?;
        cron.first_after(Utc::now()).map_err(wrong)?;
        Ok(Self { parts, folder, keep, cron })
    }

    /// The fire after a backup of `made` for which there is none although a second one has come since; the first may be
    /// under way.
    pub fn overdue(&self, made: Timestamp, now: Timestamp) -> Option<Timestamp> {
        let first = self.cron.next_after(made)?;
        let second = self.cron.next_after(first)?;
        (second <= now).then_some(first)
    }

    /// Runs until `stopping`. One that is due while the process is down is not made up for: the next one holds all of it.
    pub fn run(self, stopping: CancellationToken) -> BoxFuture<'static, ()> {
        async move {
            let mut next = self.cron.next_after(Utc::now());
            while let Some(due) = next {
                let wait = (due - Utc::now()).to_std().unwrap_or(Duration::ZERO).min(SLEEP_MAX);
                tokio::select! {
                    () = stopping.cancelled() => return,
                    () = tokio::time::sleep(wait) => {}
                }
                if due <= Utc::now() {
                    self.once(Utc::now()).await;
                    next = self.cron.next_after(Utc::now());
                }
            }
        }
        .boxed()
    }

    async fn once(&self, now: Timestamp) {
        match create(&self.parts, &self.folder, self.keep, now).await {
            Ok((backup, removed)) => {
                let (files, bytes) = (backup.manifest.files.len(), backup.manifest.bytes());
                info!(backup = backup.name, files, bytes, removed = removed.len(), "backup made");
            }
            Err(error) => {
                warn!(error = format!("{error:#}"), folder = %self.folder.display(), "no backup made")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn a_backup_is_overdue_once_two_were_missed() {
        let parts = Parts { store: None, caches: Vec::new() };
        let schedule = Schedule::new(parts.clone(), "b".into(), 3, "0 3 * * *").unwrap();
        let made: Timestamp = "2026-11-27T03:00:05Z".parse().unwrap();
        assert_eq!(schedule.overdue(made, made + TimeDelta::hours(47)), None);
        let missed = schedule.overdue(made, made + TimeDelta::hours(48));
        assert_eq!(missed, Some("2026-11-28T03:00:00Z".parse().unwrap()));
        let wrong = Schedule::new(parts, "b".into(), 3, "0 25 * * *").unwrap_err();
        assert!(wrong.to_string().starts_with("backup.cron: "), "{wrong}");
    }
}
