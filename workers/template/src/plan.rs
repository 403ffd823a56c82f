//! Plans: a document with its data-bound parts done and places for the prose still to be written.

use bul_document::{Block, Fact, Inline, Meta};
use minijinja::value::Value as BodyValue;
use serde_json::Value;

use crate::body::{self, Cx, CxInit, SlotSpec, to_value};
use crate::catalog::Order;
use crate::compute::{Input, Prepared};
use crate::error::TemplateError;
use crate::facts::FactSet;
use crate::finding::{Finding, Severity};
use crate::format::{Locale, primary};
use crate::json::{scalar, without_nulls};
use crate::package::{FactFormat, FactRule, Template};
use crate::prompt::{Frame, one_line};
use crate::prose::Known;
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

    /// The prose to write, in document order.
    pub fn slots(&self) -> &[ProseSlot] {
        &self.slots
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
    let mut data = without_nulls(order.data);
    let problems = template.schema.check(&data);
    if !problems.is_empty() {
        return Err(TemplateError::Data { template: template.name().to_owned(), problems });
    }
    let (language, mut findings) = choose_language(template, order.language);
    let locale = Locale::of(&language);
    let labels = template.labels(primary(&language));
    let input = Input { order, data: &data, locale, labels: &labels, template };
    let mut prepared = template.preparer.prepare(&input)?;
    findings.append(&mut prepared.findings);
    if let Some(members) = data.as_object_mut() {
        // What the preparer has summed up would only slow the body down.
        prepared.bulk.iter().for_each(|name| drop(members.remove(*name)));
    }
    if template.reads_data {
        template.schema.fill_absent(&mut data);
    }
    render(template, order, &language, &data, prepared, findings)
}

/// The language of the fixed texts: the one ordered where the template has it.
fn choose_language(template: &Template, ordered: &str) -> (String, Vec<Finding>) {
    let ordered = if ordered.trim().is_empty() { "en" } else { ordered.trim() };
    let known = &template.manifest.languages;
    let has = known.is_empty() || known.iter().any(|l| l.eq_ignore_ascii_case(primary(ordered)));
    if has {
        return (ordered.to_owned(), Vec::new());
    }
    let fallback = known.first().cloned().unwrap_or_else(|| "en".into());
    let message = format!("the template has no texts in `{}`; `{fallback}` is used", one_line(ordered, 35));
    let finding = Finding::new("template.language", Severity::Warning, "", message);
    (fallback, vec![finding])
}

fn render(
    template: &Template,
    order: &Order,
    language: &str,
    data: &Value,
    prepared: Prepared,
    findings: Vec<Finding>,
) -> Result<Plan, TemplateError> {
    let locale = Locale::of(language);
    let currency = currency(template, data);
    let context = context(template, order, language, data, &prepared);
    let mut facts = prepared.facts;
    apply_rules(template, data, &context, &currency, locale, &mut facts)?;
    let cx = Cx::new(CxInit {
        locale,
        currency,
        labels: template.labels(primary(language)),
        facts: facts.clone(),
        parts: prepared.parts,
    });
    let failed = |error: &minijinja::Error| body::to_error(template.name(), error);
    let whole = BodyValue::from_pairs(context.iter().cloned().chain([(body::CX.to_owned(), cx.value())]));
    let name = template.body_for(primary(language));
    let text = template
        .env
        .get_template(&name)
        .and_then(|body| body.render(whole.clone()))
        .map_err(|error| failed(&error))?;
    let head = |source: &Option<String>| -> Result<String, TemplateError> {
        let Some(source) = source else { return Ok(String::new()) };
        let printed = template.env.render_str(source, whole.clone()).map_err(|error| failed(&error))?;
        Ok(one_line(&cx.with_resolver(|resolver| resolver.plain(&printed)), 300))
    };
    let manifest = &template.manifest;
    let or = |computed: String, source: &Option<String>| -> Result<String, TemplateError> {
        if computed.is_empty() { head(source) } else { Ok(computed) }
    };
    let mut meta = Meta {
        title: or(prepared.title, &manifest.document_title)?,
        subtitle: or(prepared.subtitle, &manifest.subtitle)?,
        lang: language.to_owned(),
        author: or(prepared.author, &manifest.author)?,
        date: prepared.date.or_else(|| pointed(data, manifest.date.as_deref())).unwrap_or_default(),
        doc_type: prepared.doc_type.unwrap_or_else(|| manifest.doc_type.clone()),
        business_area: prepared.business_area.unwrap_or_else(|| manifest.business_area.clone()),
        brand: manifest.brand.clone(),
    };
    if meta.title.is_empty() {
        meta.title = manifest.title.clone();
    }
    if meta.brand.name.is_empty() {
        meta.brand.name = prepared.brand_name;
    }
    if crate::format::parse_date(&meta.date).is_none() {
        meta.date = order.date.to_string();
    }
    let blocks = cx.with_resolver(|resolver| markdown::blocks(&text, resolver));
    let frame = Frame {
        business_area: meta.business_area.clone(),
        doc_type: meta.doc_type.clone(),
        title: meta.title.clone(),
        language: language.to_owned(),
        context: order.context.unwrap_or_default().to_owned(),
    };
    let slots: Vec<ProseSlot> = cx.slots().into_iter().map(|spec| slot(&frame, &facts, spec)).collect();
    let known_text = known_text(order, &meta, &cx.slots());
    let outline = prepared.outline;
    let sources = prepared.sources;
    Ok(Plan { meta, blocks, facts, slots, findings, sources, known_text, frame, outline })
}

