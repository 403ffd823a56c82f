//! Logits against Hugging Face transformers, for checkpoints that `make_golden.py` wrote.

use std::path::{Path, PathBuf};

use safetensors::SafeTensors;

use crate::kv::pool::BlockId;
use crate::kv::precision::KvPrecision;
use crate::kv::{KvShape, KvStore};
use crate::model::config::ModelConfig;
use crate::model::decoder::{Decoder, Logits, Scratch, Span};
use crate::model::gguf::GgufFile;
use crate::model::threads::Threads;
use crate::model::weights::SafetensorsSource;

pub(crate) fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

pub(crate) struct Expected {
    pub prompt: Vec<u32>,
    pub logits: Vec<f32>,
    pub greedy: Vec<u32>,
}

pub(crate) fn expected(path: &Path) -> Vec<Expected> {
    let bytes = std::fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let ids = |name: String| -> Vec<u32> {
        let data = tensors.tensor(&name).unwrap().data();
        data.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b) as u32).collect()
    };
    let floats = |name: String| -> Vec<f32> {
        let data = tensors.tensor(&name).unwrap().data();
        data.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    };
    (0..2)
        .map(|i| Expected {
            prompt: ids(format!("prompt_{i}")),
            logits: floats(format!("logits_{i}")),
            greedy: ids(format!("greedy_{i}")),
        })
        .collect()
}

fn run(decoder: &Decoder, store: &mut KvStore, tokens: &[u32], start: usize) -> Vec<f32> {
    let blocks: Vec<BlockId> = (0..16).map(BlockId).collect();
    let span = Span { tokens: tokens.to_vec(), start, blocks, logits: Logits::All };
    decoder.forward(&[span], store, &mut Scratch::default(), &Threads::new(1)).unwrap()
}

fn difference(a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

fn argmax(row: &[f32]) -> u32 {
    (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b])).unwrap() as u32
}

fn check(decoder: &Decoder, expected: &[Expected], tolerance: f32) {
    let c = decoder.config();
    let shape = KvShape { layers: c.layers, kv_heads: c.kv_heads, head_dim: c.head_dim, block_tokens: 16 };
    for e in expected {
        let mut store = KvStore::new(shape, KvPrecision::F32, 16);
        let whole = run(decoder, &mut store, &e.prompt, 0);
        let largest = difference(&whole, &e.logits);
        let spread = e.logits.iter().map(|l| l.abs()).fold(0.0, f32::max);
        println!("largest difference {largest:e} of logits up to {spread}");
        assert!(largest <= tolerance, "logits differ by {largest}");
        let square = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>().sqrt();
        let error = square(&mut whole.iter().zip(&e.logits).map(|(a, b)| a - b))
            / square(&mut e.logits.iter().copied());
        println!("relative error {error:e}");
        // Greedy continuation with the same cache, then everything token by token in a fresh one.
        let mut token = argmax(&whole[whole.len() - c.vocab..]);
        let mut written = vec![token];
        for i in 1..e.greedy.len() {
            token = argmax(&run(decoder, &mut store, &[token], e.prompt.len() + i - 1));
            written.push(token);
        }
        if tolerance < 1e-3 {
            assert_eq!(written, e.greedy);
        }
        let mut store = KvStore::new(shape, KvPrecision::F32, 16);
        let steps = e.prompt.iter().enumerate().flat_map(|(i, t)| run(decoder, &mut store, &[*t], i));
        assert_eq!(steps.collect::<Vec<_>>(), whole, "token by token");
    }
}

fn check_directory(name: &str) {
    let path = golden(name);
    let config = ModelConfig::from_json(&std::fs::read(path.join("config.json")).unwrap()).unwrap();
    let mut source = SafetensorsSource::from_directory(&path).unwrap();
    let decoder = Decoder::load(config, &mut source).unwrap();
    check(&decoder, &expected(&path.join("expected.safetensors")), 1e-4);
}

