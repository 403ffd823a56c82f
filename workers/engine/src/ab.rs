//! Two engines over the same traffic: which one finds more, which one answers sooner, and whether
//! the difference is more than chance.
//!
//! Requests come in the same order and the same waves to both sides, so differences are taken
//! request by request, and a permutation of their signs says how likely they are without cause.

use std::time::Instant;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::generate::{Generate, GenerateError};
use crate::job::{Receipt, Request};

/// How to compare.
#[derive(Debug, Clone, Copy)]
pub struct AbOptions {
    /// Requests side by side.
    pub concurrent: usize,
    /// Permutations drawn; more resolve smaller probabilities.
    pub permutations: u32,
    /// A difference counts when chance alone would reach it less often than this.
    pub chance_max: f64,
    /// Decides which permutations are drawn.
    pub seed: u64,
}

impl Default for AbOptions {
    fn default() -> Self {
        Self { concurrent: 8, permutations: 2000, chance_max: 0.05, seed: 0 }
    }
}

/// One side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AbSide {
    /// Part of the prompt tokens found in the cache, 0 to 1.
    pub hit_rate: f64,
    /// Output tokens per second, over all waves.
    pub tokens_per_second: f64,
    /// Mean time of an answer, its wait included, milliseconds.
    pub mean_ms: f64,
    /// Median of the same.
    pub p50_ms: f64,
    /// 99th percentile of the same.
    pub p99_ms: f64,
}

/// One measure on both sides.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Comparison {
    /// Mean of `b` less mean of `a`.
    pub difference: f64,
    /// How often chance alone gives a difference at least as large, 0 to 1.
    pub chance: f64,
}

/// Who is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Winner {
    /// The first side.
    A,
    /// The second side.
    B,
    /// The difference may be chance.
    Neither,
}

/// The outcome.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AbReport {
    /// Requests per side.
    pub requests: usize,
    /// First side.
    pub a: AbSide,
    /// Second side.
    pub b: AbSide,
    /// Hit tokens per request.
    pub hit_tokens: Comparison,
    /// Time per answer, milliseconds.
    pub latency_ms: Comparison,
    /// By hit tokens, which do not depend on the machine's mood.
    pub winner_by_hits: Winner,
    /// By time.
    pub winner_by_latency: Winner,
}

/// Runs `traffic` on both models, first on `a`, then on `b`, and compares.
///
/// # Errors
/// The first error of a request.
pub async fn ab(
    a: &dyn Generate,
    b: &dyn Generate,
    traffic: &[Request],
    options: &AbOptions,
) -> Result<AbReport, GenerateError> {
    let (of_a, seconds_a) = run(a, traffic, options.concurrent).await?;
    let (of_b, seconds_b) = run(b, traffic, options.concurrent).await?;
    let compare = |measure: fn(&Receipt) -> f64| {
        let differences: Vec<f64> = of_a.iter().zip(&of_b).map(|(a, b)| measure(b) - measure(a)).collect();
        paired(&differences, options.permutations, options.seed)
    };
    let hit_tokens = compare(|r| r.cached_tokens as f64);
    let latency_ms = compare(latency_ms);
    let winner = |c: Comparison, more_is_better: bool| match c.chance < options.chance_max {
        false => Winner::Neither,
        true if (c.difference > 0.0) == more_is_better => Winner::B,
        true => Winner::A,
    };
    Ok(AbReport {
        requests: traffic.len(),
        a: side(&of_a, seconds_a),
        b: side(&of_b, seconds_b),
        hit_tokens,
        latency_ms,
        winner_by_hits: winner(hit_tokens, true),
        winner_by_latency: winner(latency_ms, false),
    })
}

fn latency_ms(receipt: &Receipt) -> f64 {
    receipt.queue_ms + receipt.total_ms
}

