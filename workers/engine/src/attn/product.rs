//! Matrix products of attention in register tiles, with the widest vectors there are.
//!
//! Invariant: every sum is taken in the order of `depth` alone, whatever the tile and however wide
//! the vectors. Called by `tile`.

use pulp::{Simd, WithSimd};

use crate::kv::LANES;

/// Most rows of one register tile: with two vectors of columns, twelve sums and their operands fill
/// the sixteen registers of AVX2, and twice as many the 32 of AVX-512.
const PANEL: usize = 6;
const PANEL_WIDE: usize = 12;

/// The vectors that products are computed with. A product's lanes are sums of their own, so that
/// wider ones change no bit; a softmax adds across lanes and keeps to [`LANES`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Vectors {
    #[cfg(target_arch = "x86_64")]
    wide: Option<pulp::x86::V4>,
}

impl Vectors {
    #[inline(always)]
    pub fn detect() -> Self {
        Self {
            #[cfg(target_arch = "x86_64")]
            wide: pulp::x86::V4::try_new(),
        }
    }

    /// Most rows of a tile with this many columns.
    #[inline(always)]
    pub fn panel(self, columns: usize) -> usize {
        #[cfg(target_arch = "x86_64")]
        if self.wide.is_some() && columns.is_multiple_of(2 * LANES) {
            return PANEL_WIDE;
        }
        PANEL
    }

    #[inline(always)]
    pub fn run<S: Simd>(self, simd: S, product: Product<'_>) {
        #[cfg(target_arch = "x86_64")]
        if let Some(wide) = self.wide
            && product.columns.is_multiple_of(2 * LANES)
        {
            return Simd::vectorize(wide, product);
        }
        simd.vectorize(product);
    }
}

/// `c[m, n] = Σ_k a[m, k] · b[k, n]`, or `+=` with `add`.
pub(super) struct Product<'a> {
    /// As [`pack`] leaves it.
    pub a: &'a [f32],
    pub rows: usize,
    /// Most rows of a tile, as for [`pack`].
    pub panel: usize,
    pub depth: usize,
    /// `[depth, columns]`, where `columns` is a multiple of `LANES`.
    pub b: &'a [f32],
    pub columns: usize,
    pub c: &'a mut [f32],
    pub c_stride: usize,
    pub add: bool,
}

/// Heights of the panels that `rows` are cut into: equal ones, since eight rows are twice four, not
/// six and a slow two.
#[inline(always)]
fn heights(rows: usize, panel: usize) -> impl Iterator<Item = usize> {
    let mut panels = rows.div_ceil(panel);
    let mut rest = rows;
    std::iter::from_fn(move || {
        let height = (panels > 0).then(|| rest.div_ceil(panels))?;
        panels -= 1;
        rest -= height;
        Some(height)
    })
}

/// Puts the operands of each panel side by side, `[depth, height]`: one stream of them in place of
/// six keeps the inner loop in registers.
#[inline(always)]
pub(super) fn pack(
    a: &[f32],
    a_stride: usize,
    (rows, panel): (usize, usize),
    depth: usize,
    packed: &mut Vec<f32>,
) {
    packed.resize(rows * depth, 0.0);
    let mut row = 0;
    for height in heights(rows, panel) {
        let panel = &mut packed[row * depth..(row + height) * depth];
        for m in 0..height {
            let a = &a[(row + m) * a_stride..][..depth];
            for k in 0..depth {
                panel[k * height + m] = a[k];
            }
        }
        row += height;
    }
}

