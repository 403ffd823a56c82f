//! The one executable: reads flags, loads the configuration, runs a command.

mod accept;
mod backup;
mod blocks;
mod breakers;
mod client;
mod cmd;
mod context;
mod elsewhere;
mod engine;
mod exit;
mod model;
mod pages;
mod shipped;
mod system;
mod wire;

use clap::{Parser, Subcommand};

use crate::context::{Context, Global};
use crate::exit::Exit;

/// A job is some hundred short-lived pieces of text that are made on one thread and freed on another; the C library's
/// allocator takes a lock for that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Turns business events into finished documents.
#[derive(Debug, Parser)]
#[command(name = "bul", version, propagate_version = true, max_term_width = 100)]
#[command(
    after_help = "Start here:\n  bul demo                         write the sample documents to ./out\n  bul up                           run everything in one process\n  bul submit invoice.xml --wait    hand in an event and wait for its documents"
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write the sample documents: no server, no network, no set-up
    Demo(cmd::demo::Args),
    /// Run all roles in one process
    Up(cmd::up::Args),
    /// Serve the HTTP API
    Producer(cmd::roles::ProducerArgs),
    /// Run jobs
    Worker(cmd::roles::WorkerArgs),
    /// Move what is due, and fire schedules
    Scheduler(cmd::roles::SchedulerArgs),
    /// Hand in jobs and business events
    Submit(cmd::submit::Args),
    /// Look at jobs, watch and cancel them, fetch their documents
    Jobs(cmd::jobs::Args),
    /// Jobs that come by the calendar
    Schedule(cmd::schedule::Args),
    /// Dead letters: look, edit, replay, purge
    Dlq(cmd::dlq::Args),
    /// Templates
    Template(cmd::template::Args),
    /// The model that writes
    Model(cmd::model::Args),
    /// Measure the pipeline
    Bench(cmd::bench::Args),
    /// The conservation equation, per tenant, from the store
    Ledger(cmd::ledger::Args),
    /// Tokens and times by template and business area
    Usage(cmd::usage::Args),
    /// Limits of tenants, and what each has at work
    Tenant(cmd::tenant::Args),
    /// API keys
    Key(cmd::key::Args),
    /// Check store, broker, model and settings, and say what they can do
    Doctor(cmd::doctor::Args),
    /// The configuration (defaults < file < environment < flags) and where each value comes from
    Config(cmd::config::Args),
    /// Every option, or every metric, with its meaning
    Reference(cmd::reference::Args),
    /// Bring the store's schema up to date
    Migrate(cmd::migrate::Args),
    /// Copies of the store and the caches, and the way back
    Backup(cmd::backup::Args),
    /// Shell completions
    Completions(cmd::completions::Args),
}

impl Command {
    /// Flags that set an option of the configuration.
    fn flags(&self) -> Vec<(String, String)> {
        let Self::Worker(args) = self else { return Vec::new() };
        let replicas = args.replicas.map(|n| ("worker.replicas".to_owned(), n.to_string()));
        let lanes = (!args.lanes.is_empty()).then(|| ("worker.lanes".to_owned(), args.lanes.join(",")));
        replicas.into_iter().chain(lanes).collect()
    }
}

fn main() -> std::process::ExitCode {
    // Two crypto providers in one process would make rustls panic at the first connection.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage.into() } else { Exit::Done.into() };
        }
    };
    let context = match Context::load(cli.global, cli.command.flags()) {
        Ok(context) => context,
        Err(error) => return exit::report(&error),
    };
    let result = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run(cli.command, &context)));
    match result {
        Ok(exit) => exit.into(),
        Err(error) => exit::report(&error),
    }
}

async fn run(command: Command, context: &Context) -> anyhow::Result<Exit> {
    match command {
        Command::Demo(args) => cmd::demo::run(args, context).await,
        Command::Up(args) => cmd::up::run(args, context).await,
        Command::Producer(args) => cmd::roles::producer(args, context).await,
        Command::Worker(args) => cmd::roles::worker(args, context).await,
        Command::Scheduler(args) => cmd::roles::scheduler(args, context).await,
        Command::Submit(args) => cmd::submit::run(args, context).await,
        Command::Jobs(args) => cmd::jobs::run(args, context).await,
        Command::Schedule(args) => cmd::schedule::run(args, context).await,
        Command::Dlq(args) => cmd::dlq::run(args, context).await,
        Command::Template(args) => cmd::template::run(args, context).await,
        Command::Model(args) => cmd::model::run(args, context).await,
        Command::Bench(args) => cmd::bench::run(args, context).await,
        Command::Ledger(args) => cmd::ledger::run(args, context).await,
        Command::Usage(args) => cmd::usage::run(args, context).await,
        Command::Tenant(args) => cmd::tenant::run(args, context).await,
        Command::Key(args) => cmd::key::run(args, context).await,
        Command::Doctor(args) => cmd::doctor::run(args, context).await,
        Command::Config(args) => cmd::config::run(&args, context),
        Command::Reference(args) => cmd::reference::run(&args, context),
        Command::Migrate(args) => cmd::migrate::run(args, context).await,
        Command::Backup(args) => cmd::backup::run(args, context).await,
        Command::Completions(args) => cmd::completions::run(&args),
    }
}

/// The command tree, for completions and the reference.
fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An option of a command that has the name of a global one is only found when it is read.
    #[test]
    fn command_lines_are_read() {
        for line in [
            "bul demo --out ./out -o json",
            "bul doctor -o json",
            "bul bench pipeline --jobs 10 -o json",
            "bul bench submit --connections 2 -o json",
            "bul bench engine --shape tiny --answer 10 -o json",
            "bul tenant set acme --running-max 2",
            "bul dlq replay --all --rate 5/s --ignore-breakers",
            "bul worker --replicas 2 --lanes high,low",
        ] {
            let read = Cli::try_parse_from(line.split_whitespace());
            assert!(read.is_ok(), "{line}: {}", read.err().map(|e| e.to_string()).unwrap_or_default());
        }
    }
}
