//! The kernels against the decoder on the CPU, for every kind of checkpoint.

use super::*;
use crate::attn::cpu::Attention;
use crate::bench::RandomSource;
use crate::kv::KvStore;
use crate::kv::precision::KvPrecision;
use crate::model::decoder::Decoder;
use crate::model::gguf::GgufFile;
use crate::model::threads::Threads;
use crate::runner::ModelRunner;
use crate::tests::golden::{expected, golden};
use crate::{Kernels, Precision};

/// Error of all logits together that rounding weights and activations to half precision may make, relative to the logits: a half
/// has an error of up to 5e-4, and a number of a golden model passes through a dozen of them.
const ERROR_MAX: f32 = 4e-3;

fn cpu(config: ModelConfig, source: &mut dyn Source) -> ModelRunner {
    let decoder = Decoder::load(config, source).unwrap();
    let store = KvStore::new(shape(decoder.config(), 16), KvPrecision::F16, 4);
    ModelRunner::new(decoder, store, Attention::default(), Threads::new(1))
}

fn relative_error(close: &[f32], exact: &[f32]) -> f32 {
    assert_eq!(close.len(), exact.len());
    let square = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>().sqrt();
    square(&mut close.iter().zip(exact).map(|(a, b)| a - b)) / square(&mut exact.iter().copied())
}

fn check(name: &str, prompts: &[Vec<u32>], cpu: &mut ModelRunner, device: &mut DeviceRunner<Emulator>) {
    for prompt in prompts {
        let blocks = ids([2, 0, 3].into_iter());
        let (whole, rest) = prompt.split_at(prompt.len() - 3);
        for (part, start) in [(whole, 0)].into_iter().chain(rest.chunks(1).zip(whole.len()..)) {
            let spans = [span(part, start, &blocks, Logits::All)];
            let error = relative_error(&device.run(&spans).unwrap(), &cpu.run(&spans).unwrap());
            println!("{name}: {} tokens from {start} on: relative error {error:e}", part.len());
            assert!(error < ERROR_MAX, "{name}: {error}");
        }
    }
}

fn check_directory(name: &str) {
    let path = golden(name);
    let config = ModelConfig::from_json(&std::fs::read(path.join("config.json")).unwrap()).unwrap();
    let source = || SafetensorsSource::from_directory(&path).unwrap();
    let prompts: Vec<Vec<u32>> =
        expected(&path.join("expected.safetensors")).into_iter().map(|e| e.prompt).collect();
    let mut device = runner_of(config.clone(), &mut source(), Order::Forward, 16, 4);
    check(name, &prompts, &mut cpu(config, &mut source()), &mut device);
}

#[test]
fn directories_of_all_families_are_computed_as_on_the_cpu() {
    for name in ["llama", "llama_tied", "llama3_rope", "qwen2_tied", "qwen3"] {
        check_directory(name);
    }
}

#[test]
fn gguf_files_are_computed_as_on_the_cpu() {
    for name in ["llama-f16", "qwen3-f16"] {
        let open = || GgufFile::open(&golden(&format!("{name}.gguf"))).unwrap();
        let config = open().config().unwrap();
        let prompts: Vec<Vec<u32>> = expected(&golden(&format!("{name}.expected.safetensors")))
            .into_iter()
            .map(|e| e.prompt)
            .collect();
        let mut device = runner_of(config.clone(), &mut open(), Order::Forward, 16, 4);
        check(name, &prompts, &mut cpu(config, &mut open()), &mut device);
    }
}

/// A model with random weights: prompts in one piece, in several and token by token, against the CPU and each other.
pub(super) fn check_random(name: &str, config: ModelConfig, block_tokens: usize) {
    let source = || RandomSource::new(7, Precision::F32, Kernels::Own, config.layers);
    let blocks = || ids(0..150_usize.div_ceil(block_tokens) as u32);
    let mut device = runner_of(config.clone(), &mut source(), Order::Forward, block_tokens, blocks().len());
    let prompt: Vec<u32> = tokens(140, 7).into_iter().map(|token| token % 90).collect();
    let decoder = Decoder::load(config.clone(), &mut source()).unwrap();
    let store = KvStore::new(shape(decoder.config(), block_tokens), KvPrecision::F16, blocks().len());
    let mut cpu = ModelRunner::new(decoder, store, Attention::default(), Threads::new(1));
    let spans = [span(&prompt, 0, &blocks(), Logits::All)];
    let whole = device.run(&spans).unwrap();
    let error = relative_error(&whole, &cpu.run(&spans).unwrap());
    assert!(error < ERROR_MAX, "{name}: {error}");
    let (start, end) = prompt.split_at(132);
    let mut cut = in_chunks(&mut device, start, 44, &blocks());
    for (at, token) in (132..).zip(end) {
        cut.extend(device.run(&[span(&[*token], at, &blocks(), Logits::Last)]).unwrap());
    }
    assert!(cut == whole, "{name}");
}

/// Against the reference's logits, computed from the dequantised weights: on the CPU activations are quantised too.
#[test]
fn quantised_weights_are_widened() {
    let open = || GgufFile::open(&golden("llama-q8_0.gguf")).unwrap();
    let config = open().config().unwrap();
    let mut device = runner_of(config, &mut open(), Order::Forward, 16, 4);
    for e in expected(&golden("llama-q8_0.expected.safetensors")) {
        let spans = [span(&e.prompt, 0, &ids(0..2), Logits::All)];
        let error = relative_error(&device.run(&spans).unwrap(), &e.logits);
        assert!(error < ERROR_MAX, "{error}");
    }
}
