//! `bul demo`: the main job on sample events, in one process and a temporary database.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bul_job::{EventKind, JobId, State, TenantId};
use bul_producer::ingest::{Hints, IngestLimits, Source};
use bul_producer::{Intake, Outcome};
use bul_store::{JobDetail, Store};
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tokio_stream::StreamExt;

use crate::client::files;
use crate::client::print;
use crate::context::Context;
use crate::exit::Exit;
use crate::shipped::{SAMPLES, Sample};
use crate::system::{Roles, System};
use crate::wire::{BrokerSpec, StoreSpec};

/// Options of `bul demo`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  bul demo --out ./out")]
pub struct Args {
    /// Folder for the finished documents
    #[arg(long, default_value = "out", value_name = "DIR")]
    out: PathBuf,
}

/// Runs the demo; exit code 1 when a job did not complete or the ledger does not balance.
pub async fn run(args: Args, context: &Context) -> anyhow::Result<Exit> {
    context.init_logs(false)?;
    let temporary = tempfile::tempdir()?;
    let store = StoreSpec::Sqlite(temporary.path().join("demo.db"));
    let system = System::start(context, &store, &BrokerSpec::Embedded, Roles::all(1)).await?;
    let result = demonstrate(&args.out, context, &system).await;
    system.shutdown.halt();
    system.join().await?;
    result
}

async fn demonstrate(out: &Path, context: &Context, system: &System) -> anyhow::Result<Exit> {
    let tenant = TenantId::default_tenant();
    let filter = bul_broker::EventFilter { tenant: tenant.clone(), job: None };
    let events = system.broker.events(filter).await?;
    let intake = system.intake();
    let mut jobs = Vec::new();
    for sample in SAMPLES {
        jobs.extend(submit(&intake, &tenant, sample).await?);
    }
    watch(context, system.store.as_ref(), &tenant, &jobs, events).await?;

    let mut details = Vec::new();
    for (id, sample) in &jobs {
        let detail = system.store.job(&tenant, *id).await?;
        for format in detail.documents.keys() {
            let bytes = system.store.document(&tenant, *id, *format).await?;
            files::save(out, &files::document_name(&detail, *format), &bytes)?;
        }
        details.push((*sample, detail));
    }
    let ledger = system.store.ledger().await?;
    let rows: Vec<Value> = details.iter().map(|(sample, detail)| row(sample, detail)).collect();
    let report = json!({"jobs": rows, "ledger": ledger, "out": out.display().to_string()});
    context.print(&report, || {
        format!(
            "{}\n{}\ndocuments are in {}\n",
            table(&details),
            crate::cmd::ledger::equation(&ledger.total),
            out.display()
        )
    })?;
    for (sample, detail) in details.iter().filter(|(_, d)| d.summary.status.state != State::Completed) {
        let why = detail.summary.status.message.as_deref().unwrap_or("no reason given");
        eprintln!("{sample}: {}: {why}", detail.summary.status.state);
    }
    let done = ledger.balances() && ledger.total.completed == ledger.total.accepted;
    Ok(if done { Exit::Done } else { Exit::Failed })
}

/// Hands a sample in the way `bul submit` does; its kind is recognised from the content.
async fn submit(
    intake: &Intake,
    tenant: &TenantId,
    sample: &Sample,
) -> anyhow::Result<Vec<(JobId, &'static str)>> {
    let mut hints = Hints::default();
    if !sample.file.ends_with(".jsonl") && sample.file != "contract.json" {
        hints.formats = Some(vec!["pdf".into(), "html".into(), "md".into()]);
    }
    let source = Source::detect(sample.bytes, Some(sample.file), None, &hints)?;
    let items = bul_producer::ingest::parse(source, sample.bytes, &hints, &IngestLimits::default())?;
    let jobs = items.into_iter().map(|item| (item.job, item.place)).collect();
    let answers = intake.submit(tenant, jobs, "demo", bul_producer::SubmitMode::AllOrNothing).await?;
    Ok(answers
        .into_iter()
        .filter_map(|answer| match answer.outcome {
            Outcome::New { id, .. } | Outcome::Existing { id, .. } => Some((id, sample.file)),
            Outcome::Conflict { .. } | Outcome::Invalid { .. } => None,
        })
        .collect())
}

