//! Keys and values at four bits.
//!
//! 32 values of one token and head share a scale. Keys are turned first: a Hadamard transform spreads what stands out over the row,
//! and a query that is turned alike has the same products with them (QuaRot, Ashkboos et al. 2024). Invariant: reading is exact, and
//! rounding what was read gives the same bits again. Called by `slab`, `store` and `tier`.

use super::LANES;
use super::precision::{self, scale_for};

/// Values that share a scale.
pub(crate) const GROUP: usize = 32;

/// Most of a four-bit value; −8 is left out, so that signs are alike.
pub(crate) const MOST: f32 = 7.0;

/// Lengths of the groups of a row of `dim` values.
pub(crate) fn group_lengths(dim: usize) -> impl Iterator<Item = usize> {
    (0..dim.div_ceil(GROUP)).map(move |i| GROUP.min(dim - i * GROUP))
}

/// Bytes of a row of `dim` values, without its scales.
pub(super) fn packed_len(dim: usize) -> usize {
    dim / GROUP * (GROUP / 2) + (dim % GROUP).div_ceil(2)
}

/// The orthonormal Walsh–Hadamard transform of each stretch of a power of two; its own inverse.
pub(crate) fn hadamard(row: &mut [f32]) {
    let width = 1 << row.len().trailing_zeros().min(16);
    for part in row.chunks_exact_mut(width) {
        let mut half = 1;
        while half < width {
            for pair in part.chunks_exact_mut(2 * half) {
                let (low, high) = pair.split_at_mut(half);
                for (a, b) in low.iter_mut().zip(high) {
                    (*a, *b) = (*a + *b, *a - *b);
                }
            }
            half *= 2;
        }
        let norm = 1.0 / (width as f32).sqrt();
        part.iter_mut().for_each(|v| *v *= norm);
    }
}

/// Rounds one token's keys or values of one head, [`packed_len`] bytes with the bits of a scale for each group. A byte holds a value
/// of the first half of its group and, in the upper bits, the one that stands as far into the second half.
pub(super) fn pack(values: &[f32], packed: &mut [u8], scales: &mut [u16]) {
    let mut rest = packed;
    for (group, bits) in values.chunks(GROUP).zip(scales) {
        let largest = group.iter().map(|v| v.abs()).fold(0.0, f32::max);
        let scale = scale_for(largest, MOST);
        let by = 1.0 / scale.to_f32();
        let four = |value: &f32| (value * by).round().clamp(-MOST, MOST) as i8 as u8 & 15;
        let (low, high) = group.split_at(group.len().div_ceil(2));
        let (bytes, after) = rest.split_at_mut(low.len());
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = four(&low[i]) | high.get(i).map_or(0, four) << 4;
        }
        *bits = scale.to_bits();
        rest = after;
    }
}

/// The two values of a byte, without their scale.
pub(super) fn both(byte: u8) -> [i8; 2] {
    [(byte << 4) as i8 >> 4, byte as i8 >> 4]
}

/// Reads keys `[packed_len, tokens]` with scales `[groups, tokens]` to `[head_dim, tokens]`.
pub(super) fn unpack_keys(packed: &[u8], scales: &[u16], tokens: usize, out: &mut [f32]) {
    let mut wide = vec![0.0; scales.len()];
    precision::unpack_f16(scales, &mut wide);
    #[cfg(target_arch = "x86_64")]
    if x86::unpack_keys(packed, &wide, tokens, out) {
        return;
    }
    plain_keys(packed, &wide, tokens, out);
}

/// Reads values `[tokens, packed_len]` with scales `[tokens, groups]` to `[tokens, head_dim]`.
pub(super) fn unpack_values(packed: &[u8], scales: &[u16], tokens: usize, out: &mut [f32]) {
    let mut wide = vec![0.0; scales.len()];
    precision::unpack_f16(scales, &mut wide);
    #[cfg(target_arch = "x86_64")]
    if x86::unpack_values(packed, &wide, tokens, out) {
        return;
    }
    plain_values(packed, &wide, tokens, out);
}

fn plain_keys(packed: &[u8], scales: &[f32], tokens: usize, out: &mut [f32]) {
    let mut packed = packed.chunks_exact(tokens);
    for (scales, out) in scales.chunks_exact(tokens).zip(out.chunks_mut(GROUP * tokens)) {
        let (low, high) = out.split_at_mut((out.len() / tokens).div_ceil(2) * tokens);
        let mut high = high.chunks_exact_mut(tokens);
        for low in low.chunks_exact_mut(tokens) {
            let (Some(packed), mut high) = (packed.next(), high.next()) else { return };
            for (token, (byte, scale)) in packed.iter().zip(scales).enumerate() {
                let [first, second] = both(*byte);
                low[token] = f32::from(first) * scale;
                if let Some(high) = &mut high {
                    high[token] = f32::from(second) * scale;
                }
            }
        }
    }
}

