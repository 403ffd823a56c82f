//! The arithmetic of attention for one tile of query vectors and one key head.
//!
//! Scores of all rows against one block, softmax of each row, then the rows' values of one block:
//! each block is read once for all rows that see it. Invariant: a score is summed strictly in the
//! order of the head's dimensions, an output strictly in the order of the keys, and a softmax in
//! an order that depends on the row's length alone. Neither tile, block size, batch nor threads
//! change a bit. A row never touches what lies behind its own last key. Called by `cpu`.

use pulp::{Simd, WithSimd};

use super::plan::Tile;
use super::product::{Product, Vectors, pack};
use crate::kv::{KvStore, LANES};

/// `e^x`, as the scalar one of `kernel`, on a vector.
#[inline(always)]
fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    // Adding 1.5·2²³ leaves the rounded integer in the low mantissa bits.
    const ROUND: f32 = 12_582_912.0;
    let splat = |value: f32| simd.splat_f32s(value);
    let x = simd.min_f32s(simd.max_f32s(x, splat(-87.0)), splat(88.0));
    let shifted = simd.mul_add_f32s(x, splat(std::f32::consts::LOG2_E), splat(ROUND));
    let n = simd.sub_f32s(shifted, splat(ROUND));
    let r = simd.mul_add_f32s(n, splat(-0.693_359_4), x);
    let r = simd.mul_add_f32s(n, splat(2.121_944_4e-4), r);
    let mut p = splat(1.388_889e-3);
    for factor in [8.333_334e-3, 4.166_666_8e-2, 1.666_666_7e-1, 0.5, 1.0, 1.0] {
        p = simd.mul_add_f32s(p, r, splat(factor));
    }
    let bias = simd.splat_u32s(127_u32.wrapping_sub(ROUND.to_bits()));
    let exponent = simd.add_u32s(simd.transmute_u32s_f32s(shifted), bias);
    let exponent = simd.wrapping_dyn_shl_u32s(exponent, simd.splat_u32s(23));
    simd.mul_f32s(p, simd.transmute_f32s_u32s(exponent))
}

/// Turns the first `context` scores into `e^(scale · (s − max))` in place and returns one over
/// their sum. `scores` is longer by up to a vector, and what it holds there is lost.
#[inline(always)]
fn softmax<S: Simd>(simd: S, scores: &mut [f32], context: usize, scale: f32) -> f32 {
    let padded = context.next_multiple_of(LANES);
    let scores = &mut scores[..padded];
    scores[context..].fill(f32::NEG_INFINITY);
    let scores = S::as_mut_simd_f32s(scores).0;
    let mut max = [simd.splat_f32s(f32::NEG_INFINITY); 4];
    for part in scores.chunks(4) {
        for (max, s) in max.iter_mut().zip(part) {
            *max = simd.max_f32s(*max, *s);
        }
    }
    let max = simd.max_f32s(simd.max_f32s(max[0], max[1]), simd.max_f32s(max[2], max[3]));
    let max = simd.splat_f32s(simd.reduce_max_f32s(max));
    let scale = simd.splat_f32s(scale);
    let mut sum = simd.splat_f32s(0.0);
    for s in scores.iter_mut() {
        *s = exp(simd, simd.mul_f32s(simd.sub_f32s(*s, max), scale));
        // What was filled up adds e^-87 to a sum of at least one: nothing.
        sum = simd.add_f32s(sum, *s);
    }
    1.0 / simd.reduce_sum_f32s(sum)
}

/// Room for one tile, kept from tile to tile.
#[derive(Default)]
pub(super) struct Space {
    /// `[vectors, head_dim]`
    pub q: Vec<f32>,
    /// `[vectors, longest context and a little]`
    scores: Vec<f32>,
    /// `[vectors, head_dim filled up to whole vectors]`
    sums: Vec<f32>,
    /// One over the sum of each softmax.
    norms: Vec<f32>,
    /// Queries or weights of the rows that see a block, packed.
    packed: Vec<f32>,
    /// Keys or values of one block, where the store does not hold them at f32.
    block: Vec<f32>,
}

/// Attention of one tile for one key head.
pub(super) struct AttendTile<'a, 'o> {
    pub tile: &'a Tile,
    pub store: &'a KvStore,
    pub layer: usize,
    pub kv_head: usize,
    /// Its `q` is filled.
    pub space: &'a mut Space,
    /// `[query heads of the key head, head_dim]` of each row.
    pub out: Vec<&'o mut [f32]>,
}

