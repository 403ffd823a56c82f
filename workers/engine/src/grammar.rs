//! Answers that are held to a JSON Schema, token by token, through llguidance.
//!
//! A schema is compiled once and kept; each answer has a copy of its own, lexer included, so that what one answer does
//! changes nothing for another: alone or in a batch it is the same. Invariant: a token that was not allowed is never
//! drawn, and an answer that ends well is JSON. Schemas come from callers: their size, the cost of compiling them
//! and the cost of each step are bounded.

use std::collections::VecDeque;
use std::sync::{Arc, OnceLock};

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::earley::SlicedBiasComputer;
use llguidance::toktrie::{ApproximateTokEnv, InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie};
use llguidance::{JsonCompileOptions, Matcher, ParserFactory};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::sync::Semaphore;

use crate::constraint::schema;
use crate::vocabulary::Vocabulary;

/// Compiled schemas kept. One takes up to a few MB.
const COMPILED_MAX: usize = 32;
/// Callers whose schemas wait to be compiled.
const PLACES_MAX: usize = 64;
/// From this many tokens on, masks of common strings are computed beforehand.
const SLICES_FROM: usize = 8192;

/// What a schema may cost. Fuel is spent at some 50,000 per millisecond while compiling and 14,000 per millisecond in
/// a step; a lexer state takes one to two kilobytes.
fn limits() -> ParserLimits {
    ParserLimits {
        initial_lexer_fuel: 1_000_000,
        step_lexer_fuel: 200_000,
        step_max_items: 50_000,
        max_items_in_row: 2_000,
        max_lexer_states: 20_000,
        max_grammar_size: 100_000,
        // It runs without a bound.
        precompute_large_lexemes: false,
        // They would hold the answer's text.
        verbose_errors: false,
    }
}

/// All grammars of one model.
pub(crate) struct Grammars {
    vocabulary: Arc<Vocabulary>,
    eos: Arc<[u32]>,
    /// Length of a row of logits.
    row: usize,
    /// Made when the first schema comes: for large vocabularies it takes a while.
    factory: OnceLock<Result<ParserFactory, String>>,
    /// By digest of the text, the last used at the end.
    compiled: Mutex<VecDeque<(blake3::Hash, Matcher)>>,
    /// One schema is compiled at a time: the memory of two would add up.
    turn: Arc<Semaphore>,
    /// Callers that compile or wait for their turn.
    places: Semaphore,
}

/// No more callers may wait for their schemas.
#[derive(Debug)]
pub(crate) struct Crowded;

impl Grammars {
    /// For a model whose rows of logits have `row` values.
    pub fn new(vocabulary: Arc<Vocabulary>, eos: Arc<[u32]>, row: usize) -> Self {
        let (turn, places) = (Arc::new(Semaphore::new(1)), Semaphore::new(PLACES_MAX));
        Self { vocabulary, eos, row, factory: OnceLock::new(), compiled: Mutex::default(), turn, places }
    }

    /// As `start`, on a thread that may block: a new schema can take tens of milliseconds, once, however many ask for it.
    ///
    /// # Errors
    /// When too many wait already; or as of `start`.
    pub async fn start_apart(self: Arc<Self>, schema: &str) -> Result<Result<Grammar, String>, Crowded> {
        if let Some(grammar) = self.known(schema) {
            return Ok(Ok(grammar));
        }
        let _place = self.places.try_acquire().map_err(|_| Crowded)?;
        // Neither is ever closed.
        let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(|_| Crowded)?;
        let (grammars, schema) = (Arc::clone(&self), schema.to_owned());
        // The turn goes along: a caller that gives up does not let the next one begin before this one has ended.
        let work = tokio::task::spawn_blocking(move || {
            let started = grammars.start(&schema);
            drop(turn);
            started
        });
        Ok(work.await.unwrap_or_else(|panic| Err(format!("compiling it failed: {panic}"))))
    }

    /// The start of an answer that fits `schema`. May take tens of milliseconds when the schema is new.
    ///
    /// # Errors
    /// What is wrong with the schema, or not supported, or too costly.
    pub fn start(&self, schema: &str) -> Result<Grammar, String> {
        if let Some(grammar) = self.known(schema) {
            return Ok(grammar);
        }
        let factory = self.factory.get_or_init(|| self.factory()).as_ref().map_err(String::clone)?;
        let matcher = compile(factory, schema)?;
        let mut compiled = self.compiled.lock();
        compiled.push_back((blake3::hash(schema.as_bytes()), matcher.deep_clone()));
        if compiled.len() > COMPILED_MAX {
            compiled.pop_front();
        }
        drop(compiled);
        Ok(Grammar::new(matcher))
    }

    /// The same, when the schema is compiled already.
    pub fn known(&self, schema: &str) -> Option<Grammar> {
        let name = blake3::hash(schema.as_bytes());
        let mut compiled = self.compiled.lock();
        let at = compiled.iter().position(|(known, _)| *known == name)?;
        let found = compiled.remove(at)?;
        let matcher = found.1.deep_clone();
        compiled.push_back(found);
        Some(Grammar::new(matcher))
    }

    /// Compiled schemas kept.
    #[cfg(test)]
    pub fn kept(&self) -> usize {
        self.compiled.lock().len()
    }

