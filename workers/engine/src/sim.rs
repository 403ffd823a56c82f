//! A runner without a model: it remembers which token was written where, and its logits are a
//! hash of the context read back through the block table. A wrong block changes the answer.

use std::collections::HashMap;
use std::sync::mpsc::Receiver;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

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
    slots: HashMap<(BlockId, usize), u32>,
}

impl SimRunner {
    pub fn new(vocab: usize, block_tokens: usize) -> Self {
        Self { vocab, block_tokens, gate: None, panic_on: None, slots: HashMap::new() }
    }
}

impl Runner for SimRunner {
    fn run(&mut self, spans: &[Span]) -> Result<Vec<f32>, String> {
        if let Some(gate) = &self.gate {
            let _ = gate.recv();
        }
        let mut logits = Vec::new();
        for span in spans {
            assert!(!span.tokens.iter().any(|t| Some(*t) == self.panic_on), "asked to");
            for (i, token) in span.tokens.iter().enumerate() {
                let at = span.start + i;
                self.slots.insert((span.blocks[at / self.block_tokens], at % self.block_tokens), *token);
            }
            if span.logits == Logits::None {
                continue;
            }
            let mut hasher = blake3::Hasher::new();
            for at in 0..span.start + span.tokens.len() {
                let block = span.blocks[at / self.block_tokens];
                hasher.update(&self.slots[&(block, at % self.block_tokens)].to_le_bytes());
            }
            let mut rng = ChaCha8Rng::from_seed(hasher.finalize().into());
            logits.extend((0..self.vocab).map(|_| rng.random::<f32>() * 8.0));
        }
        Ok(logits)
    }

    fn vocab(&self) -> usize {
        self.vocab
    }
}
