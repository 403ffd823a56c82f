//! `bul dlq`: dead letters, looked at, edited, replayed, purged.
//!
//! Invariant: what cannot be undone (purge) or changes a job (an edit, by itself or with a replay) is shown first and
//! asked for, unless `--yes` was given; everything is chosen only by an explicit `--all`.

use std::io::{BufRead, IsTerminal, Write};

use bul_dlq_replayer::{Rate, parse_filter};
use bul_store::DeadFilter;
use clap::Subcommand;

use crate::client::Backend;
use crate::client::ids::{resolve, resolve_all};
use crate::client::print::count;
use crate::client::set::{Assignment, as_patch};
use crate::client::types::{BulkReport, ReplayHow, Selected};
use crate::context::Context;
use crate::exit::{Exit, Fault};

mod edit;
mod text;

/// Entries in one list at most.
const LIST_MAX: u64 = 10_000;
/// Lines of the audit at most; a server gives no more.
const AUDIT_MAX: u64 = 500;

/// Dead letters: jobs that failed for good, until somebody repairs, replays or erases them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bul dlq list --filter reason=permanent,template=invoice
  bul dlq edit 3f9a1c22 --set data.currency=EUR
  bul dlq replay 3f9a1c22
  bul dlq replay --filter code=model_unavailable,since=2026-11-01 --rate 10/s --dry-run
  bul dlq replay --filter template=invoice,code=bad_data --set data.currency=EUR --rate 10/s
  bul dlq audit

Filter keys: reason (permanent, attempts_spent, poison, deadline_passed, unreadable), code, template,
since (a date or time), id; all conditions must hold.")]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Dead letters, oldest first
    #[command(after_help = "Example:\n  bul dlq list --filter reason=attempts_spent --limit 100")]
    List {
        /// Conditions, for example reason=permanent,template=invoice
        #[arg(long, value_name = "K=V,…", value_parser = filter)]
        filter: Option<String>,
        /// How many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=LIST_MAX))]
        limit: u64,
    },
    /// One dead letter: why it died, and its job or the message that could not be read
    #[command(after_help = "Example:\n  bul dlq show 3f9a1c22 -o json | jq .job")]
    Show {
        /// Dead letter
        id: String,
    },
    /// Repair the job of a dead letter; it stays dead until it is replayed
    ///
    /// Without --set and --file the job is opened in $EDITOR. It is checked as a new one, the difference is shown and
    /// asked for.
    #[command(
        after_help = "Examples:\n  bul dlq edit 3f9a1c22 --set data.currency=EUR --set data.note=null\n  bul dlq edit 3f9a1c22 --set data.currency=EUR --dry-run\n  bul dlq edit 3f9a1c22 --file repaired.json --yes\n  EDITOR=nano bul dlq edit 3f9a1c22"
    )]
    Edit {
        /// Dead letter
        id: String,
        /// One field, JSON or text; null removes it
        #[arg(long = "set", value_name = "PATH=VALUE", conflicts_with = "file")]
        sets: Vec<Assignment>,
        /// The whole job anew; - for standard input
        #[arg(long, value_name = "FILE")]
        file: Option<String>,
        /// Check the edit and show the difference, but change nothing
        #[arg(long)]
        dry_run: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Put dead letters back to work, under their ids
    ///
    /// Repeating it is safe: what is not dead any more is skipped. The command lasts as long as the rate says; ending
    /// it leaves the rest dead, but for what a server has planned 10 s in advance. While a worker's circuit breaker is
    /// open it halts and goes on by itself, for 15 minutes at most. With --set each job is edited in the same step:
    /// the first differences are shown and asked for.
    #[command(
        after_help = "Examples:\n  bul dlq replay 3f9a1c22 77aa01bc\n  bul dlq replay --filter code=model_unavailable --rate 600/m\n  bul dlq replay --filter code=bad_data --set data.currency=EUR --set data.note=null --dry-run\n  bul dlq replay --all --dry-run"
    )]
    Replay {
        #[command(flatten)]
        which: Which,
        /// Speed: N/s, N/m or N/h
        #[arg(long, value_name = "N/s", value_parser = rate)]
        rate: Option<String>,
        /// Edit one field of each job, JSON or text; null removes it
        #[arg(long = "set", value_name = "PATH=VALUE")]
        sets: Vec<Assignment>,
        /// Only count, name the first ones and show what --set would change in them
        #[arg(long)]
        dry_run: bool,
        /// Go on although the circuit breaker of a dependency is open, instead of halting until it is back
        #[arg(long, visible_alias = "force")]
        ignore_breakers: bool,
        /// Do not ask before jobs are edited
        #[arg(long)]
        yes: bool,
    },
    /// Erase payloads and failure texts of dead letters for good; the ledger still counts them
    #[command(after_help = "Example:\n  bul dlq purge --filter reason=unreadable --yes")]
    Purge {
        #[command(flatten)]
        which: Which,
        /// Only count and name the first ones
        #[arg(long)]
        dry_run: bool,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Who edited, replayed and purged which dead letters, newest first
    #[command(
        after_help = "Example:\n  bul dlq audit --limit 200 -o json | jq '.[] | select(.action == \"dlq.edit\")'"
    )]
    Audit {
        /// How many
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=AUDIT_MAX))]
        limit: u64,
    },
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// These
    #[arg(value_name = "ID")]
    ids: Vec<String>,
    /// Those that match
    #[arg(long, value_name = "K=V,…", value_parser = filter)]
    filter: Option<String>,
    /// Every one
    #[arg(long)]
    all: bool,
}

fn filter(text: &str) -> Result<String, String> {
    parse_filter(text).map(|_| text.to_owned()).map_err(|e| e.to_string())
}

