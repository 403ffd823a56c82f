//! How fast the store is on a server that syncs: `cargo run --release -p bul-store-postgres --example
//! throughput [JOBS [WRITERS [SETTING=VALUE…]]]`. With `shared_preload_libraries=pg_stat_statements` it also
//! prints where the server's time went.
//!
//! Accepts jobs of some 500 bytes in calls of 1000, then begins and completes them with 512 callers, then
//! does all of it at once. Prints jobs per second, bytes of the server's log per job, and the processor
//! time of this process and of everything else on the machine: absolute numbers mean little without it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bul_harness::{Postgres, PostgresOptions};
use bul_job::{Format, JobId, Limits, PublishNo, RawJob, ValidJob};
use bul_store::{Accepted, Begin, NewJob, Output, Store, Usage};
use bul_store_postgres::{Options, PostgresStore};
use serde_json::json;
use tokio::task::JoinSet;

const ACCEPT_CALLERS: usize = 4;
const CALL_JOBS: usize = 1000;
const WORK_CALLERS: usize = 512;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let jobs: usize = std::env::args().nth(1).map_or(Ok(50_000), |n| n.parse())?;
    let mut options = Options::default();
    // One tenant has all the jobs, and is not to stand in line behind itself.
    options.limits.queued_max = u32::MAX / 2;
    if let Some(writers) = std::env::args().nth(2) {
        options.writers = writers.parse()?;
    }
    let given: Vec<String> = std::env::args().skip(3).collect();
    let settings =
        ["shared_buffers=256MB", "max_wal_size=4GB"].into_iter().chain(given.iter().map(String::as_str));
    let settings = settings.filter_map(|setting| setting.split_once('='));
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let profiled = given.iter().any(|setting| setting.contains("pg_stat_statements"));
    let server =
        Postgres::start_with(PostgresOptions { fsync: true, settings, ..PostgresOptions::default() })?;
    let store: Arc<dyn Store> = Arc::new(PostgresStore::open(&server.url(), options).await?);
    println!("{} jobs, PostgreSQL {}, {}", jobs, store.info().version, store.info().durability);
    println!("load average: {}", std::fs::read_to_string("/proc/loadavg")?.trim());

    warm_up(&store).await?;
    if profiled {
        server.psql("CREATE EXTENSION pg_stat_statements; SELECT pg_stat_statements_reset()")?;
    }
    let mut meter = Meter::start(&server)?;
    let ids = accept(&store, jobs).await?;
    meter.report("accept, 4 callers of 1000 jobs", ids.len(), &server)?;
    work(&store, Arc::new(ids)).await?;
    meter.report("begin + complete, 512 callers", jobs, &server)?;
    all_at_once(&store, jobs).await?;
    meter.report("accept + confirm + begin + complete at once", jobs, &server)?;
    single(&store).await?;
    let ledger = store.ledger().await?;
    ensure!(ledger.balances() && ledger.total.open() == 0, "the ledger does not balance: {ledger:?}");
    println!("ledger: {:?}", ledger.total);
    println!("heap-only updates: {}", server.psql(
        "SELECT n_tup_hot_upd || ' of ' || n_tup_upd || ', table ' || pg_size_pretty(pg_table_size('bul.jobs'))
         FROM pg_stat_user_tables WHERE relname = 'jobs'")?);
    if profiled {
        println!("{}", server.psql(PROFILE)?);
    }
    store.close().await;
    Ok(())
}

/// Milliseconds, calls, microseconds per row, and the statement.
const PROFILE: &str = "SELECT round(total_exec_time::numeric), calls,
        round((total_exec_time / greatest(rows, 1) * 1000)::numeric, 1), rows,
        left(regexp_replace(regexp_replace(query, '--[^\n]*\n', '', 'g'), '\\s+', ' ', 'g'), 90)
    FROM pg_stat_statements ORDER BY total_exec_time DESC LIMIT 16";

fn new_job(store: &Arc<dyn Store>, n: usize) -> Result<NewJob> {
    let raw = RawJob::from_value(json!({
        "template": "invoice",
        "business_area": "finance",
        "data": {"number": n, "customer": "Muster und Söhne GmbH", "lines": [
            {"text": "consulting, remote, by the hour", "quantity": 12, "price": 120.5},
            {"text": "travel", "quantity": 1, "price": 310.0},
            {"text": "documentation", "quantity": 3, "price": 95.0}], "note": "payable within 14 days"},
    }))?;
    let job = ValidJob::parse(raw, store.now(), &Limits::default())?;
    Ok(NewJob { id: JobId::new(), tenant: "acme".parse()?, job, source: "bench".into() })
}

fn output() -> Output {
    Output {
        documents: vec![(Format::Md, vec![b'x'; 500])],
        title: "Invoice for Muster und Söhne GmbH".into(),
        usage: Usage { model: "scripted".into(), output_tokens: 40, ..Usage::default() },
        findings: Vec::new(),
        kept_texts: false,
        turn: None,
    }
}

async fn accept_call(store: &Arc<dyn Store>, from: usize, jobs: usize) -> Result<Vec<JobId>> {
    let batch = (from..from + jobs).map(|n| new_job(store, n)).collect::<Result<Vec<_>>>()?;
    let answers = store.accept(&batch).await?;
    ensure!(answers.iter().all(|answer| matches!(answer, Accepted::New { .. })), "a job was not new");
    Ok(batch.into_iter().map(|job| job.id).collect())
}

async fn accept(store: &Arc<dyn Store>, jobs: usize) -> Result<Vec<JobId>> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..ACCEPT_CALLERS {
        let (store, next) = (Arc::clone(store), Arc::clone(&next));
        callers.spawn(async move {
            let mut ids = Vec::new();
            loop {
                let from = next.fetch_add(CALL_JOBS, Ordering::Relaxed);
                if from >= jobs {
                    return anyhow::Ok(ids);
                }
                ids.extend(accept_call(&store, from, CALL_JOBS.min(jobs - from)).await?);
            }
        });
    }
    let mut ids = Vec::with_capacity(jobs);
    while let Some(done) = callers.join_next().await {
        ids.extend(done??);
    }
    ids.sort();
    Ok(ids)
}

