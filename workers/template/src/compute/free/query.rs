//! What a request in words asks for: document type, business area and subject.
//!
//! No model is asked: word lists find the type and the area, what is left over is the subject.
//! Any text gives some answer; a wrong guess costs a worse title, never a wrong figure.

use super::tables::{AREAS, DOC_TYPES, DOC_TYPES_DE};
use super::words::{ADJECTIVES, ARTICLES, LEADING, LINKS, QUESTIONS};
use crate::prompt::one_line;

/// Characters of a request that are read.
const QUERY_CHARS_MAX: usize = 600;
/// Characters of a subject.
const SUBJECT_CHARS_MAX: usize = 100;

/// What a request asks for; absent parts were not found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) business_area: Option<String>,
    pub(super) doc_type: Option<String>,
    pub(super) subject: Option<String>,
}

/// A word as written, and in lower case without punctuation around it.
#[derive(Debug, Clone)]
struct Word {
    shown: String,
    key: String,
}

/// Where the words name the document type.
struct DocType {
    name: &'static str,
    start: usize,
    end: usize,
    /// What stood in front of the type within one German compound word.
    compound: Option<String>,
}

/// Reads a request.
pub(super) fn parse(query: &str) -> Request {
    let mut text = first_sentence(query);
    let mut doc_from_question = None;
    if let Some((rest, is_how)) = without_question(&text) {
        text = rest;
        doc_from_question = is_how.then(|| "guide".to_owned());
    }
    let words = words(&text);
    let found = doc_type(&words);
    let business_area = area(&words, found.as_ref());
    let (doc_type, subject) = match &found {
        Some(found) => (Some(found.name.to_owned()), subject_around(&words, found)),
        None => (doc_from_question, subject_of(strip_leading(&words))),
    };
    Request { business_area, doc_type, subject }
}

/// The first sentence, as one line of bounded length.
fn first_sentence(query: &str) -> String {
    let head: String = query.trim_start().chars().take(QUERY_CHARS_MAX).collect();
    let line = head.lines().find(|line| line.chars().any(char::is_alphanumeric)).unwrap_or_default();
    let line = one_line(line, QUERY_CHARS_MAX);
    let end = line
        .char_indices()
        .zip(line.chars().skip(1))
        .find(|((at, c), next)| matches!(c, '.' | '!' | '?') && next.is_whitespace() && *at > 12)
        .map_or(line.len(), |((at, _), _)| at);
    line[..end].to_owned()
}

/// The rest of a question or request for an explanation, and whether it asks how to do something.
fn without_question(text: &str) -> Option<(String, bool)> {
    let lower = text.to_lowercase();
    // Lengths only match when lower-casing kept them; otherwise the text is taken as it is.
    let opening = QUESTIONS.iter().find(|opening| {
        lower.starts_with(**opening) && lower[opening.len()..].starts_with(' ') && lower.len() == text.len()
    })?;
    let rest = text[opening.len()..].trim();
    (!rest.is_empty()).then(|| (rest.to_owned(), opening.starts_with("how") || opening.starts_with("wie")))
}

fn words(text: &str) -> Vec<Word> {
    text.split_whitespace()
        .map(|shown| Word {
            shown: shown.to_owned(),
            key: shown.trim_matches(|c: char| !c.is_alphanumeric()).to_lowercase(),
        })
        .collect()
}

/// Whether a phrase of words stands at a place.
fn stands_at(words: &[Word], at: usize, phrase: &str) -> Option<usize> {
    let mut end = at;
    for part in phrase.split(' ') {
        if words.get(end)?.key != part {
            return None;
        }
        end += 1;
    }
    Some(end)
}

/// The first document type named. A type followed by another one describes it: `brief report`.
fn doc_type(words: &[Word]) -> Option<DocType> {
    for at in 0..words.len() {
        let Some(mut found) = doc_type_at(words, at) else { continue };
        while let Some(next) = doc_type_at(words, found.end) {
            found = DocType { start: found.start, compound: found.compound, ..next };
        }
        return Some(found);
    }
    None
}

fn doc_type_at(words: &[Word], at: usize) -> Option<DocType> {
    for (phrase, name) in DOC_TYPES {
        if let Some(end) = stands_at(words, at, phrase) {
            return Some(DocType { name, start: at, end, compound: None });
        }
    }
    let key = &words.get(at)?.key;
    for (word, name) in DOC_TYPES_DE {
        // Plural and case endings do not change the type.
        let stem = ["en", "n", "e", "s"].iter().find_map(|ending| key.strip_suffix(ending)).unwrap_or(key);
        for form in [key.as_str(), stem] {
            if let Some(front) = form.strip_suffix(word) {
                // Short fronts are parts of other words, not compounds.
                if front.is_empty() || front.chars().count() >= 2 {
                    let compound = (!front.is_empty()).then(|| front.trim_end_matches('-').to_owned());
                    let english_inside =
                        *word == "plan" && front.is_ascii() && front.len() < 4 && !front.is_empty();
                    if !english_inside {
                        return Some(DocType { name, start: at, end: at + 1, compound });
                    }
                }
            }
        }
    }
    None
}

