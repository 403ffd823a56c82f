//! Precision of the keys and values that attention reads.
//!
//! Invariant: a stored value stands for one `f32`, and reading gives exactly that. Attention over
//! half-precision or eight-bit blocks is therefore, bit by bit, attention over the rounded values,
//! and writing what was read gives the same bytes again. Called by `store`.

use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::{bf16, f16};
use serde::{Deserialize, Serialize};

use super::LANES;

/// How the engine's own memory holds keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvPrecision {
    /// As computed.
    #[default]
    F32,
    /// IEEE 754 half precision: half the bytes.
    F16,
    /// The upper half of an `f32`: half the bytes, all of its range, three bits less than `F16`.
    Bf16,
    /// Eight bits with one scale per token and head: about a quarter of the bytes.
    Int8,
    /// Four bits with a scale for each 32 values, keys turned; the block that a token stands in is seen at eight bits. A seventh of
    /// the bytes; the error shows.
    Int4,
}

impl KvPrecision {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::F32, Self::F16, Self::Bf16, Self::Int8, Self::Int4];

    /// Name in configurations and in the keys of blocks.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
        }
    }

    /// The precision of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|precision| precision.name() == name)
    }

    /// Fingerprint of a model whose keys and values are held like this. Rounding changes answers,
    /// so neither blocks in slower tiers nor kept texts may pass from one precision to another.
    pub(crate) fn mark(self, model: blake3::Hash) -> blake3::Hash {
        match self {
            Self::F32 => model,
            Self::F16 | Self::Bf16 | Self::Int8 | Self::Int4 => {
                let mut hasher = blake3::Hasher::new_derive_key("bul-engine kv precision v1");
                hasher.update(model.as_bytes());
                hasher.update(self.name().as_bytes());
                hasher.finalize()
            }
        }
    }
}

/// Most of an eight-bit value; −128 is left out, so that signs are alike.
const MOST: f32 = 127.0;

/// The scale of rounded values that are `most` steps wide at the largest, as it will be read again: rounding it later would shift all
/// values. Not below the normal halves, 2^-14, which have too few bits: rounding again what was read would give another scale.
pub(crate) fn scale_for(largest: f32, most: f32) -> f16 {
    f16::from_f32((largest / most).max(f16::MIN_POSITIVE.to_f32()))
}

/// Rounds one token's keys or values of one head to eight bits, and returns the bits of their
/// scale. The scale is a half-precision number: times seven bits it is exact in `f32`, so rounding
/// again what was read gives the same bytes, here and in the slower tiers.
pub(super) fn pack_int8(values: &[f32], packed: &mut [i8]) -> u16 {
    let largest = values.iter().map(|v| v.abs()).fold(0.0, f32::max);
    let scale = scale_for(largest, MOST);
    let by = 1.0 / scale.to_f32();
    for (packed, value) in packed.iter_mut().zip(values) {
        *packed = (value * by).round().clamp(-MOST, MOST) as i8;
    }
    scale.to_bits()
}

/// Rounds to half precision, ties to even.
pub(super) fn pack_f16(values: &[f32], packed: &mut [u16]) {
    packed.reinterpret_cast_mut::<f16>().convert_from_f32_slice(values);
}

/// Rounds to the upper half of an `f32`, ties to even.
pub(super) fn pack_bf16(values: &[f32], packed: &mut [u16]) {
    packed.reinterpret_cast_mut::<bf16>().convert_from_f32_slice(values);
}

/// Reads what [`pack_bf16`] wrote: the bits are those of the upper half.
pub(super) fn unpack_bf16(packed: &[u16], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if x86::unpack_bf16(packed, out) {
        return;
    }
    plain_bf16(packed, out);
}

fn plain_bf16(packed: &[u16], out: &mut [f32]) {
    for (bits, out) in packed.iter().zip(out) {
        *out = f32::from_bits(u32::from(*bits) << 16);
    }
}

/// Reads half precision; exact, with and without instructions for it.
pub(super) fn unpack_f16(packed: &[u16], out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if x86::unpack_f16(packed, out) {
        return;
    }
    packed.reinterpret_cast::<f16>().convert_to_f32_slice(out);
}

/// Reads eight-bit keys `[head_dim, tokens]`; `scales` has one for each token.
pub(super) fn unpack_int8_keys(packed: &[i8], scales: &[u16], out: &mut [f32]) {
    let scales: Vec<f32> = scales.iter().map(|bits| f16::from_bits(*bits).to_f32()).collect();
    #[cfg(target_arch = "x86_64")]
    if x86::unpack_int8(packed, &scales, out) {
        return;
    }
    plain_int8(packed, &scales, out);
}

/// Reads eight-bit values `[tokens, head_dim]`; `scales` has one for each token.
pub(super) fn unpack_int8_values(packed: &[i8], scales: &[u16], out: &mut [f32]) {
    let row = packed.len() / scales.len().max(1);
    let mut along = vec![0.0; row];
    for (i, bits) in scales.iter().enumerate() {
        along.fill(f16::from_bits(*bits).to_f32());
        let row = i * row..(i + 1) * row;
        let (packed, out) = (&packed[row.clone()], &mut out[row]);
        #[cfg(target_arch = "x86_64")]
        if x86::unpack_int8(packed, &along, out) {
            continue;
        }
        plain_int8(packed, &along, out);
    }
}

