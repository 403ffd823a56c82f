//! The composition root: the only file that names a concrete store or broker.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bul_broker::Broker;
use bul_broker_embedded::EmbeddedBroker;
use bul_broker_nats::NatsBroker;
use bul_broker_rabbitmq::RabbitBroker;
use bul_cache::{CacheOptions, DiskOptions, Location, MemoryOptions, RedisOptions};
use bul_config::Config;
use bul_engine::{Generate, ModelInfo, ModelSpec};
use bul_job::{Lane, RetryPolicy, Rules, TenantId, TenantLimits};
use bul_store::{Retention, Store};
use bul_store_postgres::PostgresStore;
use bul_store_sqlite::SqliteStore;
use bul_template::Catalog;
use bul_worker::WorkerOptions;
use prometheus::Registry;

use crate::backup;
use crate::blocks;
use crate::context::Context;
use crate::elsewhere::Elsewhere;
use crate::engine;
use crate::exit::Fault;
use crate::shipped;

/// Store, broker and templates for a command that needs no server.
pub struct Direct {
    /// Store.
    pub store: Arc<dyn Store>,
    /// The broker. Where the embedded one is configured, it lives in the server's process: what is given here stays
    /// in the store as unconfirmed, so that the server's dispatcher takes it from there.
    pub broker: Arc<dyn Broker>,
    /// Templates.
    pub catalog: Arc<Catalog>,
    /// Tenant of direct commands.
    pub tenant: TenantId,
}

/// Which store.
#[derive(Debug, Clone)]
pub enum StoreSpec {
    /// A file.
    Sqlite(PathBuf),
    /// A server.
    Postgres(String),
}

/// The store the configuration names.
pub fn store_spec(context: &Context) -> anyhow::Result<StoreSpec> {
    let spec = &context.config().store;
    if spec.is_empty() {
        return Ok(StoreSpec::Sqlite(context.data_dir()?.join("bul.db")));
    }
    if spec.starts_with("postgres://") || spec.starts_with("postgresql://") {
        return Ok(StoreSpec::Postgres(spec.clone()));
    }
    match spec.strip_prefix("sqlite:").filter(|path| !path.is_empty()) {
        Some(path) => Ok(StoreSpec::Sqlite(path.into())),
        // The text may hold a password that was meant for another scheme.
        None => {
            Err(Fault::usage("store: expected sqlite:PATH or postgres://user:password@host/database").into())
        }
    }
}

/// Which broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BrokerSpec {
    /// In this process.
    Embedded,
    /// NATS JetStream.
    Nats(String),
    /// RabbitMQ.
    Rabbit(String),
}

/// The broker the configuration names.
pub fn broker_spec(config: &Config) -> anyhow::Result<BrokerSpec> {
    let spec = &config.broker;
    let starts = |schemes: &[&str]| schemes.iter().any(|scheme| spec.starts_with(scheme));
    if spec == "embedded" {
        Ok(BrokerSpec::Embedded)
    } else if starts(&["nats://", "tls://"]) {
        Ok(BrokerSpec::Nats(spec.clone()))
    } else if starts(&["amqp://", "amqps://"]) {
        Ok(BrokerSpec::Rabbit(spec.clone()))
    } else {
        Err(Fault::usage("broker: expected embedded, nats://host:4222 or amqp://user:password@host:5672")
            .into())
    }
}

/// Waiting times and limits of the state machine.
pub fn rules(config: &Config) -> Rules {
    let retry = RetryPolicy { base_ms: config.retry.base_ms, cap_ms: config.retry.cap_ms };
    let usual = Rules::default();
    let newer_tries = config.worker.newer_s_max / usual.newer_wait.as_secs().max(1);
    let newer_tries = u32::try_from(newer_tries).unwrap_or(u32::MAX).max(1);
    Rules { retry, crashes_max: config.retry.crashes_max, newer_tries, ..usual }
}

/// How long what has ended is kept.
pub fn retention(config: &Config) -> Retention {
    let days = |days: u64| (days > 0).then(|| Duration::from_secs(days.saturating_mul(24 * 3600)));
    let keep = &config.retention;
    Retention {
        completed: days(keep.completed_days),
        cancelled: days(keep.cancelled_days),
        dead: days(keep.dead_days),
        documents: days(keep.documents_days),
        events: days(keep.events_days),
    }
}

/// Limits of tenants that have none of their own.
pub fn tenant_limits(config: &Config) -> TenantLimits {
    let limits = &config.limits;
    TenantLimits {
        running_max: limits.tenant_running_max,
        queued_max: limits.tenant_queued_max,
        tokens_per_minute: limits.tenant_tokens_per_minute,
        tokens_per_day: limits.tenant_tokens_per_day,
    }
}

