//! GGUF files: configuration, tokenizer and weights in one.
//!
//! Floating tensors become dense `f32` layers, quantised ones stay quantised. Rows of `q` and `k`
//! in files of architecture `llama` are permuted for rotation of adjacent pairs, which
//! `RopePairs::Adjacent` undoes. Opened by `local`.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use candle_core::quantized::gguf_file::{Content, Value};
use candle_core::quantized::{GgmlDType, QTensor};
use serde_json::json;

use super::config::{Architecture, ModelConfig};
use super::linear::{Embedding, Linear};
use super::rope::{RopePairs, RopeScaling};
use super::weights::{Name, Part, Source};
use crate::chat::Chat;
use crate::checkpoint::Parts;
use crate::open::OpenError;
use crate::vocabulary::Vocabulary;

/// An open GGUF file.
pub(crate) struct GgufFile {
    file: String,
    name: String,
    content: Content,
    reader: BufReader<File>,
    hasher: blake3::Hasher,
}

impl GgufFile {
    /// Reads the header.
    ///
    /// # Errors
    /// A missing or malformed file.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let file = path.display().to_string();
        let handle = File::open(path).map_err(|e| OpenError::io(&file, e))?;
        let mut reader = BufReader::new(handle);
        let content = Content::read(&mut reader)
            .map_err(|e| OpenError::field(&file, "header", format!("not a readable GGUF file: {e}")))?;
        let name = path.file_stem().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        Ok(Self { file, name, content, reader, hasher: blake3::Hasher::new() })
    }

    fn fail(&self, field: &str, reason: impl Into<String>) -> OpenError {
        OpenError::field(&self.file, field, reason.into())
    }

    fn text(&self, field: &str) -> Option<&str> {
        self.content.metadata.get(field)?.to_string().ok().map(String::as_str)
    }

    fn list(&self, field: &str) -> Option<&[Value]> {
        self.content.metadata.get(field)?.to_vec().ok().map(Vec::as_slice)
    }

    fn size(&self, field: &str) -> Result<usize, OpenError> {
        match self.content.metadata.get(field).and_then(number) {
            Some(n) if n > 0 => Ok(n as usize),
            _ => Err(self.fail(field, "missing or not a positive number")),
        }
    }

    fn float(&self, field: &str) -> Option<f32> {
        self.content.metadata.get(field)?.to_f32().ok()
    }

    /// Bytes of all tensors as they will lie in memory.
    pub fn tensor_bytes(&self) -> u64 {
        let bytes = |info: &candle_core::quantized::gguf_file::TensorInfo| {
            let elements = info.shape.elem_count() as u64;
            let (block, size) = (info.ggml_dtype.block_size() as u64, info.ggml_dtype.type_size() as u64);
            match info.ggml_dtype {
                dtype if is_float(dtype) => elements * 4,
                // Packing unpacks its scales.
                GgmlDType::Q4K => elements / block * (size + 4),
                _ => elements / block * size,
            }
        };
        self.content.tensor_infos.values().map(bytes).sum()
    }

    /// Shape of the model.
    ///
    /// # Errors
    /// A missing or unsupported metadata field.
    pub fn config(&mut self) -> Result<ModelConfig, OpenError> {
        let field = "general.architecture";
        let name = self.text(field).ok_or_else(|| self.fail(field, "missing"))?.to_string();
        let architecture = Architecture::parse(&name).ok_or_else(|| {
            self.fail(field, format!("`{name}` is not supported, only llama, qwen2 and qwen3"))
        })?;
        let key = |suffix: &str| format!("{name}.{suffix}");
        let (hidden, heads) =
            (self.size(&key("embedding_length"))?, self.size(&key("attention.head_count"))?);
        let head_dim = self.size(&key("attention.key_length")).unwrap_or(hidden / heads);
        let embedding = self.content.tensor_infos.get("token_embd.weight");
        let vocab = embedding.map_or(0, |info| info.shape.dims().first().copied().unwrap_or(0));
        let eos = ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"];
        let eos = eos.iter().filter_map(|f| self.content.metadata.get(*f).and_then(number)).map(|n| n as u32);
        let config = ModelConfig {
            architecture,
            hidden,
            intermediate: self.size(&key("feed_forward_length"))?,
            layers: self.size(&key("block_count"))?,
            heads,
            kv_heads: self.size(&key("attention.head_count_kv")).unwrap_or(heads),
            head_dim,
            vocab,
            context: self.size(&key("context_length"))?,
            rms_eps: self.float(&key("attention.layer_norm_rms_epsilon")).unwrap_or(1e-6),
            rope_theta: self.float(&key("rope.freq_base")).unwrap_or(10_000.0),
            rope_scaling: RopeScaling::None,
            rope_pairs: if name == "llama" { RopePairs::Adjacent } else { RopePairs::Halves },
            tied: !self.content.tensor_infos.contains_key("output.weight"),
            eos: eos.collect(),
        };
        let rope_scaling = self.rope_scaling(&name, head_dim)?;
        ModelConfig { rope_scaling, ..config }.checked(&self.file)
    }

    fn rope_scaling(&mut self, name: &str, head_dim: usize) -> Result<RopeScaling, OpenError> {
        if let Some(factors) = self.dense("rope_freqs.weight", &[head_dim / 2])? {
            return Ok(RopeScaling::Factors(factors));
        }
        let field = format!("{name}.rope.scaling.type");
        match self.text(&field) {
            None | Some("none") => Ok(RopeScaling::None),
            Some("linear") => {
                let factor = self.float(&format!("{name}.rope.scaling.factor")).unwrap_or(1.0);
                Ok(RopeScaling::Linear { factor })
            }
            Some(other) => Err(self.fail(&field, format!("`{other}` is not supported"))),
        }
    }

    /// Tokenizer and chat template.
    ///
    /// # Errors
    /// A missing field, or a tokenizer of another kind than byte-level BPE.
    pub fn parts(&self) -> Result<Parts, OpenError> {
        let json = self.tokenizer_json()?;
        let vocabulary = Vocabulary::from_json(json.to_string().as_bytes())?;
        let field = "tokenizer.chat_template";
        let template = self.text(field).ok_or_else(|| self.fail(field, "missing"))?;
        let tokens = self.list("tokenizer.ggml.tokens").unwrap_or(&[]);
        let special = |field: &str| {
            let id = self.content.metadata.get(field).and_then(number);
            id.and_then(|id| tokens.get(id as usize)?.to_string().ok().cloned()).unwrap_or_default()
        };
        let (bos, eos) = (special("tokenizer.ggml.bos_token_id"), special("tokenizer.ggml.eos_token_id"));
        let chat = Chat::new(template, bos, eos)?;
        let fingerprint = vocabulary.fingerprint();
        let precision = self.precision();
        // Other ends of an answer that models of these families were trained with.
        let ends = ["<|im_end|>", "<|eot_id|>", "<|end_of_text|>", "<|endoftext|>", "<|end|>"];
        let ids = ["tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"];
        let ids = ids.iter().filter_map(|f| self.content.metadata.get(*f).and_then(number)).map(|n| n as u32);
        let eos = ids.chain(ends.iter().filter_map(|t| vocabulary.id(t))).collect();
        Ok(Parts { name: self.name.clone(), precision, vocabulary, chat, eos, fingerprint, phrases: None })
    }

    /// Precision of the first layer's widest matrix.
    fn precision(&self) -> String {
        let info = self.content.tensor_infos.get("blk.0.ffn_up.weight");
        info.map(|i| format!("{:?}", i.ggml_dtype).to_lowercase()).unwrap_or_default()
    }

    /// The metadata as a `tokenizer.json`.
    fn tokenizer_json(&self) -> Result<serde_json::Value, OpenError> {
        let model = self.text("tokenizer.ggml.model").unwrap_or("");
        if model != "gpt2" {
            let reason = format!("`{model}` is not supported, only `gpt2` (byte-level BPE)");
            return Err(self.fail("tokenizer.ggml.model", reason));
        }
        let strings = |field: &str| -> Result<Vec<String>, OpenError> {
            let list = self.list(field).ok_or_else(|| self.fail(field, "missing"))?;
            list.iter().map(|v| v.to_string().cloned().map_err(|e| self.fail(field, e.to_string()))).collect()
        };
        let tokens = strings("tokenizer.ggml.tokens")?;
        let merges: Vec<serde_json::Value> = strings("tokenizer.ggml.merges")?
            .iter()
            .filter_map(|merge| merge.split_once(' '))
            .map(|(a, b)| json!([a, b]))
            .collect();
        let kinds = self.list("tokenizer.ggml.token_type").unwrap_or(&[]);
        // 3 is a control token, 4 one that users defined.
        let added: Vec<serde_json::Value> = tokens
            .iter()
            .zip(kinds)
            .enumerate()
            .filter_map(|(id, (token, kind))| {
                let kind = number(kind).filter(|kind| matches!(kind, 3 | 4))?;
                Some(json!({"id": id, "content": token, "special": kind == 3, "single_word": false,
                    "lstrip": false, "rstrip": false, "normalized": false}))
            })
            .collect();
        let vocab: serde_json::Map<String, serde_json::Value> =
            tokens.iter().enumerate().map(|(id, token)| (token.clone(), json!(id))).collect();
        let pattern = split_pattern(self.text("tokenizer.ggml.pre").unwrap_or("default"));
        let ignore_merges = self.text("tokenizer.ggml.pre") == Some("llama-bpe");
        Ok(json!({
            "version": "1.0",
            "added_tokens": added,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false},
                {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
            ]},
            "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false},
            "model": {"type": "BPE", "vocab": vocab, "merges": merges, "ignore_merges": ignore_merges},
        }))
    }

    fn tensor(&mut self, name: &str, shape: &[usize]) -> Result<Option<QTensor>, OpenError> {
        let Some(info) = self.content.tensor_infos.get(name) else { return Ok(None) };
        let fail =
            |reason: String| OpenError::Tensor { file: self.file.clone(), name: name.to_string(), reason };
        if info.shape.dims() != shape {
            return Err(fail(format!("expected shape {shape:?}, found {:?}", info.shape.dims())));
        }
        let tensor =
            self.content.tensor(&mut self.reader, name, &Device::Cpu).map_err(|e| fail(e.to_string()))?;
        self.hasher.update(name.as_bytes());
        self.hasher.update(&tensor.data().map_err(|e| fail(e.to_string()))?);
        Ok(Some(tensor))
    }

    fn dense(&mut self, name: &str, shape: &[usize]) -> Result<Option<Vec<f32>>, OpenError> {
        let Some(tensor) = self.tensor(name, shape)? else { return Ok(None) };
        let values = tensor.dequantize(&Device::Cpu).and_then(|t| t.flatten_all()?.to_vec1());
        values.map(Some).map_err(|e| self.tensor_error(name, &e))
    }

    fn tensor_error(&self, name: &str, error: &candle_core::Error) -> OpenError {
        OpenError::Tensor { file: self.file.clone(), name: name.into(), reason: error.to_string() }
    }
}