/// Each row of `packed` times `scales`.
fn plain_int8(packed: &[i8], scales: &[f32], out: &mut [f32]) {
    let rows = packed.chunks_exact(scales.len()).zip(out.chunks_exact_mut(scales.len()));
    for (packed, out) in rows {
        for ((out, packed), scale) in out.iter_mut().zip(packed).zip(scales) {
            *out = f32::from(*packed) * scale;
        }
    }
}

/// The same with the processor's own conversions of eight numbers at once.
#[cfg(target_arch = "x86_64")]
mod x86 {
    #![expect(unsafe_code, reason = "these conversions have no safe wrapper, and no loop becomes them")]

    use std::arch::x86_64::{
        __m128i, _mm_loadl_epi64, _mm_loadu_si128, _mm256_castsi256_ps, _mm256_cvtepi8_epi32,
        _mm256_cvtepi32_ps, _mm256_cvtepu16_epi32, _mm256_cvtph_ps, _mm256_loadu_ps, _mm256_mul_ps,
        _mm256_slli_epi32, _mm256_storeu_ps,
    };

    use super::LANES;

    /// False, and nothing done, where the processor lacks the instruction.
    pub(super) fn unpack_f16(packed: &[u16], out: &mut [f32]) -> bool {
        let here = is_x86_feature_detected!("avx") && is_x86_feature_detected!("f16c");
        if here {
            // SAFETY: the features that it needs were detected.
            unsafe { halves(packed, out) };
        }
        here
    }

    /// False, and nothing done, where the processor lacks the instructions.
    pub(super) fn unpack_bf16(packed: &[u16], out: &mut [f32]) -> bool {
        let here = is_x86_feature_detected!("avx2");
        if here {
            // SAFETY: the feature that it needs was detected.
            unsafe { upper_halves(packed, out) };
        }
        here
    }

    /// Each row of `packed` times `scales`. False, and nothing done, where the processor lacks the
    /// instructions or rows are not whole vectors.
    pub(super) fn unpack_int8(packed: &[i8], scales: &[f32], out: &mut [f32]) -> bool {
        let here = is_x86_feature_detected!("avx2") && scales.len().is_multiple_of(LANES);
        if here {
            // SAFETY: the feature that it needs was detected.
            unsafe { bytes(packed, scales, out) };
        }
        here
    }

    #[target_feature(enable = "avx,f16c")]
    fn halves(packed: &[u16], out: &mut [f32]) {
        let (vectors, rest) = packed.as_chunks::<LANES>();
        let (targets, rest_out) = out.as_chunks_mut::<LANES>();
        for (vector, target) in vectors.iter().zip(targets) {
            // SAFETY: both arrays have room for eight values; unaligned addresses are allowed.
            unsafe {
                let halves = _mm_loadu_si128(vector.as_ptr().cast::<__m128i>());
                _mm256_storeu_ps(target.as_mut_ptr(), _mm256_cvtph_ps(halves));
            }
        }
        for (bits, out) in rest.iter().zip(rest_out) {
            *out = half::f16::from_bits(*bits).to_f32();
        }
    }

    #[target_feature(enable = "avx2")]
    fn upper_halves(packed: &[u16], out: &mut [f32]) {
        let (vectors, rest) = packed.as_chunks::<LANES>();
        let (targets, rest_out) = out.as_chunks_mut::<LANES>();
        for (vector, target) in vectors.iter().zip(targets) {
            // SAFETY: both arrays have room for eight values; unaligned addresses are allowed.
            unsafe {
                let eight = _mm256_cvtepu16_epi32(_mm_loadu_si128(vector.as_ptr().cast::<__m128i>()));
                let eight = _mm256_castsi256_ps(_mm256_slli_epi32::<16>(eight));
                _mm256_storeu_ps(target.as_mut_ptr(), eight);
            }
        }
        super::plain_bf16(rest, rest_out);
    }

