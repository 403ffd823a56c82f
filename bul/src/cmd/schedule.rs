//! `bul schedule`: jobs that come by the calendar.

use bul_job::{MissedPolicy, ScheduleSpec, Timestamp};
use bul_producer::ingest::Hints;
use bul_store::Schedule;
use chrono::Utc;
use chrono_tz::Tz;
use clap::{Subcommand, ValueEnum};
use serde_json::json;

use crate::client::Backend;
use crate::client::input;
use crate::client::print::{cut, relative, table};
use crate::client::types::{NewSchedule, Receipt};
use crate::context::Context;
use crate::exit::{Exit, Fault};

/// Fires that are told at most.
const NEXT_MAX: u64 = 100;

/// Jobs that come by the calendar.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A cron expression has five fields: minute, hour, day of month, month, day of week; @hourly, @daily, @weekly and the like are understood. It follows the wall clock of its time zone: in the hour that daylight saving skips or repeats, a fixed time fires once.\n\nExamples:\n  bul schedule add weekly-sales --cron '0 9 * * MON' --timezone Europe/Berlin report.json\n  bul schedule next weekly-sales --count 3\n  bul schedule pause weekly-sales"
)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// All schedules
    #[command(after_help = "Example:\n  bul schedule list -o json")]
    List,
    /// Add a schedule
    #[command(
        after_help = "Examples:\n  bul schedule add weekly --cron '0 9 * * MON' --timezone Europe/Berlin report.json\n  echo '{\"query\":\"Plan of the day\"}' | bul schedule add plan --cron @daily -"
    )]
    Add {
        /// Name: letters, digits, '-', '_' and '.'
        name: String,
        /// Cron expression
        #[arg(long, value_name = "EXPR")]
        cron: String,
        /// IANA time zone
        #[arg(long, value_name = "ZONE", default_value = "UTC")]
        timezone: String,
        /// What becomes of fires that were missed while nothing was running
        #[arg(long, value_enum, default_value = "once")]
        missed: Missed,
        /// File with the one job to make; - for standard input
        #[arg(value_name = "FILE")]
        file: String,
    },
    /// Remove a schedule; jobs it has made stay
    #[command(after_help = "Example:\n  bul schedule remove weekly-sales")]
    Remove {
        /// Name
        name: String,
    },
    /// Stop firing until it is resumed
    #[command(after_help = "Example:\n  bul schedule pause weekly-sales")]
    Pause {
        /// Name
        name: String,
    },
    /// Fire again from now on; what was missed while paused is not made up for
    #[command(after_help = "Example:\n  bul schedule resume weekly-sales")]
    Resume {
        /// Name
        name: String,
    },
    /// Make the job now, beside the calendar
    #[command(after_help = "Example:\n  bul schedule run-now weekly-sales")]
    RunNow {
        /// Name
        name: String,
    },
    /// When it will fire
    #[command(after_help = "Example:\n  bul schedule next weekly-sales --count 10")]
    Next {
        /// Name
        name: String,
        /// How many fires
        #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=NEXT_MAX))]
        count: u64,
    },
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Missed {
    /// Forget them
    Skip,
    /// One job for all of them
    Once,
    /// A job for each, the latest 100 at most
    All,
}

impl From<Missed> for MissedPolicy {
    fn from(missed: Missed) -> Self {
        match missed {
            Missed::Skip => Self::Skip,
            Missed::Once => Self::Once,
            Missed::All => Self::All,
        }
    }
}

/// Runs the command.
pub async fn run(args: Args, context: &Context) -> anyhow::Result<Exit> {
    // A mistake in the file or expression is told before any connection is made.
    let new = if let Action::Add { name, cron, timezone, missed, file } = &args.action {
        Some(read_new(name, cron, timezone, *missed, file)?)
    } else {
        None
    };
    let backend = Backend::open(context).await?;
    let result = match new {
        Some(new) => add(&backend, context, &new).await,
        None => act(args.action, &backend, context).await,
    };
    backend.close().await;
    result
}

