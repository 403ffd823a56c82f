//! How many jobs per second the store carries: accepted in batches, then begun and completed by many
//! callers at once, then both at the same time, with every write synced to the disk.
//!
//! `throughput [JOBS [FOLDER]]`. Compare two versions in one sitting, by the medians of several runs:
//! the figures of a shared machine drift.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bul_job::{Format, JobId, Limits, RawJob, ValidJob};
use bul_store::{Accepted, Begin, NewJob, Output, Store, Usage};
use bul_store_sqlite::{Options, SqliteStore};
use serde_json::json;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const BATCH: usize = 1_000;
const CALLERS: [usize; 3] = [64, 256, 512];
/// Bytes of the text in a job: with its other fields about 500.
const TEXT_BYTES: usize = 400;
const DOCUMENT_BYTES: usize = 1_000;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let jobs: usize = args.next().map_or(Ok(20_000), |text| text.parse())?;
    let folder = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    for callers in CALLERS {
        let folder = tempfile::tempdir_in(&folder)?;
        let path = folder.path().join("bul.db");
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, options()).await?);
        apart(&store, jobs, callers).await?;
        together(&store, jobs, callers, &path).await?;
        store.close().await;
    }
    Ok(())
}

/// One tenant has all the jobs, and is not to stand in line behind itself.
fn options() -> Options {
    let mut options = Options::default();
    options.limits.queued_max = u32::MAX / 2;
    options
}

/// One step after the other.
async fn apart(store: &Arc<dyn Store>, jobs: usize, callers: usize) -> Result<(), Failure> {
    let batches = batches(store, jobs)?;
    let (sender, ids) = mpsc::channel(jobs);
    let start = Instant::now();
    for batch in &batches {
        accept(store, batch, &sender).await?;
    }
    let accepting = start.elapsed();
    drop(sender);
    let start = Instant::now();
    work(store, ids, callers).await?;
    println!(
        "{callers:4} callers: accept {:6.0}/s   begin + complete {:6.0}/s",
        rate(jobs, accepting),
        rate(jobs, start.elapsed())
    );
    Ok(())
}

/// All at once, as a running system does it.
async fn together(store: &Arc<dyn Store>, jobs: usize, callers: usize, path: &Path) -> Result<(), Failure> {
    let batches = batches(store, jobs)?;
    let (sender, ids) = mpsc::channel(4 * BATCH);
    let start = Instant::now();
    let taker = Arc::clone(store);
    let submitter = tokio::spawn(async move {
        for batch in &batches {
            accept(&taker, batch, &sender).await?;
        }
        Ok::<_, Failure>(())
    });
    work(store, ids, callers).await?;
    submitter.await??;
    let took = start.elapsed();
    let total = store.ledger().await?.total;
    if !total.balances() || total.completed != 2 * jobs as u64 {
        return Err(format!("jobs are missing: {total:?}").into());
    }
    let file = std::fs::metadata(path)?.len() / total.completed;
    println!("{callers:4} callers: all together {:6.0}/s   {file} bytes of file per job", rate(jobs, took));
    Ok(())
}

fn rate(jobs: usize, took: Duration) -> f64 {
    jobs as f64 / took.as_secs_f64()
}

fn batches(store: &Arc<dyn Store>, jobs: usize) -> Result<Vec<Vec<NewJob>>, Failure> {
    let tenant = bul_job::TenantId::default_tenant();
    let text = "A sentence about an order. ".repeat(TEXT_BYTES / 27 + 1);
    let mut batches = vec![Vec::with_capacity(BATCH)];
    for number in 0..jobs {
        let raw = RawJob::from_value(json!({
            "template": "invoice", "business_area": "finance", "formats": ["md"],
            "data": {"number": number, "text": &text[..TEXT_BYTES]},
        }))?;
        let job = ValidJob::parse(raw, store.now(), &Limits::default()).map_err(|e| format!("{e:?}"))?;
        if batches.last().is_some_and(|batch| batch.len() == BATCH) {
            batches.push(Vec::with_capacity(BATCH));
        }
        let new = NewJob { id: JobId::new(), tenant: tenant.clone(), job, source: "bench".into() };
        batches.last_mut().ok_or("no batch")?.push(new);
    }
    Ok(batches)
}

async fn accept(store: &Arc<dyn Store>, batch: &[NewJob], ids: &mpsc::Sender<JobId>) -> Result<(), Failure> {
    let mut confirmed = Vec::with_capacity(batch.len());
    for answer in store.accept(batch).await? {
        let Accepted::New { id, publish: Some(ready), .. } = answer else {
            return Err(format!("not new: {answer:?}").into());
        };
        confirmed.push((id, ready.publish));
    }
    store.published(&confirmed).await?;
    for (id, _) in confirmed {
        ids.send(id).await?;
    }
    Ok(())
}

async fn work(store: &Arc<dyn Store>, ids: mpsc::Receiver<JobId>, callers: usize) -> Result<(), Failure> {
    let ids = Arc::new(Mutex::new(ids));
    let mut tasks = JoinSet::new();
    for _ in 0..callers {
        let (store, ids) = (Arc::clone(store), Arc::clone(&ids));
        tasks.spawn(async move {
            let output = output();
            loop {
                let Some(id) = ids.lock().await.recv().await else { return Ok::<_, Failure>(()) };
                let begun = store.begin(id, "worker-1", Duration::from_secs(30)).await?;
                let Begin::Run(run) = begun else { return Err(format!("skipped: {begun:?}").into()) };
                store.complete(id, run.attempt, &output).await?;
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended??;
    }
    Ok(())
}

fn output() -> Output {
    let bytes: Vec<u8> = (0..DOCUMENT_BYTES).map(|n| (n * 31 % 251) as u8).collect();
    let usage = Usage { model: "scripted".into(), prompt_tokens: 100, total_ms: 1.5, ..Usage::default() };
    Output {
        documents: vec![(Format::Md, bytes)],
        title: "Invoice 4711 for Acme".into(),
        usage,
        findings: Vec::new(),
        kept_texts: false,
        turn: None,
    }
}
