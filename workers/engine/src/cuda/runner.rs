//! The runner of the engine on a device: weights, the pool of blocks, steps.
//!
//! A block lies in the pool as `export` hands it out, for each layer keys and then values `[kv_heads, block_tokens, head_dim]`, at
//! half precision, so that saving and restoring it is one copy. The whole pool is allocated at the start.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::device::Device;
use super::forward::{Buffers, Forward};
use super::kernel::VECTORS;
use super::model::Model;
use super::step::{Bounds, Step};
use crate::kv::KvShape;
use crate::kv::pool::BlockId;
use crate::kv::precision::KvPrecision;
use crate::model::decoder::Span;
use crate::open::OpenError;
use crate::runner::Runner;

/// The model on a device.
pub(crate) struct DeviceRunner<D: Device> {
    model: Model<D>,
    buffers: Buffers<D::Buffer>,
    pool: D::Buffer,
    shape: KvShape,
    /// Which blocks were written.
    written: Vec<bool>,
}

impl<D: Device> DeviceRunner<D> {
    /// Room for `blocks` blocks.
    ///
    /// # Errors
    /// When the device has too little memory.
    pub fn new(mut model: Model<D>, shape: KvShape, blocks: usize) -> Result<Self, OpenError> {
        let bytes = blocks * shape.block_bytes(KvPrecision::F16);
        let pool = model.device.alloc(bytes).map_err(|reason| {
            let mib = bytes >> 20;
            OpenError::Setup(format!("{mib} MiB for keys and values on the device: {reason}"))
        })?;
        Ok(Self { model, buffers: Buffers::default(), pool, shape, written: vec![false; blocks] })
    }

    fn bounds(&self) -> Bounds {
        let config = self.model.config();
        Bounds {
            vocab: config.vocab,
            blocks: self.written.len(),
            block_tokens: self.shape.block_tokens,
            tile_rows: VECTORS / (config.heads / config.kv_heads),
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
        let step = Step::new(spans, self.bounds())?;
        if step.rows == 0 {
            return Ok(Vec::new());
        }
        let Self { model, buffers, pool, shape, written } = self;
        let logits = Forward { model, buffers, pool, shape: *shape, step: &step }.run()?;
        for block in &step.written {
            written[block.0 as usize] = true;
        }
        Ok(logits)
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
    }

    fn import(&mut self, block: BlockId, values: &[f32]) {
        let mut halves = vec![f16::ZERO; values.len()];
        halves.convert_from_f32_slice(values);
        let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
        let at = self.block_at(block);
        match self.model.device.write(&mut self.pool, at, &bytes) {
            Ok(()) => self.written[block.0 as usize] = true,
            Err(error) => tracing::error!(%error, "a block could not be copied to the device"),
        }
    }
}