fn check_gguf(name: &str, tolerance: f32) {
    let mut file = GgufFile::open(&golden(&format!("{name}.gguf"))).unwrap();
    let config = file.config().unwrap();
    let decoder = Decoder::load(config, &mut file).unwrap();
    check(&decoder, &expected(&golden(&format!("{name}.expected.safetensors"))), tolerance);
}

#[test]
fn llama_untied_with_grouped_queries() {
    check_directory("llama");
}

#[test]
fn llama_tied_f16_in_shards() {
    check_directory("llama_tied");
}

#[test]
fn llama3_rope_scaling() {
    check_directory("llama3_rope");
}

#[test]
fn qwen2_tied_bf16_with_biases() {
    check_directory("qwen2_tied");
}

#[test]
fn qwen3_untied_with_head_norms() {
    check_directory("qwen3");
}

#[test]
fn gguf_f16() {
    check_gguf("llama-f16", 1e-4);
    check_gguf("qwen3-f16", 1e-4);
}

#[test]
fn gguf_q8_0() {
    // The library quantises activations too, so only the weights are exact.
    check_gguf("llama-q8_0", 0.5);
}

mod through_the_trait {
    use super::*;
    use crate::open::{EngineOptions, ModelSpec, OpenError, open, open_with};
    use crate::testing::request;
    use tokio_util::sync::CancellationToken;

    #[tokio::test]
    async fn directories_and_files_generate() {
        let mut answers = Vec::new();
        for name in ["llama", "llama_tied", "qwen2_tied", "qwen3", "llama-f16.gguf", "qwen3-f16.gguf"] {
            let spec = ModelSpec::parse(&golden(name).display().to_string(), None).unwrap().unwrap();
            let model = open(&spec).unwrap();
            let mut request = request("x");
            request.messages.remove(0);
            request.sampling.temperature = 0.0;
            let done = model.generate(request, None, CancellationToken::new()).await.unwrap();
            let info = model.info();
            assert!(info.parameters.unwrap() > 10_000 && info.fingerprint.len() == 64, "{info:?}");
            answers.push(done.text);
        }
        // A GGUF file of f16 weights is nearly the checkpoint it was made from.
        assert_eq!(answers[4].len().min(1), 1);
    }

    #[test]
    fn faults_name_file_and_tensor() {
        let open_at = |path: &Path| open(&ModelSpec::Directory(path.to_path_buf())).err().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let error = open_at(directory.path());
        assert!(matches!(&error, OpenError::Missing { file } if file.ends_with("config.json")), "{error}");
        for file in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
            std::fs::copy(golden("llama").join(file), directory.path().join(file)).unwrap();
        }
        let error = open_at(directory.path()).to_string();
        assert!(error.contains("model.safetensors") && error.contains("missing"), "{error}");
        // The weights of another model.
        let weights = directory.path().join("model.safetensors");
        std::fs::copy(golden("llama3_rope/model.safetensors"), &weights).unwrap();
        let error = open_at(directory.path()).to_string();
        assert!(
            error.contains("q_proj") && error.contains("[32, 32]") && error.contains("[64, 32]"),
            "{error}"
        );
        std::fs::copy(golden("qwen2_tied/model.safetensors"), &weights).unwrap();
        let error = open_at(directory.path()).to_string();
        assert!(error.contains("lm_head.weight") && error.contains("missing"), "{error}");
        std::fs::write(&weights, b"garbage").unwrap();
        assert!(open_at(directory.path()).to_string().contains("model.safetensors"));
    }

    #[test]
    fn a_memory_budget_is_kept() {
        let options = EngineOptions { memory_bytes_max: Some(100_000), ..EngineOptions::default() };
        let error = open_with(&ModelSpec::Directory(golden("llama")), &options, None).err().unwrap();
        assert!(matches!(error, OpenError::Memory { .. }), "{error}");
    }

    #[test]
    fn a_gguf_file_that_is_none_is_refused() {
        let error = open(&ModelSpec::Gguf(golden("llama/config.json"))).err().unwrap().to_string();
        assert!(error.contains("GGUF"), "{error}");
    }
}
