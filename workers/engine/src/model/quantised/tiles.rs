//! Products of sixteen rows with sixteen outputs at a time, in the layouts that AMX reads.
//!
//! Invariant: whole numbers are summed exactly and blocks are added in their order, as the other
//! kernels do, so the bits are theirs. Rows that fill up the last tile are computed and dropped:
//! sixteen cost no more than twelve do with AVX-512. Called by `mod`; `amx` has the kernels.

use std::ops::Range;

use super::input::{InputBlock, Narrow32, Narrow256};
use super::pack::{Format, PANEL};
use super::{Amx, Avx2, Ready};
use crate::model::threads::Threads;

/// Rows and outputs of a tile.
pub(super) const TILE: usize = 16;

/// Rows from which tiles are faster than AVX-512.
pub(super) const TILE_ROWS_MIN: usize = 13;

/// Inputs whose weights are unpacked at once, for few tiles of rows and for more. Unpacked weights
/// stay in the first-level cache while rows stream past; where few do, more of them would only ask
/// for the next ones in longer bursts than memory answers.
const DEPTHS: [usize; 2] = [128, 1024];

/// Tiles of rows that are few.
const FEW_TILES: usize = 4;

/// Bytes of activations that stay in the second-level cache while weights stream past.
const ROW_BYTES: usize = 512 << 10;

/// One value for each row and output of a tile.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Tile<T>(pub [[T; TILE]; TILE]);

/// A block of sixteen rows of activations.
pub(super) trait RowTile: Copy + Send + Sync {
    /// What one row's block is before it joins the others.
    type Input: InputBlock;
    /// Sixteen rows of zeros.
    const ZERO: Self;
    /// Puts a block at `row`.
    fn put(&mut self, row: usize, block: &Self::Input);
}

/// 32 values of each row.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Rows32 {
    /// Four values in each, the first in the low byte.
    pub quads: [[i32; 8]; TILE],
    /// Size of a step.
    pub scale: [f32; TILE],
}

impl RowTile for Rows32 {
    type Input = Narrow32;
    const ZERO: Self = Self { quads: [[0; 8]; TILE], scale: [0.0; TILE] };

    fn put(&mut self, row: usize, block: &Narrow32) {
        self.quads[row] = block.quads;
        self.scale[row] = block.scale;
    }
}

/// 256 values of each row.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Rows256 {
    /// Four values in each, the first in the low byte.
    pub quads: [[i32; 64]; TILE],
    /// `[row]`: sums of 32 values each as 16-bit numbers, two in each.
    pub sums: [[i32; 4]; TILE],
    /// Size of a step.
    pub scale: [f32; TILE],
}

impl RowTile for Rows256 {
    type Input = Narrow256;
    const ZERO: Self = Self { quads: [[0; 64]; TILE], sums: [[0; 4]; TILE], scale: [0.0; TILE] };

    fn put(&mut self, row: usize, block: &Narrow256) {
        self.quads[row] = block.quads;
        self.sums[row] = block.sums_32;
        self.scale[row] = block.scale;
    }
}

/// Fills `out` with the tiles of `x`, whose rows have `inputs` values, unless another layer has.
pub(super) fn quantise<R: RowTile>(
    avx2: Avx2,
    x: &[f32],
    inputs: usize,
    out: &mut Vec<R>,
    threads: &Threads,
) {
    if !out.is_empty() {
        return;
    }
    let (rows, blocks) = (x.len() / inputs, inputs / R::Input::VALUES);
    out.resize(rows.div_ceil(TILE) * blocks, R::ZERO);
    let share = |(x, tiles): (&[f32], &mut [R])| {
        for (b, tile) in tiles.iter_mut().enumerate() {
            for (row, x) in x.chunks_exact(inputs).enumerate() {
                tile.put(row, &R::Input::quantise(avx2, &x[b * R::Input::VALUES..][..R::Input::VALUES]));
            }
        }
    };
    let items = x.chunks(TILE * inputs).zip(out.chunks_mut(blocks));
    // A value costs about as much as ten multiply-adds.
    match threads.share(x.len() * 10) {
        1 => items.for_each(share),
        _ => threads.for_each(items.collect(), share),
    }
}

/// A format with kernels for tiles.
pub(super) trait Tiled: Format {
    /// What it is multiplied with.
    type Rows: RowTile<Input = Self::Input>;
    /// A block of sixteen outputs as the kernel reads it.
    type Columns: Copy;
    /// Room for one.
    const ROOM: Self::Columns;

    /// Unpacks the same block of two panels; the next two are `blocks` further each.
    fn unpack(_: Amx, pair: [&Self; 2], blocks: usize, out: &mut Self::Columns);

    /// Adds the products of all `blocks` to `sums`.
    fn multiply(_: &Ready, rows: &[Self::Rows], columns: &[Self::Columns], sums: &mut Tile<f32>);
}

