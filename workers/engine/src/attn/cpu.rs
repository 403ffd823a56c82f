//! Causal paged attention on the CPU.
//!
//! Tiles of rows that share blocks, one key head each, on all threads. Invariant: a row's result
//! depends on its query and its own keys and values alone. Memory: each thread holds the scores of
//! one tile, at most 384 KiB or those of one row. Called by `decoder`.

use parking_lot::Mutex;

use super::plan::{Blocks, Plan, Row, Tile};
use super::tile::{AttendTile, Space};
use crate::kv::KvStore;
use crate::kv::four::hadamard;
use crate::model::kernel::dispatch;
use crate::model::threads::Threads;

/// Bundles of work per thread: rows see different numbers of keys, and small bundles level that.
const BUNDLES: usize = 8;

/// One tile, one key head and the places of its results.
type Unit<'p, 'o> = (&'p Tile, usize, Vec<&'o mut [f32]>);

/// Attention and the room that it keeps from step to step.
pub(crate) struct Attention {
    grouped: bool,
    spaces: Mutex<Vec<Space>>,
}

impl Default for Attention {
    fn default() -> Self {
        Self::new(true)
    }
}

impl Attention {
    /// Without `grouped`, no row shares a read with another. The results are the same.
    pub fn new(grouped: bool) -> Self {
        Self { grouped, spaces: Mutex::new(Vec::new()) }
    }

    /// Plans a step over `store` for a model with `group` query heads per key head.
    pub fn plan(&self, rows: &[Row<'_>], group: usize, store: &KvStore) -> Plan {
        let blocks = Blocks { tokens: store.shape().block_tokens, own_apart: store.is_four_bit() };
        Plan::new(rows, group, blocks, self.grouped)
    }

    /// `out[rows, heads · head_dim]` for queries `q` of the same shape.
    pub fn attend(
        &self,
        plan: &Plan,
        q: &[f32],
        store: &KvStore,
        layer: usize,
        out: &mut [f32],
        threads: &Threads,
    ) {
        let work = plan.keys * q.len() / plan.rows.max(1) * 2;
        let parts = threads.share(work);
        self.attend_in_parts(plan, q, store, layer, out, threads, parts);
    }

    /// The same, with the number of threads given.
    #[expect(clippy::too_many_arguments, reason = "all of them are operands; tests choose the parts")]
    pub(super) fn attend_in_parts(
        &self,
        plan: &Plan,
        q: &[f32],
        store: &KvStore,
        layer: usize,
        out: &mut [f32],
        threads: &Threads,
        parts: usize,
    ) {
        let kv_heads = store.shape().kv_heads;
        let width = q.len() / plan.rows.max(1) / kv_heads;
        let mut places: Vec<Option<&mut [f32]>> = out.chunks_mut(width.max(1)).map(Some).collect();
        let mut units: Vec<Unit<'_, '_>> = Vec::with_capacity(plan.tiles.len() * kv_heads);
        for tile in &plan.tiles {
            for kv_head in 0..kv_heads {
                let take = |row: &usize| places[row * kv_heads + kv_head].take();
                units.push((tile, kv_head, tile.rows.iter().filter_map(take).collect()));
            }
        }
        let task = |units: Vec<Unit<'_, '_>>| {
            let mut space = self.spaces.lock().pop().unwrap_or_default();
            for (tile, kv_head, out) in units {
                space.q.clear();
                for row in &tile.rows {
                    space.q.extend_from_slice(&q[(row * kv_heads + kv_head) * width..][..width]);
                }
                if store.is_four_bit() {
                    space.q.chunks_exact_mut(store.shape().head_dim).for_each(hadamard);
                }
                dispatch(AttendTile { tile, store, layer, kv_head, space: &mut space, out });
            }
            self.spaces.lock().push(space);
        };
        if parts == 1 {
            return task(units);
        }
        let size = units.len().div_ceil(parts * BUNDLES).max(1);
        let mut bundles = Vec::with_capacity(parts * BUNDLES);
        let mut rest = units.into_iter().peekable();
        while rest.peek().is_some() {
            bundles.push(rest.by_ref().take(size).collect());
        }
        threads.for_each(bundles, task);
    }
}