async fn one(store: &Arc<dyn Store>, id: JobId) -> Result<()> {
    let Begin::Run(attempt) = store.begin(id, "worker-1", Duration::from_secs(30)).await? else {
        anyhow::bail!("a job was skipped");
    };
    store.complete(id, attempt.attempt, &output()).await?;
    Ok(())
}

async fn work(store: &Arc<dyn Store>, ids: Arc<Vec<JobId>>) -> Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for _ in 0..WORK_CALLERS {
        let (store, ids, next) = (Arc::clone(store), Arc::clone(&ids), Arc::clone(&next));
        callers.spawn(async move {
            while let Some(id) = ids.get(next.fetch_add(1, Ordering::Relaxed)) {
                one(&store, *id).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(done) = callers.join_next().await {
        done??;
    }
    Ok(())
}

/// A producer, a broker that confirms, and workers, in one process.
async fn all_at_once(store: &Arc<dyn Store>, jobs: usize) -> Result<()> {
    let (queue, inbox) = tokio::sync::mpsc::channel::<JobId>(100_000);
    let producing = {
        let store = Arc::clone(store);
        async move {
            for from in (0..jobs).step_by(CALL_JOBS) {
                let ids = accept_call(&store, from, CALL_JOBS.min(jobs - from)).await?;
                let confirmed: Vec<_> = ids.iter().map(|id| (*id, PublishNo(1))).collect();
                store.published(&confirmed).await?;
                for id in ids {
                    queue.send(id).await.context("the workers are gone")?;
                }
            }
            anyhow::Ok(())
        }
    };
    let inbox = Arc::new(tokio::sync::Mutex::new(inbox));
    let mut callers = JoinSet::new();
    for _ in 0..WORK_CALLERS {
        let (store, inbox) = (Arc::clone(store), Arc::clone(&inbox));
        callers.spawn(async move {
            loop {
                let Some(id) = inbox.lock().await.recv().await else { return anyhow::Ok(()) };
                one(&store, id).await?;
            }
        });
    }
    producing.await?;
    while let Some(done) = callers.join_next().await {
        done??;
    }
    Ok(())
}

/// Connections and prepared statements.
async fn warm_up(store: &Arc<dyn Store>) -> Result<()> {
    let ids = accept(store, 4 * CALL_JOBS).await?;
    work(store, Arc::new(ids)).await
}

/// Latency of one job after the other.
async fn single(store: &Arc<dyn Store>) -> Result<()> {
    let mut times = Vec::new();
    for n in 0..200 {
        let job = [new_job(store, n)?];
        let started = Instant::now();
        store.accept(&job).await?;
        one(store, job[0].id).await?;
        times.push(started.elapsed());
    }
    times.sort();
    println!("one job alone, accept to result: p50 {:.1?}, p99 {:.1?}", times[100], times[197]);
    Ok(())
}

struct Meter {
    started: Instant,
    wal: f64,
    own_ms: f64,
    server_ms: f64,
    all_ms: f64,
}

impl Meter {
    fn start(server: &Postgres) -> Result<Self> {
        Ok(Self {
            started: Instant::now(),
            wal: wal(server)?,
            own_ms: cpu_ms("self")?.1,
            server_ms: server_ms(server)?,
            all_ms: all_ms()?,
        })
    }

    fn report(&mut self, what: &str, jobs: usize, server: &Postgres) -> Result<()> {
        let seconds = self.started.elapsed().as_secs_f64();
        let now = Self::start(server)?;
        let each = |before: f64, after: f64| (after - before) / jobs as f64;
        println!(
            "{what}: {:.0} jobs/s ({seconds:.2} s); per job {:.0} bytes of log, {:.1} µs here, \
             {:.1} µs in the server, {:.1} µs on the whole machine",
            jobs as f64 / seconds,
            each(self.wal, now.wal),
            each(self.own_ms, now.own_ms) * 1000.0,
            each(self.server_ms, now.server_ms) * 1000.0,
            each(self.all_ms, now.all_ms) * 1000.0,
        );
        *self = now;
        Ok(())
    }
}

fn wal(server: &Postgres) -> Result<f64> {
    Ok(server.psql("SELECT pg_current_wal_insert_lsn() - '0/0'")?.parse()?)
}

/// Parent and processor time of a process. The kernel counts in hundredths of a second.
fn cpu_ms(process: &str) -> Result<(u32, f64)> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let fields: Vec<&str> = stat.rsplit(')').next().context("no fields")?.split_whitespace().collect();
    Ok((fields[1].parse()?, (fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) * 10.0))
}

/// Processor time of the server's processes that are alive.
fn server_ms(server: &Postgres) -> Result<f64> {
    let postmaster = server.pid().context("the server does not run")?;
    let mut sum = 0.0;
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name();
        let Some(process) = name.to_str().filter(|name| name.bytes().all(|b| b.is_ascii_digit())) else {
            continue;
        };
        if let Ok((parent, ms)) = cpu_ms(process)
            && parent == postmaster
        {
            sum += ms;
        }
    }
    Ok(sum)
}

/// Busy time of all processors, whoever uses them.
fn all_ms() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("no processors")?;
    let times: Vec<f64> = line.split_whitespace().skip(1).map(str::parse).collect::<Result<_, _>>()?;
    Ok((times[0] + times[1] + times[2] + times[5] + times[6]) * 10.0)
}
