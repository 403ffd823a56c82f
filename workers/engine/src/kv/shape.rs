//! Sizes of KV blocks: where numbers lie in a slab, and how many bytes they take.
//!
//! Called by `store` and `slab`, and by all that count memory.

use super::four;
use super::precision::KvPrecision;

/// Rows that are read are multiples of this many values: a vector of AVX2, two of NEON.
pub(crate) const LANES: usize = 8;

/// Sizes that fix the layout of a slab.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KvShape {
    pub layers: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub block_tokens: usize,
}

impl KvShape {
    /// Numbers of one layer of one block.
    pub fn layer_len(&self) -> usize {
        2 * self.head_len() * self.kv_heads
    }

    /// Bytes of one block.
    pub fn block_bytes(&self, precision: KvPrecision) -> usize {
        let values = self.layers * self.layer_len();
        match precision {
            KvPrecision::F32 => values * size_of::<f32>(),
            KvPrecision::F16 | KvPrecision::Bf16 => values * size_of::<u16>(),
            KvPrecision::Int8 => values + self.scales() * size_of::<u16>(),
            KvPrecision::Int4 => {
                let scales = self.layers * self.four_scales().layer_len() * size_of::<u16>();
                self.layers * self.four_bytes().layer_len() + scales
            }
        }
    }

    /// Most bytes that a store of this precision holds besides its blocks: at four bits, of blocks that are being filled. Each of
    /// `running` sequences may end one and begin the next in a step; of blocks filled within a step of `step_tokens`, one layer.
    pub fn tail_bytes(&self, precision: KvPrecision, running: usize, step_tokens: usize) -> usize {
        if precision != KvPrecision::Int4 {
            return 0;
        }
        let block = self.block_bytes(KvPrecision::Int8);
        2 * running * block + step_tokens / self.block_tokens * (block / self.layers.max(1))
    }

    /// Layout of four-bit values: each row is so many bytes.
    pub(super) fn four_bytes(self) -> Self {
        Self { head_dim: four::packed_len(self.head_dim), ..self }
    }

    /// Layout of their scales, one for each group of a row.
    pub(super) fn four_scales(self) -> Self {
        Self { head_dim: four::group_lengths(self.head_dim).count(), ..self }
    }

    /// Length of a row of keys, as it is read.
    pub fn padded_tokens(&self) -> usize {
        self.block_tokens.next_multiple_of(LANES)
    }

    /// Length of a row of values, as it is read.
    pub fn padded_dim(&self) -> usize {
        self.head_dim.next_multiple_of(LANES)
    }

    /// Numbers of the keys, or of the values, of one head of one layer of a block.
    pub(super) fn head_len(&self) -> usize {
        self.block_tokens * self.head_dim
    }

    /// Where they start: of the keys with `kind` 0, of the values with 1.
    pub(super) fn head_at(&self, layer: usize, kind: usize, head: usize) -> usize {
        ((2 * layer + kind) * self.kv_heads + head) * self.head_len()
    }

    /// Scales of a block: `[layers, keys and values, kv_heads, block_tokens]`.
    pub(super) fn scales(&self) -> usize {
        2 * self.layers * self.kv_heads * self.block_tokens
    }

    pub(super) fn scales_at(&self, layer: usize, kind: usize, head: usize) -> usize {
        ((2 * layer + kind) * self.kv_heads + head) * self.block_tokens
    }
}
