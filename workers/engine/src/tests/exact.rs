//! Bit-exactness: how the work is cut never changes the result.

use crate::attn::cpu::Attention;
use crate::kv::pool::BlockId;
use crate::kv::precision::KvPrecision;
use crate::kv::{KvShape, KvStore};
use crate::model::config::ModelConfig;
use crate::model::decoder::{Decoder, Logits, Scratch, Span};
use crate::model::threads::Threads;
use crate::model::weights::SafetensorsSource;
use crate::testing;

fn decoder() -> Decoder {
    let config = ModelConfig::from_json(testing::config_json().to_string().as_bytes()).unwrap();
    let weights = testing::weights(3);
    Decoder::load(config, &mut SafetensorsSource::from_bytes(&weights).unwrap()).unwrap()
}

fn store(decoder: &Decoder, precision: KvPrecision, block_tokens: usize, blocks: usize) -> KvStore {
    let c = decoder.config();
    let shape = KvShape { layers: c.layers, kv_heads: c.kv_heads, head_dim: c.head_dim, block_tokens };
    KvStore::new(shape, precision, blocks)
}

fn tokens(len: usize, step: u32) -> Vec<u32> {
    (0..len as u32).map(|i| (i * step + 1) % 261).collect()
}

/// Logits of every position when `tokens` are computed in pieces of `chunk`.
fn run(
    decoder: &Decoder,
    precision: KvPrecision,
    tokens: &[u32],
    chunk: usize,
    block_tokens: usize,
    threads: usize,
) -> Vec<f32> {
    let blocks: Vec<BlockId> = (0..tokens.len().div_ceil(block_tokens) as u32).rev().map(BlockId).collect();
    let mut store = store(decoder, precision, block_tokens, blocks.len());
    let (mut scratch, threads) = (Scratch::default(), Threads::new(threads));
    let mut logits = Vec::new();
    for (i, part) in tokens.chunks(chunk).enumerate() {
        let span =
            Span { tokens: part.to_vec(), start: i * chunk, blocks: blocks.clone(), logits: Logits::All };
        logits.extend(decoder.forward(&[span], &mut store, &mut scratch, &threads).unwrap());
    }
    logits
}

#[test]
fn chunks_blocks_and_threads_change_no_bit() {
    let decoder = decoder();
    let tokens = tokens(75, 7);
    for precision in KvPrecision::ALL {
        let run =
            |chunk, block_tokens, threads| run(&decoder, precision, &tokens, chunk, block_tokens, threads);
        let whole = run(75, 16, 1);
        for chunk in [1, 2, 3, 10, 64] {
            assert_eq!(run(chunk, 16, 1), whole, "{precision:?} chunk {chunk}");
        }
        for block_tokens in [1, 5, 32, 128] {
            let whole = match precision {
                // What a token sees at eight bits is its own block, whatever its size.
                KvPrecision::Int4 => run(75, block_tokens, 1),
                KvPrecision::F32 | KvPrecision::F16 | KvPrecision::Bf16 | KvPrecision::Int8 => whole.clone(),
            };
            for chunk in [75, 1, 7] {
                assert_eq!(
                    run(chunk, block_tokens, 1),
                    whole,
                    "{precision:?} block {block_tokens} chunk {chunk}"
                );
            }
        }
        assert_eq!(run(75, 16, 2), whole, "{precision:?} threads");
    }
}

#[test]
fn neighbours_in_the_batch_change_no_bit() {
    let decoder = decoder();
    for precision in KvPrecision::ALL {
        neighbours(&decoder, precision);
    }
}

fn neighbours(decoder: &Decoder, precision: KvPrecision) {
    let sequences = [tokens(33, 5), tokens(9, 11), tokens(20, 3)];
    let alone: Vec<Vec<f32>> = sequences.iter().map(|s| run(decoder, precision, s, s.len(), 8, 1)).collect();
    let mut store = store(decoder, precision, 8, 16);
    let (mut scratch, threads) = (Scratch::default(), Threads::new(1));
    let spans: Vec<Span> = sequences
        .iter()
        .enumerate()
        .map(|(i, tokens)| Span {
            tokens: tokens.clone(),
            start: 0,
            blocks: (i as u32 * 5..i as u32 * 5 + 5).map(BlockId).collect(),
            logits: Logits::All,
        })
        .collect();
    let together = decoder.forward(&spans, &mut store, &mut scratch, &threads).unwrap();
    assert_eq!(together, alone.concat());
    // One decode step for all three, against each decode alone.
    let next = |logits: Logits| -> Vec<Span> {
        let step = |(span, tokens): (&Span, &Vec<u32>)| Span {
            tokens: vec![42],
            start: tokens.len(),
            blocks: span.blocks.clone(),
            logits,
        };
        spans.iter().zip(&sequences).map(step).collect()
    };
    let together = decoder.forward(&next(Logits::Last), &mut store, &mut scratch, &threads).unwrap();
    let mut alone = Vec::new();
    for span in next(Logits::Last) {
        alone.extend(decoder.forward(&[span], &mut store, &mut scratch, &threads).unwrap());
    }
    assert_eq!(together, alone);
}

/// Sequences behind one prefix, some decoding and one with a piece of its prompt, read its blocks
/// together. Their logits are those of each alone with a cache of its own.
#[test]
fn a_shared_prefix_changes_no_bit() {
    let decoder = decoder();
    let prefix = tokens(48, 7);
    let own = [tokens(1, 5), tokens(1, 9), tokens(21, 3), tokens(1, 2)];
    for precision in KvPrecision::ALL {
        let expected: Vec<f32> = own
            .iter()
            .flat_map(|own| {
                let logits = run(&decoder, precision, &[prefix.as_slice(), own].concat(), 48, 8, 1);
                logits[48 * 272..].to_vec()
            })
            .collect();
        for grouped in [true, false] {
            let mut scratch = Scratch::new(Attention::new(grouped));
            let mut store = store(&decoder, precision, 8, 20);
            let span = |tokens: &[u32], start: usize, blocks: Vec<u32>| Span {
                tokens: tokens.to_vec(),
                start,
                blocks: blocks.into_iter().map(BlockId).collect(),
                logits: Logits::All,
            };
            let common: Vec<u32> = vec![3, 1, 4, 0, 5, 9];
            let threads = Threads::new(1);
            let first = span(&prefix, 0, common.clone());
            decoder.forward(&[first], &mut store, &mut scratch, &threads).unwrap();
            let spans: Vec<Span> = own
                .iter()
                .enumerate()
                .map(|(i, own)| {
                    let behind = [10, 13, 16].map(|id| id + (i as u32 % 3));
                    let behind = if i == 3 { vec![19] } else { behind.to_vec() };
                    span(own, 48, [common.clone(), behind].concat())
                })
                .collect();
            let together = decoder.forward(&spans, &mut store, &mut scratch, &threads).unwrap();
            assert_eq!(together, expected, "{precision:?} grouped {grouped}");
        }
    }
}
