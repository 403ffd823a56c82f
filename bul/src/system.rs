//! The roles of one process: what `bul up`, `bul worker`, `bul scheduler` and `bul producer` run, and `bul demo`.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bul_broker::{Broker, Foreign};
use bul_cache::{Cache, CacheMetrics, SharedBreaker};
use bul_engine::Generate;
use bul_pdf::PdfWriter;
use bul_producer::{Adopted, Intake};
use bul_runtime::breaker::BreakerOptions;
use bul_runtime::{Shutdown, Tasks};
use bul_scheduler::{Scheduler, SchedulerOptions};
use bul_store::{BacklogFilter, Retention, Store, StoreError};
use bul_template::Catalog;
use bul_worker::{Adopt, Affinity, Ahead, Backlog, Company, Parts, Taken, Worker, WorkerOptions, keep_warm};
use prometheus::{IntGaugeVec, Registry};
use tracing::info;

use crate::accept::Accepting;
use crate::breakers::Teller;
use crate::context::Context;
use crate::exit::Fault;
use crate::model::{Model, Texts};
use crate::wire::{self, BrokerSpec, StoreSpec};

/// Which roles to start beside the producer, which its command starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roles {
    /// Workers; 0 for none.
    pub workers: usize,
    /// A scheduler; of several in one installation the leader works.
    pub scheduler: bool,
    /// All roles that the store needs are here, and only here.
    pub alone: bool,
}

impl Roles {
    /// Everything in one process.
    pub fn all(workers: usize) -> Self {
        Self { workers: workers.max(1), scheduler: true, alone: true }
    }
}

/// A running system.
pub struct System {
    /// Record of jobs.
    pub store: Arc<dyn Store>,
    /// Work that is ready.
    pub broker: Arc<dyn Broker>,
    /// Templates.
    pub catalog: Arc<Catalog>,
    /// What jobs are checked with on their way in.
    pub accepting: Arc<Accepting>,
    /// Model, where a worker runs.
    pub model: Option<Arc<dyn Generate>>,
    /// Metrics of all roles.
    pub registry: Registry,
    breakers: IntGaugeVec,
    /// Its end.
    pub shutdown: Shutdown,
    /// Its tasks; more may be added.
    pub tasks: Tasks,
    _exclusive: Option<wire::Exclusive>,
}

impl System {
    /// Opens everything the roles need and starts them.
    pub async fn start(
        context: &Context,
        store: &StoreSpec,
        broker: &BrokerSpec,
        roles: Roles,
    ) -> anyhow::Result<Self> {
        let config = context.config();
        check_roles(broker, roles)?;
        wire::lanes(config)?;
        if let StoreSpec::Sqlite(path) = store
            && let Some(folder) = path.parent()
        {
            create_private(folder)?;
        }
        let exclusive = wire::lock_store(store, broker)?;
        let registry = Registry::new();
        let breakers = bul_telemetry::breakers(&registry);
        let store = wire::open_store_of(store, config).await?;
        let broker = wire::open_broker_of(broker, config).await?;
        let catalog = wire::open_catalog(context)?;
        let accepting = Accepting::new(catalog.clone());
        recover(store.as_ref(), broker.as_ref(), exclusive.is_some()).await?;
        let (shutdown, tasks) = (Shutdown::new(), Tasks::new());
        let mut system = Self {
            store,
            broker,
            catalog,
            accepting,
            model: None,
            registry,
            breakers,
            shutdown,
            tasks,
            _exclusive: exclusive,
        };
        if roles.workers > 0 {
            system.add_workers(context, roles.workers).await?;
        }
        if roles.scheduler {
            system.start_scheduler(wire::retention(config));
            if let Some(backups) = wire::backup_schedule(context)? {
                let stopping = system.shutdown.stopping().clone();
                system.tasks.spawn("backup", backups.run(stopping));
            }
        }
        Ok(system)
    }

    /// An intake of this system.
    pub fn intake(&self) -> Intake {
        Intake::new(self.store.clone(), self.broker.clone(), self.accepting.clone())
    }

