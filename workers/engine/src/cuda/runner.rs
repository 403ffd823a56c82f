//! The runner of the engine on a device: weights, the pool of blocks, steps.
//!
//! A block lies in the pool in one piece, for each layer keys `[kv_heads, block_tokens, head_dim]` and then values `[kv_heads, head_dim,
//! block_tokens]`, at half precision: values by columns, as the kernels of attention want them. `export` hands both out as the CPU has
//! them. The whole pool is allocated at the start.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::buffers::Buffers;
use super::device::Device;
use super::forward::{FOUND_BYTES_MAX, Forward};
use super::kernel::{self, BEST_WORDS, VECTORS, VECTORS_WIDE};
use super::model::Model;
use super::step::{Bounds, Step};
use super::tiles::Cut;
use crate::kv::KvShape;
use crate::kv::pool::BlockId;
use crate::kv::precision::KvPrecision;
use crate::model::decoder::Span;
use crate::open::OpenError;
use crate::runner::{Best, Picked, Runner};

/// The model on a device.
pub(crate) struct DeviceRunner<D: Device> {
    model: Model<D>,
    buffers: Buffers<D::Buffer>,
    pool: D::Buffer,
    shape: KvShape,
    /// Which blocks were written.
    written: Vec<bool>,
    /// Rows of logits that the last step left on the device.
    picks: usize,
}

impl<D: Device> DeviceRunner<D> {
    /// Room for `blocks` blocks.
    ///
    /// # Errors
    /// When the device has too little memory.
    pub fn new(mut model: Model<D>, shape: KvShape, blocks: usize) -> Result<Self, OpenError> {
        // One more, which takes what fills steps up.
        let bytes = (blocks + 1) * shape.block_bytes(KvPrecision::F16);
        let pool = model.device.alloc(bytes).map_err(|reason| {
            let mib = bytes >> 20;
            OpenError::Setup(format!("{mib} MiB for keys and values on the device: {reason}"))
        })?;
        Ok(Self { model, buffers: Buffers::default(), pool, shape, written: vec![false; blocks], picks: 0 })
    }

    fn bounds(&self) -> Bounds {
        let config = self.model.config();
        let group = config.heads / config.kv_heads;
        Bounds {
            vocab: config.vocab,
            blocks: self.written.len(),
            cut: Cut {
                block_tokens: self.shape.block_tokens,
                tile_rows: VECTORS / group,
                wide_rows: VECTORS_WIDE / group,
                found_max: FOUND_BYTES_MAX / (config.heads * (config.head_dim + 2) * size_of::<f32>()),
            },
        }
    }

    /// Computes a step; logits stay on the device. Says of each row whether its best are enough.
    fn compute(&mut self, spans: &[Span]) -> Result<Vec<bool>, String> {
        let step = Step::new(spans, self.bounds())?;
        self.picks = 0;
        if step.rows == 0 {
            return Ok(Vec::new());
        }
        let Self { model, buffers, pool, shape, written, .. } = self;
        Forward { model, buffers, pool, shape: *shape, step: &step }.run()?;
        if step.best.is_empty() {
            // Nothing will be read that would tell whether all went well.
            model.device.wait()?;
        }
        for block in &step.written {
            written[block.0 as usize] = true;
        }
        self.picks = step.best.len();
        Ok(step.best)
    }

    /// Transposes the values of a block, planes `[rows, columns]`, and leaves its keys.
    fn turn_values(&self, block: &mut [f32], rows: usize, columns: usize) {
        let plane = rows * columns;
        for both in block.chunks_exact_mut(2 * self.shape.kv_heads * plane) {
            for values in both[self.shape.kv_heads * plane..].chunks_exact_mut(plane) {
                let before = values.to_vec();
                for (at, value) in values.iter_mut().enumerate() {
                    *value = before[at % rows * columns + at / rows];
                }
            }
        }
    }

    fn block_at(&self, block: BlockId) -> usize {
        block.0 as usize * self.shape.block_bytes(KvPrecision::F16)
    }

