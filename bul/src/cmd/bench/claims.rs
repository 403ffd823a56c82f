//! `bul bench claims`: what an older system of this kind promised, measured here on the same terms.
//!
//! Each line is measured in this run on this machine; nothing is taken from elsewhere. Invariant: a document counts only
//! when the store has it, and the ledger must balance.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use bul_broker::EventFilter;
use bul_config::Loaded;
use bul_engine::{EngineLoad, EngineOptions, ModelShape, Preset, bench_engine};
use bul_job::{JobId, Params, RawJob, State, TenantId};
use bul_producer::{Intake, Outcome, SubmitMode};
use bul_store::Usage;
use serde::Serialize;
use serde_json::{Map, Value};
use tokio_stream::StreamExt;

use super::load;
use crate::client::print::table;
use crate::context::Context;
use crate::exit::Exit;
use crate::system::System;

/// What is written about. Ten documents each, so that they share what templates share.
const KINDS: [(&str, &str, &str); 5] = [
    ("marketing", "strategy", "Launch of a service for spare parts"),
    ("sales", "process", "Visits to customers in the north"),
    ("hr", "policy", "Work from home on two days a week"),
    ("engineering", "manual", "Maintenance of the packing line"),
    ("finance", "report", "Costs of energy in the second half of the year"),
];
/// Places and departments in the data of the jobs.
const SITES: [(&str, &str); 4] =
    [("Leeds", "Purchasing"), ("Graz", "Production"), ("Lisbon", "Customer Care"), ("Ghent", "Finance")];
/// Attempts side by side.
const CONCURRENCY: usize = 16;
/// Without an event for so long the store is asked.
const QUIET: Duration = Duration::from_millis(200);
/// Longest wait for all documents of a round.
const ROUND_MAX: Duration = Duration::from_secs(3600);

/// Options of `bul bench claims`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Documents of a round
    #[arg(long, default_value_t = 50)]
    documents: usize,
    /// Jobs of a title alone, without data and background
    #[arg(long)]
    bare: bool,
    /// Shape of the random model that the gain by batching is measured with
    #[arg(long, default_value = "shipped")]
    shape: String,
}

/// One promise.
#[derive(Debug, Serialize)]
struct Claim {
    claim: &'static str,
    /// What the older system said.
    older: &'static str,
    goal: &'static str,
    measured: String,
    met: bool,
}

/// What came of a round of jobs.
struct Round {
    seconds: f64,
    usages: Vec<Usage>,
}

impl Round {
    fn sum(&self, measure: impl Fn(&Usage) -> u64) -> u64 {
        self.usages.iter().map(measure).sum()
    }

    /// Tokens the model really computed.
    fn computed(&self) -> u64 {
        self.sum(|usage| usage.prompt_tokens.saturating_sub(usage.cached_tokens) + usage.output_tokens)
    }

    fn mean_ms(&self, measure: impl Fn(&Usage) -> f64) -> f64 {
        self.usages.iter().map(measure).sum::<f64>() / self.usages.len().max(1) as f64
    }
}

/// Runs everything and prints a table; exit code 1 when a promise is not kept.
pub async fn run(args: Args, context: &Context) -> anyhow::Result<Exit> {
    ensure!(args.documents > 0, "--documents must be at least 1");
    let shape = ModelShape::parse(&args.shape).ok_or_else(|| {
        crate::exit::Fault::usage(format!("--shape: `{}` is none of the known shapes", args.shape))
    })?;
    let mut claims = documents(&args, context).await?;
    claims.push(batching(shape).await?);
    let all_met = claims.iter().all(|claim| claim.met);
    context.print(&claims, || text(&claims))?;
    Ok(if all_met { Exit::Done } else { Exit::Failed })
}

