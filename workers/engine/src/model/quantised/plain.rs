//! The four products one value at a time: what the vector kernels must equal bit for bit.

use half::f16;

use super::input::{InputBlock, Narrow32, Narrow256, Wide32};
use super::pack::{Format, Q4_0, Q4K, Q6K, Q8_0, Q8Quads};
use super::row::nibble;

/// A format that is computed one value at a time.
pub(super) trait Plain: Format {
    /// Adds output `row` of a panel's block to `sum`.
    fn add(&self, row: usize, x: &Self::Input, sum: f32) -> f32;
}

/// Activations in whole steps, and the size of a step.
pub(super) fn steps(x: &[f32]) -> (f32, Vec<i32>) {
    let largest = x.iter().fold(0.0_f32, |l, v| l.max(v.abs()));
    let inverse = if largest > 0.0 { 127.0 / largest } else { 0.0 };
    (largest / 127.0, x.iter().map(|v| (v * inverse).round_ties_even() as i32).collect())
}

/// A block that can be read one value at a time.
pub(super) trait PlainInput: InputBlock {
    /// Size of a step, and all values.
    fn values(&self) -> (f32, Vec<i32>);
    /// Whether the sums kept beside the values are those of the values.
    fn sums_are_right(&self) -> bool;
}

impl PlainInput for Wide32 {
    fn values(&self) -> (f32, Vec<i32>) {
        (self.scale, (0..32).map(|i| word(&self.pairs, i)).collect())
    }

    fn sums_are_right(&self) -> bool {
        true
    }
}

impl PlainInput for Narrow32 {
    fn values(&self) -> (f32, Vec<i32>) {
        (self.scale, (0..32).map(|i| byte(&self.quads, i)).collect())
    }

    fn sums_are_right(&self) -> bool {
        let sum: i32 = self.values().1.iter().sum();
        (self.minus_8, self.minus_128) == (-8 * sum, -128 * sum)
    }
}

impl PlainInput for Narrow256 {
    fn values(&self) -> (f32, Vec<i32>) {
        (self.scale, (0..256).map(|i| byte(&self.quads, i)).collect())
    }

    fn sums_are_right(&self) -> bool {
        let values = self.values().1;
        let right = |sums: &[i32], size: usize| {
            values.chunks(size).enumerate().all(|(i, part)| part.iter().sum::<i32>() == word(sums, i))
        };
        right(&self.sums_16, 16) && right(&self.sums_32, 32)
    }
}

fn float(bits: u16) -> f32 {
    f16::from_bits(bits).to_f32()
}

fn byte(quads: &[i32], input: usize) -> i32 {
    i32::from((quads[input / 4] >> (8 * (input % 4))) as i8)
}

fn word(pairs: &[i32], input: usize) -> i32 {
    i32::from((pairs[input / 2] >> (16 * (input % 2))) as i16)
}

impl Plain for Q8_0 {
    fn add(&self, row: usize, x: &Wide32, sum: f32) -> f32 {
        let q = |input: usize| i32::from(self.q[input / 2][row * 2 + input % 2]);
        let total: i32 = (0..32).map(|input| q(input) * word(&x.pairs, input)).sum();
        (total as f32).mul_add(float(self.d[row]) * x.scale, sum)
    }
}

impl Plain for Q8Quads {
    fn add(&self, row: usize, x: &Narrow32, sum: f32) -> f32 {
        let q = |input: usize| i32::from(self.q[input / 4][row * 4 + input % 4]) - 128;
        let total: i32 = (0..32).map(|input| q(input) * byte(&x.quads, input)).sum();
        (total as f32).mul_add(float(self.d[row]) * x.scale, sum)
    }
}

impl Plain for Q4_0 {
    fn add(&self, row: usize, x: &Narrow32, sum: f32) -> f32 {
        let q = |input: usize| i32::from(nibble(&self.q, row, input)) - 8;
        let total: i32 = (0..32).map(|input| q(input) * byte(&x.quads, input)).sum();
        (total as f32).mul_add(float(self.d[row]) * x.scale, sum)
    }
}

impl Plain for Q4K {
    fn add(&self, row: usize, x: &Narrow256, sum: f32) -> f32 {
        let (mut total, mut min) = (0, 0);
        for part in 0..8 {
            let products =
                |i: usize| i32::from(nibble(&self.q[part], row, i)) * byte(&x.quads, part * 32 + i);
            total += i32::from(self.scales[part][row]) * (0..32).map(products).sum::<i32>();
            min += i32::from(self.mins[part / 2][row * 2 + part % 2]) * word(&x.sums_32, part);
        }
        let sum = (total as f32).mul_add(float(self.d[row]) * x.scale, sum);
        (-(min as f32)).mul_add(float(self.m[row]) * x.scale, sum)
    }
}

impl Plain for Q6K {
    fn add(&self, row: usize, x: &Narrow256, sum: f32) -> f32 {
        let mut total = 0;
        for input in 0..256 {
            let (pair, at) = (input / 32, input % 32);
            let q = i32::from(self.six(pair, row, at));
            let scale = i32::from(self.scales[pair][at / 16 * 8 + row]);
            total += scale * (q - 32) * byte(&x.quads, input);
        }
        (total as f32).mul_add(float(self.d[row]) * x.scale, sum)
    }
}
