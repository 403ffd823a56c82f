//! One step: which kernels run, in which order, on which memory.
//!
//! The residual, projections and logits are `f32`; what a matrix is multiplied with is half precision. Buffers grow with the largest
//! step so far and are kept, so that decoding does not allocate. Called by `runner`.

use super::device::{Arg, Device, Launch};
use super::kernel::{CHUNK, FILL, Kernel, NORM_BYTES, Product, attend_bytes};
use super::model::{Matrix, Model};
use super::step::Step;
use crate::kv::KvShape;
use crate::model::config::ModelConfig;
use crate::model::rope::RopePairs;

/// Blocks of attention from which on the device is busy without cutting rows into chunks.
const BLOCKS_ENOUGH: usize = 256;

/// Memory for what the chunks of rows found, at most; more are folded by one block each.
const FOUND_BYTES_MAX: usize = 64 << 20;

/// Least size of a buffer: none is empty, for no device gives nothing.
const BUFFER_BYTES_MIN: usize = 256;

/// Memory that lives from step to step.
pub(super) struct Buffers<B> {
    step: Grown<B>,
    x: Grown<B>,
    normed: Grown<B>,
    qkv: Grown<B>,
    q: Grown<B>,
    attended: Grown<B>,
    found: Grown<B>,
    gate_up: Grown<B>,
    inner: Grown<B>,
    logits: Grown<B>,
}

impl<B> Default for Buffers<B> {
    fn default() -> Self {
        Self {
            step: Grown::default(),
            x: Grown::default(),
            normed: Grown::default(),
            qkv: Grown::default(),
            q: Grown::default(),
            attended: Grown::default(),
            found: Grown::default(),
            gate_up: Grown::default(),
            inner: Grown::default(),
            logits: Grown::default(),
        }
    }
}

/// A buffer that grows.
struct Grown<B> {
    buffer: Option<B>,
    bytes: usize,
}

impl<B> Default for Grown<B> {
    fn default() -> Self {
        Self { buffer: None, bytes: 0 }
    }
}

impl<B> Grown<B> {
    fn reserve<D: Device<Buffer = B>>(&mut self, device: &mut D, bytes: usize) -> Result<(), String> {
        if bytes > self.bytes || self.buffer.is_none() {
            // By half at least, or a sequence that grows would ask for memory at every block.
            let bytes = bytes.max(self.bytes + self.bytes / 2).max(BUFFER_BYTES_MIN);
            // The old one first, or both would be needed at once.
            (self.buffer, self.bytes) = (None, 0);
            self.buffer = Some(device.alloc(bytes)?);
            self.bytes = bytes;
        }
        Ok(())
    }

    fn get(&self) -> Result<&B, String> {
        self.buffer.as_ref().ok_or_else(|| "a buffer was not reserved".to_string())
    }

    fn start(&self) -> Result<Arg<'_, B>, String> {
        self.get().map(Arg::start)
    }
}

/// Sizes that follow from a configuration.
#[derive(Debug, Clone, Copy)]
struct Widths {
    hidden: usize,
    q: usize,
    qkv: usize,
    inner: usize,
    vocab: usize,
}

impl Widths {
    fn new(config: &ModelConfig) -> Self {
        let q = config.heads * config.head_dim;
        Self {
            hidden: config.hidden,
            q,
            qkv: q + 2 * config.kv_heads * config.head_dim,
            inner: config.intermediate,
            vocab: config.vocab,
        }
    }
}

/// A step under way.
pub(super) struct Forward<'a, D: Device> {
    pub model: &'a mut Model<D>,
    pub buffers: &'a mut Buffers<D::Buffer>,
    pub pool: &'a D::Buffer,
    pub shape: KvShape,
    pub step: &'a Step,
}

