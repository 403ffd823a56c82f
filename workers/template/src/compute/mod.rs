//! Preparers: the programs behind built-in templates. Each derives facts, computed values, ready
//! blocks and findings from validated data; none of them guesses.

mod ci;
mod contract;
pub(crate) mod free;
mod invoice;
mod weekly;

use std::collections::BTreeMap;

use bul_document::{Block, Cell, Inline, KeyValue, text};
use rust_decimal::Decimal;
use serde_json::{Map, Value};

use crate::catalog::Order;
use crate::error::{Problem, TemplateError};
use crate::facts::FactSet;
use crate::finding::Finding;
use crate::format::Locale;
use crate::package::Template;
use crate::plan::OutlineSpec;

/// Which program prepares the data of a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Preparer {
    /// None: the body works with the data and the manifest's facts.
    Generic,
    Contract,
    Document,
    IncidentReport,
    Invoice,
    ReleaseNotes,
    WeeklyReport,
}

/// What a preparer works from.
pub(crate) struct Input<'a> {
    pub(crate) order: &'a Order<'a>,
    pub(crate) data: &'a Value,
    pub(crate) locale: Locale,
    pub(crate) labels: &'a BTreeMap<String, String>,
    pub(crate) template: &'a Template,
}

/// What a preparer makes; empty head fields leave the manifest's texts in force.
#[derive(Default)]
pub(crate) struct Prepared {
    pub(crate) title: String,
    pub(crate) subtitle: String,
    pub(crate) author: String,
    pub(crate) brand_name: String,
    pub(crate) date: Option<String>,
    pub(crate) doc_type: Option<String>,
    pub(crate) business_area: Option<String>,
    pub(crate) facts: FactSet,
    /// Further names the body may read.
    pub(crate) context: Map<String, Value>,
    /// Ready blocks for `part("name")`.
    pub(crate) parts: BTreeMap<String, Vec<Block>>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) sources: Vec<String>,
    pub(crate) outline: Option<OutlineSpec>,
    /// Members of the data no body needs once they are summed up.
    pub(crate) bulk: &'static [&'static str],
}

impl Preparer {
    /// Program of a built-in template.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "contract" => Self::Contract,
            "document" => Self::Document,
            "incident-report" => Self::IncidentReport,
            "invoice" => Self::Invoice,
            "release-notes" => Self::ReleaseNotes,
            "weekly-report" => Self::WeeklyReport,
            _ => return None,
        })
    }

    /// Data schema of the built-in template it belongs to.
    pub(crate) fn schema(self) -> Option<&'static str> {
        Some(match self {
            Self::Generic => return None,
            Self::Contract => include_str!("../../templates/contract/schema.json"),
            Self::Document => include_str!("../../templates/document/schema.json"),
            Self::IncidentReport => include_str!("../../templates/incident-report/schema.json"),
            Self::Invoice => include_str!("../../templates/invoice/schema.json"),
            Self::ReleaseNotes => include_str!("../../templates/release-notes/schema.json"),
            Self::WeeklyReport => include_str!("../../templates/weekly-report/schema.json"),
        })
    }

    /// Runs the program.
    pub(crate) fn prepare(self, input: &Input) -> Result<Prepared, TemplateError> {
        let result = match self {
            Self::Generic => Ok(Prepared::default()),
            Self::Contract => contract::prepare(input),
            Self::Document => free::prepare(input),
            Self::IncidentReport => ci::incident(input),
            Self::Invoice => invoice::prepare(input),
            Self::ReleaseNotes => ci::release(input),
            Self::WeeklyReport => weekly::prepare(input),
        };
        result
            .map_err(|problems| TemplateError::Data { template: input.template.name().to_owned(), problems })
    }
}

/// What a preparer returns: the data can be valid by its schema and still make no sense.
pub(crate) type Outcome = Result<Prepared, Vec<Problem>>;

impl Input<'_> {
    /// Fixed text in the language of the document.
    pub(crate) fn label(&self, english: &str) -> String {
        self.labels.get(english).cloned().unwrap_or_else(|| english.to_owned())
    }

    /// Label and value, where there is a value.
    pub(crate) fn pair(&self, label: &str, value: Option<String>) -> Option<KeyValue> {
        let value = value.filter(|value| !value.trim().is_empty())?;
        Some(KeyValue { label: self.label(label), value: lines(&value) })
    }
}

/// Text with line ends as breaks.
pub(crate) fn lines(value: &str) -> Vec<Inline> {
    let mut out = Vec::new();
    crate::body::push_lines(value.trim(), &mut out);
    out
}

/// Cell of plain text.
pub(crate) fn text_cell(value: impl Into<String>) -> Cell {
    let value = value.into();
    Cell { text: if value.is_empty() { Vec::new() } else { text(value) }, value: None }
}

/// Cell with formatted text and the exact decimal behind it.
pub(crate) fn exact_cell(shown: String, exact: Decimal) -> Cell {
    Cell { text: text(shown), value: Some(exact.to_string()) }
}

/// Key–value block, or nothing.
pub(crate) fn key_values(entries: impl IntoIterator<Item = Option<KeyValue>>) -> Vec<Block> {
    let entries: Vec<KeyValue> = entries.into_iter().flatten().collect();
    if entries.is_empty() { Vec::new() } else { vec![Block::KeyValue { entries }] }
}
