//! What is wrong with an input, where, and everything else that is wrong with it.
//!
//! One error stands for one body. A batch is read to its end, so that its sender can repair all of
//! it at once; the list of bad places is bounded by [`BAD_PLACES_MAX`]. Untrusted text in messages
//! is cut and stripped of control characters.

use bul_job::{FieldError, JobError};

/// Bad places that one error lists; the rest is only counted. An answer must not outgrow its question.
pub const BAD_PLACES_MAX: usize = 100;

/// Characters of untrusted text that a message quotes.
const QUOTE_CHARS_MAX: usize = 64;

/// What sort of mistake it is; decides the status of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IngestErrorKind {
    /// Nothing was sent.
    Empty,
    /// A limit of [`super::IngestLimits`] was exceeded.
    TooLarge,
    /// The bytes are no text in a character set that is read here.
    Encoding,
    /// The text is not well-formed JSON, XML or CSV.
    Syntax,
    /// Well-formed, but of a kind that is not read here; the message says what is.
    Unsupported,
    /// A field is missing, unknown or has a wrong value.
    Invalid,
    /// The kind of input could not be recognised.
    Unrecognised,
}

impl IngestErrorKind {
    /// Stable name for machines.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::TooLarge => "too_large",
            Self::Encoding => "encoding",
            Self::Syntax => "syntax",
            Self::Unsupported => "unsupported",
            Self::Invalid => "invalid",
            Self::Unrecognised => "unrecognised",
        }
    }
}

/// An input that cannot be turned into jobs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct IngestError {
    /// Sort of mistake.
    pub kind: IngestErrorKind,
    /// Where: `line 7, column 3`, `row 3, column 2 (priority)`, `/2`, `Invoice/cbc:ID`; empty for the whole.
    pub place: String,
    /// What is wrong there, a lowercase fragment.
    pub message: String,
    /// All bad places, at most [`BAD_PLACES_MAX`]; empty where there is only the one above.
    bad: Vec<FieldError>,
    /// Bad places that were found beyond those listed.
    pub bad_more: usize,
}

impl IngestError {
    /// An error at one place.
    pub fn new(kind: IngestErrorKind, place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind, place: place.into(), message: message.into(), bad: Vec::new(), bad_more: 0 }
    }

    pub(crate) fn unsupported(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(IngestErrorKind::Unsupported, place, message)
    }

    pub(crate) fn syntax(place: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(IngestErrorKind::Syntax, place, message)
    }

    pub(crate) fn too_large(message: impl Into<String>) -> Self {
        Self::new(IngestErrorKind::TooLarge, "", message)
    }

    /// One wrong field of an input that is otherwise one value.
    pub(crate) fn invalid(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        let mut bad = Bad::default();
        bad.push("", FieldError::new(pointer, message));
        bad.into_error()
    }

    /// Every bad place, by JSON Pointer where the input has pointers. Never empty.
    pub fn fields(&self) -> Vec<FieldError> {
        self.clone().into_fields()
    }

    fn into_fields(self) -> Vec<FieldError> {
        match (self.bad.is_empty(), self.place.starts_with('/')) {
            (false, _) => self.bad,
            (true, true) => vec![FieldError::new(self.place, self.message)],
            (true, false) => vec![FieldError::new("", self.text())],
        }
    }

    /// The same error, seen from the outside of the place `outer`.
    pub(crate) fn within(mut self, outer: &str, pointer: &str) -> Self {
        self.place = match (outer.is_empty(), self.place.is_empty()) {
            (true, _) => self.place,
            (_, true) => outer.to_owned(),
            _ if self.place.starts_with('/') && outer.starts_with('/') => format!("{outer}{}", self.place),
            _ => format!("{outer}: {}", self.place),
        };
        for field in &mut self.bad {
            field.pointer.insert_str(0, pointer);
        }
        self
    }

    fn text(&self) -> String {
        let mut text = placed(&self.place, &self.message);
        let more = self.bad.len().saturating_sub(1) + self.bad_more;
        if more > 0 {
            text.push_str(&format!(" (and {more} more)"));
        }
        text
    }
}

/// Place and message; a message may also speak of its place itself.
fn placed(place: &str, message: &str) -> String {
    if place.is_empty() || message.starts_with(place) {
        message.to_owned()
    } else {
        format!("{place}: {message}")
    }
}

/// Collects bad places while the rest of an input is still read.
#[derive(Debug, Default)]
pub(crate) struct Bad {
    first: Option<(IngestErrorKind, String, String)>,
    fields: Vec<FieldError>,
    more: usize,
}

impl Bad {
    /// Notes one wrong field. `place` is where people look; the field's pointer is what machines read.
    pub(crate) fn push(&mut self, place: &str, field: FieldError) {
        self.note(IngestErrorKind::Invalid, place, field);
    }

    /// Notes everything an inner reader found, inside item `index` at `place`.
    pub(crate) fn push_error(&mut self, place: &str, index: usize, error: IngestError) {
        let kind = error.kind;
        let pointer = format!("/{index}");
        let more = error.bad_more;
        for mut field in error.into_fields() {
            field.pointer.insert_str(0, &pointer);
            self.note(kind, place, field);
        }
        self.more += more;
    }

    fn note(&mut self, kind: IngestErrorKind, place: &str, mut field: FieldError) {
        if self.first.is_none() {
            let place = if place.is_empty() { field.pointer.clone() } else { place.to_owned() };
            self.first = Some((kind, place, field.message.clone()));
        }
        if self.fields.len() == BAD_PLACES_MAX {
            self.more += 1;
            return;
        }
        if !place.starts_with('/') {
            field.message = placed(place, &field.message);
        }
        self.fields.push(field);
    }

    /// True once no more places are listed; finding out where they are can then be saved.
    pub(crate) fn is_full(&self) -> bool {
        self.fields.len() == BAD_PLACES_MAX
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// `Ok` when nothing was noted.
    pub(crate) fn finish<T>(self, value: T) -> Result<T, IngestError> {
        if self.is_empty() { Ok(value) } else { Err(self.into_error()) }
    }

    pub(crate) fn into_error(self) -> IngestError {
        let (kind, place, message) =
            self.first.unwrap_or((IngestErrorKind::Invalid, String::new(), "not valid".into()));
        IngestError { kind, place, message, bad: self.fields, bad_more: self.more }
    }
}

impl From<JobError> for IngestError {
    fn from(error: JobError) -> Self {
        match error {
            JobError::Syntax(message) => Self::syntax("", message),
            JobError::TooLarge { .. } => Self::too_large(error.to_string()),
            JobError::Fields(fields) => {
                let mut bad = Bad::default();
                for field in fields {
                    bad.push("", readable(field));
                }
                bad.into_error()
            }
        }
    }
}

/// serde's text for an untagged enum names a Rust type, which tells a caller nothing.
fn readable(mut field: FieldError) -> FieldError {
    if field.message.contains("untagged enum PriorityInput") {
        field.message = "expected critical, high, normal, low or a number from 0 to 3".into();
    }
    field.message = field.message.chars().filter(|c| !c.is_control()).take(400).collect();
    field
}

/// Untrusted text, fit for a message: bounded and printable.
pub(crate) fn quote(text: &str) -> String {
    let mut cut: String =
        text.chars().take(QUOTE_CHARS_MAX).map(|c| if c.is_control() { '·' } else { c }).collect();
    if text.chars().nth(QUOTE_CHARS_MAX).is_some() {
        cut.push('…');
    }
    format!("\"{cut}\"")
}
