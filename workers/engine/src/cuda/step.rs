//! What a step computes, as the arrays of numbers that kernels read.
//!
//! Everything is checked here: a token, block or position out of range would read or write memory that is not the kernel's. Small steps
//! are filled up to a few sizes, so that one step launches just what the one before it did and can be repeated as a whole. Called by
//! `runner`; knows nothing of a device.

use super::tiles::{Cut, Lone, TILE, Tiles};
use crate::kv::pool::BlockId;
use crate::model::decoder::{Logits, Span};

/// Rows up to which a step is filled up and repeated.
const REPEATED_MAX: usize = 512;

/// In the place of a row: none.
const NO_ROW: u32 = u32::MAX;

/// Limits that a step keeps to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub vocab: usize,
    /// Blocks of sequences; behind them is one that takes what nobody reads.
    pub blocks: usize,
    pub cut: Cut,
}

/// The arrays of one step, one behind the other, so that they reach the device in one copy.
#[derive(Debug, Default)]
pub(super) struct Step {
    words: Vec<u32>,
    /// Rows: tokens to compute.
    pub rows: usize,
    /// Rows whose logits are wanted.
    pub picks: usize,
    /// Of these, rows whose best are enough.
    pub best: Vec<bool>,
    /// Tiles of attention, and those of many vectors.
    pub tiles: [usize; 2],
    /// Rows that are folded from parts, and how many parts at most.
    pub folds: usize,
    pub parts: usize,
    /// Whether another step may launch just the same.
    pub repeats: bool,
    /// Blocks that are written.
    pub written: Vec<BlockId>,
    at: [usize; Array::COUNT],
}

/// Arrays in the order in which they lie.
#[derive(Debug, Clone, Copy)]
pub(super) enum Array {
    Tokens,
    Positions,
    /// Place of each row in the pool, block times tokens of a block plus slot.
    Slots,
    /// Rows whose logits are wanted.
    Picks,
    /// One over the temperature of each of them.
    Coldness,
    Folds,
    Tiles,
    TilesWide,
    Members,
    /// Block tables, one behind the other.
    Tables,
}

impl Array {
    const COUNT: usize = 10;
}

/// What becomes of the words of a step while its spans are looked through.
#[derive(Default)]
struct Parts<'s> {
    arrays: [Vec<u32>; Array::COUNT],
    tiles: Tiles,
    lone: Vec<Lone<'s>>,
}

impl Step {
    /// Lays out `spans`.
    ///
    /// # Errors
    /// A token outside the vocabulary, a block outside the pool or a table that is too short.
    pub fn new(spans: &[Span], bounds: Bounds) -> Result<Self, String> {
        let mut step = Self::default();
        let mut parts = Parts::default();
        for span in spans {
            step.add(span, bounds, &mut parts)?;
        }
        let Parts { mut arrays, mut tiles, lone } = parts;
        tiles.answers(lone, bounds.cut);
        step.repeats = step.rows <= REPEATED_MAX && tiles.wide.is_empty();
        step.picks = arrays[Array::Picks as usize].len();
        step.parts = tiles.parts;
        let Tiles { narrow, wide, members, folds, .. } = tiles;
        arrays[Array::Folds as usize] = folds;
        arrays[Array::Tiles as usize] = narrow;
        arrays[Array::TilesWide as usize] = wide;
        arrays[Array::Members as usize] = members;
        if step.repeats {
            step.fill_up(&mut arrays, bounds);
        }
        step.tiles = [Array::Tiles, Array::TilesWide].map(|array| arrays[array as usize].len() / TILE);
        step.folds = arrays[Array::Folds as usize].len();
        for (at, values) in step.at.iter_mut().zip(&arrays) {
            // Tiles are read four numbers at a time, from a boundary of as many.
            step.words.resize(step.words.len().next_multiple_of(TILE), 0);
            *at = step.words.len();
            step.words.extend_from_slice(values);
        }
        Ok(step)
    }

