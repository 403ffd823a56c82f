//! The composition root: the only file that names a concrete store or broker.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bul_broker::Broker;
use bul_broker_embedded::EmbeddedBroker;
use bul_config::Config;
use bul_engine::{EngineOptions, Generate, ModelSpec};
use bul_job::{Lane, RetryPolicy, Rules, TenantId};
use bul_store::Store;
use bul_store_sqlite::SqliteStore;
use bul_template::Catalog;
use bul_worker::WorkerOptions;
use prometheus::Registry;

use crate::context::Context;
use crate::elsewhere::Elsewhere;
use crate::exit::Fault;
use crate::shipped;

/// Store, broker and templates for a command that needs no server.
pub struct Direct {
    /// Store.
    pub store: Arc<dyn Store>,
    /// A broker of this process: what it is given stays in the store as unconfirmed, so that the
    /// server's dispatcher takes it from there.
    pub broker: Arc<dyn Broker>,
    /// Templates.
    pub catalog: Arc<Catalog>,
    /// Tenant of direct commands.
    pub tenant: TenantId,
}

/// The database file the configuration names.
pub fn store_path(context: &Context) -> anyhow::Result<PathBuf> {
    let spec = &context.config().store;
    match spec.strip_prefix("sqlite:") {
        Some(path) if !path.is_empty() => Ok(PathBuf::from(path)),
        None if spec.is_empty() => Ok(context.data_dir()?.join("bul.db")),
        _ => Err(Fault::usage(format!("store {spec:?} is not known, expected sqlite:PATH"))
            .hint("PostgreSQL is not available in this version")
            .into()),
    }
}

/// Waiting times and limits of the state machine.
pub fn rules(config: &Config) -> Rules {
    let retry = RetryPolicy { base_ms: config.retry.base_ms, cap_ms: config.retry.cap_ms };
    Rules { retry, crashes_max: config.retry.crashes_max, ..Rules::default() }
}

/// Opens the store, creating it and bringing its schema up to date.
pub async fn open_store(context: &Context) -> anyhow::Result<Arc<dyn Store>> {
    open_store_at(&store_path(context)?, context.config()).await
}

/// Opens the store in a given file.
pub async fn open_store_at(path: &Path, config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    let options = bul_store_sqlite::Options { rules: rules(config), ..Default::default() };
    let store = SqliteStore::open(path, options)
        .await
        .map_err(|e| Fault::unavailable(format!("store {}: {e}", path.display())))?;
    Ok(Arc::new(store))
}

/// Keeps other servers off a store; held for the life of the process.
pub struct Exclusive(#[expect(dead_code, reason = "held, never read")] bul_store_sqlite::ExclusiveLock);

/// Locks the store for a server with the embedded broker: two of them would each hand out all jobs.
pub fn lock_store(path: &Path) -> anyhow::Result<Exclusive> {
    let lock = SqliteStore::lock_exclusive(path).map_err(|e| {
        Fault::failed(format!("store {}: {e}", path.display()))
            .hint("stop the other bul, or give this one another BUL_DATA_DIR")
    })?;
    Ok(Exclusive(lock))
}

/// Opens the broker.
pub fn open_broker(config: &Config) -> anyhow::Result<Arc<dyn Broker>> {
    if config.broker != "embedded" {
        return Err(Fault::usage(format!("broker {:?} is not known, expected embedded", config.broker))
            .hint("NATS and RabbitMQ are not available in this version")
            .into());
    }
    let options = bul_broker_embedded::Options {
        messages_max: config.limits.broker_messages_max,
        ..Default::default()
    };
    Ok(Arc::new(EmbeddedBroker::new(options)))
}

/// The shipped templates and those of the configured folder.
pub fn open_catalog(context: &Context) -> anyhow::Result<Arc<Catalog>> {
    let mut catalog = Catalog::builtin().context("the shipped templates")?;
    let folder = &context.config().templates_dir;
    if !folder.is_empty() {
        catalog
            .load_dir(Path::new(folder))
            .map_err(|e| Fault::usage(format!("templates_dir {folder}: {e}")))?;
    }
    Ok(Arc::new(catalog))
}

/// Store, broker and templates without a server.
pub async fn open_direct(context: &Context) -> anyhow::Result<Direct> {
    Ok(Direct {
        store: open_store(context).await?,
        broker: Arc::new(Elsewhere),
        catalog: open_catalog(context)?,
        tenant: TenantId::default_tenant(),
    })
}

/// Which model the configuration names.
pub fn model_spec(config: &Config) -> anyhow::Result<ModelSpec> {
    let key = Some(config.model.key.expose().to_owned()).filter(|key| !key.is_empty());
    let spec = ModelSpec::parse(&config.model.spec, key).map_err(|e| Fault::usage(format!("model: {e}")))?;
    Ok(match spec {
        None => ModelSpec::Embedded(shipped::model()),
        Some(ModelSpec::Scripted(mut options)) => {
            // Lets a test hold a generation long enough to cancel it.
            if let Some(ms) = std::env::var("BUL_TEST_TOKEN_DELAY_MS").ok().and_then(|v| v.parse().ok()) {
                options.token_delay = Some(Duration::from_millis(ms));
            }
            ModelSpec::Scripted(options)
        }
        Some(other) => other,
    })
}

/// Opens the model; reads all its weights.
pub async fn open_model(config: &Config, registry: Option<&Registry>) -> anyhow::Result<Arc<dyn Generate>> {
    let spec = model_spec(config)?;
    let mut options =
        EngineOptions { running_max: config.model.running_max.max(1), ..EngineOptions::default() };
    options.kv_bytes_max = config.model.kv_mib_max.max(1) << 20;
    if config.model.threads > 0 {
        options.threads = config.model.threads;
    }
    let registry = registry.cloned();
    let opened =
        tokio::task::spawn_blocking(move || bul_engine::open_with(&spec, &options, registry.as_ref()))
            .await?;
    Ok(opened.map_err(|e| Fault::unavailable(format!("model: {e}")))?)
}

/// Worker options with the sampling that suits the model: the shipped one has too few parameters to
/// stay with its grammar at the usual temperature.
pub fn sampling(config: &Config) -> WorkerOptions {
    let usual = WorkerOptions::default();
    if config.model.spec.is_empty() {
        WorkerOptions { temperature: 0.4, top_p: 0.85, ..usual }
    } else {
        usual
    }
}

/// The lanes a worker serves.
pub fn lanes(config: &Config) -> anyhow::Result<Vec<Lane>> {
    if config.worker.lanes.is_empty() {
        return Ok(Lane::ALL.to_vec());
    }
    let parse = |name: &String| {
        Lane::parse(name).ok_or_else(|| {
            Fault::usage(format!("worker.lanes: {name:?} is not critical, high, normal or low")).into()
        })
    };
    config.worker.lanes.iter().map(parse).collect()
}