/// The area named in front of the document type, otherwise the first one named anywhere.
fn area(words: &[Word], found: Option<&DocType>) -> Option<String> {
    if let Some(found) = found {
        if let Some(compound) = &found.compound {
            let direct =
                AREAS.iter().find(|(word, _)| compound == word || compound.trim_end_matches('s') == *word);
            if let Some((_, name)) = direct {
                return Some((*name).to_owned());
            }
        }
        for at in (0..found.start).rev() {
            if let Some(name) = area_at(words, at) {
                return Some(name.to_owned());
            }
        }
    }
    (0..words.len()).find_map(|at| area_at(words, at)).map(str::to_owned)
}

fn area_at(words: &[Word], at: usize) -> Option<&'static str> {
    // "it" is far more often a pronoun than a department.
    let is_pronoun = words.get(at).is_some_and(|word| word.key == "it" && word.shown != "IT");
    if is_pronoun {
        return None;
    }
    AREAS.iter().find(|(phrase, _)| stands_at(words, at, phrase).is_some()).map(|(_, name)| *name)
}

fn strip_leading(words: &[Word]) -> &[Word] {
    let count = words.iter().take_while(|word| LEADING.contains(&word.key.as_str())).count();
    // An article in front of what is left belongs to it.
    let keep = usize::from(count > 0 && ARTICLES.contains(&words[count - 1].key.as_str()));
    if count == words.len() { &words[words.len()..] } else { &words[count - keep..] }
}

/// The subject behind the document type, or in front of it when nothing follows.
fn subject_around(words: &[Word], found: &DocType) -> Option<String> {
    let mut after = &words[found.end..];
    if let Some(first) = after.first()
        && LINKS.contains(&first.key.as_str())
    {
        // "on how to …", "zum Thema …": two links in a row are one.
        after = &after[1..];
        while after.len() > 1 && matches!(after[0].key.as_str(), "how" | "to" | "wie" | "thema") {
            after = &after[1..];
        }
    }
    if let Some(subject) = subject_of(after) {
        return Some(subject);
    }
    let before = strip_leading(&words[..found.start]);
    let mut before: Vec<Word> = before
        .iter()
        .filter(|word| !ADJECTIVES.contains(&word.key.as_str()) && !ARTICLES.contains(&word.key.as_str()))
        .cloned()
        .collect();
    if before.len() == 1 && area_at(&before, 0).is_some() {
        // "financial report": the word says whose report it is, not what it is about.
        before.clear();
    }
    subject_of(&before).or_else(|| {
        let compound = found.compound.as_ref()?;
        let is_area =
            AREAS.iter().any(|(word, _)| compound.trim_end_matches('s') == word.trim_end_matches('s'));
        (!is_area).then(|| capitalised(compound))
    })
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// Words as a subject: up to a subordinate remark, at most [`SUBJECT_CHARS_MAX`] characters.
fn subject_of(words: &[Word]) -> Option<String> {
    let mut out = String::new();
    for (at, word) in words.iter().enumerate() {
        let remark = matches!(word.key.as_str(), "including" | "inklusive" | "focusing")
            || (word.key == "with"
                && words.get(at + 1).is_some_and(|next| matches!(next.key.as_str(), "a" | "focus"))
                && words.get(at + 2).is_some_and(|next| next.key == "focus"));
        if remark && !out.is_empty() {
            break;
        }
        if out.chars().count() + word.shown.chars().count() >= SUBJECT_CHARS_MAX {
            break;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(&word.shown);
    }
    if out.is_empty() {
        // One endless word still has a beginning.
        out = words
            .first()
            .map(|word| word.shown.chars().take(SUBJECT_CHARS_MAX).collect())
            .unwrap_or_default();
    }
    let clean = out.trim_matches(|c: char| {
        c.is_whitespace()
            || matches!(c, '.' | ',' | ';' | ':' | '!' | '?' | '"' | '\'' | '„' | '“' | '”' | '*' | '#' | '-')
    });
    clean.chars().any(char::is_alphanumeric).then(|| clean.to_owned())
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