/// Everything a body may read besides functions.
fn context(
    template: &Template,
    order: &Order,
    language: &str,
    data: &Value,
    prepared: &Prepared,
) -> Vec<(String, BodyValue)> {
    let mut context: Vec<(String, BodyValue)> = vec![
        ("data".into(), if template.reads_data { to_value(data) } else { BodyValue::from(()) }),
        ("language".into(), BodyValue::from(language)),
        ("date".into(), BodyValue::from(order.date.to_string())),
        ("query".into(), BodyValue::from(order.query.unwrap_or_default())),
    ];
    context.extend(prepared.context.iter().map(|(name, value)| (name.clone(), to_value(value))));
    context
}

fn currency(template: &Template, data: &Value) -> String {
    match template.manifest.currency.as_deref() {
        Some(pointer) if pointer.starts_with('/') => pointed(data, Some(pointer)).unwrap_or_default(),
        Some(code) => code.to_owned(),
        None => String::new(),
    }
}

fn pointed(data: &Value, pointer: Option<&str>) -> Option<String> {
    pointer.and_then(|pointer| data.pointer(pointer)).and_then(scalar)
}

/// Facts the manifest declares.
fn apply_rules(
    template: &Template,
    data: &Value,
    context: &[(String, BodyValue)],
    currency: &str,
    locale: Locale,
    facts: &mut FactSet,
) -> Result<(), TemplateError> {
    let bad = |rule: &FactRule, message: String| TemplateError::Body {
        template: template.name().to_owned(),
        line: None,
        message: format!("fact `{}`: {message}", rule.name),
    };
    for rule in &template.manifest.facts {
        let (text, origin) = match (&rule.pointer, &rule.expression) {
            (Some(pointer), _) => (pointed(data, Some(pointer)), pointer.clone()),
            (None, Some(source)) => {
                let value = template
                    .env
                    .compile_expression(source)
                    .and_then(|e| e.eval(BodyValue::from_pairs(context.iter().cloned())))
                    .map_err(|error| bad(rule, error.to_string()))?;
                let blank = value.is_none() || value.is_undefined();
                ((!blank).then(|| value.to_string()), format!("computed: {source}"))
            }
            (None, None) => (None, String::new()),
        };
        let Some(text) = text else { continue };
        let currency = match rule.currency.as_deref() {
            Some(pointer) if pointer.starts_with('/') => pointed(data, Some(pointer)).unwrap_or_default(),
            Some(code) => code.to_owned(),
            None => currency.to_owned(),
        };
        let value = fact_value(&text, rule.format, &currency, locale)
            .ok_or_else(|| bad(rule, format!("`{}` does not have its format", one_line(&text, 60))))?;
        facts.add(&rule.name, value, origin);
    }
    Ok(())
}

fn fact_value(text: &str, format: FactFormat, currency: &str, locale: Locale) -> Option<String> {
    let number = || crate::format::plain_decimal(text);
    Some(match format {
        FactFormat::Text => text.to_owned(),
        FactFormat::Money => locale.money(number()?, currency),
        FactFormat::Number => locale.number(number()?),
        FactFormat::Percent => locale.percent(number()?),
        FactFormat::Date => locale.date(crate::format::parse_date(text)?),
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
