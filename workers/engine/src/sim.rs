//! A runner without a model: it remembers which token was written where, and its logits are a
//! digest of the context read back through the block table. A wrong block changes the answer.

use std::collections::HashSet;
use std::sync::mpsc::Receiver;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::kv::KvShape;
use crate::kv::pool::BlockId;
use crate::model::decoder::{Logits, Span};
use crate::runner::Runner;

pub(crate) struct SimRunner {
    pub vocab: usize,
    pub block_tokens: usize,
    /// Each step waits for a message; a closed channel lets all steps pass.
    pub gate: Option<Receiver<()>>,
    /// Steps whose spans hold this token panic.
    pub panic_on: Option<u32>,
    /// By block: digest of the context up to and including each slot.
    slots: Vec<Vec<u64>>,
    /// Blocks written in part, by sequences that have not left.
    begun: HashSet<BlockId>,
}

impl SimRunner {
    pub fn new(vocab: usize, block_tokens: usize) -> Self {
        Self { vocab, block_tokens, gate: None, panic_on: None, slots: Vec::new(), begun: HashSet::new() }
    }

    /// Blocks that somebody will go on with.
    pub fn begun(&self) -> usize {
        self.begun.len()
    }

    /// Notes which blocks `span` ends and begins.
    fn note(&mut self, span: &Span) {
        let (bt, end) = (self.block_tokens, span.start + span.tokens.len());
        let goes_on = !span.start.is_multiple_of(bt);
        let first = span.blocks[span.start / bt];
        assert!(!goes_on || self.begun.remove(&first), "{first:?} goes on and has no beginning");
        if !end.is_multiple_of(bt) {
            self.begun.insert(span.blocks[end / bt]);
        }
    }

    fn slot(&mut self, blocks: &[BlockId], at: usize) -> &mut u64 {
        let block = blocks[at / self.block_tokens].0 as usize;
        if self.slots.len() <= block {
            self.slots.resize(block + 1, Vec::new());
        }
        self.slots[block].resize(self.block_tokens, 0);
        &mut self.slots[block][at % self.block_tokens]
    }
}

fn mix(before: u64, token: u32) -> u64 {
    let x = (before ^ u64::from(token)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn logits(ends: impl Iterator<Item = u64>, vocab: usize) -> impl Iterator<Item = f32> {
    // The end of each block counts by itself, or a block that was swapped later would not show.
    let seed = ends.fold(0, |sum, end| mix(sum ^ end, 0));
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..vocab).map(move |_| rng.random::<f32>() * 8.0)
}

/// The logits behind `context`, without any blocks.
pub(crate) fn expected_logits(context: &[u32], block_tokens: usize, vocab: usize) -> Vec<f32> {
    let mut digest = 0;
    let mut ends = Vec::new();
    for (i, token) in context.iter().enumerate() {
        digest = mix(digest, *token);
        if (i + 1) % block_tokens == 0 || i + 1 == context.len() {
            ends.push(digest);
        }
    }
    logits(ends.into_iter(), vocab).collect()
}

impl Runner for SimRunner {
    fn run(&mut self, spans: &[Span]) -> Result<Vec<f32>, String> {
        if let Some(gate) = &self.gate {
            let _ = gate.recv();
        }
        let mut out = Vec::new();
        let bt = self.block_tokens;
        for span in spans {
            assert!(!span.tokens.iter().any(|t| Some(*t) == self.panic_on), "asked to");
            for (i, token) in span.tokens.iter().enumerate() {
                let at = span.start + i;
                let before = if at == 0 { 0 } else { *self.slot(&span.blocks, at - 1) };
                *self.slot(&span.blocks, at) = mix(before, *token);
            }
            self.note(span);
            if span.logits == Logits::None {
                continue;
            }
            let len = span.start + span.tokens.len();
            let mut ends = Vec::new();
            for block in 0..len.div_ceil(bt) {
                ends.push(*self.slot(&span.blocks, ((block + 1) * bt).min(len) - 1));
            }
            out.extend(logits(ends.into_iter(), self.vocab));
        }
        Ok(out)
    }

    fn vocab(&self) -> usize {
        self.vocab
    }

    fn kv_shape(&self) -> KvShape {
        // Two words for each token's digest.
        KvShape { layers: 1, kv_heads: 1, head_dim: 1, block_tokens: self.block_tokens }
    }

    fn leave(&mut self, blocks: &[BlockId]) {
        blocks.iter().for_each(|block| {
            self.begun.remove(block);
        });
    }

    fn export(&mut self, block: BlockId, out: &mut Vec<f32>) {
        out.clear();
        let words = |digest: &u64| [*digest as u32, (*digest >> 32) as u32];
        let slots = self.slots.get(block.0 as usize).map_or(&[][..], Vec::as_slice);
        out.extend(slots.iter().flat_map(words).map(f32::from_bits));
    }

    fn import(&mut self, block: BlockId, values: &[f32]) {
        let at = block.0 as usize;
        if self.slots.len() <= at {
            self.slots.resize(at + 1, Vec::new());
        }
        let digest = |w: &[f32; 2]| u64::from(w[0].to_bits()) | u64::from(w[1].to_bits()) << 32;
        self.slots[at] = values.as_chunks::<2>().0.iter().map(digest).collect();
    }
}
