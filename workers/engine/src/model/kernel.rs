//! Numeric kernels in `f32`: matrix product, norms, activation.
//!
//! Invariant: every output element is summed in an order that depends only on the length of the
//! sum, never on how many rows are computed together or by how many threads. That is what makes
//! "alone = in a batch" and "chunked = whole" exact. Called by `linear` and `decoder`; attention has
//! kernels of its own.

use pulp::{Simd, WithSimd};

/// Rows of the left operand that are kept in the second-level cache while weights stream past.
const ROW_TILE: usize = 48;

/// Runs `op` with the widest vectors that are used on this machine (AVX2 + FMA, NEON, or none).
///
/// AVX-512 is left out on purpose: what is added across lanes is then bit-equal on all x86-64
/// machines with AVX2. Products whose lanes are sums of their own use it (`attn/product.rs`).
#[inline]
pub(crate) fn dispatch<Op: WithSimd>(op: Op) -> Op::Output {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new() {
        return Simd::vectorize(simd, op);
    }
    pulp::Arch::new().dispatch(op)
}

/// One row split into vectors and the rest that fills no vector.
type Split<'a, V> = (&'a [V], &'a [f32]);

/// `R × M` dot products at once; each uses one accumulator, so blocking does not change its bits.
#[inline(always)]
fn dots<S: Simd, const R: usize, const M: usize>(
    simd: S,
    w: [Split<'_, S::f32s>; R],
    x: [Split<'_, S::f32s>; M],
) -> [[f32; M]; R] {
    let vectors = w[0].0.len();
    let w_head = w.map(|row| &row.0[..vectors]);
    let x_head = x.map(|row| &row.0[..vectors]);
    let mut sum = [[simd.splat_f32s(0.0); M]; R];
    for i in 0..vectors {
        let xs: [S::f32s; M] = std::array::from_fn(|m| x_head[m][i]);
        for r in 0..R {
            let ws = w_head[r][i];
            for m in 0..M {
                sum[r][m] = simd.mul_add_f32s(ws, xs[m], sum[r][m]);
            }
        }
    }
    std::array::from_fn(|r| {
        std::array::from_fn(|m| {
            let mut total = simd.reduce_sum_f32s(sum[r][m]);
            for (a, b) in w[r].1.iter().zip(x[m].1) {
                total += a * b;
            }
            total
        })
    })
}

/// `y[m, n] = x[m, k] · w[n, k]ᵀ`, rows of `y` are `n` apart.
struct MatmulT<'a> {
    x: &'a [f32],
    w: &'a [f32],
    k: usize,
    y: &'a mut [f32],
}

impl MatmulT<'_> {
    #[inline(always)]
    fn panel<S: Simd, const R: usize>(&mut self, simd: S, rows: std::ops::Range<usize>, column: usize) {
        let (k, n) = (self.k, self.w.len() / self.k);
        let w: [_; R] =
            std::array::from_fn(|r| S::as_simd_f32s(&self.w[(column + r) * k..(column + r + 1) * k]));
        let x = self.x;
        let split = |row: usize| S::as_simd_f32s(&x[row * k..(row + 1) * k]);
        let mut row = rows.start;
        while row < rows.end {
            match rows.end - row {
                1 => {
                    let out = dots::<S, R, 1>(simd, w, [split(row)]);
                    self.store(out, row, column, n);
                    row += 1;
                }
                2 => {
                    let out = dots::<S, R, 2>(simd, w, [split(row), split(row + 1)]);
                    self.store(out, row, column, n);
                    row += 2;
                }
                _ => {
                    let out = dots::<S, R, 3>(simd, w, [split(row), split(row + 1), split(row + 2)]);
                    self.store(out, row, column, n);
                    row += 3;
                }
            }
        }
    }

    #[inline(always)]
    fn store<const R: usize, const M: usize>(
        &mut self,
        out: [[f32; M]; R],
        row: usize,
        column: usize,
        n: usize,
    ) {
        for (r, column_of_rows) in out.iter().enumerate() {
            for (m, value) in column_of_rows.iter().enumerate() {
                self.y[(row + m) * n + column + r] = *value;
            }
        }
    }

    /// One row: eight independent sums hide the latency of the multiply-add.
    #[inline(always)]
    fn single<S: Simd>(&mut self, simd: S) {
        let (k, n) = (self.k, self.w.len() / self.k);
        let x = S::as_simd_f32s(self.x);
        let mut column = 0;
        while column + 8 <= n {
            let w: [_; 8] =
                std::array::from_fn(|r| S::as_simd_f32s(&self.w[(column + r) * k..(column + r + 1) * k]));
            let out = dots::<S, 8, 1>(simd, w, [x]);
            for (target, value) in self.y[column..column + 8].iter_mut().zip(out) {
                *target = value[0];
            }
            column += 8;
        }
        while column < n {
            let w = S::as_simd_f32s(&self.w[column * k..(column + 1) * k]);
            self.y[column] = dots::<S, 1, 1>(simd, [w], [x])[0][0];
            column += 1;
        }
    }
}

impl WithSimd for MatmulT<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let (m, n) = (self.x.len() / self.k, self.w.len() / self.k);
        if m == 1 {
            return self.single(simd);
        }
        let mut start = 0;
        while start < m {
            let end = (start + ROW_TILE).min(m);
            let mut column = 0;
            while column + 4 <= n {
                self.panel::<S, 4>(simd, start..end, column);
                column += 4;
            }
            while column < n {
                self.panel::<S, 1>(simd, start..end, column);
                column += 1;
            }
            start = end;
        }
    }
}

