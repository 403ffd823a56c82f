//! State of one render: what was put aside, and the tokens that stand for it.
//!
//! Tokens carry a nonce nobody can know beforehand, so no data can contain a valid one.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bul_document::{Block, Inline};
use minijinja::value::{Object, Value};
use minijinja::{Error, ErrorKind, State};

use crate::facts::FactSet;
use crate::format::Locale;
use crate::limits;

const OPEN: char = '\u{e000}';
const CLOSE: char = '\u{e001}';
/// Room for most tokens: two marks, a nonce, a number, and line ends around it.
const TOKEN_BYTES: usize = 40;

/// Whether a character begins or ends a token.
pub(crate) fn is_token_mark(c: char) -> bool {
    matches!(c, OPEN | CLOSE)
}

/// Something a token stands for.
#[derive(Debug, Clone)]
pub(crate) enum Piece {
    Text(String),
    Fact { name: String, value: String },
    Blocks(Vec<Block>),
}

/// One prose slot as the body asked for it.
#[derive(Debug, Clone)]
pub(crate) struct SlotSpec {
    pub(crate) id: String,
    pub(crate) section: String,
    pub(crate) aim: String,
    pub(crate) facts: Vec<String>,
    pub(crate) sentences: usize,
}

/// What a render starts with.
pub(crate) struct CxInit {
    pub(crate) locale: Locale,
    pub(crate) currency: String,
    pub(crate) labels: Arc<BTreeMap<String, String>>,
    pub(crate) facts: FactSet,
    pub(crate) parts: BTreeMap<String, Vec<Block>>,
}

/// State of one render, reachable from every function and filter.
#[derive(Debug)]
pub(crate) struct Cx {
    pub(crate) locale: Locale,
    pub(crate) currency: String,
    pub(crate) labels: Arc<BTreeMap<String, String>>,
    pub(crate) facts: FactSet,
    nonce: String,
    side: Mutex<Side>,
}

#[derive(Debug, Default)]
struct Side {
    pieces: Vec<Piece>,
    parts: BTreeMap<String, Vec<Block>>,
    slots: Vec<SlotSpec>,
    bytes: usize,
}

impl Object for Cx {}

/// The state of the render in progress.
pub(crate) fn of(state: &State) -> Result<Arc<Cx>, Error> {
    state
        .lookup(super::CX)
        .and_then(|value| value.downcast_object::<Cx>())
        .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "`_cx` is reserved and must not be set"))
}

impl Cx {
    pub(crate) fn new(init: CxInit) -> Arc<Self> {
        let nonce = RandomState::new().hash_one("token").to_string();
        Arc::new(Self {
            locale: init.locale,
            currency: init.currency,
            labels: init.labels,
            facts: init.facts,
            nonce,
            side: Mutex::new(Side { parts: init.parts, ..Side::default() }),
        })
    }

    pub(crate) fn value(self: &Arc<Self>) -> Value {
        Value::from_dyn_object(Arc::clone(self))
    }

    fn side(&self) -> MutexGuard<'_, Side> {
        // A poisoned lock means a panic elsewhere in the render; the list itself stays whole.
        self.side.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a piece aside; the token for it goes to the end of `out`.
    fn put(&self, piece: Piece, out: &mut String) {
        let mut side = self.side();
        side.pieces.push(piece);
        out.push(OPEN);
        out.push_str(&self.nonce);
        out.push(':');
        out.push_str(&(side.pieces.len() - 1).to_string());
        out.push(CLOSE);
    }

    /// Token for a text.
    pub(crate) fn text(&self, text: String) -> Result<String, Error> {
        {
            let mut side = self.side();
            side.bytes += text.len();
            if side.bytes > limits::BODY_BYTES_MAX {
                let message = format!("the body prints more than {} bytes", limits::BODY_BYTES_MAX);
                return Err(Error::new(ErrorKind::InvalidOperation, message));
            }
        }
        let mut token = String::with_capacity(TOKEN_BYTES);
        self.put(Piece::Text(text), &mut token);
        Ok(token)
    }

    /// Token for a fact.
    pub(crate) fn fact(&self, name: &str) -> Option<Value> {
        let fact = self.facts.get(name)?;
        let mut token = String::with_capacity(TOKEN_BYTES);
        self.put(Piece::Fact { name: fact.name.clone(), value: fact.value.clone() }, &mut token);
        Some(Value::from_safe_string(token))
    }

    /// Token for blocks, set apart from the text around it.
    pub(crate) fn blocks(&self, blocks: Vec<Block>) -> Value {
        let mut token = String::with_capacity(TOKEN_BYTES);
        token.push_str("\n\n");
        self.put(Piece::Blocks(blocks), &mut token);
        token.push_str("\n\n");
        Value::from_safe_string(token)
    }

    /// Takes a part the preparer made.
    pub(crate) fn part(&self, name: &str) -> Option<Vec<Block>> {
        self.side().parts.remove(name)
    }

    /// Registers a prose slot; false when the id is taken.
    pub(crate) fn slot(&self, slot: SlotSpec) -> Result<(), String> {
        let mut side = self.side();
        if side.slots.iter().any(|other| other.id == slot.id) {
            return Err(format!("prose id `{}` is used twice", slot.id));
        }
        if side.slots.len() >= limits::SLOTS_MAX {
            return Err(format!("more than {} prose slots", limits::SLOTS_MAX));
        }
        side.slots.push(slot);
        Ok(())
    }