    fn factory(&self) -> Result<ParserFactory, String> {
        let spelled = |id: usize| {
            let bytes = self.vocabulary.bytes(id as u32);
            // The byte 0xff marks control tokens there; no JSON holds it. An end is never part of an answer's text.
            let is_text = !bytes.contains(&0xff) && !self.eos.contains(&(id as u32));
            if is_text { bytes.to_vec() } else { Vec::new() }
        };
        let words: Vec<Vec<u8>> = (0..self.row).map(spelled).collect();
        factory(&words, &self.eos)
    }
}

/// What compiles schemas for tokens that spell `words`.
pub(crate) fn factory(words: &[Vec<u8>], eos: &[u32]) -> Result<ParserFactory, String> {
    let first_eos = eos.first().copied().ok_or("the model has no token that ends an answer")?;
    let info = TokRxInfo::new(words.len() as u32, first_eos);
    let trie = TokTrie::from(&info, words).with_eos_tokens(eos);
    let env: TokEnv = Arc::new(ApproximateTokEnv::new(trie));
    let slices = if words.len() >= SLICES_FROM { SlicedBiasComputer::general_slices() } else { Vec::new() };
    let mut factory = ParserFactory::new(&env, InferenceCapabilities::default(), &slices)
        .map_err(|e| first_line(&e.to_string()))?;
    factory.quiet();
    *factory.limits_mut() = limits();
    Ok(factory)
}

/// Compiles the text of a schema, as far as its first token.
///
/// # Errors
/// What is wrong with it, not supported, or too costly.
pub(crate) fn compile(factory: &ParserFactory, schema: &str) -> Result<Matcher, String> {
    let mut schema = schema::bounded(schema::read(schema)?);
    if schema == Value::Bool(true) {
        schema = Value::Object(serde_json::Map::new());
    }
    if let Value::Object(map) = &mut schema {
        // Without spaces: a small model could write them for ever, and the end of an answer needs no token.
        let options = JsonCompileOptions { whitespace_flexible: false, ..JsonCompileOptions::default() };
        let options = serde_json::to_value(options).map_err(|e| e.to_string())?;
        map.insert("x-guidance".into(), options);
    }
    let parser = factory.create_parser(TopLevelGrammar::from_json_schema(schema));
    let mut matcher = Matcher::new(parser);
    match matcher.get_error() {
        Some(error) => Err(refusal(&error)),
        // A schema that nothing fits has no first token.
        None => matcher.compute_mask().map(|_| ()).map_err(|e| refusal(&e.to_string())),
    }?;
    Ok(matcher)
}

/// The compiler's reason in words for those who wrote the schema.
fn refusal(error: &str) -> String {
    let reason = first_line(error);
    let reason = if let Some(at) = reason.find("Unimplemented keys: ") {
        let list = reason[at..].trim_start_matches("Unimplemented keys: ");
        format!("these keywords are not supported: {}", list.trim_matches(['[', ']']))
    } else if reason.contains("oneOf constraints are not supported") {
        "`oneOf` is not supported where two of its parts may fit at once; use `anyOf`".into()
    } else if reason.contains("regex parse error") {
        // The reason proper stands below a drawing of the place.
        let why = error.lines().rev().find_map(|line| line.trim().strip_prefix("error: "));
        format!("a pattern cannot be read: {}", first_line(why.unwrap_or("its syntax is unknown")))
    } else if reason.contains("NoExtensionBias") {
        "no value fits it, or none within the limits".into()
    } else {
        reason
    };
    format!("the schema cannot be held to: {reason}")
}

/// The state of one answer that is held to a schema.
pub(crate) struct Grammar {
    matcher: Matcher,
    /// Tokens that may follow, once computed.
    mask: Option<SimpleVob>,
    fault: Option<String>,
}

impl Grammar {
    fn new(matcher: Matcher) -> Self {
        Self { matcher, mask: None, fault: None }
    }

    /// Computes which tokens may follow. Needs no logits, so it can go on beside the model's step.
    pub fn prepare(&mut self) {
        if self.mask.is_some() || self.fault.is_some() {
            return;
        }
        match self.matcher.compute_mask() {
            Ok(mask) => self.mask = Some(mask),
            Err(error) => self.fail(first_line(&error.to_string())),
        }
    }

    /// Logits with those of refused tokens struck out; `None` after a fault.
    pub fn hold(&mut self, logits: &[f32]) -> Option<Vec<f32>> {
        self.prepare();
        let mask = self.mask.as_ref()?;
        let mut row = vec![f32::NEG_INFINITY; logits.len()];
        mask.iter_set_entries(|id| {
            if let (Some(to), Some(from)) = (row.get_mut(id), logits.get(id)) {
                *to = *from;
            }
        });
        Some(row)
    }

    /// May `token` follow? Asked between `hold` and `commit`.
    pub fn allows(&self, token: u32) -> bool {
        self.mask.as_ref().is_some_and(|mask| mask.get(token as usize))
    }

    /// Appends a token that was allowed; false after a fault.
    pub fn commit(&mut self, token: u32) -> bool {
        self.mask = None;
        if let Err(error) = self.matcher.consume_token(token) {
            self.fail(first_line(&error.to_string()));
        }
        self.fault.is_none()
    }

    /// Is the answer so far a whole one?
    pub fn may_end(&mut self) -> bool {
        self.matcher.is_accepting().unwrap_or(false)
    }

    /// Can nothing follow?
    pub fn must_end(&self) -> bool {
        self.matcher.is_stopped() && !self.matcher.is_error()
    }

    /// Says why the answer cannot be had.
    pub fn fail(&mut self, reason: String) {
        self.fault.get_or_insert(reason);
    }

    /// Why the answer cannot be had.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(300).collect()
}
