//! The four products with AVX-512 and its sums of four products of bytes (VNNI).
//!
//! Two panels side by side: a vector holds the same four inputs of sixteen outputs. Whole numbers
//! are summed exactly and blocks are added as in `avx2`, so both give the same bits. The unsigned
//! factor of the instruction is the weight; what it was raised by to become so is taken off again
//! by the sum of the activations. No iterator adapters and no `map` within the kernels: they go
//! through functions without vector instructions, which are not always inlined. Called by `mod`; `plain` does the same one value at a time.

#![expect(unsafe_code, reason = "vector loads by pointer and calls into functions with AVX-512")]

use std::arch::x86_64::*;

use super::avx2::cut;
use super::input::{Narrow32, Narrow256};
use super::pack::{Nibbles, PANEL, Q4_0, Q4K, Q6K, Q8Quads};
use super::{Wide, WideSums};

/// Proof that this processor has what the kernels need.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vnni(());

impl Vnni {
    /// `None` where an instruction set is missing.
    pub fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vnni");
        found.then_some(Self(()))
    }
}

macro_rules! wide {
    ($($format:ty, $input:ty, $kernel:ident);*) => {$(
        impl Wide for $format {
            fn tile<const M: usize>(_: Vnni, panels: [&[Self]; 2], rows: [&[$input]; M]) -> WideSums<M> {
                // SAFETY: `Vnni` exists only where the features were detected.
                unsafe { $kernel(panels, rows) }
            }
        }
    )*};
}

wide!(Q8Quads, Narrow32, q8; Q4_0, Narrow32, q4_0; Q4K, Narrow256, q4k; Q6K, Narrow256, q6k);

/// The same 32 bytes of two panels.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn join<T>(low: &[T; 32], high: &[T; 32]) -> __m512i {
    const { assert!(size_of::<T>() == 1) };
    // SAFETY: 32 readable bytes each; the instruction asks for no alignment.
    let (low, high) =
        unsafe { (_mm256_loadu_si256(low.as_ptr().cast()), _mm256_loadu_si256(high.as_ptr().cast())) };
    _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high)
}

/// The same 16 bytes of two panels.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn join_half<T, const N: usize>(low: &[T; N], high: &[T; N]) -> __m256i {
    const { assert!(size_of::<[T; N]>() == 16) };
    // SAFETY: 16 readable bytes each; the instruction asks for no alignment.
    let (low, high) =
        unsafe { (_mm_loadu_si128(low.as_ptr().cast()), _mm_loadu_si128(high.as_ptr().cast())) };
    _mm256_set_m128i(high, low)
}

/// The same eight bytes of two panels.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn join_eight<T>(low: &[T; 8], high: &[T; 8]) -> __m128i {
    const { assert!(size_of::<T>() == 1) };
    // SAFETY: eight readable bytes each; the instruction asks for no alignment.
    let (low, high) =
        unsafe { (_mm_loadl_epi64(low.as_ptr().cast()), _mm_loadl_epi64(high.as_ptr().cast())) };
    _mm_unpacklo_epi64(low, high)
}

/// Sixteen 16-bit floats, widened.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn halves(low: &[u16; PANEL], high: &[u16; PANEL]) -> __m512 {
    _mm512_cvtph_ps(join_half(low, high))
}

/// Asks for this part of a block of the next two panels. All rows are multiplied with two panels
/// before the next two, so that these have the time of all rows to arrive.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
pub(super) fn prefetch<T>(block: [&T; 2], blocks: usize, part: usize, parts: usize) {
    let bytes = size_of::<T>() / parts;
    for block in block {
        let next = std::ptr::from_ref(block).wrapping_add(2 * blocks);
        let start = next.cast::<i8>().wrapping_add(part * bytes);
        for line in 0..bytes.div_ceil(64) {
            // A prefetch reads nothing, so its address may lie anywhere.
            _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(line * 64));
        }
    }
}

