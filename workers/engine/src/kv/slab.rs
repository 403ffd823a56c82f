//! Slabs: where the numbers of a block lie, and how one token's are written.
//!
//! A slab is allocated when its block is first written. Different blocks may be written at the same
//! time. Called by `store`.

use super::shape::KvShape;
use super::tail::{Part, Tail, Tails};
use super::{four, precision};

/// Slabs of one precision.
pub(super) enum Slabs {
    F32(Vec<Vec<f32>>),
    /// Bits of half-precision numbers.
    F16(Vec<Vec<u16>>),
    /// Upper halves of numbers.
    Bf16(Vec<Vec<u16>>),
    /// Eight-bit values, and the bits of their half-precision scales.
    Int8(Vec<Vec<i8>>, Vec<Vec<u16>>),
    /// Pairs of four-bit values, the bits of their scales, and blocks that are being filled.
    Int4(Vec<Vec<u8>>, Vec<Vec<u16>>, Tails),
}

impl Slabs {
    /// Says what will be written next, before it is.
    pub fn open(&mut self, parts: &[Part], block_tokens: usize) {
        if let Self::Int4(_, _, tails) = self {
            tails.open(parts, block_tokens);
        }
    }

    /// That of a block.
    pub fn one(&mut self, block: usize) -> Slab<'_> {
        match self {
            Self::F32(slabs) => Slab::F32(&mut slabs[block]),
            Self::F16(slabs) => Slab::F16(&mut slabs[block]),
            Self::Bf16(slabs) => Slab::Bf16(&mut slabs[block]),
            Self::Int8(slabs, scales) => Slab::Int8(&mut slabs[block], &mut scales[block]),
            Self::Int4(slabs, scales, tails) => {
                Slab::Int4(&mut slabs[block], &mut scales[block], tails.all()[block].as_deref_mut())
            }
        }
    }

    /// Those of `blocks`, which rise.
    pub fn of(&mut self, blocks: &[usize]) -> Vec<Slab<'_>> {
        match self {
            Self::F32(slabs) => picked(slabs, blocks).into_iter().map(Slab::F32).collect(),
            Self::F16(slabs) => picked(slabs, blocks).into_iter().map(Slab::F16).collect(),
            Self::Bf16(slabs) => picked(slabs, blocks).into_iter().map(Slab::Bf16).collect(),
            Self::Int8(slabs, scales) => {
                let both = picked(slabs, blocks).into_iter().zip(picked(scales, blocks));
                both.map(|(slab, scales)| Slab::Int8(slab, scales)).collect()
            }
            Self::Int4(slabs, scales, tails) => {
                let both = picked(slabs, blocks).into_iter().zip(picked(scales, blocks));
                let all = both.zip(picked(tails.all(), blocks));
                all.map(|((slab, scales), tail)| Slab::Int4(slab, scales, tail.as_deref_mut())).collect()
            }
        }
    }
}

/// The items at places that rise.
fn picked<'a, T>(mut rest: &'a mut [T], places: &[usize]) -> Vec<&'a mut T> {
    let mut passed = 0;
    let pick = |place: &usize| {
        let (upto, after) = std::mem::take(&mut rest).split_at_mut(place - passed + 1);
        rest = after;
        let item = &mut upto[place - passed];
        passed = place + 1;
        item
    };
    places.iter().map(pick).collect()
}

