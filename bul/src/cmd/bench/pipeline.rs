//! `bul bench pipeline`: throughput first, then latency at a steady rate.
//!
//! Throughput is the number of jobs over the time from the first submission to the last committed result; latency runs from
//! the call of submit to the event that follows the commit. Both are checked against the ledger: a run that lost a job is
//! an error, not a figure.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use bul_broker::EventFilter;
use bul_job::{JobId, TenantId};
use bul_producer::{Intake, Outcome, SubmitMode};
use bul_telemetry::names;
use futures::StreamExt;
use prometheus::Registry;
use serde::Serialize;

use super::load;
use super::processes::{self, Processes};
use crate::context::Context;
use crate::exit::Exit;
use crate::system::System;
use crate::wire;

/// Longest wait for the next completion; then the run counts as stuck.
const STUCK_AFTER: Duration = Duration::from_secs(60);
/// Longest wait for the event behind a commit.
const EVENTS_WAIT: Duration = Duration::from_secs(5);
/// How often completions are counted: in this process, and by asking others.
const LOOK_EVERY: Duration = Duration::from_millis(5);
const ASK_EVERY: Duration = Duration::from_millis(25);

/// Options of `bul bench pipeline`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Jobs of a throughput run
    #[arg(long, default_value_t = 20_000)]
    jobs: u64,
    /// Throughput runs; the median is reported, with the smallest and largest
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Jobs in one submission
    #[arg(long, default_value_t = 500)]
    batch: u64,
    /// Submissions under way at the same time
    #[arg(long, default_value_t = 1)]
    submitters: usize,
    /// Workers
    #[arg(long, default_value_t = 1)]
    replicas: usize,
    /// Worker processes of their own instead of workers in this one
    #[arg(long, default_value_t = 0, conflicts_with_all = ["replicas", "backlog"])]
    processes: usize,
    /// Jobs in work at the same time, per worker
    #[arg(long, default_value_t = 512)]
    concurrency: usize,
    /// Bytes of a job
    #[arg(long, default_value_t = 500)]
    payload: usize,
    /// Jobs per second of the latency run; 0 for none
    #[arg(long, default_value_t = 100)]
    rate: u64,
    /// Jobs of the latency run
    #[arg(long, default_value_t = 1_000)]
    latency_jobs: u64,
    /// Submit all jobs before the first worker starts: what a backlog costs
    #[arg(long)]
    backlog: bool,
}

/// What was measured.
#[derive(Debug, Serialize)]
struct Report {
    store: String,
    broker: String,
    jobs: u64,
    replicas: usize,
    processes: usize,
    concurrency: usize,
    payload_bytes: usize,
    /// More than there were jobs: some were done twice, or others than this run's.
    completed_attempts: u64,
    jobs_per_s: f64,
    jobs_per_s_all: Vec<f64>,
    rate: u64,
    p50_ms: Option<f64>,
    p99_ms: Option<f64>,
    /// Of this process.
    peak_mb: f64,
    /// Of each worker process.
    workers_peak_mb: Vec<f64>,
}

/// Runs the benchmark on the configured store and broker.
pub async fn run(args: Args, context: &Context) -> anyhow::Result<Exit> {
    ensure!(args.jobs > 0 && args.runs > 0, "--jobs and --runs must be at least 1");
    let folder = tempfile::tempdir()?;
    load::write_template(folder.path())?;
    let context = load::scripted(context, args.concurrency, args.jobs, folder.path());
    let workers = if args.backlog || args.processes > 0 { 0 } else { args.replicas.max(1) };
    if args.processes > 0 {
        processes::check(&wire::store_spec(&context)?, &wire::broker_spec(context.config())?)?;
    }
    let measuring = async |system: &mut System| {
        let others = match args.processes {
            0 => None,
            count => Some(Processes::start(&context, count, folder.path()).await?),
        };
        let report = measure(&args, &context, system, others.as_ref()).await?;
        if let Some(others) = others {
            others.stop().await?;
        }
        Ok(report)
    };
    let report = load::on_system(&context, workers, measuring).await?;
    context.print(&report, || text(&report))?;
    Ok(Exit::Done)
}

