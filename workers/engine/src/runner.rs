//! From a step's spans to logits. The engine sees only this trait, so scheduling and caching are
//! tested under a runner without a model.

use crate::attn::cpu::Attention;
use crate::kv::pool::BlockId;
use crate::kv::{KvShape, KvStore};
use crate::model::decoder::{Decoder, Scratch, Span};
use crate::model::threads::Threads;

/// Computes steps.
pub(crate) trait Runner: Send {
    /// Logits `[rows, vocab]` of the rows that `spans` want, in their order. Keys and values of
    /// all tokens are written when it returns.
    fn run(&mut self, spans: &[Span]) -> Result<Vec<f32>, String>;
    /// The same for the engine: of rows that want no more, the likeliest tokens may stand for the logits.
    fn step(&mut self, spans: &[Span]) -> Result<Picked, String> {
        self.run(spans).map(Picked::from)
    }
    /// All logits of row `pick` of the last step, where the likeliest tokens were not enough after all.
    fn logits(&mut self, pick: usize) -> Result<Vec<f32>, String> {
        Err(format!("row {pick} of the logits was given already"))
    }
    /// Tokens that a step may have for each one that is right on a CPU: a device takes thousands in the time of hundreds.
    fn step_factor(&self) -> usize {
        1
    }
    /// Length of a row of logits.
    fn vocab(&self) -> usize;
    /// Layout of a block.
    fn kv_shape(&self) -> KvShape;
    /// A sequence with these blocks ends or starts again; what it has begun is not gone on with.
    fn leave(&mut self, _blocks: &[BlockId]) {}
    /// Bytes of blocks that are being filled, where they take memory besides.
    fn tail_bytes(&self) -> usize {
        0
    }
    /// Copies a written block into `out`; leaves it empty when nothing was written.
    fn export(&mut self, block: BlockId, out: &mut Vec<f32>);
    /// Writes a block as `export` copied it.
    fn import(&mut self, block: BlockId, values: &[f32]);
}

impl Runner for Box<dyn Runner> {
    fn run(&mut self, spans: &[Span]) -> Result<Vec<f32>, String> {
        (**self).run(spans)
    }

    fn step(&mut self, spans: &[Span]) -> Result<Picked, String> {
        (**self).step(spans)
    }

    fn logits(&mut self, pick: usize) -> Result<Vec<f32>, String> {
        (**self).logits(pick)
    }

    fn step_factor(&self) -> usize {
        (**self).step_factor()
    }

    fn vocab(&self) -> usize {
        (**self).vocab()
    }

    fn kv_shape(&self) -> KvShape {
        (**self).kv_shape()
    }

    fn leave(&mut self, blocks: &[BlockId]) {
        (**self).leave(blocks);
    }

    fn tail_bytes(&self) -> usize {
        (**self).tail_bytes()
    }

    fn export(&mut self, block: BlockId, out: &mut Vec<f32>) {
        (**self).export(block, out);
    }

    fn import(&mut self, block: BlockId, values: &[f32]) {
        (**self).import(block, values);
    }
}

/// The likeliest tokens of a row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Best {
    /// Logit and token, the best first, lower tokens first among equals.
    pub tokens: Vec<(f32, u32)>,
    /// Sum over all tokens of e^((logit - largest) / temperature).
    pub mass: f32,
    /// There are no others.
    pub is_all: bool,
}

/// What a step found of the rows that wanted logits.
#[derive(Debug, Default)]
pub(crate) struct Picked {
    /// The best of each row; `None` where the whole row is among `logits`. Empty when all are.
    pub best: Vec<Option<Best>>,
    /// Whole rows, one behind the other.
    pub logits: Vec<f32>,
}

impl From<Vec<f32>> for Picked {
    fn from(logits: Vec<f32>) -> Self {
        Self { best: Vec::new(), logits }
    }
}

/// One row of them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Row<'a> {
    Whole(&'a [f32]),
    Best(&'a Best),
}

impl Picked {
    /// The rows in their order.
    pub fn rows(&self, vocab: usize) -> impl Iterator<Item = Row<'_>> {
        let mut whole = self.logits.chunks_exact(vocab);
        let mut best = self.best.iter();
        std::iter::from_fn(move || match best.next() {
            Some(Some(best)) => Some(Row::Best(best)),
            _ => whole.next().map(Row::Whole),
        })
    }
}

/// The model on this machine's CPU.
pub(crate) struct ModelRunner {
    decoder: Decoder,
    store: KvStore,
    scratch: Scratch,
    threads: Threads,
}

impl ModelRunner {
    /// `store` must have the decoder's layout.
    pub fn new(decoder: Decoder, store: KvStore, attention: Attention, threads: Threads) -> Self {
        Self { decoder, store, scratch: Scratch::new(attention), threads }
    }
}

impl Runner for ModelRunner {
    fn run(&mut self, spans: &[Span]) -> Result<Vec<f32>, String> {
        let Self { decoder, store, scratch, threads } = self;
        decoder.forward(spans, store, scratch, threads).map_err(|e| e.to_string())
    }

    fn vocab(&self) -> usize {
        self.decoder.config().vocab
    }

    fn kv_shape(&self) -> KvShape {
        self.store.shape()
    }

    fn leave(&mut self, blocks: &[BlockId]) {
        self.store.leave(blocks);
    }

    fn tail_bytes(&self) -> usize {
        self.store.tail_bytes()
    }

    fn export(&mut self, block: BlockId, out: &mut Vec<f32>) {
        self.store.export(block, out);
    }

    fn import(&mut self, block: BlockId, values: &[f32]) {
        self.store.import(block, values);
    }
}
