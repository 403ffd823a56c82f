//! Products with quantised weights, packed for AVX2.
//!
//! Weights are packed once, when they are loaded, and the tensor they came from can go. Rows of
//! activations are quantised to eight bits once for all layers that read them. Invariant: a row's
//! result is the same bits whatever rows and panels are computed with it, by however many threads.
//! Other formats and machines without AVX2 are left to the library. Called by `linear`.

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
mod row;
#[cfg(test)]
mod tests;

use std::ops::Range;

use candle_core::quantized::{GgmlDType, QTensor};

use self::avx2::Avx2;
use self::input::{InputBlock, Narrow32, Narrow256, Wide32};
use self::pack::{Format, PANEL, Q4_0, Q4K, Q6K, Q8_0};
use self::row::Row;
use super::threads::Threads;

/// Rows of activations computed together.
pub(super) const ROW_TILE: usize = 4;

/// Bytes of activations that stay in the second-level cache while weights stream past.
const ROW_BYTES: usize = 192 << 10;

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

/// Weights `[outputs, inputs]` in panels.
pub(crate) struct Packed {
    avx2: Avx2,
    panels: Panels,
    inputs: usize,
}

enum Panels {
    Q8_0(Vec<Q8_0>),
    Q4_0(Vec<Q4_0>),
    Q4K(Vec<Q4K>),
    Q6K(Vec<Q6K>),
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
        let (_, inputs) = tensor.shape().dims2()?;
        let Some(avx2) = Avx2::detect() else { return Ok(None) };
        let data = tensor.data()?;
        let panels = match tensor.dtype() {
            GgmlDType::Q8_0 => Panels::Q8_0(pack::pack(&data, inputs)),
            GgmlDType::Q4_0 => Panels::Q4_0(pack::pack(&data, inputs)),
            GgmlDType::Q4K => Panels::Q4K(pack::pack(&data, inputs)),
            GgmlDType::Q6K => Panels::Q6K(pack::pack(&data, inputs)),
            _ => return Ok(None),
        };
        Ok(Some(Self { avx2, panels, inputs }))
    }

    /// Quantises `x` as these weights want it, unless another layer has had it done.
    pub fn quantise(&self, x: &[f32], activations: &mut Activations, threads: &Threads) {
        match self.panels {
            Panels::Q8_0(_) if activations.wide.is_empty() => {
                input::quantise(self.avx2, x, &mut activations.wide, threads);
            }
            Panels::Q4_0(_) if activations.narrow.is_empty() => {
                input::quantise(self.avx2, x, &mut activations.narrow, threads);
            }
            Panels::Q4K(_) | Panels::Q6K(_) if activations.large.is_empty() => {
                input::quantise(self.avx2, x, &mut activations.large, threads);
            }
            _ => {}
        }
    }

    /// Appends the weights of one output, widened, to `out`.
    pub fn append_row(&self, output: usize, out: &mut Vec<f32>) {
        match &self.panels {
            Panels::Q8_0(w) => append_row(w, self.inputs, output, out),
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
        let (avx2, inputs) = (self.avx2, self.inputs);
        match &self.panels {
            Panels::Q8_0(w) => Product { avx2, w, inputs }.run(&activations.wide, rows, columns, y),
            Panels::Q4_0(w) => Product { avx2, w, inputs }.run(&activations.narrow, rows, columns, y),
            Panels::Q4K(w) => Product { avx2, w, inputs }.run(&activations.large, rows, columns, y),
            Panels::Q6K(w) => Product { avx2, w, inputs }.run(&activations.large, rows, columns, y),
        }
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
}

impl Activations {
    /// Forgets the values and keeps the memory.
    pub fn clear(&mut self) {
        self.wide.clear();
        self.narrow.clear();
        self.large.clear();
    }
}

struct Product<'a, F> {
    avx2: Avx2,
    w: &'a [F],
    inputs: usize,
}

impl<F: Kernel> Product<'_, F> {
    fn run(self, x: &[F::Input], rows: Range<usize>, columns: Range<usize>, y: &mut [&mut [f32]]) {
        let blocks = self.inputs / F::Input::VALUES;
        let x = &x[rows.start * blocks..rows.end * blocks];
        let chunk = (ROW_BYTES / (blocks * size_of::<F::Input>()) / ROW_TILE).max(1) * ROW_TILE;
        let panels = columns.start / PANEL..columns.end.div_ceil(PANEL);
        for (x, y) in x.chunks(chunk * blocks).zip(y.chunks_mut(chunk)) {
            let mut panel = panels.clone();
            while !panel.is_empty() {
                let at = panel.start * PANEL - columns.start;
                if F::PANELS == 2 && panel.len() >= 2 {
                    self.band::<2>(panel.start, x, blocks, y, at);
                    panel.start += 2;
                } else {
                    self.band::<1>(panel.start, x, blocks, y, at);
                    panel.start += 1;
                }
            }
        }
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
        for (x, y) in x.chunks(ROW_TILE * blocks).zip(y.chunks_mut(ROW_TILE)) {
            match y.len() {
                1 => self.tile::<R, 1>(panels, x, blocks, y, at),
                2 => self.tile::<R, 2>(panels, x, blocks, y, at),
                3 => self.tile::<R, 3>(panels, x, blocks, y, at),
                _ => self.tile::<R, ROW_TILE>(panels, x, blocks, y, at),
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
