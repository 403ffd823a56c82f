//! `bul bench submit`: how many jobs a second the HTTP API accepts, one by one and in batches.
//!
//! Real requests over the loopback, with a key, to the same routes as everybody's. No worker runs meanwhile; afterwards
//! all jobs are worked off, so that nothing is left behind and the ledger can be checked.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bul_job::TenantId;
use bul_producer::{AppState, ProducerOptions};
use bul_store::Permission;
use reqwest::header::CONTENT_TYPE;
use serde::Serialize;
use tokio::net::TcpListener;

use super::load;
use crate::context::Context;
use crate::exit::Exit;
use crate::system::System;

/// Longest wait until all jobs are worked off.
const DRAIN_MAX: Duration = Duration::from_secs(600);

/// Options of `bul bench submit`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Jobs of a run
    #[arg(long, default_value_t = 20_000)]
    jobs: u64,
    /// Runs of each kind; the median is reported, with the smallest and largest
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Connections, each with one request under way
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Jobs in a request of the second kind
    #[arg(long, default_value_t = 500)]
    batch: u64,
    /// Bytes of a job
    #[arg(long, default_value_t = 500)]
    payload: usize,
}

/// What was measured; rates are jobs per second.
#[derive(Debug, Serialize)]
struct Report {
    store: String,
    broker: String,
    jobs: u64,
    connections: usize,
    batch: u64,
    payload_bytes: usize,
    single_per_s: f64,
    single_per_s_all: Vec<f64>,
    single_p50_ms: f64,
    single_p99_ms: f64,
    batch_per_s: f64,
    batch_per_s_all: Vec<f64>,
}

/// Runs the benchmark on the configured store and broker.
pub async fn run(args: Args, context: &Context) -> anyhow::Result<Exit> {
    ensure!(args.jobs > 0 && args.runs > 0, "--jobs and --runs must be at least 1");
    let folder = tempfile::tempdir()?;
    load::write_template(folder.path())?;
    let context = load::scripted(context, 256, args.jobs * 2 * args.runs as u64, folder.path());
    let report = load::on_system(&context, 0, async |system| measure(&args, &context, system).await).await?;
    context.print(&report, || text(&report))?;
    Ok(Exit::Done)
}

async fn measure(args: &Args, context: &Context, system: &mut System) -> anyhow::Result<Report> {
    let tenant = load::tenant()?;
    let made =
        bul_producer::auth::generate_key("bench", tenant.clone(), Permission::Submit, system.store.now());
    system.store.add_key(&made.key).await?;
    let client = Client { base: serve(system).await?, key: made.text, http: reqwest::Client::new() };
    let (mut singles, mut batches, mut times) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..args.runs {
        singles.push(submit(args, &client, 1, &mut times).await?);
        batches.push(submit(args, &client, args.batch.clamp(2, 1_000), &mut Vec::new()).await?);
    }
    system.store.revoke_key(&made.key.id).await?;
    drain(args, context, system, &tenant).await?;
    times.sort_by(f64::total_cmp);
    let (store, broker) = (system.store.info(), system.broker.info());
    Ok(Report {
        store: format!("{} {}", store.kind, store.version),
        broker: format!("{} {}", broker.kind, broker.version),
        jobs: args.jobs,
        connections: args.connections,
        batch: args.batch,
        payload_bytes: args.payload,
        single_per_s: load::median(&singles),
        single_per_s_all: singles,
        single_p50_ms: load::at(&times, 0.5).unwrap_or_default(),
        single_p99_ms: load::at(&times, 0.99).unwrap_or_default(),
        batch_per_s: load::median(&batches),
        batch_per_s_all: batches,
    })
}

#[derive(Clone)]
struct Client {
    base: String,
    key: String,
    http: reqwest::Client,
}

impl Client {
    async fn post(&self, path: &str, body: Vec<u8>) -> anyhow::Result<()> {
        let request = self.http.post(format!("{}{path}", self.base)).bearer_auth(&self.key);
        let answer = request.header(CONTENT_TYPE, "application/json").body(body).send().await?;
        let status = answer.status();
        let body = answer.bytes().await?;
        ensure!(status.is_success(), "HTTP {status}: {}", String::from_utf8_lossy(&body));
        Ok(())
    }
}

/// Serves the API of the system on a free port; its address.
async fn serve(system: &mut System) -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("a free port")?;
    let base = format!("http://{}", listener.local_addr()?);
    let state = AppState::new(
        system.store.clone(),
        system.broker.clone(),
        system.accepting.clone(),
        system.registry.clone(),
        ProducerOptions::default(),
    );
    let stopping = system.shutdown.stopping().clone();
    system.tasks.spawn("http", async move {
        if let Err(error) = bul_producer::serve(listener, state, stopping).await {
            tracing::error!(%error, "the HTTP listener ended");
        }
    });
    Ok(base)
}

/// Submits all jobs in requests of `batch`; jobs per second. The time of each request in milliseconds is added to `times`.
async fn submit(args: &Args, client: &Client, batch: u64, times: &mut Vec<f64>) -> anyhow::Result<f64> {
    let started = Instant::now();
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..args.connections.max(1) {
        let (client, next) = (client.clone(), next.clone());
        let (jobs, payload) = (args.jobs, args.payload);
        tasks.spawn(async move {
            let mut times = Vec::new();
            loop {
                let from = next.fetch_add(batch, Ordering::Relaxed);
                if from >= jobs {
                    return anyhow::Ok(times);
                }
                let list: Vec<_> =
                    (from..jobs.min(from + batch)).map(|n| load::job_json(n, payload)).collect();
                let (path, body) = match (batch, list.first()) {
                    (1, Some(job)) => ("/v1/jobs", serde_json::to_vec(job)?),
                    _ => ("/v1/jobs/batch", serde_json::to_vec(&list)?),
                };
                let sent = Instant::now();
                client.post(path, body).await?;
                times.push(sent.elapsed().as_secs_f64() * 1e3);
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        times.extend(done??);
    }
    Ok(args.jobs as f64 / started.elapsed().as_secs_f64())
}

/// Works everything off and checks that all of it came through.
async fn drain(args: &Args, context: &Context, system: &mut System, tenant: &TenantId) -> anyhow::Result<()> {
    system.add_workers(context, 1).await?;
    let (expected, end) = (args.jobs * 2 * args.runs as u64, Instant::now() + DRAIN_MAX);
    loop {
        let ledger = system.store.ledger().await?;
        let counts = ledger.tenants.get(tenant).copied().unwrap_or_default();
        ensure!(counts.balances() && counts.accepted == expected, "{expected} were accepted: {counts:?}");
        if counts.completed == expected {
            return Ok(());
        }
        ensure!(counts.dead == 0 && Instant::now() < end, "not all of {expected} are completed: {counts:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

fn text(report: &Report) -> String {
    let all = |runs: &[f64]| runs.iter().map(|n| format!("{n:.0}")).collect::<Vec<_>>().join(", ");
    format!(
        "store        {}\nbroker       {}\none by one   {:.0} jobs/s ({}), p50 / p99 {:.2} / {:.2} ms on {} connections\nbatches      {:.0} jobs/s in requests of {} ({})\n",
        report.store,
        report.broker,
        report.single_per_s,
        all(&report.single_per_s_all),
        report.single_p50_ms,
        report.single_p99_ms,
        report.connections,
        report.batch_per_s,
        report.batch,
        all(&report.batch_per_s_all),
    )
}