    /// The device, for measurements and tests.
    #[cfg(test)]
    pub fn device(&mut self) -> &mut D {
        &mut self.model.device
    }
}

impl<D: Device> Runner for DeviceRunner<D> {
    fn run(&mut self, spans: &[Span]) -> Result<Vec<f32>, String> {
        let picks = self.compute(spans)?.len();
        let vocab = self.vocab();
        let mut logits = vec![0.0; picks * vocab];
        if picks > 0 {
            self.buffers.logits(&mut self.model.device, 0, vocab, &mut logits)?;
        }
        Ok(logits)
    }

    fn step(&mut self, spans: &[Span]) -> Result<Picked, String> {
        if kernel::parts(self.vocab()).is_none() {
            return self.run(spans).map(Picked::from);
        }
        let enough = self.compute(spans)?;
        let mut picked = Picked::default();
        let words = match enough.contains(&true) {
            true => self.buffers.best(&mut self.model.device, enough.len())?,
            false => Vec::new(),
        };
        for (pick, enough) in enough.into_iter().enumerate() {
            if enough {
                picked.best.push(Some(best(&words[pick * BEST_WORDS..][..BEST_WORDS], self.vocab())));
            } else {
                picked.best.push(None);
                picked.logits.extend(self.logits(pick)?);
            }
        }
        Ok(picked)
    }

    fn logits(&mut self, pick: usize) -> Result<Vec<f32>, String> {
        if pick >= self.picks {
            return Err(format!("the last step has no row {pick} of logits"));
        }
        let vocab = self.vocab();
        let mut logits = vec![0.0; vocab];
        self.buffers.logits(&mut self.model.device, pick, vocab, &mut logits)?;
        Ok(logits)
    }

    fn step_factor(&self) -> usize {
        16
    }

    fn vocab(&self) -> usize {
        self.model.config().vocab
    }

    fn kv_shape(&self) -> KvShape {
        self.shape
    }

    fn export(&mut self, block: BlockId, out: &mut Vec<f32>) {
        out.clear();
        if !self.written[block.0 as usize] {
            return;
        }
        let mut bytes = vec![0; self.shape.block_bytes(KvPrecision::F16)];
        let at = self.block_at(block);
        if let Err(error) = self.model.device.read(&self.pool, at, &mut bytes) {
            // Nothing is kept of it; the next step finds the same fault and says so to its requests.
            tracing::error!(%error, "a block could not be read from the device");
            return;
        }
        let halves = bytes.as_chunks::<2>().0.iter().map(|b| f16::from_le_bytes(*b).to_f32());
        out.extend(halves);
        let KvShape { head_dim, block_tokens, .. } = self.shape;
        self.turn_values(out, head_dim, block_tokens);
    }

    fn import(&mut self, block: BlockId, values: &[f32]) {
        let mut values = values.to_vec();
        let KvShape { head_dim, block_tokens, .. } = self.shape;
        self.turn_values(&mut values, block_tokens, head_dim);
        let mut halves = vec![f16::ZERO; values.len()];
        halves.convert_from_f32_slice(&values);
        let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
        let at = self.block_at(block);
        match self.model.device.write(&mut self.pool, at, &bytes) {
            Ok(()) => self.written[block.0 as usize] = true,
            Err(error) => tracing::error!(%error, "a block could not be copied to the device"),
        }
    }
}

/// As `bul_best` writes it: the mass, then pairs of logit and token.
fn best(words: &[u32], vocab: usize) -> Best {
    let (mass, pairs) =
        words.split_first().map_or((0.0, words), |(mass, pairs)| (f32::from_bits(*mass), pairs));
    let found = pairs.as_chunks::<2>().0.iter().filter(|pair| (pair[1] as usize) < vocab);
    let tokens: Vec<(f32, u32)> = found.map(|pair| (f32::from_bits(pair[0]), pair[1])).collect();
    Best { is_all: tokens.len() == vocab, mass, tokens }
}