impl<D: Device> Forward<'_, D> {
    /// Logits `[picks, vocab]`.
    pub fn run(mut self) -> Result<Vec<f32>, String> {
        let parts = self.parts();
        self.reserve(parts)?;
        self.embed()?;
        for layer in 0..self.model.layers.len() {
            self.attention(layer, parts)?;
            self.mlp(layer)?;
        }
        let logits = self.logits()?;
        // Only now is it known that nothing went wrong on the way.
        self.model.device.wait()?;
        Ok(logits)
    }

    /// Blocks among which the keys of a row are shared out; one when there are rows enough.
    fn parts(&self) -> usize {
        let c = &self.model.config;
        let chunks = self.step.longest.div_ceil(CHUNK);
        let found = self.step.rows * c.heads * chunks * (c.head_dim + 2) * size_of::<f32>();
        if self.step.tiles * c.kv_heads >= BLOCKS_ENOUGH || found > FOUND_BYTES_MAX { 1 } else { chunks }
    }

    fn reserve(&mut self, parts: usize) -> Result<(), String> {
        let widths = Widths::new(&self.model.config);
        let c = &self.model.config;
        // Products read whole tiles of rows; what is behind the last row counts for nothing.
        let rows = self.step.rows.next_multiple_of(FILL);
        let picks = self.step.picks.next_multiple_of(FILL);
        let halves = |width: usize| 2 * width.next_multiple_of(FILL);
        let b = &mut *self.buffers;
        let device = &mut self.model.device;
        let bytes = self.step.bytes();
        b.step.reserve(device, bytes.len())?;
        b.x.reserve(device, rows * widths.hidden * 4)?;
        b.normed.reserve(device, rows.max(picks) * halves(widths.hidden))?;
        b.qkv.reserve(device, rows * widths.qkv * 4)?;
        b.q.reserve(device, rows * widths.q * 2)?;
        b.attended.reserve(device, rows * halves(widths.q))?;
        b.gate_up.reserve(device, rows * 2 * widths.inner * 4)?;
        b.inner.reserve(device, rows * halves(widths.inner))?;
        b.logits.reserve(device, self.step.picks * widths.vocab * 4)?;
        let found = if parts > 1 { self.step.rows * c.heads * parts * (c.head_dim + 2) * 4 } else { 0 };
        b.found.reserve(device, found)?;
        match &mut b.step.buffer {
            Some(step) => device.write(step, 0, &bytes),
            None => Err("no memory for a step".into()),
        }
    }

    fn embed(&mut self) -> Result<(), String> {
        let Model { device, embedding, config, .. } = &mut *self.model;
        let args = [
            Arg::start(&embedding.weight),
            self.buffers.step.start()?,
            self.buffers.x.start()?,
            Arg::U32(config.hidden),
            Arg::U32(embedding.inputs),
        ];
        launch(device, Kernel::Embed, [self.step.rows, 1, 1], 0, &args)
    }

    fn attention(&mut self, index: usize, parts: usize) -> Result<(), String> {
        self.project(index)?;
        self.attend(index, parts)?;
        let Model { device, layers, .. } = &mut *self.model;
        let (attended, x) = (self.buffers.attended.get()?, self.buffers.x.get()?);
        product(device, &layers[index].o, attended, x, self.step.rows, true)
    }

    /// Queries into their buffer, keys and values into the pool.
    fn project(&mut self, index: usize) -> Result<(), String> {
        let Model { device, config, layers, frequencies, .. } = &mut *self.model;
        let (b, step, layer) = (&*self.buffers, self.step, &layers[index]);
        norm(device, config, &layer.attn_norm, b.x.get()?, None, b.normed.get()?, step.rows)?;
        product(device, &layer.qkv, b.normed.get()?, b.qkv.get()?, step.rows, false)?;
        let steps = b.step.get()?;
        let args = [
            b.qkv.start()?,
            Arg::At(steps, step.positions_at()),
            Arg::At(steps, step.slots_at()),
            Arg::start(frequencies),
            Arg::maybe(layer.q_norm.as_ref()),
            Arg::maybe(layer.k_norm.as_ref()),
            b.q.start()?,
            Arg::start(self.pool),
            Arg::U32(config.heads),
            Arg::U32(config.kv_heads),
            Arg::U32(config.head_dim),
            Arg::U32(index),
            Arg::U32(config.layers),
            Arg::U32(self.shape.block_tokens),
            Arg::U32(usize::from(config.rope_pairs == RopePairs::Adjacent)),
            Arg::F32(config.rms_eps),
        ];
        let grid = [step.rows, config.heads + 2 * config.kv_heads, 1];
        launch(device, Kernel::Rotate, grid, 0, &args)
    }

    fn attend(&mut self, index: usize, parts: usize) -> Result<(), String> {
        let Model { device, config, .. } = &mut *self.model;
        let (b, step) = (&*self.buffers, self.step);
        let (steps, found, attended) = (b.step.get()?, b.found.get()?, b.attended.get()?);
        let pitch = Widths::new(config).q.next_multiple_of(FILL);
        let args = [
            b.q.start()?,
            Arg::start(self.pool),
            Arg::At(steps, step.tables_at()),
            Arg::At(steps, step.tiles_at()),
            Arg::At(steps, step.positions_at()),
            Arg::start(attended),
            Arg::start(found),
            Arg::U32(config.heads),
            Arg::U32(config.kv_heads),
            Arg::U32(config.head_dim),
            Arg::U32(index),
            Arg::U32(config.layers),
            Arg::U32(self.shape.block_tokens),
            Arg::U32(pitch),
            Arg::F32(1.0 / (config.head_dim as f32).sqrt()),
        ];
        let grid = [step.tiles, config.kv_heads, parts];
        launch(device, Kernel::Attend, grid, attend_bytes(config.head_dim), &args)?;
        if parts == 1 {
            return Ok(());
        }
        let args = [
            Arg::start(found),
            Arg::At(steps, step.positions_at()),
            Arg::start(attended),
            Arg::U32(config.heads),
            Arg::U32(config.head_dim),
            Arg::U32(parts),
            Arg::U32(pitch),
        ];
        launch(device, Kernel::Fold, [step.rows, config.heads, 1], 0, &args)
    }

    fn mlp(&mut self, index: usize) -> Result<(), String> {
        let Model { device, config, layers, .. } = &mut *self.model;
        let (b, rows, layer) = (&*self.buffers, self.step.rows, &layers[index]);
        norm(device, config, &layer.mlp_norm, b.x.get()?, None, b.normed.get()?, rows)?;
        product(device, &layer.gate_up, b.normed.get()?, b.gate_up.get()?, rows, false)?;
        let inner = config.intermediate;
        let pitch = inner.next_multiple_of(FILL);
        let args = [b.gate_up.start()?, b.inner.start()?, Arg::U32(inner), Arg::U32(pitch)];
        let grid = [rows, inner.div_ceil(Kernel::Swiglu.threads()), 1];
        launch(device, Kernel::Swiglu, grid, 0, &args)?;
        product(device, &layer.down, b.inner.get()?, b.x.get()?, rows, true)
    }

    fn logits(&mut self) -> Result<Vec<f32>, String> {
        let picks = self.step.picks;
        if picks == 0 {
            return Ok(Vec::new());
        }
        let Model { device, config, final_norm, output, embedding, .. } = &mut *self.model;
        let b = &*self.buffers;
        let pick = Arg::At(b.step.get()?, self.step.picks_at());
        norm(device, config, final_norm, b.x.get()?, Some(pick), b.normed.get()?, picks)?;
        let output = output.as_ref().unwrap_or(embedding);
        product(device, output, b.normed.get()?, b.logits.get()?, picks, false)?;
        let mut bytes = vec![0; picks * config.vocab * 4];
        device.read(b.logits.get()?, 0, &mut bytes)?;
        Ok(bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    }
}