    fn start_workers(&mut self, context: &Context, count: usize) -> anyhow::Result<()> {
        let Some(model) = self.model.clone() else { return Ok(()) };
        let config = context.config();
        let metrics = bul_worker::Metrics::new(&self.registry, self.breakers.clone());
        let (pdf, adopt) = (Arc::new(PdfWriter::new()), Arc::new(Gate(self.intake())));
        let company = Arc::new(Company::default());
        let affinity =
            Affinity::new(format!("process-{}", uuid::Uuid::new_v4().simple()), self.broker.partitions());
        let stopping = self.shutdown.stopping().clone();
        self.tasks.spawn("affinity", affinity.clone().follow(self.store.clone(), stopping));
        let ahead = Ahead::new(model.clone(), metrics.clone());
        let filter = BacklogFilter { lanes: wire::lanes(config)?, ..BacklogFilter::default() };
        let (store, catalog) = (self.store.clone(), self.catalog.clone());
        let backlog = Backlog::new(store, catalog, ahead.clone(), affinity.clone(), filter);
        self.tasks.spawn("backlog", backlog.follow(self.shutdown.stopping().clone()));
        for replica in 1..=count {
            // Unique among all hosts and restarts: it is the name in the record of attempts.
            let instance = &uuid::Uuid::new_v4().simple().to_string()[..8];
            let options = WorkerOptions {
                name: format!("worker-{}-{replica}-{instance}", std::process::id()),
                concurrency: config.worker.concurrency,
                lease: Duration::from_secs(config.worker.lease_s.max(1)),
                attempt_max: Duration::from_secs(config.worker.attempt_s_max.max(1)),
                newer_max: Duration::from_secs(config.worker.newer_s_max),
                keep_texts_after: (config.worker.keep_texts_after_ms > 0)
                    .then(|| Duration::from_millis(config.worker.keep_texts_after_ms)),
                lanes: wire::lanes(config)?,
                ..wire::sampling(config)
            };
            let parts = Parts {
                store: self.store.clone(),
                broker: self.broker.clone(),
                adopt: adopt.clone(),
                model_key: wire::model_key(config, &model.info()),
                model: model.clone(),
                catalog: self.catalog.clone(),
                pdf: pdf.clone(),
                company: company.clone(),
                affinity: affinity.clone(),
                ahead: ahead.clone(),
                metrics: metrics.clone(),
            };
            self.tasks.spawn("worker", Worker::new(parts, options).run(self.shutdown.clone()));
        }
        Ok(())
    }

    fn start_scheduler(&mut self, retention: Retention) {
        let name = format!("scheduler-{}", uuid::Uuid::new_v4());
        let options = SchedulerOptions { name, retention, ..Default::default() };
        let metrics = bul_scheduler::Metrics::new(&self.registry);
        let scheduler = Scheduler::new(self.store.clone(), self.broker.clone(), options, metrics);
        self.tasks.spawn("scheduler", scheduler.run(self.shutdown.clone()));
    }

    /// Starts workers, with the model they need. Once for each system.
    pub async fn add_workers(&mut self, context: &Context, count: usize) -> anyhow::Result<()> {
        let tier = Some(context.data_dir()?.join("kv"));
        let model = wire::open_model(context.config(), Some(&self.registry), tier).await?;
        let model = self.with_cache(context, model).await?;
        let stopping = self.shutdown.stopping().clone();
        self.tasks.spawn("warm-up", keep_warm(self.catalog.clone(), model.clone(), stopping));
        self.model = Some(model);
        self.start_workers(context, count)
    }

