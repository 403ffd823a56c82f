//! `bul jobs`: list, show, watch and cancel jobs; fetch their documents.

use std::io::IsTerminal;
use std::path::PathBuf;

use bul_job::{Event, EventKind, Format, State};
use bul_store::{JobFilter, JobSummary};
use chrono::Utc;
use clap::Subcommand;
use serde_json::{Value, json};

use crate::client::files::write_whole;
use crate::client::ids::{resolve, resolve_all};
use crate::client::print::{clean, clean_lines, cut, relative, short, table};
use crate::client::types::JobView;
use crate::client::watch::follow;
use crate::client::{Backend, Slots};
use crate::context::{Context, Output, write_stdout};
use crate::exit::{Exit, Fault};

mod detail;

/// Jobs in one list at most.
const LIST_MAX: u64 = 10_000;
/// Characters of a title in the list; the line stays within 80.
const TITLE_CHARS_MAX: usize = 19;
const TEMPLATE_CHARS_MAX: usize = 15;

/// Look at jobs, watch and cancel them, fetch their documents.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "An id may be cut to any beginning or end that fits only one of the latest 500 jobs; lists show the last eight characters.\n\nExamples:\n  bul jobs list --state running,queued\n  bul jobs show 3f9a1c22\n  bul jobs watch 3f9a1c22\n  bul jobs document 3f9a1c22 --format pdf --out invoice.pdf"
)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Jobs, newest first
    #[command(after_help = "Example:\n  bul jobs list --state dead --template invoice --limit 100")]
    List {
        /// Only these states: waiting, queued, running, completed, cancelled, dead
        #[arg(long = "state", value_name = "S,…", value_delimiter = ',', value_parser = state)]
        states: Vec<State>,
        /// Only this template
        #[arg(long)]
        template: Option<String>,
        /// How many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=LIST_MAX))]
        limit: u64,
    },
    /// Everything about a job, and why it is where it is
    #[command(after_help = "Example:\n  bul jobs show 3f9a1c22 -o json | jq .attempts")]
    Show {
        /// Job
        id: String,
    },
    /// Follow a job: its text as it is written, until it ends
    ///
    /// Text goes to stdout, stages and states to stderr. With -o json each event is a line.
    #[command(after_help = "Example:\n  bul jobs watch 3f9a1c22")]
    Watch {
        /// Job
        id: String,
    },
    /// End jobs; one that runs ends at its next step
    #[command(after_help = "Example:\n  bul jobs cancel 3f9a1c22 77aa01bc")]
    Cancel {
        /// Jobs
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Fetch a finished document, to stdout or a file
    #[command(
        after_help = "Examples:\n  bul jobs document 3f9a1c22 --format pdf --out invoice.pdf\n  bul jobs document 3f9a1c22 --format md | less"
    )]
    Document {
        /// Job
        id: String,
        /// md, html, pdf, json or txt
        #[arg(long, value_parser = format)]
        format: Format,
        /// File instead of stdout
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

fn state(name: &str) -> Result<State, String> {
    State::parse(&name.to_ascii_lowercase())
        .ok_or_else(|| format!("expected one of {}", State::ALL.map(State::as_str).join(", ")))
}

/// A format by name.
pub fn format(name: &str) -> Result<Format, String> {
    Format::parse(name)
        .ok_or_else(|| format!("expected one of {}", Format::ALL.map(Format::as_str).join(", ")))
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
        Action::List { states, template, limit } => {
            let filter = JobFilter { states, template, before: None, limit: limit as usize };
            let jobs = backend.jobs(&filter).await?;
            context.print(&jobs, || list_text(&jobs))?;
            Ok(Exit::Done)
        }
        Action::Show { id } => {
            let job = backend.job(resolve(backend, &id, false).await?).await?;
            context.print(&job, || detail::text(&job, Utc::now()))?;
            Ok(Exit::Done)
        }
        Action::Watch { id } => watch(backend, context, &id).await,
        Action::Cancel { ids } => cancel(backend, context, &ids).await,
        Action::Document { id, format, out } => document(backend, &id, format, out).await,
    }
}

fn list_text(jobs: &[JobSummary]) -> String {
    if jobs.is_empty() {
        return "no jobs; hand one in with: bul submit".into();
    }
    let now = Utc::now();
    let row = |job: &JobSummary| {
        vec![
            short(&job.id),
            job.status.state.to_string(),
            cut(&job.template, TEMPLATE_CHARS_MAX),
            job.lane.to_string(),
            relative(job.accepted_at, now),
            cut(&job.title, TITLE_CHARS_MAX),
        ]
    };
    table(
        &["ID", "STATE", "TEMPLATE", "LANE", "ACCEPTED", "TITLE"],
        &jobs.iter().map(row).collect::<Vec<_>>(),
    )
}

async fn watch(backend: &Backend, context: &Context, id: &str) -> anyhow::Result<Exit> {
    let id = resolve(backend, id, false).await?;
    let json = context.output == Output::Json;
    let mut slots = Slots::default();
    let mut on = |event: &Event| {
        let text = if json { event_line(event) } else { told(event, &mut slots) };
        // A reader that has gone is noticed at the next line; the job goes on either way.
        let _ = write_stdout(text.as_bytes());
    };
    let job = tokio::select! {
        job = follow(backend, id, &mut on) => job?,
        _ = tokio::signal::ctrl_c() => {
            return Err(Fault::failed("stopped watching; the job goes on").hint(format!("look at it with: bul jobs show {id}")).into());
        }
    };
    if !json {
        write_stdout(slots.finish().as_bytes())?;
        eprintln!("{}", clean(&job.explanation));
    }
    Ok(if job.status().state == State::Completed { Exit::Done } else { Exit::Failed })
}