    fn add<'s>(&mut self, span: &'s Span, bounds: Bounds, parts: &mut Parts<'s>) -> Result<(), String> {
        let block_tokens = bounds.cut.block_tokens;
        let (first, end) = (self.rows, span.start + span.tokens.len());
        check(span, bounds, end)?;
        let arrays = &mut parts.arrays;
        arrays[Array::Tokens as usize].extend_from_slice(&span.tokens);
        for position in span.start..end {
            let block = span.blocks[position / block_tokens];
            arrays[Array::Positions as usize].push(position as u32);
            let slot = block.0 as usize * block_tokens + position % block_tokens;
            arrays[Array::Slots as usize].push(slot as u32);
        }
        let blocks = &span.blocks[..end.div_ceil(block_tokens)];
        self.written.extend_from_slice(&blocks[span.start / block_tokens..]);
        let tables = &mut arrays[Array::Tables as usize];
        let table = tables.len() as u32;
        tables.extend(blocks.iter().map(|block| block.0));
        match span.tokens.len() {
            1 => parts.lone.push(Lone { row: first as u32, context: end, blocks, table }),
            rows => parts.tiles.prompt(first, rows, end, table, bounds.cut),
        }
        self.rows += span.tokens.len();
        let (wanted, coldness) = match span.logits {
            Logits::None => (self.rows, None),
            Logits::Last => (self.rows - 1, None),
            Logits::Best { temperature } => {
                (self.rows - 1, Some(if temperature > 0.0 { 1.0 / temperature } else { 1.0 }))
            }
            Logits::All => (first, None),
        };
        for row in wanted..self.rows {
            arrays[Array::Picks as usize].push(row as u32);
            arrays[Array::Coldness as usize].push(coldness.unwrap_or(1.0).to_bits());
            self.best.push(coldness.is_some());
        }
        Ok(())
    }

    /// To the next of the sizes that there are. What fills up is computed, and nobody reads it.
    fn fill_up(&mut self, arrays: &mut [Vec<u32>; Array::COUNT], bounds: Bounds) {
        let spare = bounds.blocks * bounds.cut.block_tokens;
        let mut fill = |array: Array, each: usize, value: u32| {
            let values = &mut arrays[array as usize];
            let filled = filled(values.len() / each) * each;
            values.resize(filled, value);
            filled / each
        };
        self.rows = fill(Array::Tokens, 1, 0);
        fill(Array::Positions, 1, 0);
        fill(Array::Slots, 1, spare as u32);
        self.picks = fill(Array::Picks, 1, 0);
        fill(Array::Coldness, 1, 1.0_f32.to_bits());
        fill(Array::Folds, 1, NO_ROW);
        // Without rows.
        fill(Array::Tiles, TILE, 0);
        fill(Array::Members, 2, 0);
        self.parts = filled(self.parts);
    }

    /// All arrays, little-endian.
    pub fn bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Byte at which an array starts.
    pub fn at(&self, array: Array) -> usize {
        self.at[array as usize] * size_of::<u32>()
    }
}

/// The next number of a series whose steps are an eighth to a sixteenth of it.
fn filled(count: usize) -> usize {
    count.next_multiple_of(1 << (count / 8).max(1).ilog2())
}

