//! One request on its way through the engine.
//!
//! Holds everything that belongs to the request alone: tokens, block table, random state,
//! constraint, growing text, and the callers who wait for it. Owned by `engine`; knows nothing of
//! other sequences.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::constraint::{PhraseBook, Shape, allows};
use crate::detokenise::TextOut;
use crate::generate::{GenerateError, Pieces, outcome_name};
use crate::grammar::Grammar;
use crate::job::{Completion, Finish, Receipt};
use crate::kv::key::{BlockKey, BlockScope};
use crate::kv::pin::Keep;
use crate::kv::policy::Segment;
use crate::kv::quota::TenantId;
use crate::kv::table::Table;
use crate::model::decoder::Logits;
use crate::runner::Best;
use crate::sample::Sampler;
use crate::sched::{Place, Progress};
use crate::trace::{self, Trace};
use crate::vocabulary::Vocabulary;

/// Where the result of a request goes.
pub(crate) type Reply = oneshot::Sender<Result<Completion, GenerateError>>;

/// Digest of all that decides an answer: tenant, prompt, sampling, stops, shape.
pub(crate) type Identity = [u8; 32];

/// One caller who waits for an answer.
pub(crate) struct Reader {
    pub pieces: Option<Pieces>,
    /// Bytes of text that this reader was given.
    pub given: usize,
    pub cancel: CancellationToken,
    pub reply: Reply,
    pub submitted: Instant,
    pub priority: u8,
    /// Came to a sequence that was there already.
    pub attached: bool,
    pub span: tracing::Span,
}

impl Reader {
    /// Somebody who has just come.
    pub fn new(pieces: Option<Pieces>, cancel: CancellationToken, reply: Reply) -> Self {
        let (submitted, span) = (Instant::now(), tracing::Span::none());
        Self { pieces, given: 0, cancel, reply, submitted, priority: 0, attached: false, span }
    }
}

/// A request as the engine needs it.
pub(crate) struct Sequence {
    /// Prompt, then answer.
    pub tokens: Vec<u32>,
    pub prompt_tokens: usize,
    /// Tokens from the start that hold no tenant's text.
    pub public_tokens: usize,
    pub tenant: String,
    pub account: TenantId,
    pub identity: Identity,
    /// Keys of the prompt's full blocks, then of full blocks of the answer.
    pub keys: Vec<BlockKey>,
    pub max_tokens: usize,
    pub sampler: Sampler,
    pub shape: Option<Shape>,
    /// Of an answer that fits a JSON Schema; then there is no shape.
    pub grammar: Option<Box<Grammar>>,
    pub text: TextOut,
    /// Everybody who asked for this answer; never empty.
    pub readers: Vec<Reader>,
    /// Tokens whose keys and values are written.
    pub computed: usize,
    /// Blocks that are published or shared, or too late for it.
    pub sealed: usize,
    /// Keys, from the first on, that it found or said it would compute.
    pub announced: usize,
    /// Tokens found in the cache at the first start.
    pub cached_tokens: usize,
    /// Of these, tokens that came from the host's memory, from disk and from the shared store.
    pub tier_tokens: [usize; 3],
    /// What becomes of its blocks once it is answered.
    pub keep: Option<Keep>,
    /// Until when it may wait for blocks of its prompt that are on their way.
    pub held_until: Option<Instant>,
    pub admitted: Option<Instant>,
    pub first_token: Option<Instant>,
    pub trace: Trace,
}

/// A running sequence. Only a running one holds blocks, and only on the engine's thread.
pub(crate) struct Live {
    pub sequence: Sequence,
    pub blocks: Table,
}

impl Live {
    /// How far it is.
    pub fn progress(&self, place: Place, block_tokens: usize) -> Progress {
        Progress { blocks: self.blocks.len(), ..self.sequence.progress(place, block_tokens) }
    }
}

/// What a drawn token did to a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Goes on.
    More,
    /// Complete.
    Done(Finish),
    /// The constraint cannot be met; see `why_stuck`.
    Stuck,
}

impl Sequence {
    /// Tokens of the prompt and the longest answer.
    pub fn longest(&self) -> usize {
        self.prompt_tokens + self.max_tokens
    }

    /// Keys that may be matched: at least one known token is computed again. After a preemption
    /// that includes the answer so far.
    pub fn matchable(&self, block_tokens: usize) -> &[BlockKey] {
        &self.keys[..self.keys.len().min((self.tokens.len() - 1) / block_tokens)]
    }

    /// The best lane anybody asked for.
    pub fn lane(&self) -> u8 {
        self.readers.iter().map(|r| r.priority).min().unwrap_or(u8::MAX)
    }

    /// How far it is, without blocks.
    pub fn progress(&self, place: Place, block_tokens: usize) -> Progress {
        Progress {
            place,
            lane: self.lane(),
            tenant: self.account,
            computed: self.computed,
            known: self.tokens.len(),
            longest: self.longest(),
            public_blocks: self.public_tokens / block_tokens,
            blocks: 0,
        }
    }

