//! Blocks come back as they went, and are read as they were written.

use super::*;

use crate::kv::tier::codec::Codec;
use proptest::prelude::*;

fn filled(shape: KvShape, precision: KvPrecision, seed: u64) -> KvStore {
    use rand::{RngExt, SeedableRng};
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let mut row = || -> Vec<f32> {
        (0..shape.kv_heads * shape.head_dim).map(|_| rng.random::<f32>() * 6.0 - 3.0).collect()
    };
    let mut store = KvStore::new(shape, precision, 2);
    for layer in 0..shape.layers {
        for slot in 0..shape.block_tokens {
            store.write(BlockId(0), layer, slot, &row(), &row());
        }
    }
    store
}

fn exported(store: &KvStore, block: u32) -> Vec<f32> {
    let mut out = vec![1.0];
    store.export(BlockId(block), &mut out);
    out
}

proptest! {
    #[test]
    fn a_block_comes_back_as_it_went(
        kv_heads in 1usize..4, head_dim in 1usize..70, block_tokens in 1usize..20, seed in any::<u64>(),
    ) {
        let shape = KvShape { layers: 2, kv_heads, head_dim, block_tokens };
        let exact = exported(&filled(shape, KvPrecision::F32, seed), 0);
        prop_assert_eq!(exact.len(), 2 * shape.layer_len());
        for (precision, error, lossless) in [
            (KvPrecision::F32, 0.0, vec![Codec::F32]),
            (KvPrecision::F16, 0.001, vec![Codec::F32, Codec::F16]),
            (KvPrecision::Bf16, 0.0079, vec![Codec::F32]),
            (KvPrecision::Int8, 0.0135, vec![Codec::F32, Codec::Int8]),
            // Keys are others, turned: the next test.
            (KvPrecision::Int4, f32::INFINITY, vec![Codec::F32, Codec::Int4]),
        ] {
            let is_turned = precision == KvPrecision::Int4;
            let mut store = filled(shape, precision, seed);
            let values = exported(&store, 0);
            prop_assert!(exact.iter().zip(&values).all(|(a, b)| (a - b).abs() <= error));
            for codec in lossless {
                let bytes = codec.pack(shape, &values, is_turned);
                store.import(BlockId(1), &codec.unpack(shape, &bytes, values.len(), is_turned).unwrap());
                prop_assert_eq!(&exported(&store, 1), &values, "{:?} {:?}", precision, codec);
            }
            // Attention reads the same numbers, each in its place.
            let mut room = Vec::new();
            for head in 0..kv_heads {
                for slot in 0..block_tokens {
                    for d in 0..head_dim {
                        let canonical = |values: usize| {
                            (((2 + values) * kv_heads + head) * block_tokens + slot) * head_dim + d
                        };
                        let key = store.keys((BlockId(0), 1, head), false, &mut room)[d * shape.padded_tokens() + slot];
                        prop_assert_eq!(key.to_bits(), values[canonical(0)].to_bits());
                        let value = store.values((BlockId(0), 1, head), false, &mut room)[slot * shape.padded_dim() + d];
                        prop_assert_eq!(value.to_bits(), values[canonical(1)].to_bits());
                    }
                }
            }
        }
    }
}

/// What four bits hold is within half a step of what was written, keys turned; what a block's own rows see is within half a step of
/// eight bits.
#[test]
fn four_bits_are_near_and_a_blocks_own_rows_see_eight() {
    for head_dim in [1, 6, 32, 48, 64, 128] {
        let shape = KvShape { layers: 2, kv_heads: 2, head_dim, block_tokens: 8 };
        let mut exact = exported(&filled(shape, KvPrecision::F32, 3), 0);
        let store = filled(shape, KvPrecision::Int4, 3);
        let four = exported(&store, 0);
        let (mut keys, mut values) = (Vec::new(), Vec::new());
        for (row, exact) in exact.chunks_exact_mut(head_dim).enumerate() {
            let (slot, plane) = (row % 8, row / 8);
            let (layer, kind, head) = (plane / 4, plane / 2 % 2, plane % 2);
            if kind == 0 {
                four::hadamard(exact);
            }
            let k = store.keys((BlockId(0), layer, head), true, &mut keys);
            let v = store.values((BlockId(0), layer, head), true, &mut values);
            let own = |d: usize| if kind == 0 { k[d * 8 + slot] } else { v[slot * shape.padded_dim() + d] };
            let largest = |of: &[f32]| of.iter().map(|v| v.abs()).fold(0.0, f32::max);
            let whole = largest(exact);
            for (d, value) in exact.iter().enumerate() {
                let group = largest(exact.chunks(four::GROUP).nth(d / four::GROUP).unwrap());
                assert!((value - four[row * head_dim + d]).abs() <= group / 7.0 * 0.51);
                assert!((value - own(d)).abs() <= whole / 127.0 * 0.58);
            }
        }
    }
}