/// Opens the store, creating it and bringing its schema up to date.
pub async fn open_store(context: &Context) -> anyhow::Result<Arc<dyn Store>> {
    open_store_of(&store_spec(context)?, context.config()).await
}

/// Opens a given store.
pub async fn open_store_of(spec: &StoreSpec, config: &Config) -> anyhow::Result<Arc<dyn Store>> {
    match spec {
        StoreSpec::Sqlite(path) => {
            let options = bul_store_sqlite::Options {
                rules: rules(config),
                limits: tenant_limits(config),
                ..Default::default()
            };
            let store = SqliteStore::open(path, options)
                .await
                .map_err(|e| Fault::unavailable(format!("store {}: {e}", path.display())))?;
            Ok(Arc::new(store))
        }
        StoreSpec::Postgres(url) => {
            let options = bul_store_postgres::Options {
                rules: rules(config),
                limits: tenant_limits(config),
                ..Default::default()
            };
            let store = PostgresStore::open(url, options)
                .await
                .map_err(|e| Fault::unavailable(format!("store: {e}")))?;
            Ok(Arc::new(store))
        }
    }
}

/// Keeps other servers off a store; held for the life of the process.
pub struct Exclusive(#[expect(dead_code, reason = "held, never read")] bul_store_sqlite::ExclusiveLock);

/// Locks a file for a server with the embedded broker: two of them would each hand out all jobs. A
/// broker outside of the process may serve several on one store.
pub fn lock_store(store: &StoreSpec, broker: &BrokerSpec) -> anyhow::Result<Option<Exclusive>> {
    match (store, broker) {
        (StoreSpec::Sqlite(path), BrokerSpec::Embedded) => {
            let hint = "stop the other bul, or give this one another BUL_DATA_DIR";
            Ok(Some(lock_file(path, hint)?))
        }
        (StoreSpec::Sqlite(_), BrokerSpec::Nats(_) | BrokerSpec::Rabbit(_)) | (StoreSpec::Postgres(_), _) => {
            Ok(None)
        }
    }
}

/// Locks the file of a SQLite store, which must not be in use.
pub fn lock_file(path: &Path, hint: &str) -> anyhow::Result<Exclusive> {
    let locked = SqliteStore::lock_exclusive(path);
    Ok(locked
        .map(Exclusive)
        .map_err(|e| Fault::failed(format!("store {}: {e}", path.display())).hint(hint))?)
}

/// Copies a SQLite store, as it is at one moment, into a new file.
pub async fn copy_store(path: &Path, to: &Path) -> anyhow::Result<()> {
    Ok(SqliteStore::snapshot(path, to).await?)
}

/// Brings all of a SQLite store into its one file.
pub async fn settle_store(path: &Path) -> anyhow::Result<()> {
    Ok(SqliteStore::settle(path).await?)
}

/// Opens the broker.
pub async fn open_broker(config: &Config) -> anyhow::Result<Arc<dyn Broker>> {
    open_broker_of(&broker_spec(config)?, config).await
}

/// Opens a given broker.
pub async fn open_broker_of(spec: &BrokerSpec, config: &Config) -> anyhow::Result<Arc<dyn Broker>> {
    match spec {
        BrokerSpec::Embedded => {
            let options = bul_broker_embedded::Options {
                messages_max: config.limits.broker_messages_max,
                partitions: config.broker_partitions,
                ..Default::default()
            };
            Ok(Arc::new(EmbeddedBroker::new(options)))
        }
        BrokerSpec::Nats(url) => {
            let options = bul_broker_nats::Options {
                replicas: config.broker_replicas,
                partitions: config.broker_partitions,
                bundle_max: config.broker_bundle_max,
                ..Default::default()
            };
            let broker = NatsBroker::open(url, options)
                .await
                .map_err(|e| Fault::unavailable(format!("broker: {e}")))?;
            Ok(Arc::new(broker))
        }
        BrokerSpec::Rabbit(url) => {
            let options = bul_broker_rabbitmq::Options {
                partitions: config.broker_partitions,
                bundle_max: config.broker_bundle_max,
                ..Default::default()
            };
            let broker = RabbitBroker::open(url, options)
                .await
                .map_err(|e| Fault::unavailable(format!("broker: {e}")))?;
            Ok(Arc::new(broker))
        }
    }
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

/// Store, broker and templates without a server. With a broker outside of this process jobs are
/// published right away.
pub async fn open_direct(context: &Context) -> anyhow::Result<Direct> {
    let broker: Arc<dyn Broker> = match broker_spec(context.config())? {
        BrokerSpec::Embedded => Arc::new(Elsewhere),
        spec @ (BrokerSpec::Nats(_) | BrokerSpec::Rabbit(_)) => {
            open_broker_of(&spec, context.config()).await?
        }
    };
    Ok(Direct {
        store: open_store(context).await?,
        broker,
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
            // Lets a test see what becomes of a job that kills every worker.
            options.abort = std::env::var("BUL_TEST_ABORT_ON").ok().filter(|text| !text.is_empty());
            ModelSpec::Scripted(options)
        }
        Some(other) => other,
    })
}

/// Opens the model; reads all its weights. `tier`: where evicted keys and values may go, for one process at a time.
pub async fn open_model(
    config: &Config,
    registry: Option<&Registry>,
    tier: Option<PathBuf>,
) -> anyhow::Result<Arc<dyn Generate>> {
    let (spec, mut options) = (model_spec(config)?, engine::options(config, tier.clone())?);
    let on_trial = engine::trial_options(config, tier)?;
    let devices = engine::devices(config)?;
    options.tiers.remote = blocks::remote_tier(config)?;
    let registry = registry.cloned();
    let opened = tokio::task::spawn_blocking(move || {
        let opened = match &on_trial {
            Some(on_trial) => bul_engine::open_trial(&spec, [&options, on_trial], registry.as_ref()),
            None => bul_engine::open_on(&spec, &options, &devices, registry.as_ref()),
        };
        shipped::forget_model();
        opened
    })
    .await?;
    Ok(opened.map_err(|e| Fault::unavailable(format!("model: {e}")))?)
}

/// What a backup of this installation holds.
pub fn backup_parts(context: &Context) -> anyhow::Result<backup::Parts> {
    let store = match store_spec(context)? {
        StoreSpec::Sqlite(path) => Some(path),
        StoreSpec::Postgres(_) => None,
    };
    let data = context.data_dir()?;
    Ok(backup::Parts { store, caches: vec![("kv", data.join("kv")), ("texts", data.join("texts"))] })
}

/// Backups by the calendar; `None` without a folder or a time.
pub fn backup_schedule(context: &Context) -> anyhow::Result<Option<backup::Schedule>> {
    let bul_config::Backup { folder, cron, keep } = &context.config().backup;
    if cron.is_empty() {
        return Ok(None);
    }
    if folder.is_empty() {
        return Err(Fault::usage("backup.cron is set without backup.folder").into());
    }
    Ok(Some(backup::Schedule::new(backup_parts(context)?, folder.into(), *keep, cron)?))
}

/// The cache of finished texts that the configuration names; `None` when it is off.
pub fn cache_options(context: &Context) -> anyhow::Result<Option<CacheOptions>> {
    let config = context.config();
    let redis = redis_options(config)?;
    let disk = match config.cache.disk_mib_max {
        0 => None,
        mib => {
            let folder = context.data_dir()?.join("texts");
            Some(DiskOptions { bytes_max: mib << 20, ..DiskOptions::at(folder) })
        }
    };
    if config.cache.memory_mib_max == 0 {
        return Ok(None);
    }
    let memory = MemoryOptions { bytes_max: config.cache.memory_mib_max << 20, ..MemoryOptions::default() };
    Ok(Some(CacheOptions { memory, redis, disk, ..CacheOptions::default() }))
}

/// Redis, where the configuration names one.
pub fn redis_options(config: &Config) -> anyhow::Result<Option<RedisOptions>> {
    if config.redis.is_empty() {
        return Ok(None);
    }
    let location = Location::parse(&config.redis).map_err(|e| Fault::usage(format!("redis: {e}")))?;
    Ok(Some(RedisOptions::at(location)))
}

/// Worker options with the sampling that suits the model: the shipped one has too few parameters to
/// stay with its grammar at the usual temperature.
pub fn sampling(config: &Config) -> WorkerOptions {
    let usual = WorkerOptions::default();
    if config.model.spec.is_empty() {
        WorkerOptions { temperature: 0.4, top_p: 0.85, ..usual }
    } else {
        WorkerOptions { session_turns: config.model.session_turns, ..usual }
    }
}

/// Tells the model from every other that writes other texts. A remote one has no fingerprint: its address and name stand for it.
pub fn model_key(config: &Config, info: &ModelInfo) -> String {
    let name = if info.fingerprint.is_empty() { &config.model.spec } else { &info.fingerprint };
    format!("{}/{name}/{}", info.kind, info.precision)
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
