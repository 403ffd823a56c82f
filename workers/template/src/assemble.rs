//! Assembly: generated texts into their places, checked against the facts.

use std::collections::BTreeMap;

use bul_document::{Block, Document};
use serde_json::Value;

use crate::error::TemplateError;
use crate::finding::{Finding, Severity};
use crate::limits;
use crate::plan::Plan;
use crate::prose::{self, Known};

/// A finished document and what should be known about it.
#[derive(Debug, Clone)]
pub struct Assembled {
    /// The document; it holds no slots.
    pub document: Document,
    /// Observations, in document order.
    pub findings: Vec<Finding>,
    /// The JSON value that the document shows, where the order asked for one.
    pub answer: Option<Value>,
}

impl Plan {
    /// Puts the texts, by slot id, into their places. A slot without a usable text is left out
    /// with a finding; texts for unknown slots are errors.
    pub fn assemble(mut self, texts: &BTreeMap<String, String>) -> Result<Assembled, TemplateError> {
        if let Some(spec) = self.answer.take() {
            return spec.assemble(self, texts);
        }
        if let Some(stranger) = texts.keys().find(|id| !self.slots.iter().any(|slot| slot.id == **id)) {
            return Err(TemplateError::Plan(format!("there is no slot `{stranger}`")));
        }
        if self.outline().is_some() {
            let message = "the outline was not generated; the document has no sections";
            self.findings.push(Finding::new("outline.missing", Severity::Warning, "slot:outline", message));
        }
        let known = Known::new(&self.facts, &self.known_text, &self.meta.lang);
        let mut filled = BTreeMap::new();
        let mut findings = std::mem::take(&mut self.findings);
        for slot in &self.slots {
            let path = format!("slot:{}", slot.id);
            let text = texts.get(&slot.id).map(String::as_str).unwrap_or_default();
            let (blocks, mut seen) = prose::read(text, &slot.aim, &known, &path);
            if blocks.is_empty() {
                let message = "no text was generated; the paragraph is left out";
                seen.push(Finding::new("prose.empty", Severity::Warning, path, message));
            }
            findings.append(&mut seen);
            filled.insert(slot.id.clone(), blocks);
        }
        let blocks = fill(std::mem::take(&mut self.blocks), &mut filled);
        if findings.len() > limits::FINDINGS_MAX {
            let more = findings.len() - limits::FINDINGS_MAX;
            findings.truncate(limits::FINDINGS_MAX);
            findings.push(Finding::new(
                "findings.more",
                Severity::Warning,
                "",
                format!("{more} more findings"),
            ));
        }
        let document =
            Document { meta: self.meta, blocks, facts: self.facts.into_vec(), sources: self.sources };
        Ok(Assembled { document, findings, answer: None })
    }
}

/// Replaces slots by their blocks, at any depth. A heading whose whole section was an empty slot
/// goes with it.
fn fill(blocks: Vec<Block>, texts: &mut BTreeMap<String, Vec<Block>>) -> Vec<Block> {
    let mut out: Vec<Block> = Vec::with_capacity(blocks.len());
    let mut emptied = false;
    for block in blocks {
        if emptied && matches!(block, Block::Heading { .. }) {
            drop_heading(&mut out);
        }
        emptied = false;
        match block {
            Block::Slot { id } => {
                let prose = texts.remove(&id).unwrap_or_default();
                emptied = prose.is_empty();
                out.extend(prose);
            }
            Block::List { ordered, items } => {
                let items = items.into_iter().map(|item| fill(item, texts)).collect();
                out.push(Block::List { ordered, items });
            }
            Block::Quote { blocks } => out.push(Block::Quote { blocks: fill(blocks, texts) }),
            Block::Callout { kind, title, blocks } => {
                out.push(Block::Callout { kind, title, blocks: fill(blocks, texts) });
            }
            Block::Columns { columns } => {
                let columns = columns.into_iter().map(|column| fill(column, texts)).collect();
                out.push(Block::Columns { columns });
            }
            Block::Definitions { mut entries } => {
                for entry in &mut entries {
                    entry.meaning = fill(std::mem::take(&mut entry.meaning), texts);
                }
                out.push(Block::Definitions { entries });
            }
            other => out.push(other),
        }
    }
    if emptied {
        drop_heading(&mut out);
    }
    out
}

fn drop_heading(out: &mut Vec<Block>) {
    if matches!(out.last(), Some(Block::Heading { .. })) {
        out.pop();
    }
}
