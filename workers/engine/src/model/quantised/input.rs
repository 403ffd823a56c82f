//! Activations as 8-bit integers, block by block, in the layouts that the kernels read.
//!
//! Invariant: a block depends on its own values alone, so a row is quantised to the same bits
//! whatever rows stand beside it. The rounding error of a value is at most half a step, and a step
//! is the block's largest magnitude over 127. Called by `mod`; `avx2_input` computes them.

use super::Avx2;
use crate::model::threads::Threads;

/// A block of quantised activations.
pub(super) trait InputBlock: Copy + Send + Sync {
    /// Values of a block.
    const VALUES: usize;
    /// A block of zeros.
    const ZERO: Self;
    /// Quantises exactly [`Self::VALUES`] values.
    fn quantise(_: Avx2, x: &[f32]) -> Self;
}

/// 32 values, widened to 16 bits: the partner of 8-bit weights, whose products with other 8-bit
/// values would overflow the sum of two that the narrow instruction forms.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Wide32 {
    /// Size of a step.
    pub scale: f32,
    /// Two values in each, the first in the low half.
    pub pairs: [i32; 16],
}

/// 32 values as bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Narrow32 {
    /// Size of a step.
    pub scale: f32,
    /// Minus eight times the sum of the values, for weights stored eight too high.
    pub minus_8: i32,
    /// Minus 128 times it, likewise.
    pub minus_128: i32,
    /// Four values in each, the first in the low byte.
    pub quads: [i32; 8],
}

/// 256 values, for weights in super-blocks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Narrow256 {
    /// Size of a step.
    pub scale: f32,
    /// Sums of 32 values each as 16-bit numbers, two in each.
    pub sums_32: [i32; 4],
    /// Sums of 16 values each, likewise.
    pub sums_16: [i32; 8],
    /// Four values in each, the first in the low byte.
    pub quads: [i32; 64],
}

/// Fills `out` with the blocks of `x`, whose rows are whole blocks, unless another layer has.
pub(super) fn quantise<B: InputBlock>(avx2: Avx2, x: &[f32], out: &mut Vec<B>, threads: &Threads) {
    if !out.is_empty() {
        return;
    }
    out.resize(x.len() / B::VALUES, B::ZERO);
    // A value costs about as much as ten multiply-adds.
    let parts = threads.share(x.len() * 10);
    let width = out.len().div_ceil(parts).max(1);
    let items: Vec<_> = x.chunks(width * B::VALUES).zip(out.chunks_mut(width)).collect();
    threads.for_each(items, |(x, out)| {
        for (x, out) in x.chunks_exact(B::VALUES).zip(out) {
            *out = B::quantise(avx2, x);
        }
    });
}
