//! Weights from safetensors, file or memory, and the names of tensors.
//!
//! Tensors are read one at a time and widened to `f32` once: half precision would be widened
//! again on every product. Each byte read also enters the fingerprint. Called by `decoder`.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{Cursor, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use safetensors::tensor::{Dtype, Metadata};

use super::linear::{Embedding, Linear};
use crate::open::OpenError;

/// Largest header of a safetensors file, bytes; the format's own limit.
const HEADER_BYTES_MAX: u64 = 100_000_000;

/// A tensor of one layer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Part {
    AttnNorm,
    Q,
    K,
    V,
    O,
    QNorm,
    KNorm,
    MlpNorm,
    Gate,
    Up,
    Down,
}

/// A tensor of the model, in the reader's own naming.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Name {
    Embedding,
    FinalNorm,
    Output,
    Layer(usize, Part),
}

/// Where weights come from.
pub(crate) trait Source {
    /// A vector of `len` floats, or `None` when there is no such tensor.
    fn vector(&mut self, name: Name, bias: bool, len: usize) -> Result<Option<Vec<f32>>, OpenError>;
    /// A linear layer with its bias where there is one.
    fn linear(&mut self, name: Name, outputs: usize, inputs: usize) -> Result<Option<Linear>, OpenError>;
    /// The values of a matrix `[outputs, inputs]`, whatever the precision in which it is stored.
    #[cfg(any(test, feature = "cuda"))]
    fn matrix(&mut self, name: Name, outputs: usize, inputs: usize) -> Result<Option<Vec<f32>>, OpenError>;
    /// The embedding and, when asked for, the output layer that shares its weights.
    fn embedding(
        &mut self,
        vocab: usize,
        hidden: usize,
        tied: bool,
    ) -> Result<(Embedding, Option<Linear>), OpenError>;
    /// The error for a tensor that must be there.
    fn missing(&self, name: Name, shape: &[usize]) -> OpenError;
    /// blake3 over all bytes read so far.
    fn fingerprint(&self) -> blake3::Hash;
}

trait ReadSeek: Read + Seek {}
impl<T: Read + Seek> ReadSeek for T {}

struct Shard<'a> {
    file: String,
    reader: Box<dyn ReadSeek + 'a>,
    metadata: Metadata,
    data_start: u64,
}

impl<'a> Shard<'a> {
    fn open(file: String, mut reader: Box<dyn ReadSeek + 'a>) -> Result<Self, OpenError> {
        let unreadable = |e: std::io::Error| OpenError::Read { file: file.clone(), source: e };
        let mut head = [0; 8];
        reader.read_exact(&mut head).map_err(unreadable)?;
        let header_len = u64::from_le_bytes(head);
        if header_len > HEADER_BYTES_MAX {
            return Err(OpenError::field(&file, "header", format!("{header_len} bytes is too large")));
        }
        let mut header = vec![0; header_len as usize];
        reader.read_exact(&mut header).map_err(unreadable)?;
        let metadata =
            serde_json::from_slice(&header).map_err(|e| OpenError::field(&file, "header", e.to_string()))?;
        Ok(Self { file, reader, metadata, data_start: 8 + header_len })
    }
}

/// Tensors of one or several safetensors files.
pub(crate) struct SafetensorsSource<'a> {
    shards: Vec<Shard<'a>>,
    by_name: HashMap<String, usize>,
    hasher: blake3::Hasher,
    precision: Option<Dtype>,
}

impl<'a> SafetensorsSource<'a> {
    /// One file in memory.
    ///
    /// # Errors
    /// A malformed header.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, OpenError> {
        Ok(Self::new(vec![Shard::open("model.safetensors".into(), Box::new(Cursor::new(bytes)))?]))
    }

    /// `model.safetensors`, or the shards that `model.safetensors.index.json` names.
    ///
    /// # Errors
    /// A missing or malformed file.
    pub fn from_directory(directory: &Path) -> Result<Self, OpenError> {
        let index = directory.join("model.safetensors.index.json");
        let files: Vec<String> = if index.exists() {
            let name = "model.safetensors.index.json";
            #[derive(serde::Deserialize)]
            struct ShardIndex {
                weight_map: BTreeMap<String, String>,
            }
            let bytes = crate::open::read(&index)?;
            let parsed: ShardIndex = serde_json::from_slice(&bytes)
                .map_err(|e| OpenError::field(name, "weight_map", e.to_string()))?;
            let mut files: Vec<_> = parsed.weight_map.into_values().collect();
            files.sort();
            files.dedup();
            if let Some(file) = files.iter().find(|f| f.contains(['/', '\\']) || f.starts_with("..")) {
                return Err(OpenError::field(
                    name,
                    "weight_map",
                    format!("`{file}` is not a plain file name"),
                ));
            }
            files
        } else {
            vec!["model.safetensors".into()]
        };
        let mut shards = Vec::new();
        for file in files {
            let path = directory.join(&file);
            let shown = path.display().to_string();
            let handle = File::open(&path).map_err(|e| OpenError::io(&shown, e))?;
            shards.push(Shard::open(shown, Box::new(handle))?);
        }
        Ok(Self::new(shards))
    }

    fn new(shards: Vec<Shard<'a>>) -> Self {
        let mut by_name = HashMap::new();
        for (i, shard) in shards.iter().enumerate() {
            by_name.extend(shard.metadata.tensors().into_keys().map(|name| (name, i)));
        }
        Self { shards, by_name, hasher: blake3::Hasher::new(), precision: None }
    }

    /// Precision of the first matrix read, for example `f16`.
    pub fn precision(&self) -> String {
        self.precision.map(|dtype| format!("{dtype:?}").to_lowercase()).unwrap_or_default()
    }

    fn read(&mut self, name: &str, shape: &[usize]) -> Result<Option<Vec<f32>>, OpenError> {
        let Some(&shard) = self.by_name.get(name) else { return Ok(None) };
        let shard = &mut self.shards[shard];
        let Some(info) = shard.metadata.info(name) else { return Ok(None) };
        let fail =
            |reason: String| OpenError::Tensor { file: shard.file.clone(), name: name.to_string(), reason };
        if info.shape != shape {
            return Err(fail(format!("expected shape {shape:?}, found {:?}", info.shape)));
        }
        let (from, to) = info.data_offsets;
        let dtype = info.dtype;
        self.precision.get_or_insert(dtype);
        let expected = shape.iter().product::<usize>().checked_mul(bytes_of(dtype).unwrap_or(0));
        if bytes_of(dtype).is_some() && to.checked_sub(from) != expected {
            return Err(fail("its offsets do not fit its shape".into()));
        }
        let mut bytes = vec![0; to.saturating_sub(from)];
        let start = SeekFrom::Start(shard.data_start + from as u64);
        let read = shard.reader.seek(start).and_then(|_| shard.reader.read_exact(&mut bytes));
        read.map_err(|e| OpenError::Read { file: shard.file.clone(), source: e })?;
        self.hasher.update(name.as_bytes());
        self.hasher.update(&bytes);
        widen(&bytes, dtype).map(Some).ok_or_else(|| {
            let reason = format!("precision {dtype:?} is not supported, only F32, F16 and BF16");
            OpenError::Tensor { file: self.shards[0].file.clone(), name: name.to_string(), reason }
        })
    }
}

