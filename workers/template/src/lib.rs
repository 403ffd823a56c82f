//! Templates: data and a request in, a plan with computed parts and prose slots out.
//!
//! A template is a program for a document. Every figure, date and name comes from the job's data
//! or is computed from it with decimal arithmetic; only the marked prose is generated, and it may
//! mention facts only by their names. [`Catalog::plan`] makes the plan, the worker has the prose
//! written, [`Plan::assemble`] puts both together and reports what it did not trust.
//! No I/O but reading template packages; the same order gives the same plan.

mod answer;
mod assemble;
mod body;
mod builtin;
mod catalog;
mod check;
mod compute;
mod error;
mod facts;
mod finding;
mod format;
mod json;
mod markdown;
mod package;
mod placeholder;
mod plan;
mod prompt;
mod prose;
mod render;
mod schema;
mod turn;

pub use answer::{ANSWER, AnswerRequest};
pub use assemble::Assembled;
pub use catalog::{Catalog, Order, TemplateInfo};
pub use check::{CheckReport, SampleReport, check_dir};
pub use error::{Problem, TemplateError};
pub use finding::{Finding, Severity};
pub use package::Template;
pub use placeholder::placeholder_prose;
pub use plan::{OutlineRequest, Plan, ProseSlot};
pub use turn::Turn;

/// Named upper limits; each guards one way a request or a package could grow without bound.
pub mod limits {
    /// Bytes of one file of a package.
    pub const PACKAGE_FILE_BYTES_MAX: u64 = 1 << 20;
    /// Packages read from one directory.
    pub const PACKAGES_MAX: usize = 500;
    /// Samples of one package.
    pub const SAMPLES_MAX: usize = 50;
    /// Steps the body of a template may take.
    pub const BODY_FUEL: u64 = 5_000_000;
    /// Bytes of text a body may print.
    pub const BODY_BYTES_MAX: usize = 16 << 20;
    /// Errors of one validation that are reported.
    pub const PROBLEMS_MAX: usize = 50;
    /// Facts offered to one prose slot.
    pub const SLOT_FACTS_MAX: usize = 10;
    /// Prose slots of one plan.
    pub const SLOTS_MAX: usize = 200;
    /// Characters of a fact's value in a prompt.
    pub const PROMPT_VALUE_CHARS_MAX: usize = 80;
    /// Characters of a title, heading or aim in a prompt.
    pub const PROMPT_LINE_CHARS_MAX: usize = 160;
    /// Characters of the background in a prompt.
    pub const PROMPT_CONTEXT_CHARS_MAX: usize = 600;
    /// Characters of a document in the turns of its session.
    pub const TURN_CHARS_MAX: usize = 3_000;
    /// Characters of one of its paragraphs.
    pub const TURN_PARAGRAPH_CHARS_MAX: usize = 1_000;
    /// Bytes of one generated text that are read.
    pub const PROSE_BYTES_MAX: usize = 64 << 10;
    /// Bytes of one generated JSON value that are read.
    pub const ANSWER_BYTES_MAX: usize = 1 << 20;
    /// Regular expressions of one schema for answers.
    pub const ANSWER_PATTERNS_MAX: usize = 64;
    /// Memory of one of them once it is compiled, bytes.
    pub const ANSWER_PATTERN_BYTES_MAX: usize = 256 << 10;
    /// Findings of one document.
    pub const FINDINGS_MAX: usize = 500;
}
