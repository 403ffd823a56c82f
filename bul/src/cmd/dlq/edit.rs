//! `bul dlq edit`: fields, a file, or the editor; the difference is shown before anything changes.

use std::io::Write;
use std::process::Command;

use bul_job::{JobId, Limits, RawJob, ValidJob};
use bul_store::DeadLetter;
use chrono::Utc;
use serde_json::json;
use similar::TextDiff;

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
    pub(super) yes: bool,
}

/// Edits a dead letter.
pub(super) async fn run(backend: &Backend, context: &Context, id: JobId, how: &How) -> anyhow::Result<Exit> {
    let letter = backend.dead_letter(id).await?;
    let now = Utc::now();
    let before = letter.job.as_ref().map(|job| bul_dlq_replayer::as_raw(job, now));
    let after = edited(&letter, before.as_ref(), how)?;
    ValidJob::parse(after.clone(), now, &Limits::default())
        .map_err(|e| Fault::usage(format!("the edited job is not valid: {e}")))?;
    let diff = difference(before.as_ref(), &after, id)?;
    if diff.is_empty() {
        context.print(&json!({"id": id, "changed": false, "diff": ""}), || "nothing differs".into())?;
        return Ok(Exit::Done);
    }
    if !how.yes {
        eprint!("{}", clean_lines(&diff));
        if !super::confirm("make this change?")? {
            return Err(Fault::failed("nothing was changed").into());
        }
    }
    backend.edit_dead_letter(id, after).await?;
    context.print(&json!({"id": id, "changed": true, "diff": diff}), || {
        let done = format!("dead letter {id} is edited; replay it with: bul dlq replay {id}");
        if how.yes { format!("{}{done}", clean_lines(&diff)) } else { done }
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

/// Unified difference of the two jobs' JSON; empty when they are the same.
fn difference(before: Option<&RawJob>, after: &RawJob, id: JobId) -> anyhow::Result<String> {
    let pretty = |job: &RawJob| -> anyhow::Result<String> { Ok(serde_json::to_string_pretty(job)? + "\n") };
    let old = before.map(pretty).transpose()?.unwrap_or_default();
    let new = pretty(after)?;
    if old == new {
        return Ok(String::new());
    }
    let header = format!("{id}.json");
    Ok(TextDiff::from_lines(old.as_str(), new.as_str())
        .unified_diff()
        .context_radius(3)
        .header(&header, &header)
        .to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_show_what_changes() {
        let job = |template: &str| RawJob { template: Some(template.into()), ..RawJob::default() };
        let id = JobId::new();
        let diff = difference(Some(&job("a")), &job("b"), id).unwrap();
        assert!(diff.contains("-  \"template\": \"a\"") && diff.contains("+  \"template\": \"b\""), "{diff}");
        assert_eq!(difference(Some(&job("a")), &job("a"), id).unwrap(), "");
    }
}