async fn act(action: Action, backend: &Backend, context: &Context) -> anyhow::Result<Exit> {
    match action {
        Action::Add { .. } => {}
        Action::List => {
            let all = backend.schedules().await?;
            context.print(&all, || list_text(&all))?;
        }
        Action::Remove { name } => {
            backend.remove_schedule(&find(backend, &name).await?).await?;
            context
                .print(&json!({"name": name, "removed": true}), || format!("schedule {name} is removed"))?;
        }
        Action::Pause { name } => pause(backend, context, &name, true).await?,
        Action::Resume { name } => pause(backend, context, &name, false).await?,
        Action::RunNow { name } => match backend.run_schedule(&find(backend, &name).await?).await? {
            Receipt::Accepted { id, state, existing } => {
                let value = json!({"id": id, "state": state, "existing": existing});
                context.print(&value, || format!("{id}  {state}"))?;
            }
            Receipt::Conflict { id } => {
                return Err(Fault::failed(format!("the job's idempotency key belongs to job {id}")).into());
            }
        },
        Action::Next { name, count } => next(&find(backend, &name).await?, count as usize, context)?,
    }
    Ok(Exit::Done)
}

async fn find(backend: &Backend, name: &str) -> anyhow::Result<Schedule> {
    let all = backend.schedules().await?;
    let known: Vec<String> = all.iter().map(|s| s.name.clone()).take(10).collect();
    let found = all.into_iter().find(|schedule| schedule.name == name);
    Ok(found.ok_or_else(|| {
        let fault = Fault::not_found(format!("there is no schedule {name:?}"));
        if known.is_empty() { fault } else { fault.hint(format!("there are: {}", known.join(", "))) }
    })?)
}

fn read_new(name: &str, cron: &str, zone: &str, missed: Missed, file: &str) -> anyhow::Result<NewSchedule> {
    let name_ok = (1..=100).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if !name_ok {
        let message =
            "the name must be 1 to 100 letters, digits, '-', '_' or '.', beginning with a letter or digit";
        return Err(Fault::usage(message).into());
    }
    let spec = ScheduleSpec::parse(cron, zone).map_err(|e| Fault::usage(e.to_string()))?;
    spec.first_after(Utc::now()).map_err(|e| Fault::usage(e.to_string()))?;
    let given = input::read_files(&[file.to_owned()], None, &Hints::default())?;
    input::check(&given)?;
    let [one] = given.as_slice() else {
        return Err(Fault::usage(format!("{file} holds {} jobs, a schedule makes one", given.len())).into());
    };
    let job = one.job.clone();
    let once = [
        ("run_at", job.run_at.is_some()),
        ("deadline", job.deadline.is_some()),
        ("idempotency_key", job.idempotency_key.is_some()),
    ];
    if let Some((field, _)) = once.into_iter().find(|(_, given)| *given) {
        let message =
            format!("{file}: /{field}: is not possible in a schedule, every fire makes a job of its own");
        return Err(Fault::usage(message).into());
    }
    Ok(NewSchedule {
        name: name.to_owned(),
        cron: cron.to_owned(),
        zone: zone.to_owned(),
        missed: missed.into(),
        job,
    })
}

async fn add(backend: &Backend, context: &Context, new: &NewSchedule) -> anyhow::Result<Exit> {
    let added = backend.add_schedule(new).await?;
    context.print(&added, || {
        let next = added.next_at.map_or_else(|| "never".into(), |at| local(at, &added.zone, Utc::now()));
        format!("schedule {} is added; it fires next at {next}", added.name)
    })?;
    Ok(Exit::Done)
}