    /// The prose slots registered so far; they are handed out once.
    pub(crate) fn take_slots(&self) -> Vec<SlotSpec> {
        std::mem::take(&mut self.side().slots)
    }

    /// Fixed text in the language of the document.
    pub(crate) fn label(&self, english: &str) -> String {
        self.labels.get(english).cloned().unwrap_or_else(|| english.to_owned())
    }

    /// Inlines of a text that may hold tokens; line ends become breaks.
    pub(crate) fn inlines(&self, text: &str) -> Vec<Inline> {
        self.with_resolver(|resolver| resolver.inlines(text))
    }

    /// Blocks of a text that may hold tokens of blocks; a text without any is a paragraph.
    pub(crate) fn blocks_in(&self, text: &str) -> Vec<Block> {
        self.with_resolver(|resolver| {
            let mut out = resolver.blocks(text);
            if out.is_empty() && !text.trim().is_empty() {
                out.push(Block::Paragraph { text: resolver.inlines(text.trim()) });
            }
            out
        })
    }

    /// Works with everything put aside so far. The closure must not put anything aside.
    pub(crate) fn with_resolver<T>(&self, work: impl FnOnce(&Resolver) -> T) -> T {
        let side = self.side();
        work(&Resolver { nonce: &self.nonce, pieces: &side.pieces })
    }
}

/// Swaps tokens for what they stand for.
pub(crate) struct Resolver<'a> {
    nonce: &'a str,
    pieces: &'a [Piece],
}

/// A stretch of text or a piece between two stretches.
pub(crate) enum Chunk<'t, 'r> {
    Text(&'t str),
    Piece(&'r Piece),
}

impl Resolver<'_> {
    /// Splits a text at its tokens.
    pub(crate) fn split<'t, 'r>(&'r self, mut text: &'t str) -> Vec<Chunk<'t, 'r>> {
        let mut out = Vec::new();
        while let Some((start, after)) = self.next_token(text) {
            let Some(end) = after.find(CLOSE) else { break };
            if start > 0 {
                out.push(Chunk::Text(&text[..start]));
            }
            if let Some(piece) = after[..end].parse().ok().and_then(|at: usize| self.pieces.get(at)) {
                out.push(Chunk::Piece(piece));
            }
            text = &after[end + CLOSE.len_utf8()..];
        }
        if !text.is_empty() {
            out.push(Chunk::Text(text));
        }
        out
    }

    /// Where the next token of this render begins, and what follows its mark.
    fn next_token<'t>(&self, text: &'t str) -> Option<(usize, &'t str)> {
        text.match_indices(OPEN).find_map(|(start, mark)| {
            let after = text[start + mark.len()..].strip_prefix(self.nonce)?.strip_prefix(':')?;
            Some((start, after))
        })
    }

    /// Inlines of a text; blocks in it are left out.
    pub(crate) fn inlines(&self, text: &str) -> Vec<Inline> {
        let mut out = Vec::new();
        self.push_inlines(text, &mut out);
        out
    }

    fn push_inlines(&self, text: &str, out: &mut Vec<Inline>) {
        for chunk in self.split(text) {
            match chunk {
                Chunk::Text(text) => push_lines(text, out),
                // A text may itself hold tokens of pieces made before it, never of later ones.
                Chunk::Piece(Piece::Text(inner)) => self.push_inlines(inner, out),
                Chunk::Piece(Piece::Fact { name, value }) => {
                    out.push(Inline::Fact { name: name.clone(), value: value.clone() });
                }
                Chunk::Piece(Piece::Blocks(_)) => {}
            }
        }
    }

    /// Blocks that stand in a text.
    pub(crate) fn blocks(&self, text: &str) -> Vec<Block> {
        let mut out = Vec::new();
        for chunk in self.split(text) {
            match chunk {
                Chunk::Piece(Piece::Blocks(blocks)) => out.extend(blocks.iter().cloned()),
                Chunk::Piece(Piece::Text(inner)) => out.extend(self.blocks(inner)),
                Chunk::Piece(Piece::Fact { .. }) | Chunk::Text(_) => {}
            }
        }
        out
    }

    /// Plain text with every token swapped in.
    pub(crate) fn plain(&self, text: &str) -> String {
        if self.next_token(text).is_some() {
            bul_document::plain(&self.inlines(text))
        } else {
            text.to_owned()
        }
    }
}

/// Text as inlines: one break for each line end, blank lines at most doubled.
pub(crate) fn push_lines(text: &str, out: &mut Vec<Inline>) {
    let mut blank = 0;
    for (at, line) in text.split('\n').enumerate() {
        let line = line.trim_end_matches('\r');
        if at > 0 {
            blank += 1;
            if blank <= 2 {
                out.push(Inline::Break);
            }
        }
        if line.is_empty() {
            continue;
        }
        blank = 0;
        match out.last_mut() {
            Some(Inline::Text { text }) => text.push_str(line),
            _ => out.push(Inline::text(line)),
        }
    }
}
