//! A device beside the CPU: do they agree, does company change a bit, and how fast is it?
//!
//! For a machine with a card: the tests run the same kernels without one, but only a card shows what its tensor cores do to the last
//! bits and how fast they are. Random weights; nothing is downloaded.

use std::time::Instant;

use serde::Serialize;

use super::precision::Precision;
use super::random::{Kernels, ModelShape, RandomSource};
use crate::attn::cpu::Attention;
use crate::cuda::device::Device;
use crate::cuda::model::Model;
use crate::cuda::runner::DeviceRunner;
use crate::kv::pool::BlockId;
use crate::kv::precision::KvPrecision;
use crate::kv::{KvShape, KvStore};
use crate::model::config::ModelConfig;
use crate::model::decoder::{Decoder, Logits, Span};
use crate::model::threads::Threads;
use crate::open::OpenError;
use crate::runner::{ModelRunner, Runner};

const BLOCK_TOKENS: usize = 16;

/// What to run.
#[derive(Debug, Clone)]
pub struct DeviceLoad {
    /// Model that is compared with the CPU.
    pub compared: ModelShape,
    /// Model whose speed is measured.
    pub measured: ModelShape,
    /// Keys that a row sees when its speed is measured.
    pub context: usize,
    /// Sequences of a step.
    pub batches: Vec<usize>,
    /// Tokens of a prompt.
    pub prompt: usize,
    /// Steps of which the median is reported.
    pub rounds: usize,
    /// Bytes per second that the device's memory moves; 0 where that is not known.
    pub bandwidth: f64,
}

impl Default for DeviceLoad {
    fn default() -> Self {
        Self {
            compared: ModelShape::Small,
            measured: ModelShape::Qwen3_06b,
            context: 512,
            batches: vec![1, 8, 64, 256],
            prompt: 2048,
            rounds: 20,
            bandwidth: 0.0,
        }
    }
}

/// How far the device is from the CPU.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Agreement {
    /// Rows of logits that were compared.
    pub rows: usize,
    /// Error of all of them together, relative to the logits.
    pub relative_error: f64,
    /// How often both find the same token best.
    pub same_best: f64,
    /// Rows are the same bits alone, in a batch, and when their prompt is cut into chunks.
    pub company_changes_nothing: bool,
}

/// Speed of steps in which each sequence gets one token.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BatchSpeed {
    /// Sequences.
    pub sequences: usize,
    /// One step and the likeliest tokens of each row, milliseconds.
    pub step_ms: f64,
    /// One step and all logits, copied to the host, milliseconds.
    pub with_logits_ms: f64,
    /// One step without logits, milliseconds.
    pub without_logits_ms: f64,
    /// Tokens per second, with the likeliest tokens.
    pub tokens_per_second: f64,
    /// Bytes of weights, keys and values that a step without logits reads, per second, against what the memory moves; 0 where that
    /// is not known.
    pub bandwidth_share: f64,
}

/// What was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DeviceReport {
    /// Device.
    pub device: String,
    /// Bytes per second that its memory moves.
    pub bandwidth: f64,
    /// Shape that was compared with the CPU.
    pub compared: &'static str,
    /// Whether they agree.
    pub agreement: Agreement,
    /// Shape that was measured.
    pub measured: &'static str,
    /// Answers under way.
    pub decode: Vec<BatchSpeed>,
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Its tokens per second.
    pub prompt_tokens_per_second: f64,
}

/// Compares and measures `devices`: one for each of the two models.
pub(crate) fn bench_device<D: Device>(
    name: String,
    load: &DeviceLoad,
    devices: [D; 2],
) -> Result<DeviceReport, OpenError> {
    let [compared, measured] = devices;
    let agreement = agreement(load.compared, compared)?;
    let (decode, prompt_tokens_per_second) = speed(load, measured)?;
    Ok(DeviceReport {
        device: name,
        bandwidth: load.bandwidth,
        compared: load.compared.name(),
        agreement,
        measured: load.measured.name(),
        decode,
        prompt: load.prompt,
        prompt_tokens_per_second,
    })
}

