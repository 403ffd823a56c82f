//! `bul dlq edit`: fields, a file, or the editor; the difference is shown before anything changes.

use std::io::Write;
use std::process::Command;

use bul_dlq_replayer::EditReport;
use bul_job::{JobId, RawJob};
use bul_store::DeadLetter;
use chrono::Utc;

use crate::client::Backend;
use crate::client::input;
use crate::client::print::clean_lines;
use crate::client::set::{Assignment, apply_all};
use crate::context::Context;
use crate::exit::{Exit, Fault};

/// What a job may weigh.
const JOB_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Where the change comes from.
pub(super) struct How {
    pub(super) sets: Vec<Assignment>,
    pub(super) file: Option<String>,
    pub(super) dry_run: bool,
    pub(super) yes: bool,
}

/// Edits a dead letter. Whoever makes the edit also checks it and tells the difference.
pub(super) async fn run(backend: &Backend, context: &Context, id: JobId, how: &How) -> anyhow::Result<Exit> {
    let letter = backend.dead_letter(id).await?;
    let before = letter.job.as_ref().map(|job| bul_dlq_replayer::as_raw(job, Utc::now()));
    let after = edited(&letter, before.as_ref(), how)?;
    let report = backend.preview_edit(id, after.clone()).await?;
    let diff = clean_lines(&report.diff);
    if !report.changed {
        context.print(&report, || "nothing differs".into())?;
        return Ok(Exit::Done);
    }
    if how.dry_run {
        context.print(&report, || format!("{diff}nothing was changed"))?;
        return Ok(Exit::Done);
    }
    if !how.yes {
        eprint!("{diff}");
        if !super::confirm("make this change?")? {
            return Err(Fault::failed("nothing was changed").into());
        }
    }
    backend.edit_dead_letter(id, after).await?;
    context.print(&EditReport { dry_run: false, ..report }, || {
        let done = format!("dead letter {id} is edited; replay it with: bul dlq replay {id}");
        if how.yes { format!("{diff}{done}") } else { done }
    })?;
    Ok(Exit::Done)
}

fn edited(letter: &DeadLetter, before: Option<&RawJob>, how: &How) -> anyhow::Result<RawJob> {
    if let Some(file) = &how.file {
        return read(&input::read(file, JOB_BYTES_MAX)?, file);
    }
    if !how.sets.is_empty() {
        let before = before.ok_or_else(|| {
            Fault::usage("the message could not be read, so there is no job whose fields could be set")
                .hint("give the whole job with --file, or repair the message in $EDITOR")
        })?;
        return apply_all(before.clone(), &how.sets);
    }
    let text = match before {
        Some(job) => serde_json::to_string_pretty(job)? + "\n",
        None => letter.raw_text.clone().unwrap_or_default(),
    };
    read(&in_editor(&text)?, "the edited job")
}

fn read(bytes: &[u8], name: &str) -> anyhow::Result<RawJob> {
    Ok(RawJob::from_json(bytes).map_err(|e| Fault::usage(format!("{name}: {e}")))?)
}

/// The text after the user has worked on it. The file is private: it holds a customer's data.
fn in_editor(text: &str) -> anyhow::Result<Vec<u8>> {
    let editor = ["VISUAL", "EDITOR"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|e| !e.trim().is_empty()));
    let editor = editor.ok_or_else(|| {
        Fault::usage("there is no editor: neither VISUAL nor EDITOR is set")
            .hint("use --set or --file instead")
    })?;
    let mut file = tempfile::Builder::new().prefix("bul-").suffix(".json").tempfile()?;
    file.write_all(text.as_bytes())?;
    file.flush()?;
    // Editors are set with arguments ("code --wait"), never with quotes.
    let mut words = editor.split_whitespace();
    let program = words.next().unwrap_or_default();
    let status = Command::new(program)
        .args(words)
        .arg(file.path())
        .status()
        .map_err(|e| Fault::usage(format!("cannot start the editor {editor:?}: {e}")))?;
    if !status.success() {
        return Err(Fault::failed(format!("the editor ended with {status}; nothing was changed")).into());
    }
    // Read by path: most editors replace the file instead of writing into it.
    Ok(std::fs::read(file.path())?)
}