fn is_float(dtype: GgmlDType) -> bool {
    matches!(dtype, GgmlDType::F32 | GgmlDType::F16 | GgmlDType::BF16)
}

/// An integer of whatever width.
fn number(value: &Value) -> Option<u64> {
    match value {
        Value::U8(n) => Some(u64::from(*n)),
        Value::U16(n) => Some(u64::from(*n)),
        Value::U32(n) => Some(u64::from(*n)),
        Value::U64(n) => Some(*n),
        Value::I8(n) => u64::try_from(*n).ok(),
        Value::I16(n) => u64::try_from(*n).ok(),
        Value::I32(n) => u64::try_from(*n).ok(),
        Value::I64(n) => u64::try_from(*n).ok(),
        _ => None,
    }
}

/// How text is cut into words before merging, by the name that files give it.
fn split_pattern(pre: &str) -> &'static str {
    match pre {
        "llama-bpe" | "llama3" => {
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        }
        "qwen2" => {
            r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
        }
        _ => r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    }
}

/// Name in GGUF files, without `.weight` or `.bias`.
pub(crate) fn gguf_name(name: Name) -> String {
    match name {
        Name::Embedding => "token_embd".into(),
        Name::FinalNorm => "output_norm".into(),
        Name::Output => "output".into(),
        Name::Layer(layer, part) => {
            let part = match part {
                Part::AttnNorm => "attn_norm",
                Part::Q => "attn_q",
                Part::K => "attn_k",
                Part::V => "attn_v",
                Part::O => "attn_output",
                Part::QNorm => "attn_q_norm",
                Part::KNorm => "attn_k_norm",
                Part::MlpNorm => "ffn_norm",
                Part::Gate => "ffn_gate",
                Part::Up => "ffn_up",
                Part::Down => "ffn_down",
            };
            format!("blk.{layer}.{part}")
        }
    }
}

