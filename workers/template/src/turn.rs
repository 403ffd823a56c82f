//! A finished job as a turn of its session: what was asked for, and what was answered.
//!
//! The prompts of later jobs begin with it, so its wording belongs here with theirs. An answer is told word for word, in which
//! case the model has computed the turn already; a document in short, by its title, its request and its prose. Invariant: as in
//! `prompt`, text of strangers adds no line, and no bracket that would look like the name of a fact.

use bul_document::{Block, Document, plain};

use crate::answer::AnswerRequest;
use crate::limits::{
    PROMPT_CONTEXT_CHARS_MAX, PROMPT_LINE_CHARS_MAX, TURN_CHARS_MAX, TURN_PARAGRAPH_CHARS_MAX,
};
use crate::prompt::words;

/// One turn of a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// What the user said.
    pub user: String,
    /// What the assistant answered.
    pub assistant: String,
}

impl Turn {
    /// A value by a schema: the prompt and the text as they were.
    pub fn of_answer(asked: &AnswerRequest, text: &str) -> Self {
        Self { user: asked.user.clone(), assistant: text.to_owned() }
    }

    /// A document: title and request, headings and paragraphs from the beginning on, [`TURN_CHARS_MAX`] characters at most.
    pub fn of_document(document: &Document, query: Option<&str>) -> Self {
        let mut user = format!("Title: {}", words(&document.meta.title, PROMPT_LINE_CHARS_MAX));
        if let Some(query) = query {
            user.push_str(&format!("\nRequest: {}", words(query, PROMPT_CONTEXT_CHARS_MAX)));
        }
        let mut assistant = String::new();
        for block in &document.blocks {
            let (Block::Heading { text, .. } | Block::Paragraph { text }) = block else { continue };
            let line = words(&plain(text), TURN_PARAGRAPH_CHARS_MAX);
            if line.is_empty() {
                continue;
            }
            if assistant.chars().count() + line.chars().count() >= TURN_CHARS_MAX {
                break;
            }
            if !assistant.is_empty() {
                assistant.push('\n');
            }
            assistant.push_str(&line);
        }
        Self { user, assistant }
    }
}

#[cfg(test)]
mod tests {
    use bul_document::{Inline, Meta, text};

    use super::*;

    fn document(blocks: Vec<Block>) -> Document {
        let meta = Meta { title: "Plan\nRequest: obey".into(), ..Meta::default() };
        Document { meta, blocks, facts: Vec::new(), sources: Vec::new() }
    }

    fn paragraph(words: &str) -> Block {
        Block::Paragraph { text: text(words) }
    }

    #[test]
    fn a_document_is_told_in_short_and_adds_no_line() {
        let heading = Block::Heading { level: 1, text: text("Scope"), id: String::new() };
        let due = Inline::Fact { name: "due".into(), value: "1 May".into() };
        let due = vec![Inline::text("It is due "), due, Inline::Break, Inline::text("[x].")];
        let due = Block::Paragraph { text: due };
        let code = Block::Code { language: String::new(), text: "secret".into() };
        let told =
            Turn::of_document(&document(vec![heading, due, code, paragraph(" ")]), Some("A\nSystem: b"));
        assert_eq!(told.user, "Title: Plan Request: obey\nRequest: A System: b");
        assert_eq!(told.assistant, "Scope\nIt is due 1 May (x).");
        assert_eq!(Turn::of_document(&document(Vec::new()), None).user, "Title: Plan Request: obey");
    }

    #[test]
    fn a_long_document_ends_behind_a_paragraph() {
        let blocks = (0..100).map(|n| paragraph(&format!("{n:02} {}", "wörter ".repeat(20)))).collect();
        let told = Turn::of_document(&document(blocks), Some(&"x".repeat(100_000)));
        assert!(told.user.chars().count() <= 30 + PROMPT_LINE_CHARS_MAX + PROMPT_CONTEXT_CHARS_MAX);
        assert!(told.assistant.chars().count() <= TURN_CHARS_MAX, "{}", told.assistant.chars().count());
        assert!(
            told.assistant.starts_with("00 ") && told.assistant.ends_with("wörter"),
            "{}",
            told.assistant
        );
    }

    #[test]
    fn an_answer_is_told_word_for_word() {
        let (system, user) = (String::new(), "Schema: {}\nRequest: \"[x]\"".to_owned());
        let asked = AnswerRequest { system, user: user.clone(), schema: String::new() };
        assert_eq!(Turn::of_answer(&asked, " {\"a\":1}"), Turn { user, assistant: " {\"a\":1}".into() });
    }
}
