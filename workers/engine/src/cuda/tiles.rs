//! Who reads which keys together: the tiles of attention on a device.
//!
//! A row of an answer is cut into chunks of keys, a tile each, so that a long row keeps many blocks of the device busy; rows whose block
//! tables begin alike share a tile for each chunk that they have in common, which is then read once for all of them (Juravsky et al.
//! 2024). Rows of prompts are tiles of their own. No cut changes a bit: see `cuda/attention.cuh`. Called by `step`.

use super::kernel::CHUNK;
use crate::kv::pool::BlockId;

/// Numbers that every tile has, as `Tile` in `cuda/attention.cuh` names them.
pub(super) const TILE: usize = 8;

/// A row that is its sequence's only one in a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lone<'a> {
    /// Where it stands in the step.
    pub row: u32,
    /// Keys that it sees.
    pub context: usize,
    /// Its blocks, as far as it sees them.
    pub blocks: &'a [BlockId],
    /// Where they start among the tables.
    pub table: u32,
}

/// How a step is cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cut {
    pub block_tokens: usize,
    /// Rows of a tile, at most.
    pub tile_rows: usize,
    /// Rows of a wide tile, at most.
    pub wide_rows: usize,
    /// Rows times chunks that there is memory for what is found of them.
    pub found_max: usize,
}

/// Tiles and what they refer to.
#[derive(Debug, Default)]
pub(super) struct Tiles {
    /// TILE numbers each.
    pub narrow: Vec<u32>,
    /// Those of many vectors.
    pub wide: Vec<u32>,
    /// Pairs: row, place among the folds.
    pub members: Vec<u32>,
    /// Rows that are found in parts.
    pub folds: Vec<u32>,
    /// Most parts of a row.
    pub parts: usize,
}

impl Tiles {
    /// Adds `rows` consecutive rows of one sequence from `first` on; the last of them sees `end` keys.
    pub fn prompt(&mut self, first: usize, rows: usize, end: usize, table: u32, cut: Cut) {
        let is_wide = rows > cut.tile_rows;
        let most = if is_wide { cut.wide_rows } else { cut.tile_rows };
        for at in (0..rows).step_by(most) {
            let count = most.min(rows - at);
            let longest = end - (rows - at - count);
            let tile = self.tile(count, table, longest, 0..longest.div_ceil(CHUNK), false);
            let to = if is_wide { &mut self.wide } else { &mut self.narrow };
            to.extend(tile);
            self.members.extend((first + at..first + at + count).flat_map(|row| [row as u32, 0]));
        }
    }

    /// Adds the rows that are alone.
    pub fn answers(&mut self, mut rows: Vec<Lone<'_>>, cut: Cut) {
        let chunks = |row: &Lone<'_>| row.context.div_ceil(CHUNK);
        self.parts = rows.iter().map(chunks).max().unwrap_or(1);
        let folds = rows.iter().filter(|row| chunks(row) > 1).count();
        if folds * self.parts > cut.found_max {
            self.parts = 1;
            for row in rows {
                self.prompt(row.row as usize, 1, row.context, row.table, cut);
            }
            return;
        }
        // Tables that begin alike are neighbours.
        rows.sort_by(|a, b| a.blocks.iter().map(|block| block.0).cmp(b.blocks.iter().map(|block| block.0)));
        let alike: Vec<usize> =
            rows.windows(2).map(|pair| alike(&pair[0], &pair[1], cut.block_tokens)).collect();
        let places: Vec<u32> = rows
            .iter()
            .map(|row| {
                let place = self.folds.len() as u32;
                if chunks(row) > 1 {
                    self.folds.push(row.row);
                }
                place
            })
            .collect();
        for chunk in 0..self.parts {
            let sees = |at: usize| rows[at].context > chunk * CHUNK;
            let mut at = 0;
            while at < rows.len() {
                let mut end = at + 1;
                if sees(at) {
                    while end < rows.len()
                        && end - at < cut.tile_rows
                        && sees(end)
                        && alike[end - 1] >= (chunk + 1) * CHUNK
                    {
                        end += 1;
                    }
                    let longest = rows[at..end].iter().map(|row| row.context).max().unwrap_or(0);
                    let in_parts = chunks(&rows[at]) > 1;
                    let tile = self.tile(end - at, rows[at].table, longest, chunk..chunk + 1, in_parts);
                    self.narrow.extend(tile);
                    self.members.extend((at..end).flat_map(|i| [rows[i].row, places[i]]));
                }
                at = end;
            }
        }
    }

