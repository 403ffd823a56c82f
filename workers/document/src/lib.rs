//! The document tree and its writers: pure functions from `&Document` to bytes.
//!
//! Depends on no crate of ours. The PDF writer lives in `bul-pdf`, because typst is heavy.
//! A tree passes [`normalise`] once; then [`write()`] or one of the writers turns it into a file.
//! The same tree gives the same bytes, so retries and caches are safe.

mod chart;
mod clean;
mod colour;
mod error;
mod escape;
mod format;
mod html;
mod json;
mod labels;
pub mod limits;
mod markdown;
mod normalise;
mod place;
mod text;
mod tree;

pub use chart::{ChartText, chart_svg};
pub use clean::is_one_line;
pub use colour::{Colour, Palette};
pub use error::{DocumentError, Problem};
pub use format::{Format, UnknownFormat, WriteError, write};
pub use html::write_html;
pub use json::write_json;
pub use labels::Labels;
pub use markdown::write_markdown;
pub use normalise::normalise;
pub use text::write_text;
pub use tree::*;