/// Room at eight bits is there for blocks that are being filled, and is used again.
#[test]
fn room_at_eight_bits_is_given_back() {
    let shape = KvShape { layers: 3, kv_heads: 1, head_dim: 32, block_tokens: 4 };
    let mut store = KvStore::new(shape, KvPrecision::Int4, 20);
    let threads = Threads::new(1);
    let step = |store: &mut KvStore, places: &[(u32, usize)]| {
        let places: Vec<_> = places.iter().map(|(block, slot)| (BlockId(*block), *slot)).collect();
        let row = vec![0.5; places.len() * 32];
        (0..3).for_each(|layer| store.write_all(layer, &places, (&row, &row), &threads));
        store.settle();
        store.tail_bytes()
    };
    let block = shape.block_bytes(KvPrecision::Int8);
    let whole: Vec<(u32, usize)> = (0..8).map(|i| (i / 4, i as usize % 4)).collect();
    assert_eq!(step(&mut store, &whole), 2 * block / 3, "one layer of two blocks");
    assert_eq!(step(&mut store, &[(5, 0), (6, 0), (6, 1)]), 2 * block / 3 + 2 * block);
    assert_eq!(step(&mut store, &[(5, 1), (5, 2), (5, 3)]), 2 * block / 3 + 2 * block);
    for other in 7..20 {
        // Block 5 is full, and the sequence of the one before is gone.
        store.leave(&[BlockId(other - 1)]);
        assert_eq!(step(&mut store, &[(other, 0)]), 2 * block / 3 + 2 * block);
    }
    assert!(2 * block / 3 + 2 * block <= shape.tail_bytes(KvPrecision::Int4, 2, 8));
}

/// Sooner than to attend to zeros.
#[test]
#[should_panic(expected = "has no beginning")]
fn a_block_without_a_beginning_is_not_gone_on_with() {
    let shape = KvShape { layers: 1, kv_heads: 1, head_dim: 32, block_tokens: 4 };
    let mut store = KvStore::new(shape, KvPrecision::Int4, 1);
    let row = [0.5; 32];
    store.write(BlockId(0), 0, 0, &row, &row);
    store.leave(&[BlockId(0)]);
    store.write(BlockId(0), 0, 1, &row, &row);
}

#[test]
fn half_a_quarter_and_a_seventh_of_the_bytes_are_held() {
    for (head_dim, int8) in [(32, 3.75), (64, 3.85), (128, 3.93)] {
        let shape = KvShape { layers: 2, kv_heads: 2, head_dim, block_tokens: 16 };
        let bytes = |precision| {
            let store = filled(shape, precision, 1);
            let held = match &store.slabs {
                Slabs::F32(slabs) => slabs.iter().map(|s| s.capacity() * 4).sum::<usize>(),
                Slabs::F16(slabs) | Slabs::Bf16(slabs) => slabs.iter().map(|s| s.capacity() * 2).sum(),
                Slabs::Int8(slabs, scales) => {
                    slabs.iter().map(Vec::capacity).sum::<usize>()
                        + scales.iter().map(|s| s.capacity() * 2).sum::<usize>()
                }
                Slabs::Int4(slabs, scales, _) => {
                    slabs.iter().map(Vec::capacity).sum::<usize>()
                        + scales.iter().map(|s| s.capacity() * 2).sum::<usize>()
                }
            };
            assert_eq!(held, shape.block_bytes(precision), "one block of two was written");
            held as f64
        };
        let whole = bytes(KvPrecision::F32);
        assert_eq!(whole, (2 * shape.layer_len() * 4) as f64);
        assert_eq!(whole / bytes(KvPrecision::F16), 2.0);
        assert_eq!(whole / bytes(KvPrecision::Bf16), 2.0);
        assert!(whole / bytes(KvPrecision::Int8) >= int8);
        assert_eq!(whole / bytes(KvPrecision::Int4), 4.0 / (0.5 + 2.0 / 32.0), "seven times");
    }
}

#[test]
fn nothing_written_is_nothing_exported() {
    for precision in KvPrecision::ALL {
        let shape = KvShape { layers: 2, kv_heads: 2, head_dim: 8, block_tokens: 4 };
        assert!(exported(&filled(shape, precision, 1), 1).is_empty());
    }
}