    /// The members of the tile follow.
    fn tile(
        &self,
        rows: usize,
        table: u32,
        longest: usize,
        chunks: std::ops::Range<usize>,
        in_parts: bool,
    ) -> [u32; TILE] {
        let members = self.members.len() as u32;
        let (first, end) = (chunks.start as u32, chunks.end as u32);
        [members, rows as u32, table, longest as u32, first, end, u32::from(in_parts), 0]
    }
}

/// Keys from the first on that two rows have in common.
fn alike(a: &Lone<'_>, b: &Lone<'_>, block_tokens: usize) -> usize {
    let blocks = a.blocks.iter().zip(b.blocks).take_while(|(a, b)| a == b).count();
    (blocks * block_tokens).min(a.context).min(b.context)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CUT: Cut = Cut { block_tokens: 16, tile_rows: 8, wide_rows: 32, found_max: 1000 };

    fn answers(tables: &[(usize, Vec<BlockId>)], cut: Cut) -> Tiles {
        let mut tiles = Tiles::default();
        let rows = tables.iter().enumerate().map(|(i, (context, blocks))| Lone {
            row: i as u32,
            context: *context,
            blocks,
            table: 100 * i as u32,
        });
        tiles.answers(rows.collect(), cut);
        tiles
    }

    /// Rows and chunks of each tile.
    fn shape(tiles: &Tiles) -> Vec<(Vec<u32>, u32)> {
        let of = |tile: &[u32; TILE]| {
            let members = &tiles.members[tile[0] as usize..][..2 * tile[1] as usize];
            (members.iter().step_by(2).copied().collect(), tile[4])
        };
        tiles.narrow.as_chunks::<TILE>().0.iter().map(of).collect()
    }

    fn ids(range: std::ops::Range<u32>) -> Vec<BlockId> {
        range.map(BlockId).collect()
    }

    #[test]
    fn what_rows_have_in_common_is_read_once() {
        // Two chunks in common, 0 and 2 for half a chunk more; 1 is alone and short.
        let behind = |own: u32| [ids(0..16), ids(own..own + 4)].concat();
        let tables = [(300, behind(50)), (70, ids(90..95)), (310, behind(60))];
        let tiles = answers(&tables, CUT);
        let expected = [(vec![0, 2], 0), (vec![1], 0), (vec![0, 2], 1), (vec![0], 2), (vec![2], 2)];
        assert_eq!(shape(&tiles), expected.map(|(rows, chunk): (Vec<u32>, u32)| (rows, chunk)));
        // The short one needs no folding.
        assert_eq!((tiles.folds.as_slice(), tiles.parts), ([0, 2].as_slice(), 3));
        let found: Vec<u32> = tiles.narrow.as_chunks::<TILE>().0.iter().map(|tile| tile[6]).collect();
        assert_eq!(found, [1, 0, 1, 1, 1]);
        assert_eq!(tiles.members, [0, 0, 2, 1, 1, 2, 0, 0, 2, 1, 0, 0, 2, 1]);
    }

    #[test]
    fn a_tile_takes_no_more_rows_than_it_has_vectors_for() {
        let tables: Vec<_> = (0..19).map(|i| (140, [ids(0..8), ids(100 + i..101 + i)].concat())).collect();
        let tiles = answers(&tables, CUT);
        let widths: Vec<usize> =
            shape(&tiles).iter().filter(|(_, chunk)| *chunk == 0).map(|(rows, _)| rows.len()).collect();
        assert_eq!(widths, [8, 8, 3]);
    }

    #[test]
    fn without_memory_for_parts_every_row_is_summed_by_one_block() {
        let tables = [(300, ids(0..19)), (20, ids(30..32))];
        let tiles = answers(&tables, Cut { found_max: 2, ..CUT });
        assert_eq!((tiles.parts, tiles.folds.len()), (1, 0));
        assert_eq!(tiles.narrow, [0, 1, 0, 300, 0, 3, 0, 0, 2, 1, 100, 20, 0, 1, 0, 0]);
    }

    #[test]
    fn prompts_are_cut_and_see_what_lies_before_them() {
        let mut tiles = Tiles::default();
        tiles.prompt(3, 40, 240, 7, CUT);
        tiles.prompt(43, 5, 5, 9, CUT);
        assert_eq!(tiles.wide, [0, 32, 7, 232, 0, 2, 0, 0, 64, 8, 7, 240, 0, 2, 0, 0]);
        assert_eq!(tiles.narrow, [80, 5, 9, 5, 0, 1, 0, 0]);
        assert_eq!(tiles.members.iter().step_by(2).copied().collect::<Vec<_>>(), (3..48).collect::<Vec<_>>());
    }
}
