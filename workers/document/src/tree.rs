//! The `Document` tree: what every template produces and every writer reads.
//!
//! A tree is data, never markup: text in it is text. It is normalised once, by
//! [`crate::normalise`], before any writer sees it. Its JSON form is stable (`schemas/json`).

use serde::{Deserialize, Serialize};

/// A finished document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// Who, what and when.
    pub meta: Meta,
    /// Content in reading order.
    pub blocks: Vec<Block>,
    /// The data the document rests on, by name; prose refers to them with [`Inline::Fact`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub facts: Vec<Fact>,
    /// Where the content comes from (event ids, invoice numbers, links), shown in the output only
    /// when a template prints them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<String>,
}

/// Document metadata.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meta {
    /// Title; required, not empty.
    pub title: String,
    /// Second line under the title.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub subtitle: String,
    /// BCP 47 language tag, for example `en` or `de-DE`.
    pub lang: String,
    /// Author or issuing organisation.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub author: String,
    /// Date of issue, ISO 8601 (`2026-11-16`); empty when unknown. It is also the timestamp of the
    /// files, so that the same job gives the same bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub date: String,
    /// For example `invoice` or `strategy`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub doc_type: String,
    /// For example `finance`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub business_area: String,
    /// Colours and name of the publisher.
    #[serde(default)]
    pub brand: Brand,
}

/// The look of a document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Brand {
    /// Name printed in the header; empty prints none.
    pub name: String,
    /// Main colour, `#rrggbb`.
    pub primary: String,
    /// Second colour, for charts and rules.
    pub accent: String,
}

impl Default for Brand {
    fn default() -> Self {
        Self { name: String::new(), primary: "#1f3a5f".into(), accent: "#c8702a".into() }
    }
}

/// A named value from the event, or computed from it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fact {
    /// Name, `[a-z][a-z0-9_]*`.
    pub name: String,
    /// Formatted value, as the reader sees it.
    pub value: String,
    /// JSON Pointer into the job's data, or `computed: …`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub origin: String,
}

/// A block of content.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "block", rename_all = "snake_case", deny_unknown_fields)]
pub enum Block {
    /// Heading, level 1 (below the title) to 6. `id` is made by normalisation when empty.
    Heading {
        /// 1 to 6, one below the title.
        level: u8,
        /// Content.
        text: Vec<Inline>,
        /// Anchor, unique in the document.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        id: String,
    },
    /// Paragraph.
    Paragraph {
        /// Content.
        text: Vec<Inline>,
    },
    /// Ordered or bulleted list; items hold blocks (paragraphs, nested lists).
    List {
        /// Numbered instead of bulleted.
        #[serde(default)]
        ordered: bool,
        /// Items in order.
        items: Vec<Vec<Block>>,
    },
    /// Table.
    Table(Table),
    /// Chart with its alternative text.
    Figure(Figure),
    /// Preformatted text.
    Code {
        /// Language of the code, for highlighting; empty for none.
        #[serde(default)]
        language: String,
        /// The text, spaces and line ends kept.
        text: String,
    },
    /// Quotation.
    Quote {
        /// What is quoted.
        blocks: Vec<Block>,
    },
    /// Boxed remark.
    Callout {
        /// Kind; it decides colour and label.
        kind: CalloutKind,
        /// Title; empty takes the label of the kind.
        title: String,
        /// Content.
        blocks: Vec<Block>,
    },
    /// Terms and their definitions.
    Definitions {
        /// Terms in order.
        entries: Vec<Definition>,
    },
    /// Label and value pairs, such as the head of an invoice.
    KeyValue {
        /// Pairs in order.
        entries: Vec<KeyValue>,
    },
    /// Side-by-side groups (at most three), such as seller and buyer.
    Columns {
        /// Groups from left to right.
        columns: Vec<Vec<Block>>,
    },
    /// Lines to sign on.
    Signature {
        /// Who signs.
        parties: Vec<SignatureParty>,
    },
    /// Starts a new page where there are pages.
    PageBreak,
    /// A place for generated prose. Only in a plan: writers and normalisation refuse it.
    Slot {
        /// Name of the slot in the plan.
        id: String,
    },
}

/// Kind of a callout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CalloutKind {
    /// Neutral remark.
    Info,
    /// Good news.
    Success,
    /// Needs attention.
    Warning,
    /// Something is wrong.
    Danger,
}

