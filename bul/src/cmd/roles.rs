//! `bul producer`, `bul worker`, `bul scheduler`: one role each, in any number of processes on one store and broker.

use crate::context::Context;
use crate::exit::{Exit, Fault};
use crate::system::Roles;

/// Options of `bul producer`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  BUL_STORE=postgres://bul@db/bul BUL_BROKER=nats://mq:4222 bul producer --listen 0.0.0.0:8002"
)]
pub struct ProducerArgs {
    /// Address of the HTTP API, instead of the configured one
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<String>,
}

/// Options of `bul worker`. Flags for replicas and lanes are those of the configuration.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  BUL_STORE=postgres://bul@db/bul BUL_BROKER=nats://mq:4222 bul worker --replicas 2 --lanes critical,high\n\nHealth and metrics are served on BUL_METRICS_LISTEN."
)]
pub struct WorkerArgs {
    /// Workers in this process; they share the model
    #[arg(long, value_name = "N")]
    pub replicas: Option<usize>,
    /// Kinds of jobs to run; this version knows document.generate
    #[arg(long, value_name = "KIND,…", value_delimiter = ',')]
    kinds: Vec<String>,
    /// Lanes to serve, instead of the configured ones
    #[arg(long, value_name = "LANE,…", value_delimiter = ',')]
    pub lanes: Vec<String>,
}

/// Options of `bul scheduler`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  BUL_STORE=postgres://bul@db/bul BUL_BROKER=nats://mq:4222 bul scheduler\n\nOf several schedulers one leads; another takes over within seconds."
)]
pub struct SchedulerArgs {}

/// Serves the HTTP API.
pub async fn producer(args: ProducerArgs, context: &Context) -> anyhow::Result<Exit> {
    let address = args.listen.unwrap_or_else(|| context.config().listen.clone());
    super::up::serve(context, Some(address), Roles { workers: 0, scheduler: false, alone: false }).await
}

/// Runs jobs.
pub async fn worker(args: WorkerArgs, context: &Context) -> anyhow::Result<Exit> {
    if let Some(kind) = args.kinds.iter().find(|kind| *kind != "document.generate") {
        return Err(
            Fault::usage(format!("--kinds: {kind:?} is not known, expected document.generate")).into()
        );
    }
    let workers = context.config().worker.replicas.max(1);
    super::up::serve(context, None, Roles { workers, scheduler: false, alone: false }).await
}

/// Moves what has become due, and makes the jobs of the calendar.
pub async fn scheduler(_args: SchedulerArgs, context: &Context) -> anyhow::Result<Exit> {
    super::up::serve(context, None, Roles { workers: 0, scheduler: true, alone: false }).await
}