fn plain_values(packed: &[u8], scales: &[f32], tokens: usize, out: &mut [f32]) {
    let (row, packed_row, groups) = (out.len() / tokens, packed.len() / tokens, scales.len() / tokens);
    let rows =
        packed.chunks_exact(packed_row).zip(scales.chunks_exact(groups)).zip(out.chunks_exact_mut(row));
    for ((packed, scales), out) in rows {
        for ((packed, scale), out) in packed.chunks(GROUP / 2).zip(scales).zip(out.chunks_mut(GROUP)) {
            let (low, high) = out.split_at_mut(packed.len());
            for (i, byte) in packed.iter().enumerate() {
                let [first, second] = both(*byte);
                low[i] = f32::from(first) * scale;
                if let Some(high) = high.get_mut(i) {
                    *high = f32::from(second) * scale;
                }
            }
        }
    }
}

/// The same for eight bytes at once.
#[cfg(target_arch = "x86_64")]
mod x86 {
    #![expect(unsafe_code, reason = "these conversions have no safe wrapper, and no loop becomes them")]

    use std::arch::x86_64::{
        __m128i, __m256, _mm_loadl_epi64, _mm256_cvtepi8_epi32, _mm256_cvtepi32_ps, _mm256_loadu_ps,
        _mm256_mul_ps, _mm256_set1_ps, _mm256_slli_epi32, _mm256_srai_epi32, _mm256_storeu_ps,
    };

    use super::{GROUP, LANES};

    /// False, and nothing done, where the processor lacks the instructions or rows are not whole vectors.
    pub(super) fn unpack_keys(packed: &[u8], scales: &[f32], tokens: usize, out: &mut [f32]) -> bool {
        let is_even = (out.len() / tokens).is_multiple_of(2);
        let here = is_x86_feature_detected!("avx2") && is_even && tokens.is_multiple_of(LANES);
        if here {
            // SAFETY: the feature that it needs was detected.
            unsafe { keys(packed, scales, tokens, out) };
        }
        here
    }

    /// False, and nothing done, where the processor lacks the instructions or half a group is not whole vectors.
    pub(super) fn unpack_values(packed: &[u8], scales: &[f32], tokens: usize, out: &mut [f32]) -> bool {
        let is_whole = (out.len() / tokens).is_multiple_of(2 * LANES);
        let here = is_x86_feature_detected!("avx2") && is_whole;
        if here {
            // SAFETY: the feature that it needs was detected.
            unsafe { values(packed, scales, tokens, out) };
        }
        here
    }

    /// The lower and the upper values of eight bytes.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn halves(bytes: &[u8; LANES]) -> [__m256; 2] {
        // SAFETY: eight bytes are read; unaligned addresses are allowed.
        let bytes = unsafe { _mm_loadl_epi64(bytes.as_ptr().cast::<__m128i>()) };
        let wide = _mm256_cvtepi8_epi32(bytes);
        let low = _mm256_srai_epi32::<28>(_mm256_slli_epi32::<28>(wide));
        [_mm256_cvtepi32_ps(low), _mm256_cvtepi32_ps(_mm256_srai_epi32::<4>(wide))]
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn put(values: __m256, scale: __m256, out: &mut [f32; LANES]) {
        // SAFETY: the array has room for eight values; unaligned addresses are allowed.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), _mm256_mul_ps(values, scale)) };
    }

    #[target_feature(enable = "avx2")]
    fn keys(packed: &[u8], scales: &[f32], tokens: usize, out: &mut [f32]) {
        let mut packed = packed.chunks_exact(tokens);
        for (scales, out) in scales.chunks_exact(tokens).zip(out.chunks_mut(GROUP * tokens)) {
            let (low, high) = out.split_at_mut(out.len() / 2);
            for (low, high) in low.chunks_exact_mut(tokens).zip(high.chunks_exact_mut(tokens)) {
                let Some(packed) = packed.next() else { return };
                let scales = scales.as_chunks::<LANES>().0.iter();
                let outs = low.as_chunks_mut::<LANES>().0.iter_mut().zip(high.as_chunks_mut::<LANES>().0);
                for ((bytes, scales), (low, high)) in
                    packed.as_chunks::<LANES>().0.iter().zip(scales).zip(outs)
                {
                    // SAFETY: the array has eight elements; unaligned addresses are allowed.
                    let scale = unsafe { _mm256_loadu_ps(scales.as_ptr()) };
                    let [first, second] = halves(bytes);
                    put(first, scale, low);
                    put(second, scale, high);
                }
            }
        }
    }

