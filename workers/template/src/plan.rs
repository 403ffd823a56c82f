//! Plans: a document with its data-bound parts done and places for the prose still to be written.

use std::cmp::Reverse;
use std::collections::HashMap;

use bul_document::{Block, Fact, Inline, Meta};

use crate::answer::{AnswerRequest, AnswerSpec};
use crate::body::SlotSpec;
use crate::catalog::Order;
use crate::error::TemplateError;
use crate::facts::FactSet;
use crate::finding::{Finding, Severity};
use crate::package::Template;
use crate::prompt::{Frame, one_line};
use crate::prose::Known;
use crate::render::{self, Rendered};
use crate::{limits, markdown};

/// Slot that stands for the sections an outline will bring.
pub(crate) const SECTIONS: &str = "sections";
/// Sentences asked for in a section of a free document.
const SECTION_SENTENCES: usize = 4;
/// Headings taken from an outline.
const HEADINGS_MAX: usize = 12;

/// A document before its prose.
#[derive(Debug)]
pub struct Plan {
    /// Head of the document.
    pub meta: Meta,
    pub(crate) blocks: Vec<Block>,
    pub(crate) facts: FactSet,
    pub(crate) slots: Vec<ProseSlot>,
    pub(crate) findings: Vec<Finding>,
    pub(crate) sources: Vec<String>,
    /// Words a reader of the prose may meet without a fact: request, background, titles.
    pub(crate) known_text: String,
    /// A JSON value instead of prose; then there are neither blocks nor slots nor an outline.
    pub(crate) answer: Option<AnswerSpec>,
    frame: Frame,
    outline: Option<OutlineSpec>,
}

/// What an outline is asked for, and what stands in when it brings nothing.
#[derive(Debug, Clone)]
pub(crate) struct OutlineSpec {
    pub(crate) items: usize,
    pub(crate) fallback: Vec<String>,
}

/// Request for the headings of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutlineRequest {
    /// System message.
    pub system: String,
    /// User message.
    pub user: String,
    /// Headings asked for.
    pub items: usize,
}

/// Request for one piece of prose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProseSlot {
    /// Name of the slot in the plan.
    pub id: String,
    /// System message.
    pub system: String,
    /// User message.
    pub user: String,
    /// Facts the text may mention.
    pub facts: Vec<String>,
    /// Sentences asked for.
    pub sentences: usize,
    /// What the text must be true to, for example `decrease`; empty for nothing in particular.
    pub aim: String,
}

impl ProseSlot {
    /// Sentences of a text that say the opposite of the aim. Assembly leaves them out, so a text
    /// without any is worth another try.
    pub fn contradictions(&self, text: &str) -> usize {
        crate::prose::aim::sort(&self.aim, text).1.len()
    }

    /// Sentences of a text, by which a repetition from another slot is known.
    pub fn sentences(text: &str) -> Vec<&str> {
        crate::prose::aim::sentences(text)
    }
}

impl Plan {
    /// The outline to generate first; `None` when the sections are settled.
    pub fn outline(&self) -> Option<OutlineRequest> {
        let spec = self.outline.as_ref()?;
        let facts: Vec<&Fact> = self.facts.iter().take(limits::SLOT_FACTS_MAX).collect();
        Some(OutlineRequest {
            system: self.frame.system(),
            user: self.frame.outline(&facts, spec.items),
            items: spec.items,
        })
    }

    /// Puts a section with a prose slot in place for every heading. Headings that are blank or
    /// repeated are left out; without any, the usual ones of the document type are taken.
    pub fn expand(&mut self, headings: &[String]) -> Result<(), TemplateError> {
        let spec = self.outline.take();
        let spec = spec.ok_or_else(|| TemplateError::Plan("there is no outline to expand".into()))?;
        let known = Known::new(&self.facts, &self.known_text, &self.meta.lang);
        let mut clean = clean_headings(headings);
        for heading in &mut clean {
            *heading = with_facts(heading, &self.facts);
            known.check_numbers(heading, "slot:outline", &mut self.findings);
        }
        if clean.is_empty() {
            clean = spec.fallback;
            let message = "no usable heading was generated; the usual ones were taken";
            self.findings.push(Finding::new("outline.empty", Severity::Warning, "slot:outline", message));
        }
        let facts: Vec<String> =
            self.facts.iter().map(|fact| fact.name.clone()).take(limits::SLOT_FACTS_MAX).collect();
        let mut sections = Vec::new();
        for (at, heading) in clean.into_iter().enumerate() {
            let id = format!("section_{}", at + 1);
            sections.push(Block::Heading {
                level: 1,
                text: vec![Inline::text(heading.as_str())],
                id: String::new(),
            });
            sections.push(Block::Slot { id: id.clone() });
            self.known_text.push('\n');
            self.known_text.push_str(&heading);
            let spec = SlotSpec {
                id,
                section: heading,
                aim: String::new(),
                facts: facts.clone(),
                sentences: SECTION_SENTENCES,
            };
            self.slots.push(slot(&self.frame, &self.facts, spec));
        }
        let at = self.blocks.iter().position(|b| matches!(b, Block::Slot { id } if id == SECTIONS));
        match at {
            Some(at) => drop(self.blocks.splice(at..=at, sections)),
            None => self.blocks.extend(sections),
        }
        Ok(())
    }

