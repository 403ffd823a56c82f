//! `bul bench`: how fast this installation is, measured on the whole path a job takes.

mod claims;
mod engine;
mod load;
mod pipeline;
mod processes;
mod submit;

use clap::Subcommand;

use crate::context::Context;
use crate::exit::Exit;

/// Options of `bul bench`.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Jobs per second and latency through store, broker and workers, with the scripted model
    #[command(
        after_help = "Jobs go through the same intake, state machine, lease, commit and acknowledgement as any other; only the model is\nscripted and the one format is JSON. Everything runs in this process, on the configured store and broker, under a tenant\nof its own; with --processes workers have processes of their own.\n\nExamples:\n  bul bench pipeline\n  BUL_STORE=postgres://bul@localhost/bul BUL_BROKER=nats://localhost bul bench pipeline --jobs 50000 -o json"
    )]
    Pipeline(pipeline::Args),
    /// Jobs per second that the HTTP API accepts, one by one and in batches
    #[command(
        after_help = "Requests go over the loopback to the same routes as everybody's, on the configured store and broker, under a tenant and\na key of their own. Afterwards all jobs are worked off.\n\nExample:\n  BUL_STORE=postgres://bul@localhost/bul BUL_BROKER=nats://localhost bul bench submit -o json"
    )]
    Submit(submit::Args),
    /// The model engine alone: throughput, latency and cache hits with random weights at real shapes
    #[command(
        after_help = "Examples:\n  bul bench engine\n  bul bench engine --shape qwen3-0.6b --documents 8 --answer 100 --kv-mib 2048 -o json\n  bul bench engine --templates 1 --documents 256 --prefix 1 --data 100-1024 --no-forecast\n\nWhat a restore is worth against computing again: the same load without slower tiers, with one in memory,\nand with one on disk, run twice:\n  bul bench engine --kv-mib 64\n  bul bench engine --kv-mib 64 --host-mib 1024\n  bul bench engine --kv-mib 64 --tier-dir /var/tmp/bul-kv --tier-compression zstd:3"
    )]
    Engine(Box<engine::Args>),
    /// What an older system of this kind promised, measured here with the configured model
    #[command(
        after_help = "Writes documents to a temporary store with the configured model, twice and then one by one; and runs the engine with\nrandom weights. Takes a few minutes.\n\nExample:\n  bul bench claims -o json"
    )]
    Claims(claims::Args),
}

/// Runs the command.
pub async fn run(args: Args, context: &Context) -> anyhow::Result<Exit> {
    context.init_logs(false)?;
    match args.command {
        Command::Pipeline(args) => pipeline::run(args, context).await,
        Command::Submit(args) => submit::run(args, context).await,
        Command::Engine(args) => engine::run(*args, context).await,
        Command::Claims(args) => claims::run(args, context).await,
    }
}