fn rate(text: &str) -> Result<String, String> {
    text.parse::<Rate>().map(|_| text.to_owned()).map_err(|e| e.to_string())
}

impl Which {
    async fn selected(&self, backend: &Backend) -> anyhow::Result<Selected> {
        if self.all {
            return Ok(Selected::Filter("all".into()));
        }
        match &self.filter {
            Some(filter) => Ok(Selected::Filter(filter.clone())),
            None => Ok(Selected::Ids(resolve_all(backend, &self.ids, true).await?)),
        }
    }
}

/// Runs the command.
pub async fn run(args: Args, context: &Context) -> anyhow::Result<Exit> {
    let backend = Backend::open(context).await?;
    let result = act(args.action, &backend, context).await;
    backend.close().await;
    result
}

async fn act(action: Action, backend: &Backend, context: &Context) -> anyhow::Result<Exit> {
    match action {
        Action::List { filter, limit } => {
            let parsed = filter.as_deref().map(parse_filter).transpose();
            let filter = parsed.map_err(|e| Fault::usage(e.to_string()))?.unwrap_or_default();
            let letters = backend.dead_letters(&DeadFilter { limit: limit as usize, ..filter }).await?;
            context.print(&letters, || text::list(&letters))?;
            Ok(Exit::Done)
        }
        Action::Show { id } => {
            let letter = backend.dead_letter(resolve(backend, &id, true).await?).await?;
            context.print(&letter, || text::show(&letter))?;
            Ok(Exit::Done)
        }
        Action::Edit { id, sets, file, dry_run, yes } => {
            let id = resolve(backend, &id, true).await?;
            edit::run(backend, context, id, &edit::How { sets, file, dry_run, yes }).await
        }
        Action::Replay { which, rate, sets, dry_run, ignore_breakers, yes } => {
            let patch = (!sets.is_empty()).then(|| as_patch(&sets)).transpose()?;
            let how = ReplayHow { rate, dry_run, ignore_breakers, patch };
            replay(backend, context, &which.selected(backend).await?, how, yes).await
        }
        Action::Audit { limit } => {
            let lines = backend.audit(limit as usize).await?;
            context.print(&lines, || text::audit(&lines))?;
            Ok(Exit::Done)
        }
        Action::Purge { which, dry_run, yes } => purge(backend, context, &which, dry_run, yes).await,
    }
}

async fn replay(
    backend: &Backend,
    context: &Context,
    selected: &Selected,
    how: ReplayHow,
    yes: bool,
) -> anyhow::Result<Exit> {
    let asks = how.patch.is_some() && !how.dry_run && !yes;
    if asks {
        let would = backend.replay(selected, &ReplayHow { dry_run: true, ..how.clone() }).await?;
        eprint!("{}", text::report(&would, "replayed"));
        let letters = count(would.matched, "dead letter");
        if would.matched > 0 && !confirm(&format!("edit and replay {letters} like this?"))? {
            return Err(Fault::failed("nothing was changed").into());
        }
    }
    let spinner = spinner(context, "replaying");
    let report = backend.replay(selected, &how).await;
    spinner.finish_and_clear();
    let mut report = report?;
    if asks {
        // Seen before the question.
        report.edits.clear();
    }
    finish(context, &report, "replayed")
}

async fn purge(
    backend: &Backend,
    context: &Context,
    which: &Which,
    dry_run: bool,
    yes: bool,
) -> anyhow::Result<Exit> {
    let selected = which.selected(backend).await?;
    if !dry_run && !yes {
        let would = backend.purge(&selected, true).await?;
        if would.matched == 0 {
            return finish(context, &would, "purged");
        }
        if !confirm(&format!("erase {} for good?", count(would.matched, "dead letter")))? {
            return Err(Fault::failed("nothing was erased").into());
        }
    }
    let report = backend.purge(&selected, dry_run).await?;
    finish(context, &report, "purged")
}

/// Asks on the terminal; without one, the answer must have been given as `--yes`.
fn confirm(question: &str) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(Fault::usage(format!("{question} there is no terminal to ask on"))
            .hint("add --yes")
            .into());
    }
    eprint!("{question} [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

fn spinner(context: &Context, what: &'static str) -> indicatif::ProgressBar {
    if !context.shows_progress() {
        return indicatif::ProgressBar::hidden();
    }
    let spinner = indicatif::ProgressBar::new_spinner().with_message(what);
    spinner.enable_steady_tick(std::time::Duration::from_millis(120));
    spinner
}

/// Prints a report; exit 1 when the call ended early or something was refused.
fn finish(context: &Context, report: &BulkReport, verb: &str) -> anyhow::Result<Exit> {
    context.print(report, || text::report(report, verb))?;
    if let Some(stopped) = &report.stopped {
        eprintln!("error: stopped early: {stopped}; run it again for the rest");
    }
    let good = report.stopped.is_none() && report.failed == 0;
    Ok(if good { Exit::Done } else { Exit::Failed })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Probe {
        #[command(flatten)]
        args: Args,
    }

    #[test]
    fn everything_must_be_asked_for_by_name() {
        let parse = |line: &str| Probe::try_parse_from(line.split(' '));
        for bad in [
            "dlq replay",
            "dlq purge",
            "dlq replay --all 1234",
            "dlq replay --filter a=b",
            "dlq replay --all --rate fast",
            "dlq edit x --set a=1 --file f",
            "dlq replay --set a=1",
            "dlq audit --limit 501",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        for good in [
            "dlq replay --all --rate 10/s --dry-run",
            "dlq purge --filter reason=poison --yes",
            "dlq replay 1234 5678",
            "dlq replay --all --set data.a=1 --yes --force",
            "dlq edit x --set a=1 --dry-run",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
    }
}
