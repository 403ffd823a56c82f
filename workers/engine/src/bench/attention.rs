//! Attention alone: one step of many sequences behind one prefix, with and without shared reads.
//!
//! All layers of a real shape are there with their own keys and values, so that the caches of the
//! processor hold no more of them than in a real step. Both ways run by turns, since other work on
//! the machine comes and goes. Called by `--example attention`.

use std::time::Instant;

use serde::Serialize;

use super::random::ModelShape;
use crate::attn::cpu::Attention;
use crate::attn::plan::Row;
use crate::kv::pool::BlockId;
use crate::kv::precision::KvPrecision;
use crate::kv::{KvShape, KvStore};
use crate::model::config::ModelConfig;
use crate::model::threads::Threads;
use crate::open::OpenError;

/// Numbers that keys, values and queries are cut from; a prime, so that rows differ.
const POOL: usize = 100_003;

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AttentionLoad {
    /// Sequences.
    pub sequences: usize,
    /// Tokens that all of them begin with.
    pub prefix_tokens: usize,
    /// Tokens that each has for itself behind these; at least one.
    pub own_tokens: usize,
    /// Of these, tokens computed in the step: one for decoding, more for a piece of a prompt.
    pub rows: usize,
    /// Precision of keys and values.
    pub precision: KvPrecision,
    /// Threads.
    pub threads: usize,
    /// Steps of each way.
    pub rounds: usize,
}

impl Default for AttentionLoad {
    fn default() -> Self {
        Self {
            sequences: 32,
            prefix_tokens: 512,
            own_tokens: 64,
            rows: 1,
            precision: KvPrecision::F32,
            threads: 2,
            rounds: 7,
        }
    }
}

/// Milliseconds of one step, all layers together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct StepTime {
    /// Median.
    pub p50: f64,
    /// Least: what it takes when nothing else runs.
    pub least: f64,
}

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AttentionReport {
    /// What was asked for.
    pub load: AttentionLoad,
    /// Bytes of keys and values that are held.
    pub kv_bytes: usize,
    /// Rows that begin alike read together.
    pub grouped: StepTime,
    /// Each row reads for itself.
    pub alone: StepTime,
}

/// Runs one step of `load` again and again at the attention's shape of a model.
///
/// # Errors
/// When the shape is none.
pub fn bench_attention(shape: ModelShape, load: &AttentionLoad) -> Result<AttentionReport, OpenError> {
    let config = shape.config()?;
    let (store, tables) = stored(&config, load);
    let own = load.own_tokens.max(1);
    let count = load.rows.clamp(1, own);
    let rows: Vec<Row<'_>> = tables
        .iter()
        .flat_map(|blocks| {
            let last = load.prefix_tokens + own;
            (last - count + 1..=last).map(|context| Row { blocks, context })
        })
        .collect();
    let q = cut(&pool(), 17, rows.len() * config.heads * config.head_dim);
    let threads = Threads::new(load.threads);
    let ways = [Attention::new(true), Attention::new(false)];
    let mut times = [Vec::new(), Vec::new()];
    let mut out = vec![0.0; q.len()];
    // The first round of each way warms up.
    for round in 0..=load.rounds.max(1) {
        for (way, times) in ways.iter().zip(&mut times) {
            let started = Instant::now();
            let plan = way.plan(&rows, config.heads / config.kv_heads, &store);
            for layer in 0..config.layers {
                way.attend(&plan, &q, &store, layer, &mut out, &threads);
            }
            if round > 0 {
                times.push(started.elapsed().as_secs_f64() * 1e3);
            }
        }
    }
    let [grouped, alone] = times.map(|mut times| {
        times.sort_by(f64::total_cmp);
        StepTime { p50: times[times.len() / 2], least: times[0] }
    });
    let blocks = tables.iter().map(|table| table.len() - shared(load)).sum::<usize>() + shared(load);
    let kv_bytes = blocks * store.shape().block_bytes(load.precision);
    Ok(AttentionReport { load: *load, kv_bytes, grouped, alone })
}

const BLOCK_TOKENS: usize = 16;

/// Full blocks of the prefix.
fn shared(load: &AttentionLoad) -> usize {
    load.prefix_tokens / BLOCK_TOKENS
}

fn stored(config: &ModelConfig, load: &AttentionLoad) -> (KvStore, Vec<Vec<BlockId>>) {
    let shape = KvShape {
        layers: config.layers,
        kv_heads: config.kv_heads,
        head_dim: config.head_dim,
        block_tokens: BLOCK_TOKENS,
    };
    let all = (load.prefix_tokens + load.own_tokens.max(1)).div_ceil(BLOCK_TOKENS);
    let own = all - shared(load);
    let tables: Vec<Vec<BlockId>> = (0..load.sequences)
        .map(|i| {
            let first = shared(load) + i * own;
            (0..shared(load)).chain(first..first + own).map(|id| BlockId(id as u32)).collect()
        })
        .collect();
    let blocks = shared(load) + load.sequences * own;
    let mut store = KvStore::new(shape, load.precision, blocks);
    let (pool, width) = (pool(), shape.kv_heads * shape.head_dim);
    let mut at = 0;
    for block in 0..blocks {
        for layer in 0..shape.layers {
            for slot in 0..BLOCK_TOKENS {
                let (k, v) = (cut(&pool, at, width), cut(&pool, at + width, width));
                store.write(BlockId(block as u32), layer, slot, &k, &v);
                at += 2 * width;
            }
        }
    }
    (store, tables)
}

fn pool() -> Vec<f32> {
    use rand::{RngExt, SeedableRng};
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(3);
    (0..POOL).map(|_| rng.random::<f32>() - 0.5).collect()
}

fn cut(pool: &[f32], from: usize, len: usize) -> Vec<f32> {
    pool.iter().copied().cycle().skip(from % POOL).take(len).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_are_measured() {
        for precision in KvPrecision::ALL {
            let load = AttentionLoad {
                sequences: 3,
                prefix_tokens: 40,
                own_tokens: 20,
                rows: 4,
                precision,
                threads: 1,
                rounds: 2,
            };
            let report = bench_attention(ModelShape::Tiny, &load).unwrap();
            let of = |time: StepTime| time.least > 0.0 && time.least <= time.p50;
            assert!(of(report.grouped) && of(report.alone), "{report:?}");
            // Two full blocks of the prefix, and two more blocks of each sequence.
            let floats = (2 + 3 * 2) * 16 * 2 * 2 * 2 * 16;
            let bytes = [floats * 4, floats * 2, floats + floats / 16 * 2, floats / 2 + floats / 16 * 2];
            assert!(bytes.contains(&report.kv_bytes), "{report:?}");
        }
    }
}