impl Source for GgufFile {
    fn vector(&mut self, name: Name, bias: bool, len: usize) -> Result<Option<Vec<f32>>, OpenError> {
        let suffix = if bias { "bias" } else { "weight" };
        self.dense(&format!("{}.{suffix}", gguf_name(name)), &[len])
    }

    fn linear(&mut self, name: Name, outputs: usize, inputs: usize) -> Result<Option<Linear>, OpenError> {
        let bias = self.vector(name, true, outputs)?;
        let name = format!("{}.weight", gguf_name(name));
        let float = self.content.tensor_infos.get(&name).is_some_and(|info| is_float(info.ggml_dtype));
        if float {
            let weight = self.dense(&name, &[outputs, inputs])?;
            return Ok(weight.map(|w| Linear::dense(Arc::new(w), bias, inputs)));
        }
        let Some(tensor) = self.tensor(&name, &[outputs, inputs])? else { return Ok(None) };
        Linear::quantised(Arc::new(tensor), bias).map(Some).map_err(|e| self.tensor_error(&name, &e))
    }

    #[cfg(any(test, feature = "cuda"))]
    fn matrix(&mut self, name: Name, outputs: usize, inputs: usize) -> Result<Option<Vec<f32>>, OpenError> {
        self.dense(&format!("{}.weight", gguf_name(name)), &[outputs, inputs])
    }

    fn embedding(
        &mut self,
        vocab: usize,
        hidden: usize,
        tied: bool,
    ) -> Result<(Embedding, Option<Linear>), OpenError> {
        let name = "token_embd.weight";
        let Some(tensor) = self.tensor(name, &[vocab, hidden])? else {
            return Err(self.missing(Name::Embedding, &[vocab, hidden]));
        };
        if !is_float(tensor.dtype()) {
            return Embedding::quantised(tensor, tied).map_err(|e| self.tensor_error(name, &e));
        }
        let table = tensor.dequantize(&Device::Cpu).and_then(|t| t.flatten_all()?.to_vec1::<f32>());
        let table = Arc::new(table.map_err(|e| self.tensor_error(name, &e))?);
        let output = tied.then(|| Linear::dense(table.clone(), None, hidden));
        Ok((Embedding::F32(table), output))
    }

    fn missing(&self, name: Name, shape: &[usize]) -> OpenError {
        let name = format!("{}.weight", gguf_name(name));
        let reason = format!("missing; expected shape {shape:?}");
        OpenError::Tensor { file: self.file.clone(), name, reason }
    }

    fn fingerprint(&self) -> blake3::Hash {
        self.hasher.finalize()
    }
}
