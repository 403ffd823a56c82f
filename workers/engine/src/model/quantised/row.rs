//! Single rows of packed weights as floats: an embedding whose table is also the output layer
//! needs no second copy of it.

use half::f16;

use super::pack::{Format, Nibbles, Q4_0, Q4K, Q6K, Q8_0, Q8Quads};

/// A format whose rows can be read.
pub(super) trait Row: Format {
    /// Appends the values of `row` of a panel's block, as the format defines them.
    fn append(&self, row: usize, out: &mut Vec<f32>);
}

fn float(bits: u16) -> f32 {
    f16::from_bits(bits).to_f32()
}

/// Four bits of `input`, 0 to 31, of `row`.
pub(super) fn nibble(q: &Nibbles, row: usize, input: usize) -> u8 {
    let byte = q[input % 16 / 4][row * 4 + input % 4];
    if input < 16 { byte & 15 } else { byte >> 4 }
}

impl Row for Q8_0 {
    fn append(&self, row: usize, out: &mut Vec<f32>) {
        let d = float(self.d[row]);
        out.extend((0..32).map(|i| d * f32::from(self.q[i / 2][row * 2 + i % 2])));
    }
}

impl Row for Q8Quads {
    fn append(&self, row: usize, out: &mut Vec<f32>) {
        let d = float(self.d[row]);
        out.extend((0..32).map(|i| d * (f32::from(self.q[i / 4][row * 4 + i % 4]) - 128.0)));
    }
}

impl Row for Q4_0 {
    fn append(&self, row: usize, out: &mut Vec<f32>) {
        let d = float(self.d[row]);
        out.extend((0..32).map(|i| d * (f32::from(nibble(&self.q, row, i)) - 8.0)));
    }
}

impl Row for Q4K {
    fn append(&self, row: usize, out: &mut Vec<f32>) {
        let (d, m) = (float(self.d[row]), float(self.m[row]));
        for part in 0..8 {
            let scale = d * f32::from(self.scales[part][row]);
            let min = m * f32::from(self.mins[part / 2][row * 2 + part % 2]);
            out.extend((0..32).map(|i| scale * f32::from(nibble(&self.q[part], row, i)) - min));
        }
    }
}

impl Q6K {
    /// Six bits of `input`, 0 to 31, of `row` in a pair of parts.
    pub(super) fn six(&self, pair: usize, row: usize, input: usize) -> u8 {
        let (part, quad) = (input / 16, input % 16 / 4);
        let high = self.high[pair][quad / 2][row * 4 + input % 4] >> (quad % 2 * 4 + part * 2) & 3;
        nibble(&self.low[pair], row, input) | high << 4
    }
}

impl Row for Q6K {
    fn append(&self, row: usize, out: &mut Vec<f32>) {
        let d = float(self.d[row]);
        for pair in 0..8 {
            let scale = |i: usize| d * f32::from(self.scales[pair][i / 16 * 8 + row]);
            out.extend((0..32).map(|i| scale(i) * (f32::from(self.six(pair, row, i)) - 32.0)));
        }
    }
}
