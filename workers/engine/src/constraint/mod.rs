//! Shapes an answer is held to while it is written: byte automata over token bytes.
//!
//! Invariant: from every state that was accepted, some continuation within the token budget ends
//! in the shape (given a vocabulary with all single bytes). So a model with any weights keeps to
//! it. Called by `sequence` per candidate token, and by `backend::openai` on whole answers.

mod book;
mod outline;
mod phrases;
mod prose;
pub(crate) mod schema;

use std::sync::Arc;

pub(crate) use book::PhraseBook;
use outline::Outline;
use phrases::Phrases;
use prose::Prose;

use crate::job::Constraint;
use crate::vocabulary::Vocabulary;

/// How near the token budget is to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Pressure {
    /// Write freely.
    None,
    /// Begin nothing that is not needed.
    Close,
    /// Take the shortest way to the end.
    Hard,
}

/// The form of an answer.
#[derive(Debug, Clone)]
enum Form {
    Prose(Box<Prose>),
    Outline(Box<Outline>),
}

/// A point to return to.
enum FormMark {
    Prose(prose::Mark),
    Outline(outline::Mark),
}

impl Form {
    fn mark(&self) -> FormMark {
        match self {
            Self::Prose(prose) => FormMark::Prose(prose.mark()),
            Self::Outline(outline) => FormMark::Outline(outline.mark()),
        }
    }

    fn rewind(&mut self, mark: FormMark) {
        match (self, mark) {
            (Self::Prose(prose), FormMark::Prose(mark)) => prose.rewind(mark),
            (Self::Outline(outline), FormMark::Outline(mark)) => outline.rewind(mark),
            (Self::Prose(_), FormMark::Outline(_)) | (Self::Outline(_), FormMark::Prose(_)) => {}
        }
    }

    fn byte(&mut self, byte: u8) -> bool {
        match self {
            Self::Prose(prose) => prose.byte(byte),
            Self::Outline(outline) => outline.byte(byte),
        }
    }

    /// Sets the pressure from the tokens left; tells whether there is any.
    fn set_remaining(&mut self, tokens: usize) -> bool {
        match self {
            Self::Prose(prose) => prose.set_remaining(tokens),
            Self::Outline(outline) => outline.set_remaining(tokens),
        }
    }

    fn complete(&self) -> bool {
        match self {
            Self::Prose(prose) => prose.complete(),
            Self::Outline(outline) => outline.complete(),
        }
    }
}

/// The state of one answer under a constraint: its form, and the phrases of a model that brings some.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    form: Form,
    phrases: Option<Box<Phrases>>,
}

impl Shape {
    /// The start of an answer of at most `max_tokens`.
    ///
    /// # Errors
    /// When the constraint is empty or cannot be met within `max_tokens`.
    pub fn new(
        constraint: &Constraint,
        max_tokens: usize,
        book: Option<&Arc<PhraseBook>>,
    ) -> Result<Self, String> {
        let (form, needed, phrases) = match constraint {
            Constraint::Prose { facts, sentences, said } => {
                let prose = Prose::new(facts, *sentences)?.after(said);
                let prose = if book.is_some() { prose.with_runs() } else { prose };
                let phrases = book.map(|book| Phrases::prose(book, facts, said));
                (Form::Prose(Box::new(prose)), sentences * prose::TOKENS_MIN, phrases)
            }
            Constraint::Outline { items } => (
                Form::Outline(Box::new(Outline::new(*items)?)),
                items * outline::TOKENS_MIN,
                book.map(Phrases::headings),
            ),
            Constraint::Schema { .. } => {
                return Err("a schema is held to by a grammar, not by a shape".into());
            }
        };
        if max_tokens < needed {
            return Err(format!("the answer's shape needs max_tokens of at least {needed}"));
        }
        Ok(Self { form, phrases: phrases.map(Box::new) })
    }

    /// Says how many tokens may still be written.
    pub fn set_remaining(&mut self, tokens: usize) {
        if self.form.set_remaining(tokens) {
            // The shortest way to the end is not always one that the phrases know.
            self.phrases = None;
        }
    }

    /// Would these bytes keep to the shape? Changes nothing.
    pub fn allows(&mut self, bytes: &[u8]) -> bool {
        let (form, phrases) = (self.form.mark(), self.phrases.as_ref().map(|p| p.mark()));
        let fits = self.push(bytes);
        self.form.rewind(form);
        if let (Some(phrases), Some(mark)) = (&mut self.phrases, phrases) {
            phrases.rewind(mark);
        }
        fits
    }