/// One block's numbers.
pub(super) enum Slab<'a> {
    F32(&'a mut Vec<f32>),
    F16(&'a mut Vec<u16>),
    Bf16(&'a mut Vec<u16>),
    Int8(&'a mut Vec<i8>, &'a mut Vec<u16>),
    /// Without a tail it is a block that comes back, and its keys are turned already.
    Int4(&'a mut Vec<u8>, &'a mut Vec<u16>, Option<&'a mut Tail>),
}

impl Slab<'_> {
    /// Writes one token's keys and values.
    pub fn write(&mut self, shape: KvShape, (layer, slot): (usize, usize), k: &[f32], v: &[f32]) {
        let rows = k.chunks_exact(shape.head_dim).zip(v.chunks_exact(shape.head_dim)).enumerate();
        let len = shape.layers * shape.layer_len();
        match self {
            Self::F32(slab) => {
                let slab = allocated(slab, len);
                for (head, (k, v)) in rows {
                    put(slab, shape, (layer, head, slot), k, v);
                }
            }
            Self::F16(slab) => put_halves(slab, shape, (layer, slot), (k, v), precision::pack_f16),
            Self::Bf16(slab) => put_halves(slab, shape, (layer, slot), (k, v), precision::pack_bf16),
            Self::Int8(slab, scales) => {
                let slab = allocated(slab, len);
                let scales = allocated(scales, shape.scales());
                let mut packed = vec![0; 2 * shape.head_dim];
                let (to_k, to_v) = packed.split_at_mut(shape.head_dim);
                for (head, (k, v)) in rows {
                    scales[shape.scales_at(layer, 0, head) + slot] = precision::pack_int8(k, to_k);
                    scales[shape.scales_at(layer, 1, head) + slot] = precision::pack_int8(v, to_v);
                    put(slab, shape, (layer, head, slot), to_k, to_v);
                }
            }
            Self::Int4(slab, scales, tail) => {
                let mut turned = vec![0.0; shape.head_dim];
                for (head, (k, v)) in rows {
                    let at = (layer, head, slot);
                    turned.copy_from_slice(k);
                    if let Some(tail) = tail {
                        four::hadamard(&mut turned);
                        tail.write(shape, at, &turned, v);
                    }
                    put_four(slab, scales, shape, at, [&turned, v]);
                }
            }
        }
    }
}

/// Writes one token's keys and values of one head at four bits.
fn put_four(
    slab: &mut Vec<u8>,
    scales: &mut Vec<u16>,
    shape: KvShape,
    at: (usize, usize, usize),
    kv: [&[f32]; 2],
) {
    let (bytes, groups) = (shape.four_bytes(), shape.four_scales());
    let mut packed = [(); 2].map(|()| (vec![0; bytes.head_dim], vec![0; groups.head_dim]));
    for ((packed, scales), values) in packed.iter_mut().zip(kv) {
        four::pack(values, packed, scales);
    }
    let [(k, k_scales), (v, v_scales)] = &packed;
    put(allocated(slab, bytes.layers * bytes.layer_len()), bytes, at, k, v);
    put(allocated(scales, groups.layers * groups.layer_len()), groups, at, k_scales, v_scales);
}

/// The slab, allocated and zero when it was empty.
pub(super) fn allocated<T: Copy + Default>(slab: &mut Vec<T>, len: usize) -> &mut [T] {
    if slab.is_empty() {
        // Exactly: a budget of bytes is counted in blocks.
        slab.reserve_exact(len);
        slab.resize(len, T::default());
    }
    slab
}

/// Writes one token's keys and values as `pack` rounds them to two bytes each.
fn put_halves(
    slab: &mut Vec<u16>,
    shape: KvShape,
    (layer, slot): (usize, usize),
    (k, v): (&[f32], &[f32]),
    pack: impl Fn(&[f32], &mut [u16]),
) {
    let slab = allocated(slab, shape.layers * shape.layer_len());
    let mut packed = vec![0; 2 * shape.head_dim];
    let (to_k, to_v) = packed.split_at_mut(shape.head_dim);
    let rows = k.chunks_exact(shape.head_dim).zip(v.chunks_exact(shape.head_dim));
    for (head, (k, v)) in rows.enumerate() {
        pack(k, to_k);
        pack(v, to_v);
        put(slab, shape, (layer, head, slot), to_k, to_v);
    }
}

/// Writes one token's keys across and its values along.
pub(super) fn put<T: Copy>(
    slab: &mut [T],
    shape: KvShape,
    (layer, head, slot): (usize, usize, usize),
    keys: &[T],
    values: &[T],
) {
    let across = &mut slab[shape.head_at(layer, 0, head)..][..shape.head_len()];
    for (row, key) in across.chunks_exact_mut(shape.block_tokens).zip(keys) {
        row[slot] = *key;
    }
    let along = shape.head_at(layer, 1, head) + slot * shape.head_dim;
    slab[along..along + shape.head_dim].copy_from_slice(values);
}

/// Asks for all cache lines of `numbers`.
#[cfg(target_arch = "x86_64")]
pub(super) fn prefetch<T>(numbers: &[T]) {
    #![expect(unsafe_code, reason = "an instruction that every x86-64 has")]
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    let start = numbers.as_ptr().cast::<i8>();
    for at in (0..size_of_val(numbers)).step_by(64) {
        // SAFETY: it belongs to the base of the architecture, and reads nothing.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(at)) };
    }
}

#[cfg(not(target_arch = "x86_64"))]
pub(super) fn prefetch<T>(_: &[T]) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_rise_are_picked_and_none_is_passed_over() {
        let mut items: Vec<usize> = (0..9).collect();
        for places in [vec![], vec![0], vec![8], vec![0, 1, 5, 8]] {
            let found: Vec<usize> = picked(&mut items, &places).into_iter().map(|item| *item).collect();
            assert_eq!(found, places);
        }
        let beyond = std::panic::catch_unwind(move || picked(&mut items, &[3, 9]).len());
        assert!(beyond.is_err(), "a block that is not there");
    }
}
