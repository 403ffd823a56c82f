//! Writes the formats of a document: PDFs and large ones on a bounded number of blocking threads, small texts right here.
//!
//! A character that no font has is a finding, not a failure: the document says everything else.

use std::sync::Arc;

use bul_document::Document;
use bul_job::{Failure, FailureClass, Format};
use bul_store::Attempt;
use bul_template::{Finding, Severity};
use serde_json::Value;

use crate::Worker;
use crate::attempt::Documents;
use crate::outcome::Stop;

impl Worker {
    /// Normalises the tree and writes every format the job asks for. Where the job asked for a JSON value, the `json` format
    /// is that `answer` and not the tree that shows it.
    pub(crate) async fn write(
        &self,
        attempt: &Attempt,
        document: Document,
        answer: Option<Value>,
    ) -> Result<(Documents, Vec<Finding>), Stop> {
        let started = std::time::Instant::now();
        let document = Arc::new(bul_document::normalise(document).map_err(|e| unwritable("document", &e))?);
        let formats = &attempt.job.formats;
        let mut documents = Vec::with_capacity(formats.len());
        let mut findings = Vec::new();
        for (done, format) in formats.iter().enumerate() {
            self.progress(attempt, "write", done, formats.len()).await;
            let (bytes, missing) = match (&answer, format) {
                (Some(answer), Format::Json) => (answer_bytes(answer)?, Vec::new()),
                (_, format) => self.write_one(document.clone(), *format, attempt.job.is_small()).await?,
            };
            documents.push((*format, bytes));
            findings.extend((!missing.is_empty()).then(|| glyphs_missing(*format, &missing)));
        }
        self.progress(attempt, "write", formats.len(), formats.len()).await;
        self.metrics.stage("write", started.elapsed());
        Ok((documents, findings))
    }

    async fn write_one(
        &self,
        document: Arc<Document>,
        format: Format,
        is_small: bool,
    ) -> Result<(Vec<u8>, Vec<char>), Stop> {
        if is_small && let Some(format) = text_format(format) {
            let written = bul_document::write(&document, format);
            return written.map(|bytes| (bytes, Vec::new())).map_err(|e| unwritable("document", &e));
        }
        let permit = self.writers.clone().acquire_owned().await.map_err(|e| unwritable("writer", &e))?;
        let pdf = self.pdf.clone();
        let written = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            match text_format(format) {
                None => pdf.render(&document).map(|p| (p.bytes, p.missing_glyphs)).map_err(|e| e.to_string()),
                Some(format) => {
                    bul_document::write(&document, format).map(|b| (b, Vec::new())).map_err(|e| e.to_string())
                }
            }
        });
        match written.await {
            Ok(Ok(written)) => Ok(written),
            Ok(Err(message)) => Err(unwritable(format.as_str(), &message)),
            Err(panic) => Err(unwritable(format.as_str(), &panic)),
        }
    }
}

/// The value alone, its members in the order of the answer.
fn answer_bytes(answer: &Value) -> Result<Vec<u8>, Stop> {
    let mut bytes = serde_json::to_vec_pretty(answer).map_err(|e| unwritable("json", &e))?;
    bytes.push(b'\n');
    Ok(bytes)
}

/// The format as the text writers know it; `None` for a PDF.
fn text_format(format: Format) -> Option<bul_document::Format> {
    Some(match format {
        Format::Pdf => return None,
        Format::Md => bul_document::Format::Md,
        Format::Html => bul_document::Format::Html,
        Format::Json => bul_document::Format::Json,
        Format::Txt => bul_document::Format::Txt,
    })
}

fn glyphs_missing(format: Format, missing: &[char]) -> Finding {
    let list: Vec<String> = missing.iter().take(20).map(|c| format!("U+{:04X}", *c as u32)).collect();
    Finding {
        rule: "write.glyph".into(),
        severity: Severity::Warning,
        path: format.as_str().into(),
        message: format!("no font has {}; shown as a box", list.join(", ")),
    }
}

/// Writers are pure: the same tree fails again.
fn unwritable(what: &str, error: &dyn std::fmt::Display) -> Stop {
    Stop::Failed(Failure {
        class: FailureClass::Permanent,
        code: format!("write_{what}"),
        message: format!("the {what} cannot be written: {error}"),
        retry_after_ms: None,
    })
}