    /// Puts the cache of finished texts before the model and, where processes share a remote one over Redis, their
    /// circuit breaker. The scripted model is there to measure and test what is around it: it has neither.
    async fn with_cache(
        &mut self,
        context: &Context,
        model: Arc<dyn Generate>,
    ) -> anyhow::Result<Arc<dyn Generate>> {
        let (config, info) = (context.config(), model.info());
        let Some(options) = wire::cache_options(context)?.filter(|_| info.kind != "scripted") else {
            return Ok(model);
        };
        let metrics = CacheMetrics::new(&self.registry, self.breakers.clone());
        let opened = Cache::open(options, &metrics).await.map_err(|e| Fault::usage(format!("cache: {e}")))?;
        let stopping = self.shutdown.stopping().clone();
        self.tasks.spawn("cache", opened.upkeep.run(stopping.clone()));
        if let Some(redis) = opened.redis.clone() {
            let process =
                format!("process-{}-{}", std::process::id(), &uuid::Uuid::new_v4().simple().to_string()[..8]);
            let teller = Teller { process, states: self.breakers.clone(), store: self.store.clone(), redis };
            self.tasks.spawn("breakers", teller.run(stopping.clone()));
        }
        let breaker = match opened.redis {
            Some(link) if info.kind == "openai" => {
                // It counts nothing itself: it opens when the model's own breaker has, here or elsewhere.
                let options = BreakerOptions { calls_min: 1, failure_rate: 0.0, ..BreakerOptions::default() };
                // Another server's or another model's troubles are its own; its address is no one's business.
                let of = blake3::hash(config.model.spec.as_bytes()).to_hex();
                let (breaker, follower) =
                    SharedBreaker::shared("model_shared", &of[..16], options, link, &metrics);
                self.tasks.spawn("breaker", follower.run(stopping));
                Some(breaker)
            }
            Some(_) | None => None,
        };
        let texts = Texts {
            cache: opened.cache,
            ttl: Duration::from_secs(config.cache.ttl_s),
            model: wire::model_key(config, &info),
        };
        Ok(Arc::new(Model::new(model, Some(texts), breaker)))
    }

    /// Waits until all tasks have ended; a panic of one ends them all. Closes broker and store last.
    pub async fn join(mut self) -> anyhow::Result<()> {
        let mut result = Ok(());
        while let Some((name, ended)) = self.tasks.next().await {
            if let Err(panic) = ended {
                self.shutdown.halt();
                result = Err(anyhow::anyhow!("task {name} panicked: {panic}"));
            }
        }
        self.broker.close().await;
        self.store.close().await;
        result
    }
}

/// Messages of other programs go through the same intake as everything else.
struct Gate(Intake);

#[async_trait]
impl Adopt for Gate {
    async fn adopt(&self, foreign: &Foreign, last_try: bool) -> Result<Taken, StoreError> {
        self.0.adopt(foreign, last_try).await.map(|adopted| match adopted {
            Adopted::Jobs(_) | Adopted::DeadLetter(_) => Taken::Over,
            Adopted::LeftToNewer(reason) => Taken::NotByThisVersion(reason),
        })
    }
}

/// The embedded broker lives in one process; a role alone would never meet the others.
fn check_roles(broker: &BrokerSpec, roles: Roles) -> anyhow::Result<()> {
    if *broker == BrokerSpec::Embedded && !roles.alone {
        return Err(Fault::usage("a role of its own needs a broker outside of this process")
            .hint("set BUL_BROKER to nats://… or amqp://…, or run everything with bul up")
            .into());
    }
    Ok(())
}

/// A process that is alone on its store knows that running attempts belong to one that is gone; others wait
/// for the leases to end. What a broker without memory forgot is published again.
async fn recover(store: &dyn Store, broker: &dyn Broker, alone: bool) -> anyhow::Result<()> {
    let orphaned = if alone { store.end_orphaned().await? } else { 0 };
    let republished = if broker.info().durable { 0 } else { store.republish_queued().await? };
    if orphaned + republished > 0 {
        info!(orphaned, republished, "took over where another process ended");
    }
    Ok(())
}

/// Creates a folder that only its owner may enter: it will hold jobs and a key.
pub fn create_private(folder: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|e| {
        Fault::failed(format!("{}: {e}", folder.display()))
            .hint("set BUL_DATA_DIR to a folder you may write to")
            .into()
    })
}

#[cfg(test)]
#[path = "system_tests.rs"]
mod tests;