/// The promises about documents: all of them together, again, and one after the other.
async fn documents(args: &Args, context: &Context) -> anyhow::Result<Vec<Claim>> {
    let folder = tempfile::tempdir()?;
    let bulk = temporary(context, folder.path(), "bulk", CONCURRENCY);
    let (first, again) = load::on_system(&bulk, 1, async |system| {
        let tenant = load::tenant()?;
        let first = round(system, &tenant, jobs(args), false).await?;
        let again = round(system, &tenant, jobs(args), false).await?;
        balanced(system, &tenant, 2 * args.documents).await?;
        Ok((first, again))
    })
    .await?;
    let single = temporary(context, folder.path(), "single", 1);
    let single = load::on_system(&single, 1, async |system| {
        let tenant = load::tenant()?;
        let single = round(system, &tenant, jobs(args), true).await?;
        balanced(system, &tenant, args.documents).await?;
        Ok(single)
    })
    .await?;
    let prompt = first.sum(|usage| usage.prompt_tokens);
    let hits = share(first.sum(|usage| usage.cached_tokens), prompt);
    // One by one without a cache every prompt token is computed.
    let alone = single.sum(|usage| usage.prompt_tokens + usage.output_tokens);
    let saved = 100.0 - share(first.computed(), alone);
    let texts_ms = again.mean_ms(|usage| usage.generate_ms);
    let minutes = first.seconds * 50.0 / args.documents as f64 / 60.0;
    Ok(vec![
        Claim {
            claim: "50 documents",
            older: "15 min",
            goal: "1 min",
            measured: format!("{:.1} s for {}", first.seconds, args.documents),
            met: minutes <= 1.0,
        },
        Claim {
            claim: "prompt tokens found in the cache",
            older: "45 %",
            goal: "60 %",
            measured: format!("{hits:.0} %"),
            met: hits >= 60.0,
        },
        Claim {
            claim: "tokens computed, against one by one without a cache",
            older: "-60 %",
            goal: "-60 %",
            measured: format!(
                "-{saved:.0} % ({} of {alone}; {:.1} s against {:.1} s)",
                first.computed(),
                first.seconds,
                single.seconds
            ),
            met: saved >= 60.0,
        },
        Claim {
            claim: "mean time for all texts of a document, cached",
            older: "150 ms",
            goal: "15 ms",
            measured: format!(
                "{texts_ms:.1} ms; with its PDF {:.1} ms",
                again.mean_ms(|usage| usage.total_ms)
            ),
            met: texts_ms <= 15.0,
        },
    ])
}

/// Output tokens per second of many requests behind shared prefixes, against the same one after the other without.
async fn batching(shape: ModelShape) -> anyhow::Result<Claim> {
    let together = EngineLoad {
        templates: 2,
        documents: 32,
        prefix_tokens: 400,
        data_tokens: (40, 40),
        output_tokens: 40,
        concurrent: 32,
        ..EngineLoad::default()
    };
    // Every document has a template of its own: nothing is shared.
    let alone = EngineLoad { templates: 16, documents: 1, concurrent: 1, announce: false, ..together };
    let options = EngineOptions::preset(Preset::Bulk);
    let many = bench_engine(shape, &together, &options).await?;
    let one = bench_engine(shape, &alone, &options).await?;
    let factor = many.output_tokens_per_second / one.output_tokens_per_second;
    Ok(Claim {
        claim: "output of the engine, batched against one by one",
        older: "2-5x",
        goal: "5x",
        measured: format!(
            "{factor:.1}x ({:.0} against {:.0} tok/s, {})",
            many.output_tokens_per_second, one.output_tokens_per_second, many.shape
        ),
        met: factor >= 5.0,
    })
}

/// The same configuration on a store of its own, which nobody else uses.
fn temporary(context: &Context, folder: &Path, name: &str, concurrency: usize) -> Context {
    let mut config = context.config().clone();
    let data = folder.join(name);
    config.store = format!("sqlite:{}", data.join("bul.db").display());
    config.data_dir = data.display().to_string();
    config.broker = "embedded".into();
    config.backup.cron.clear();
    config.worker.concurrency = concurrency;
    let loaded = Loaded { config, origins: context.loaded.origins.clone(), warnings: Vec::new() };
    Context { loaded, file: context.file.clone(), ..*context }
}

fn jobs(args: &Args) -> Vec<RawJob> {
    (0..args.documents)
        .map(|n| {
            let (area, kind, query) = KINDS[n % KINDS.len()];
            RawJob {
                query: Some(format!("{query}, part {}", n / KINDS.len() + 1)),
                business_area: Some(area.into()),
                doc_type: Some(kind.into()),
                data: (!args.bare).then(|| data(n)),
                context: (!args.bare).then(|| background(n)),
                formats: Some(vec!["md".into(), "pdf".into()]),
                params: Some(Params { seed: Some(n as u64), ..Params::default() }),
                ..RawJob::default()
            }
        })
        .collect()
}