/// With AMX: sixteen rows and two panels at once.
pub(super) struct TileProduct<'a, F> {
    pub amx: Amx,
    pub w: &'a [F],
    pub inputs: usize,
}

impl<F: Tiled> TileProduct<'_, F> {
    /// Writes `columns` of the product with `rows` of `x`. `rows` starts at a multiple of [`TILE`].
    pub fn run(self, x: &[F::Rows], rows: Range<usize>, columns: Range<usize>, y: &mut [&mut [f32]]) {
        let blocks = self.inputs / F::Input::VALUES;
        let tiles = rows.start / TILE..rows.end.div_ceil(TILE);
        let x = &x[tiles.start * blocks..tiles.end * blocks];
        let band = (ROW_BYTES / (blocks * size_of::<F::Rows>())).clamp(1, tiles.len());
        let depth = DEPTHS[usize::from(tiles.len() > FEW_TILES)];
        let depth = (depth / F::Input::VALUES).clamp(1, blocks);
        let mut unpacked = [vec![F::ROOM; depth], vec![F::ROOM; depth]];
        let mut sums = vec![Tile([[0.0; TILE]; TILE]); band];
        self.amx.with_tiles(|ready| {
            for (x, y) in x.chunks(band * blocks).zip(y.chunks_mut(band * TILE)) {
                self.band(ready, x, &columns, &mut unpacked, &mut sums, y);
            }
        });
    }

    /// All `columns` for rows that fit the cache together. What is multiplied next is unpacked
    /// first: tiles are not loaded from stores that have not left the processor.
    fn band(
        &self,
        ready: &Ready,
        x: &[F::Rows],
        columns: &Range<usize>,
        unpacked: &mut [Vec<F::Columns>; 2],
        sums: &mut [Tile<f32>],
        y: &mut [&mut [f32]],
    ) {
        let (blocks, depth) = (self.inputs / F::Input::VALUES, unpacked[0].len());
        let panels = columns.start / PANEL..columns.end.div_ceil(PANEL);
        let parts = blocks.div_ceil(depth);
        let place = |step: usize| {
            let start = step % parts * depth;
            (panels.start + step / parts * 2, start..(start + depth).min(blocks))
        };
        let steps = panels.len().div_ceil(2) * parts;
        self.unpack(place(0), panels.end, &mut unpacked[0]);
        for step in 0..steps {
            if step + 1 < steps {
                self.unpack(place(step + 1), panels.end, &mut unpacked[(step + 1) % 2]);
            }
            let (panel, part) = place(step);
            let at = panel * PANEL - columns.start;
            self.multiply(ready, x, (&unpacked[step % 2], part), sums, (y, at));
        }
    }

    /// Unpacks blocks of two panels. One without a neighbour is unpacked twice, and written once: it
    /// is the last.
    fn unpack(&self, (panel, part): (usize, Range<usize>), end: usize, out: &mut [F::Columns]) {
        let blocks = self.inputs / F::Input::VALUES;
        let low = &self.w[panel * blocks..][part.clone()];
        let high = &self.w[(panel + 1).min(end - 1) * blocks..][part];
        for ((low, high), out) in low.iter().zip(high).zip(out) {
            F::unpack(self.amx, [low, high], blocks, out);
        }
    }

    /// Adds the products of a part of the blocks to `sums`, and puts those of the last part into
    /// columns `at` and following of `y`.
    fn multiply(
        &self,
        ready: &Ready,
        x: &[F::Rows],
        (columns, part): (&[F::Columns], Range<usize>),
        sums: &mut [Tile<f32>],
        (y, at): (&mut [&mut [f32]], usize),
    ) {
        let blocks = self.inputs / F::Input::VALUES;
        for ((x, sums), y) in x.chunks_exact(blocks).zip(sums).zip(y.chunks_mut(TILE)) {
            if part.start == 0 {
                *sums = Tile([[0.0; TILE]; TILE]);
            }
            if part.end == blocks {
                for row in y.iter() {
                    self.amx.claim(&row[(at + TILE - 1).min(row.len() - 1)]);
                }
            }
            F::multiply(ready, &x[part.clone()], &columns[..part.len()], sums);
            if part.end == blocks {
                write(sums, y, at);
            }
        }
    }
}

/// Writes the rows of `sums` into columns `at` and following of `y`.
fn write(sums: &Tile<f32>, y: &mut [&mut [f32]], at: usize) {
    for (sums, y) in sums.0.iter().zip(y) {
        match y[at..].first_chunk_mut() {
            Some(y) => *y = *sums,
            // The last panel reaches beyond the outputs.
            None => y[at..].iter_mut().zip(sums).for_each(|(y, sum)| *y = *sum),
        }
    }
}