async fn measure(
    args: &Args,
    context: &Context,
    system: &mut System,
    others: Option<&Processes>,
) -> anyhow::Result<Report> {
    let tenant = load::tenant()?;
    let mut all = Vec::new();
    for _ in 0..args.runs {
        all.push(throughput(args, context, system, others, &tenant).await?);
    }
    let latencies = latencies(args, system, others, &tenant).await?;
    let ledger = system.store.ledger().await?;
    let counts = ledger.tenants.get(&tenant).copied().unwrap_or_default();
    let expected = args.jobs * args.runs as u64 + latencies.len() as u64;
    ensure!(
        counts.balances() && counts.completed == expected,
        "of {expected} jobs {} are completed and {} dead",
        counts.completed,
        counts.dead
    );
    let (store, broker) = (system.store.info(), system.broker.info());
    Ok(Report {
        store: format!("{} {}", store.kind, store.version),
        broker: format!("{} {}", broker.kind, broker.version),
        jobs: args.jobs,
        replicas: args.replicas,
        processes: args.processes,
        concurrency: args.concurrency,
        payload_bytes: args.payload,
        completed_attempts: completed(&system.registry, others).await?,
        jobs_per_s: load::median(&all),
        jobs_per_s_all: all,
        rate: args.rate,
        p50_ms: load::at(&latencies, 0.5),
        p99_ms: load::at(&latencies, 0.99),
        peak_mb: peak_mb("self"),
        workers_peak_mb: others.map(Processes::peaks_mb).unwrap_or_default(),
    })
}

async fn throughput(
    args: &Args,
    context: &Context,
    system: &mut System,
    others: Option<&Processes>,
    tenant: &TenantId,
) -> anyhow::Result<f64> {
    let before = completed(&system.registry, others).await?;
    let mut started = Instant::now();
    submit_all(args, &system.intake(), tenant).await?;
    if args.backlog && system.model.is_none() {
        started = Instant::now();
        system.add_workers(context, args.replicas.max(1)).await?;
    }
    let (mut seen, mut changed) = (before, Instant::now());
    while seen < before + args.jobs {
        tokio::time::sleep(if others.is_some() { ASK_EVERY } else { LOOK_EVERY }).await;
        let now = completed(&system.registry, others).await?;
        if now > seen {
            (seen, changed) = (now, Instant::now());
        }
        ensure!(changed.elapsed() < STUCK_AFTER, "only {} of {} jobs came through", seen - before, args.jobs);
    }
    Ok(args.jobs as f64 / started.elapsed().as_secs_f64())
}

