//! Which rows of a step read which block together.
//!
//! Rows whose block tables begin alike stand side by side in a tile, and a tile reads each block
//! once for all of its rows that see it: the shared-prefix attention of Hydragen (Juravsky et al.
//! 2024) and ChunkAttention (Ye et al. 2024), over a block table of any shape of tree. The same
//! tiles make prompts fast, whose rows share all blocks but the last. Invariant: every row meets
//! its own blocks once and in their order, so a plan never changes a result. Called by `decoder`,
//! once for all layers.

use std::cmp::Ordering;
use std::ops::Range;

use crate::kv::pool::BlockId;

/// Most query vectors of a tile. More would read shared blocks less often, and would push the keys
/// of a block out of the first-level cache.
const VECTORS_MAX: usize = 96;

/// Scores that a tile may hold, unless one row alone needs more: 384 KiB, so that they stay in the
/// second-level cache.
const SCORES_MAX: usize = 96 << 10;

/// One query row: which blocks it sees and how many keys of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    /// Block table of the sequence.
    pub blocks: &'a [BlockId],
    /// Keys seen, the row's own included; at least one.
    pub context: usize,
}

/// How the blocks of a store are read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Blocks {
    /// Tokens of each.
    pub tokens: usize,
    /// A row reads the block of its own last key apart, at more bits than others do.
    pub own_apart: bool,
}

/// One block, and the rows of a tile that see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Run {
    pub block: BlockId,
    /// Position of the block's first key.
    pub at: usize,
    /// It holds the last keys of these rows, and they read it apart.
    pub is_own: bool,
    /// Rows, counted in the tile.
    pub rows: Range<usize>,
}

/// Rows that are computed together.
#[derive(Debug)]
pub(crate) struct Tile {
    /// Where each row stands in the step.
    pub rows: Vec<usize>,
    /// Keys that each row sees.
    pub contexts: Vec<usize>,
    /// Blocks in the order of their positions.
    pub runs: Vec<Run>,
}

/// All rows of a step, cut into tiles.
#[derive(Debug)]
pub(crate) struct Plan {
    pub tiles: Vec<Tile>,
    /// Query rows.
    pub rows: usize,
    /// Keys seen by all rows together.
    pub keys: usize,
}

