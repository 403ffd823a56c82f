//! The bytes of KV blocks.
//!
//! One slab per block: for each layer keys `[kv_heads, head_dim, block_tokens]`, then values
//! `[kv_heads, block_tokens, head_dim]`. Keys lie across, so that the scores of neighbouring keys
//! are neighbours in a vector and no sum goes over lanes. Readers get whole vectors: rows of other
//! lengths are spread on the way. A slab is allocated when its block is first written, so an idle
//! engine holds no cache memory. Owned by the model runner.

use half::{bf16, f16};

use super::pool::BlockId;
use super::precision::{self, KvPrecision};
use super::slab::{Slabs, prefetch};
use crate::model::threads::Threads;

/// What writing one number of a key and one of a value takes, in multiply-adds.
const WRITE_COST: usize = 10;

/// Rows that are read are multiples of this many values: a vector of AVX2, two of NEON.
pub(crate) const LANES: usize = 8;

/// Sizes that fix the layout of a slab.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KvShape {
    pub layers: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub block_tokens: usize,
}

impl KvShape {
    /// Numbers of one layer of one block.
    pub fn layer_len(&self) -> usize {
        2 * self.head_len() * self.kv_heads
    }

    /// Bytes of one block.
    pub fn block_bytes(&self, precision: KvPrecision) -> usize {
        let values = self.layers * self.layer_len();
        match precision {
            KvPrecision::F32 => values * size_of::<f32>(),
            KvPrecision::F16 | KvPrecision::Bf16 => values * size_of::<u16>(),
            KvPrecision::Int8 => values + self.scales() * size_of::<u16>(),
        }
    }

    /// Length of a row of keys, as it is read.
    pub fn padded_tokens(&self) -> usize {
        self.block_tokens.next_multiple_of(LANES)
    }

    /// Length of a row of values, as it is read.
    pub fn padded_dim(&self) -> usize {
        self.head_dim.next_multiple_of(LANES)
    }

    /// Numbers of the keys, or of the values, of one head of one layer of a block.
    pub(super) fn head_len(&self) -> usize {
        self.block_tokens * self.head_dim
    }

    /// Where they start: of the keys with `kind` 0, of the values with 1.
    pub(super) fn head_at(&self, layer: usize, kind: usize, head: usize) -> usize {
        ((2 * layer + kind) * self.kv_heads + head) * self.head_len()
    }

    /// Scales of a block: `[layers, keys and values, kv_heads, block_tokens]`.
    pub(super) fn scales(&self) -> usize {
        2 * self.layers * self.kv_heads * self.block_tokens
    }

    pub(super) fn scales_at(&self, layer: usize, kind: usize, head: usize) -> usize {
        ((2 * layer + kind) * self.kv_heads + head) * self.block_tokens
    }
}

/// Slabs by block id.
pub(crate) struct KvStore {
    shape: KvShape,
    slabs: Slabs,
}

impl KvStore {
    /// Room for `blocks` blocks, none allocated yet.
    pub fn new(shape: KvShape, precision: KvPrecision, blocks: usize) -> Self {
        let slabs = match precision {
            KvPrecision::F32 => Slabs::F32(vec![Vec::new(); blocks]),
            KvPrecision::F16 => Slabs::F16(vec![Vec::new(); blocks]),
            KvPrecision::Bf16 => Slabs::Bf16(vec![Vec::new(); blocks]),
            KvPrecision::Int8 => Slabs::Int8(vec![Vec::new(); blocks], vec![Vec::new(); blocks]),
        };
        Self { shape, slabs }
    }

    /// Layout.
    pub fn shape(&self) -> KvShape {
        self.shape
    }

    /// Writes the keys and values of one token, each `[kv_heads, head_dim]`.
    pub fn write(&mut self, block: BlockId, layer: usize, slot: usize, k: &[f32], v: &[f32]) {
        self.slabs.one(block.0 as usize).write(self.shape, (layer, slot), k, v);
    }

