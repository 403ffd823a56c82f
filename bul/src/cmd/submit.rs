//! `bul submit`: files and words to jobs, and with `--wait` jobs to documents on disk.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bul_job::{FieldError, JobId, RawJob};
use bul_producer::ingest::{Hints, Source};
use serde_json::{Value, json};

use crate::client::input::{self, Given};
use crate::client::set::{Assignment, apply_all};
use crate::client::types::{Receipt, SubmitFailure};
use crate::client::{BATCH_JOBS_MAX, Backend};
use crate::context::{Context, Output, write_stdout};
use crate::exit::{Exit, Fault};

mod wait;

/// Bytes of one request; what a server takes, with room for what is between the jobs.
const BATCH_BYTES_MAX: usize = 24 * 1024 * 1024;

/// Bytes of a schema's file; a server takes less once the spaces are gone.
const SCHEMA_FILE_BYTES_MAX: usize = 1024 * 1024;

/// Hand in jobs and business events; prints one line per job: id and state.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A file is recognised by its name and content: job JSON (one or an array), JSONL, CSV (one job per row, or figures for a report), CloudEvents, CDEvents, GitHub and GitLab webhooks, UBL invoices, Frappe documents. Everything is checked before anything is sent: either all jobs are good or nothing is submitted. What only the templates know is checked at the server, in parts of 1,000 jobs.\n\nExamples:
  bul submit invoice.xml --wait --out out
  bul submit --query \"Marketing strategy for a bakery\" --format md,pdf --wait --out out
  bul submit --query \"Read this order\" --set context=\"12 doors\" --schema order.json --format json --out out
  bul submit orders.csv --template invoice --priority high
  bul submit job.json --set data.number=2026-0042 --idempotency-key order-42
  cat events.jsonl | bul submit -"
)]
pub struct Args {
    /// Files; - for standard input
    #[arg(value_name = "FILE", required_unless_present = "query")]
    files: Vec<String>,
    /// Wait until every job has ended
    #[arg(long)]
    wait: bool,
    /// Folder for the finished documents; implies --wait
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Kind of input, instead of recognising it
    #[arg(long = "as", value_name = "SOURCE", value_parser = source)]
    source: Option<Source>,
    /// Template of every job
    #[arg(long)]
    template: Option<String>,
    /// Formats, separated by commas: md, html, pdf, json, txt
    #[arg(long = "format", value_name = "F,…", value_delimiter = ',')]
    formats: Option<Vec<String>>,
    /// critical, high, normal or low
    #[arg(long)]
    priority: Option<String>,
    /// Same key, same job: submitting again makes no second one; of several jobs each gets K:N
    #[arg(long, value_name = "K")]
    idempotency_key: Option<String>,
    /// One field of every job, JSON or text, for example data.number=2026-001
    #[arg(long = "set", value_name = "PATH=VALUE")]
    sets: Vec<Assignment>,
    /// What to write, in free words
    #[arg(long, value_name = "TEXT")]
    query: Option<String>,
    /// JSON Schema, to answer the query by one JSON value that fits it
    #[arg(long, value_name = "FILE")]
    schema: Option<String>,
    /// Business area of every job
    #[arg(long)]
    area: Option<String>,
    /// Document type of every job
    #[arg(long = "type", value_name = "TYPE")]
    doc_type: Option<String>,
    /// Wait at most this many seconds
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..=604_800))]
    timeout: Option<u64>,
}

fn source(name: &str) -> Result<Source, String> {
    let known = || Source::ALL.map(Source::as_str).join(", ");
    Source::parse(name).ok_or_else(|| format!("expected one of {}", known()))
}

/// A job that was accepted.
#[derive(Debug, Clone, Copy)]
struct Open {
    id: JobId,
    state: bul_job::State,
    existing: bool,
}

/// How to wait.
struct Waiting<'a> {
    out: Option<&'a Path>,
    timeout: Option<Duration>,
}

/// Submits, and waits if asked to.
pub async fn run(args: Args, context: &Context) -> anyhow::Result<Exit> {
    let given = collect(&args)?;
    input::check(&given)?;
    let backend = Backend::open(context).await?;
    let result = submit_and_wait(&args, &given, &backend, context).await;
    backend.close().await;
    result
}