fn shape(config: &ModelConfig) -> KvShape {
    let ModelConfig { layers, kv_heads, head_dim, .. } = *config;
    KvShape { layers, kv_heads, head_dim, block_tokens: BLOCK_TOKENS }
}

fn source(config: &ModelConfig) -> RandomSource {
    RandomSource::new(7, Precision::F32, Kernels::Own, config.layers)
}

fn runner<D: Device>(config: &ModelConfig, device: D, blocks: usize) -> Result<DeviceRunner<D>, OpenError> {
    let model = Model::load(device, config.clone(), &mut source(config))?;
    DeviceRunner::new(model, shape(config), blocks)
}

/// `count` tokens of sequence `index`, from `start` on, with blocks of its own.
fn span(index: usize, start: usize, count: usize, blocks_each: usize, logits: Logits) -> Span {
    let first = index * blocks_each;
    let tokens = (start..start + count).map(|i| ((i * 7 + index * 31) % 250) as u32).collect();
    let blocks = (first..first + blocks_each).rev().map(|id| BlockId(id as u32)).collect();
    Span { tokens, start, blocks, logits }
}

fn agreement<D: Device>(shape_of: ModelShape, device: D) -> Result<Agreement, OpenError> {
    // Sequences of many lengths: narrow and wide products, one chunk of keys and several.
    const LENGTHS: [usize; 5] = [1, 20, 75, 300, 520];
    let blocks_each = 640 / BLOCK_TOKENS;
    let config = shape_of.config()?;
    let mut device = runner(&config, device, LENGTHS.len() * blocks_each)?;
    let decoder = Decoder::load(config.clone(), &mut source(&config))?;
    let store = KvStore::new(shape(&config), KvPrecision::F16, LENGTHS.len() * blocks_each);
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut cpu = ModelRunner::new(decoder, store, Attention::default(), Threads::new(threads));
    let lengths = || LENGTHS.into_iter().enumerate();
    let prompts: Vec<Span> = lengths().map(|(i, n)| span(i, 0, n, blocks_each, Logits::Last)).collect();
    let next: Vec<Span> = lengths().map(|(i, n)| span(i, n, 1, blocks_each, Logits::Last)).collect();
    let mut run = |spans: &[Span]| device.run(spans).map_err(OpenError::Setup);
    let together = [run(&prompts)?, run(&next)?];
    let mut alone = [Vec::new(), Vec::new()];
    for (i, n) in lengths() {
        // In three chunks, the last of which gives the logits.
        let cuts = [0, n / 3, n / 3 * 2, n];
        for (part, cut) in cuts.windows(2).enumerate().filter(|(_, cut)| cut[0] < cut[1]) {
            let logits = if part == 2 { Logits::Last } else { Logits::None };
            alone[0].extend(run(&[span(i, cut[0], cut[1] - cut[0], blocks_each, logits)])?);
        }
        alone[1].extend(run(&[span(i, n, 1, blocks_each, Logits::Last)])?);
    }
    let mut exact = cpu.run(&prompts).map_err(OpenError::Setup)?;
    exact.extend(cpu.run(&next).map_err(OpenError::Setup)?);
    let found = together.concat();
    Ok(Agreement {
        rows: exact.len() / config.vocab,
        relative_error: relative_error(&found, &exact),
        same_best: same_best(&found, &exact, config.vocab),
        company_changes_nothing: alone == together,
    })
}

fn relative_error(found: &[f32], exact: &[f32]) -> f64 {
    let square = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v * v)).sum::<f64>().sqrt();
    square(&mut found.iter().zip(exact).map(|(a, b)| a - b)) / square(&mut exact.iter().copied())
}

fn same_best(found: &[f32], exact: &[f32], vocab: usize) -> f64 {
    let best = |row: &[f32]| (0..row.len()).max_by(|a, b| row[*a].total_cmp(&row[*b]));
    let rows = found.chunks_exact(vocab).zip(exact.chunks_exact(vocab));
    rows.filter(|(a, b)| best(a) == best(b)).count() as f64 / (exact.len() / vocab).max(1) as f64
}

