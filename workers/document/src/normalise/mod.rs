//! The border: a tree from a template or a model comes in, a tree every writer can trust goes out.
//!
//! Invariant: writers may rely on everything checked here, and normalising twice changes nothing.
//! Repairs what has one sensible repair (spaces, heading levels, ids, unsafe links); refuses what
//! would make a wrong document (ragged tables, open slots, missing titles), naming the place.

mod block;
mod inline;
mod slug;

pub(crate) use inline::safe_url;

use chrono::{DateTime, NaiveDate};

use crate::clean::clean_line;
use crate::colour::Colour;
use crate::place::Place;
use crate::{Document, DocumentError, Fact, Meta, Problem, limits};

/// Checks and repairs a tree once, before any writer sees it.
pub fn normalise(document: Document) -> Result<Document, DocumentError> {
    let mut walk = Walk::default();
    let meta = walk.meta(document.meta)?;
    let blocks = walk.blocks(document.blocks, &Place::root("blocks"), 1)?;
    let facts = walk.facts(document.facts)?;
    let mut sources = Vec::with_capacity(document.sources.len());
    let place = Place::root("sources");
    for (index, source) in document.sources.into_iter().enumerate() {
        let source = walk.line(source, &place.index(index))?;
        if !source.is_empty() {
            sources.push(source);
        }
    }
    Ok(Document { meta, blocks, facts, sources })
}

/// What the walk has seen so far.
#[derive(Default)]
pub(crate) struct Walk {
    blocks: usize,
    cells: usize,
    text_bytes: usize,
    headings: slug::Outline,
}

impl Walk {
    fn meta(&mut self, meta: Meta) -> Result<Meta, DocumentError> {
        let place = Place::root("meta");
        let title = self.line(meta.title, &place.field("title"))?;
        if title.is_empty() {
            return Err(place.field("title").error(Problem::Empty));
        }
        place.field("title").limit("TITLE_BYTES_MAX", limits::TITLE_BYTES_MAX, title.len())?;
        let lang = meta.lang.trim().to_owned();
        if !is_language(&lang) {
            return Err(place.field("lang").error(Problem::Language(clean_line(lang))));
        }
        let brand_place = place.field("brand");
        let mut brand = meta.brand;
        brand.name = self.line(brand.name, &brand_place.field("name"))?;
        brand.primary = colour(&brand.primary, &brand_place.field("primary"))?;
        brand.accent = colour(&brand.accent, &brand_place.field("accent"))?;
        Ok(Meta {
            title,
            subtitle: self.line(meta.subtitle, &place.field("subtitle"))?,
            lang,
            author: self.line(meta.author, &place.field("author"))?,
            date: date(&meta.date, &place.field("date"))?,
            doc_type: self.line(meta.doc_type, &place.field("doc_type"))?,
            business_area: self.line(meta.business_area, &place.field("business_area"))?,
            brand,
        })
    }

    fn facts(&mut self, facts: Vec<Fact>) -> Result<Vec<Fact>, DocumentError> {
        let place = Place::root("facts");
        let mut out = Vec::with_capacity(facts.len());
        for (index, fact) in facts.into_iter().enumerate() {
            let here = place.index(index);
            let name = self.line(fact.name, &here.field("name"))?;
            if name.is_empty() {
                return Err(here.field("name").error(Problem::Empty));
            }
            let value = self.line(fact.value, &here.field("value"))?;
            out.push(Fact { name, value, origin: self.line(fact.origin, &here.field("origin"))? });
        }
        Ok(out)
    }

    /// Cleans a text of one line and counts it.
    fn line(&mut self, text: String, place: &Place<'_>) -> Result<String, DocumentError> {
        self.count(&text, place)?;
        Ok(clean_line(text))
    }

    /// Counts a text before any work is spent on it.
    fn count(&mut self, text: &str, place: &Place<'_>) -> Result<(), DocumentError> {
        place.limit("TEXT_BYTES_MAX", limits::TEXT_BYTES_MAX, text.len())?;
        self.text_bytes += text.len();
        place.limit("DOCUMENT_TEXT_BYTES_MAX", limits::DOCUMENT_TEXT_BYTES_MAX, self.text_bytes)
    }
}

fn colour(text: &str, place: &Place<'_>) -> Result<String, DocumentError> {
    match Colour::parse(text.trim()) {
        Some(colour) => Ok(colour.to_string()),
        None => Err(place.error(Problem::Colour(clean_line(text.to_owned())))),
    }
}

/// Keeps the day of a date or a timestamp.
fn date(text: &str, place: &Place<'_>) -> Result<String, DocumentError> {
    let text = text.trim();
    if text.is_empty() {
        return Ok(String::new());
    }
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d")
        .or_else(|_| DateTime::parse_from_rfc3339(text).map(|time| time.date_naive()));
    match day {
        Ok(day) => Ok(day.to_string()),
        Err(_) => Err(place.error(Problem::Date(clean_line(text.to_owned())))),
    }
}

/// The shape of a language tag: a primary language, then subtags of letters and digits.
fn is_language(tag: &str) -> bool {
    let mut parts = tag.split('-');
    let primary = parts.next().unwrap_or_default();
    (2..=3).contains(&primary.len())
        && primary.bytes().all(|b| b.is_ascii_alphabetic())
        && parts.all(|part| (1..=8).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests;