/// Submits in batches, several at a time.
async fn submit_all(args: &Args, intake: &Intake, tenant: &TenantId) -> anyhow::Result<()> {
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..args.submitters.max(1) {
        let (intake, tenant, next) = (intake.clone(), tenant.clone(), next.clone());
        let (jobs, batch, payload) = (args.jobs, args.batch.clamp(1, 1_000), args.payload);
        tasks.spawn(async move {
            loop {
                let from = next.fetch_add(batch, Ordering::Relaxed);
                if from >= jobs {
                    return anyhow::Ok(());
                }
                let list = (from..jobs.min(from + batch)).map(|n| (load::job(n, payload), String::new()));
                intake.submit(&tenant, list.collect(), "bench", SubmitMode::AllOrNothing).await?;
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    Ok(())
}

/// Milliseconds from submission to the event behind the commit, in order of size.
async fn latencies(
    args: &Args,
    system: &System,
    others: Option<&Processes>,
    tenant: &TenantId,
) -> anyhow::Result<Vec<f64>> {
    if args.rate == 0 || args.latency_jobs == 0 {
        return Ok(Vec::new());
    }
    let filter = EventFilter { tenant: tenant.clone(), job: None };
    let mut events = system.broker.events(filter).await?;
    let (heard, mut ends) = tokio::sync::mpsc::channel(args.latency_jobs as usize);
    let listener = tokio::spawn(async move {
        while let Some(event) = events.next().await {
            if event.is_final() && heard.send((event.job, Instant::now())).await.is_err() {
                return;
            }
        }
    });
    let intake = system.intake();
    let mut clock = tokio::time::interval(Duration::from_secs_f64(1.0 / args.rate as f64));
    let before = completed(&system.registry, others).await?;
    let mut calls = tokio::task::JoinSet::new();
    for n in 0..args.latency_jobs {
        clock.tick().await;
        let (intake, tenant, payload) = (intake.clone(), tenant.clone(), args.payload);
        calls.spawn(async move {
            let started = Instant::now();
            let list = vec![(load::job(n, payload), String::new())];
            let answers = intake.submit(&tenant, list, "bench", SubmitMode::AllOrNothing).await?;
            match answers.first().map(|answer| &answer.outcome) {
                Some(Outcome::New { id, .. }) => anyhow::Ok((*id, started)),
                other => anyhow::bail!("the job was not accepted: {other:?}"),
            }
        });
    }
    let mut starts: Vec<(JobId, Instant)> = Vec::new();
    while let Some(call) = calls.join_next().await {
        starts.push(call??);
    }
    let end = Instant::now() + STUCK_AFTER;
    while completed(&system.registry, others).await? < before + args.latency_jobs {
        ensure!(Instant::now() < end, "jobs of the latency run did not come through");
        tokio::time::sleep(ASK_EVERY).await;
    }
    let mut ended = HashMap::new();
    while ended.len() < starts.len() {
        match tokio::time::timeout(EVENTS_WAIT, ends.recv()).await {
            Ok(Some((job, at))) => ended.insert(job, at),
            Ok(None) | Err(_) => {
                anyhow::bail!("{} completions were not announced", starts.len() - ended.len())
            }
        };
    }
    listener.abort();
    let taken = |(id, started): &(JobId, Instant)| Some(ended.get(id)?.duration_since(*started));
    let mut out: Vec<f64> = starts.iter().filter_map(taken).map(|time| time.as_secs_f64() * 1e3).collect();
    out.sort_by(f64::total_cmp);
    Ok(out)
}

/// Attempts that completed, by the workers' own counters, which rise behind the commit.
async fn completed(registry: &Registry, others: Option<&Processes>) -> anyhow::Result<u64> {
    match others {
        Some(others) => others.completed().await,
        None => Ok(completed_here(registry)),
    }
}

fn completed_here(registry: &Registry) -> u64 {
    let families = registry.gather();
    let family = families.iter().find(|family| family.name() == names::ATTEMPTS.name);
    let is_completed = |metric: &prometheus::proto::Metric| {
        metric.get_label().iter().any(|l| l.name() == "outcome" && l.value() == "completed")
    };
    family.map_or(0.0, |family| {
        let metrics = family.get_metric().iter().filter(|metric| is_completed(metric));
        metrics.map(|metric| metric.get_counter().get_value()).sum()
    }) as u64
}

/// Largest resident memory of a process so far; `process` is its number or `self`.
pub(super) fn peak_mb(process: &str) -> f64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib: f64 = line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0.0);
    kib / 1024.0
}

fn text(report: &Report) -> String {
    let all: Vec<String> = report.jobs_per_s_all.iter().map(|n| format!("{n:.0}")).collect();
    let latency = match (report.p50_ms, report.p99_ms) {
        (Some(p50), Some(p99)) => format!("{p50:.2} / {p99:.2} ms at {} jobs/s", report.rate),
        _ => "not measured".into(),
    };
    let workers: Vec<String> =
        report.workers_peak_mb.iter().map(|mb| format!(", worker {mb:.0} MB")).collect();
    format!(
        "store        {}\nbroker       {}\nthroughput   {:.0} jobs/s (runs of {}: {})\np50 / p99    {latency}\npeak memory  {:.0} MB{}\nattempts     {} completed\n",
        report.store,
        report.broker,
        report.jobs_per_s,
        report.jobs,
        all.join(", "),
        report.peak_mb,
        workers.concat(),
        report.completed_attempts
    )
}