impl WithSimd for AttendTile<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { tile, store, layer, kv_head, space, out } = self;
        let Space { q, scores, sums, norms, packed, block } = space;
        let shape = store.shape();
        let (head_dim, block_tokens) = (shape.head_dim, shape.block_tokens);
        let group = q.len() / head_dim / tile.rows.len();
        // A block's last vector may stand out behind its tokens.
        let width = (tile.longest().next_multiple_of(block_tokens) + LANES).next_multiple_of(LANES);
        scores.resize(q.len() / head_dim * width, 0.0);
        let (vectors, columns) = (Vectors::detect(), shape.padded_tokens());
        let panel = vectors.panel(columns);
        let mut packed_rows = 0..0;
        for (at, run) in tile.runs.iter().enumerate() {
            if let Some(next) = tile.runs.get(at + 1) {
                store.prefetch(next.block, layer, 0, kv_head);
            }
            let (first, rows) = (run.rows.start * group, run.rows.len() * group);
            // Block after block is seen by the same rows.
            if packed_rows != run.rows {
                pack(&q[first * head_dim..], head_dim, (rows, panel), head_dim, packed);
                packed_rows = run.rows.clone();
            }
            let keys = store.keys((run.block, layer, kv_head), run.is_own, block);
            let product = Product {
                a: packed,
                rows,
                panel,
                depth: head_dim,
                b: keys,
                columns,
                c: &mut scores[first * width + run.at..],
                c_stride: width,
                add: false,
            };
            vectors.run(simd, product);
        }
        let scale = 1.0 / (head_dim as f32).sqrt();
        norms.clear();
        for (vector, scores) in scores.chunks_exact_mut(width).enumerate() {
            norms.push(softmax(simd, scores, tile.contexts[vector / group], scale));
        }
        let columns = shape.padded_dim();
        let panel = vectors.panel(columns);
        sums.clear();
        sums.resize(norms.len() * columns, 0.0);
        for (at, run) in tile.runs.iter().enumerate() {
            if let Some(next) = tile.runs.get(at + 1) {
                store.prefetch(next.block, layer, 1, kv_head);
            }
            let values = store.values((run.block, layer, kv_head), run.is_own, block);
            let tokens = |row: usize| block_tokens.min(tile.contexts[row] - run.at);
            let mut row = run.rows.start;
            // Rows that end in this block stop at their own last key.
            while row < run.rows.end {
                let depth = tokens(row);
                let count = (row..run.rows.end).take_while(|row| tokens(*row) == depth).count();
                let rows = count * group;
                pack(&scores[row * group * width + run.at..], width, (rows, panel), depth, packed);
                let product = Product {
                    a: packed,
                    rows,
                    panel,
                    depth,
                    b: values,
                    columns,
                    c: &mut sums[row * group * columns..],
                    c_stride: columns,
                    add: true,
                };
                vectors.run(simd, product);
                row += count;
            }
        }
        let normed = sums.chunks_exact(columns).zip(norms.iter());
        let targets = out.into_iter().flat_map(|out| out.chunks_exact_mut(head_dim));
        for ((sums, norm), out) in normed.zip(targets) {
            let sums = &sums[..head_dim];
            for d in 0..head_dim {
                out[d] = sums[d] * norm;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::kernel::dispatch;

    struct Exponentials<'a>(&'a mut [f32]);

    impl WithSimd for Exponentials<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            for x in S::as_mut_simd_f32s(self.0).0 {
                *x = exp(simd, *x);
            }
        }
    }

    #[test]
    fn exponential_is_close() {
        let exponents: Vec<f32> = (-860..=875).map(|i| i as f32 * 0.1).collect();
        let mut values = exponents.clone();
        values.resize(values.len().next_multiple_of(LANES), 0.0);
        dispatch(Exponentials(&mut values));
        for (x, value) in exponents.iter().zip(&values) {
            let expected = f64::from(*x).exp();
            assert!(((f64::from(*value) - expected) / expected).abs() < 3e-7, "{x}");
        }
        let mut ends = [0.0, -1e30, f32::NEG_INFINITY, 0.0, 0.0, 0.0, 0.0, 0.0];
        dispatch(Exponentials(&mut ends));
        assert_eq!(ends[0], 1.0);
        assert!(ends[1] < 1e-37 && ends[2] < 1e-37);
    }

    struct Softmax<'a>(&'a mut [f32], usize, f32);

    impl WithSimd for Softmax<'_> {
        type Output = f32;

        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) -> f32 {
            softmax(simd, self.0, self.1, self.2)
        }
    }

    #[test]
    fn softmax_sums_to_one_whatever_lies_behind() {
        for context in [1, 7, 8, 9, 63, 64, 65, 1000] {
            let mut scores: Vec<f32> = (0..context).map(|i| (i as f32 * 0.7).sin() * 30.0).collect();
            scores.resize(context + LANES, f32::NAN);
            let norm = dispatch(Softmax(&mut scores, context, 0.3));
            let total: f32 = scores[..context].iter().sum();
            assert!((total * norm - 1.0).abs() < 1e-5, "{context}: {total} {norm}");
            assert!(scores[..context].contains(&1.0));
        }
    }
}
