//! GGUF files of random weights, so that another engine can be measured on the very file that ours
//! reads. The format, version 3: header, metadata, tensor directory, then the tensors, each at a
//! multiple of 32 bytes (specified in ggml's `docs/gguf.md`).

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use candle_core::quantized::GgmlDType;

use super::precision::Precision;
use super::random::{Kernels, ModelShape, RandomSource};
use crate::model::config::ModelConfig;
use crate::model::gguf::gguf_name;
use crate::model::weights::{Name, Part};
use crate::open::OpenError;
use crate::vocabulary::char_of_byte;

const ALIGNMENT: usize = 32;

/// Metadata types.
const U32: u32 = 4;
const I32: u32 = 5;
const F32: u32 = 6;
const TEXT: u32 = 8;
const LIST: u32 = 9;

/// A normal token, one that controls, in `tokenizer.ggml.token_type`.
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;

#[derive(Default)]
struct Metadata {
    bytes: Vec<u8>,
    count: u64,
}

impl Metadata {
    fn text(&mut self, text: &str) {
        self.bytes.extend((text.len() as u64).to_le_bytes());
        self.bytes.extend(text.as_bytes());
    }

    fn key(&mut self, key: &str, kind: u32) {
        self.count += 1;
        self.text(key);
        self.bytes.extend(kind.to_le_bytes());
    }

    fn string(&mut self, key: &str, value: &str) {
        self.key(key, TEXT);
        self.text(value);
    }

    fn number(&mut self, key: &str, value: usize) {
        self.key(key, U32);
        self.bytes.extend((value as u32).to_le_bytes());
    }

    fn float(&mut self, key: &str, value: f32) {
        self.key(key, F32);
        self.bytes.extend(value.to_le_bytes());
    }

    fn list(&mut self, key: &str, kind: u32, len: usize) {
        self.key(key, LIST);
        self.bytes.extend(kind.to_le_bytes());
        self.bytes.extend((len as u64).to_le_bytes());
    }
}

fn metadata(config: &ModelConfig, shape: ModelShape) -> Metadata {
    let mut m = Metadata::default();
    let family = config.architecture.name();
    m.string("general.architecture", family);
    m.string("general.name", &format!("random {}", shape.name()));
    let key = |suffix: &str| format!("{family}.{suffix}");
    m.number(&key("context_length"), config.context);
    m.number(&key("embedding_length"), config.hidden);
    m.number(&key("block_count"), config.layers);
    m.number(&key("feed_forward_length"), config.intermediate);
    m.number(&key("attention.head_count"), config.heads);
    m.number(&key("attention.head_count_kv"), config.kv_heads);
    m.number(&key("attention.key_length"), config.head_dim);
    m.number(&key("attention.value_length"), config.head_dim);
    m.number(&key("rope.dimension_count"), config.head_dim);
    m.float(&key("attention.layer_norm_rms_epsilon"), config.rms_eps);
    m.float(&key("rope.freq_base"), config.rope_theta);
    m.string("tokenizer.ggml.model", "gpt2");
    m.string("tokenizer.ggml.pre", "qwen2");
    // One token per byte, then words that no text holds, then the end.
    m.list("tokenizer.ggml.tokens", TEXT, config.vocab);
    for id in 0..config.vocab {
        let token = match u8::try_from(id) {
            Ok(byte) => char_of_byte(byte).to_string(),
            Err(_) if id + 1 == config.vocab => "<|im_end|>".into(),
            // Readers want at least one merge, and its result among the tokens.
            Err(_) if id == 256 => "th".into(),
            Err(_) => format!("<{id}>"),
        };
        m.text(&token);
    }
    m.list("tokenizer.ggml.token_type", I32, config.vocab);
    for id in 0..config.vocab {
        let kind = if id + 1 == config.vocab { CONTROL } else { NORMAL };
        m.bytes.extend(kind.to_le_bytes());
    }
    m.list("tokenizer.ggml.merges", TEXT, 1);
    m.text("t h");
    m.number("tokenizer.ggml.eos_token_id", config.vocab - 1);
    m.string("tokenizer.chat_template", "{% for m in messages %}{{ m.content }}\n{% endfor %}");
    m
}