fn bytes_of(dtype: Dtype) -> Option<usize> {
    match dtype {
        Dtype::F32 => Some(4),
        Dtype::F16 | Dtype::BF16 => Some(2),
        _ => None,
    }
}

fn widen(bytes: &[u8], dtype: Dtype) -> Option<Vec<f32>> {
    let pair = |b: &[u8]| [b[0], b[1]];
    match dtype {
        Dtype::F32 => {
            Some(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect())
        }
        Dtype::F16 => {
            Some(bytes.chunks_exact(2).map(|b| half::f16::from_le_bytes(pair(b)).to_f32()).collect())
        }
        Dtype::BF16 => {
            Some(bytes.chunks_exact(2).map(|b| half::bf16::from_le_bytes(pair(b)).to_f32()).collect())
        }
        _ => None,
    }
}

/// Name in Hugging Face checkpoints, without `.weight` or `.bias`.
fn checkpoint_name(name: Name) -> String {
    match name {
        Name::Embedding => "model.embed_tokens".into(),
        Name::FinalNorm => "model.norm".into(),
        Name::Output => "lm_head".into(),
        Name::Layer(layer, part) => {
            let part = match part {
                Part::AttnNorm => "input_layernorm",
                Part::Q => "self_attn.q_proj",
                Part::K => "self_attn.k_proj",
                Part::V => "self_attn.v_proj",
                Part::O => "self_attn.o_proj",
                Part::QNorm => "self_attn.q_norm",
                Part::KNorm => "self_attn.k_norm",
                Part::MlpNorm => "post_attention_layernorm",
                Part::Gate => "mlp.gate_proj",
                Part::Up => "mlp.up_proj",
                Part::Down => "mlp.down_proj",
            };
            format!("model.layers.{layer}.{part}")
        }
    }
}

impl Source for SafetensorsSource<'_> {
    fn vector(&mut self, name: Name, bias: bool, len: usize) -> Result<Option<Vec<f32>>, OpenError> {
        let suffix = if bias { "bias" } else { "weight" };
        self.read(&format!("{}.{suffix}", checkpoint_name(name)), &[len])
    }

    fn linear(&mut self, name: Name, outputs: usize, inputs: usize) -> Result<Option<Linear>, OpenError> {
        let weight = self.read(&format!("{}.weight", checkpoint_name(name)), &[outputs, inputs])?;
        let Some(weight) = weight else { return Ok(None) };
        let bias = self.vector(name, true, outputs)?;
        Ok(Some(Linear::dense(Arc::new(weight), bias, inputs)))
    }

    #[cfg(any(test, feature = "cuda"))]
    fn matrix(&mut self, name: Name, outputs: usize, inputs: usize) -> Result<Option<Vec<f32>>, OpenError> {
        self.read(&format!("{}.weight", checkpoint_name(name)), &[outputs, inputs])
    }

    fn embedding(
        &mut self,
        vocab: usize,
        hidden: usize,
        tied: bool,
    ) -> Result<(Embedding, Option<Linear>), OpenError> {
        let name = format!("{}.weight", checkpoint_name(Name::Embedding));
        let table = self.read(&name, &[vocab, hidden])?;
        let table = Arc::new(table.ok_or_else(|| self.missing(Name::Embedding, &[vocab, hidden]))?);
        let output = tied.then(|| Linear::dense(table.clone(), None, hidden));
        Ok((Embedding::F32(table), output))
    }

    fn missing(&self, name: Name, shape: &[usize]) -> OpenError {
        let file = self.shards.first().map(|s| s.file.clone()).unwrap_or_default();
        let name = format!("{}.weight", checkpoint_name(name));
        OpenError::Tensor { file, name, reason: format!("missing; expected shape {shape:?}") }
    }

    fn fingerprint(&self) -> blake3::Hash {
        self.hasher.finalize()
    }
}
