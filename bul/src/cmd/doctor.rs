//! `bul doctor`: opens everything once and says what it found.

use bul_cache::{CacheMetrics, RedisLink};
use bul_store::OpenBreaker;
use serde::Serialize;

use crate::backup;
use crate::breakers::told_by_redis;
use crate::client::print::relative;
use crate::context::Context;
use crate::exit::Exit;
use crate::wire;

/// Options of `bul doctor`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  bul doctor -o json")]
pub struct Args {}

#[derive(Debug, Serialize)]
struct Finding {
    part: &'static str,
    ok: bool,
    detail: String,
    /// What an operator should know although it works.
    notes: Vec<String>,
}

/// Runs the checks; exit code 4 when one fails.
pub async fn run(_args: Args, context: &Context) -> anyhow::Result<Exit> {
    context.init_logs(false)?;
    let findings = vec![
        finding("configuration", configuration(context)),
        store(context).await,
        finding("ledger", ledger(context).await),
        broker(context).await,
        breakers(context).await,
        finding("redis", redis(context).await),
        finding("templates", templates(context)),
        finding("model", model(context).await),
        finding("disk", disk(context)),
        finding("backup", backups(context)),
    ];
    let failed = findings.iter().any(|f| !f.ok);
    context.print(&findings, || {
        findings
            .iter()
            .map(|f| {
                let notes: String =
                    f.notes.iter().map(|note| format!("     {:<14} note: {note}\n", "")).collect();
                format!("{:<4} {:<14} {}\n{notes}", if f.ok { "ok" } else { "FAIL" }, f.part, f.detail)
            })
            .collect()
    })?;
    Ok(if failed { Exit::Unavailable } else { Exit::Done })
}

fn finding(part: &'static str, result: anyhow::Result<String>) -> Finding {
    match result {
        Ok(detail) => Finding { part, ok: true, detail, notes: Vec::new() },
        Err(error) => Finding { part, ok: false, detail: format!("{error:#}"), notes: Vec::new() },
    }
}

fn configuration(context: &Context) -> anyhow::Result<String> {
    wire::lanes(context.config())?;
    let warnings = &context.loaded.warnings;
    let set = context.loaded.origins.len();
    Ok(if warnings.is_empty() {
        format!("{set} options set")
    } else {
        format!("{set} options set; {}", warnings.join("; "))
    })
}

/// What the store really promises, and what is known to be wrong with its version or settings.
async fn store(context: &Context) -> Finding {
    let mut notes = Vec::new();
    let looked = async {
        let store = wire::open_store(context).await?;
        store.check().await?;
        let info = store.info();
        store.close().await;
        notes = info.notes;
        Ok(format!("{} {} at {}; {}", info.kind, info.version, info.location, info.durability))
    };
    let result = looked.await;
    Finding { notes, ..finding("store", result) }
}

async fn ledger(context: &Context) -> anyhow::Result<String> {
    let store = wire::open_store(context).await?;
    let ledger = store.ledger().await?;
    store.close().await;
    anyhow::ensure!(ledger.balances(), "the conservation equation does not hold: {:?}", ledger.total);
    let total = ledger.total;
    Ok(format!("balances: {} accepted, {} open, {} dead letters", total.accepted, total.open(), total.dead))
}

/// What the broker really promises, and what is known to be wrong with its version.
async fn broker(context: &Context) -> Finding {
    let mut notes = Vec::new();
    let looked = async {
        let broker = wire::open_broker(context.config()).await?;
        let checked = broker.check().await;
        let depths = broker.depths().await;
        let info = broker.info();
        broker.close().await;
        checked?;
        let (ready, unacked) =
            depths?.iter().fold((0, 0), |(ready, unacked), d| (ready + d.ready, unacked + d.unacked));
        notes = info.notes;
        Ok(format!(
            "{} {} at {}; {ready} messages waiting, {unacked} in workers' hands; {}",
            info.kind, info.version, info.location, info.durability
        ))
    };
    let result = looked.await;
    Finding { notes, ..finding("broker", result) }
}

