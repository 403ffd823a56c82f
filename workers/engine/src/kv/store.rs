//! The bytes of KV blocks.
//!
//! One slab per block: for each layer keys `[kv_heads, head_dim, block_tokens]`, then values
//! `[kv_heads, block_tokens, head_dim]`. Keys lie across, so that the scores of neighbouring keys
//! are neighbours in a vector and no sum goes over lanes. Readers get whole vectors: rows of other
//! lengths are spread on the way. A slab is allocated when its block is first written, so an idle
//! engine holds no cache memory. Owned by the model runner.

use half::{bf16, f16};

use super::four;
use super::pool::BlockId;
use super::precision::{self, KvPrecision};
use super::shape::{KvShape, LANES};
use super::slab::{Slabs, prefetch};
use super::tail::{Part, Tails};
use crate::model::threads::Threads;

/// What writing one number of a key and one of a value takes, in multiply-adds.
const WRITE_COST: usize = 10;

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
            KvPrecision::Int4 => {
                Slabs::Int4(vec![Vec::new(); blocks], vec![Vec::new(); blocks], Tails::new(blocks))
            }
        };
        Self { shape, slabs }
    }

    /// Layout.
    pub fn shape(&self) -> KvShape {
        self.shape
    }

    /// At four bits: keys are turned, so that queries must be, and a row sees the block of its own last key at eight bits.
    pub fn is_four_bit(&self) -> bool {
        matches!(self.slabs, Slabs::Int4(..))
    }

    /// A step is over: of full blocks, no more is kept than what later blocks see.
    pub fn settle(&mut self) {
        if let Slabs::Int4(_, _, tails) = &mut self.slabs {
            tails.settle();
        }
    }

    /// A sequence with these blocks ends or starts again: what it has begun is not gone on with.
    pub fn leave(&mut self, blocks: &[BlockId]) {
        if let Slabs::Int4(_, _, tails) = &mut self.slabs {
            blocks.iter().for_each(|block| tails.close(block.0 as usize));
        }
    }

    /// Bytes held besides the blocks; see [`KvShape::tail_bytes`].
    pub fn tail_bytes(&self) -> usize {
        match &self.slabs {
            Slabs::Int4(_, _, tails) => tails.bytes(),
            Slabs::F32(_) | Slabs::F16(_) | Slabs::Bf16(_) | Slabs::Int8(..) => 0,
        }
    }

    /// Writes the keys and values of one token, each `[kv_heads, head_dim]`.
    pub fn write(&mut self, block: BlockId, layer: usize, slot: usize, k: &[f32], v: &[f32]) {
        let part = Part { block: block.0 as usize, first: slot, slots: 1 };
        self.slabs.open(&[part], self.shape.block_tokens);
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
        let part = |rows: &&[usize]| {
            let (block, first) = places[rows[0]];
            Part { block: block.0 as usize, first, slots: rows.len() }
        };
        let parts: Vec<Part> = rows.iter().map(part).collect();
        self.slabs.open(&parts, shape.block_tokens);
        let blocks: Vec<usize> = parts.iter().map(|part| part.block).collect();
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

    /// Keys of one head of a written block, `[head_dim, padded_tokens]`, as rows of the same block (`is_own`) or of later ones
    /// see them. Where the slab does not hold them like this, they are put into `room`.
    pub fn keys<'a>(
        &'a self,
        (block, layer, head): (BlockId, usize, usize),
        is_own: bool,
        room: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        self.seen(block, (layer, 0, head), is_own, room)
    }

    /// Values of one head of a written block, `[block_tokens, padded_dim]`, in the same way.
    pub fn values<'a>(
        &'a self,
        (block, layer, head): (BlockId, usize, usize),
        is_own: bool,
        room: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        self.seen(block, (layer, 1, head), is_own, room)
    }

    fn seen<'a>(
        &'a self,
        block: BlockId,
        at: (usize, usize, usize),
        is_own: bool,
        room: &'a mut Vec<f32>,
    ) -> &'a [f32] {
        let row = if at.1 == 0 { self.shape.block_tokens } else { self.shape.head_dim };
        let tail = match &self.slabs {
            Slabs::Int4(_, _, tails) if is_own => tails.get(block.0 as usize),
            Slabs::F32(_) | Slabs::F16(_) | Slabs::Bf16(_) | Slabs::Int8(..) | Slabs::Int4(..) => None,
        };
        let Some(tail) = tail else { return self.read(block, at, row, room) };
        let (values, scales) = tail.read(self.shape, at);
        room.resize(values.len(), 0.0);
        match at.1 {
            0 => precision::unpack_int8_keys(values, scales, room),
            _ => precision::unpack_int8_values(values, scales, room),
        }
        spread(room, row);
        room
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
            Slabs::Int4(slabs, _, _) => {
                let shape = shape.four_bytes();
                prefetch(&slabs[at][shape.head_at(layer, kind, head)..][..shape.head_len()]);
            }
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
            Slabs::Int4(slabs, scales, _) => {
                unpack_four((&slabs[at], &scales[at]), shape, (layer, kind, head), room);
            }
        }
        spread(room, row);
        room
    }

    /// Copies a block into `out`, whatever its precision and layout here: for each layer keys
    /// `[kv_heads, block_tokens, head_dim]`, then values alike. Leaves `out` empty when nothing was
    /// written yet. Keys of a four-bit store are turned.
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
            Slabs::Int4(slabs, _, _) if slabs[at].is_empty() => {}
            Slabs::Int4(slabs, scales, _) => {
                let mut wide = vec![0.0; shape.layers * shape.layer_len()];
                for (index, out) in wide.chunks_exact_mut(shape.head_len()).enumerate() {
                    let (of, head) = (index / shape.kv_heads, index % shape.kv_heads);
                    unpack_four((&slabs[at], &scales[at]), shape, (of / 2, of % 2, head), out);
                }
                gather(&wide, shape, out, |value, _| value);
            }
        }
    }

    /// Fills a block with what `export` gave for one of the same contents.
    pub fn import(&mut self, block: BlockId, values: &[f32]) {
        let shape = self.shape;
        self.leave(&[block]);
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
                self.slabs.one(block.0 as usize).write(shape, (layer, slot), &k, &v);
            }
        }
    }
}

/// Reads the keys (`kind` 0) or values (1) of one head at four bits.
fn unpack_four(
    (slab, scales): (&[u8], &[u16]),
    shape: KvShape,
    (layer, kind, head): (usize, usize, usize),
    out: &mut [f32],
) {
    let (bytes, groups) = (shape.four_bytes(), shape.four_scales());
    let packed = &slab[bytes.head_at(layer, kind, head)..][..bytes.head_len()];
    let scales = &scales[groups.head_at(layer, kind, head)..][..groups.head_len()];
    match kind {
        0 => four::unpack_keys(packed, scales, shape.block_tokens, out),
        _ => four::unpack_values(packed, scales, shape.block_tokens, out),
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
mod tests;
