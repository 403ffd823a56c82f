//! Shape of a model, from `config.json` or from GGUF metadata.
//!
//! Invariant: a `ModelConfig` is consistent (divisible heads, known rope); what the decoder
//! cannot compute is refused here, with file and field.

use serde_json::Value;

use super::rope::{RopePairs, RopeScaling};
use crate::open::OpenError;

/// Families the decoder computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Architecture {
    Llama,
    Mistral,
    Qwen2,
    Qwen3,
}

impl Architecture {
    /// Name as in `model_type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }

    /// Parses `model_type` or `general.architecture`.
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "llama" => Some(Self::Llama),
            "mistral" => Some(Self::Mistral),
            "qwen2" => Some(Self::Qwen2),
            "qwen3" => Some(Self::Qwen3),
            _ => None,
        }
    }
}

/// Everything the decoder needs to know besides the weights.
#[derive(Debug, Clone)]
pub(crate) struct ModelConfig {
    pub architecture: Architecture,
    pub hidden: usize,
    pub intermediate: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub vocab: usize,
    pub context: usize,
    pub rms_eps: f32,
    pub rope_theta: f32,
    pub rope_scaling: RopeScaling,
    pub rope_pairs: RopePairs,
    pub tied: bool,
    /// Ends of an answer named by the configuration; the tokenizer may add more.
    pub eos: Vec<u32>,
}

/// Bounds that keep a hostile file from asking for absurd amounts of memory.
const DIMENSION_MAX: usize = 1 << 20;

impl ModelConfig {
    /// Parses a Hugging Face `config.json`.
    ///
    /// # Errors
    /// `OpenError::Field` naming the field that is missing, wrong or unsupported.
    pub fn from_json(bytes: &[u8]) -> Result<Self, OpenError> {
        let json: Value = serde_json::from_slice(bytes)
            .map_err(|e| OpenError::field("config.json", "", format!("not JSON: {e}")))?;
        let fields = Fields(&json);
        let architecture = fields.architecture()?;
        let (hidden, heads) = (fields.size("hidden_size")?, fields.size("num_attention_heads")?);
        let kv_heads = fields.size_or("num_key_value_heads", heads)?;
        let head_dim = fields.size_or("head_dim", hidden / heads)?;
        if let Some(act) = json.get("hidden_act").and_then(Value::as_str)
            && act != "silu"
        {
            return Err(bad("hidden_act", format!("`{act}` is not supported, only `silu`")));
        }
        let mut context = fields.size_or("max_position_embeddings", 2048)?;
        let windowed = match architecture {
            Architecture::Mistral => true,
            Architecture::Llama => false,
            Architecture::Qwen2 | Architecture::Qwen3 => {
                json.get("use_sliding_window").and_then(Value::as_bool).unwrap_or(false)
            }
        };
        // Within its window, sliding attention is full attention.
        if let (true, Some(window)) = (windowed, json.get("sliding_window").and_then(Value::as_u64)) {
            context = context.min(window as usize);
        }
        let (rope_theta, rope_scaling) = fields.rope()?;
        Self {
            architecture,
            hidden,
            intermediate: fields.size("intermediate_size")?,
            layers: fields.size("num_hidden_layers")?,
            heads,
            kv_heads,
            head_dim,
            vocab: fields.size("vocab_size")?,
            context,
            rms_eps: json.get("rms_norm_eps").and_then(Value::as_f64).unwrap_or(1e-6) as f32,
            rope_theta,
            rope_scaling,
            rope_pairs: RopePairs::Halves,
            tied: json.get("tie_word_embeddings").and_then(Value::as_bool).unwrap_or(false),
            eos: token_ids(json.get("eos_token_id")),
        }
        .checked("config.json")
    }

    /// Checks what holds for every source of a configuration.
    ///
    /// # Errors
    /// `OpenError::Field` with `file` as the file.
    pub fn checked(self, file: &str) -> Result<Self, OpenError> {
        let fail = |field: &str, reason: &str| Err(OpenError::field(file, field, reason.into()));
        if !self.heads.is_multiple_of(self.kv_heads) {
            return fail("num_key_value_heads", "does not divide the number of attention heads");
        }
        if self.head_dim == 0 || !self.head_dim.is_multiple_of(2) {
            return fail("head_dim", "must be even and above 0");
        }
        Ok(self)
    }

    /// Weights in all layers, embeddings included.
    pub fn parameters(&self) -> u64 {
        let q = self.heads * self.head_dim;
        let kv = self.kv_heads * self.head_dim;
        let layer = self.hidden * (2 * q + 2 * kv + 3 * self.intermediate + 2);
        let tables = if self.tied { 1 } else { 2 };
        (self.layers * layer + tables * self.vocab * self.hidden + self.hidden) as u64
    }
}

