//! The worker: pulls ready jobs, runs their attempts, stores the documents.
//!
//! Start reading at `attempt.rs`. Invariant: a message is acknowledged only after the store has
//! committed what became of the job.

mod affinity;
mod ahead;
mod answer;
mod attempt;
mod backlog;
mod breakers;
mod company;
mod fetch;
mod gate;
mod heartbeat;
mod lanes;
mod metrics;
mod outcome;
mod pardon;
mod prose;
mod pull;
mod stock;
mod texts;
mod turns;
mod warm;
mod write;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bul_broker::{Broker, Foreign};
use bul_engine::Generate;
use bul_job::Lane;
use bul_pdf::PdfWriter;
use bul_store::{Store, StoreError};
use bul_template::Catalog;
use tokio::sync::Semaphore;

pub use affinity::Affinity;
pub use ahead::Ahead;
pub use backlog::Backlog;
pub use company::Company;
use gate::Gate;
pub use metrics::Metrics;
use pardon::Pardons;
pub use warm::keep_warm;

/// How a worker works.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// Name in the attempts' record.
    pub name: String,
    /// Attempts at the same time; at least 1.
    pub concurrency: usize,
    /// Lease of an attempt. It is extended while the attempt lives.
    pub lease: Duration,
    /// Longest attempt; then it counts as failed.
    pub attempt_max: Duration,
    /// How long a message of a newer version is left to newer workers before it is a dead letter.
    pub newer_max: Duration,
    /// Lanes to serve.
    pub lanes: Vec<Lane>,
    /// Documents written at the same time; writing holds a core.
    pub writers_max: usize,
    /// Temperature of jobs that ask for none. A small model needs a low one to stay with its grammar.
    pub temperature: f32,
    /// Nucleus of jobs that ask for none.
    pub top_p: f32,
    /// A text that the model took at least this long for is kept in the store, for the attempt that follows should this one be
    /// lost; `None` keeps none.
    pub keep_texts_after: Option<Duration>,
    /// Earlier turns of its session that a job is told, at most; 0 for none, and then none are kept either.
    pub session_turns: usize,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self {
            name: "worker".into(),
            concurrency: 4,
            lease: Duration::from_secs(30),
            attempt_max: Duration::from_secs(1800),
            newer_max: Duration::from_secs(600),
            lanes: Lane::ALL.to_vec(),
            writers_max: 2,
            temperature: 0.7,
            top_p: 0.9,
            keep_texts_after: Some(Duration::from_millis(500)),
            session_turns: 0,
        }
    }
}

/// Takes over jobs that other programs publish straight onto the broker.
#[async_trait]
pub trait Adopt: Send + Sync {
    /// `Ok` once the store holds what the message was: its jobs, or a dead letter; or with what only a newer
    /// version can read, unless this is the `last_try`.
    ///
    /// # Errors
    /// Those of the store: nothing was decided, the message must come again.
    async fn adopt(&self, foreign: &Foreign, last_try: bool) -> Result<Taken, StoreError>;
}

/// What became of a message of another program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// The store has it.
    Over,
    /// A newer worker can read it; this is why this one cannot.
    NotByThisVersion(String),
}

/// Everything an attempt needs.
pub struct Worker {
    store: Arc<dyn Store>,
    broker: Arc<dyn Broker>,
    adopt: Arc<dyn Adopt>,
    model: Arc<dyn Generate>,
    model_key: String,
    catalog: Arc<Catalog>,
    pdf: Arc<PdfWriter>,
    writers: Arc<Semaphore>,
    options: WorkerOptions,
    metrics: Metrics,
    gate: Gate,
    pardons: Pardons,
    company: Arc<Company>,
    affinity: Arc<Affinity>,
    ahead: Arc<Ahead>,
}

/// What a worker is made of.
pub struct Parts {
    /// Record of jobs.
    pub store: Arc<dyn Store>,
    /// Source of work.
    pub broker: Arc<dyn Broker>,
    /// Intake of messages from other programs.
    pub adopt: Arc<dyn Adopt>,
    /// Writer of prose.
    pub model: Arc<dyn Generate>,
    /// Tells the model from every other that writes other texts; kept texts are for it alone.
    pub model_key: String,
    /// Templates.
    pub catalog: Arc<Catalog>,
    /// PDF writer.
    pub pdf: Arc<PdfWriter>,
    /// Who works beside whom in this process.
    pub company: Arc<Company>,
    /// Which partitions this process serves first.
    pub affinity: Arc<Affinity>,
    /// What the model will still be asked, by all workers that share it.
    pub ahead: Arc<Ahead>,
    /// Metrics.
    pub metrics: Metrics,
}

impl Worker {
    /// A worker that has not started yet; [`Worker::run`] starts it.
    pub fn new(parts: Parts, options: WorkerOptions) -> Arc<Self> {
        let writers = Arc::new(Semaphore::new(options.writers_max.max(1)));
        Arc::new(Self {
            store: parts.store,
            broker: parts.broker,
            adopt: parts.adopt,
            ahead: parts.ahead,
            model: parts.model,
            model_key: parts.model_key,
            catalog: parts.catalog,
            pdf: parts.pdf,
            metrics: parts.metrics,
            writers,
            options,
            gate: Gate::new(),
            pardons: Pardons::default(),
            company: parts.company,
            affinity: parts.affinity,
        })
    }
}
