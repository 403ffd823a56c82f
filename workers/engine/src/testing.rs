//! Small fixtures for this crate's tests: a byte-level vocabulary, a template, random weights.

use std::collections::HashMap;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use crate::job::{Message, Request, Role, Sampling, Scope};
use crate::local::LocalModel;
use crate::open::{EmbeddedModel, EngineOptions, Observed, OpenError};
use crate::vocabulary::{Vocabulary, char_of_byte};

pub(crate) const SPECIAL: [&str; 5] = ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|pad|>"];
pub(crate) const TEMPLATE: &str = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>{% endfor %}\
    {% if add_generation_prompt %}<|assistant|>{% endif %}";

/// 256 bytes, a few merges, five special tokens.
pub(crate) fn tokenizer_json() -> String {
    let mut vocab = serde_json::Map::new();
    for byte in 0..=255u8 {
        vocab.insert(char_of_byte(byte).to_string(), json!(vocab.len()));
    }
    let merges = [["t", "h"], ["th", "e"], ["Ġ", "the"], [".", "Ġ"], ["i", "n"], ["Ċ", "-"]];
    for [a, b] in merges {
        vocab.insert(format!("{a}{b}"), json!(vocab.len()));
    }
    let mut added = Vec::new();
    for token in SPECIAL {
        let id = vocab.len();
        vocab.insert(token.into(), json!(id));
        added.push(json!({"id": id, "content": token, "special": true, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": false}));
    }
    json!({
        "version": "1.0", "truncation": null, "padding": null, "normalizer": null,
        "added_tokens": added,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocab,
            "merges": merges},
    })
    .to_string()
}

pub(crate) fn vocabulary() -> Vocabulary {
    Vocabulary::from_json(tokenizer_json().as_bytes()).unwrap()
}

pub(crate) fn tokenizer_config() -> String {
    json!({"chat_template": TEMPLATE, "eos_token": "<|end|>", "pad_token": "<|pad|>"}).to_string()
}

/// `config.json` of a tiny llama with grouped queries and tied embeddings.
pub(crate) fn config_json() -> Value {
    json!({"model_type": "llama", "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2,
        "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 272, "tie_word_embeddings": true,
        "max_position_embeddings": 1024, "rms_norm_eps": 1e-5, "rope_theta": 10000.0})
}

/// Random weights for [`config_json`].
pub(crate) fn weights(seed: u64) -> Vec<u8> {
    use safetensors::tensor::{Dtype, TensorView};
    let mut shapes: Vec<(String, Vec<usize>)> =
        vec![("model.embed_tokens.weight".into(), vec![272, 32]), ("model.norm.weight".into(), vec![32])];
    for layer in 0..2 {
        for (name, shape) in [
            ("input_layernorm", vec![32]),
            ("post_attention_layernorm", vec![32]),
            ("self_attn.q_proj", vec![32, 32]),
            ("self_attn.k_proj", vec![16, 32]),
            ("self_attn.v_proj", vec![16, 32]),
            ("self_attn.o_proj", vec![32, 32]),
            ("mlp.gate_proj", vec![48, 32]),
            ("mlp.up_proj", vec![48, 32]),
            ("mlp.down_proj", vec![32, 48]),
        ] {
            shapes.push((format!("model.layers.{layer}.{name}.weight"), shape));
        }
    }
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let data: HashMap<String, (Vec<usize>, Vec<u8>)> = shapes
        .into_iter()
        .map(|(name, shape)| {
            let count: usize = shape.iter().product();
            let bytes = (0..count).flat_map(|_| (rng.random::<f32>() * 0.8 - 0.4).to_le_bytes()).collect();
            (name, (shape, bytes))
        })
        .collect();
    let views = data.iter().map(|(name, (shape, bytes))| {
        (name.clone(), TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap())
    });
    safetensors::serialize(views, None).unwrap()
}

/// A local model with random weights.
pub(crate) fn model(options: &EngineOptions) -> LocalModel {
    model_with(options, None)
}

/// The same with metrics.
pub(crate) fn model_with(options: &EngineOptions, registry: Option<&prometheus::Registry>) -> LocalModel {
    open(options, registry).unwrap()
}

/// The same, or why it does not open.
pub(crate) fn open(
    options: &EngineOptions,
    registry: Option<&prometheus::Registry>,
) -> Result<LocalModel, OpenError> {
    let (config, weights) = (config_json().to_string(), weights(7));
    let (tokenizer, tokenizer_config) = (tokenizer_json(), tokenizer_config());
    let files = EmbeddedModel {
        config: config.as_bytes(),
        tokenizer: tokenizer.as_bytes(),
        tokenizer_config: tokenizer_config.as_bytes(),
        weights: &weights,
        phrases: None,
    };
    LocalModel::from_bytes(&files, options, Observed { registry, engine: None })
}

/// A request with a public system message and `text` of tenant `acme`.
pub(crate) fn request(text: &str) -> Request {
    Request {
        id: "r".into(),
        tenant: "acme".into(),
        session: None,
        messages: vec![
            Message {
                role: Role::System,
                text: "You write plain sentences about the data that you are given.".into(),
                scope: Scope::Public,
            },
            Message { role: Role::User, text: text.into(), scope: Scope::Tenant },
        ],
        sampling: Sampling { max_tokens: 24, temperature: 0.8, top_p: 0.95, seed: 1 },
        stop: Vec::new(),
        constraint: None,
        priority: 1,
    }
}