/// One id or a list of ids.
pub(crate) fn token_ids(value: Option<&Value>) -> Vec<u32> {
    match value {
        Some(Value::Array(ids)) => ids.iter().filter_map(Value::as_u64).map(|id| id as u32).collect(),
        Some(value) => value.as_u64().map(|id| id as u32).into_iter().collect(),
        None => Vec::new(),
    }
}

fn bad(field: &str, reason: String) -> OpenError {
    OpenError::field("config.json", field, reason)
}

struct Fields<'a>(&'a Value);

impl Fields<'_> {
    fn architecture(&self) -> Result<Architecture, OpenError> {
        let Some(name) = self.0.get("model_type").and_then(Value::as_str) else {
            return Err(bad("model_type", "missing".into()));
        };
        Architecture::parse(name).ok_or_else(|| {
            bad("model_type", format!("`{name}` is not supported, only llama, mistral, qwen2 and qwen3"))
        })
    }

    fn size(&self, field: &str) -> Result<usize, OpenError> {
        match self.0.get(field).and_then(Value::as_u64) {
            Some(n) if n > 0 && n as usize <= DIMENSION_MAX => Ok(n as usize),
            Some(n) => Err(bad(field, format!("{n} is out of range"))),
            None => Err(bad(field, "missing or not a number".into())),
        }
    }

    fn size_or(&self, field: &str, default: usize) -> Result<usize, OpenError> {
        match self.0.get(field) {
            None | Some(Value::Null) => Ok(default),
            // Contexts may be longer than any other dimension.
            Some(value) if field == "max_position_embeddings" => {
                value.as_u64().map(|n| n as usize).ok_or_else(|| bad(field, "not a number".into()))
            }
            Some(_) => self.size(field),
        }
    }

    /// `rope_theta` and `rope_scaling`, or both inside `rope_parameters` as newer files have it.
    fn rope(&self) -> Result<(f32, RopeScaling), OpenError> {
        let parameters = self.0.get("rope_parameters").filter(|v| v.is_object());
        let scaling = parameters.or_else(|| self.0.get("rope_scaling").filter(|v| v.is_object()));
        let theta = parameters.and_then(|p| p.get("rope_theta")).or_else(|| self.0.get("rope_theta"));
        let theta = theta.and_then(Value::as_f64).unwrap_or(10_000.0) as f32;
        let Some(scaling) = scaling else { return Ok((theta, RopeScaling::None)) };
        let number = |field: &str| {
            let value = scaling.get(field).and_then(Value::as_f64).filter(|v| *v > 0.0);
            value.map(|v| v as f32).ok_or_else(|| {
                bad(&format!("rope_scaling.{field}"), "missing or not a positive number".into())
            })
        };
        let kind = scaling.get("rope_type").or_else(|| scaling.get("type")).and_then(Value::as_str);
        let scaling = match kind {
            None | Some("default") => RopeScaling::None,
            Some("linear") => RopeScaling::Linear { factor: number("factor")? },
            Some("llama3") => RopeScaling::Llama3 {
                factor: number("factor")?,
                low_freq_factor: number("low_freq_factor")?,
                high_freq_factor: number("high_freq_factor")?,
                original_context: number("original_max_position_embeddings")?,
            },
            Some(other) => {
                return Err(bad("rope_scaling.rope_type", format!("`{other}` is not supported")));
            }
        };
        Ok((theta, scaling))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn tiny() -> Value {
        json!({"model_type": "llama", "hidden_size": 8, "num_attention_heads": 4, "num_key_value_heads": 2,
            "intermediate_size": 16, "num_hidden_layers": 1, "vocab_size": 32, "eos_token_id": [1, 2]})
    }

    fn error(change: impl FnOnce(&mut Value)) -> String {
        let mut json = tiny();
        change(&mut json);
        ModelConfig::from_json(json.to_string().as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn defaults_are_filled_in() {
        let config = ModelConfig::from_json(tiny().to_string().as_bytes()).unwrap();
        assert_eq!((config.head_dim, config.kv_heads, config.context), (2, 2, 2048));
        assert_eq!(config.eos, [1, 2]);
    }

    #[test]
    fn faults_name_file_and_field() {
        let text = error(|j| j["model_type"] = json!("gpt2"));
        assert!(
            text.contains("config.json") && text.contains("model_type") && text.contains("gpt2"),
            "{text}"
        );
        assert!(error(|j| j["vocab_size"] = json!(-1)).contains("vocab_size"));
        assert!(error(|j| j["num_key_value_heads"] = json!(3)).contains("num_key_value_heads"));
        assert!(error(|j| j["rope_scaling"] = json!({"rope_type": "yarn"})).contains("yarn"));
        assert!(error(|j| j["hidden_act"] = json!("gelu")).contains("gelu"));
    }

    #[test]
    fn a_sliding_window_limits_the_context() {
        let mut json = tiny();
        json["model_type"] = json!("mistral");
        json["sliding_window"] = json!(64);
        assert_eq!(ModelConfig::from_json(json.to_string().as_bytes()).unwrap().context, 64);
    }
}
