//! What can go wrong between an order and a document.
//!
//! Every variant but one is the sender's or the package author's to repair, so none of them is worth a retry. The one is an
//! answer of the model's that does not fit its schema: asked again, the model may write another.
//! JSON Pointers are relative to the job's `data`.

use std::path::PathBuf;

use serde::Serialize;

/// One thing wrong with the data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// JSON Pointer into the data; empty for the data as a whole.
    pub pointer: String,
    /// What is wrong there.
    pub message: String,
}

impl Problem {
    pub(crate) fn new(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), message: message.into() }
    }
}

/// Failure to load, plan or assemble.
#[derive(Debug, thiserror::Error)]
pub enum TemplateError {
    /// No template has this name.
    #[error("unknown template `{name}`; known: {}", known.join(", "))]
    Unknown {
        /// Name asked for.
        name: String,
        /// Names there are.
        known: Vec<String>,
    },
    /// The data does not fit the template.
    #[error("data does not fit template `{template}`: {}", first(problems))]
    Data {
        /// Template.
        template: String,
        /// Everything that is wrong, in document order.
        problems: Vec<Problem>,
    },
    /// The body of a template failed.
    #[error("body of template `{template}`{}: {message}", at(*line))]
    Body {
        /// Template.
        template: String,
        /// Line in the body, where known.
        line: Option<usize>,
        /// What failed.
        message: String,
    },
    /// A template package cannot be used.
    #[error("template package {}: {message}", path.display())]
    Package {
        /// File or directory.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A plan was used out of order, for example expanded twice.
    #[error("plan: {0}")]
    Plan(String),
    /// What shall be the schema of an answer is none, or none that an answer can be checked against.
    #[error("the schema of the answer cannot be used: {0}")]
    AnswerSchema(String),
    /// The model's answer does not fit its schema. Pointers are into the answer.
    #[error("the model's answer does not fit the response_schema: {}", first(problems))]
    Answer {
        /// Everything that is wrong.
        problems: Vec<Problem>,
    },
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// File or directory.
        path: PathBuf,
        /// Cause.
        #[source]
        source: std::io::Error,
    },
}

fn first(problems: &[Problem]) -> String {
    match problems {
        [] => "no details".into(),
        [only] => format!("{}: {}", show(&only.pointer), only.message),
        [head, rest @ ..] => format!("{}: {} (and {} more)", show(&head.pointer), head.message, rest.len()),
    }
}

fn show(pointer: &str) -> &str {
    if pointer.is_empty() { "/" } else { pointer }
}

fn at(line: Option<usize>) -> String {
    line.map_or_else(String::new, |line| format!(", line {line}"))
}

impl TemplateError {
    /// What is wrong, by JSON Pointer relative to `data`; empty for errors that are not about data.
    pub fn fields(&self) -> Vec<(String, String)> {
        match self {
            Self::Data { problems, .. } => {
                problems.iter().map(|p| (p.pointer.clone(), p.message.clone())).collect()
            }
            Self::Unknown { .. }
            | Self::Body { .. }
            | Self::Package { .. }
            | Self::Plan(_)
            | Self::AnswerSchema(_)
            | Self::Answer { .. }
            | Self::Read { .. } => Vec::new(),
        }
    }
}
