//! The decoder alone: prompt and answer tokens per second, without scheduler and sampling.
//!
//! Several models are measured in turn, round by round, so that a change in the machine's load
//! strikes all of them. Called by the example `engine`.

use std::path::PathBuf;
use std::time::Instant;

use serde::Serialize;

use super::precision::Precision;
use super::random::{Kernels, ModelShape, RandomSource};
use crate::kv::pool::BlockId;
use crate::kv::precision::KvPrecision;
use crate::kv::{KvShape, KvStore};
use crate::model::decoder::{Decoder, Logits, Scratch, Span};
use crate::model::gguf::GgufFile;
use crate::model::threads::Threads;
use crate::open::OpenError;

use super::EngineBenchError;

/// Tokens of a KV block.
const BLOCK_TOKENS: usize = 16;

/// A model to measure.
#[derive(Debug, Clone)]
pub enum SpeedModel {
    /// Random weights.
    Random {
        /// Sizes.
        shape: ModelShape,
        /// How weights are stored.
        precision: Precision,
        /// Who computes quantised layers.
        kernels: Kernels,
    },
    /// A GGUF file.
    File(PathBuf),
}

impl SpeedModel {
    fn name(&self) -> String {
        match self {
            Self::Random { shape, precision, kernels } => {
                let kernels = if *kernels == Kernels::Own { "own" } else { "library" };
                format!("{} {} {kernels}", shape.name(), precision.name())
            }
            Self::File(path) => path.display().to_string(),
        }
    }

    fn load(&self) -> Result<Decoder, OpenError> {
        match self {
            Self::Random { shape, precision, kernels } => {
                let config = shape.config()?;
                let mut source = RandomSource::new(7, *precision, *kernels, config.layers);
                Decoder::load(config, &mut source)
            }
            Self::File(path) => {
                let mut file = GgufFile::open(path)?;
                Decoder::load(file.config()?, &mut file)
            }
        }
    }
}

/// What to measure.
#[derive(Debug, Clone)]
pub struct SpeedOptions {
    /// Threads of the model.
    pub threads: usize,
    /// Tokens of the prompt; 0 leaves it out.
    pub prompt_tokens: usize,
    /// Tokens of the prompt that go through the model together.
    pub chunk_tokens: usize,
    /// Sequences side by side.
    pub batches: Vec<usize>,
    /// Tokens that all sequences of a batch begin with and hold together, in whole blocks; 0 for none.
    pub shared_tokens: usize,
    /// How keys and values are kept.
    pub kv: KvPrecision,
    /// Tokens of each sequence's own before the first measured one.
    pub context_tokens: usize,
    /// Measured tokens of each sequence.
    pub answer_tokens: usize,
    /// Rounds.
    pub rounds: usize,
}

impl Default for SpeedOptions {
    fn default() -> Self {
        Self {
            threads: std::thread::available_parallelism().map_or(1, |n| n.get()),
            prompt_tokens: 512,
            chunk_tokens: 512,
            batches: vec![1, 8, 16, 32],
            shared_tokens: 0,
            kv: KvPrecision::F32,
            context_tokens: 8,
            answer_tokens: 8,
            rounds: 3,
        }
    }
}

/// Tokens per second.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rate {
    /// `prompt`, or the number of sequences side by side.
    pub what: String,
    /// Median of all rounds.
    pub median: f64,
    /// Fastest round.
    pub best: f64,
    /// Tokens per second of processor time, all threads together, median: says more than the clock
    /// where others use the machine too. 0 where the system does not tell.
    pub per_processor_second: f64,
}

/// What one model reached.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SpeedReport {
    /// The model.
    pub model: String,
    /// Threads.
    pub threads: usize,
    /// Prompt first, then the batches.
    pub rates: Vec<Rate>,
}

struct Bench {
    decoder: Decoder,
    threads: Threads,
    scratch: Scratch,
    samples: Vec<Vec<Cost>>,
}

/// What a number of tokens took.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    tokens: usize,
    seconds: f64,
    processor_seconds: f64,
}

impl Cost {
    fn add(&mut self, other: Self) {
        self.tokens += other.tokens;
        self.seconds += other.seconds;
        self.processor_seconds += other.processor_seconds;
    }
}

/// Processor time of all threads of this process so far.
fn processor_seconds() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let nanoseconds = |path: PathBuf| -> Option<f64> {
        std::fs::read_to_string(path.join("schedstat")).ok()?.split(' ').next()?.parse().ok()
    };
    tasks.filter_map(|task| nanoseconds(task.path())).sum::<f64>() * 1e-9
}

impl Bench {
    fn store(&self, blocks: usize, kv: KvPrecision) -> KvStore {
        let c = self.decoder.config();
        let (layers, kv_heads, head_dim) = (c.layers, c.kv_heads, c.head_dim);
        KvStore::new(KvShape { layers, kv_heads, head_dim, block_tokens: BLOCK_TOKENS }, kv, blocks)
    }

    /// What the model takes for `spans`.
    fn run(&mut self, spans: &[Span], store: &mut KvStore) -> Result<Cost, EngineBenchError> {
        let Self { decoder, threads, scratch, .. } = self;
        let (began, processor) = (Instant::now(), processor_seconds());
        decoder.forward(spans, store, scratch, threads).map_err(|e| OpenError::Setup(e.to_string()))?;
        let seconds = began.elapsed().as_secs_f64();
        let tokens = spans.iter().map(|span| span.tokens.len()).sum();
        Ok(Cost { tokens, seconds, processor_seconds: processor_seconds() - processor })
    }

