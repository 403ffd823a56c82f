//! Products with quantised weights, packed for AVX2, for AVX-512 with VNNI and for AMX.
//!
//! Weights are packed once, when they are loaded, and the tensor they came from can go. Rows of
//! activations are quantised to eight bits once for all layers that read them. Invariant: a row's
//! result is the same bits whatever rows and panels are computed with it, by however many threads
//! and with either instruction set.
//! Other formats and machines without AVX2 are left to the library. Called by `linear`.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(not(target_arch = "x86_64"))]
#[path = "other.rs"]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2_input;
mod input;
mod pack;
#[cfg(test)]
mod plain;
mod product;
mod row;
#[cfg(test)]
mod tests;
mod tiles;
#[cfg(target_arch = "x86_64")]
mod vnni;

use std::ops::Range;

use candle_core::quantized::{GgmlDType, QTensor};

#[cfg(target_arch = "x86_64")]
use self::amx::{Amx, Ready};
use self::avx2::Avx2;
#[cfg(not(target_arch = "x86_64"))]
use self::avx2::{Amx, Ready, Vnni};
use self::input::{InputBlock, Narrow32, Narrow256, Wide32};
use self::pack::{Format, PANEL, Q4_0, Q4K, Q6K, Q8_0, Q8Quads};
use self::product::{Product, WideProduct};
use self::row::Row;
use self::tiles::{Rows32, Rows256, TILE, TILE_ROWS_MIN, TileProduct, Tiled};
#[cfg(target_arch = "x86_64")]
use self::vnni::Vnni;
use super::pages::Weights;
use super::threads::Threads;

/// Rows of activations computed together at most.
pub(super) const ROW_TILE: usize = TILE;

/// Columns whose parts different threads may compute: whole pairs of panels.
pub(super) const COLUMN_TILE: usize = 2 * PANEL;

/// Sums of `R` panels × `M` rows.
type Sums<const R: usize, const M: usize> = [[[f32; PANEL]; M]; R];

/// A format with a kernel.
trait Kernel: Format {
    /// Panels computed together.
    const PANELS: usize;

    /// All sums of `panels × rows`; the slices have one length.
    fn tile<const R: usize, const M: usize>(
        _: Avx2,
        panels: [&[Self]; R],
        rows: [&[Self::Input]; M],
    ) -> Sums<R, M>;
}

/// Sums of two panels × `M` rows.
type WideSums<const M: usize> = [[f32; 2 * PANEL]; M];

/// A format with a kernel for two panels in one vector.
trait Wide: Format {
    /// All sums of `panels × rows`; the slices have one length.
    fn tile<const M: usize>(_: Vnni, panels: [&[Self]; 2], rows: [&[Self::Input]; M]) -> WideSums<M>;
}

/// What this processor can do.
#[derive(Debug, Clone, Copy)]
struct Instructions {
    avx2: Avx2,
    vnni: Option<Vnni>,
    amx: Option<Amx>,
}

impl Instructions {
    /// `None` where it can do too little for kernels of our own.
    fn detect() -> Option<Self> {
        Avx2::detect().map(|avx2| Self { avx2, vnni: Vnni::detect(), amx: Amx::detect() })
    }
}

/// Weights `[outputs, inputs]` in panels.
pub(crate) struct Packed {
    instructions: Instructions,
    panels: Panels,
    inputs: usize,
}

enum Panels {
    Q8_0(Weights<Q8_0>),
    Q8Quads(Weights<Q8Quads>, Vnni),
    Q4_0(Weights<Q4_0>),
    Q4K(Weights<Q4K>),
    Q6K(Weights<Q6K>),
}

/// Whether this machine has the kernels.
pub(crate) fn is_supported() -> bool {
    Avx2::detect().is_some()
}

impl Packed {
    /// `None` when the format or the machine has no kernel here.
    ///
    /// # Errors
    /// When the tensor is no matrix or its bytes cannot be read.
    pub fn new(tensor: &QTensor) -> candle_core::Result<Option<Self>> {
        let Some(instructions) = Instructions::detect() else { return Ok(None) };
        Self::with(instructions, tensor)
    }

    fn with(instructions: Instructions, tensor: &QTensor) -> candle_core::Result<Option<Self>> {
        let (_, inputs) = tensor.shape().dims2()?;
        let data = tensor.data()?;
        let panels = match (tensor.dtype(), instructions.vnni) {
            (GgmlDType::Q8_0, Some(vnni)) => Panels::Q8Quads(pack::pack(&data, inputs), vnni),
            (GgmlDType::Q8_0, None) => Panels::Q8_0(pack::pack(&data, inputs)),
            (GgmlDType::Q4_0, _) => Panels::Q4_0(pack::pack(&data, inputs)),
            (GgmlDType::Q4K, _) => Panels::Q4K(pack::pack(&data, inputs)),
            (GgmlDType::Q6K, _) => Panels::Q6K(pack::pack(&data, inputs)),
            _ => return Ok(None),
        };
        Ok(Some(Self { instructions, panels, inputs }))
    }

