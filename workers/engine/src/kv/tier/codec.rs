//! Precision of keys and values outside the device's memory.
//!
//! Rows of one token and one head stand together, so each gets a scale of its own: one token with
//! large values does not coarsen its neighbours. Four bits need keys whose values are alike; a
//! Hadamard rotation spreads outliers over the row and costs nothing to undo.

use half::f16;
use serde::{Deserialize, Serialize};

use crate::kv::KvShape;
use crate::kv::four::{GROUP, MOST, group_lengths, hadamard};
use crate::kv::precision::scale_for;

/// How a block is written to a slower tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    /// As computed: a restored block is the block that was evicted, bit by bit.
    #[default]
    F32,
    /// Half the bytes.
    F16,
    /// About a quarter; see the tests for the measured error.
    Int8,
    /// About an eighth; opt-in, the error shows.
    Int4,
}

impl Codec {
    /// Every one, the most exact first.
    pub const ALL: [Self; 4] = [Self::F32, Self::F16, Self::Int8, Self::Int4];

    /// Its name in options.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
        }
    }

    /// By name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }

    fn id(self) -> u8 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Int8 => 2,
            Self::Int4 => 3,
        }
    }

    /// Bytes of one block, before compression.
    #[cfg(test)]
    pub(crate) fn encode(self, shape: KvShape, values: &[f32]) -> Vec<u8> {
        self.pack(shape, values, false)
    }

    /// The same of a block whose keys `is_turned` already, as a four-bit store holds them.
    pub(crate) fn pack(self, shape: KvShape, values: &[f32], is_turned: bool) -> Vec<u8> {
        let mut out = vec![self.id()];
        let dim = shape.head_dim.max(1);
        match self {
            Self::F32 => out.extend(values.iter().flat_map(|v| v.to_bits().to_le_bytes())),
            Self::F16 => out.extend(values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes())),
            Self::Int8 => values.chunks(dim).for_each(|row| {
                quantise(row, 127.0, &mut out, |q, out| {
                    out.extend(q.iter().map(|q| *q as u8));
                })
            }),
            Self::Int4 => {
                let mut turned = Vec::with_capacity(dim);
                for (i, row) in values.chunks(dim).enumerate() {
                    turned.clear();
                    turned.extend_from_slice(row);
                    if !is_turned && is_key(shape, i) {
                        hadamard(&mut turned);
                    }
                    for group in turned.chunks(GROUP) {
                        quantise(group, MOST, &mut out, |q, out| {
                            out.extend(q.chunks(2).map(|pair| {
                                let low = pair[0] as u8 & 15;
                                low | (pair.get(1).copied().unwrap_or(0) as u8) << 4
                            }));
                        });
                    }
                }
            }
        }
        out
    }

    /// Reads a block of `len` values back; `None` when the bytes are not what `encode` writes.
    #[cfg(test)]
    pub(crate) fn decode(self, shape: KvShape, bytes: &[u8], len: usize) -> Option<Vec<f32>> {
        self.unpack(shape, bytes, len, false)
    }

    /// The same of a block whose keys were turned, and stay so.
    pub(crate) fn unpack(
        self,
        shape: KvShape,
        bytes: &[u8],
        len: usize,
        is_turned: bool,
    ) -> Option<Vec<f32>> {
        let (id, bytes) = bytes.split_first()?;
        if *id != self.id() {
            return None;
        }
        let dim = shape.head_dim.max(1);
        let mut out = Vec::with_capacity(len);
        match self {
            Self::F32 => {
                let (words, rest) = bytes.as_chunks::<4>();
                if !rest.is_empty() {
                    return None;
                }
                out.extend(words.iter().map(|b| f32::from_bits(u32::from_le_bytes(*b))));
            }
            Self::F16 => {
                let (words, rest) = bytes.as_chunks::<2>();
                if !rest.is_empty() {
                    return None;
                }
                out.extend(words.iter().map(|b| f16::from_le_bytes(*b).to_f32()));
            }
            Self::Int8 => {
                for row in bytes.chunks(2 + dim) {
                    let (scale, row) = scale(row)?;
                    out.extend(row.iter().map(|q| f32::from(*q as i8) * scale));
                }
            }
            Self::Int4 => {
                let mut rest = bytes;
                while !rest.is_empty() {
                    let start = out.len();
                    for group in group_lengths(dim) {
                        let (scale, after) = scale(rest)?;
                        let (packed, after) = after.split_at_checked(group.div_ceil(2))?;
                        let values = packed.iter().flat_map(|b| [(*b << 4) as i8 >> 4, *b as i8 >> 4]);
                        out.extend(values.take(group).map(|q| f32::from(q) * scale));
                        rest = after;
                    }
                    if !is_turned && is_key(shape, start / dim) {
                        hadamard(&mut out[start..]);
                    }
                }
            }
        }
        (out.len() == len).then_some(out)
    }
}