    /// `len` tokens from `start` on of a sequence that lies in `blocks`.
    fn span(&self, sequence: usize, start: usize, len: usize, blocks: Vec<BlockId>) -> Span {
        let letters = self.decoder.config().vocab.min(256);
        let tokens = (0..len).map(|i| ((sequence * 31 + (start + i) * 7) % letters) as u32).collect();
        Span { tokens, start, blocks, logits: Logits::Last }
    }

    /// Computes the first `tokens` tokens of a sequence, in chunks.
    fn prefill(
        &mut self,
        tokens: usize,
        store: &mut KvStore,
        options: &SpeedOptions,
    ) -> Result<Cost, EngineBenchError> {
        let blocks = ids(0, tokens.div_ceil(BLOCK_TOKENS));
        let (mut total, mut start) = (Cost::default(), 0);
        while start < tokens {
            let len = options.chunk_tokens.max(1).min(tokens - start);
            let span = self.span(0, start, len, blocks.clone());
            total.add(self.run(&[span], store)?);
            start += len;
        }
        Ok(total)
    }

    fn prompt(&mut self, options: &SpeedOptions) -> Result<Cost, EngineBenchError> {
        let mut store = self.store(options.prompt_tokens.div_ceil(BLOCK_TOKENS), options.kv);
        self.prefill(options.prompt_tokens, &mut store, options)
    }

    fn answers(&mut self, batch: usize, options: &SpeedOptions) -> Result<Cost, EngineBenchError> {
        let (context, answer) = (options.context_tokens.max(1), options.answer_tokens.max(1));
        let shared = options.shared_tokens / BLOCK_TOKENS;
        let own = (context + answer).div_ceil(BLOCK_TOKENS);
        let mut store = self.store(shared + own * batch, options.kv);
        self.prefill(shared * BLOCK_TOKENS, &mut store, options)?;
        let blocks = |s: usize| [ids(0, shared), ids(shared + s * own, own)].concat();
        let begin = shared * BLOCK_TOKENS;
        let prompts: Vec<Span> = (0..batch).map(|s| self.span(s, begin, context, blocks(s))).collect();
        self.run(&prompts, &mut store)?;
        let mut total = Cost::default();
        for step in context..context + answer {
            let spans: Vec<Span> = (0..batch).map(|s| self.span(s, begin + step, 1, blocks(s))).collect();
            total.add(self.run(&spans, &mut store)?);
        }
        Ok(total)
    }
}

fn ids(first: usize, count: usize) -> Vec<BlockId> {
    (first as u32..(first + count) as u32).map(BlockId).collect()
}

/// Measures `models` in turn.
///
/// # Errors
/// A model that cannot be loaded or computed.
pub fn bench_speed(
    models: &[SpeedModel],
    options: &SpeedOptions,
) -> Result<Vec<SpeedReport>, EngineBenchError> {
    let mut what: Vec<String> = options.batches.iter().map(usize::to_string).collect();
    if options.prompt_tokens > 0 {
        what.insert(0, "prompt".into());
    }
    let mut benches = Vec::new();
    for model in models {
        benches.push(Bench {
            decoder: model.load()?,
            threads: Threads::new(options.threads),
            scratch: Scratch::default(),
            samples: vec![Vec::new(); what.len()],
        });
    }
    for _ in 0..options.rounds.max(1) {
        for (i, what) in what.iter().enumerate() {
            for bench in &mut benches {
                let rate = match what.parse() {
                    Ok(batch) => bench.answers(batch, options)?,
                    Err(_) => bench.prompt(options)?,
                };
                bench.samples[i].push(rate);
            }
        }
    }
    let report = |(model, bench): (&SpeedModel, Bench)| SpeedReport {
        model: model.name(),
        threads: options.threads,
        rates: what.iter().cloned().zip(bench.samples).map(|(what, rates)| rate(what, rates)).collect(),
    };
    Ok(models.iter().zip(benches).map(report).collect())
}

fn rate(what: String, samples: Vec<Cost>) -> Rate {
    let rates = |seconds: fn(&Cost) -> f64| {
        let mut rates: Vec<f64> = samples.iter().map(|c| c.tokens as f64 / seconds(c).max(1e-9)).collect();
        rates.sort_by(f64::total_cmp);
        rates
    };
    let (wall, processor) = (rates(|c| c.seconds), rates(|c| c.processor_seconds));
    let median = |rates: &[f64]| rates.get(rates.len() / 2).copied().unwrap_or(0.0);
    let told = samples.iter().all(|c| c.processor_seconds > 0.0);
    Rate {
        what,
        median: median(&wall),
        best: wall.last().copied().unwrap_or(0.0),
        per_processor_second: if told { median(&processor) } else { 0.0 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_kernels_and_the_library_are_measured_side_by_side() {
        let model =
            |kernels| SpeedModel::Random { shape: ModelShape::Tiny, precision: Precision::Q8_0, kernels };
        let options = SpeedOptions {
            threads: 1,
            prompt_tokens: 40,
            chunk_tokens: 16,
            batches: vec![1, 3],
            shared_tokens: 37,
            answer_tokens: 2,
            rounds: 2,
            ..SpeedOptions::default()
        };
        let reports = bench_speed(&[model(Kernels::Own), model(Kernels::Library)], &options).unwrap();
        for (report, name) in reports.iter().zip(["tiny q8_0 own", "tiny q8_0 library"]) {
            assert_eq!(report.model, name);
            let what: Vec<&str> = report.rates.iter().map(|r| r.what.as_str()).collect();
            assert_eq!(what, ["prompt", "1", "3"]);
            assert!(report.rates.iter().all(|r| r.median > 0.0 && r.median <= r.best));
        }
    }
}