impl Product<'_> {
    /// `M` rows and `N` vectors of columns.
    #[expect(
        clippy::needless_range_loop,
        reason = "loops over constants are unrolled, and iterators over pairs are not inlined into vector code"
    )]
    #[inline(always)]
    fn step<S: Simd, const M: usize, const N: usize>(&mut self, simd: S, row: usize, column: usize) {
        let (lanes, add) = (S::F32_LANES, self.add);
        let stride = self.columns / lanes;
        let a = self.a[row * self.depth..(row + M) * self.depth].as_chunks::<M>().0;
        // As long as the loop reads, so that its indices need no check.
        let b = &S::as_simd_f32s(self.b).0[column..][..(a.len() - 1) * stride + N];
        let mut sum = [[simd.splat_f32s(0.0); N]; M];
        if add {
            for m in 0..M {
                let c = &self.c[(row + m) * self.c_stride + column * lanes..][..N * lanes];
                sum[m].copy_from_slice(S::as_simd_f32s(c).0);
            }
        }
        for k in 0..a.len() {
            for m in 0..M {
                let x = simd.splat_f32s(a[k][m]);
                for n in 0..N {
                    sum[m][n] = simd.mul_add_f32s(x, b[k * stride + n], sum[m][n]);
                }
            }
        }
        for m in 0..M {
            let c = &mut self.c[(row + m) * self.c_stride + column * lanes..][..N * lanes];
            S::as_mut_simd_f32s(c).0.copy_from_slice(&sum[m]);
        }
    }

    /// `M` rows, all columns. Few rows take more columns at a time: eight sums or more hide the
    /// latency of the multiply-add.
    #[inline(always)]
    fn panel<S: Simd, const M: usize>(&mut self, simd: S, row: usize) {
        let vectors = self.columns / S::F32_LANES;
        let mut column = 0;
        while M == 1 && column + 8 <= vectors {
            self.step::<S, M, 8>(simd, row, column);
            column += 8;
        }
        while M <= 3 && column + 4 <= vectors {
            self.step::<S, M, 4>(simd, row, column);
            column += 4;
        }
        while column + 2 <= vectors {
            self.step::<S, M, 2>(simd, row, column);
            column += 2;
        }
        while column < vectors {
            self.step::<S, M, 1>(simd, row, column);
            column += 1;
        }
    }
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        let mut row = 0;
        for height in heights(self.rows, self.panel) {
            match height {
                1 => self.panel::<S, 1>(simd, row),
                2 => self.panel::<S, 2>(simd, row),
                3 => self.panel::<S, 3>(simd, row),
                4 => self.panel::<S, 4>(simd, row),
                5 => self.panel::<S, 5>(simd, row),
                6 => self.panel::<S, 6>(simd, row),
                7 => self.panel::<S, 7>(simd, row),
                8 => self.panel::<S, 8>(simd, row),
                9 => self.panel::<S, 9>(simd, row),
                10 => self.panel::<S, 10>(simd, row),
                11 => self.panel::<S, 11>(simd, row),
                _ => self.panel::<S, PANEL_WIDE>(simd, row),
            }
            row += height;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::kernel::dispatch;

    struct InVectors<'a>(Vectors, Product<'a>);

    impl WithSimd for InVectors<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            self.0.run(simd, self.1);
        }
    }

    /// The product, set once and added once.
    fn product(vectors: Vectors, [a, b]: [&[f32]; 2], [rows, depth, columns]: [usize; 3]) -> Vec<f32> {
        let mut c = vec![1.0; rows * columns];
        let (panel, mut packed) = (vectors.panel(columns), Vec::new());
        pack(a, depth, (rows, panel), depth, &mut packed);
        for add in [false, true] {
            let (a, c) = (packed.as_slice(), c.as_mut_slice());
            let product = Product { a, rows, panel, depth, b, columns, c, c_stride: columns, add };
            dispatch(InVectors(vectors, product));
        }
        c
    }

    #[test]
    fn product_is_right_for_every_height_and_equal_in_every_width() {
        let narrow = Vectors {
            #[cfg(target_arch = "x86_64")]
            wide: None,
        };
        let wave =
            |len: usize, step: f32| -> Vec<f32> { (0..len).map(|i| (i as f32 * step).sin()).collect() };
        let shapes = [(1, 5, 8), (2, 16, 72), (7, 33, 16), (8, 1, 40), (13, 64, 24), (64, 3, 128)];
        let heights = (1..30).map(|rows| (rows, 20, 16));
        for (rows, depth, columns) in shapes.into_iter().chain(heights) {
            let (a, b) = (wave(rows * depth, 0.37), wave(depth * columns, 0.11));
            let shape = [rows, depth, columns];
            let c = product(narrow, [&a, &b], shape);
            assert_eq!(product(Vectors::detect(), [&a, &b], shape), c, "{rows}x{depth}x{columns}");
            for (i, value) in c.iter().enumerate() {
                let (row, column) = (i / columns, i % columns);
                let terms =
                    (0..depth).map(|k| f64::from(a[row * depth + k]) * f64::from(b[k * columns + column]));
                assert!(
                    (f64::from(*value) - 2.0 * terms.sum::<f64>()).abs() < 1e-4,
                    "{rows}x{depth}x{columns}"
                );
            }
        }
    }
}
