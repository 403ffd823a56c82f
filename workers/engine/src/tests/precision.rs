//! What it costs to hold keys and values at fewer bits: measured on the shipped model and on the
//! golden ones, against full precision.

use std::path::{Path, PathBuf};

use crate::kv::pool::BlockId;
use crate::kv::precision::KvPrecision;
use crate::kv::{KvShape, KvStore};
use crate::model::config::ModelConfig;
use crate::model::decoder::{Decoder, Logits, Scratch, Span};
use crate::model::threads::Threads;
use crate::model::weights::SafetensorsSource;

/// How far probabilities of the next token move.
#[derive(Debug, Default)]
pub(super) struct Drift {
    divergence: f64,
    same: usize,
    rows: usize,
}

impl Drift {
    /// Takes rows of logits in, exact ones and those they became.
    pub fn compare(&mut self, exact: &[f32], close: &[f32], vocab: usize) {
        let log_sum = |row: &[f32]| row.iter().map(|l| f64::from(*l).exp()).sum::<f64>().ln();
        let best = |row: &[f32]| (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]));
        for (p, q) in exact.chunks_exact(vocab).zip(close.chunks_exact(vocab)) {
            let (of_p, of_q) = (log_sum(p), log_sum(q));
            let logs = p.iter().zip(q).map(|(p, q)| (f64::from(*p) - of_p, f64::from(*q) - of_q));
            self.divergence += logs.map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
            self.same += usize::from(best(p) == best(q));
            self.rows += 1;
        }
    }

    /// Kullback–Leibler divergence, nats, mean of all rows.
    pub fn divergence(&self) -> f64 {
        self.divergence / self.rows as f64
    }

    /// Rows compared.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How often the best token stays the best.
    pub fn same(&self) -> f64 {
        self.same as f64 / self.rows as f64
    }
}

fn load(folder: &Path) -> Decoder {
    let config = ModelConfig::from_json(&std::fs::read(folder.join("config.json")).unwrap()).unwrap();
    Decoder::load(config, &mut SafetensorsSource::from_directory(folder).unwrap()).unwrap()
}

/// Logits from token `first` on, when all tokens are computed in one go.
fn logits(decoder: &Decoder, precision: KvPrecision, tokens: &[u32], first: usize) -> Vec<f32> {
    let c = decoder.config();
    let shape = KvShape { layers: c.layers, kv_heads: c.kv_heads, head_dim: c.head_dim, block_tokens: 16 };
    let blocks: Vec<BlockId> = (0..tokens.len().div_ceil(16) as u32).map(BlockId).collect();
    let mut store = KvStore::new(shape, precision, blocks.len());
    let span = Span { tokens: tokens.to_vec(), start: 0, blocks, logits: Logits::All };
    let out = decoder.forward(&[span], &mut store, &mut Scratch::default(), &Threads::new(1)).unwrap();
    out[first * c.vocab..].to_vec()
}

/// `texts`: prompts with their continuations, and where these begin.
fn check(name: &str, decoder: &Decoder, texts: &[(Vec<u32>, usize)]) {
    let limits = [
        (KvPrecision::F32, 0.0, 1.0),
        (KvPrecision::F16, 1e-5, 0.99),
        (KvPrecision::Bf16, 2e-4, 0.98),
        (KvPrecision::Int8, 0.002, 0.95),
        (KvPrecision::Int4, 0.05, 0.8),
    ];
    for (precision, divergence_max, same_min) in limits {
        let mut drift = Drift::default();
        for (tokens, first) in texts {
            let exact = logits(decoder, KvPrecision::F32, tokens, *first);
            drift.compare(&exact, &logits(decoder, precision, tokens, *first), decoder.config().vocab);
        }
        let (divergence, same) = (drift.divergence(), drift.same());
        println!(
            "{name} {}: divergence {divergence:.2e} nats, best token the same in {:.2} % of {}",
            precision.name(),
            same * 100.0,
            drift.rows
        );
        assert!(divergence <= divergence_max && same >= same_min, "{precision:?}: {divergence} {same}");
    }
}

#[test]
fn fewer_bits_change_the_shipped_model_by_little() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../model");
    if !folder.join("weights/model.safetensors").exists() || !folder.join("golden.json").exists() {
        return println!("skipped: there is no shipped model yet");
    }
    let golden: serde_json::Value =
        serde_json::from_slice(&std::fs::read(folder.join("golden.json")).unwrap()).unwrap();
    let ids = |case: &serde_json::Value, field: &str| -> Vec<u32> {
        case[field].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
    };
    let texts: Vec<(Vec<u32>, usize)> = golden["prompts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|case| {
            let prompt = ids(case, "prompt_ids");
            let first = prompt.len() - 1;
            ([prompt, ids(case, "greedy_ids")].concat(), first)
        })
        .collect();
    check("shipped", &load(&folder.join("weights")), &texts);
}

#[test]
fn fewer_bits_change_the_golden_models_by_little() {
    for name in ["llama", "llama_tied", "llama3_rope", "qwen2_tied", "qwen3"] {
        let folder: PathBuf = super::golden::golden(name);
        let texts: Vec<(Vec<u32>, usize)> = super::golden::expected(&folder.join("expected.safetensors"))
            .into_iter()
            .map(|e| ([e.prompt, e.greedy].concat(), 0))
            .collect();
        check(name, &load(&folder), &texts);
    }
}
