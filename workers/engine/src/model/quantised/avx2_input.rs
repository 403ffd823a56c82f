//! Quantising activations with AVX2.

#![expect(unsafe_code, reason = "vector loads by pointer and calls into functions with AVX2")]

use std::arch::x86_64::*;

use super::avx2::Avx2;
use super::input::{InputBlock, Narrow32, Narrow256, Wide32};

impl InputBlock for Wide32 {
    const VALUES: usize = 32;
    const ZERO: Self = Self { scale: 0.0, pairs: [0; 16] };

    fn quantise(_: Avx2, x: &[f32]) -> Self {
        // SAFETY: `Avx2` exists only where the features were detected.
        unsafe { wide_32(x) }
    }
}

impl InputBlock for Narrow32 {
    const VALUES: usize = 32;
    const ZERO: Self = Self { scale: 0.0, minus_8: 0, minus_128: 0, quads: [0; 8] };

    fn quantise(_: Avx2, x: &[f32]) -> Self {
        // SAFETY: `Avx2` exists only where the features were detected.
        unsafe { narrow_32(x) }
    }
}

impl InputBlock for Narrow256 {
    const VALUES: usize = 256;
    const ZERO: Self = Self { scale: 0.0, sums_32: [0; 4], sums_16: [0; 8], quads: [0; 64] };

    fn quantise(_: Avx2, x: &[f32]) -> Self {
        // SAFETY: `Avx2` exists only where the features were detected.
        unsafe { narrow_256(x) }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load(x: &[f32; 8]) -> __m256 {
    // SAFETY: eight readable floats; the instruction asks for no alignment.
    unsafe { _mm256_loadu_ps(x.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn store(words: __m256i) -> [i32; 8] {
    let mut out = [0; 8];
    // SAFETY: 32 writable bytes; the instruction asks for no alignment.
    unsafe { _mm256_storeu_si256(out.as_mut_ptr().cast(), words) };
    out
}

/// Size of a step and one over it: the largest magnitude is 127 steps. An infinite value makes the
/// step infinite, so that it stays visible in the result.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn step(x: &[f32]) -> (f32, f32) {
    let sign = _mm256_set1_ps(-0.0);
    let mut largest = _mm256_setzero_ps();
    for x in x.as_chunks::<8>().0 {
        largest = _mm256_max_ps(largest, _mm256_andnot_ps(sign, load(x)));
    }
    let half = _mm_max_ps(_mm256_castps256_ps128(largest), _mm256_extractf128_ps::<1>(largest));
    let quarter = _mm_max_ps(half, _mm_movehl_ps(half, half));
    let largest = _mm_cvtss_f32(_mm_max_ss(quarter, _mm_movehdup_ps(quarter)));
    (largest / 127.0, if largest > 0.0 { 127.0 / largest } else { 0.0 })
}

/// 32 values in whole steps, nearest and ties to even: 16 bits each, in the order of the values
/// but for the two middle quarters of each half, which stand exchanged.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn whole(x: &[f32; 32], inverse: f32) -> [__m256i; 2] {
    let inverse = _mm256_set1_ps(inverse);
    let mut words = [_mm256_setzero_si256(); 4];
    for (words, x) in words.iter_mut().zip(x.as_chunks::<8>().0) {
        *words = _mm256_cvtps_epi32(_mm256_mul_ps(load(x), inverse));
    }
    [_mm256_packs_epi32(words[0], words[1]), _mm256_packs_epi32(words[2], words[3])]
}

/// 32 values as bytes, in order.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn bytes(x: &[f32; 32], inverse: f32) -> __m256i {
    let [a, b] = whole(x, inverse);
    let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), order)
}

/// Sums of the first and of the last 16 bytes.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn sums(bytes: __m256i) -> (i32, i32) {
    let pairs = _mm256_maddubs_epi16(_mm256_set1_epi8(1), bytes);
    let quads = store(_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
    (quads[..4].iter().sum(), quads[4..].iter().sum())
}

#[target_feature(enable = "avx2,fma,f16c")]
fn wide_32(x: &[f32]) -> Wide32 {
    let (scale, inverse) = step(x);
    let mut pairs = [0; 16];
    if let Some(x) = x.first_chunk::<32>() {
        let [a, b] = whole(x, inverse);
        pairs[..8].copy_from_slice(&store(_mm256_permute4x64_epi64::<0b11_01_10_00>(a)));
        pairs[8..].copy_from_slice(&store(_mm256_permute4x64_epi64::<0b11_01_10_00>(b)));
    }
    Wide32 { scale, pairs }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn narrow_32(x: &[f32]) -> Narrow32 {
    let (scale, inverse) = step(x);
    let Some(x) = x.first_chunk::<32>() else { return Narrow32::ZERO };
    let bytes = bytes(x, inverse);
    let (first, last) = sums(bytes);
    let sum = first + last;
    Narrow32 { scale, minus_8: -8 * sum, minus_128: -128 * sum, quads: store(bytes) }
}

#[target_feature(enable = "avx2,fma,f16c")]
fn narrow_256(x: &[f32]) -> Narrow256 {
    let (scale, inverse) = step(x);
    let mut out = Narrow256 { scale, ..Narrow256::ZERO };
    let pair = |low: i32, high: i32| (low & 0xffff) | high << 16;
    let mut before = 0;
    for (i, x) in x.as_chunks::<32>().0.iter().enumerate() {
        let bytes = bytes(x, inverse);
        let (first, last) = sums(bytes);
        out.quads[i * 8..][..8].copy_from_slice(&store(bytes));
        out.sums_16[i] = pair(first, last);
        if i % 2 == 1 {
            out.sums_32[i / 2] = pair(before, first + last);
        }
        before = first + last;
    }
    out
}