/// `y[m, n] = x[m, k] · w[n, k]ᵀ`; all row-major, `m = x.len() / k`, `n = w.len() / k`.
pub(crate) fn matmul_t(x: &[f32], w: &[f32], k: usize, y: &mut [f32]) {
    debug_assert_eq!(x.len() / k * (w.len() / k), y.len());
    if !x.is_empty() && !w.is_empty() {
        dispatch(MatmulT { x, w, k, y });
    }
}

/// `e^x` by range reduction to `±ln 2 / 2` and a polynomial of degree six; relative error below
/// `3e-7`. Branch-free, so loops over it vectorise.
#[inline(always)]
fn exp(x: f32) -> f32 {
    // Adding 1.5·2²³ leaves the rounded integer in the low mantissa bits.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * 0.693_359_4 - n * -2.121_944_4e-4;
    let p = 1.388_889e-3_f32;
    let p = p * r + 8.333_334e-3;
    let p = p * r + 4.166_666_8e-2;
    let p = p * r + 1.666_666_7e-1;
    let p = p * r + 0.5;
    let p = p * r + 1.0;
    let p = p * r + 1.0;
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127);
    p * f32::from_bits(exponent.wrapping_shl(23))
}

struct SwiGlu<'a> {
    gate: &'a mut [f32],
    up: &'a [f32],
}

impl WithSimd for SwiGlu<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for (g, u) in self.gate.iter_mut().zip(self.up) {
            *g = *g / (1.0 + exp(-*g)) * u;
        }
    }
}

/// `gate = silu(gate) · up`, elementwise (Shazeer 2020, "GLU Variants Improve Transformer").
pub(crate) fn swiglu(gate: &mut [f32], up: &[f32]) {
    dispatch(SwiGlu { gate, up });
}

struct RmsNorm<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
    y: &'a mut [f32],
}

impl WithSimd for RmsNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let k = self.weight.len();
        for (x, y) in self.x.chunks_exact(k).zip(self.y.chunks_exact_mut(k)) {
            let split = S::as_simd_f32s(x);
            let square = dots::<S, 1, 1>(simd, [split], [split])[0][0];
            let scale = 1.0 / (square / k as f32 + self.eps).sqrt();
            for ((y, x), w) in y.iter_mut().zip(x).zip(self.weight) {
                *y = x * scale * w;
            }
        }
    }
}

/// Root-mean-square norm of each row of `x` (Zhang & Sennrich 2019); a row is as long as `weight`.
pub(crate) fn rms_norm(x: &[f32], weight: &[f32], eps: f32, y: &mut [f32]) {
    dispatch(RmsNorm { x, weight, eps, y });
}

/// `x += y`, elementwise.
pub(crate) fn add(x: &mut [f32], y: &[f32]) {
    for (x, y) in x.iter_mut().zip(y) {
        *x += y;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(len: usize, step: f32) -> Vec<f32> {
        (0..len).map(|i| (i as f32 * step).sin()).collect()
    }

    #[test]
    fn product_is_right_and_independent_of_the_row_count() {
        for (m, k, n) in [(1, 7, 5), (2, 16, 9), (3, 40, 13), (7, 33, 8), (50, 64, 4), (97, 24, 17)] {
            let (x, w) = (wave(m * k, 0.37), wave(n * k, 0.11));
            let mut whole = vec![0.0; m * n];
            matmul_t(&x, &w, k, &mut whole);
            for row in 0..m {
                let mut one = vec![0.0; n];
                matmul_t(&x[row * k..(row + 1) * k], &w, k, &mut one);
                assert_eq!(one, whole[row * n..(row + 1) * n], "{m}x{k}x{n} row {row}");
                for (column, value) in one.iter().enumerate() {
                    let expected: f64 =
                        (0..k).map(|i| f64::from(x[row * k + i]) * f64::from(w[column * k + i])).sum();
                    assert!((f64::from(*value) - expected).abs() < 1e-4);
                }
            }
        }
    }

    #[test]
    fn exponential_is_close() {
        for i in -800..=800 {
            let x = i as f32 * 0.1;
            let expected = f64::from(x).exp();
            assert!(((f64::from(exp(x)) - expected) / expected).abs() < 1e-6, "{x}");
        }
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(-1e30) < 1e-37);
    }

    #[test]
    fn norm_and_activation_follow_their_formulas() {
        let x = wave(12, 0.9);
        let mut y = vec![0.0; 12];
        rms_norm(&x, &[2.0; 6], 1e-5, &mut y);
        let mean = x[..6].iter().map(|v| v * v).sum::<f32>() / 6.0;
        assert!((y[1] - x[1] * 2.0 / (mean + 1e-5).sqrt()).abs() < 1e-5);
        let mut gate = vec![1.5_f32, -2.0];
        swiglu(&mut gate, &[2.0, 3.0]);
        assert!((gate[0] - 1.5 / (1.0 + (-1.5_f32).exp()) * 2.0).abs() < 1e-5);
        assert!((gate[1] - -2.0 / (1.0 + 2.0_f32.exp()) * 3.0).abs() < 1e-5);
    }
}