/// Fields as a business system sends them along with a request. No two jobs have the same.
fn data(n: usize) -> Map<String, Value> {
    let (location, department) = SITES[n % SITES.len()];
    let fields = [
        ("company", format!("Northwind {location} Ltd")),
        ("department", department.to_owned()),
        ("location", location.to_owned()),
        ("period", format!("Q{} {}", n % 4 + 1, 2027 + n / 4 % 3)),
        ("budget", format!("EUR {},000", 120 + 7 * n)),
        ("deadline", format!("2027-{:02}-{:02}", n % 12 + 1, n % 28 + 1)),
        ("system", "the ERP system".to_owned()),
    ];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()
}

fn background(n: usize) -> String {
    format!("Readers are the managers of the site. There were {} questions about the last version.", n + 2)
}

/// Submits jobs and waits for their documents; each before the next is submitted where they go `singly`.
async fn round(system: &System, tenant: &TenantId, jobs: Vec<RawJob>, singly: bool) -> anyhow::Result<Round> {
    let intake = system.intake();
    let started = Instant::now();
    let mut usages = Vec::new();
    let batches: Vec<Vec<RawJob>> =
        if singly { jobs.into_iter().map(|job| vec![job]).collect() } else { vec![jobs] };
    for batch in batches {
        // Before the jobs: an event that nobody listens to is gone.
        let mut events = system.broker.events(EventFilter { tenant: tenant.clone(), job: None }).await?;
        for id in submit(&intake, tenant, batch).await? {
            usages.push(finished(system, tenant, id, &mut events).await?);
        }
    }
    Ok(Round { seconds: started.elapsed().as_secs_f64(), usages })
}

async fn submit(intake: &Intake, tenant: &TenantId, jobs: Vec<RawJob>) -> anyhow::Result<Vec<JobId>> {
    let jobs = jobs.into_iter().map(|job| (job, String::new())).collect();
    let answers = intake.submit(tenant, jobs, "bench", SubmitMode::AllOrNothing).await?;
    answers
        .into_iter()
        .map(|answer| match answer.outcome {
            Outcome::New { id, .. } => Ok(id),
            other => anyhow::bail!("a job was not accepted: {other:?}"),
        })
        .collect()
}

/// Waits for the end of a job; the store says what came of it.
async fn finished(
    system: &System,
    tenant: &TenantId,
    id: JobId,
    events: &mut (impl tokio_stream::Stream<Item = bul_job::Event> + Unpin),
) -> anyhow::Result<Usage> {
    let end = Instant::now() + ROUND_MAX;
    loop {
        let detail = system.store.job(tenant, id).await?;
        let state = detail.summary.status.state;
        if state.is_final() {
            let why = detail.summary.status.message.unwrap_or_default();
            ensure!(state == State::Completed, "job {id} is {state}: {why}");
            return Ok(detail.usage.unwrap_or_default());
        }
        ensure!(Instant::now() < end, "job {id} does not end");
        // The end of any job is a reason to look again, and so is silence.
        let ended = async { while events.next().await.is_some_and(|event| !event.is_final()) {} };
        let _ = tokio::time::timeout(QUIET, ended).await;
    }
}

async fn balanced(system: &System, tenant: &TenantId, expected: usize) -> anyhow::Result<()> {
    let ledger = system.store.ledger().await?;
    let counts = ledger.tenants.get(tenant).copied().unwrap_or_default();
    ensure!(
        counts.balances() && counts.completed == expected as u64,
        "the ledger does not balance: {counts:?}"
    );
    Ok(())
}

/// Hundredths.
fn share(part: u64, whole: u64) -> f64 {
    part as f64 * 100.0 / whole.max(1) as f64
}

fn text(claims: &[Claim]) -> String {
    let rows: Vec<Vec<String>> = claims
        .iter()
        .map(|c| {
            let met = if c.met { "yes" } else { "NO" };
            vec![c.claim.into(), c.older.into(), c.goal.into(), c.measured.clone(), met.into()]
        })
        .collect();
    table(&["PROMISE", "OLDER SYSTEM", "GOAL", "MEASURED HERE", "MET"], &rows)
}