    /// The same for one token in each of `places`, of which there are as many as rows of `k` and
    /// `v`. Blocks are shared out among the threads.
    pub fn write_all(
        &mut self,
        layer: usize,
        places: &[(BlockId, usize)],
        (k, v): (&[f32], &[f32]),
        threads: &Threads,
    ) {
        let shape = self.shape;
        let width = shape.kv_heads * shape.head_dim;
        let mut order: Vec<usize> = (0..places.len()).collect();
        order.sort_by_key(|row| places[*row].0);
        let rows: Vec<&[usize]> = order.chunk_by(|a, b| places[*a].0 == places[*b].0).collect();
        let blocks: Vec<usize> = rows.iter().map(|rows| places[rows[0]].0.0 as usize).collect();
        let mut items: Vec<_> = self.slabs.of(&blocks).into_iter().zip(rows).collect();
        let parts = threads.share(k.len() * WRITE_COST).min(items.len()).max(1);
        let size = items.len().div_ceil(parts).max(1);
        threads.for_each(items.chunks_mut(size).collect(), |items| {
            for (slab, rows) in items {
                for row in *rows {
                    let at = row * width..(row + 1) * width;
                    slab.write(shape, (layer, places[*row].1), &k[at.clone()], &v[at]);
                }
            }
        });
    }

    /// Keys of one head of a written block, `[head_dim, padded_tokens]`. Where the slab does not
    /// hold them like this, they are put into `room`.
    pub fn keys<'a>(
        &'a self,
        block: BlockId,
        layer: usize,
        head: usize,
        room: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        self.read(block, (layer, 0, head), self.shape.block_tokens, room)
    }

    /// Values of one head of a written block, `[block_tokens, padded_dim]`. Where the slab does not
    /// hold them like this, they are put into `room`.
    pub fn values<'a>(
        &'a self,
        block: BlockId,
        layer: usize,
        head: usize,
        room: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        self.read(block, (layer, 1, head), self.shape.head_dim, room)
    }

    /// Asks for the keys (`kind` 0) or the values (1) of one head of a written block: a block's part
    /// of a layer is short, and the processor does not guess where the next one lies.
    pub fn prefetch(&self, block: BlockId, layer: usize, kind: usize, head: usize) {
        let (shape, at) = (self.shape, block.0 as usize);
        let start = shape.head_at(layer, kind, head);
        let range = start..start + shape.head_len();
        match &self.slabs {
            Slabs::F32(slabs) => prefetch(&slabs[at][range]),
            Slabs::F16(slabs) | Slabs::Bf16(slabs) => prefetch(&slabs[at][range]),
            Slabs::Int8(slabs, _) => prefetch(&slabs[at][range]),
        }
    }

    /// Rows of `row` numbers, each filled up to whole vectors.
    fn read<'a>(
        &'a self,
        block: BlockId,
        (layer, kind, head): (usize, usize, usize),
        row: usize,
        room: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        let (shape, at) = (self.shape, block.0 as usize);
        let start = shape.head_at(layer, kind, head);
        let range = start..start + shape.head_len();
        if let (Slabs::F32(slabs), true) = (&self.slabs, row.is_multiple_of(LANES)) {
            return &slabs[at][range];
        }
        room.resize(range.len(), 0.0);
        match &self.slabs {
            Slabs::F32(slabs) => room.copy_from_slice(&slabs[at][range]),
            Slabs::F16(slabs) => precision::unpack_f16(&slabs[at][range], room),
            Slabs::Bf16(slabs) => precision::unpack_bf16(&slabs[at][range], room),
            Slabs::Int8(slabs, scales) => {
                let scales = &scales[at][shape.scales_at(layer, kind, head)..][..shape.block_tokens];
                match kind {
                    0 => precision::unpack_int8_keys(&slabs[at][range], scales, room),
                    _ => precision::unpack_int8_values(&slabs[at][range], scales, room),
                }
            }
        }
        spread(room, row);
        room
    }

    /// Copies a block into `out`, whatever its precision and layout here: for each layer keys
    /// `[kv_heads, block_tokens, head_dim]`, then values alike. Leaves `out` empty when nothing was
    /// written yet.
    pub fn export(&self, block: BlockId, out: &mut Vec<f32>) {
        let (shape, at) = (self.shape, block.0 as usize);
        out.clear();
        match &self.slabs {
            Slabs::F32(slabs) => gather(&slabs[at], shape, out, |value, _| value),
            Slabs::F16(slabs) => {
                gather(&slabs[at], shape, out, |bits, _| f16::from_bits(bits).to_f32());
            }
            Slabs::Bf16(slabs) => {
                gather(&slabs[at], shape, out, |bits, _| bf16::from_bits(bits).to_f32());
            }
            Slabs::Int8(slabs, scales) => gather(&slabs[at], shape, out, |value, row| {
                f32::from(value) * f16::from_bits(scales[at][row]).to_f32()
            }),
        }
    }

    /// Fills a block with what `export` gave for one of the same contents.
    pub fn import(&mut self, block: BlockId, values: &[f32]) {
        let shape = self.shape;
        let (mut k, mut v) = (Vec::new(), Vec::new());
        for (layer, values) in values.chunks_exact(shape.layer_len().max(1)).enumerate() {
            let (keys, values) = values.split_at(values.len() / 2);
            for slot in 0..shape.block_tokens {
                for (row, from) in [(&mut k, keys), (&mut v, values)] {
                    row.clear();
                    for head in 0..shape.kv_heads {
                        let start = (head * shape.block_tokens + slot) * shape.head_dim;
                        row.extend_from_slice(&from[start..start + shape.head_dim]);
                    }
                }
                self.write(block, layer, slot, &k, &v);
            }
        }
    }
}