/// Follows the events until every job has ended. Events may be lost: the store is asked whenever
/// none has come for a while.
async fn watch(
    context: &Context,
    store: &dyn Store,
    tenant: &TenantId,
    jobs: &[(JobId, &'static str)],
    events: impl tokio_stream::Stream<Item = bul_job::Event>,
) -> anyhow::Result<()> {
    let bars = Bars::new(context.shows_progress(), jobs);
    let mut open: Vec<JobId> = jobs.iter().map(|(id, _)| *id).collect();
    let events = events.timeout(std::time::Duration::from_millis(500));
    tokio::pin!(events);
    while !open.is_empty() {
        match events.next().await {
            Some(Ok(event)) => {
                bars.show(event.job, &event.kind);
                if event.is_final() {
                    open.retain(|id| *id != event.job);
                }
            }
            Some(Err(_)) | None => {
                let mut still = Vec::new();
                for id in open {
                    let state = store.job(tenant, id).await?.summary.status.state;
                    if state.is_final() {
                        bars.show(id, &EventKind::State { state, attempt: 0, message: None });
                    } else {
                        still.push(id);
                    }
                }
                open = still;
            }
        }
    }
    Ok(())
}

struct Bars {
    all: HashMap<JobId, ProgressBar>,
    _group: MultiProgress,
}

impl Bars {
    fn new(visible: bool, jobs: &[(JobId, &'static str)]) -> Self {
        let group = MultiProgress::new();
        if !visible {
            group.set_draw_target(indicatif::ProgressDrawTarget::hidden());
        }
        let style = ProgressStyle::with_template("{prefix:<16} [{bar:30}] {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        let all = jobs
            .iter()
            .map(|(id, file)| {
                let bar = group.add(
                    ProgressBar::new(100).with_style(style.clone().progress_chars("=> ")).with_prefix(*file),
                );
                bar.set_message("queued");
                (*id, bar)
            })
            .collect();
        Self { all, _group: group }
    }

    fn show(&self, job: JobId, kind: &EventKind) {
        let Some(bar) = self.all.get(&job) else { return };
        match kind {
            EventKind::Progress { stage, done, total } => {
                // Most of a job's time is generation; the bar is shared out accordingly.
                let (from, to) = if stage == "generate" { (5.0, 85.0) } else { (85.0, 100.0) };
                let part = f64::from(*done) / f64::from((*total).max(1));
                bar.set_position((from + (to - from) * part) as u64);
                bar.set_message(format!("{stage} {done}/{total}"));
            }
            EventKind::State { state, .. } if state.is_final() => {
                bar.set_position(100);
                bar.finish_with_message(state.to_string());
            }
            EventKind::State { state, .. } => bar.set_message(state.to_string()),
            EventKind::Token { .. } => {}
        }
    }
}

fn row(sample: &str, detail: &JobDetail) -> Value {
    let usage = detail.usage.clone().unwrap_or_default();
    json!({
        "input": sample, "id": detail.summary.id, "title": detail.summary.title, "template": detail.summary.template,
        "business_area": detail.summary.business_area, "state": detail.summary.status.state,
        "formats": detail.documents.keys().map(ToString::to_string).collect::<Vec<_>>(),
        "output_tokens": usage.output_tokens, "cached_tokens": usage.cached_tokens, "prompt_tokens": usage.prompt_tokens,
        "total_ms": usage.total_ms, "findings": detail.findings,
    })
}

fn table(details: &[(&str, JobDetail)]) -> String {
    let rows: Vec<Vec<String>> = details
        .iter()
        .map(|(sample, detail)| {
            let usage = detail.usage.clone().unwrap_or_default();
            let formats: Vec<String> = detail.documents.keys().map(ToString::to_string).collect();
            vec![
                (*sample).to_owned(),
                detail.summary.template.clone(),
                detail.summary.business_area.clone(),
                formats.join(" "),
                usage.output_tokens.to_string(),
                usage.cached_tokens.to_string(),
                format!("{:.0}", usage.total_ms),
            ]
        })
        .collect();
    print::table(&["INPUT", "TEMPLATE", "AREA", "FORMATS", "TOKENS", "CACHED", "MS"], &rows)
}
