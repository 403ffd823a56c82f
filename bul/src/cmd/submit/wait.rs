//! Waiting for submitted jobs: progress, documents into a folder, one line per job as it ends.
//!
//! Invariant: leaving (Ctrl-C, time-out, a server that is gone) never touches the jobs; the user is
//! told that they go on and how to look at them.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use bul_job::{Event, EventKind, JobId, State};
use futures::StreamExt;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{Open, Waiting};
use crate::client::Backend;
use crate::client::files::{document_name, save};
use crate::client::print::{clean, short};
use crate::client::types::JobView;
use crate::client::watch::follow;
use crate::context::{Context, Output, write_stdout};
use crate::exit::{Exit, Fault};

/// Jobs followed at the same time. Each holds a connection; jobs end roughly in the order given.
const FOLLOWED_MAX: usize = 8;
/// How long a job may stand before its user is told what it waits for.
const STANDS_AFTER: Duration = Duration::from_secs(5);
/// Ids named when the waiting ends early.
const NAMED_MAX: usize = 5;

/// Waits for all jobs; exit 1 when one of them ended without its documents.
pub(super) async fn wait(
    backend: &Backend,
    context: &Context,
    jobs: &[Open],
    how: &Waiting<'_>,
) -> anyhow::Result<Exit> {
    let bar = progress(context, jobs.len() as u64);
    let mut open: BTreeSet<JobId> = jobs.iter().map(|job| job.id).collect();
    let work = follow_all(backend, context, jobs, how.out, &bar, &mut open);
    let timeout = async {
        match how.timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    let result = tokio::select! {
        result = work => result,
        never = explain(backend, &jobs[0].id, &bar) => match never {},
        _ = tokio::signal::ctrl_c() => Err(Fault::failed("stopped waiting").into()),
        () = timeout => {
            let seconds = how.timeout.unwrap_or_default().as_secs();
            Err(Fault::failed(format!("not finished after {seconds} s")).into())
        }
    };
    bar.finish_and_clear();
    result.map_err(|error: anyhow::Error| leave(&error, &open))
}

/// Says once what the first job waits for if nobody has begun with it: the process that should may not be there.
async fn explain(backend: &Backend, first: &JobId, bar: &ProgressBar) -> Infallible {
    tokio::time::sleep(STANDS_AFTER).await;
    if let Ok(job) = backend.job(*first).await
        && matches!(job.status().state, State::Queued | State::Waiting)
    {
        let why = clean(&job.explanation);
        let hint = if matches!(backend, Backend::Direct(_)) {
            "\nhint: jobs are done by `bul up` or `bul worker`"
        } else {
            ""
        };
        bar.suspend(|| eprintln!("still waiting: {why}{hint}"));
    }
    std::future::pending().await
}

async fn follow_all(
    backend: &Backend,
    context: &Context,
    jobs: &[Open],
    out: Option<&Path>,
    bar: &ProgressBar,
    open: &mut BTreeSet<JobId>,
) -> anyhow::Result<Exit> {
    let alone = jobs.len() == 1;
    let followed = futures::stream::iter(jobs.iter().map(|job| job.id)).map(|id| async move {
        let mut on = |event: &Event| {
            if alone && let Some(words) = words(&event.kind) {
                bar.set_message(words);
            }
        };
        follow(backend, id, &mut on).await
    });
    let mut followed = std::pin::pin!(followed.buffer_unordered(FOLLOWED_MAX));
    let mut exit = Exit::Done;
    while let Some(job) = followed.next().await {
        let job = job?;
        let files = match out {
            Some(folder) if job.status().state == State::Completed => download(backend, &job, folder).await?,
            _ => Vec::new(),
        };
        open.remove(&job.detail.summary.id);
        bar.suspend(|| print_ended(context, &job, &files))?;
        bar.inc(1);
        if job.status().state != State::Completed {
            exit = Exit::Failed;
        }
    }
    Ok(exit)
}

async fn download(backend: &Backend, job: &JobView, folder: &Path) -> anyhow::Result<Vec<String>> {
    let mut files = Vec::new();
    let summary = &job.detail.summary;
    for format in job.detail.documents.keys() {
        let bytes = backend.document(summary.id, *format).await?;
        let name = document_name(&job.detail, *format);
        files.push(save(folder, &name, &bytes)?.display().to_string());
    }
    Ok(files)
}

fn print_ended(context: &Context, job: &JobView, files: &[String]) -> anyhow::Result<()> {
    let summary = &job.detail.summary;
    let status = job.status();
    let line = match context.output {
        Output::Json => {
            let mut line = json!({"id": summary.id, "state": status.state, "template": summary.template,
                "title": summary.title, "documents": job.detail.documents, "files": files});
            if let Some(message) = &status.message {
                line["message"] = json!(message);
            }
            if let Some(reason) = status.dead_reason {
                line["dead_reason"] = json!(reason);
            }
            line.to_string()
        }
        Output::Text => {
            let mut parts = vec![summary.id.to_string(), status.state.to_string()];
            parts.extend(files.iter().cloned());
            parts.join("  ")
        }
    };
    write_stdout(format!("{line}\n").as_bytes())?;
    if status.state != State::Completed {
        eprintln!("error: job {} is {}: {}", short(&summary.id), status.state, clean(&job.explanation));
    }
    Ok(())
}

/// What a user who waits for one job wants to read.
fn words(kind: &EventKind) -> Option<String> {
    match kind {
        EventKind::State { state, attempt, message } => {
            let again = if *attempt > 1 { format!(", attempt {attempt}") } else { String::new() };
            let why = message.as_ref().map(|m| format!(": {}", clean(m))).unwrap_or_default();
            Some(format!("{state}{again}{why}"))
        }
        EventKind::Progress { stage, done, total } => Some(format!("{} {done}/{total}", clean(stage))),
        EventKind::Token { .. } => None,
    }
}

fn progress(context: &Context, jobs: u64) -> ProgressBar {
    if !context.shows_progress() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match jobs {
        1 => (ProgressBar::new_spinner(), "{spinner} {msg} ({elapsed})"),
        _ => (ProgressBar::new(jobs), "{bar:30} {pos}/{len} jobs ({elapsed})"),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar.enable_steady_tick(std::time::Duration::from_millis(120));
    bar
}

/// The error, and what becomes of the jobs that were not waited for.
fn leave(error: &anyhow::Error, open: &BTreeSet<JobId>) -> anyhow::Error {
    let (exit, mut message) = match error.downcast_ref::<Fault>() {
        Some(fault) => (fault.exit, fault.message.clone()),
        None => (Exit::Failed, format!("{error:#}")),
    };
    match open.len() {
        0 => {}
        1 => message.push_str("; the job goes on:"),
        n => message.push_str(&format!("; {n} jobs go on:")),
    }
    for id in open.iter().take(NAMED_MAX) {
        message.push_str(&format!("\n  {id}"));
    }
    if open.len() > NAMED_MAX {
        message.push_str("\n  …");
    }
    let hint = match open.iter().next() {
        Some(id) => format!("look at them with: bul jobs list, or: bul jobs watch {id}"),
        None => "look at them with: bul jobs list".into(),
    };
    Fault { exit, message, hint: Some(hint) }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leaving_names_the_jobs_and_keeps_the_exit_code() {
        let ids: BTreeSet<JobId> = (0..7).map(|_| JobId::new()).collect();
        let left = leave(&Fault::unavailable("gone").into(), &ids);
        let fault = left.downcast_ref::<Fault>().unwrap();
        assert_eq!(fault.exit, Exit::Unavailable);
        assert!(fault.message.starts_with("gone; 7 jobs go on:\n  "), "{}", fault.message);
        assert_eq!(fault.message.lines().count(), 1 + NAMED_MAX + 1);
        assert!(fault.hint.as_deref().unwrap().contains("bul jobs watch"));
    }

    #[test]
    fn events_are_told_in_words() {
        let progress = EventKind::Progress { stage: "write".into(), done: 1, total: 3 };
        assert_eq!(words(&progress).as_deref(), Some("write 1/3"));
        let state =
            EventKind::State { state: State::Waiting, attempt: 2, message: Some("model gone".into()) };
        assert_eq!(words(&state).as_deref(), Some("waiting, attempt 2: model gone"));
    }
}
