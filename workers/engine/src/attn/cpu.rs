//! Causal paged attention on the CPU.
//!
//! Invariant: a row's result depends on its query and its own keys and values alone; block size,
//! batch and threads change nothing. Scores of a whole row are held at once, so memory grows
//! with the context of one row per thread. Called by `decoder`.

use crate::kv::KvStore;
use crate::kv::pool::BlockId;
use crate::model::kernel::{AttendRow, dispatch};
use crate::model::threads::Threads;

/// One query row: which blocks it sees and how many keys of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Row<'a> {
    /// Block table of the sequence.
    pub blocks: &'a [BlockId],
    /// Keys seen, the row's own included.
    pub context: usize,
}

/// `out[rows, heads · head_dim]` for queries `q` of the same shape.
pub(crate) fn attend(
    rows: &[Row<'_>],
    q: &[f32],
    store: &KvStore,
    layer: usize,
    out: &mut [f32],
    threads: &Threads,
) {
    let shape = store.shape();
    let width = q.len() / rows.len().max(1);
    let task = |(rows, q, out): (&[Row<'_>], &[f32], &mut [f32])| {
        let mut scores = Vec::new();
        let mut blocks = Vec::new();
        for ((row, q), out) in rows.iter().zip(q.chunks_exact(width)).zip(out.chunks_exact_mut(width)) {
            let used = row.context.div_ceil(shape.block_tokens);
            blocks.clear();
            blocks.extend(row.blocks[..used].iter().map(|block| store.layer(*block, layer)));
            dispatch(AttendRow {
                q,
                blocks: &blocks,
                block_tokens: shape.block_tokens,
                context: row.context,
                kv_heads: shape.kv_heads,
                head_dim: shape.head_dim,
                scores: &mut scores,
                out,
            });
        }
    };
    let work: usize = rows.iter().map(|row| row.context * width * 2).sum();
    let parts = threads.share(work);
    if parts == 1 {
        return task((rows, q, out));
    }
    // Later rows see more keys: small parts level the load.
    let rows_per_part = rows.len().div_ceil(parts * 4).max(1);
    let items = rows
        .chunks(rows_per_part)
        .zip(q.chunks(rows_per_part * width))
        .zip(out.chunks_mut(rows_per_part * width))
        .map(|((rows, q), out)| (rows, q, out))
        .collect();
    threads.for_each(items, task);
}
