//! PDF from a document tree, with typst in process; the only crate that knows typst.
//!
//! Invariant: the tree reaches typst as data. One embedded template walks it; no text of a tree is
//! ever parsed as markup, no file, package or network is reachable. The same tree gives the same
//! bytes. Called by the worker on a bounded blocking pool: a page takes milliseconds of CPU.

mod data;
mod fonts;
mod world;

use std::sync::Arc;

use bul_document::Document;
use chrono::{Datelike, NaiveDate};
use thiserror::Error;
use typst::diag::{SourceDiagnostic, Warned};
use typst::foundations::{Datetime, Smart};
use typst_layout::PagedDocument;
use typst_pdf::{PdfOptions, PdfStandard, PdfStandards, Timestamp};

use world::{PdfWorld, Shared};

/// Bytes of tree and charts handed to typst; layout needs about 60 times as much memory.
pub const INPUT_BYTES_MAX: usize = 24 * 1024 * 1024;
/// Pages of one PDF; a document beyond is a runaway template.
pub const PAGES_MAX: usize = 2_000;
/// Documents a memoised layout survives unused. Zero would forget the template after every
/// document; more keeps other documents' layouts in memory.
const MEMO_AGE_MAX: usize = 2;
/// Layouts tried to avoid an ambiguous stream end; the last one is used whatever it holds.
const NUDGES_MAX: u8 = 4;
/// A stream whose data ends with a carriage return.
const AMBIGUOUS_END: &[u8] = b"\r\nendstream";

/// Why no PDF came out.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PdfError {
    /// A font given to [`PdfWriter::with_fonts`] cannot be read.
    #[error("font file {index} cannot be read")]
    Font {
        /// Position in the list.
        index: usize,
    },
    /// The document is larger than this writer accepts.
    #[error("{found} exceeds the limit {name} = {max}")]
    Limit {
        /// Name of the limit.
        name: &'static str,
        /// Its value.
        max: usize,
        /// What was found.
        found: usize,
    },
    /// The tree was not normalised, or the template has a fault.
    #[error("layout failed: {0}")]
    Layout(String),
    /// The result would break PDF/A or PDF/UA.
    #[error("export failed: {0}")]
    Export(String),
}

/// A finished PDF and what its reader will miss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pdf {
    /// The file.
    pub bytes: Vec<u8>,
    /// Number of pages.
    pub pages: usize,
    /// Characters no font has, in code point order; each shows as `□`.
    pub missing_glyphs: Vec<char>,
}

/// Writes documents as PDF/A-3a and PDF/UA-1. Cheap to clone and to share between threads.
#[derive(Clone)]
pub struct PdfWriter {
    shared: Arc<Shared>,
}

impl PdfWriter {
    /// A writer with the embedded fonts: Latin, Greek, Cyrillic, Arabic, Hebrew and symbols.
    pub fn new() -> Self {
        Self { shared: Arc::new(Shared::new(fonts::embedded())) }
    }

    /// A writer with further font files (TTF, OTF or collections), for scripts the embedded fonts
    /// lack, such as Chinese. They are asked after the embedded ones.
    pub fn with_fonts(files: Vec<Vec<u8>>) -> Result<Self, PdfError> {
        let mut all = fonts::embedded();
        for (index, file) in files.into_iter().enumerate() {
            let mut faces = fonts::faces(file).peekable();
            if faces.peek().is_none() {
                return Err(PdfError::Font { index });
            }
            all.extend(faces);
        }
        Ok(Self { shared: Arc::new(Shared::new(all)) })
    }

    /// Writes a normalised document and returns the file.
    pub fn write(&self, document: &Document) -> Result<Vec<u8>, PdfError> {
        self.render(document).map(|pdf| pdf.bytes)
    }

    /// Writes a normalised document and says what its reader will miss.
    pub fn render(&self, document: &Document) -> Result<Pdf, PdfError> {
        let input = data::prepare(document, &self.shared.coverage, &self.shared.families);
        let mut pdf = self.attempt(document, &input, 0)?;
        for nudge in 1..=NUDGES_MAX {
            if !has_ambiguous_stream(&pdf.bytes) {
                break;
            }
            pdf = self.attempt(document, &input, nudge)?;
        }
        Ok(pdf)
    }

    fn attempt(&self, document: &Document, input: &data::Input, nudge: u8) -> Result<Pdf, PdfError> {
        let json = input.json(nudge);
        let found = json.len();
        if found > INPUT_BYTES_MAX {
            return Err(PdfError::Limit { name: "INPUT_BYTES_MAX", max: INPUT_BYTES_MAX, found });
        }
        let _forget = Forget;
        let world = PdfWorld::new(Arc::clone(&self.shared), json);
        let Warned { output, warnings: _ } = typst::compile::<PagedDocument>(&world);
        let layout = output.map_err(|errors| PdfError::Layout(first(&errors)))?;
        let pages = layout.pages().len();
        if pages > PAGES_MAX {
            return Err(PdfError::Limit { name: "PAGES_MAX", max: PAGES_MAX, found: pages });
        }
        let options = options(document)?;
        let bytes = typst_pdf::pdf(&layout, &options).map_err(|errors| PdfError::Export(first(&errors)))?;
        Ok(Pdf { bytes, pages, missing_glyphs: input.missing.clone() })
    }
}

/// Whether a compressed stream happens to end with a carriage return. With the line feed before
/// `endstream` it reads as one line end, and validators then find the stream a byte short. One
/// stream in 256 does; shifting the page by 0.02 pt gives other bytes.
fn has_ambiguous_stream(pdf: &[u8]) -> bool {
    pdf.windows(AMBIGUOUS_END.len()).any(|window| window == AMBIGUOUS_END)
}

impl Default for PdfWriter {
    fn default() -> Self {
        Self::new()
    }
}

/// Ages typst's global memo table when a run ends, however it ends: without this it grows with
/// every document until memory is gone.
struct Forget;

impl Drop for Forget {
    fn drop(&mut self) {
        typst::comemo::evict(MEMO_AGE_MAX);
    }
}

fn options(document: &Document) -> Result<PdfOptions, PdfError> {
    let standards = PdfStandards::new(&[PdfStandard::A_3a, PdfStandard::Ua_1])
        .map_err(|error| PdfError::Export(error.message().to_string()))?;
    let meta = &document.meta;
    let ident = format!("{}\u{1F}{}\u{1F}{}\u{1F}{}", meta.title, meta.author, meta.date, meta.doc_type);
    Ok(PdfOptions {
        ident: Smart::Custom(ident),
        creator: Smart::Custom(Some("BUL".to_owned())),
        timestamp: timestamp(&meta.date),
        standards,
        ..PdfOptions::default()
    })
}

/// Midnight of the document's date. PDF/A demands one; without a date it is the first day a file
/// in an archive can have, which nobody takes for the date of issue.
fn timestamp(date: &str) -> Option<Timestamp> {
    let day =
        NaiveDate::parse_from_str(date, "%Y-%m-%d").ok().or_else(|| NaiveDate::from_ymd_opt(1980, 1, 1))?;
    let day = Datetime::from_ymd_hms(day.year(), day.month() as u8, day.day() as u8, 0, 0, 0)?;
    Some(Timestamp::new_utc(day))
}

fn first(errors: &[SourceDiagnostic]) -> String {
    errors.first().map_or_else(|| "no reason given".to_owned(), |error| error.message.to_string())
}