    /// Appends bytes that `allows` accepted; false when they do not fit after all.
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        bytes
            .iter()
            .all(|b| self.form.byte(*b) && self.phrases.as_mut().is_none_or(|phrases| phrases.byte(*b)))
    }

    /// Lets the sentence under way leave the phrases, when nothing else can follow; `false` when that
    /// changes nothing.
    pub fn relax(&mut self) -> bool {
        self.phrases.as_mut().is_some_and(|phrases| phrases.relax())
    }

    /// Is the text so far a complete answer?
    pub fn may_end(&self) -> bool {
        self.form.complete() && self.phrases.as_ref().is_none_or(|phrases| phrases.may_end())
    }

    /// Can nothing follow?
    pub fn must_end(&self) -> bool {
        matches!(self.form, Form::Prose(_)) && self.form.complete()
    }

    /// Do these bytes end a complete answer, as a line break does?
    pub fn is_terminator(&self, bytes: &[u8]) -> bool {
        bytes.first() == Some(&b'\n') && bytes.iter().all(|b| matches!(b, b'\n' | b' '))
    }
}

/// Checks a whole answer. Of a schema only that the answer is JSON: a model that cannot be masked is asked for the
/// schema itself, and whoever reads the value checks it anyway.
///
/// # Errors
/// Says where it leaves the shape, in words a model can act on.
pub(crate) fn check(constraint: &Constraint, text: &str) -> Result<(), String> {
    if let Constraint::Schema { .. } = constraint {
        return serde_json::from_str::<serde_json::Value>(text)
            .map(drop)
            .map_err(|e| format!("not JSON: {e}"));
    }
    let mut shape = Shape::new(constraint, usize::MAX, None)?;
    let mut done = 0;
    for c in text.chars() {
        if !shape.push(&text.as_bytes()[done..done + c.len_utf8()]) {
            let start = text[..done].char_indices().rev().nth(30).map_or(0, |(i, _)| i);
            return Err(format!("unexpected {c:?} after {:?}", &text[start..done]));
        }
        done += c.len_utf8();
    }
    if shape.may_end() { Ok(()) } else { Err("the answer ends too early".into()) }
}

/// 64-bit FNV-1a; a collision only forbids one phrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Hash(u64);

impl Hash {
    const START: Self = Self(0xcbf2_9ce4_8422_2325);

    fn add(self, byte: u8) -> Self {
        Self((self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
    }

    /// Of a fact: names are words too, but never equal to one.
    fn fact(name: &[u8]) -> Self {
        name.iter().fold(Self::START.add(b'['), |hash, byte| hash.add(*byte))
    }

    fn add_char(self, c: char) -> Self {
        c.to_lowercase().fold(self, |hash, c| c.encode_utf8(&mut [0; 4]).bytes().fold(hash, Self::add))
    }
}

/// Characters outside ASCII, byte by byte. Only those are begun that can be completed.
#[derive(Debug, Clone, Copy, Default)]
struct Utf8 {
    bytes: [u8; 3],
    len: u8,
}

/// What a byte did.
enum Decoded {
    Char(char),
    Partial,
    Invalid,
}

impl Utf8 {
    /// Latin, Greek and Cyrillic letters (two bytes), and the three typographic marks
    /// U+2013, U+2014 and U+2019.
    fn push(&mut self, byte: u8) -> Decoded {
        let fits = match self.len {
            0 if byte < 0x80 => return Decoded::Char(byte as char),
            0 => matches!(byte, 0xc3..=0xc5 | 0xce..=0xd1 | 0xe2),
            1 if self.bytes[0] == 0xe2 => byte == 0x80,
            2 => matches!(byte, 0x93 | 0x94 | 0x99),
            _ => (0x80..0xc0).contains(&byte),
        };
        if !fits {
            return Decoded::Invalid;
        }
        self.bytes[self.len as usize] = byte;
        self.len += 1;
        let needed = if self.bytes[0] == 0xe2 { 3 } else { 2 };
        if self.len < needed {
            return Decoded::Partial;
        }
        let text = std::str::from_utf8(&self.bytes[..usize::from(needed)]);
        self.len = 0;
        match text.ok().and_then(|t| t.chars().next()) {
            Some(c) => Decoded::Char(c),
            None => Decoded::Invalid,
        }
    }

    fn pending(&self) -> bool {
        self.len > 0
    }

    /// Is one of the typographic marks under way?
    fn within_mark(&self) -> bool {
        self.len > 0 && self.bytes[0] == 0xe2
    }
}
/// Whether a token may be the next one.
pub(crate) fn allows(
    shape: &mut Option<Shape>,
    token: u32,
    vocabulary: &Vocabulary,
    eos: &[u32],
    may_end: bool,
) -> bool {
    if eos.contains(&token) {
        return may_end;
    }
    let bytes = vocabulary.bytes(token);
    match shape {
        // Control tokens have no bytes; none but the end of the answer is ever wanted.
        _ if bytes.is_empty() => false,
        Some(shape) => shape.allows(bytes) || (may_end && shape.is_terminator(bytes)),
        None => true,
    }
}
