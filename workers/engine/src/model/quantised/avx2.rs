//! The four products with AVX2, FMA and half-float conversion.
//!
//! Invariant: per output and row, whole numbers are summed exactly inside a block and blocks are
//! added in their order by one fused multiply-add, so the number of rows and panels computed
//! together changes no bit. Each kernel computes `R` panels × `M` rows; sums stay in registers
//! while `R · M` is at most eight. Called by `mod`; `plain` does the same one value at a time.

#![expect(unsafe_code, reason = "vector loads by pointer and calls into functions with AVX2")]

use std::arch::x86_64::*;

use super::input::{Narrow32, Narrow256, Wide32};
use super::pack::{Nibbles, PANEL, Q4_0, Q4K, Q6K, Q8_0};
use super::{Kernel, Sums};

/// How far ahead of the sums weights are asked for.
const AHEAD_BYTES: usize = 8192;

/// Proof that this processor has what the kernels need.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx2(());

impl Avx2 {
    /// `None` where an instruction set is missing.
    pub fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma")
            && is_x86_feature_detected!("f16c");
        found.then_some(Self(()))
    }
}

impl Kernel for Q8_0 {
    const PANELS: usize = 2;

    fn tile<const R: usize, const M: usize>(
        _: Avx2,
        panels: [&[Self]; R],
        rows: [&[Wide32]; M],
    ) -> Sums<R, M> {
        // SAFETY: `Avx2` exists only where the features were detected.
        unsafe { q8_0(panels, rows) }
    }
}

impl Kernel for Q4_0 {
    const PANELS: usize = 2;

    fn tile<const R: usize, const M: usize>(
        _: Avx2,
        panels: [&[Self]; R],
        rows: [&[Narrow32]; M],
    ) -> Sums<R, M> {
        // SAFETY: `Avx2` exists only where the features were detected.
        unsafe { q4_0(panels, rows) }
    }
}

impl Kernel for Q4K {
    const PANELS: usize = 2;

    fn tile<const R: usize, const M: usize>(
        _: Avx2,
        panels: [&[Self]; R],
        rows: [&[Narrow256]; M],
    ) -> Sums<R, M> {
        // SAFETY: `Avx2` exists only where the features were detected.
        unsafe { q4k(panels, rows) }
    }
}

impl Kernel for Q6K {
    // Unpacking takes many registers: sums of a second panel would not stay in them.
    const PANELS: usize = 1;

    fn tile<const R: usize, const M: usize>(
        _: Avx2,
        panels: [&[Self]; R],
        rows: [&[Narrow256]; M],
    ) -> Sums<R, M> {
        // SAFETY: `Avx2` exists only where the features were detected.
        unsafe { q6k(panels, rows) }
    }
}

/// All slices cut to one length, so that indices need no check. Loops instead of `map`: a closure
/// that goes through a function without vector instructions is not inlined, and kernels stand still.
pub(super) fn cut<T, const N: usize>(mut slices: [&[T]; N], len: usize) -> [&[T]; N] {
    for slice in &mut slices {
        *slice = &slice[..len];
    }
    slices
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: 32 readable bytes; the instruction asks for no alignment.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn load_half<T>(values: &[T; 16]) -> __m128i {
    const { assert!(size_of::<T>() == 1) };
    // SAFETY: 16 readable bytes; the instruction asks for no alignment.
    unsafe { _mm_loadu_si128(values.as_ptr().cast()) }
}

/// Asks for the weights [`AHEAD_BYTES`] after this part of a block. One row does little with a
/// block, and the processor's own prediction then runs too short a way ahead of it.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn prefetch<T>(block: &T, part: usize, parts: usize) {
    let bytes = size_of::<T>() / parts;
    let start = std::ptr::from_ref(block).cast::<i8>().wrapping_add(AHEAD_BYTES + part * bytes);
    for line in 0..bytes.div_ceil(64) {
        // A prefetch reads nothing, so its address may lie anywhere.
        _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(line * 64));
    }
}

/// Eight 16-bit floats, widened.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn halves(values: &[u16; PANEL]) -> __m256 {
    // SAFETY: 16 readable bytes; the instruction asks for no alignment.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(values.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn store<const R: usize, const M: usize>(sums: [[__m256; M]; R]) -> Sums<R, M> {
    let mut out = [[[0.0; PANEL]; M]; R];
    for (out, sums) in out.iter_mut().zip(sums) {
        for (out, sum) in out.iter_mut().zip(sums) {
            // SAFETY: eight writable floats; the instruction asks for no alignment.
            unsafe { _mm256_storeu_ps(out.as_mut_ptr(), sum) };
        }
    }
    out
}