    #[target_feature(enable = "avx2")]
    fn bytes(packed: &[i8], scales: &[f32], out: &mut [f32]) {
        let scales = scales.as_chunks::<LANES>().0;
        let packed = packed.as_chunks::<LANES>().0.chunks_exact(scales.len().max(1));
        let out = out.as_chunks_mut::<LANES>().0.chunks_exact_mut(scales.len().max(1));
        for (packed, out) in packed.zip(out) {
            for ((packed, scales), out) in packed.iter().zip(scales).zip(out) {
                // SAFETY: all three arrays have eight elements; unaligned addresses are allowed.
                unsafe {
                    let eight = _mm_loadl_epi64(packed.as_ptr().cast::<__m128i>());
                    let eight = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(eight));
                    let scaled = _mm256_mul_ps(eight, _mm256_loadu_ps(scales.as_ptr()));
                    _mm256_storeu_ps(out.as_mut_ptr(), scaled);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_are_read_back() {
        for precision in KvPrecision::ALL {
            assert_eq!(KvPrecision::parse(precision.name()), Some(precision));
        }
        assert_eq!(KvPrecision::parse("f64"), None);
    }

    /// All halves, by the instruction where there is one and by plain arithmetic: the same bits.
    #[test]
    fn every_half_is_read_exactly() {
        let packed: Vec<u16> = (0..=u16::MAX).collect();
        let mut out = vec![0.0; packed.len() + 3];
        let (fast, rest) = out.split_at_mut(packed.len());
        unpack_f16(&packed, fast);
        unpack_f16(&packed[..3], rest);
        assert_eq!(fast[..3], *rest);
        for (bits, value) in packed.iter().zip(fast) {
            let expected = f16::from_bits(*bits).to_f32_const();
            assert!(value.to_bits() == expected.to_bits() || value.is_nan() && expected.is_nan(), "{bits:x}");
        }
    }

    /// All upper halves, in vectors and one by one, and as the library has them.
    #[test]
    fn every_upper_half_is_read_exactly() {
        let packed: Vec<u16> = (0..=u16::MAX).collect();
        let (mut fast, mut plain) = (vec![0.0; packed.len()], vec![0.0; packed.len()]);
        unpack_bf16(&packed, &mut fast);
        plain_bf16(&packed, &mut plain);
        for ((bits, fast), plain) in packed.iter().zip(fast).zip(plain) {
            assert_eq!(fast.to_bits(), plain.to_bits(), "{bits:x}");
            let expected = bf16::from_bits(*bits).to_f32_const();
            assert!(fast.to_bits() == expected.to_bits() || fast.is_nan() && expected.is_nan(), "{bits:x}");
        }
        let mut few = vec![0.0; 11];
        unpack_bf16(&packed[0x3f80..0x3f8b], &mut few);
        assert_eq!((few[0], few[1], few[10]), (1.0, 1.0078125, 1.078125));
    }

    /// Halfway between two neighbours the even one is taken, else the nearest.
    #[test]
    fn upper_halves_are_rounded_to_even() {
        let at = |bits: u32| f32::from_bits(bits);
        for (value, expected) in [
            (at(0x3f80_8000), 0x3f80),
            (at(0x3f81_8000), 0x3f82),
            (at(0x3f80_8001), 0x3f81),
            (at(0x3f80_7fff), 0x3f80),
            (at(0xbf81_8000), 0xbf82),
            (at(0x7f7f_7fff), 0x7f7f),
            (f32::MAX, 0x7f80),
            (f32::NEG_INFINITY, 0xff80),
            (-0.0, 0x8000),
        ] {
            let mut packed = [0; 9];
            pack_bf16(&[value; 9], &mut packed);
            assert_eq!(packed, [expected; 9], "{value}");
        }
    }

    /// Nor do values so small that half precision has few bits for their scale.
    #[test]
    fn the_smallest_values_pack_to_the_same_bytes_again() {
        for value in [-0.00028312206, 0.0, 1e-7, 0.0077, 0.0078] {
            let (mut bytes, mut again) = ([0], [0]);
            let scale = pack_int8(&[value], &mut bytes);
            let read = f32::from(bytes[0]) * f16::from_bits(scale).to_f32();
            assert!((read - value).abs() <= 3.1e-5, "{value} {read}");
            assert_eq!((pack_int8(&[read], &mut again), again), (scale, bytes), "{value}");
        }
    }

    proptest! {
        #[test]
        fn what_was_read_packs_to_the_same_bytes(
            values in proptest::collection::vec(-1e4f32..1e4, 1..150),
            down in 0u32..30,
        ) {
            let values: Vec<f32> = values.iter().map(|v| v / (1u32 << down) as f32).collect();
            let mut halves = vec![0; values.len()];
            pack_f16(&values, &mut halves);
            let plain: Vec<u16> = values.iter().map(|v| f16::from_f32_const(*v).to_bits()).collect();
            prop_assert_eq!(&halves, &plain);
            pack_bf16(&values, &mut halves);
            let plain: Vec<u16> = values.iter().map(|v| bf16::from_f32_const(*v).to_bits()).collect();
            prop_assert_eq!(&halves, &plain);
            let mut read = vec![0.0; values.len()];
            unpack_bf16(&halves, &mut read);
            for (value, read) in values.iter().zip(&read) {
                prop_assert!((value - read).abs() <= value.abs() / 256.0, "{} {}", value, read);
            }
            pack_bf16(&read, &mut halves);
            prop_assert_eq!(&halves, &plain);
            let mut bytes = vec![0; values.len()];
            let scale = pack_int8(&values, &mut bytes);
            let step = f16::from_bits(scale).to_f32();
            let read: Vec<f32> = bytes.iter().map(|q| f32::from(*q) * step).collect();
            for (value, read) in values.iter().zip(&read) {
                // Half a step; where the scale was rounded down, the largest loses up to that again.
                prop_assert!((value - read).abs() <= step * 0.57 + 4e-6);
            }
            let mut again = vec![0; values.len()];
            let scale_again = pack_int8(&read, &mut again);
            prop_assert_eq!((scale_again, again), (scale, bytes));
        }
    }
}