impl Plan {
    /// Plans `rows` of a model with `group` query heads per key head. Without `grouped` each row is
    /// a tile of its own, for comparisons.
    pub fn new(rows: &[Row<'_>], group: usize, blocks: Blocks, grouped: bool) -> Self {
        let mut order: Vec<usize> = (0..rows.len()).collect();
        // Stable: the rows of one sequence stay in the order of their positions.
        order.sort_by(|a, b| by_blocks(rows[*a].blocks, rows[*b].blocks));
        let mut tiles = Vec::new();
        for alike in order.chunk_by(|a, b| rows[*a].blocks.first() == rows[*b].blocks.first()) {
            let longest = alike.iter().map(|row| rows[*row].context).max().unwrap_or(1);
            let most = if grouped { rows_max(group, longest) } else { 1 };
            // Equal parts: a last tile of a few rows would read everything for little.
            let part = alike.len().div_ceil(alike.len().div_ceil(most));
            tiles.extend(alike.chunks(part).map(|part| Tile::new(part, rows, blocks)));
        }
        Self { tiles, rows: rows.len(), keys: rows.iter().map(|row| row.context).sum() }
    }
}

impl Tile {
    fn new(order: &[usize], rows: &[Row<'_>], blocks: Blocks) -> Self {
        let block_tokens = blocks.tokens;
        let contexts: Vec<usize> = order.iter().map(|row| rows[*row].context).collect();
        let longest = contexts.iter().copied().max().unwrap_or(0);
        let mut runs: Vec<Run> = Vec::new();
        for level in 0..longest.div_ceil(block_tokens) {
            let at = level * block_tokens;
            for (i, row) in order.iter().enumerate() {
                if contexts[i] <= at {
                    continue;
                }
                let block = rows[*row].blocks[level];
                let is_own = blocks.own_apart && contexts[i] <= at + block_tokens;
                let goes_on = |run: &Run| run.at == at && run.block == block && run.is_own == is_own;
                match runs.last_mut() {
                    Some(run) if goes_on(run) && run.rows.end == i => run.rows.end += 1,
                    _ => runs.push(Run { block, at, is_own, rows: i..i + 1 }),
                }
            }
        }
        Self { rows: order.to_vec(), contexts, runs }
    }

    /// Keys of the row that sees most.
    pub fn longest(&self) -> usize {
        self.contexts.iter().copied().max().unwrap_or(0)
    }
}

/// Rows of a tile whose longest row sees `context` keys.
fn rows_max(group: usize, context: usize) -> usize {
    let vectors = (SCORES_MAX / context.max(1)).min(VECTORS_MAX);
    (vectors / group.max(1)).max(1)
}

/// Tables in the order of their block ids, so that those with a common beginning are neighbours.
fn by_blocks(a: &[BlockId], b: &[BlockId]) -> Ordering {
    // All rows of a sequence have one table: no need to look inside.
    if std::ptr::eq(a, b) {
        return Ordering::Equal;
    }
    a.iter().map(|block| block.0).cmp(b.iter().map(|block| block.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blocks(tokens: usize) -> Blocks {
        Blocks { tokens, own_apart: false }
    }

    fn ids(range: Range<u32>) -> Vec<BlockId> {
        range.map(BlockId).collect()
    }

    #[test]
    fn a_shared_prefix_is_read_once() {
        let tables: Vec<Vec<BlockId>> =
            (0..32).map(|i| [ids(0..32), ids(100 + 2 * i..102 + 2 * i)].concat()).collect();
        let rows: Vec<Row<'_>> = tables.iter().map(|blocks| Row { blocks, context: 33 * 16 + 3 }).collect();
        let plan = Plan::new(&rows, 2, blocks(16), true);
        assert_eq!(plan.tiles.len(), 1);
        let reads: usize = plan.tiles.iter().map(|tile| tile.runs.len()).sum();
        assert_eq!(reads, 32 + 32 * 2);
        let alone: usize =
            Plan::new(&rows, 2, blocks(16), false).tiles.iter().map(|tile| tile.runs.len()).sum();
        assert_eq!(alone, 32 * 34);
    }

    #[test]
    fn tables_that_part_twice_share_as_far_as_they_are_alike() {
        let tables = [ids(0..6), [ids(0..4), ids(20..22)].concat(), [ids(0..2), ids(30..34)].concat()];
        let rows: Vec<Row<'_>> = tables.iter().map(|blocks| Row { blocks, context: 24 }).collect();
        let plan = Plan::new(&rows, 1, blocks(4), true);
        let widths: Vec<usize> = plan.tiles[0].runs.iter().map(|run| run.rows.len()).collect();
        assert_eq!(widths, [3, 3, 2, 1, 2, 1, 1, 1, 1, 1, 1, 1]);
    }

    #[test]
    fn a_row_reads_its_own_block_apart() {
        let table = ids(0..3);
        // The last token of a block stands in it, the next one does not.
        let rows: Vec<Row<'_>> = (7..=9).map(|context| Row { blocks: &table, context }).collect();
        let plan = Plan::new(&rows, 1, Blocks { tokens: 4, own_apart: true }, true);
        let runs: Vec<_> =
            plan.tiles[0].runs.iter().map(|run| (run.block.0, run.is_own, run.rows.clone())).collect();
        assert_eq!(runs, [(0, false, 0..3), (1, true, 0..2), (1, false, 2..3), (2, true, 2..3)]);
    }

    #[test]
    fn scratch_stays_within_its_bound() {
        for context in [1, 100, 3000, 40_000, 1 << 20] {
            for group in [1, 3, 8] {
                let rows = rows_max(group, context);
                assert!(rows == 1 || rows * group * context <= SCORES_MAX);
                assert!(rows == 1 || rows * group <= VECTORS_MAX);
            }
        }
    }
}