/// Speeds of steps, and tokens per second of a prompt. What the pool holds does not matter for them.
fn speed<D: Device>(load: &DeviceLoad, device: D) -> Result<(Vec<BatchSpeed>, f64), OpenError> {
    let config = load.measured.config()?;
    let blocks_each = load.context.max(load.prompt).div_ceil(BLOCK_TOKENS) + 1;
    let rows_max = load.batches.iter().copied().max().unwrap_or(1);
    let context_blocks = load.context.div_ceil(BLOCK_TOKENS) + 1;
    let blocks = (rows_max * context_blocks).max(blocks_each);
    let mut runner = runner(&config, device, blocks)?;
    let mut decode = Vec::new();
    for sequences in load.batches.iter().copied() {
        let spans = |logits| -> Vec<Span> {
            (0..sequences).map(|i| span(i, load.context, 1, context_blocks, logits)).collect()
        };
        let step_ms = median_ms(&mut runner, &spans(Logits::Best { temperature: 0.7 }), load.rounds)?;
        let with_logits_ms = median_ms(&mut runner, &spans(Logits::Last), load.rounds.div_ceil(4))?;
        let without_logits_ms = median_ms(&mut runner, &spans(Logits::None), load.rounds)?;
        // Without logits the output layer, which shares the embedding's weights, is not read.
        let weights = 2 * (config.parameters() as usize - config.vocab * config.hidden);
        let keys = config.layers * 2 * config.kv_heads * config.head_dim * 2 * (load.context + 1) * sequences;
        let moved = (weights + keys) as f64 / (without_logits_ms / 1e3);
        decode.push(BatchSpeed {
            sequences,
            step_ms,
            with_logits_ms,
            without_logits_ms,
            tokens_per_second: sequences as f64 / (step_ms / 1e3),
            bandwidth_share: if load.bandwidth > 0.0 { moved / load.bandwidth } else { 0.0 },
        });
    }
    let prompt = [span(0, 0, load.prompt, blocks_each, Logits::Last)];
    let prompt_ms = median_ms(&mut runner, &prompt, load.rounds.div_ceil(4))?;
    Ok((decode, load.prompt as f64 / (prompt_ms / 1e3)))
}

fn median_ms(runner: &mut impl Runner, spans: &[Span], rounds: usize) -> Result<f64, OpenError> {
    // The first one makes room, and what comes again may be kept as a whole.
    for _ in 0..3 {
        runner.step(spans).map_err(OpenError::Setup)?;
    }
    let mut times = Vec::with_capacity(rounds);
    for _ in 0..rounds.max(1) {
        let started = Instant::now();
        runner.step(spans).map_err(OpenError::Setup)?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// Compares and measures CUDA device `number`.
///
/// # Errors
/// When the device is not there, has too little memory, or fails.
#[cfg(feature = "cuda")]
pub fn bench_cuda(number: usize, load: &DeviceLoad) -> Result<DeviceReport, OpenError> {
    use crate::cuda::driver::Driver;
    let open = || {
        Driver::open(number).map_err(|reason| OpenError::Device { device: format!("cuda:{number}"), reason })
    };
    let devices = [open()?, open()?];
    let load = DeviceLoad { bandwidth: devices[0].bandwidth(), ..load.clone() };
    bench_device(devices[0].name(), &load, devices)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cuda::emulator::{Emulator, Order};

    #[test]
    fn a_device_is_compared_and_measured() {
        let load = DeviceLoad {
            compared: ModelShape::Tiny,
            measured: ModelShape::Tiny,
            context: 20,
            batches: vec![1, 3],
            prompt: 40,
            rounds: 1,
            bandwidth: 1e9,
        };
        let devices = [Order::Forward, Order::Backward].map(Emulator::start);
        let report = bench_device("emulated".into(), &load, devices).unwrap();
        assert!(report.agreement.company_changes_nothing, "{report:?}");
        assert!(report.agreement.relative_error < 2e-3 && report.agreement.same_best > 0.9, "{report:?}");
        assert_eq!((report.agreement.rows, report.decode.len()), (10, 2));
        assert!(report.decode.iter().all(|d| d.tokens_per_second > 0.0 && d.bandwidth_share > 0.0));
    }
}