fn scale(bytes: &[u8]) -> Option<(f32, &[u8])> {
    let (scale, rest) = bytes.split_first_chunk::<2>()?;
    Some((f16::from_le_bytes(*scale).to_f32(), rest))
}

/// Writes a scale and the values over it, rounded, within `±most`.
fn quantise(values: &[f32], most: f32, out: &mut Vec<u8>, pack: impl Fn(&[i8], &mut Vec<u8>)) {
    let largest = values.iter().map(|v| v.abs()).fold(0.0, f32::max);
    let scale = scale_for(largest, most);
    let by = 1.0 / scale.to_f32();
    let rounded: Vec<i8> = values.iter().map(|v| (v * by).round().clamp(-most, most) as i8).collect();
    out.extend(scale.to_le_bytes());
    pack(&rounded, out);
}

/// Does row `index` of a block hold keys? Each layer has its keys first, then as many values.
fn is_key(shape: KvShape, index: usize) -> bool {
    let rows = shape.kv_heads * shape.block_tokens;
    (index / rows.max(1)).is_multiple_of(2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shape(head_dim: usize) -> KvShape {
        KvShape { layers: 2, kv_heads: 2, head_dim, block_tokens: 3 }
    }

    fn len(shape: KvShape) -> usize {
        shape.layers * shape.layer_len()
    }

    fn worst(codec: Codec, shape: KvShape, values: &[f32]) -> f32 {
        let bytes = codec.encode(shape, values);
        let back = codec.decode(shape, &bytes, values.len()).unwrap();
        values.iter().zip(&back).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    }

    proptest! {
        #[test]
        fn errors_stay_within_half_a_step(seed in any::<u64>(), dim in 1usize..70) {
            use rand::{RngExt, SeedableRng};
            let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
            let shape = shape(dim);
            let values: Vec<f32> = (0..len(shape)).map(|_| rng.random::<f32>() * 2.0 - 1.0).collect();
            prop_assert_eq!(worst(Codec::F32, shape, &values), 0.0);
            prop_assert!(worst(Codec::F16, shape, &values) <= 0.0005);
            prop_assert!(worst(Codec::Int8, shape, &values) <= 0.5 / 127.0 + 0.001);
            // A rotated row may be as long as the row's root of its width.
            prop_assert!(worst(Codec::Int4, shape, &values) <= (dim as f32).sqrt());
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400), dim in 1usize..40) {
            let shape = shape(dim);
            for codec in [Codec::F32, Codec::F16, Codec::Int8, Codec::Int4] {
                let mut bytes = bytes.clone();
                if let Some(first) = bytes.first_mut() {
                    *first = codec.id();
                }
                if let Some(values) = codec.decode(shape, &bytes, len(shape)) {
                    prop_assert_eq!(values.len(), len(shape));
                }
            }
        }
    }

    #[test]
    fn sizes_are_those_promised() {
        let shape = KvShape { layers: 4, kv_heads: 2, head_dim: 64, block_tokens: 16 };
        let values = vec![0.5; len(shape)];
        let size = |codec: Codec| codec.encode(shape, &values).len() as f64 / (values.len() * 4) as f64;
        assert!(size(Codec::F16) < 0.501);
        assert!(size(Codec::Int8) < 0.26);
        assert!(size(Codec::Int4) < 0.142);
    }
}
