//! From the files of a checkpoint to a decoder and what belongs to it.
//!
//! The same for a directory, for bytes in memory and for a GGUF file; the memory budget is
//! checked before weights are read. Called by `local`.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::chat::Chat;
use crate::compute::{Loaded, Place};
use crate::constraint::PhraseBook;
use crate::engine::TIMES;
use crate::kv::KvShape;
use crate::model::config::{ModelConfig, token_ids};
use crate::model::gguf::GgufFile;
use crate::model::weights::{SafetensorsSource, Source};
use crate::open::{EngineOptions, OpenError, read};
use crate::vocabulary::Vocabulary;

const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const PHRASES: &str = "phrases.bin";

/// What a model needs besides its decoder, whatever file it came from.
pub(crate) struct Parts {
    pub name: String,
    pub precision: String,
    pub vocabulary: Vocabulary,
    pub chat: Chat,
    pub eos: Vec<u32>,
    pub fingerprint: blake3::Hash,
    pub phrases: Option<Arc<PhraseBook>>,
}

/// The contents of a checkpoint's files; weights are read when it is loaded.
pub(crate) struct Checkpoint<'a> {
    pub name: String,
    pub config: Cow<'a, [u8]>,
    pub tokenizer: Cow<'a, [u8]>,
    pub tokenizer_config: Cow<'a, [u8]>,
    /// `chat_template.jinja`, which goes before the template in `tokenizer_config`.
    pub template: Option<Vec<u8>>,
    pub phrases: Option<Cow<'a, [u8]>>,
    pub source: SafetensorsSource<'a>,
}

impl Checkpoint<'static> {
    /// Reads the small files of a directory and the headers of its weights.
    ///
    /// # Errors
    /// A file that is missing or cannot be read.
    pub fn read(path: &Path) -> Result<Self, OpenError> {
        let optional = |name: &str| match read(&path.join(name)) {
            Err(OpenError::Missing { .. }) => Ok(None),
            other => other.map(Some),
        };
        Ok(Self {
            name: path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default(),
            config: read(&path.join("config.json"))?.into(),
            tokenizer: read(&path.join("tokenizer.json"))?.into(),
            tokenizer_config: optional(TOKENIZER_CONFIG)?.unwrap_or_else(|| b"{}".to_vec()).into(),
            template: optional("chat_template.jinja")?,
            phrases: optional(PHRASES)?.map(Into::into),
            source: SafetensorsSource::from_directory(path)?,
        })
    }
}

impl Checkpoint<'_> {
    /// Loads all weights onto the device that `options` name.
    ///
    /// # Errors
    /// [`OpenError`], naming file and field or tensor; a device that is not there.
    pub fn load(mut self, options: &EngineOptions) -> Result<(Loaded, Parts), OpenError> {
        let config = ModelConfig::from_json(&self.config)?;
        let place = Place::find(options.device)?;
        check_memory(place.weight_bytes(&config).unwrap_or(config.parameters() * 4), &config, options)?;
        let vocabulary = Vocabulary::from_json(&self.tokenizer)?;
        let settings: Value = serde_json::from_slice(&self.tokenizer_config)
            .map_err(|e| OpenError::field(TOKENIZER_CONFIG, "", format!("not JSON: {e}")))?;
        let special = |field: &str| {
            let value = settings.get(field);
            value.and_then(|v| v.as_str().or_else(|| v.get("content")?.as_str())).unwrap_or("").to_string()
        };
        let template = match &self.template {
            Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            None => template_of(&settings)?,
        };
        let (bos, eos_token) = (special("bos_token"), special("eos_token"));
        let mut eos = token_ids(settings.get("eos_token_id"));
        eos.extend(config.eos.iter().copied().chain(vocabulary.id(&eos_token)));
        let chat = Chat::new(&template, bos, eos_token)?;
        let loaded = place.load(config, &mut self.source)?;
        let fingerprint =
            combine(&[blake3::hash(&self.config), vocabulary.fingerprint(), self.source.fingerprint()]);
        let precision = self.source.precision();
        let book = self.phrases.as_deref().map(PhraseBook::from_bytes).transpose();
        let phrases = book.map_err(|e| OpenError::field(PHRASES, "", e))?.map(Arc::new);
        Ok((loaded, Parts { name: self.name, precision, vocabulary, chat, eos, fingerprint, phrases }))
    }
}

/// Loads a GGUF file onto the device that `options` name.
///
/// # Errors
/// [`OpenError`], naming the metadata field or tensor; a device that is not there.
pub(crate) fn load_gguf(path: &Path, options: &EngineOptions) -> Result<(Loaded, Parts), OpenError> {
    let mut file = GgufFile::open(path)?;
    let config = file.config()?;
    let place = Place::find(options.device)?;
    check_memory(place.weight_bytes(&config).unwrap_or(file.tensor_bytes()), &config, options)?;
    let mut parts = file.parts()?;
    let loaded = place.load(config, &mut file)?;
    parts.fingerprint = combine(&[parts.fingerprint, file.fingerprint()]);
    Ok((loaded, parts))
}

/// Layout of keys and values under these options.
pub(crate) fn kv_shape(config: &ModelConfig, options: &EngineOptions) -> KvShape {
    KvShape {
        layers: config.layers,
        kv_heads: config.kv_heads,
        head_dim: config.head_dim,
        block_tokens: options.block_tokens.max(1),
    }
}

/// Most bytes of blocks that are being filled, besides those of the blocks themselves.
pub(crate) fn tail_bytes(shape: KvShape, options: &EngineOptions) -> usize {
    let longer = if options.tune { TIMES } else { 1 };
    let step_tokens = (options.prefill_chunk_tokens * longer).max(options.running_max);
    shape.tail_bytes(options.kv_precision, options.running_max.max(1), step_tokens)
}

/// Blocks that the options' memory for keys and values holds.
pub(crate) fn kv_blocks(shape: KvShape, options: &EngineOptions) -> usize {
    let bytes = options.kv_bytes_max.saturating_sub(tail_bytes(shape, options));
    bytes / shape.block_bytes(options.kv_precision).max(1)
}

fn check_memory(weights: u64, config: &ModelConfig, options: &EngineOptions) -> Result<(), OpenError> {
    let Some(allowed) = options.memory_bytes_max else { return Ok(()) };
    let shape = kv_shape(config, options);
    let one_context = shape.block_bytes(options.kv_precision) * config.context.div_ceil(shape.block_tokens)
        + tail_bytes(shape, options);
    let needed = weights + one_context.min(options.kv_bytes_max) as u64;
    if needed > allowed {
        return Err(OpenError::Memory { needed_mib: needed.div_ceil(1 << 20), allowed_mib: allowed >> 20 });
    }
    Ok(())
}

/// `chat_template`: a text, or a list of named ones of which `default` is meant.
fn template_of(settings: &Value) -> Result<String, OpenError> {
    let found = match settings.get("chat_template") {
        Some(Value::String(template)) => Some(template.clone()),
        Some(Value::Array(named)) => named
            .iter()
            .find(|t| t.get("name").and_then(Value::as_str) == Some("default"))
            .and_then(|t| t.get("template")?.as_str().map(str::to_string)),
        _ => None,
    };
    found.ok_or_else(|| {
        let reason = "missing, and there is no chat_template.jinja".to_string();
        OpenError::field(TOKENIZER_CONFIG, "chat_template", reason)
    })
}

fn combine(hashes: &[blake3::Hash]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for hash in hashes {
        hasher.update(hash.as_bytes());
    }
    hasher.finalize()
}