/// Adds the sums of a block times its scale `d` and those of the rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn add_scaled<const M: usize>(out: &mut [__m512; M], sum: [__m512i; M], d: __m512, x: [f32; M]) {
    for m in 0..M {
        let scale = _mm512_mul_ps(d, _mm512_set1_ps(x[m]));
        out[m] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum[m]), scale, out[m]);
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn store<const M: usize>(sums: [__m512; M]) -> WideSums<M> {
    let mut out = [[0.0; 2 * PANEL]; M];
    for m in 0..M {
        // SAFETY: sixteen writable floats; the instruction asks for no alignment.
        unsafe { _mm512_storeu_ps(out[m].as_mut_ptr(), sums[m]) };
    }
    out
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn q8<const M: usize>(panels: [&[Q8Quads]; 2], rows: [&[Narrow32]; M]) -> WideSums<M> {
    let blocks = rows[0].len();
    let ([low, high], rows) = (cut(panels, blocks), cut(rows, blocks));
    let mut out = [_mm512_setzero_ps(); M];
    for b in 0..blocks {
        let (low, high) = (&low[b], &high[b]);
        prefetch([low, high], blocks, 0, 1);
        let (mut sum, mut scales) = ([_mm512_setzero_si512(); M], [0.0; M]);
        for m in 0..M {
            sum[m] = _mm512_set1_epi32(rows[m][b].minus_128);
            scales[m] = rows[m][b].scale;
        }
        for quad in 0..8 {
            let w = join(&low.q[quad], &high.q[quad]);
            for m in 0..M {
                sum[m] = _mm512_dpbusd_epi32(sum[m], w, _mm512_set1_epi32(rows[m][b].quads[quad]));
            }
        }
        add_scaled(&mut out, sum, halves(&low.d, &high.d), scales);
    }
    store(out)
}

/// Adds 32 products of each output to `sum`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn nibbles<const M: usize>(sum: &mut [__m512i; M], low: &Nibbles, high: &Nibbles, x: [&[i32; 8]; M]) {
    let mask = _mm512_set1_epi8(15);
    for quad in 0..4 {
        let both = join(&low[quad], &high[quad]);
        let first = _mm512_and_si512(both, mask);
        let second = _mm512_and_si512(_mm512_srli_epi16::<4>(both), mask);
        for m in 0..M {
            sum[m] = _mm512_dpbusd_epi32(sum[m], first, _mm512_set1_epi32(x[m][quad]));
            sum[m] = _mm512_dpbusd_epi32(sum[m], second, _mm512_set1_epi32(x[m][quad + 4]));
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn q4_0<const M: usize>(panels: [&[Q4_0]; 2], rows: [&[Narrow32]; M]) -> WideSums<M> {
    let blocks = rows[0].len();
    let ([low, high], rows) = (cut(panels, blocks), cut(rows, blocks));
    let mut out = [_mm512_setzero_ps(); M];
    for b in 0..blocks {
        let (low, high) = (&low[b], &high[b]);
        prefetch([low, high], blocks, 0, 1);
        let (mut sum, mut scales) = ([_mm512_setzero_si512(); M], [0.0; M]);
        let mut x = [&rows[0][b].quads; M];
        for m in 0..M {
            sum[m] = _mm512_set1_epi32(rows[m][b].minus_8);
            scales[m] = rows[m][b].scale;
            x[m] = &rows[m][b].quads;
        }
        nibbles(&mut sum, &low.q, &high.q, x);
        add_scaled(&mut out, sum, halves(&low.d, &high.d), scales);
    }
    store(out)
}

/// The 32 activations of a part.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn quads_of<'a, const M: usize>(rows: &[&'a [Narrow256]; M], b: usize, part: usize) -> [&'a [i32; 8]; M] {
    let mut x = [&rows[0][b].quads.as_chunks::<8>().0[part]; M];
    for m in 0..M {
        x[m] = &rows[m][b].quads.as_chunks::<8>().0[part];
    }
    x
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn q4k<const M: usize>(panels: [&[Q4K]; 2], rows: [&[Narrow256]; M]) -> WideSums<M> {
    let blocks = rows[0].len();
    let ([low, high], rows) = (cut(panels, blocks), cut(rows, blocks));
    let mut out = [_mm512_setzero_ps(); M];
    for b in 0..blocks {
        let (low, high) = (&low[b], &high[b]);
        let (mut total, mut min) = ([_mm512_setzero_si512(); M], [_mm512_setzero_si512(); M]);
        for part in 0..8 {
            prefetch([low, high], blocks, part, 8);
            let mut sum = [_mm512_setzero_si512(); M];
            nibbles(&mut sum, &low.q[part], &high.q[part], quads_of(&rows, b, part));
            let scale = _mm512_cvtepu8_epi32(join_eight(&low.scales[part], &high.scales[part]));
            for m in 0..M {
                total[m] = _mm512_add_epi32(total[m], _mm512_mullo_epi32(sum[m], scale));
            }
        }
        for pair in 0..4 {
            let mins = _mm512_cvtepu8_epi16(join_half(&low.mins[pair], &high.mins[pair]));
            for m in 0..M {
                min[m] = _mm512_dpwssd_epi32(min[m], mins, _mm512_set1_epi32(rows[m][b].sums_32[pair]));
            }
        }
        let (d, dm) = (halves(&low.d, &high.d), halves(&low.m, &high.m));
        for m in 0..M {
            let x = _mm512_set1_ps(rows[m][b].scale);
            let (scale, min_scale) = (_mm512_mul_ps(d, x), _mm512_mul_ps(dm, x));
            out[m] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(total[m]), scale, out[m]);
            out[m] = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(min[m]), min_scale, out[m]);
        }
    }
    store(out)
}

/// The scales of the first or of the second of a pair of parts.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn part_scales([low, high]: [&Q6K; 2], pair: usize, part: usize) -> __m512i {
    let low = &low.scales[pair].as_chunks::<8>().0[part];
    let high = &high.scales[pair].as_chunks::<8>().0[part];
    _mm512_cvtepi8_epi32(join_eight(low, high))
}

