//! One request on its way through the engine.
//!
//! Holds everything that belongs to the request alone: tokens, block table, random state,
//! constraint and growing text. Owned by `engine`; knows nothing of other sequences.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use crate::constraint::{PhraseBook, Shape};
use crate::detokenise::TextOut;
use crate::generate::{GenerateError, Pieces};
use crate::job::{Completion, Finish, Receipt};
use crate::kv::key::{BlockKey, BlockScope};
use crate::kv::pool::BlockId;
use crate::sample::Sampler;
use crate::vocabulary::Vocabulary;

/// Where the result of a request goes.
pub(crate) type Reply = oneshot::Sender<Result<Completion, GenerateError>>;

/// A request as the engine needs it.
pub(crate) struct Sequence {
    /// Prompt, then answer.
    pub tokens: Vec<u32>,
    pub prompt_tokens: usize,
    pub tenant: String,
    /// Keys of the prompt's full blocks, then of sealed blocks of the answer.
    pub keys: Vec<BlockKey>,
    pub max_tokens: usize,
    pub priority: u8,
    pub sampler: Sampler,
    pub shape: Option<Shape>,
    pub text: TextOut,
    pub pieces: Option<Pieces>,
    pub cancel: CancellationToken,
    pub reply: Reply,
    pub submitted: Instant,
    /// Block table.
    pub blocks: Vec<BlockId>,
    /// Tokens whose keys and values are written.
    pub computed: usize,
    /// Blocks that are published or shared, or too late for it.
    pub sealed: usize,
    pub cached_tokens: usize,
    pub admitted: Option<Instant>,
    pub first_token: Option<Instant>,
}

/// What a drawn token did to a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Goes on.
    More,
    /// Complete.
    Done(Finish),
    /// The constraint allows no token at all.
    Stuck,
}

impl Sequence {
    /// Blocks for the prompt and the longest answer.
    pub fn blocks_max(&self, block_tokens: usize) -> usize {
        (self.prompt_tokens + self.max_tokens).div_ceil(block_tokens)
    }

    /// Keys that may be matched: at least one token of the prompt is computed again.
    pub fn matchable(&self, block_tokens: usize) -> &[BlockKey] {
        &self.keys[..self.keys.len().min((self.prompt_tokens - 1) / block_tokens)]
    }

    /// Answer tokens so far.
    pub fn output_tokens(&self) -> usize {
        self.tokens.len() - self.prompt_tokens
    }

    /// Draws the next token from its logits.
    pub fn draw(&mut self, logits: &[f32], vocabulary: &Vocabulary, eos: &[u32]) -> Step {
        self.first_token.get_or_insert_with(Instant::now);
        let remaining = self.max_tokens - self.output_tokens();
        let may_end = match &mut self.shape {
            Some(shape) => {
                shape.set_remaining(remaining);
                shape.may_end()
            }
            None => true,
        };
        let Some(token) = self.choose(logits, vocabulary, eos, may_end) else { return Step::Stuck };
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

    /// The next token within the shape; outside a model's phrases only where they have no way on.
    fn choose(&mut self, logits: &[f32], vocabulary: &Vocabulary, eos: &[u32], may_end: bool) -> Option<u32> {
        loop {
            let shape = &mut self.shape;
            let chosen = self.sampler.choose(logits, |token| {
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
            });
            if chosen.is_some() || !self.shape.as_mut().is_some_and(Shape::relax) {
                return chosen;
            }
        }
    }

    /// Offers new text to the reader. What a full channel refuses is offered again later.
    pub fn stream(&mut self) {
        let Some(pieces) = &self.pieces else { return };
        let ready = self.text.ready();
        if ready.is_empty() {
            return;
        }
        match pieces.try_send(ready.to_string()) {
            Ok(()) => self.text.take(),
            Err(tokio::sync::mpsc::error::TrySendError::Full(_)) => {}
            Err(tokio::sync::mpsc::error::TrySendError::Closed(_)) => self.pieces = None,
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

    /// Ends the sequence and answers the caller.
    pub fn finish(mut self, outcome: Result<Finish, GenerateError>) -> Option<Receipt> {
        self.text.finish();
        self.stream();
        let now = Instant::now();
        let admitted = self.admitted.unwrap_or(now);
        let ms = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64() * 1e3;
        let receipt = Receipt {
            prompt_tokens: self.prompt_tokens as u64,
            cached_tokens: self.cached_tokens as u64,
            output_tokens: self.output_tokens() as u64,
            queue_ms: ms(self.submitted, admitted),
            first_token_ms: ms(admitted, self.first_token.unwrap_or(now)),
            total_ms: ms(admitted, now),
        };
        let text = self.text.text().to_string();
        let done = outcome.map(|finish| Completion { text, finish, receipt });
        let receipt = done.is_ok().then_some(receipt);
        // The pieces' channel closes before the answer arrives, so a reader sees its end.
        self.pieces = None;
        // A caller that is gone does not want the answer.
        let _ = self.reply.send(done);
        receipt
    }
}

/// What the engine keeps besides sequences: names shared by all of them.
#[derive(Clone)]
pub(crate) struct Language {
    pub vocabulary: Arc<Vocabulary>,
    pub eos: Arc<[u32]>,
    pub phrases: Option<Arc<PhraseBook>>,
}
