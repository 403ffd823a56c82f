//! Eight-bit keys and values of blocks that are being filled.
//!
//! In a four-bit store a token sees its own block at eight bits and all blocks before it at four. Where that border lies depends on
//! its position alone, so neither the cut of a prompt nor company nor a fresh start changes a bit. A block that one step fills from
//! its first token to its last is needed for that step only, layer by layer, and has room for one layer; a block that is filled in
//! part keeps all layers until it is full or its sequence has left. Called by `store`.

use super::precision;
use super::shape::KvShape;
use super::slab::{allocated, put};

/// What one block is written in a step: its number, the first of its slots and how many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part {
    pub block: usize,
    pub first: usize,
    pub slots: usize,
}

/// Room for one block.
#[derive(Debug, Default)]
pub(super) struct Tail {
    values: Vec<i8>,
    scales: Vec<u16>,
    /// One layer, whichever is computed.
    is_passing: bool,
    is_full: bool,
}

impl Tail {
    /// Layer of the room that holds `layer` of the block.
    fn layer(&self, layer: usize) -> usize {
        if self.is_passing { 0 } else { layer }
    }

    /// Writes one token's keys, turned, and values of one head.
    pub fn write(
        &mut self,
        shape: KvShape,
        (layer, head, slot): (usize, usize, usize),
        k: &[f32],
        v: &[f32],
    ) {
        let layer = self.layer(layer);
        let shape = if self.is_passing { KvShape { layers: 1, ..shape } } else { shape };
        let values = allocated(&mut self.values, shape.layers * shape.layer_len());
        let scales = allocated(&mut self.scales, shape.scales());
        let mut packed = vec![0; 2 * shape.head_dim];
        let (to_k, to_v) = packed.split_at_mut(shape.head_dim);
        scales[shape.scales_at(layer, 0, head) + slot] = precision::pack_int8(k, to_k);
        scales[shape.scales_at(layer, 1, head) + slot] = precision::pack_int8(v, to_v);
        put(values, shape, (layer, head, slot), to_k, to_v);
    }

    /// Keys (`kind` 0) or values (1) of one head, and their scales.
    pub fn read(&self, shape: KvShape, (layer, kind, head): (usize, usize, usize)) -> (&[i8], &[u16]) {
        let layer = self.layer(layer);
        let values = &self.values[shape.head_at(layer, kind, head)..][..shape.head_len()];
        (values, &self.scales[shape.scales_at(layer, kind, head)..][..shape.block_tokens])
    }

    fn bytes(&self) -> usize {
        self.values.capacity() + self.scales.capacity() * size_of::<u16>()
    }
}

/// Those of all blocks.
#[derive(Debug, Default)]
pub(super) struct Tails {
    /// By block; most have none.
    of: Vec<Option<Box<Tail>>>,
    /// Blocks that have one.
    open: Vec<usize>,
    /// Rooms for one layer and for all, for the next block that needs one.
    spare: [Vec<Tail>; 2],
}

impl Tails {
    /// For `blocks` blocks.
    pub fn new(blocks: usize) -> Self {
        Self { of: (0..blocks).map(|_| None).collect(), ..Self::default() }
    }

    /// Makes room for what is written next.
    ///
    /// # Panics
    /// When a block goes on whose beginning is not here: what was read then would be no keys.
    pub fn open(&mut self, parts: &[Part], block_tokens: usize) {
        for part in parts {
            let is_passing = part.first == 0 && part.slots == block_tokens;
            let fits = |tail: &Tail| tail.is_passing == is_passing;
            if part.first == 0 && !self.of[part.block].as_deref().is_some_and(fits) {
                self.close(part.block);
                let mut tail = self.spare[usize::from(!is_passing)].pop().unwrap_or_default();
                tail.is_passing = is_passing;
                self.of[part.block] = Some(Box::new(tail));
                self.open.push(part.block);
            }
            let tail = self.of[part.block].as_deref_mut().filter(|tail| fits(tail));
            assert!(tail.is_some(), "block {} goes on and has no beginning", part.block);
            if let Some(tail) = tail {
                tail.is_full = part.first + part.slots == block_tokens;
            }
        }
    }

    /// The rooms, by block.
    pub fn all(&mut self) -> &mut [Option<Box<Tail>>] {
        &mut self.of
    }

    /// That of a block.
    pub fn get(&self, block: usize) -> Option<&Tail> {
        self.of[block].as_deref()
    }

    /// A step is over: nobody will read full blocks at eight bits any more.
    pub fn settle(&mut self) {
        let is_full = |tail: &Tail| tail.is_passing || tail.is_full;
        let full: Vec<usize> =
            self.open.iter().copied().filter(|block| self.get(*block).is_some_and(is_full)).collect();
        full.into_iter().for_each(|block| self.close(block));
    }

    /// Takes the room of a block back.
    pub fn close(&mut self, block: usize) {
        if let Some(mut tail) = self.of[block].take() {
            tail.is_full = false;
            self.open.retain(|open| *open != block);
            self.spare[usize::from(!tail.is_passing)].push(*tail);
        }
    }

    /// Bytes of all rooms, those that wait for a block included.
    pub fn bytes(&self) -> usize {
        let open = self.open.iter().filter_map(|block| self.get(*block));
        open.chain(self.spare.iter().flatten()).map(Tail::bytes).sum()
    }
}