/// Adds the 16 products of each output that belong to one part to `sum`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn sixes<const M: usize, const PART: usize>(
    sum: &mut [__m512i; M],
    [low, high]: [&Q6K; 2],
    pair: usize,
    x: [&[i32; 8]; M],
) {
    let (low_mask, high_mask) = (_mm512_set1_epi8(15), _mm512_set1_epi8(48));
    for two in 0..2 {
        let upper = join(&low.high[pair][two], &high.high[pair][two]);
        for one in 0..2 {
            let quad = two * 2 + one;
            let four = join(&low.low[pair][quad], &high.low[pair][quad]);
            let four = if PART == 0 { four } else { _mm512_srli_epi16::<4>(four) };
            // Bits 0, 2, 4 or 6 of `upper` go to bit 4.
            let upper = match one * 2 + PART {
                0 => _mm512_slli_epi16::<4>(upper),
                1 => _mm512_slli_epi16::<2>(upper),
                2 => upper,
                _ => _mm512_srli_epi16::<2>(upper),
            };
            let w = _mm512_or_si512(_mm512_and_si512(four, low_mask), _mm512_and_si512(upper, high_mask));
            for m in 0..M {
                sum[m] = _mm512_dpbusd_epi32(sum[m], w, _mm512_set1_epi32(x[m][quad + PART * 4]));
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn q6k<const M: usize>(panels: [&[Q6K]; 2], rows: [&[Narrow256]; M]) -> WideSums<M> {
    let blocks = rows[0].len();
    let ([low, high], rows) = (cut(panels, blocks), cut(rows, blocks));
    let mut out = [_mm512_setzero_ps(); M];
    for b in 0..blocks {
        let block = [&low[b], &high[b]];
        let (mut total, mut offset) = ([_mm512_setzero_si512(); M], [_mm512_setzero_si512(); M]);
        for pair in 0..8 {
            prefetch(block, blocks, pair, 8);
            let x = quads_of(&rows, b, pair);
            let scales = [part_scales(block, pair, 0), part_scales(block, pair, 1)];
            let (mut first, mut second) = ([_mm512_setzero_si512(); M], [_mm512_setzero_si512(); M]);
            sixes::<M, 0>(&mut first, block, pair, x);
            for m in 0..M {
                total[m] = _mm512_add_epi32(total[m], _mm512_mullo_epi32(first[m], scales[0]));
            }
            sixes::<M, 1>(&mut second, block, pair, x);
            for m in 0..M {
                total[m] = _mm512_add_epi32(total[m], _mm512_mullo_epi32(second[m], scales[1]));
            }
        }
        for pair in 0..8 {
            let (first, second) = (part_scales(block, pair, 0), part_scales(block, pair, 1));
            let mixed = _mm512_mask_blend_epi16(0xaaaa_aaaa, first, _mm512_slli_epi32::<16>(second));
            for m in 0..M {
                let x = _mm512_set1_epi32(rows[m][b].sums_16[pair]);
                offset[m] = _mm512_dpwssd_epi32(offset[m], mixed, x);
            }
        }
        let d = halves(&block[0].d, &block[1].d);
        for m in 0..M {
            let whole = _mm512_sub_epi32(total[m], _mm512_slli_epi32::<5>(offset[m]));
            let scale = _mm512_mul_ps(d, _mm512_set1_ps(rows[m][b].scale));
            out[m] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(whole), scale, out[m]);
        }
    }
    store(out)
}
