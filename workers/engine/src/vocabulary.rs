//! Text to tokens and tokens to bytes.
//!
//! Invariant: text that came from outside never becomes a control token. Two tokenizers are kept:
//! one that knows the added tokens, for the literals of the chat template, and one without them,
//! for everything else. Called by `chat`, `engine` and `constraint`.

use std::collections::HashSet;

use serde_json::Value;
use tokenizers::Tokenizer;

use crate::open::OpenError;

const FILE: &str = "tokenizer.json";

/// How a vocabulary entry spells bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spelling {
    /// GPT-2: one printable character per byte.
    ByteLevel,
    /// SentencePiece: `▁` for a space, `<0x0A>` for a byte.
    Metaspace,
}

/// A tokenizer and the bytes of its tokens.
pub(crate) struct Vocabulary {
    literal: Tokenizer,
    plain: Tokenizer,
    /// Added tokens; never produced from plain text.
    added: HashSet<u32>,
    /// Bytes of all tokens, one after the other; control tokens have none.
    bytes: Vec<u8>,
    ends: Vec<u32>,
    strips_first_space: bool,
    fingerprint: blake3::Hash,
}

impl Vocabulary {
    /// Reads a `tokenizer.json`.
    ///
    /// # Errors
    /// `OpenError::Tokenizer` when it is malformed or of a kind whose bytes are not known.
    pub fn from_json(json: &[u8]) -> Result<Self, OpenError> {
        let fail = |reason: String| OpenError::Tokenizer { file: FILE.into(), reason };
        let literal = Tokenizer::from_bytes(json).map_err(|e| fail(e.to_string()))?;
        let mut value: Value = serde_json::from_slice(json).map_err(|e| fail(e.to_string()))?;
        let (spelling, strips_first_space) = spelling(&value).ok_or_else(|| {
            fail("field `decoder`: only byte-level and SentencePiece-style BPE are supported".into())
        })?;
        value["added_tokens"] = Value::Array(Vec::new());
        // Post-processors name added tokens, and prompts are put together here anyway.
        value["post_processor"] = Value::Null;
        let plain = Tokenizer::from_bytes(value.to_string()).map_err(|e| fail(e.to_string()))?;

        let decoder = literal.get_added_tokens_decoder();
        let vocab = literal.get_vocab(true);
        let size = vocab.values().max().map_or(0, |max| *max as usize + 1);
        let mut spelled: Vec<Vec<u8>> = vec![Vec::new(); size];
        for (token, id) in vocab {
            spelled[id as usize] = match decoder.get(&id) {
                Some(added) if added.special => Vec::new(),
                Some(_) => token.into_bytes(),
                None => token_bytes(&token, spelling),
            };
        }
        let (mut bytes, mut ends) = (Vec::new(), Vec::with_capacity(size));
        for token in spelled {
            bytes.extend_from_slice(&token);
            ends.push(bytes.len() as u32);
        }
        let added = decoder.keys().copied().collect();
        let fingerprint = blake3::hash(json);
        Ok(Self { literal, plain, added, bytes, ends, strips_first_space, fingerprint })
    }

    /// Tokens of text in which special tokens are meant.
    ///
    /// # Errors
    /// What the tokenizer says.
    pub fn encode_literal(&self, text: &str) -> Result<Vec<u32>, String> {
        encode(&self.literal, text)
    }

    /// Tokens of text from outside; special tokens in it are plain characters.
    ///
    /// # Errors
    /// What the tokenizer says.
    pub fn encode_text(&self, text: &str) -> Result<Vec<u32>, String> {
        let ids = encode(&self.plain, text)?;
        if !ids.iter().any(|id| self.added.contains(id)) {
            return Ok(ids);
        }
        // A vocabulary may list control tokens as plain entries; character by character none can
        // be spelled, and what still is one is left out.
        let mut safe = Vec::new();
        for c in text.chars() {
            let ids = encode(&self.plain, c.encode_utf8(&mut [0; 4]))?;
            safe.extend(ids.into_iter().filter(|id| !self.added.contains(id)));
        }
        Ok(safe)
    }

    /// Bytes of a token; empty for control tokens and unknown ids.
    pub fn bytes(&self, token: u32) -> &[u8] {
        let Some(end) = self.ends.get(token as usize) else { return &[] };
        let start = if token == 0 { 0 } else { self.ends[token as usize - 1] };
        &self.bytes[start as usize..*end as usize]
    }

