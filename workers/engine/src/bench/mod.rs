//! Measuring a model through the trait: prefill, decode side by side, cold and warm first token.
//!
//! Speed depends on shapes, not on text, so prompts are made of plain words. Medians of several
//! rounds; each stream is drained. Called by `bul model bench`.

mod attention;
#[cfg(any(test, feature = "cuda"))]
mod device;
mod engine;
mod gguf;
mod precision;
mod random;
mod speed;

use std::time::Instant;

use serde::Serialize;
use tokio_util::sync::CancellationToken;

pub use attention::{AttentionLoad, AttentionReport, StepTime, bench_attention};
#[cfg(feature = "cuda")]
pub use device::{Agreement, BatchSpeed, DeviceLoad, DeviceReport, bench_cuda};
pub use engine::{
    EngineBenchError, EngineBenchReport, EngineLoad, Percentiles, bench_engine, bench_engine_file,
};
pub use gguf::write_random_gguf;
pub use precision::Precision;
#[cfg(test)]
pub(crate) use random::RandomSource;
pub use random::{Kernels, ModelShape};
pub use speed::{Rate, SpeedModel, SpeedOptions, SpeedReport, bench_speed};

use crate::generate::{Generate, GenerateError};
use crate::job::{Completion, Message, Request, Role, Sampling, Scope};

/// What to measure.
#[derive(Debug, Clone)]
pub struct BenchOptions {
    /// Words of the public prefix that warm requests share.
    pub prefix_words: usize,
    /// Words of data that each request has for itself.
    pub data_words: usize,
    /// Tokens of each answer.
    pub output_tokens: usize,
    /// Rounds per measurement; the median is reported.
    pub rounds: usize,
    /// Numbers of requests side by side.
    pub concurrency: Vec<usize>,
}

impl Default for BenchOptions {
    fn default() -> Self {
        Self { prefix_words: 120, data_words: 20, output_tokens: 64, rounds: 5, concurrency: vec![1, 4, 8] }
    }
}

/// Throughput at one level of concurrency.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DecodeRate {
    /// Requests side by side.
    pub concurrent: usize,
    /// Output tokens per second, all requests together, prefill included.
    pub tokens_per_second: f64,
}

/// Medians.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BenchReport {
    /// Tokens of the measured prompt.
    pub prompt_tokens: u64,
    /// Prompt tokens per second with nothing cached.
    pub prefill_tokens_per_second: f64,
    /// Output tokens per second of one request after its first token.
    pub decode_tokens_per_second: f64,
    /// Throughput side by side.
    pub decode: Vec<DecodeRate>,
    /// Time to first token with nothing cached, milliseconds.
    pub first_token_cold_ms: f64,
    /// Time to first token with the prefix cached, milliseconds.
    pub first_token_warm_ms: f64,
    /// Cached tokens of the warm prompt.
    pub cached_tokens: u64,
}

const WORDS: [&str; 8] =
    ["invoice", "delivery", "balance", "review", "customer", "report", "amount", "order"];

fn words(count: usize, salt: u64) -> String {
    let mut state = salt;
    let mut out = String::new();
    for _ in 0..count {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        out.push_str(WORDS[(state >> 61) as usize]);
        out.push(' ');
    }
    out
}

fn request(options: &BenchOptions, prefix: u64, data: u64) -> Request {
    let message = |role, text, scope| Message { role, text, scope };
    Request {
        id: format!("bench-{prefix}-{data}"),
        tenant: "bench".into(),
        session: None,
        messages: vec![
            message(Role::System, words(options.prefix_words, prefix), Scope::Public),
            message(Role::User, words(options.data_words, data), Scope::Tenant),
        ],
        sampling: Sampling {
            max_tokens: options.output_tokens.max(2),
            temperature: 1.0,
            top_p: 1.0,
            seed: data,
        },
        stop: Vec::new(),
        constraint: None,
        priority: 0,
    }
}

/// Measures `model`.
///
/// # Errors
/// The first error of a request.
pub async fn bench(model: &dyn Generate, options: &BenchOptions) -> Result<BenchReport, GenerateError> {
    // Other text on each call, so that a second measurement does not find the first one's cache.
    let mut salt = blake3::hash(format!("{:?}", Instant::now()).as_bytes()).as_bytes()[..8]
        .iter()
        .fold(0u64, |n, b| n << 8 | u64::from(*b));
    let mut next = || {
        salt = salt.wrapping_add(0x9e37_79b9_7f4a_7c15);
        salt
    };
    let run = |request| model.generate(request, None, CancellationToken::new());
    let (mut cold, mut warm, mut prefill, mut decode) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut prompt_tokens, mut cached_tokens) = (0, 0);
    for _ in 0..options.rounds.max(1) {
        let prefix = next();
        let first = run(request(options, prefix, next())).await?.receipt;
        let second = run(request(options, prefix, next())).await?.receipt;
        cold.push(first.first_token_ms);
        warm.push(second.first_token_ms);
        prompt_tokens = first.prompt_tokens;
        cached_tokens = second.cached_tokens;
        let computed = first.prompt_tokens - first.cached_tokens;
        prefill.push(rate(computed, first.first_token_ms));
        decode.push(rate(second.output_tokens.saturating_sub(1), second.total_ms - second.first_token_ms));
    }
    let mut side_by_side = Vec::new();
    for &concurrent in &options.concurrency {
        let mut rates = Vec::new();
        let prefix = next();
        for _ in 0..options.rounds.max(1) {
            let started = Instant::now();
            let requests: Vec<_> = (0..concurrent).map(|_| run(request(options, prefix, next()))).collect();
            let done: Result<Vec<Completion>, _> = futures::future::try_join_all(requests).await;
            let tokens: u64 = done?.iter().map(|c| c.receipt.output_tokens).sum();
            rates.push(rate(tokens, started.elapsed().as_secs_f64() * 1e3));
        }
        side_by_side.push(DecodeRate { concurrent, tokens_per_second: median(rates) });
    }
    Ok(BenchReport {
        prompt_tokens,
        prefill_tokens_per_second: median(prefill),
        decode_tokens_per_second: median(decode),
        decode: side_by_side,
        first_token_cold_ms: median(cold),
        first_token_warm_ms: median(warm),
        cached_tokens,
    })
}

/// Per second; 0 when no time passed, as with the scripted model.
fn rate(tokens: u64, ms: f64) -> f64 {
    if ms > 0.0 { tokens as f64 * 1e3 / ms } else { 0.0 }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_model_can_be_measured() {
        let model = crate::testing::model(&crate::EngineOptions { threads: 1, ..Default::default() });
        let options = BenchOptions {
            prefix_words: 10,
            data_words: 3,
            output_tokens: 4,
            rounds: 2,
            concurrency: vec![1, 3],
        };
        let report = bench(&model, &options).await.unwrap();
        assert_eq!(report.decode.len(), 2);
        assert!(report.prompt_tokens > 0 && report.cached_tokens > 0);
        assert!(report.prefill_tokens_per_second > 0.0);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
    }
}
