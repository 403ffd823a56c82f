//! The check of prose against facts: which numbers and names does the data not know?

use std::cell::OnceCell;
use std::collections::HashSet;

use bul_document::{Block, Inline};

use super::{names, numbers};
use crate::facts::FactSet;
use crate::finding::{Finding, Severity};
use crate::format::primary;

/// What prose may say. Most prose holds no number and no name of its own, so what is known of them is gathered for the
/// first that does.
pub(crate) struct Known<'a> {
    pub(crate) facts: &'a FactSet,
    other_text: &'a str,
    language: &'a str,
    numbers: OnceCell<HashSet<String>>,
    words: OnceCell<String>,
}

impl<'a> Known<'a> {
    pub(crate) fn new(facts: &'a FactSet, other_text: &'a str, language: &'a str) -> Self {
        let language = primary(language);
        Self { facts, other_text, language, numbers: OnceCell::new(), words: OnceCell::new() }
    }

    fn has_number(&self, key: &str) -> bool {
        let numbers = self.numbers.get_or_init(|| {
            let mut known = HashSet::new();
            numbers::keys(self.other_text, &mut known);
            self.facts.iter().for_each(|fact| numbers::keys(&fact.value, &mut known));
            known
        });
        numbers.contains(key)
    }

    fn has_words(&self, name: &str) -> bool {
        let words = self.words.get_or_init(|| {
            let mut words = self.other_text.to_lowercase();
            for fact in self.facts.iter() {
                words.push('\n');
                words.push_str(&fact.value.to_lowercase());
            }
            words
        });
        words.contains(&name.to_lowercase())
    }

    pub(super) fn is_english(&self) -> bool {
        self.language.eq_ignore_ascii_case("en")
    }

    /// Adds a finding for every number in a text that no fact holds.
    pub(crate) fn check_numbers(&self, text: &str, path: &str, findings: &mut Vec<Finding>) {
        let mut seen = HashSet::new();
        for number in numbers::numbers(text) {
            if self.has_number(&number.key) || !seen.insert(number.key.clone()) {
                continue;
            }
            // A single digit is often a manner of speaking; anything longer is a claim.
            let severity = if number.shown.len() == 1 { Severity::Warning } else { Severity::Error };
            let message = format!("the number {} is not in the data", number.shown);
            findings.push(Finding::new("prose.number", severity, path, message));
        }
    }

    /// Adds a finding for every number and name that no fact holds.
    pub(crate) fn check(&self, blocks: &[Block], path: &str, findings: &mut Vec<Finding>) {
        let mut text = String::new();
        blocks.iter().for_each(|block| push_block(block, &mut text));
        self.check_numbers(&text, path, findings);
        let mut seen = HashSet::new();
        for name in names::names(&text, self.language.eq_ignore_ascii_case("de")) {
            if !self.has_words(&name) && seen.insert(name.clone()) {
                let message = format!("the name `{name}` is not in the data");
                findings.push(Finding::new("prose.name", Severity::Warning, path, message));
            }
        }
    }
}

fn push_block(block: &Block, out: &mut String) {
    match block {
        Block::Heading { text, .. } | Block::Paragraph { text } => push_inlines(text, out),
        Block::List { items, .. } => items.iter().flatten().for_each(|b| push_block(b, out)),
        Block::Quote { blocks } | Block::Callout { blocks, .. } => {
            blocks.iter().for_each(|b| push_block(b, out))
        }
        Block::Code { text, .. } => out.push_str(text),
        Block::Table(table) => {
            let cells = table.rows.iter().chain(&table.totals).flatten();
            table.columns.iter().for_each(|column| {
                out.push_str(&column.title);
                out.push('\n');
            });
            cells.for_each(|cell| push_inlines(&cell.text, out));
        }
        Block::Definitions { entries } => entries.iter().for_each(|entry| {
            push_inlines(&entry.term, out);
            entry.meaning.iter().for_each(|b| push_block(b, out));
        }),
        Block::Columns { columns } => columns.iter().flatten().for_each(|b| push_block(b, out)),
        Block::KeyValue { .. }
        | Block::Figure(_)
        | Block::Signature { .. }
        | Block::PageBreak
        | Block::Slot { .. } => {}
    }
    out.push('\n');
}

/// Text the model wrote itself: everything but facts.
fn push_inlines(inlines: &[Inline], out: &mut String) {
    for inline in inlines {
        match inline {
            Inline::Text { text } | Inline::Code { text } => out.push_str(text),
            Inline::Strong { text } | Inline::Emphasis { text } | Inline::Link { text, .. } => {
                push_inlines(text, out);
            }
            Inline::Footnote { text } => push_inlines(text, out),
            // A fact separates the words around it, so that they make no name together.
            Inline::Fact { .. } => out.push_str(" , "),
            Inline::Break => out.push('\n'),
        }
    }
    out.push('\n');
}