/// Fills rows of `row` numbers up to whole vectors, where they are.
fn spread(rows: &mut Vec<f32>, row: usize) {
    let padded = row.next_multiple_of(LANES);
    if padded == row {
        return;
    }
    let count = rows.len() / row;
    rows.resize(count * padded, 0.0);
    // From the last row on: each moves to where nothing is that has yet to move.
    for i in (0..count).rev() {
        rows.copy_within(i * row..(i + 1) * row, i * padded);
        rows[i * padded + row..(i + 1) * padded].fill(0.0);
    }
}

/// Reads all rows of a slab; `read` gets a value and the number of its row.
fn gather<T: Copy>(slab: &[T], shape: KvShape, out: &mut Vec<f32>, read: impl Fn(T, usize) -> f32) {
    if slab.is_empty() {
        return;
    }
    out.reserve(shape.layers * shape.layer_len());
    for layer in 0..shape.layers {
        for kind in 0..2 {
            for head in 0..shape.kv_heads {
                let numbers = &slab[shape.head_at(layer, kind, head)..][..shape.head_len()];
                for slot in 0..shape.block_tokens {
                    let row = shape.scales_at(layer, kind, head) + slot;
                    let (start, step) =
                        if kind == 0 { (slot, shape.block_tokens) } else { (slot * shape.head_dim, 1) };
                    let row_of = numbers[start..].iter().step_by(step).take(shape.head_dim);
                    out.extend(row_of.map(|number| read(*number, row)));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
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
            ] {
                let mut store = filled(shape, precision, seed);
                let values = exported(&store, 0);
                prop_assert!(exact.iter().zip(&values).all(|(a, b)| (a - b).abs() <= error));
                for codec in lossless {
                    let bytes = codec.encode(shape, &values);
                    store.import(BlockId(1), &codec.decode(shape, &bytes, values.len()).unwrap());
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
                            let key = store.keys(BlockId(0), 1, head, &mut room)[d * shape.padded_tokens() + slot];
                            prop_assert_eq!(key.to_bits(), values[canonical(0)].to_bits());
                            let value = store.values(BlockId(0), 1, head, &mut room)[slot * shape.padded_dim() + d];
                            prop_assert_eq!(value.to_bits(), values[canonical(1)].to_bits());
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn half_and_quarter_of_the_bytes_are_held() {
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
                };
                assert_eq!(held, shape.block_bytes(precision), "one block of two was written");
                held as f64
            };
            let whole = bytes(KvPrecision::F32);
            assert_eq!(whole, (2 * shape.layer_len() * 4) as f64);
            assert_eq!(whole / bytes(KvPrecision::F16), 2.0);
            assert_eq!(whole / bytes(KvPrecision::Bf16), 2.0);
            assert!(whole / bytes(KvPrecision::Int8) >= int8);
        }
    }

    #[test]
    fn nothing_written_is_nothing_exported() {
        for precision in KvPrecision::ALL {
            let shape = KvShape { layers: 2, kv_heads: 2, head_dim: 8, block_tokens: 4 };
            assert!(exported(&filled(shape, precision, 1), 1).is_empty());
        }
    }
}
