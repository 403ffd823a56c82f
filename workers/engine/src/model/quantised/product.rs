//! Which tiles of rows and panels the kernels are called for.
//!
//! Invariant: a row's result does not depend on the tile it is computed in. Called by `mod`.

use std::ops::Range;

use super::avx2::Avx2;
use super::input::InputBlock;
use super::pack::PANEL;
use super::{Kernel, ROW_TILE, Vnni, Wide};

/// Bytes of activations that stay in the second-level cache while weights stream past.
const ROW_BYTES: usize = 192 << 10;

/// Rows that AVX2's registers hold sums of two panels for.
const NARROW_TILE: usize = 4;

/// Calls `band` for rows that fit the cache together, with each number of panels at once that
/// `step` allows.
fn in_bands<I: InputBlock>(
    x: &[I],
    (rows, columns): (Range<usize>, Range<usize>),
    (blocks, step): (usize, usize),
    y: &mut [&mut [f32]],
    mut band: impl FnMut(Range<usize>, &[I], &mut [&mut [f32]]),
) {
    let x = &x[rows.start * blocks..rows.end * blocks];
    let chunk = (ROW_BYTES / (blocks * size_of::<I>()) / ROW_TILE).max(1) * ROW_TILE;
    let panels = columns.start / PANEL..columns.end.div_ceil(PANEL);
    for (x, y) in x.chunks(chunk * blocks).zip(y.chunks_mut(chunk)) {
        for first in panels.clone().step_by(step) {
            band(first..(first + step).min(panels.end), x, y);
        }
    }
}

/// With AVX2: one or two panels at once.
pub(super) struct Product<'a, F> {
    pub avx2: Avx2,
    pub w: &'a [F],
    pub inputs: usize,
}

impl<F: Kernel> Product<'_, F> {
    /// Writes `columns` of the product with `rows` of `x`.
    pub fn run(self, x: &[F::Input], rows: Range<usize>, columns: Range<usize>, y: &mut [&mut [f32]]) {
        let blocks = self.inputs / F::Input::VALUES;
        let start = columns.start;
        in_bands(x, (rows, columns), (blocks, F::PANELS), y, |panels, x, y| {
            let at = panels.start * PANEL - start;
            match panels.len() {
                2 => self.band::<2>(panels.start, x, blocks, y, at),
                _ => self.band::<1>(panels.start, x, blocks, y, at),
            }
        });
    }

    /// `R` panels times all rows of `x`.
    fn band<const R: usize>(
        &self,
        panel: usize,
        x: &[F::Input],
        blocks: usize,
        y: &mut [&mut [f32]],
        at: usize,
    ) {
        let panels: [&[F]; R] = std::array::from_fn(|r| &self.w[(panel + r) * blocks..][..blocks]);
        for (x, y) in x.chunks(NARROW_TILE * blocks).zip(y.chunks_mut(NARROW_TILE)) {
            match y.len() {
                1 => self.tile::<R, 1>(panels, x, blocks, y, at),
                2 => self.tile::<R, 2>(panels, x, blocks, y, at),
                3 => self.tile::<R, 3>(panels, x, blocks, y, at),
                _ => self.tile::<R, NARROW_TILE>(panels, x, blocks, y, at),
            }
        }
    }

    fn tile<const R: usize, const M: usize>(
        &self,
        panels: [&[F]; R],
        x: &[F::Input],
        blocks: usize,
        y: &mut [&mut [f32]],
        at: usize,
    ) {
        let rows: [&[F::Input]; M] = std::array::from_fn(|m| &x[m * blocks..][..blocks]);
        let sums = F::tile::<R, M>(self.avx2, panels, rows);
        for (r, rows) in sums.iter().enumerate() {
            for (y, sums) in y.iter_mut().zip(rows) {
                // The last panel may reach beyond the outputs.
                for (y, sum) in y[at + r * PANEL..].iter_mut().zip(sums) {
                    *y = *sum;
                }
            }
        }
    }
}

/// With AVX-512: two panels at once.
pub(super) struct WideProduct<'a, F> {
    pub vnni: Vnni,
    pub w: &'a [F],
    pub inputs: usize,
}

impl<F: Wide> WideProduct<'_, F> {
    /// Writes `columns` of the product with `rows` of `x`.
    pub fn run(self, x: &[F::Input], rows: Range<usize>, columns: Range<usize>, y: &mut [&mut [f32]]) {
        let blocks = self.inputs / F::Input::VALUES;
        let start = columns.start;
        in_bands(x, (rows, columns), (blocks, 2), y, |panels, mut x, mut y| {
            let at = panels.start * PANEL - start;
            // A panel without a neighbour is computed twice, and written once: it is the last.
            let pair = [panels.start, panels.end - 1].map(|panel| &self.w[panel * blocks..][..blocks]);
            while !y.is_empty() {
                let rows = match y.len() {
                    1 => 1,
                    2..4 => 2,
                    4..8 => 4,
                    _ => 8,
                };
                let (tile, rest) = x.split_at(rows * blocks);
                let (out, left) = y.split_at_mut(rows);
                match rows {
                    1 => self.tile::<1>(pair, tile, out, at),
                    2 => self.tile::<2>(pair, tile, out, at),
                    4 => self.tile::<4>(pair, tile, out, at),
                    _ => self.tile::<8>(pair, tile, out, at),
                }
                (x, y) = (rest, left);
            }
        });
    }

    fn tile<const M: usize>(&self, pair: [&[F]; 2], x: &[F::Input], y: &mut [&mut [f32]], at: usize) {
        let blocks = pair[0].len();
        let rows: [&[F::Input]; M] = std::array::from_fn(|m| &x[m * blocks..][..blocks]);
        for (y, sums) in y.iter_mut().zip(F::tile::<M>(self.vnni, pair, rows)) {
            match y[at..].first_chunk_mut() {
                Some(y) => *y = sums,
                // The last panel reaches beyond the outputs.
                None => y[at..].iter_mut().zip(sums).for_each(|(y, sum)| *y = sum),
            }
        }
    }
}
