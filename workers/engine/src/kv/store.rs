//! The bytes of KV blocks.
//!
//! One slab per block: for each layer keys `[kv_heads, block_tokens, head_dim]`, then values of
//! the same shape. A slab is allocated when its block is first written, so an idle engine holds
//! no cache memory. Owned by the model runner.

use super::pool::BlockId;

/// Sizes that fix the layout of a slab.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KvShape {
    pub layers: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub block_tokens: usize,
}

impl KvShape {
    /// Floats of keys and values of one layer of one block.
    pub fn layer_len(&self) -> usize {
        2 * self.kv_heads * self.block_tokens * self.head_dim
    }

    /// Bytes of one block.
    pub fn block_bytes(&self) -> usize {
        self.layers * self.layer_len() * size_of::<f32>()
    }
}

/// Slabs by block id.
pub(crate) struct KvStore {
    shape: KvShape,
    slabs: Vec<Vec<f32>>,
}

impl KvStore {
    /// Room for `blocks` blocks, none allocated yet.
    pub fn new(shape: KvShape, blocks: usize) -> Self {
        Self { shape, slabs: vec![Vec::new(); blocks] }
    }

    /// Layout.
    pub fn shape(&self) -> KvShape {
        self.shape
    }

    /// Writes the keys and values of one token, each `[kv_heads, head_dim]`.
    pub fn write(&mut self, block: BlockId, layer: usize, slot: usize, k: &[f32], v: &[f32]) {
        let KvShape { layers, kv_heads, head_dim, block_tokens } = self.shape;
        let slab = &mut self.slabs[block.0 as usize];
        if slab.is_empty() {
            slab.resize(layers * self.shape.layer_len(), 0.0);
        }
        let len = self.shape.layer_len();
        let (keys, values) = slab[layer * len..(layer + 1) * len].split_at_mut(len / 2);
        for head in 0..kv_heads {
            let to = (head * block_tokens + slot) * head_dim;
            let from = head * head_dim;
            keys[to..to + head_dim].copy_from_slice(&k[from..from + head_dim]);
            values[to..to + head_dim].copy_from_slice(&v[from..from + head_dim]);
        }
    }

    /// Keys and values of one layer of one block; empty when nothing was written yet.
    pub fn layer(&self, block: BlockId, layer: usize) -> &[f32] {
        let len = self.shape.layer_len();
        self.slabs[block.0 as usize].get(layer * len..(layer + 1) * len).unwrap_or(&[])
    }

    /// All keys and values of one block; empty when nothing was written yet.
    pub fn slab(&self, block: BlockId) -> &[f32] {
        &self.slabs[block.0 as usize]
    }

    /// Fills a block with what `slab` gave for a block of the same contents.
    pub fn load(&mut self, block: BlockId, values: &[f32]) {
        let slab = &mut self.slabs[block.0 as usize];
        slab.clear();
        slab.extend_from_slice(values);
    }
}