fn launch<D: Device>(
    device: &mut D,
    kernel: Kernel,
    grid: [usize; 3],
    shared_bytes: usize,
    args: &[Arg<'_, D::Buffer>],
) -> Result<(), String> {
    device.launch(Launch { kernel, grid, shared_bytes }, args)
}

/// `to`, half precision, from `rows` rows of `x`, or from those that `pick` names.
fn norm<D: Device>(
    device: &mut D,
    config: &ModelConfig,
    weight: &D::Buffer,
    x: &D::Buffer,
    pick: Option<Arg<'_, D::Buffer>>,
    to: &D::Buffer,
    rows: usize,
) -> Result<(), String> {
    let args = [
        Arg::start(x),
        Arg::start(weight),
        pick.unwrap_or(Arg::Null),
        Arg::start(to),
        Arg::U32(config.hidden),
        Arg::U32(config.hidden.next_multiple_of(FILL)),
        Arg::F32(config.rms_eps),
    ];
    launch(device, Kernel::RmsNorm, [rows, 1, 1], NORM_BYTES, &args)
}

/// `y = x · Wᵀ + b`, or that added to `y`.
fn product<D: Device>(
    device: &mut D,
    matrix: &Matrix<D::Buffer>,
    x: &D::Buffer,
    y: &D::Buffer,
    rows: usize,
    add: bool,
) -> Result<(), String> {
    let product = Product::of(rows);
    let args = [
        Arg::start(x),
        Arg::start(&matrix.weight),
        Arg::maybe(matrix.bias.as_ref()),
        Arg::start(y),
        Arg::U32(rows),
        Arg::U32(matrix.outputs),
        Arg::U32(matrix.inputs),
        Arg::U32(usize::from(add)),
    ];
    let grid = [matrix.outputs.div_ceil(product.columns), rows.div_ceil(product.rows), 1];
    launch(device, product.kernel, grid, product.shared_bytes, &args)
}
