//! Quantised weights in panels of eight output rows.
//!
//! A panel interleaves its rows so that one 32-byte vector holds the same four inputs of all
//! eight: the lanes of a sum are then the outputs themselves and nothing is added across lanes.
//! Blocks of the four formats are described in ggml's `ggml-common.h`; their scales stay 16-bit
//! floats. Only Q4_K grows, by 2.8 %, because its 6-bit scales are unpacked. Called by `mod`.

use super::input::{InputBlock, Narrow32, Narrow256, Wide32};
use crate::model::pages::Weights;

/// Output rows of a panel.
pub(super) const PANEL: usize = 8;

/// One block of eight rows.
pub(super) trait Format: Copy + Send + Sync {
    /// What it is multiplied with.
    type Input: InputBlock;
    /// Bytes of one row's block in the file.
    const BYTES: usize;
    /// Interleaves the blocks of eight rows, each of [`Self::BYTES`] bytes.
    fn pack(rows: [&[u8]; PANEL]) -> Self;
}

/// Packs `[outputs, inputs]` as it lies in the file; rows that fill up the last panel are zero.
pub(super) fn pack<F: Format>(data: &[u8], inputs: usize) -> Weights<F> {
    let blocks = inputs / F::Input::VALUES;
    let row_bytes = blocks * F::BYTES;
    let outputs = data.len() / row_bytes;
    let zeros = vec![0; F::BYTES];
    Weights::from_fn(outputs.div_ceil(PANEL) * blocks, |i| {
        let (first, block) = (i / blocks * PANEL, i % blocks);
        F::pack(std::array::from_fn(|row| {
            let start = (first + row) * row_bytes + block * F::BYTES;
            data.get(start..start + F::BYTES).unwrap_or(&zeros)
        }))
    })
}

fn half(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

/// 32 inputs of 8 bits: `w = d · q`.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(super) struct Q8_0 {
    /// Scale of each row, 16-bit float.
    pub d: [u16; PANEL],
    /// `[input pair][row · 2 + input]`
    pub q: [[i8; 16]; 16],
}

impl Format for Q8_0 {
    type Input = Wide32;
    const BYTES: usize = 34;

    fn pack(rows: [&[u8]; PANEL]) -> Self {
        let mut q = [[0; 16]; 16];
        for (pair, q) in q.iter_mut().enumerate() {
            for (i, q) in q.iter_mut().enumerate() {
                *q = rows[i / 2][2 + pair * 2 + i % 2] as i8;
            }
        }
        Self { d: rows.map(|row| half(row, 0)), q }
    }
}

/// The same, for sums of four products of bytes, of which one factor is unsigned.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(super) struct Q8Quads {
    /// Scale of each row, 16-bit float.
    pub d: [u16; PANEL],
    /// `[input quad][row · 4 + input]`, each raised by 128.
    pub q: [[u8; 32]; 8],
}

impl Format for Q8Quads {
    type Input = Narrow32;
    const BYTES: usize = 34;

    fn pack(rows: [&[u8]; PANEL]) -> Self {
        let mut q = [[0; 32]; 8];
        for (quad, q) in q.iter_mut().enumerate() {
            for (i, q) in q.iter_mut().enumerate() {
                *q = rows[i / 4][2 + quad * 4 + i % 4] ^ 0x80;
            }
        }
        Self { d: rows.map(|row| half(row, 0)), q }
    }
}

/// Four-bit values of 32 inputs: `[quad][row · 4 + input]`, the low half of a byte belongs to that
/// quad and the high half to the one four further.
pub(super) type Nibbles = [[u8; 32]; 4];

/// 32 inputs of 4 bits: `w = d · (q − 8)`.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(super) struct Q4_0 {
    /// Scale of each row, 16-bit float.
    pub d: [u16; PANEL],
    /// Values.
    pub q: Nibbles,
}

impl Format for Q4_0 {
    type Input = Narrow32;
    const BYTES: usize = 18;

    fn pack(rows: [&[u8]; PANEL]) -> Self {
        let mut q = [[0; 32]; 4];
        for (quad, q) in q.iter_mut().enumerate() {
            for (i, q) in q.iter_mut().enumerate() {
                // In the file too, the high halves are the inputs 16 further.
                *q = rows[i / 4][2 + quad * 4 + i % 4];
            }
        }
        Self { d: rows.map(|row| half(row, 0)), q }
    }
}

/// 256 inputs of 4 bits in eight parts: `w = d · scale · q − m · min`.
#[derive(Clone, Copy)]
#[repr(C, align(32))]
pub(super) struct Q4K {
    /// Scale of the scales of each row, 16-bit float.
    pub d: [u16; PANEL],
    /// Scale of the minima, likewise.
    pub m: [u16; PANEL],
    /// `[part][row]`, six bits each.
    pub scales: [[u8; PANEL]; 8],
    /// `[part pair][row · 2 + part]`, six bits each.
    pub mins: [[u8; 16]; 4],
    /// Values of each part.
    pub q: [Nibbles; 8],
}