    #[target_feature(enable = "avx2")]
    fn values(packed: &[u8], scales: &[f32], tokens: usize, out: &mut [f32]) {
        let (row, groups) = (out.len() / tokens, scales.len() / tokens);
        let rows =
            packed.chunks_exact(row / 2).zip(scales.chunks_exact(groups)).zip(out.chunks_exact_mut(row));
        for ((packed, scales), out) in rows {
            for ((packed, scale), out) in packed.chunks(GROUP / 2).zip(scales).zip(out.chunks_mut(GROUP)) {
                let scale = _mm256_set1_ps(*scale);
                let (low, high) = out.split_at_mut(packed.len());
                let outs = low.as_chunks_mut::<LANES>().0.iter_mut().zip(high.as_chunks_mut::<LANES>().0);
                for (bytes, (low, high)) in packed.as_chunks::<LANES>().0.iter().zip(outs) {
                    let [first, second] = halves(bytes);
                    put(first, scale, low);
                    put(second, scale, high);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::f16;
    use proptest::prelude::*;

    fn packed(values: &[f32]) -> (Vec<u8>, Vec<u16>) {
        let mut packed = vec![0xff; packed_len(values.len())];
        let mut scales = vec![0; values.len().div_ceil(GROUP)];
        pack(values, &mut packed, &mut scales);
        (packed, scales)
    }

    fn read(packed: &[u8], scales: &[u16], dim: usize) -> Vec<f32> {
        let mut out = vec![f32::NAN; dim];
        unpack_values(packed, scales, 1, &mut out);
        out
    }

    proptest! {
        #[test]
        fn what_was_read_packs_to_the_same_bits(
            values in proptest::collection::vec(-1e4f32..1e4, 1..150),
            down in 0u32..30,
        ) {
            let values: Vec<f32> = values.iter().map(|v| v / (1u32 << down) as f32).collect();
            let (bytes, scales) = packed(&values);
            let back = read(&bytes, &scales, values.len());
            for (i, (value, back)) in values.iter().zip(&back).enumerate() {
                let step = f16::from_bits(scales[i / GROUP]).to_f32();
                prop_assert!((value - back).abs() <= step * 0.504 + 4e-6, "{} {} {}", value, back, step);
            }
            prop_assert_eq!(packed(&back), (bytes, scales));
        }

        /// In vectors and one by one: the same bits, whatever the bytes.
        #[test]
        fn keys_and_values_are_read_exactly(dim in 1usize..=130, tokens in 1usize..=40, seed in any::<u64>()) {
            use rand::{RngExt, SeedableRng};
            let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
            let (row, groups) = (packed_len(dim), dim.div_ceil(GROUP));
            let bytes: Vec<u8> = (0..row * tokens).map(|_| rng.random()).collect();
            let scales: Vec<u16> =
                (0..groups * tokens).map(|_| f16::from_f32(rng.random::<f32>()).to_bits()).collect();
            let value = |byte: usize, scale: usize, upper: bool| {
                f32::from(both(bytes[byte])[usize::from(upper)]) * f16::from_bits(scales[scale]).to_f32()
            };
            let (mut keys, mut values) = (vec![f32::NAN; dim * tokens], vec![f32::NAN; dim * tokens]);
            unpack_keys(&bytes, &scales, tokens, &mut keys);
            unpack_values(&bytes, &scales, tokens, &mut values);
            for d in 0..dim {
                let (group, at) = (d / GROUP, d % GROUP);
                let half = GROUP.min(dim - group * GROUP).div_ceil(2);
                let byte = group * GROUP / 2 + at % half;
                for token in 0..tokens {
                    let key = value(byte * tokens + token, group * tokens + token, at >= half);
                    prop_assert_eq!(keys[d * tokens + token].to_bits(), key.to_bits());
                    let value = value(token * row + byte, token * groups + group, at >= half);
                    prop_assert_eq!(values[token * dim + d].to_bits(), value.to_bits());
                }
            }
        }
    }

    #[test]
    fn bytes_hold_two_values_of_either_sign() {
        let values: Vec<f32> = (-7..=7).map(|v| v as f32 * 0.5).collect();
        let (bytes, scales) = packed(&values);
        assert_eq!((bytes.len(), scales.as_slice()), (8, [f16::from_f32(0.5).to_bits()].as_slice()));
        assert_eq!(read(&bytes, &scales, 15), values);
        assert_eq!((packed_len(15), packed_len(32), packed_len(33), packed_len(128)), (8, 16, 17, 64));
    }

    #[test]
    fn a_rotation_undone_is_the_row() {
        for len in [1, 6, 32, 96] {
            let row: Vec<f32> = (0..len).map(|i| (i as f32).sin()).collect();
            let mut turned = row.clone();
            hadamard(&mut turned);
            hadamard(&mut turned);
            assert!(row.iter().zip(&turned).all(|(a, b)| (a - b).abs() < 1e-5));
        }
    }
}