    /// The JSON value to generate, under [`crate::ANSWER`], where the order asks for one instead of prose.
    pub fn answer(&self) -> Option<&AnswerRequest> {
        self.answer.as_ref().map(|spec| &spec.request)
    }

    /// The prose to write, in document order.
    pub fn slots(&self) -> &[ProseSlot] {
        &self.slots
    }
}

impl Plan {
    /// The same head and facts, with a JSON value in place of all content.
    fn answering(mut self, spec: AnswerSpec) -> Self {
        self.known_text.push_str(&spec.known_text());
        self.outline = None;
        self.blocks.clear();
        self.slots.clear();
        self.answer = Some(spec);
        self
    }
}

/// Headings as one clean line each, without list marks and numbers.
fn clean_headings(headings: &[String]) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for heading in headings.iter().take(HEADINGS_MAX * 4) {
        let line = one_line(heading, 120);
        let text = line.trim_start_matches(['-', '*', '#', '•', ' ']);
        let digits = text.chars().take_while(char::is_ascii_digit).count();
        let text = match text[digits..].strip_prefix(['.', ')']) {
            Some(rest) if digits > 0 && digits < 3 => rest.trim_start(),
            Some(_) | None => text,
        };
        let text = text.trim_matches(['*', ':', ' ']).trim();
        let known = out.iter().any(|other| other.to_lowercase() == text.to_lowercase());
        if text.chars().any(char::is_alphabetic) && !known && out.len() < HEADINGS_MAX {
            out.push(text.to_owned());
        }
    }
    out
}

/// A heading with its fact names replaced by their values.
fn with_facts(heading: &str, facts: &FactSet) -> String {
    let mut out = heading.to_owned();
    for fact in facts.iter() {
        out = out.replace(&format!("[{}]", fact.name), &fact.value);
    }
    one_line(&out, 160)
}

/// Puts the facts that most slots offer first, in the same order in all of them: prompts of one document are alike
/// for as long as they can be, and what they share is computed once.
fn shared_first(specs: &mut [SlotSpec]) {
    let mut ranks: HashMap<String, (Reverse<usize>, usize)> = HashMap::new();
    for name in specs.iter().flat_map(|spec| &spec.facts) {
        let place = ranks.len();
        ranks.entry(name.clone()).or_insert((Reverse(0), place)).0.0 += 1;
    }
    for spec in specs {
        spec.facts.sort_by_key(|name| ranks.get(name).copied());
    }
}

fn slot(frame: &Frame, facts: &FactSet, spec: SlotSpec) -> ProseSlot {
    let offered: Vec<&Fact> = spec.facts.iter().filter_map(|name| facts.get(name)).collect();
    ProseSlot {
        system: frame.system(),
        user: frame.prose(&spec.section, &spec.aim, &offered, spec.sentences),
        id: spec.id,
        facts: spec.facts,
        sentences: spec.sentences,
        aim: spec.aim,
    }
}

/// Makes the plan of an order.
pub(crate) fn make(template: &Template, order: &Order) -> Result<Plan, TemplateError> {
    let (rendered, mut prepared) = render::compute(template, order)?;
    let Rendered { meta, text, cx, facts } = rendered;
    let blocks = cx.with_resolver(|resolver| markdown::blocks(&text, resolver));
    let frame = Frame {
        business_area: meta.business_area.clone(),
        doc_type: meta.doc_type.clone(),
        title: meta.title.clone(),
        language: meta.lang.clone(),
        context: order.context.unwrap_or_default().to_owned(),
    };
    let mut specs = cx.take_slots();
    shared_first(&mut specs);
    let known_text = known_text(order, &meta, &specs);
    let slots: Vec<ProseSlot> = specs.into_iter().map(|spec| slot(&frame, &facts, spec)).collect();
    let findings = std::mem::take(&mut prepared.findings);
    let (outline, sources) = (prepared.outline, prepared.sources);
    let plan =
        Plan { meta, blocks, facts, slots, findings, sources, known_text, answer: None, frame, outline };
    Ok(match order.response_schema {
        None => plan,
        Some(schema) => plan.answering(AnswerSpec::new(schema, order)),
    })
}

/// What the prose may repeat without it being a fact.
fn known_text(order: &Order, meta: &Meta, slots: &[SlotSpec]) -> String {
    let mut parts = vec![meta.title.clone(), meta.doc_type.clone(), meta.business_area.clone()];
    parts.extend(order.query.map(|query| query.chars().take(20_000).collect()));
    parts.extend(order.context.map(|context| context.chars().take(20_000).collect()));
    for slot in slots {
        parts.push(slot.section.clone());
        parts.push(slot.aim.clone());
    }
    parts.join("\n")
}