    /// Id of a token by its spelling in the vocabulary.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.literal.token_to_id(token)
    }

    /// Highest id plus one.
    pub fn size(&self) -> usize {
        self.ends.len()
    }

    /// Does decoding drop the space before the first word?
    pub fn strips_first_space(&self) -> bool {
        self.strips_first_space
    }

    /// blake3 over the file.
    pub fn fingerprint(&self) -> blake3::Hash {
        self.fingerprint
    }
}

fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    tokenizer.encode_fast(text, false).map(|e| e.get_ids().to_vec()).map_err(|e| e.to_string())
}

/// How tokens spell bytes, and whether the first space is dropped, from `decoder` and
/// `pre_tokenizer`.
fn spelling(json: &Value) -> Option<(Spelling, bool)> {
    let steps = |field: &str| -> Vec<Value> {
        match json.get(field) {
            Some(value) => {
                let nested = value.get("decoders").or_else(|| value.get("pretokenizers"));
                nested.and_then(Value::as_array).cloned().unwrap_or_else(|| vec![value.clone()])
            }
            None => Vec::new(),
        }
    };
    let is = |step: &Value, kind: &str| step.get("type").and_then(Value::as_str) == Some(kind);
    let decoders = steps("decoder");
    if decoders.iter().chain(&steps("pre_tokenizer")).any(|s| is(s, "ByteLevel")) {
        return Some((Spelling::ByteLevel, false));
    }
    if let Some(step) = decoders.iter().find(|s| is(s, "Metaspace")) {
        let never = step.get("prepend_scheme").and_then(Value::as_str) == Some("never")
            || step.get("add_prefix_space").and_then(Value::as_bool) == Some(false);
        return Some((Spelling::Metaspace, !never));
    }
    let replaces = |s: &Value| is(s, "Replace") && s["pattern"]["String"].as_str() == Some("▁");
    if decoders.iter().any(replaces) {
        return Some((Spelling::Metaspace, decoders.iter().any(|s| is(s, "Strip"))));
    }
    None
}

fn token_bytes(token: &str, spelling: Spelling) -> Vec<u8> {
    match spelling {
        Spelling::ByteLevel => {
            let bytes: Option<Vec<u8>> = token.chars().map(byte_of_char).collect();
            bytes.unwrap_or_else(|| token.as_bytes().to_vec())
        }
        Spelling::Metaspace => {
            let hex = token.strip_prefix("<0x").and_then(|t| t.strip_suffix('>'));
            match hex.filter(|h| h.len() == 2).and_then(|h| u8::from_str_radix(h, 16).ok()) {
                Some(byte) => vec![byte],
                None => token.replace('▁', " ").into_bytes(),
            }
        }
    }
}

/// The byte behind a character of a byte-level vocabulary: printable Latin-1 stands for itself,
/// the other 68 bytes follow from U+0100 in ascending order.
fn byte_of_char(c: char) -> Option<u8> {
    let printable = |b: u32| matches!(b, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff);
    let code = c as u32;
    if code < 256 {
        return printable(code).then_some(code as u8);
    }
    (0..256u32).filter(|b| !printable(*b)).nth(code as usize - 256).map(|b| b as u8)
}

/// Inverse of [`byte_of_char`], for vocabularies built here.
pub(crate) fn char_of_byte(byte: u8) -> char {
    (0..0x180).filter_map(char::from_u32).find(|c| byte_of_char(*c) == Some(byte)).unwrap_or('?')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn byte_level_characters_cover_every_byte_once() {
        let bytes: HashSet<u8> = (0..0x180).filter_map(char::from_u32).filter_map(byte_of_char).collect();
        assert_eq!(bytes.len(), 256);
        assert_eq!(token_bytes("Ġthe", Spelling::ByteLevel), b" the");
        assert_eq!(token_bytes("Ċ", Spelling::ByteLevel), b"\n");
        assert_eq!(token_bytes("▁the", Spelling::Metaspace), b" the");
        assert_eq!(token_bytes("<0x0A>", Spelling::Metaspace), b"\n");
    }

    #[test]
    fn special_tokens_in_text_are_plain_characters() {
        let vocabulary = crate::testing::vocabulary();
        let end = vocabulary.id("<|end|>").unwrap();
        assert_eq!(vocabulary.encode_literal("<|end|>").unwrap(), [end]);
        let ids = vocabulary.encode_text("a<|end|><|system|>b").unwrap();
        assert!(ids.iter().all(|id| !vocabulary.added.contains(id)));
        let bytes: Vec<u8> = ids.iter().flat_map(|id| vocabulary.bytes(*id).to_vec()).collect();
        assert_eq!(bytes, b"a<|end|><|system|>b");
        assert_eq!(vocabulary.bytes(end), b"");
    }
}