/// One defined term.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Definition {
    /// Term.
    pub term: Vec<Inline>,
    /// Its meaning.
    pub meaning: Vec<Block>,
}

/// One label and its value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyValue {
    /// Label.
    pub label: String,
    /// Value.
    pub value: Vec<Inline>,
}

/// Somebody who signs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignatureParty {
    /// Organisation or person.
    pub name: String,
    /// Role, for example `Supplier`.
    #[serde(default)]
    pub role: String,
}

/// What a column holds; it decides alignment and the native cell type of office formats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    /// Text, left-aligned.
    Text,
    /// Money amount, right-aligned.
    Money,
    /// Whole or decimal number, right-aligned.
    Number,
    /// Percentage, right-aligned.
    Percent,
    /// Date.
    Date,
}

/// One column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// Header text.
    pub title: String,
    /// Content type.
    #[serde(rename = "type")]
    pub kind: ColumnType,
    /// Relative width; 0 lets the writer decide.
    #[serde(default)]
    pub width: u8,
}

/// A table with one header row, body rows and total rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Table {
    /// Caption; empty prints none.
    #[serde(default)]
    pub caption: String,
    /// Columns, at least one.
    pub columns: Vec<Column>,
    /// Body rows; each has as many cells as there are columns.
    pub rows: Vec<Vec<Cell>>,
    /// Rows set apart at the bottom, such as sums.
    #[serde(default)]
    pub totals: Vec<Vec<Cell>>,
}

/// A table cell: formatted text and, where there is one, the exact decimal behind it.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cell {
    /// What is shown.
    pub text: Vec<Inline>,
    /// Exact value as a decimal string, for spreadsheets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// A chart with caption and alternative text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Figure {
    /// Caption; empty prints none.
    #[serde(default)]
    pub caption: String,
    /// What the figure shows, for readers who cannot see it. Required.
    pub alt: String,
    /// The chart.
    pub chart: Chart,
}

/// Kind of a chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChartKind {
    /// Vertical bars.
    Bar,
    /// Lines over ordered categories.
    Line,
    /// Filled lines.
    Area,
    /// Shares of a whole; one series.
    Pie,
}

/// Chart data: every series has one value per category.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chart {
    /// Kind.
    pub kind: ChartKind,
    /// Labels of the category axis.
    pub categories: Vec<String>,
    /// Series, at least one.
    pub series: Vec<Series>,
    /// Unit of the value axis, for example `EUR`; empty for none.
    #[serde(default)]
    pub unit: String,
}

/// One data series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Series {
    /// Name in the legend.
    pub name: String,
    /// Values; finite.
    pub values: Vec<f64>,
}

/// Text with meaning.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "inline", rename_all = "snake_case", deny_unknown_fields)]
pub enum Inline {
    /// Plain text.
    Text {
        /// The text.
        text: String,
    },
    /// Strong emphasis.
    Strong {
        /// Content.
        text: Vec<Inline>,
    },
    /// Emphasis.
    Emphasis {
        /// Content.
        text: Vec<Inline>,
    },
    /// Code.
    Code {
        /// The code.
        text: String,
    },
    /// Link; only `http`, `https` and `mailto` survive normalisation.
    Link {
        /// Target.
        url: String,
        /// What is shown.
        text: Vec<Inline>,
    },
    /// A fact by name, with the value that is shown.
    Fact {
        /// Name of the fact.
        name: String,
        /// Value as shown.
        value: String,
    },
    /// Footnote.
    Footnote {
        /// Content of the note.
        text: Vec<Inline>,
    },
    /// Line break.
    Break,
}

impl Inline {
    /// Plain text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text { text: text.into() }
    }
}

/// Plain text as a run of inlines.
pub fn text(value: impl Into<String>) -> Vec<Inline> {
    vec![Inline::text(value)]
}

/// The reader's text of a run of inlines, without markup; footnotes are left out.
pub fn plain(inlines: &[Inline]) -> String {
    let mut out = String::new();
    push_plain(inlines, &mut out);
    out
}

fn push_plain(inlines: &[Inline], out: &mut String) {
    for inline in inlines {
        match inline {
            Inline::Text { text } | Inline::Code { text } => out.push_str(text),
            Inline::Strong { text } | Inline::Emphasis { text } | Inline::Link { text, .. } => {
                push_plain(text, out)
            }
            Inline::Fact { value, .. } => out.push_str(value),
            Inline::Footnote { .. } => {}
            Inline::Break => out.push('\n'),
        }
    }
}