/// Scale and minimum of a part: the first four lie in the low six bits of bytes of their own, the
/// others in four bits of a third group and the two upper bits of the first two.
fn scale_and_min(packed: &[u8], part: usize) -> (u8, u8) {
    if part < 4 {
        return (packed[part] & 63, packed[part + 4] & 63);
    }
    let low = packed[part + 4];
    ((low & 15) | (packed[part - 4] >> 6) << 4, (low >> 4) | (packed[part] >> 6) << 4)
}

impl Format for Q4K {
    type Input = Narrow256;
    const BYTES: usize = 144;

    fn pack(rows: [&[u8]; PANEL]) -> Self {
        let part_of = |row: usize, part: usize| scale_and_min(&rows[row][4..16], part);
        // In the file, 32 bytes hold a part in their low halves and the next in their high halves.
        let value = |row: usize, part: usize, input: usize| {
            let byte = rows[row][16 + part / 2 * 32 + input];
            if part.is_multiple_of(2) { byte & 15 } else { byte >> 4 }
        };
        Self {
            d: rows.map(|row| half(row, 0)),
            m: rows.map(|row| half(row, 2)),
            scales: std::array::from_fn(|part| std::array::from_fn(|row| part_of(row, part).0)),
            mins: std::array::from_fn(|pair| std::array::from_fn(|i| part_of(i / 2, pair * 2 + i % 2).1)),
            q: std::array::from_fn(|part| {
                std::array::from_fn(|quad| {
                    std::array::from_fn(|i| {
                        let (row, input) = (i / 4, quad * 4 + i % 4);
                        value(row, part, input) | value(row, part, input + 16) << 4
                    })
                })
            }),
        }
    }
}

/// 256 inputs of 6 bits in sixteen parts: `w = d · scale · (q − 32)`.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub(super) struct Q6K {
    /// Scale of the scales of each row, 16-bit float.
    pub d: [u16; PANEL],
    /// `[pair of parts][part · 8 + row]`
    pub scales: [[i8; 16]; 8],
    /// Low four bits of each pair of parts, 32 inputs; the low halves are the first part.
    pub low: [Nibbles; 8],
    /// Upper two bits: `[pair of parts][quad / 2]`, in each byte from the lowest: quad 0 of the
    /// first part, of the second part, quad 1 of the first part, of the second part.
    pub high: [[[u8; 32]; 2]; 8],
}

impl Format for Q6K {
    type Input = Narrow256;
    const BYTES: usize = 210;

    fn pack(rows: [&[u8]; PANEL]) -> Self {
        // In the file, 128 inputs have 64 bytes of low bits and 32 bytes of upper bits.
        let value = |row: usize, input: usize| {
            let (part, at) = (input / 128, input % 128);
            let low = rows[row][part * 64 + at % 64] >> (4 * (at / 64)) & 15;
            let high = rows[row][128 + part * 32 + at % 32] >> (2 * (at / 32)) & 3;
            low | high << 4
        };
        let at = |pair: usize, quad: usize, i: usize| (i / 4, pair * 32 + quad * 4 + i % 4);
        let low = |pair: usize, quad: usize, i: usize| {
            let (row, input) = at(pair, quad, i);
            (value(row, input) & 15) | (value(row, input + 16) & 15) << 4
        };
        let high = |pair: usize, quad: usize, i: usize| {
            let (row, input) = at(pair, quad, i);
            value(row, input) >> 4 | (value(row, input + 16) >> 4) << 2
        };
        Self {
            d: rows.map(|row| half(row, 208)),
            scales: std::array::from_fn(|pair| {
                std::array::from_fn(|i| rows[i % 8][192 + pair * 2 + i / 8] as i8)
            }),
            low: std::array::from_fn(|pair| {
                std::array::from_fn(|quad| std::array::from_fn(|i| low(pair, quad, i)))
            }),
            high: std::array::from_fn(|pair| {
                std::array::from_fn(|two| {
                    std::array::from_fn(|i| high(pair, two * 2, i) | high(pair, two * 2 + 1, i) << 4)
                })
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_costs_what_is_said() {
        let grown = |packed: usize, bytes: usize| packed as f64 / (bytes * PANEL) as f64;
        assert_eq!(grown(size_of::<Q8_0>(), Q8_0::BYTES), 1.0);
        assert_eq!(grown(size_of::<Q8Quads>(), Q8Quads::BYTES), 1.0);
        assert_eq!(grown(size_of::<Q4_0>(), Q4_0::BYTES), 1.0);
        assert_eq!(grown(size_of::<Q6K>(), Q6K::BYTES), 1.0);
        assert!(grown(size_of::<Q4K>(), Q4K::BYTES) < 1.03);
    }
}