#[target_feature(enable = "avx2,fma,f16c")]
fn q8_0<const R: usize, const M: usize>(panels: [&[Q8_0]; R], rows: [&[Wide32]; M]) -> Sums<R, M> {
    let blocks = rows[0].len();
    let (panels, rows) = (cut(panels, blocks), cut(rows, blocks));
    let mut out = [[_mm256_setzero_ps(); M]; R];
    for b in 0..blocks {
        let mut sum = [[_mm256_setzero_si256(); M]; R];
        for pair in 0..16 {
            let mut w = [_mm256_setzero_si256(); R];
            for r in 0..R {
                w[r] = _mm256_cvtepi8_epi16(load_half(&panels[r][b].q[pair]));
            }
            for m in 0..M {
                let x = _mm256_set1_epi32(rows[m][b].pairs[pair]);
                for r in 0..R {
                    sum[r][m] = _mm256_add_epi32(sum[r][m], _mm256_madd_epi16(w[r], x));
                }
            }
        }
        for r in 0..R {
            prefetch(&panels[r][b], 0, 1);
            let d = halves(&panels[r][b].d);
            for m in 0..M {
                let scale = _mm256_mul_ps(d, _mm256_set1_ps(rows[m][b].scale));
                out[r][m] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum[r][m]), scale, out[r][m]);
            }
        }
    }
    store(out)
}

/// Sums of 32 products as 16-bit numbers, two for each output. Eight products of at most
/// 15 · 127 are added to one number in pairs: at most 30480.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn nibbles<const R: usize, const M: usize>(w: [&Nibbles; R], x: [&[i32; 8]; M]) -> [[__m256i; M]; R] {
    let mask = _mm256_set1_epi8(15);
    let mut sum = [[_mm256_setzero_si256(); M]; R];
    for quad in 0..4 {
        let (mut low, mut high) = ([mask; R], [mask; R]);
        for r in 0..R {
            let both = load(&w[r][quad]);
            low[r] = _mm256_and_si256(both, mask);
            high[r] = _mm256_and_si256(_mm256_srli_epi16::<4>(both), mask);
        }
        for m in 0..M {
            let (a, b) = (_mm256_set1_epi32(x[m][quad]), _mm256_set1_epi32(x[m][quad + 4]));
            for r in 0..R {
                sum[r][m] = _mm256_add_epi16(sum[r][m], _mm256_maddubs_epi16(low[r], a));
                sum[r][m] = _mm256_add_epi16(sum[r][m], _mm256_maddubs_epi16(high[r], b));
            }
        }
    }
    sum
}

#[target_feature(enable = "avx2,fma,f16c")]
fn q4_0<const R: usize, const M: usize>(panels: [&[Q4_0]; R], rows: [&[Narrow32]; M]) -> Sums<R, M> {
    let blocks = rows[0].len();
    let (panels, rows) = (cut(panels, blocks), cut(rows, blocks));
    let ones = _mm256_set1_epi16(1);
    let mut out = [[_mm256_setzero_ps(); M]; R];
    for b in 0..blocks {
        let (mut w, mut x) = ([&panels[0][b].q; R], [&rows[0][b].quads; M]);
        for r in 0..R {
            w[r] = &panels[r][b].q;
        }
        for m in 0..M {
            x[m] = &rows[m][b].quads;
        }
        let sum = nibbles(w, x);
        for r in 0..R {
            prefetch(&panels[r][b], 0, 1);
            let d = halves(&panels[r][b].d);
            for m in 0..M {
                let offset = _mm256_set1_epi32(rows[m][b].minus_8);
                let total = _mm256_add_epi32(_mm256_madd_epi16(sum[r][m], ones), offset);
                let scale = _mm256_mul_ps(d, _mm256_set1_ps(rows[m][b].scale));
                out[r][m] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(total), scale, out[r][m]);
            }
        }
    }
    store(out)
}

/// Eight unsigned bytes, each as both 16-bit halves of a lane.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn twice_unsigned(values: &[u8; PANEL]) -> __m256i {
    let wide = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128(i64::from_le_bytes(*values)));
    _mm256_or_si256(wide, _mm256_slli_epi32::<16>(wide))
}

#[target_feature(enable = "avx2,fma,f16c")]
fn q4k<const R: usize, const M: usize>(panels: [&[Q4K]; R], rows: [&[Narrow256]; M]) -> Sums<R, M> {
    let blocks = rows[0].len();
    let (panels, rows) = (cut(panels, blocks), cut(rows, blocks));
    let mut out = [[_mm256_setzero_ps(); M]; R];
    for b in 0..blocks {
        let mut total = [[_mm256_setzero_si256(); M]; R];
        for part in 0..8 {
            let mut w = [&panels[0][b].q[part]; R];
            for r in 0..R {
                w[r] = &panels[r][b].q[part];
            }
            let mut x = [&rows[0][b].quads.as_chunks::<8>().0[part]; M];
            for (x, row) in x.iter_mut().zip(rows) {
                *x = &row[b].quads.as_chunks::<8>().0[part];
            }
            let sum = nibbles(w, x);
            for r in 0..R {
                prefetch(&panels[r][b], part, 8);
                let scale = twice_unsigned(&panels[r][b].scales[part]);
                for m in 0..M {
                    total[r][m] = _mm256_add_epi32(total[r][m], _mm256_madd_epi16(sum[r][m], scale));
                }
            }
        }
        for r in 0..R {
            let mut min = [_mm256_setzero_si256(); M];
            for pair in 0..4 {
                let mins = _mm256_cvtepu8_epi16(load_half(&panels[r][b].mins[pair]));
                for m in 0..M {
                    let x = _mm256_set1_epi32(rows[m][b].sums_32[pair]);
                    min[m] = _mm256_add_epi32(min[m], _mm256_madd_epi16(mins, x));
                }
            }
            let (d, dm) = (halves(&panels[r][b].d), halves(&panels[r][b].m));
            for m in 0..M {
                let x = _mm256_set1_ps(rows[m][b].scale);
                let (scale, min_scale) = (_mm256_mul_ps(d, x), _mm256_mul_ps(dm, x));
                out[r][m] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(total[r][m]), scale, out[r][m]);
                out[r][m] = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(min[m]), min_scale, out[r][m]);
            }
        }
    }
    store(out)
}

