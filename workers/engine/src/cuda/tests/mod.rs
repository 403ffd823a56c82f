//! The whole runner, its kernels included, without a device.

mod driver;
mod engine;
mod exact;
mod golden;
mod kernels;
mod ptx;

use super::device::Device;
use super::emulator::{Emulator, Order};
use super::model::Model;
use super::runner::DeviceRunner;
use crate::kv::KvShape;
use crate::kv::pool::BlockId;
use crate::model::config::ModelConfig;
use crate::model::decoder::{Logits, Span};
use crate::model::weights::{SafetensorsSource, Source};
use crate::runner::Runner;
use crate::testing;

fn shape(config: &ModelConfig, block_tokens: usize) -> KvShape {
    let ModelConfig { layers, kv_heads, head_dim, .. } = *config;
    KvShape { layers, kv_heads, head_dim, block_tokens }
}

fn runner_of(
    config: ModelConfig,
    source: &mut dyn Source,
    order: Order,
    block_tokens: usize,
    blocks: usize,
) -> DeviceRunner<Emulator> {
    let shape = shape(&config, block_tokens);
    let model = Model::load(Emulator::start(order), config, source).unwrap();
    DeviceRunner::new(model, shape, blocks).unwrap()
}

/// A tiny llama with random weights.
fn runner(order: Order, block_tokens: usize, blocks: usize) -> DeviceRunner<Emulator> {
    runner_on(Emulator::start(order), block_tokens, blocks)
}

/// The same on any device.
fn runner_on<D: Device>(device: D, block_tokens: usize, blocks: usize) -> DeviceRunner<D> {
    let config = ModelConfig::from_json(testing::config_json().to_string().as_bytes()).unwrap();
    let (weights, shape) = (testing::weights(3), shape(&config, block_tokens));
    let mut source = SafetensorsSource::from_bytes(&weights).unwrap();
    DeviceRunner::new(Model::load(device, config, &mut source).unwrap(), shape, blocks).unwrap()
}

fn span(tokens: &[u32], start: usize, blocks: &[BlockId], logits: Logits) -> Span {
    Span { tokens: tokens.to_vec(), start, blocks: blocks.to_vec(), logits }
}

fn ids(range: impl Iterator<Item = u32>) -> Vec<BlockId> {
    range.map(BlockId).collect()
}

fn tokens(len: usize, step: u32) -> Vec<u32> {
    (0..len as u32).map(|i| (i * step + 1) % 261).collect()
}

/// Logits of every position when `tokens` are computed in pieces of `chunk`.
fn in_chunks(runner: &mut impl Runner, tokens: &[u32], chunk: usize, blocks: &[BlockId]) -> Vec<f32> {
    let mut logits = Vec::new();
    for (i, part) in tokens.chunks(chunk).enumerate() {
        logits.extend(runner.run(&[span(part, i * chunk, blocks, Logits::All)]).unwrap());
    }
    logits
}