async fn run(
    model: &dyn Generate,
    traffic: &[Request],
    concurrent: usize,
) -> Result<(Vec<Receipt>, f64), GenerateError> {
    let started = Instant::now();
    let mut receipts = Vec::with_capacity(traffic.len());
    for wave in traffic.chunks(concurrent.max(1)) {
        let runs = wave.iter().map(|request| model.generate(request.clone(), None, CancellationToken::new()));
        receipts.extend(futures::future::try_join_all(runs).await?.into_iter().map(|done| done.receipt));
    }
    Ok((receipts, started.elapsed().as_secs_f64()))
}

fn side(receipts: &[Receipt], seconds: f64) -> AbSide {
    let sum = |measure: fn(&Receipt) -> u64| receipts.iter().map(measure).sum::<u64>() as f64;
    let mut times: Vec<f64> = receipts.iter().map(latency_ms).collect();
    times.sort_by(f64::total_cmp);
    let at = |part: f64| {
        let index = (times.len() as f64 * part) as usize;
        times.get(index.min(times.len().saturating_sub(1))).copied().unwrap_or(0.0)
    };
    AbSide {
        hit_rate: sum(|r| r.cached_tokens) / sum(|r| r.prompt_tokens).max(1.0),
        tokens_per_second: sum(|r| r.output_tokens) / seconds.max(1e-9),
        mean_ms: times.iter().sum::<f64>() / times.len().max(1) as f64,
        p50_ms: at(0.5),
        p99_ms: at(0.99),
    }
}

/// Flips the signs of `differences` at random: without a cause either sign is as likely.
fn paired(differences: &[f64], permutations: u32, seed: u64) -> Comparison {
    let sum: f64 = differences.iter().sum();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut as_large = 1;
    for _ in 0..permutations {
        let flipped: f64 = differences.iter().map(|d| if rng.random::<bool>() { *d } else { -d }).sum();
        // A hair of slack: sums in another order differ in the last digit.
        if flipped.abs() >= sum.abs() * (1.0 - 1e-12) {
            as_large += 1;
        }
    }
    Comparison {
        difference: sum / differences.len().max(1) as f64,
        chance: f64::from(as_large) / f64::from(permutations + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EngineOptions;
    use crate::testing;

    #[test]
    fn chance_is_small_only_where_there_is_a_cause() {
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let noise: Vec<f64> = (0..60).map(|_| rng.random::<f64>() - 0.5).collect();
        let shifted: Vec<f64> = noise.iter().map(|d| d + 0.4).collect();
        assert!(paired(&shifted, 2000, 1).chance < 0.01);
        // Of a hundred runs without a cause about five fall below five hundredths.
        let below = (0..100)
            .filter(|_| {
                let noise: Vec<f64> = (0..30).map(|_| rng.random::<f64>() - 0.5).collect();
                paired(&noise, 400, 1).chance < 0.05
            })
            .count();
        assert!(below < 15, "{below}");
        assert_eq!(paired(&[0.0; 10], 100, 1).chance, 1.0);
    }

    #[tokio::test]
    async fn an_engine_with_room_for_a_cache_beats_one_without() {
        let engine = |blocks: usize| {
            let options = EngineOptions { threads: 1, block_tokens: 4, ..EngineOptions::default() };
            // Two layers, two heads of eight, keys and values.
            testing::model(&EngineOptions { kv_bytes_max: blocks * 4 * 2 * 2 * 2 * 8 * 4, ..options })
        };
        let traffic: Vec<Request> = (0..40)
            .map(|i| {
                let mut request = testing::request(&format!("{} {i}", "data ".repeat(8)));
                request.messages[0].text =
                    format!("Template {} with some words of its own.", i % 4).repeat(2);
                request
            })
            .collect();
        let options = AbOptions { concurrent: 2, ..AbOptions::default() };
        let report = ab(&engine(80), &engine(1000), &traffic, &options).await.unwrap();
        assert_eq!(report.winner_by_hits, Winner::B, "{report:?}");
        assert!(report.b.hit_rate > report.a.hit_rate);
        let report = ab(&engine(1000), &engine(1000), &traffic, &options).await.unwrap();
        assert_eq!(report.winner_by_hits, Winner::Neither, "{report:?}");
    }
}