/// The scales of a pair of parts: of the first twice in each lane, of the second twice, and of
/// both side by side.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn scale_pair(scales: &[i8; 16]) -> [__m256i; 3] {
    let both = _mm256_broadcastsi128_si256(load_half(scales));
    // Each byte goes to the upper half of 16 bits; the shift then extends its sign. Lanes of 128
    // bits hold rows 0–3 and 4–7.
    const Z: i8 = -128;
    let first = _mm256_setr_epi8(
        Z, 0, Z, 0, Z, 1, Z, 1, Z, 2, Z, 2, Z, 3, Z, 3, Z, 4, Z, 4, Z, 5, Z, 5, Z, 6, Z, 6, Z, 7, Z, 7,
    );
    let eight = _mm256_set1_epi16(0x0800);
    let second = _mm256_add_epi8(first, eight);
    let mixed = _mm256_add_epi8(first, _mm256_set1_epi32(0x0800_0000));
    [
        _mm256_srai_epi16::<8>(_mm256_shuffle_epi8(both, first)),
        _mm256_srai_epi16::<8>(_mm256_shuffle_epi8(both, second)),
        _mm256_srai_epi16::<8>(_mm256_shuffle_epi8(both, mixed)),
    ]
}

/// The low four bits of `low` below bits 4 and 5 of `high`, in each byte.
#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn six(low: __m256i, high: __m256i) -> __m256i {
    let (low_mask, high_mask) = (_mm256_set1_epi8(15), _mm256_set1_epi8(48));
    _mm256_or_si256(_mm256_and_si256(low, low_mask), _mm256_and_si256(high, high_mask))
}

#[target_feature(enable = "avx2,fma,f16c")]
fn q6k<const R: usize, const M: usize>(panels: [&[Q6K]; R], rows: [&[Narrow256]; M]) -> Sums<R, M> {
    let blocks = rows[0].len();
    let (panels, rows) = (cut(panels, blocks), cut(rows, blocks));
    let mut out = [[_mm256_setzero_ps(); M]; R];
    for r in 0..R {
        for b in 0..blocks {
            let block = &panels[r][b];
            let mut total = [_mm256_setzero_si256(); M];
            let mut offset = [_mm256_setzero_si256(); M];
            for pair in 0..8 {
                prefetch(block, pair, 8);
                let [first, second, mixed] = scale_pair(&block.scales[pair]);
                for two in 0..2 {
                    let high = load(&block.high[pair][two]);
                    let (q0, q1) = (load(&block.low[pair][two * 2]), load(&block.low[pair][two * 2 + 1]));
                    let a0 = six(q0, _mm256_slli_epi16::<4>(high));
                    let b0 = six(_mm256_srli_epi16::<4>(q0), _mm256_slli_epi16::<2>(high));
                    let a1 = six(q1, high);
                    let b1 = six(_mm256_srli_epi16::<4>(q1), _mm256_srli_epi16::<2>(high));
                    for m in 0..M {
                        let x = &rows[m][b].quads.as_chunks::<8>().0[pair];
                        // Two products of at most 63 · 127, twice: 32004 fits 16 bits.
                        let a = _mm256_add_epi16(
                            _mm256_maddubs_epi16(a0, _mm256_set1_epi32(x[two * 2])),
                            _mm256_maddubs_epi16(a1, _mm256_set1_epi32(x[two * 2 + 1])),
                        );
                        let b = _mm256_add_epi16(
                            _mm256_maddubs_epi16(b0, _mm256_set1_epi32(x[two * 2 + 4])),
                            _mm256_maddubs_epi16(b1, _mm256_set1_epi32(x[two * 2 + 5])),
                        );
                        total[m] = _mm256_add_epi32(total[m], _mm256_madd_epi16(a, first));
                        total[m] = _mm256_add_epi32(total[m], _mm256_madd_epi16(b, second));
                    }
                }
                for m in 0..M {
                    let x = _mm256_set1_epi32(rows[m][b].sums_16[pair]);
                    offset[m] = _mm256_add_epi32(offset[m], _mm256_madd_epi16(mixed, x));
                }
            }
            let d = halves(&block.d);
            for m in 0..M {
                let whole = _mm256_sub_epi32(total[m], _mm256_slli_epi32::<5>(offset[m]));
                let scale = _mm256_mul_ps(d, _mm256_set1_ps(rows[m][b].scale));
                out[r][m] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(whole), scale, out[r][m]);
            }
        }
    }
    store(out)
}
