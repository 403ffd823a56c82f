//! Limits of a document, each with a name and a reason.
//!
//! A tree comes from templates and from a model, so its size is not ours to trust. Every limit is
//! far above what a reader would accept; passing one means a runaway template, not a long report.

/// Blocks of a document, nested ones included. A 500-page handbook has about 6,000.
pub const BLOCKS_MAX: usize = 20_000;
/// Nesting of blocks. Deeper lists cannot be read, and writers recurse.
pub const BLOCK_DEPTH_MAX: usize = 12;
/// Nesting of inlines. Writers recurse here too.
pub const INLINE_DEPTH_MAX: usize = 12;
/// Columns of a table. More do not fit a page in any type size.
pub const TABLE_COLUMNS_MAX: usize = 32;
/// Body and total rows of one table. Larger data belongs into a spreadsheet.
pub const TABLE_ROWS_MAX: usize = 10_000;
/// Cells of all tables together, because a PDF takes about 40 µs and 3 KB for each.
pub const TABLE_CELLS_MAX: usize = 200_000;
/// Side-by-side groups. A fourth would leave less than 40 mm on A4.
pub const COLUMN_GROUPS_MAX: usize = 3;
/// Categories of a chart; labels are thinned out long before.
pub const CHART_CATEGORIES_MAX: usize = 400;
/// Series of a chart. More lines cannot be told apart.
pub const CHART_SERIES_MAX: usize = 12;
/// Largest absolute value in a chart; above it, axis arithmetic in `f64` loses meaning.
pub const CHART_VALUE_MAX: f64 = 1e15;
/// Bytes of one text.
pub const TEXT_BYTES_MAX: usize = 256 * 1024;
/// Bytes of all texts together.
pub const DOCUMENT_TEXT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of the title; it has to fit a page header and a file name.
pub const TITLE_BYTES_MAX: usize = 512;
