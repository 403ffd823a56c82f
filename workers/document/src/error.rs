//! Why a tree is refused, and where.
//!
//! The path uses the field names and indices of the JSON form (`blocks/3/rows/2`), so that whoever
//! wrote the template or the model's output finds the place.

use thiserror::Error;

/// A tree that cannot become a document.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("{path}: {problem}")]
pub struct DocumentError {
    /// Place in the tree, for example `blocks/3/rows/2`.
    pub path: String,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with a place in the tree.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum Problem {
    /// The document or a figure lacks a text that readers and programs need.
    #[error("must not be empty")]
    Empty,
    /// `meta/lang` is no language tag.
    #[error("`{0}` is not a BCP 47 language tag")]
    Language(String),
    /// `meta/date` is no date.
    #[error("`{0}` is not an ISO 8601 date")]
    Date(String),
    /// A brand colour is not `#rrggbb`.
    #[error("`{0}` is not a colour of the form #rrggbb")]
    Colour(String),
    /// A heading level outside 1 to 6.
    #[error("heading level {0} is outside 1 to 6")]
    HeadingLevel(u8),
    /// A row or series with the wrong number of values.
    #[error("has {found} values where {expected} are expected")]
    Shape {
        /// Number of columns or categories.
        expected: usize,
        /// Number found.
        found: usize,
    },
    /// A cell value that is no decimal number.
    #[error("`{0}` is not a decimal number")]
    Decimal(String),
    /// A chart value that is not finite, or too large to draw.
    #[error("chart value {0} cannot be drawn")]
    ChartValue(f64),
    /// A pie with more than one series.
    #[error("a pie shows one series, not {0}")]
    PieSeries(usize),
    /// A pie with a negative share.
    #[error("a pie cannot show the negative share {0}")]
    PieShare(f64),
    /// A place for generated prose was never filled.
    #[error("slot `{0}` was not filled")]
    Slot(String),
    /// A limit was passed.
    #[error("{found} exceeds the limit {name} = {max}")]
    Limit {
        /// Name of the limit.
        name: &'static str,
        /// Its value.
        max: usize,
        /// What was found.
        found: usize,
    },
}