async fn pause(backend: &Backend, context: &Context, name: &str, paused: bool) -> anyhow::Result<()> {
    let schedule = find(backend, name).await?;
    if schedule.paused != paused {
        backend.pause_schedule(&schedule, paused).await?;
    }
    let word = if paused { "paused" } else { "active" };
    context.print(&json!({"name": name, "paused": paused}), || format!("schedule {name} is {word}"))
}

fn next(schedule: &Schedule, count: usize, context: &Context) -> anyhow::Result<()> {
    let spec = ScheduleSpec::parse(&schedule.cron, &schedule.zone)?;
    let now = Utc::now();
    let first = spec.next_after(now);
    let fires: Vec<Timestamp> =
        std::iter::successors(first, |fire| spec.next_after(*fire)).take(count).collect();
    let value = json!({"name": schedule.name, "paused": schedule.paused, "next": fires});
    context.print(&value, || {
        let lines: Vec<String> = fires.iter().map(|fire| local(*fire, &schedule.zone, now)).collect();
        lines.join("\n")
    })?;
    if schedule.paused {
        eprintln!("the schedule is paused: it does not fire until it is resumed");
    }
    Ok(())
}

/// The wall clock of the zone, which is what a schedule follows.
fn local(at: Timestamp, zone: &str, now: Timestamp) -> String {
    let shown = match zone.parse::<Tz>() {
        Ok(zone) => at.with_timezone(&zone).format("%a %Y-%m-%d %H:%M %Z").to_string(),
        Err(_) => at.format("%a %Y-%m-%d %H:%M UTC").to_string(),
    };
    format!("{shown} ({})", relative(at, now))
}

fn list_text(all: &[Schedule]) -> String {
    if all.is_empty() {
        return "there are no schedules; add one with: bul schedule add".into();
    }
    let now = Utc::now();
    let row = |schedule: &Schedule| {
        let next = match (schedule.paused, schedule.next_at) {
            (true, _) => "paused".into(),
            (false, Some(at)) => relative(at.max(now), now),
            (false, None) => "never".into(),
        };
        let last = schedule.last_at.map_or_else(|| "-".into(), |at| relative(at, now));
        let job = schedule.job.template.clone().or(schedule.job.query.clone()).unwrap_or_default();
        vec![cut(&schedule.name, 20), schedule.cron.clone(), schedule.zone.clone(), next, last, cut(&job, 16)]
    };
    table(&["NAME", "CRON", "ZONE", "NEXT", "LAST", "JOB"], &all.iter().map(row).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, cron: &str, zone: &str, job: &str) -> Result<NewSchedule, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("job.json");
        std::fs::write(&file, job).unwrap();
        read_new(name, cron, zone, Missed::Once, &file.display().to_string()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_schedule_is_checked_before_it_is_sent() {
        let job = r#"{"query":"x"}"#;
        assert_eq!(
            read("weekly", "0 9 * * MON", "Europe/Berlin", job).unwrap().job.query.as_deref(),
            Some("x")
        );
        assert!(read("a b", "0 9 * * MON", "UTC", job).unwrap_err().contains("name"));
        assert!(read("a", "0 9 * *", "UTC", job).unwrap_err().contains("cron"));
        assert!(read("a", "0 9 * * 1", "Berlin", job).unwrap_err().contains("time zone"));
        assert!(read("a", "0 0 30 2 *", "UTC", job).unwrap_err().contains("never fires"));
        assert!(
            read("a", "@daily", "UTC", r#"[{"query":"x"},{"query":"y"}]"#)
                .unwrap_err()
                .contains("holds 2 jobs")
        );
        assert!(read("a", "@daily", "UTC", r#"{"formats":[]}"#).unwrap_err().contains("/template"));
    }

    #[test]
    fn fires_are_told_on_the_wall_clock() {
        let at: Timestamp = "2026-07-06T07:00:00Z".parse().unwrap();
        assert_eq!(local(at, "Europe/Berlin", at), "Mon 2026-07-06 09:00 CEST (0 s ago)");
    }
}
