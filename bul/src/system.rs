//! All roles in one process: what `bul up` serves and `bul demo` runs.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bul_broker::Broker;
use bul_engine::Generate;
use bul_pdf::PdfWriter;
use bul_runtime::{Shutdown, Tasks};
use bul_scheduler::{Scheduler, SchedulerOptions};
use bul_store::Store;
use bul_template::Catalog;
use bul_worker::{Parts, Worker, WorkerOptions};
use prometheus::Registry;
use tracing::info;

use crate::context::Context;
use crate::wire;

/// A running system.
pub struct System {
    /// Record of jobs.
    pub store: Arc<dyn Store>,
    /// Work that is ready.
    pub broker: Arc<dyn Broker>,
    /// Templates.
    pub catalog: Arc<Catalog>,
    /// Model.
    pub model: Arc<dyn Generate>,
    /// Metrics of all roles.
    pub registry: Registry,
    /// Its end.
    pub shutdown: Shutdown,
    /// Its tasks; more may be added.
    pub tasks: Tasks,
    _exclusive: wire::Exclusive,
}

impl System {
    /// Opens everything on the store in `path` and starts worker and scheduler.
    pub async fn start(context: &Context, path: &Path) -> anyhow::Result<Self> {
        let config = context.config();
        let lanes = wire::lanes(config)?;
        if let Some(folder) = path.parent() {
            create_private(folder)?;
        }
        let exclusive = wire::lock_store(path)?;
        let registry = Registry::new();
        let (store, broker) = (wire::open_store_at(path, config).await?, wire::open_broker(config)?);
        let catalog = wire::open_catalog(context)?;
        let model = wire::open_model(config, Some(&registry)).await?;
        recover(store.as_ref(), broker.as_ref()).await?;

        let options = WorkerOptions {
            name: format!("worker-{}", std::process::id()),
            concurrency: config.worker.concurrency,
            lease: Duration::from_secs(config.worker.lease_s.max(1)),
            attempt_max: Duration::from_secs(config.worker.attempt_s_max.max(1)),
            lanes,
            ..wire::sampling(config)
        };
        let parts = Parts {
            store: store.clone(),
            broker: broker.clone(),
            model: model.clone(),
            catalog: catalog.clone(),
            pdf: Arc::new(PdfWriter::new()),
            metrics: bul_worker::Metrics::new(&registry),
        };
        let shutdown = Shutdown::new();
        let mut tasks = Tasks::new();
        tasks.spawn("worker", Worker::new(parts, options).run(shutdown.clone()));
        let options =
            SchedulerOptions { name: format!("scheduler-{}", uuid::Uuid::new_v4()), ..Default::default() };
        let metrics = bul_scheduler::Metrics::new(&registry);
        let scheduler = Scheduler::new(store.clone(), broker.clone(), options, metrics);
        tasks.spawn("scheduler", scheduler.run(shutdown.clone()));
        Ok(Self { store, broker, catalog, model, registry, shutdown, tasks, _exclusive: exclusive })
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

/// This process is alone on the store: running attempts belong to one that is gone, and what the
/// broker forgot is published again.
async fn recover(store: &dyn Store, broker: &dyn Broker) -> anyhow::Result<()> {
    let orphaned = store.end_orphaned().await?;
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
        crate::exit::Fault::failed(format!("{}: {e}", folder.display()))
            .hint("set BUL_DATA_DIR to a folder you may write to")
            .into()
    })
}
