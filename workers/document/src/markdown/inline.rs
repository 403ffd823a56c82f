//! Inlines and the notes they carry.

use super::escape::{code, push_escaped};
use crate::Inline;
use crate::normalise::safe_url;

/// Notes met so far; they are written at the end of the document.
#[derive(Default)]
pub(super) struct Notes {
    /// Finished texts; a note is reserved before its own text is written.
    texts: Vec<String>,
}

impl Notes {
    /// Writes a run. `line_break` stands for a break: a hard break, a blank or `<br>`.
    pub(super) fn inlines(&mut self, inlines: &[Inline], line_break: &str) -> String {
        let mut out = String::new();
        self.run(inlines, line_break, true, false, &mut out);
        out
    }

    /// A run as strong text of one line; strong parts in it add nothing.
    pub(super) fn strong(&mut self, inlines: &[Inline], line_break: &str) -> String {
        let text = inlines.iter().flat_map(|inline| match inline {
            Inline::Strong { text } => text.clone(),
            other => vec![other.clone()],
        });
        self.inlines(&[Inline::Strong { text: text.collect() }], line_break)
    }

    /// The definitions of all notes.
    pub(super) fn definitions(&self) -> String {
        let notes: Vec<String> =
            self.texts.iter().enumerate().map(|(index, text)| format!("[^{}]: {text}", index + 1)).collect();
        notes.join("\n")
    }

    /// `more` says whether something follows the run on its line.
    fn run(&mut self, inlines: &[Inline], line_break: &str, start: bool, more: bool, out: &mut String) {
        for (index, inline) in inlines.iter().enumerate() {
            let last = index + 1 == inlines.len();
            match inline {
                Inline::Text { text } | Inline::Fact { value: text, .. } => {
                    push_escaped(out, text, start, last && !more);
                }
                Inline::Code { text } => out.push_str(&code(text)),
                Inline::Strong { text } => {
                    let next = first_char(&inlines[index + 1..]);
                    self.marked(text, ("**", "strong"), line_break, next, out);
                }
                Inline::Emphasis { text } => {
                    let next = first_char(&inlines[index + 1..]);
                    self.marked(text, ("*", "em"), line_break, next, out);
                }
                Inline::Link { url, text } => {
                    let mut inner = String::new();
                    self.run(text, line_break, false, false, &mut inner);
                    match safe_url(url) {
                        Some(url) => out.push_str(&format!("[{inner}]({url})")),
                        None => out.push_str(&inner),
                    }
                }
                Inline::Footnote { text } => {
                    let slot = self.texts.len();
                    self.texts.push(String::new());
                    let text = self.inlines(text, " ");
                    self.texts[slot] = text;
                    out.push_str(&format!("[^{}]", slot + 1));
                }
                Inline::Break => out.push_str(line_break),
            }
        }
    }

    /// Strong or emphasised text. A delimiter only counts when its inner side touches the text and
    /// its outer side is not glued to a word; where that fails, HTML tags say it.
    fn marked(
        &mut self,
        text: &[Inline],
        (mark, tag): (&str, &str),
        line_break: &str,
        next: Option<char>,
        out: &mut String,
    ) {
        let mut inner = String::new();
        self.run(text, line_break, false, true, &mut inner);
        if inner.is_empty() {
            return;
        }
        let before = out.chars().next_back();
        let open = is_blank(before) || (inner.starts_with(is_word) && before != Some('*'));
        let close = is_blank(next) || (inner.ends_with(is_word) && next != Some('*'));
        let spaced = inner.starts_with(char::is_whitespace) || inner.ends_with(char::is_whitespace);
        // A mark next to another mark is ambiguous; only runs of words and code are safe inside.
        if only_words(text) && open && close && !spaced {
            out.push_str(&format!("{mark}{inner}{mark}"));
        } else {
            out.push_str(&format!("<{tag}>{inner}</{tag}>"));
        }
    }
}

/// A letter or digit for Markdown too; letters in circles and squares are symbols there.
fn is_word(c: char) -> bool {
    c.is_alphanumeric() && !matches!(c, '\u{24B6}'..='\u{24E9}' | '\u{1F000}'..='\u{1FAFF}')
}

fn is_blank(c: Option<char>) -> bool {
    c.is_none_or(char::is_whitespace)
}

fn only_words(text: &[Inline]) -> bool {
    text.iter().all(|inline| match inline {
        Inline::Text { .. } | Inline::Fact { .. } | Inline::Code { .. } | Inline::Link { .. } => true,
        Inline::Strong { .. } | Inline::Emphasis { .. } | Inline::Footnote { .. } | Inline::Break => false,
    })
}

/// The first character that will follow; `*` for a mark.
fn first_char(inlines: &[Inline]) -> Option<char> {
    match inlines.first()? {
        Inline::Text { text } | Inline::Fact { value: text, .. } => text.chars().next(),
        Inline::Strong { .. } | Inline::Emphasis { .. } => Some('*'),
        Inline::Code { .. } => Some('`'),
        Inline::Link { .. } | Inline::Footnote { .. } => Some('['),
        Inline::Break => None,
    }
}
