//! `bul dlq`: dead letters, looked at, edited, replayed, purged.
//!
//! Invariant: what cannot be undone (purge) or changes a job (edit) is shown first and asked for,
//! unless `--yes` was given; everything is chosen only by an explicit `--all`.

use std::io::{BufRead, IsTerminal, Write};

use bul_dlq_replayer::{Rate, parse_filter};
use bul_store::{DeadFilter, DeadLetter};
use chrono::Utc;
use clap::Subcommand;

use crate::client::Backend;
use crate::client::ids::{resolve, resolve_all};
use crate::client::print::{bytes, clean_lines, count, cut, instant, pairs, relative, short, table};
use crate::client::set::Assignment;
use crate::client::types::{BulkReport, ReplayHow, Selected};
use crate::context::Context;
use crate::exit::{Exit, Fault};

mod edit;

/// Entries in one list at most.
const LIST_MAX: u64 = 10_000;
/// Characters of a message in the list; the line stays within 80.
const MESSAGE_CHARS_MAX: usize = 26;

/// Dead letters: jobs that failed for good, until somebody repairs, replays or erases them.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  bul dlq list --filter reason=permanent,template=invoice
  bul dlq edit 3f9a1c22 --set data.currency=EUR
  bul dlq replay 3f9a1c22
  bul dlq replay --filter code=model_unavailable,since=2026-11-01 --rate 10/s --dry-run

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
    /// Without --set and --file the job is opened in $EDITOR. The difference is shown and asked for.
    #[command(
        after_help = "Examples:\n  bul dlq edit 3f9a1c22 --set data.currency=EUR --set data.note=null\n  bul dlq edit 3f9a1c22 --file repaired.json --yes\n  EDITOR=nano bul dlq edit 3f9a1c22"
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
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
    /// Put dead letters back to work, under their ids
    ///
    /// Repeating it is safe: what is not dead any more is skipped. A server spreads a rate over time
    /// and answers at once; with --direct the command itself waits.
    #[command(
        after_help = "Examples:\n  bul dlq replay 3f9a1c22 77aa01bc\n  bul dlq replay --filter code=model_unavailable --rate 600/m\n  bul dlq replay --all --dry-run"
    )]
    Replay {
        #[command(flatten)]
        which: Which,
        /// Speed: N/s, N/m or N/h
        #[arg(long, value_name = "N/s", value_parser = rate)]
        rate: Option<String>,
        /// Only count and name the first ones
        #[arg(long)]
        dry_run: bool,
        /// Go on although the circuit breaker of a dependency is open, instead of halting until it is back
        #[arg(long)]
        ignore_breakers: bool,
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
            context.print(&letters, || list_text(&letters))?;
            Ok(Exit::Done)
        }
        Action::Show { id } => {
            let letter = backend.dead_letter(resolve(backend, &id, true).await?).await?;
            context.print(&letter, || show_text(&letter))?;
            Ok(Exit::Done)
        }
        Action::Edit { id, sets, file, yes } => {
            let id = resolve(backend, &id, true).await?;
            edit::run(backend, context, id, &edit::How { sets, file, yes }).await
        }
        Action::Replay { which, rate, dry_run, ignore_breakers } => {
            let selected = which.selected(backend).await?;
            let spinner = spinner(context, "replaying");
            let report = backend.replay(&selected, &ReplayHow { rate, dry_run, ignore_breakers }).await;
            spinner.finish_and_clear();
            finish(context, &report?, "replayed")
        }
        Action::Purge { which, dry_run, yes } => purge(backend, context, &which, dry_run, yes).await,
    }
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
    context.print(report, || report_text(report, verb))?;
    if let Some(stopped) = &report.stopped {
        eprintln!("error: stopped early: {stopped}; run it again for the rest");
    }
    let good = report.stopped.is_none() && report.failed == 0;
    Ok(if good { Exit::Done } else { Exit::Failed })
}

fn report_text(report: &BulkReport, verb: &str) -> String {
    let done = report.replayed.or(report.purged).unwrap_or(0);
    let mut out = if report.dry_run {
        format!("{} would be {verb}\n", count(report.matched, "dead letter"))
    } else {
        // One that died again meanwhile was not counted at the start.
        let all = report.matched.max(done + report.skipped + report.failed);
        let mut line = format!("{done} of {} {verb}", count(all, "dead letter"));
        if report.skipped > 0 {
            line.push_str(&format!(", {} skipped (not dead any more)", report.skipped));
        }
        if report.failed > 0 {
            line.push_str(&format!(", {} refused", report.failed));
        }
        line + "\n"
    };
    for id in &report.ids {
        out.push_str(&format!("{id}\n"));
    }
    let shown = report.ids.len() as u64;
    let total = if report.dry_run { report.matched } else { done };
    if shown > 0 && total > shown {
        out.push_str("…\n");
    }
    out
}

fn list_text(letters: &[DeadLetter]) -> String {
    if letters.is_empty() {
        return "no dead letters".into();
    }
    let now = Utc::now();
    let row = |letter: &DeadLetter| {
        vec![
            short(&letter.id),
            letter.reason.as_str().to_owned(),
            cut(&letter.template, 14),
            relative(letter.died_at, now),
            cut(&letter.message, MESSAGE_CHARS_MAX),
        ]
    };
    table(&["ID", "REASON", "TEMPLATE", "DIED", "MESSAGE"], &letters.iter().map(row).collect::<Vec<_>>())
}

fn show_text(letter: &DeadLetter) -> String {
    let mut lines = vec![
        ("id", letter.id.to_string()),
        ("reason", letter.reason.as_str().to_owned()),
        ("code", letter.code.clone()),
        ("message", letter.message.clone()),
        ("template", letter.template.clone()),
        ("attempts", letter.attempts.to_string()),
        ("died", instant(letter.died_at, Utc::now())),
    ];
    if let Some(size) = letter.raw_bytes {
        lines.push(("raw", bytes(size)));
    }
    let mut out = pairs(&lines);
    if let Some(job) = &letter.job {
        let job = bul_dlq_replayer::as_raw(job, Utc::now());
        out.push_str(&format!("\nJob\n{}\n", serde_json::to_string_pretty(&job).unwrap_or_default()));
    }
    if let Some(raw) = &letter.raw_text {
        out.push_str(&format!("\nMessage that could not be read\n{}\n", clean_lines(raw)));
    }
    out.push_str(&format!(
        "\nedit it with: bul dlq edit {0}\nreplay it with: bul dlq replay {0}\n",
        short(&letter.id)
    ));
    out
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
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        for good in [
            "dlq replay --all --rate 10/s --dry-run",
            "dlq purge --filter reason=poison --yes",
            "dlq replay 1234 5678",
        ] {
            assert!(parse(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn reports_are_sentences() {
        let report = BulkReport { matched: 3, replayed: Some(2), skipped: 1, ..BulkReport::default() };
        assert_eq!(
            report_text(&report, "replayed"),
            "2 of 3 dead letters replayed, 1 skipped (not dead any more)\n"
        );
        let dry = BulkReport { matched: 7, dry_run: true, ..BulkReport::default() };
        assert_eq!(report_text(&dry, "purged"), "7 dead letters would be purged\n");
    }
}