    /// What block `index` holds.
    pub fn segment(&self, index: usize, block_tokens: usize) -> Segment {
        Segment::of((index + 1) * block_tokens, self.public_tokens, self.prompt_tokens)
    }

    /// Answer tokens so far.
    pub fn output_tokens(&self) -> usize {
        self.tokens.len() - self.prompt_tokens
    }

    /// Draws the next token from its logits.
    pub fn draw(&mut self, logits: &[f32], vocabulary: &Vocabulary, eos: &[u32]) -> Step {
        self.first_token.get_or_insert_with(Instant::now);
        if self.grammar.is_some() {
            return self.draw_held(logits, vocabulary, eos);
        }
        let may_end = self.may_end();
        let Some(token) = self.choose(logits, vocabulary, eos, may_end) else { return Step::Stuck };
        self.push(token, vocabulary, eos, may_end)
    }

    /// Draws the next token from the likeliest; `None` when they do not decide it, and nothing has changed.
    pub fn draw_best(&mut self, best: &Best, vocabulary: &Vocabulary, eos: &[u32]) -> Option<Step> {
        let may_end = self.may_end();
        let sampler = self.sampler.clone();
        let shape = &mut self.shape;
        let chosen = self.sampler.choose_best(best, |token| allows(shape, token, vocabulary, eos, may_end));
        let Some(token) = chosen else {
            self.sampler = sampler;
            return None;
        };
        self.first_token.get_or_insert_with(Instant::now);
        Some(self.push(token, vocabulary, eos, may_end))
    }

    /// Tells the shape how many tokens are left, and whether the answer may end here.
    fn may_end(&mut self) -> bool {
        let remaining = self.max_tokens - self.output_tokens();
        match &mut self.shape {
            Some(shape) => {
                shape.set_remaining(remaining);
                shape.may_end()
            }
            None => true,
        }
    }

    /// What it needs of its next row of logits.
    pub fn wanted(&self) -> Logits {
        match self.grammar {
            // It weighs every token that may follow.
            Some(_) => Logits::Last,
            None => Logits::Best { temperature: self.sampler.temperature() },
        }
    }

    /// Adds a token that was drawn.
    fn push(&mut self, token: u32, vocabulary: &Vocabulary, eos: &[u32], may_end: bool) -> Step {
        if eos.contains(&token) {
            return Step::Done(Finish::Stop);
        }
        let bytes = vocabulary.bytes(token);
        if let Some(shape) = &mut self.shape {
            if may_end && shape.is_terminator(bytes) {
                return Step::Done(Finish::Stop);
            }
            shape.push(bytes);
        }
        self.tokens.push(token);
        if self.text.push(bytes) || self.shape.as_ref().is_some_and(Shape::must_end) {
            return Step::Done(Finish::Stop);
        }
        if self.output_tokens() < self.max_tokens {
            return Step::More;
        }
        let whole = self.shape.as_ref().is_some_and(Shape::may_end);
        Step::Done(if whole { Finish::Stop } else { Finish::Length })
    }

    /// Draws the next token of an answer that is held to a schema: from what may follow alone, so that nucleus and
    /// temperature mean the same as without.
    fn draw_held(&mut self, logits: &[f32], vocabulary: &Vocabulary, eos: &[u32]) -> Step {
        let Some(grammar) = &mut self.grammar else { return Step::Stuck };
        let Some(row) = grammar.hold(logits) else { return Step::Stuck };
        let Some(token) = self.sampler.choose(&row, |token| grammar.allows(token)) else {
            return Step::Stuck;
        };
        if eos.contains(&token) {
            return self.end_held();
        }
        if !grammar.commit(token) {
            return Step::Stuck;
        }
        self.tokens.push(token);
        self.text.push(vocabulary.bytes(token));
        let left = self.max_tokens - (self.tokens.len() - self.prompt_tokens);
        if grammar.must_end() || (left == 0 && grammar.may_end()) {
            return self.end_held();
        }
        if left > 0 {
            return Step::More;
        }
        grammar.fail(format!("the JSON value was not complete after {} tokens", self.max_tokens));
        Step::Stuck
    }

    /// The grammar knows no limits of numbers and depths that readers of JSON have.
    fn end_held(&mut self) -> Step {
        let value = serde_json::from_str::<serde_json::Value>(self.text.text());
        match (value, &mut self.grammar) {
            (Ok(_), _) => Step::Done(Finish::Stop),
            (Err(error), Some(grammar)) => {
                grammar.fail(format!("the answer is no JSON that can be read: {error}"));
                Step::Stuck
            }
            (Err(_), None) => Step::Stuck,
        }
    }

    /// Why the answer cannot be had.
    pub fn why_stuck(&self) -> String {
        let fault = self.grammar.as_ref().and_then(|grammar| grammar.fault());
        fault.unwrap_or("no token of the vocabulary fits the constraint").to_string()
    }