/// One event as a line of JSON, the same from a server and from the store.
fn event_line(event: &Event) -> String {
    let mut value = serde_json::to_value(event).unwrap_or(Value::Null);
    if let Some(members) = value.as_object_mut() {
        members.remove("tenant");
    }
    format!("{value}\n")
}

/// Text for stdout; what happens besides goes to stderr.
fn told(event: &Event, slots: &mut Slots) -> String {
    match &event.kind {
        EventKind::Token { slot, text } => clean_lines(&slots.push(&clean(slot), text)),
        EventKind::Progress { stage, done, total } => {
            eprintln!("{} {done}/{total}", clean(stage));
            String::new()
        }
        EventKind::State { state, attempt, message } => {
            let why = message.as_ref().map(|m| format!(": {}", clean(m))).unwrap_or_default();
            let attempt = if *attempt > 1 { format!(" (attempt {attempt})") } else { String::new() };
            // The end is told with its explanation.
            if !state.is_final() {
                eprintln!("{state}{attempt}{why}");
            }
            String::new()
        }
    }
}

async fn cancel(backend: &Backend, context: &Context, ids: &[String]) -> anyhow::Result<Exit> {
    let mut lines = Vec::new();
    let mut first_error = None;
    for id in resolve_all(backend, ids, false).await? {
        match backend.cancel(id).await {
            Ok(status) => {
                let asked = !status.state.is_final();
                lines.push((id, json!({"id": id, "state": status.state, "asked_to_end": asked})));
            }
            Err(error) => {
                let fault = error.downcast::<Fault>().unwrap_or_else(|e| Fault::failed(e.to_string()));
                if fault.exit == Exit::Unavailable {
                    return Err(fault.into());
                }
                let fault = Fault { message: format!("job {}: {}", short(&id), fault.message), ..fault };
                if let Some(earlier) = first_error.replace(fault) {
                    eprintln!("error: {earlier}");
                }
            }
        }
    }
    let values: Vec<&Value> = lines.iter().map(|(_, value)| value).collect();
    context.print(&values, || {
        let told = |(id, value): &(bul_job::JobId, Value)| {
            let asked = value["asked_to_end"] == true;
            format!("{id}  {}", if asked { "asked to end" } else { "cancelled" })
        };
        lines.iter().map(told).collect::<Vec<_>>().join("\n")
    })?;
    match first_error {
        Some(fault) => Err(fault.into()),
        None => Ok(Exit::Done),
    }
}

async fn document(backend: &Backend, id: &str, format: Format, out: Option<PathBuf>) -> anyhow::Result<Exit> {
    if out.is_none() && format == Format::Pdf && std::io::stdout().is_terminal() {
        return Err(Fault::usage("a PDF on the terminal is of no use to anyone")
            .hint("add --out FILE, or pipe it into a program")
            .into());
    }
    let id = resolve(backend, id, false).await?;
    let bytes = match backend.document(id, format).await {
        Ok(bytes) => bytes,
        Err(error) => return Err(missing(backend, id, format, error).await),
    };
    match out {
        Some(path) => {
            write_whole(&path, &bytes)?;
            eprintln!("{} ({})", path.display(), crate::client::print::bytes(bytes.len() as u64));
        }
        None => write_stdout(&bytes)?,
    }
    Ok(Exit::Done)
}

/// Why there is no such document: the job is not finished, or was asked for other formats.
async fn missing(
    backend: &Backend,
    id: bul_job::JobId,
    format: Format,
    error: anyhow::Error,
) -> anyhow::Error {
    if !error.downcast_ref::<Fault>().is_some_and(|fault| fault.exit == Exit::NotFound) {
        return error;
    }
    let Ok(JobView { detail, explanation }) = backend.job(id).await else { return error };
    let state = detail.summary.status.state;
    let fault = Fault::not_found(format!("job {} has no {format} document", short(&id)));
    let formats: Vec<&str> = detail.documents.keys().map(|f| f.as_str()).collect();
    match state {
        State::Completed => fault.hint(format!("it has {}", formats.join(", "))),
        _ => fault.hint(format!("it is {state}: {}", clean(&explanation))),
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_lines_without_the_tenant() {
        let event = Event {
            tenant: bul_job::TenantId::default_tenant(),
            job: bul_job::JobId::new(),
            at: Utc::now(),
            kind: EventKind::Token { slot: "a".into(), text: "x\ny".into() },
        };
        let line = event_line(&event);
        assert_eq!(line.lines().count(), 1);
        assert!(!line.contains("tenant") && line.contains("\"event\":\"token\""));
        assert_eq!(told(&event, &mut Slots::default()), "[a]\nx\ny");
    }

    #[test]
    fn lists_fit_eighty_columns() {
        let job: JobSummary = serde_json::from_value(json!({
            "id": "0192f0c8-7b2e-7abc-8def-0123456789ab", "template": "incident-report-long", "business_area": "",
            "lane": "critical", "state": "cancelled", "attempt": 1, "title": "t".repeat(90),
            "accepted_at": "2020-01-01T00:00:00Z"
        }))
        .unwrap();
        let text = list_text(&[job]);
        assert!(text.contains("456789ab"));
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
