//! Documents on disk: names that are safe and say what is inside, files that are whole or absent.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bul_job::{Format, JobId, ValidJob};
use bul_store::JobDetail;
use serde_json::Value;

use super::print::short;

/// Characters of one part of a name.
const PART_CHARS_MAX: usize = 40;
/// Where data keeps the number people know a document by.
const NUMBER_KEYS: [&str; 8] =
    ["number", "invoice_number", "document_number", "contract_number", "id", "version", "reference", "name"];

/// `<template>-<number or slug>-<short id>.<ext>`.
pub fn document_name(detail: &JobDetail, format: Format) -> String {
    let summary = &detail.summary;
    name(&summary.id, detail.job.as_ref(), &summary.template, &summary.title, format)
}

fn name(id: &JobId, job: Option<&ValidJob>, template: &str, title: &str, format: Format) -> String {
    let number = job.and_then(|job| {
        NUMBER_KEYS.iter().find_map(|key| match job.data.get(*key) {
            Some(Value::String(text)) => Some(slug(text)),
            Some(Value::Number(number)) => Some(slug(&number.to_string())),
            _ => None,
        })
    });
    let number = number.filter(|n| !n.is_empty()).unwrap_or_else(|| slug(title));
    let template = slug(template);
    // "Invoice 7" of the template invoice is not invoice-invoice-7.
    let number =
        number.strip_prefix(&template).map(|rest| rest.trim_matches('-').to_owned()).unwrap_or(number);
    let parts = [template, number, short(id)];
    let stem = parts.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join("-");
    format!("{stem}.{format}")
}

/// Lower-case letters, digits, `-`, `_` and inner dots of a text; everything else becomes one hyphen.
/// Never empty parts of paths, never a leading dot.
fn slug(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars().flat_map(char::to_lowercase) {
        if c.is_alphanumeric() || matches!(c, '_' | '.') {
            out.push(c);
        } else if !out.is_empty() && !out.ends_with('-') {
            out.push('-');
        }
        if out.chars().count() > PART_CHARS_MAX {
            out.pop();
            // Half a word at the end is worse than none.
            out.truncate(out.rfind('-').unwrap_or(out.len()));
            break;
        }
    }
    out.trim_matches(['-', '.']).to_owned()
}

/// Writes a file through a temporary one beside it: a reader never sees half of a document.
pub fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)
        .with_context(|| format!("cannot make the folder {}", folder.display()))?;
    let attempt = || -> std::io::Result<()> {
        let mut builder = tempfile::Builder::new();
        builder.prefix(".bul-");
        // A temporary file is private by default; a finished document has the usual rights.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644));
        let mut file = builder.tempfile_in(folder)?;
        file.write_all(bytes)?;
        file.persist(path).map_err(|e| e.error)?;
        Ok(())
    };
    attempt().with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a document into a folder and returns where it is.
pub fn save(folder: &Path, name: &str, bytes: &[u8]) -> anyhow::Result<PathBuf> {
    let path = folder.join(name);
    write_whole(&path, bytes)?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slugs_cannot_leave_their_folder() {
        let check = |text: &str, expected: &str| assert_eq!(slug(text), expected);
        check("RE 2026/0042", "re-2026-0042");
        check("../../etc/passwd", "etc-passwd");
        check("a\u{0}b\\c:d", "a-b-c-d");
        check("Übersicht – März", "übersicht-märz");
        check("v1.4.0", "v1.4.0");
        check("...", "");
        check(&"x".repeat(100), &"x".repeat(40));
        check(&"word ".repeat(20), "word-word-word-word-word-word-word-word");
        check(&format!("{} b", "x".repeat(40)), &"x".repeat(40));
    }

    #[test]
    fn names_hold_template_number_and_short_id() {
        let id: JobId = "0192f0c8-7b2e-7abc-8def-0123456789ab".parse().unwrap();
        let raw = bul_job::RawJob::from_json(br#"{"template":"invoice","data":{"number":"RE-7"}}"#).unwrap();
        let job = ValidJob::parse(raw, chrono::Utc::now(), &bul_job::Limits::default()).unwrap();
        assert_eq!(name(&id, Some(&job), "invoice", "Invoice", Format::Pdf), "invoice-re-7-456789ab.pdf");
        assert_eq!(name(&id, None, "x", "A title", Format::Md), "x-a-title-456789ab.md");
        assert_eq!(name(&id, None, "x", "", Format::Md), "x-456789ab.md");
        assert_eq!(name(&id, None, "invoice", "Invoice 7", Format::Md), "invoice-7-456789ab.md");
        assert_eq!(name(&id, None, "invoice", "Invoice", Format::Md), "invoice-456789ab.md");
    }

    #[test]
    fn writing_replaces_whole_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = save(&folder.path().join("new"), "a.txt", b"one").unwrap();
        write_whole(&path, b"two").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
