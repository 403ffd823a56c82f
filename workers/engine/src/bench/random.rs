//! Models of real shapes with random weights: speed depends on shapes, not on what was learned.

#[cfg(any(test, feature = "cuda"))]
use candle_core::Device;
use candle_core::quantized::{GgmlDType, QTensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::sync::Arc;

use super::precision::{self, Precision};
use crate::model::config::ModelConfig;
use crate::model::linear::{Embedding, Linear};
use crate::model::weights::{Name, Source};
use crate::open::OpenError;
use crate::vocabulary::{Vocabulary, char_of_byte};

/// Values drawn once and read again and again: drawing hundreds of millions takes longer than a
/// benchmark. A prime, so that rows do not repeat in step with their width.
const POOL: usize = 1_000_003;

/// Sizes of a known model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelShape {
    /// Two layers of 64: for tests.
    Tiny,
    /// The shipped model: 4 layers of 192.
    Shipped,
    /// 12 layers of 512, about 50 million parameters.
    Small,
    /// Qwen3-0.6B. Takes 2.4 GB at f32.
    #[serde(rename = "qwen3-0.6b")]
    Qwen3_06b,
    /// Qwen3-4B: for cards. Takes 8 GB at f16.
    #[serde(rename = "qwen3-4b")]
    Qwen3_4b,
}

impl ModelShape {
    /// All shapes.
    pub const ALL: [Self; 5] = [Self::Tiny, Self::Shipped, Self::Small, Self::Qwen3_06b, Self::Qwen3_4b];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tiny => "tiny",
            Self::Shipped => "shipped",
            Self::Small => "small",
            Self::Qwen3_06b => "qwen3-0.6b",
            Self::Qwen3_4b => "qwen3-4b",
        }
    }

    /// The shape of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|shape| shape.name() == name)
    }

    pub(super) fn config(self) -> Result<ModelConfig, OpenError> {
        // Hidden size, inner size, layers, query heads, key heads, head width, vocabulary.
        let (family, [hidden, inner, layers, heads, kv_heads, head_dim, vocab]) = match self {
            Self::Tiny => ("llama", [64, 128, 2, 4, 2, 16, 300]),
            Self::Shipped => ("llama", [192, 512, 4, 6, 2, 32, 3072]),
            Self::Small => ("llama", [512, 1408, 12, 8, 4, 64, 16_000]),
            Self::Qwen3_06b => ("qwen3", [1024, 3072, 28, 16, 8, 128, 151_936]),
            Self::Qwen3_4b => ("qwen3", [2560, 9728, 36, 32, 8, 128, 151_936]),
        };
        let config = json!({
            "model_type": family, "hidden_size": hidden, "intermediate_size": inner,
            "num_hidden_layers": layers, "num_attention_heads": heads, "num_key_value_heads": kv_heads,
            "head_dim": head_dim, "vocab_size": vocab, "tie_word_embeddings": true,
            "max_position_embeddings": 8192, "rms_norm_eps": 1e-6, "rope_theta": 1_000_000.0,
        });
        ModelConfig::from_json(config.to_string().as_bytes())
    }
}

/// Who computes quantised layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kernels {
    /// Kernels of our own, where there are any for format and machine.
    Own,
    /// The library.
    Library,
}

/// Gives each tensor random values.
pub(crate) struct RandomSource {
    pool: Vec<f32>,
    bytes: Vec<u8>,
    at: usize,
    precision: Precision,
    kernels: Kernels,
    layers: usize,
}

impl RandomSource {
    /// Always the same values for one seed; `layers` decides which of them are stored finer.
    pub fn new(seed: u64, precision: Precision, kernels: Kernels, layers: usize) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let pool = (0..POOL).map(|_| rng.random::<f32>() - 0.5).collect();
        let bytes = (0..POOL).map(|_| rng.random()).collect();
        Self { pool, bytes, at: 0, precision, kernels, layers }
    }

    /// Values of a vector: norms near one.
    pub fn vector_values(&mut self, len: usize) -> Vec<f32> {
        self.values(len, 0.1).into_iter().map(|v| 1.0 + v).collect()
    }

    /// Bytes of a quantised matrix `[outputs, inputs]`, and their format.
    pub fn matrix_bytes(&mut self, name: Name, outputs: usize, inputs: usize) -> (Vec<u8>, GgmlDType) {
        let dtype = self.precision.format(name, self.layers, inputs);
        let len = outputs * inputs / dtype.block_size() * dtype.type_size();
        let mut data = Vec::with_capacity(len);
        while data.len() < len {
            let part = (len - data.len()).min(POOL - self.at);
            data.extend_from_slice(&self.bytes[self.at..self.at + part]);
            self.at = (self.at + part) % POOL;
        }
        precision::set_scales(&mut data, dtype, 1.0 / (inputs as f32).sqrt());
        (data, dtype)
    }

    /// Values of a matrix.
    pub fn matrix_values(&mut self, outputs: usize, inputs: usize) -> Vec<f32> {
        self.values(outputs * inputs, 2.0 / (inputs as f32).sqrt())
    }

    fn values(&mut self, len: usize, scale: f32) -> Vec<f32> {
        let mut out = Vec::with_capacity(len);
        while out.len() < len {
            let part = (len - out.len()).min(POOL - self.at);
            out.extend(self.pool[self.at..self.at + part].iter().map(|v| v * scale));
            self.at = (self.at + part) % POOL;
        }
        out
    }

    fn tensor(&mut self, name: Name, outputs: usize, inputs: usize) -> Result<QTensor, OpenError> {
        let (data, dtype) = self.matrix_bytes(name, outputs, inputs);
        precision::tensor(data, dtype, outputs, inputs).map_err(|e| OpenError::Setup(e.to_string()))
    }
}