    /// Quantises `x` as these weights want it, unless another layer has had it done.
    pub fn quantise(&self, x: &[f32], activations: &mut Activations, threads: &Threads) {
        let (avx2, inputs) = (self.instructions.avx2, self.inputs);
        let in_tiles = self.instructions.amx.is_some() && x.len() >= TILE_ROWS_MIN * inputs;
        let Activations { wide, narrow, large, narrow_tiles, large_tiles } = activations;
        match (&self.panels, in_tiles) {
            (Panels::Q8_0(_), _) => input::quantise(avx2, x, wide, threads),
            (Panels::Q8Quads(..) | Panels::Q4_0(_), true) => {
                tiles::quantise(avx2, x, inputs, narrow_tiles, threads);
            }
            (Panels::Q8Quads(..) | Panels::Q4_0(_), false) => input::quantise(avx2, x, narrow, threads),
            (Panels::Q4K(_), true) => tiles::quantise(avx2, x, inputs, large_tiles, threads),
            (Panels::Q4K(_) | Panels::Q6K(_), _) => input::quantise(avx2, x, large, threads),
        }
    }

    /// Appends the weights of one output, widened, to `out`.
    pub fn append_row(&self, output: usize, out: &mut Vec<f32>) {
        match &self.panels {
            Panels::Q8_0(w) => append_row(w, self.inputs, output, out),
            Panels::Q8Quads(w, _) => append_row(w, self.inputs, output, out),
            Panels::Q4_0(w) => append_row(w, self.inputs, output, out),
            Panels::Q4K(w) => append_row(w, self.inputs, output, out),
            Panels::Q6K(w) => append_row(w, self.inputs, output, out),
        }
    }

    /// Writes `columns` of the product's `rows` into `y`, one slice as long as `columns` for each
    /// row. `columns` starts at a multiple of [`COLUMN_TILE`]; the activations were quantised.
    pub fn product(
        &self,
        activations: &Activations,
        rows: Range<usize>,
        columns: Range<usize>,
        y: &mut [&mut [f32]],
    ) {
        let (x, at) = (activations, (rows, columns));
        match &self.panels {
            Panels::Q8_0(w) => self.narrow(w).run(&x.wide, at.0, at.1, y),
            Panels::Q8Quads(w, vnni) => match self.tiled(w, &x.narrow_tiles) {
                Some(product) => product.run(&x.narrow_tiles, at.0, at.1, y),
                None => self.wide(w, *vnni).run(&x.narrow, at.0, at.1, y),
            },
            Panels::Q4_0(w) => match self.tiled(w, &x.narrow_tiles) {
                Some(product) => product.run(&x.narrow_tiles, at.0, at.1, y),
                None => self.either(w, &x.narrow, at, y),
            },
            Panels::Q4K(w) => match self.tiled(w, &x.large_tiles) {
                Some(product) => product.run(&x.large_tiles, at.0, at.1, y),
                None => self.either(w, &x.large, at, y),
            },
            Panels::Q6K(w) => self.either(w, &x.large, at, y),
        }
    }

    /// In tiles, where the activations are.
    fn tiled<'a, F: Tiled>(&self, w: &'a [F], x: &[F::Rows]) -> Option<TileProduct<'a, F>> {
        let amx = self.instructions.amx.filter(|_| !x.is_empty())?;
        Some(TileProduct { amx, w, inputs: self.inputs })
    }

    /// With the instructions that do it faster.
    fn either<F: Kernel + Wide>(
        &self,
        w: &[F],
        x: &[F::Input],
        (rows, columns): (Range<usize>, Range<usize>),
        y: &mut [&mut [f32]],
    ) {
        match self.instructions.vnni {
            Some(vnni) => self.wide(w, vnni).run(x, rows, columns, y),
            None => self.narrow(w).run(x, rows, columns, y),
        }
    }

    fn narrow<'a, F>(&self, w: &'a [F]) -> Product<'a, F> {
        Product { avx2: self.instructions.avx2, w, inputs: self.inputs }
    }

    fn wide<'a, F>(&self, w: &'a [F], vnni: Vnni) -> WideProduct<'a, F> {
        WideProduct { vnni, w, inputs: self.inputs }
    }
}

/// Appends row `output` of the weights to `out`.
fn append_row<F: Row>(w: &[F], inputs: usize, output: usize, out: &mut Vec<f32>) {
    let blocks = inputs / F::Input::VALUES;
    for block in &w[output / PANEL * blocks..][..blocks] {
        block.append(output % PANEL, out);
    }
}

/// One matrix of activations in each layout that some layer has asked for.
#[derive(Default)]
pub(crate) struct Activations {
    wide: Vec<Wide32>,
    narrow: Vec<Narrow32>,
    large: Vec<Narrow256>,
    narrow_tiles: Vec<Rows32>,
    large_tiles: Vec<Rows256>,
}

impl Activations {
    /// Forgets the values and keeps the memory.
    pub fn clear(&mut self) {
        self.wide.clear();
        self.narrow.clear();
        self.large.clear();
        self.narrow_tiles.clear();
        self.large_tiles.clear();
    }
}