async fn submit_and_wait(
    args: &Args,
    given: &[Given],
    backend: &Backend,
    context: &Context,
) -> anyhow::Result<Exit> {
    let waits = args.wait || args.out.is_some();
    let mut open = Vec::new();
    let mut exit = Exit::Done;
    for batch in batches(given) {
        let jobs: Vec<RawJob> = given[batch.clone()].iter().map(|one| one.job.clone()).collect();
        let receipts = match backend.submit(&jobs).await {
            Ok(receipts) => receipts,
            Err(failure) => {
                // Without this line nobody would know the ids of what was accepted before.
                if waits {
                    open.iter().try_for_each(|job| print_accepted(context, *job))?;
                }
                return Err(failed(failure, given, batch));
            }
        };
        for (receipt, one) in receipts.into_iter().zip(&given[batch]) {
            match receipt {
                Receipt::Accepted { id, state, existing } => {
                    let job = Open { id, state, existing };
                    if !waits {
                        print_accepted(context, job)?;
                    }
                    open.push(job);
                }
                Receipt::Conflict { id } => {
                    exit = Exit::Failed;
                    let message = format!("the idempotency key belongs to job {id}, which has other content");
                    eprintln!("error: {}", one.mistake(&FieldError::new("/idempotency_key", message)));
                }
            }
        }
    }
    if !waits || open.is_empty() {
        return Ok(exit);
    }
    let waiting = Waiting { out: args.out.as_deref(), timeout: args.timeout.map(Duration::from_secs) };
    let ended = wait::wait(backend, context, &open, &waiting).await?;
    Ok(if exit == Exit::Done { ended } else { exit })
}

/// Parts of the input, each small enough for one request.
fn batches(given: &[Given]) -> Vec<Range<usize>> {
    let mut batches = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (index, one) in given.iter().enumerate() {
        let size = serde_json::to_vec(&one.job).map_or(0, |json| json.len());
        if index > start && (index - start == BATCH_JOBS_MAX || bytes + size > BATCH_BYTES_MAX) {
            batches.push(start..index);
            (start, bytes) = (index, 0);
        }
        bytes += size;
    }
    batches.push(start..given.len());
    batches
}

fn failed(failure: SubmitFailure, given: &[Given], batch: Range<usize>) -> anyhow::Error {
    match failure {
        SubmitFailure::Fields(errors) => input::refused(&given[batch.clone()], &errors, batch.start).into(),
        SubmitFailure::Other(error) if batch.start == 0 => error,
        SubmitFailure::Other(error) => {
            error.context(format!("{} of {} jobs are accepted, the rest is not", batch.start, given.len()))
        }
    }
}

fn print_accepted(context: &Context, job: Open) -> anyhow::Result<()> {
    let Open { id, state, existing } = job;
    let line = match context.output {
        Output::Json => json!({"id": id, "state": state, "existing": existing}).to_string(),
        Output::Text => format!("{id}  {state}{}", if existing { "  (existed already)" } else { "" }),
    };
    write_stdout(format!("{line}\n").as_bytes())
}

/// All jobs the command line asks for, each under an idempotency key: what was given, or one made up
/// here, so that a request whose answer was lost can be sent again without making a second job.
fn collect(args: &Args) -> anyhow::Result<Vec<Given>> {
    let hints = Hints {
        template: args.template.clone(),
        formats: args.formats.clone(),
        priority: args.priority.clone(),
        business_area: args.area.clone(),
        ..Hints::default()
    };
    let mut given = if args.files.is_empty() {
        vec![Given { job: from_flags(&hints), file: String::new(), place: String::new() }]
    } else {
        input::read_files(&args.files, args.source, &hints)?
    };
    let several = given.len() > 1;
    let schema = args.schema.as_deref().map(read_schema).transpose()?;
    for (index, one) in given.iter_mut().enumerate() {
        if args.query.is_some() {
            one.job.query.clone_from(&args.query);
        }
        if schema.is_some() {
            one.job.response_schema.clone_from(&schema);
        }
        if args.doc_type.is_some() {
            one.job.doc_type.clone_from(&args.doc_type);
        }
        one.job = apply_all(std::mem::take(&mut one.job), &args.sets)?;
        match &args.idempotency_key {
            Some(key) if several => one.job.idempotency_key = Some(format!("{key}:{}", index + 1)),
            Some(key) => one.job.idempotency_key = Some(key.clone()),
            None if one.job.idempotency_key.is_none() => one.job.idempotency_key = Some(made_up_key()),
            None => {}
        }
    }
    if given.is_empty() {
        return Err(Fault::usage("there is no job in the input").into());
    }
    Ok(given)
}

fn read_schema(file: &str) -> anyhow::Result<Value> {
    let bytes = input::read(file, SCHEMA_FILE_BYTES_MAX)?;
    let schema = serde_json::from_slice(&bytes);
    Ok(schema.map_err(|e| Fault::usage(format!("--schema {file}: not valid JSON: {e}")))?)
}

