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
    /// Length of a row of logits.
    fn vocab(&self) -> usize;
    /// Layout of a block.
    fn kv_shape(&self) -> KvShape;
    /// Copies a written block into `out`; leaves it empty when nothing was written.
    fn export(&mut self, block: BlockId, out: &mut Vec<f32>);
    /// Writes a block as `export` copied it.
    fn import(&mut self, block: BlockId, values: &[f32]);
}

impl Runner for Box<dyn Runner> {
    fn run(&mut self, spans: &[Span]) -> Result<Vec<f32>, String> {
        (**self).run(spans)
    }

    fn vocab(&self) -> usize {
        (**self).vocab()
    }

    fn kv_shape(&self) -> KvShape {
        (**self).kv_shape()
    }

    fn export(&mut self, block: BlockId, out: &mut Vec<f32>) {
        (**self).export(block, out);
    }

    fn import(&mut self, block: BlockId, values: &[f32]) {
        (**self).import(block, values);
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
        let logits = threads.within(|| decoder.forward(spans, store, scratch, threads));
        logits.map_err(|e| e.to_string())
    }

    fn vocab(&self) -> usize {
        self.decoder.config().vocab
    }

    fn kv_shape(&self) -> KvShape {
        self.store.shape()
    }

    fn export(&mut self, block: BlockId, out: &mut Vec<f32>) {
        self.store.export(block, out);
    }

    fn import(&mut self, block: BlockId, values: &[f32]) {
        self.store.import(block, values);
    }
}