fn check(span: &Span, bounds: Bounds, end: usize) -> Result<(), String> {
    if span.tokens.is_empty() || end > u32::MAX as usize {
        return Err(format!("a span of {} tokens from {} on", span.tokens.len(), span.start));
    }
    if let Some(token) = span.tokens.iter().find(|token| **token as usize >= bounds.vocab) {
        return Err(format!("token {token} of a vocabulary of {}", bounds.vocab));
    }
    let block_tokens = bounds.cut.block_tokens;
    let needed = end.div_ceil(block_tokens);
    let Some(blocks) = span.blocks.get(..needed) else {
        return Err(format!("{} blocks for {end} tokens of {block_tokens} each", span.blocks.len()));
    };
    if let Some(block) = blocks.iter().find(|block| block.0 as usize >= bounds.blocks) {
        return Err(format!("block {} of {}", block.0, bounds.blocks));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUT: Cut = Cut { block_tokens: 4, tile_rows: 3, wide_rows: 4, found_max: 1000 };
    const BOUNDS: Bounds = Bounds { vocab: 10, blocks: 8, cut: CUT };

    fn span(tokens: &[u32], start: usize, blocks: &[u32], logits: Logits) -> Span {
        let blocks = blocks.iter().copied().map(BlockId).collect();
        Span { tokens: tokens.to_vec(), start, blocks, logits }
    }

    fn words(step: &Step, at: usize, count: usize) -> Vec<u32> {
        let bytes = &step.bytes()[at..at + 4 * count];
        bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect()
    }

    #[test]
    fn spans_are_laid_out_row_by_row() {
        let spans = [
            span(&[1, 2, 3, 4, 5], 2, &[7, 3, 5], Logits::All),
            span(&[9], 4, &[6, 0], Logits::Last),
            span(&[8, 8], 0, &[1], Logits::None),
        ];
        let step = Step::new(&spans, BOUNDS).unwrap();
        assert_eq!((step.rows, step.picks, step.tiles, step.repeats), (8, 6, [2, 2], false));
        let words = |array, count| words(&step, step.at(array), count);
        assert_eq!(words(Array::Tokens, 8), [1, 2, 3, 4, 5, 9, 8, 8]);
        assert_eq!(words(Array::Positions, 8), [2, 3, 4, 5, 6, 4, 0, 1]);
        assert_eq!(words(Array::Slots, 8), [30, 31, 12, 13, 14, 0, 4, 5]);
        assert_eq!(words(Array::Picks, 6), [0, 1, 2, 3, 4, 5]);
        assert_eq!(words(Array::TilesWide, 16), [0, 4, 0, 6, 0, 1, 0, 0, 8, 1, 0, 7, 0, 1, 0, 0]);
        assert_eq!(words(Array::Tiles, 16), [10, 2, 4, 2, 0, 1, 0, 0, 14, 1, 2, 5, 0, 1, 0, 0]);
        assert_eq!(words(Array::Members, 16), [0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 6, 0, 7, 0, 5, 0]);
        // Blocks that no row of the step sees are left out.
        assert_eq!(words(Array::Tables, 5), [7, 3, 6, 0, 1]);
        assert_eq!(step.written, [7, 3, 0, 1].map(BlockId));
        assert_eq!(step.at(Array::Tiles) % 16, 0);
    }

    #[test]
    fn small_steps_are_filled_up_with_what_nobody_reads() {
        let best = |temperature| Logits::Best { temperature };
        let spans: Vec<Span> = (0..17).map(|i| span(&[i % 10], 1, &[i % 8], best(0.5))).collect();
        let step = Step::new(&spans, BOUNDS).unwrap();
        assert_eq!((step.rows, step.picks, step.tiles, step.repeats), (18, 18, [18, 0], true));
        let words = |array, count| words(&step, step.at(array), count);
        assert_eq!(words(Array::Slots, 18)[16..], [1, 32]);
        assert_eq!(words(Array::Picks, 18)[16..], [16, 0]);
        assert_eq!(words(Array::Coldness, 18)[16..], [2.0_f32.to_bits(), 1.0_f32.to_bits()]);
        assert_eq!(words(Array::Tiles, 144)[136..], [0; 8]);
        assert_eq!(step.best, [true; 17]);
        for count in 0..2000 {
            let filled = filled(count);
            assert!(
                filled >= count && filled <= count + count / 8 && super::filled(filled) == filled,
                "{count}: {filled}"
            );
        }
    }

    #[test]
    fn what_a_kernel_would_read_outside_its_memory_is_refused() {
        for (wrong, reason) in [
            (span(&[10], 0, &[0], Logits::Last), "token 10"),
            (span(&[1], 4, &[0], Logits::Last), "1 blocks for 5"),
            (span(&[1], 0, &[8], Logits::Last), "block 8 of 8"),
            (span(&[], 0, &[0], Logits::Last), "0 tokens"),
        ] {
            let error = Step::new(&[wrong], BOUNDS).unwrap_err();
            assert!(error.contains(reason), "{error}");
        }
    }
}