    /// The next token within the shape; outside a model's phrases only where they have no way on.
    fn choose(&mut self, logits: &[f32], vocabulary: &Vocabulary, eos: &[u32], may_end: bool) -> Option<u32> {
        loop {
            let shape = &mut self.shape;
            let chosen = self.sampler.choose(logits, |token| allows(shape, token, vocabulary, eos, may_end));
            if chosen.is_some() || !self.shape.as_mut().is_some_and(Shape::relax) {
                return chosen;
            }
        }
    }

    /// Offers new text to the readers. What a full channel refuses is offered again later.
    pub fn stream(&mut self) {
        use tokio::sync::mpsc::error::TrySendError;
        self.text.take();
        let text = self.text.taken();
        for reader in &mut self.readers {
            let Some(pieces) = &reader.pieces else { continue };
            if reader.given >= text.len() {
                continue;
            }
            match pieces.try_send(text[reader.given..].to_string()) {
                Ok(()) => reader.given = text.len(),
                Err(TrySendError::Full(_)) => {}
                Err(TrySendError::Closed(_)) => reader.pieces = None,
            }
        }
    }

    /// Key of block `index`, which is full; computed when it was not known from the prompt.
    pub fn key(&mut self, index: usize, block_tokens: usize, root: BlockKey) -> BlockKey {
        while self.keys.len() <= index {
            let at = self.keys.len();
            let parent = self.keys.last().copied().unwrap_or(root);
            // Answers are written for one tenant, even where the prompt was public.
            let tokens = &self.tokens[at * block_tokens..(at + 1) * block_tokens];
            self.keys.push(parent.child(BlockScope::Tenant(&self.tenant), tokens));
        }
        self.keys[index]
    }

    /// Drops readers who no longer want the answer, and tells them so; true when none is left.
    pub fn drop_cancelled(&mut self) -> bool {
        let (gone, left) =
            std::mem::take(&mut self.readers).into_iter().partition(|r| r.cancel.is_cancelled());
        self.readers = left;
        let gone: Vec<Reader> = gone;
        for mut reader in gone {
            self.tell(&mut reader, "cancelled", Instant::now());
            let _ = reader.reply.send(Err(GenerateError::Cancelled));
        }
        self.readers.is_empty()
    }

    /// Ends the sequence and answers all readers. The receipts are those of readers who got an
    /// answer, the one whose request was computed first.
    pub fn finish(mut self, outcome: &Result<Finish, GenerateError>) -> Vec<Receipt> {
        self.text.finish();
        self.stream();
        self.trace.close();
        let now = Instant::now();
        let text = self.text.text().to_string();
        let mut receipts = Vec::new();
        for mut reader in std::mem::take(&mut self.readers) {
            let receipt = self.tell(&mut reader, outcome_name(outcome), now);
            let done = match outcome {
                Ok(finish) => {
                    receipts.push(receipt);
                    Ok(Completion { text: text.clone(), finish: *finish, receipt })
                }
                Err(error) => Err(error.clone()),
            };
            // The pieces' channel closes before the answer arrives, so a reader sees its end.
            reader.pieces = None;
            // A caller that is gone does not want the answer.
            let _ = reader.reply.send(done);
        }
        receipts
    }

    /// Closes the span of a reader, before the reader hears of the end; the receipt.
    fn tell(&self, reader: &mut Reader, outcome: &'static str, now: Instant) -> Receipt {
        let receipt = self.receipt(reader, now);
        trace::ended(&reader.span, outcome, &receipt);
        reader.span = tracing::Span::none();
        receipt
    }

    fn receipt(&self, reader: &Reader, now: Instant) -> Receipt {
        // One that came late waited for nothing before it came.
        let admitted = self.admitted.unwrap_or(now).max(reader.submitted);
        let first = self.first_token.unwrap_or(now).max(admitted);
        let ms = |from: Instant, to: Instant| to.saturating_duration_since(from).as_secs_f64() * 1e3;
        let own = |tokens: u64| if reader.attached { 0 } else { tokens };
        let [host, disk, remote] = self.tier_tokens.map(|tokens| own(tokens as u64));
        Receipt {
            prompt_tokens: self.prompt_tokens as u64,
            cached_tokens: if reader.attached { self.prompt_tokens } else { self.cached_tokens } as u64,
            host_tokens: host,
            disk_tokens: disk,
            remote_tokens: remote,
            output_tokens: self.output_tokens() as u64,
            attached: u64::from(reader.attached),
            preemptions: own(self.trace.preemptions),
            recomputed_tokens: own(self.trace.recomputed_tokens),
            queue_ms: ms(reader.submitted, admitted),
            first_token_ms: ms(admitted, first),
            total_ms: ms(admitted, now),
        }
    }
}

/// What the engine keeps besides sequences: names shared by all of them.
#[derive(Clone)]
pub(crate) struct Language {
    pub vocabulary: Arc<Vocabulary>,
    pub eos: Arc<[u32]>,
    pub phrases: Option<Arc<PhraseBook>>,
}