fn from_flags(hints: &Hints) -> RawJob {
    RawJob {
        template: hints.template.clone(),
        formats: hints.formats.clone(),
        priority: hints.priority.clone().map(|text| match text.parse() {
            Ok(number) => bul_job::PriorityInput::Number(number),
            Err(_) => bul_job::PriorityInput::Name(text),
        }),
        business_area: hints.business_area.clone(),
        ..RawJob::default()
    }
}

fn made_up_key() -> String {
    format!("cli-{}", uuid::Uuid::new_v4())
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

    fn jobs(arguments: &[&str]) -> Vec<RawJob> {
        let args = Probe::try_parse_from(std::iter::once(&"bul").chain(arguments)).unwrap().args;
        collect(&args).unwrap().into_iter().map(|one| one.job).collect()
    }

    #[test]
    fn words_alone_make_a_job() {
        let made = jobs(&[
            "--query",
            "A plan",
            "--format",
            "md,pdf",
            "--priority",
            "0",
            "--area",
            "marketing",
            "--type",
            "plan",
        ]);
        let [job] = made.as_slice() else { panic!("{made:?}") };
        assert_eq!(job.query.as_deref(), Some("A plan"));
        assert_eq!(job.formats.as_deref(), Some(&["md".to_owned(), "pdf".to_owned()][..]));
        assert_eq!(job.priority, Some(bul_job::PriorityInput::Number(0)));
        assert_eq!(
            (job.business_area.as_deref(), job.doc_type.as_deref()),
            (Some("marketing"), Some("plan"))
        );
        assert!(job.idempotency_key.as_deref().is_some_and(|key| key.starts_with("cli-")));
    }

    #[test]
    fn a_schema_comes_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let write = |text: &str| {
            let file = folder.path().join("schema.json");
            std::fs::write(&file, text).unwrap();
            file.display().to_string()
        };
        let file = write(r#"{"type": "object", "properties": {"n": {"type": "integer"}}}"#);
        let made = jobs(&["--query", "How many?", "--schema", &file]);
        assert_eq!(
            made[0].response_schema,
            Some(json!({"type": "object", "properties": {"n": {"type": "integer"}}}))
        );
        let refused = |file: &str| {
            let args = Probe::try_parse_from(["bul", "--query", "x", "--schema", file]).unwrap().args;
            collect(&args).unwrap_err().to_string()
        };
        assert!(refused(&write("{\"type\":")).contains("not valid JSON"));
        assert!(refused("/does/not/exist.json").contains("cannot read"));
    }

    #[test]
    fn flags_win_over_files_and_keys_are_per_job() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("jobs.json");
        std::fs::write(
            &file,
            r#"[{"template":"a","query":"x"},{"template":"b","query":"y","idempotency_key":"own"}]"#,
        )
        .unwrap();
        let file = file.display().to_string();
        let made = jobs(&[&file, "--template", "invoice", "--set", "data.n=1"]);
        assert!(made.iter().all(|job| job.template.as_deref() == Some("invoice") && job.data.as_ref().unwrap()["n"] == 1));
        assert_eq!(made[1].idempotency_key.as_deref(), Some("own"));
        let keyed = jobs(&[&file, "--idempotency-key", "k"]);
        assert_eq!(
            keyed.iter().filter_map(|j| j.idempotency_key.as_deref()).collect::<Vec<_>>(),
            ["k:1", "k:2"]
        );
    }

    #[test]
    fn large_inputs_are_sent_in_parts() {
        let one = Given { job: RawJob::default(), file: String::new(), place: String::new() };
        let parts = |n: usize| batches(&vec![one.clone(); n]);
        assert_eq!(parts(1).len(), 1);
        assert_eq!(parts(2 * BATCH_JOBS_MAX + 1), [0..1_000, 1_000..2_000, 2_000..2_001]);
        let big = RawJob { context: Some("x".repeat(BATCH_BYTES_MAX / 2)), ..RawJob::default() };
        let big = Given { job: big, ..one.clone() };
        assert_eq!(batches(&[one.clone(), big.clone(), big.clone(), one]), [0..2, 2..4]);
    }

    #[test]
    fn a_file_or_a_query_is_needed() {
        assert!(Probe::try_parse_from(["bul"]).is_err());
        assert!(Probe::try_parse_from(["bul", "x", "--as", "fax"]).is_err());
        assert!(Probe::try_parse_from(["bul", "x", "--timeout", "0"]).is_err());
    }
}