impl Source for RandomSource {
    fn vector(&mut self, _: Name, bias: bool, len: usize) -> Result<Option<Vec<f32>>, OpenError> {
        Ok((!bias).then(|| self.vector_values(len)))
    }

    fn linear(&mut self, name: Name, outputs: usize, inputs: usize) -> Result<Option<Linear>, OpenError> {
        if self.precision == Precision::F32 {
            let weight = self.matrix_values(outputs, inputs);
            return Ok(Some(Linear::dense(Arc::new(weight), None, inputs)));
        }
        let tensor = Arc::new(self.tensor(name, outputs, inputs)?);
        let layer = match self.kernels {
            Kernels::Own => Linear::quantised(tensor, None),
            Kernels::Library => Linear::library(tensor, None),
        };
        layer.map(Some).map_err(|e| OpenError::Setup(e.to_string()))
    }

    #[cfg(any(test, feature = "cuda"))]
    fn matrix(&mut self, name: Name, outputs: usize, inputs: usize) -> Result<Option<Vec<f32>>, OpenError> {
        if self.precision != Precision::F32 {
            let tensor = self.tensor(name, outputs, inputs)?;
            let values = tensor.dequantize(&Device::Cpu).and_then(|t| t.flatten_all()?.to_vec1());
            return values.map(Some).map_err(|e| OpenError::Setup(e.to_string()));
        }
        Ok(Some(match name {
            Name::Embedding => self.values(outputs * inputs, 1.0 / (inputs as f32).sqrt()),
            _ => self.matrix_values(outputs, inputs),
        }))
    }

    fn embedding(
        &mut self,
        vocab: usize,
        hidden: usize,
        tied: bool,
    ) -> Result<(Embedding, Option<Linear>), OpenError> {
        if self.precision == Precision::F32 {
            let table = Arc::new(self.values(vocab * hidden, 1.0 / (hidden as f32).sqrt()));
            let output = tied.then(|| Linear::dense(table.clone(), None, hidden));
            return Ok((Embedding::F32(table), output));
        }
        let start = self.at;
        let tensor = self.tensor(Name::Embedding, vocab, hidden)?;
        let embedding = Embedding::quantised(tensor, tied && self.kernels == Kernels::Own);
        let (embedding, output) = embedding.map_err(|e| OpenError::Setup(e.to_string()))?;
        if output.is_some() || !tied {
            return Ok((embedding, output));
        }
        self.at = start;
        Ok((embedding, self.linear(Name::Embedding, vocab, hidden)?))
    }

    fn missing(&self, name: Name, shape: &[usize]) -> OpenError {
        OpenError::Setup(format!("no random tensor {name:?} of shape {shape:?}"))
    }

    fn fingerprint(&self) -> blake3::Hash {
        blake3::hash(b"random weights")
    }
}

/// One token per byte, so that a text of plain letters has as many tokens as letters; up to `size` there are others, since a
/// sampler that has to refuse nearly all that a model of random weights draws would be what is measured.
pub(super) fn byte_vocabulary(size: usize) -> Result<Vocabulary, OpenError> {
    let bytes = (0..=255u8).map(|byte| (char_of_byte(byte).to_string(), json!(byte)));
    let others = (256..size).map(|id| (format!("a{id}"), json!(id)));
    let vocab: serde_json::Map<String, serde_json::Value> = bytes.chain(others).collect();
    let level =
        json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null, "added_tokens": [],
        "pre_tokenizer": level, "post_processor": null, "decoder": level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab,
            "merges": []},
    });
    Vocabulary::from_json(tokenizer.to_string().as_bytes())
}
