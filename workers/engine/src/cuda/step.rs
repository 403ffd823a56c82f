//! What a step computes, as the arrays of numbers that kernels read.
//!
//! Everything is checked here: a token, block or position out of range would read or write memory that is not the kernel's. Called
//! by `runner`; knows nothing of a device.

use crate::kv::pool::BlockId;
use crate::model::decoder::{Logits, Span};

/// Numbers that every tile has: first row, rows, start of the block table, nothing.
const TILE: usize = 4;

/// Limits that a step keeps to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub vocab: usize,
    pub blocks: usize,
    pub block_tokens: usize,
    /// Rows that share a tile of attention, at most.
    pub tile_rows: usize,
}

/// The arrays of one step, one behind the other, so that they reach the device in one copy.
#[derive(Debug, Default)]
pub(super) struct Step {
    words: Vec<u32>,
    /// Rows: tokens to compute.
    pub rows: usize,
    /// Rows whose logits are wanted.
    pub picks: usize,
    /// Tiles of attention.
    pub tiles: usize,
    /// Keys that the row sees that sees most.
    pub longest: usize,
    /// Blocks that are written.
    pub written: Vec<BlockId>,
    at: Starts,
}

/// Where arrays start, in words.
#[derive(Debug, Default, Clone, Copy)]
struct Starts {
    positions: usize,
    slots: usize,
    picks: usize,
    tiles: usize,
    tables: usize,
}

impl Step {
    /// Lays out `spans`.
    ///
    /// # Errors
    /// A token outside the vocabulary, a block outside the pool or a table that is too short.
    pub fn new(spans: &[Span], bounds: Bounds) -> Result<Self, String> {
        let mut step = Self::default();
        let (mut positions, mut slots, mut picks) = (Vec::new(), Vec::new(), Vec::new());
        let (mut tiles, mut tables): (Vec<u32>, Vec<u32>) = (Vec::new(), Vec::new());
        for span in spans {
            let (first, end) = (step.rows, span.start + span.tokens.len());
            check(span, bounds, end)?;
            step.words.extend_from_slice(&span.tokens);
            for position in span.start..end {
                let block = span.blocks[position / bounds.block_tokens];
                positions.push(position as u32);
                slots.push(block.0 * bounds.block_tokens as u32 + (position % bounds.block_tokens) as u32);
            }
            let blocks = &span.blocks[..end.div_ceil(bounds.block_tokens)];
            step.written.extend_from_slice(&blocks[span.start / bounds.block_tokens..]);
            for at in (0..span.tokens.len()).step_by(bounds.tile_rows) {
                let rows = bounds.tile_rows.min(span.tokens.len() - at);
                tiles.extend([(first + at) as u32, rows as u32, tables.len() as u32, 0]);
            }
            tables.extend(blocks.iter().map(|block| block.0));
            step.rows += span.tokens.len();
            let wanted = match span.logits {
                Logits::None => step.rows,
                Logits::Last => step.rows - 1,
                Logits::All => first,
            };
            picks.extend((wanted..step.rows).map(|row| row as u32));
            step.longest = step.longest.max(end);
        }
        (step.picks, step.tiles) = (picks.len(), tiles.len() / TILE);
        // Tiles are read four numbers at a time, from a boundary of as many.
        let words = &mut step.words;
        let mut put = |values: &[u32]| {
            words.resize(words.len().next_multiple_of(TILE), 0);
            let at = words.len();
            words.extend_from_slice(values);
            at
        };
        step.at = Starts {
            positions: put(&positions),
            slots: put(&slots),
            picks: put(&picks),
            tiles: put(&tiles),
            tables: put(&tables),
        };
        Ok(step)
    }

    /// All arrays, little-endian. Tokens come first.
    pub fn bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// Position of each row: byte of its array.
    pub fn positions_at(&self) -> usize {
        self.at.positions * size_of::<u32>()
    }

    /// Place of each row in the pool, block times tokens of a block plus slot.
    pub fn slots_at(&self) -> usize {
        self.at.slots * size_of::<u32>()
    }

    /// Rows whose logits are wanted.
    pub fn picks_at(&self) -> usize {
        self.at.picks * size_of::<u32>()
    }

    /// Tiles of attention.
    pub fn tiles_at(&self) -> usize {
        self.at.tiles * size_of::<u32>()
    }

    /// Block tables, one behind the other.
    pub fn tables_at(&self) -> usize {
        self.at.tables * size_of::<u32>()
    }
}

fn check(span: &Span, bounds: Bounds, end: usize) -> Result<(), String> {
    if span.tokens.is_empty() || end > u32::MAX as usize {
        return Err(format!("a span of {} tokens from {} on", span.tokens.len(), span.start));
    }
    if let Some(token) = span.tokens.iter().find(|token| **token as usize >= bounds.vocab) {
        return Err(format!("token {token} of a vocabulary of {}", bounds.vocab));
    }
    let needed = end.div_ceil(bounds.block_tokens);
    let Some(blocks) = span.blocks.get(..needed) else {
        return Err(format!("{} blocks for {end} tokens of {} each", span.blocks.len(), bounds.block_tokens));
    };
    if let Some(block) = blocks.iter().find(|block| block.0 as usize >= bounds.blocks) {
        return Err(format!("block {} of {}", block.0, bounds.blocks));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { vocab: 10, blocks: 8, block_tokens: 4, tile_rows: 3 };

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
        assert_eq!((step.rows, step.picks, step.tiles, step.longest), (8, 6, 4, 7));
        assert_eq!(words(&step, 0, 8), [1, 2, 3, 4, 5, 9, 8, 8]);
        assert_eq!(words(&step, step.positions_at(), 8), [2, 3, 4, 5, 6, 4, 0, 1]);
        assert_eq!(words(&step, step.slots_at(), 8), [30, 31, 12, 13, 14, 0, 4, 5]);
        assert_eq!(words(&step, step.picks_at(), 6), [0, 1, 2, 3, 4, 5]);
        assert_eq!(words(&step, step.tiles_at(), 16), [0, 3, 0, 0, 3, 2, 0, 0, 5, 1, 2, 0, 6, 2, 4, 0]);
        // Blocks that no row of the step sees are left out.
        assert_eq!(words(&step, step.tables_at(), 5), [7, 3, 6, 0, 1]);
        assert_eq!(step.written, [7, 3, 0, 1].map(BlockId));
        assert_eq!(step.tiles_at() % 16, 0);
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