/// All tensors, a vector as `[1, len]`.
fn tensors(config: &ModelConfig) -> Vec<(Name, usize, usize)> {
    let (hidden, inner) = (config.hidden, config.intermediate);
    let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
    let mut out = vec![(Name::Embedding, config.vocab, hidden), (Name::FinalNorm, 1, hidden)];
    for layer in 0..config.layers {
        let mut add = |part, outputs, inputs| out.push((Name::Layer(layer, part), outputs, inputs));
        add(Part::AttnNorm, 1, hidden);
        add(Part::Q, q, hidden);
        add(Part::K, kv, hidden);
        add(Part::V, kv, hidden);
        add(Part::O, hidden, q);
        if config.architecture == crate::model::config::Architecture::Qwen3 {
            add(Part::QNorm, 1, config.head_dim);
            add(Part::KNorm, 1, config.head_dim);
        }
        add(Part::MlpNorm, 1, hidden);
        add(Part::Gate, inner, hidden);
        add(Part::Up, inner, hidden);
        add(Part::Down, hidden, inner);
    }
    out
}

/// Number of a format in files.
fn format_number(dtype: GgmlDType) -> u32 {
    match dtype {
        GgmlDType::Q4_0 => 2,
        GgmlDType::Q8_0 => 8,
        GgmlDType::Q4K => 12,
        GgmlDType::Q6K => 14,
        _ => 0,
    }
}

/// Writes a model of `shape` with random weights of `precision` to `path`.
///
/// # Errors
/// A shape that is refused, or a file that cannot be written.
pub fn write_random_gguf(shape: ModelShape, precision: Precision, path: &Path) -> Result<(), OpenError> {
    let config = shape.config()?;
    let unwritable = |e: std::io::Error| OpenError::io(&path.display().to_string(), e);
    let mut source = RandomSource::new(7, precision, Kernels::Own, config.layers);
    let tensors = tensors(&config);
    let metadata = metadata(&config, shape);
    let mut head = Metadata { bytes: b"GGUF".to_vec(), count: 0 };
    head.bytes.extend(3_u32.to_le_bytes());
    head.bytes.extend((tensors.len() as u64).to_le_bytes());
    head.bytes.extend(metadata.count.to_le_bytes());
    head.bytes.extend(&metadata.bytes);
    let mut offset = 0_usize;
    for (name, outputs, inputs) in &tensors {
        let dtype =
            if *outputs == 1 { GgmlDType::F32 } else { precision.format(*name, config.layers, *inputs) };
        head.text(&format!("{}.weight", gguf_name(*name)));
        // The fastest dimension comes first.
        let dimensions = if *outputs == 1 { vec![*inputs] } else { vec![*inputs, *outputs] };
        head.bytes.extend((dimensions.len() as u32).to_le_bytes());
        dimensions.iter().for_each(|n| head.bytes.extend((*n as u64).to_le_bytes()));
        head.bytes.extend(format_number(dtype).to_le_bytes());
        head.bytes.extend((offset as u64).to_le_bytes());
        let bytes = outputs * inputs / dtype.block_size() * dtype.type_size();
        offset += bytes.next_multiple_of(ALIGNMENT);
    }
    let mut file = BufWriter::new(File::create(path).map_err(unwritable)?);
    let mut write = |bytes: &[u8]| {
        file.write_all(bytes)?;
        file.write_all(&[0; ALIGNMENT][..bytes.len().next_multiple_of(ALIGNMENT) - bytes.len()])
    };
    write(&head.bytes).map_err(unwritable)?;
    for (name, outputs, inputs) in tensors {
        let floats = |values: Vec<f32>| values.into_iter().flat_map(f32::to_le_bytes).collect();
        let bytes: Vec<u8> = match (outputs, precision) {
            (1, _) => floats(source.vector_values(inputs)),
            (_, Precision::F32) => floats(source.matrix_values(outputs, inputs)),
            _ => source.matrix_bytes(name, outputs, inputs).0,
        };
        write(&bytes).map_err(unwritable)?;
    }
    file.flush().map_err(unwritable)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::open::{EngineOptions, ModelSpec, open_with};
    use crate::testing::request;
    use tokio_util::sync::CancellationToken;

    #[tokio::test]
    async fn the_engine_reads_what_is_written() {
        let directory = tempfile::tempdir().unwrap();
        for precision in Precision::ALL {
            let path = directory.path().join(format!("{}.gguf", precision.name()));
            write_random_gguf(ModelShape::Tiny, precision, &path).unwrap();
            let options = EngineOptions { threads: 1, ..EngineOptions::default() };
            let model = open_with(&ModelSpec::Gguf(path), &options, None).unwrap();
            let done = model.generate(request("x"), None, CancellationToken::new()).await.unwrap();
            assert!(done.receipt.output_tokens > 0);
            assert_eq!(model.info().parameters, Some(ModelShape::Tiny.config().unwrap().parameters()));
        }
    }
}