/// Dependencies that workers have found to be down; they pull no work until these are back.
async fn breakers(context: &Context) -> Finding {
    let by_store = async {
        let store = wire::open_store(context).await?;
        let open = store.open_breakers().await;
        store.close().await;
        anyhow::Ok(open?)
    };
    let redis = wire::redis_options(context.config()).ok().flatten();
    let looked_at = if redis.is_some() { "model, store, redis" } else { "model, store" };
    // Of the store itself only Redis can tell; it does so when the store answers nobody, too. Connected first: the call itself
    // waits for a few milliseconds only.
    let link = redis.and_then(|options| RedisLink::open(&options, &CacheMetrics::unregistered()).ok());
    let mut open = Vec::new();
    if let Some(link) = link
        && link.check().await.is_ok()
    {
        open = told_by_redis(&link).await;
    }
    let result = by_store.await.map(|told| {
        open.extend(told);
        match (open.len(), open.iter().any(OpenBreaker::holds_work_back)) {
            (0, _) => format!("all closed: {looked_at}"),
            (n, true) => format!("{n} open of {looked_at}; these workers pull no jobs until it is back"),
            (n, false) => format!("{n} open of {looked_at}; jobs go on, texts and breakers are not shared"),
        }
    });
    let notes = open.iter().map(ToString::to_string).collect();
    Finding { notes, ..finding("breakers", result) }
}

/// Redis is optional: it fails only where it is configured and does not answer.
async fn redis(context: &Context) -> anyhow::Result<String> {
    let Some(options) = wire::redis_options(context.config())? else {
        return Ok("off; finished texts and breakers are not shared among processes".into());
    };
    let link = RedisLink::open(&options, &CacheMetrics::unregistered())?;
    link.check().await.map_err(anyhow::Error::msg)?;
    Ok(format!("answers at {}", link.location()))
}

/// The newest backup. One that is late fails: nobody looks at backups until one is needed.
fn backups(context: &Context) -> anyhow::Result<String> {
    let options = &context.config().backup;
    if options.folder.is_empty() {
        return Ok("off; set backup.folder and backup.cron".into());
    }
    let newest = backup::list(std::path::Path::new(&options.folder))?.into_iter().next();
    let made = newest.as_ref().map(|backup| backup.manifest.created_at);
    let now = chrono::Utc::now();
    if let Some(schedule) = wire::backup_schedule(context)?
        && let Some(due) = made.and_then(|made| schedule.overdue(made, now))
    {
        anyhow::bail!("the backup of {due} is missing in {}; see the log of the scheduler", options.folder);
    }
    Ok(match newest {
        Some(backup) => format!("{} of {}", backup.name, relative(backup.manifest.created_at, now)),
        None => format!("none yet in {}", options.folder),
    })
}

fn templates(context: &Context) -> anyhow::Result<String> {
    let catalog = wire::open_catalog(context)?;
    let names: Vec<String> = catalog.list().iter().map(|t| t.name.clone()).collect();
    Ok(names.join(", "))
}

async fn model(context: &Context) -> anyhow::Result<String> {
    let info = wire::open_model(context.config(), None, None).await?.info();
    let parameters =
        info.parameters.map_or(String::new(), |n| format!(", {:.1} M parameters", n as f64 / 1e6));
    let note = if context.config().model.spec.is_empty() {
        "; a demonstration model, set BUL_MODEL to a real one"
    } else {
        ""
    };
    Ok(format!("{} ({}){parameters}{note}", info.name, info.kind))
}

fn disk(context: &Context) -> anyhow::Result<String> {
    let mut folder = context.data_dir()?;
    while !folder.exists() && folder.pop() {}
    let output = std::process::Command::new("df").args(["-Pk", &folder.display().to_string()]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let free_kib: u64 = text
        .lines()
        .nth(1)
        .and_then(|l| l.split_whitespace().nth(3))
        .and_then(|n| n.parse().ok())
        .unwrap_or(0);
    anyhow::ensure!(free_kib > 256 * 1024, "only {} MiB are free in {}", free_kib / 1024, folder.display());
    Ok(format!("{:.1} GiB free in {}", free_kib as f64 / 1024.0 / 1024.0, folder.display()))
}
