//! `bul up`: producer, workers and scheduler in one process; and what the roles alone share with it.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use bul_config::Config;
use bul_job::TenantId;
use bul_producer::{AppState, ProducerOptions};
use bul_store::{Permission, Store};
use tokio::net::TcpListener;
use tracing::info;

use crate::context::Context;
use crate::exit::{Exit, Fault};
use crate::system::{Roles, System};
use crate::wire;

/// Name of the key for commands of the same user.
const LOCAL_KEY: &str = "local";

/// Options of `bul up`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  BUL_LISTEN=0.0.0.0:8002 bul up --config /etc/bul/bul.toml")]
pub struct Args {
    /// Address of the HTTP API, instead of the configured one
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
}

/// Runs until SIGTERM or SIGINT.
pub async fn run(args: Args, context: &Context) -> anyhow::Result<Exit> {
    let config = context.config();
    let address = args.listen.unwrap_or_else(|| config.listen.clone());
    serve(context, Some(address), Roles::all(config.worker.replicas)).await
}

/// Runs the roles, with the HTTP API on `address` where one is given, until SIGTERM or SIGINT.
pub(super) async fn serve(context: &Context, address: Option<String>, roles: Roles) -> anyhow::Result<Exit> {
    context.init_logs(true)?;
    for warning in &context.loaded.warnings {
        tracing::warn!("{warning}");
    }
    let config = context.config();
    let listener = match &address {
        Some(address) => Some(listen(address).await?),
        None => None,
    };
    let (store, broker) = (wire::store_spec(context)?, wire::broker_spec(config)?);
    let mut system = System::start(context, &store, &broker, roles).await?;
    if let Some(listener) = listener {
        ensure_local_key(&context.local_key_file()?, system.store.as_ref()).await?;
        start_http(&mut system, config, listener);
    }
    if !config.metrics_listen.is_empty() {
        start_metrics(&mut system, listen(&config.metrics_listen).await?);
    }
    let grace = Duration::from_secs(config.worker.grace_s);
    tokio::spawn(bul_runtime::watch_signals(system.shutdown.clone(), grace));
    let model = system.model.as_ref().map(|model| model.info());
    info!(
        address = address.as_deref().unwrap_or("none"),
        workers = roles.workers,
        scheduler = roles.scheduler,
        model = model.as_ref().map_or("none", |m| m.name.as_str()),
        kind = model.as_ref().map_or("none", |m| m.kind),
        store = system.store.info().location,
        broker = system.broker.info().location,
        "ready to take jobs"
    );
    crate::pages::forget_code();
    system.join().await?;
    Ok(Exit::Done)
}

fn start_http(system: &mut System, config: &Config, listener: TcpListener) {
    let options = ProducerOptions {
        requests_max: config.limits.requests_max,
        serve_metrics: config.metrics_listen.is_empty(),
        ..Default::default()
    };
    let state = AppState::new(
        system.store.clone(),
        system.broker.clone(),
        system.accepting.clone(),
        system.registry.clone(),
        options,
    );
    let (stopping, halt) = (system.shutdown.stopping().clone(), system.shutdown.clone());
    system.tasks.spawn("http", async move {
        if let Err(error) = bul_producer::serve(listener, state, stopping).await {
            tracing::error!(%error, "the HTTP listener ended");
            halt.halt();
        }
    });
}

fn start_metrics(system: &mut System, listener: TcpListener) {
    let (store, broker) = (system.store.clone(), system.broker.clone());
    let router = bul_producer::metrics_router(system.registry.clone(), store, broker);
    let stopping = system.shutdown.stopping().clone();
    system.tasks.spawn("metrics", async move {
        if let Err(error) = bul_producer::serve_router(listener, router, stopping).await {
            tracing::error!(%error, "the metrics listener ended");
        }
    });
}

async fn listen(address: &str) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    Ok(bound.map_err(|e| {
        Fault::failed(format!("cannot listen on {address}: {e}")).hint("choose another with BUL_LISTEN")
    })?)
}

/// Leaves a key for commands of the same user on the same machine, readable by nobody else, so that
/// `bul submit` works without any set-up. An existing one that still works stays.
async fn ensure_local_key(file: &Path, store: &dyn Store) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    if let Ok(text) = std::fs::read_to_string(file)
        && store.find_key(&bul_producer::auth::hash_key(text.trim())).await?.is_some()
    {
        return Ok(());
    }
    // A lost file leaves its key behind; nobody can hold it any more.
    let lost = store.keys().await?.into_iter().filter(|k| k.name == LOCAL_KEY && k.revoked_at.is_none());
    for key in lost {
        store.revoke_key(&key.id).await?;
    }
    let made = bul_producer::auth::generate_key(
        LOCAL_KEY,
        TenantId::default_tenant(),
        Permission::Operate,
        store.now(),
    );
    store.add_key(&made.key).await?;
    let folder = file.parent().unwrap_or(Path::new("."));
    crate::system::create_private(folder)?;
    // Written beside and renamed, so that a reader never sees half a key.
    let partial = file.with_extension("partial");
    let _ = std::fs::remove_file(&partial);
    let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
    writeln!(out, "{}", made.text)?;
    out.sync_all()?;
    std::fs::rename(&partial, file)?;
    Ok(())
}
