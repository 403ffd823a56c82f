//! One step: which kernels run, in which order, on which memory.
//!
//! The residual, projections and logits are `f32`; what a matrix is multiplied with is half precision. Called by `runner`.

use super::buffers::{Buffers, Grown};
use super::device::{Arg, Device, Launch};
use super::kernel::{self, BEST_BYTES, BEST_WORDS, CANDIDATES, CANDIDATES_BYTES, FILL, FILL_ROWS, Kernel};
use super::kernel::{NORM_BYTES, Product, RANGES};
use super::model::{Matrix, Model};
use super::step::{Array, Step};
use crate::kv::KvShape;
use crate::model::config::ModelConfig;
use crate::model::rope::RopePairs;

/// Memory for what is found of parts of rows, at most; more are summed by one block each.
pub(super) const FOUND_BYTES_MAX: usize = 256 << 20;

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
    /// Computes the step. Logits `[picks, vocab]` stay on the device, and what is best of them where anybody wants no more.
    pub fn run(mut self) -> Result<(), String> {
        self.reserve()?;
        self.embed()?;
        for layer in 0..self.model.layers.len() {
            self.attention(layer)?;
            self.mlp(layer)?;
        }
        if self.step.picks > 0 {
            self.logits()?;
        }
        self.model.device.submit(self.step.repeats)
    }

    fn reserve(&mut self) -> Result<(), String> {
        let step = self.step;
        let widths = Widths::new(&self.model.config);
        let c = &self.model.config;
        // Products read whole tiles of rows; what is behind the last row counts for nothing.
        let rows = step.rows.next_multiple_of(FILL_ROWS);
        let picks = step.picks.next_multiple_of(FILL_ROWS);
        let halves = |width: usize| 2 * width.next_multiple_of(FILL);
        let products = [(step.rows, widths.qkv), (step.rows, widths.hidden), (step.picks, widths.vocab)];
        let split = products.into_iter().filter(|(rows, outputs)| Product::of(*rows, *outputs).is_split());
        let split = split.map(|(rows, outputs)| RANGES * rows * outputs * 4).max().unwrap_or(0);
        let b = &mut *self.buffers;
        let device = &mut self.model.device;
        let bytes = step.bytes();
        b.step.reserve(device, bytes.len())?;
        b.x.reserve(device, rows * widths.hidden * 4)?;
        b.normed.reserve(device, rows.max(picks) * halves(widths.hidden))?;
        b.qkv.reserve(device, rows * widths.qkv * 4)?;
        b.q.reserve(device, rows * widths.q * 2)?;
        b.attended.reserve(device, rows * halves(widths.q))?;
        b.inner.reserve(device, rows * halves(widths.inner))?;
        b.split.reserve(device, split)?;
        b.logits.reserve(device, step.picks * widths.vocab * 4)?;
        let found = step.folds * c.heads * step.parts * (c.head_dim + 2) * 4;
        b.found.reserve(device, found)?;
        if let Some(parts) = self.best_parts() {
            let b = &mut *self.buffers;
            let device = &mut self.model.device;
            b.parts.reserve(device, step.picks * parts * CANDIDATES * 8)?;
            b.mass.reserve(device, step.picks * parts * 8)?;
            b.best.reserve(device, step.picks * BEST_WORDS * 4)?;
        }
        match &mut self.buffers.step.buffer {
            Some(to) => self.model.device.write(to, 0, &bytes),
            None => Err("no memory for a step".into()),
        }
    }

    /// Parts of the vocabulary, when anybody wants the best alone and it is not too large.
    fn best_parts(&self) -> Option<usize> {
        kernel::parts(self.model.config.vocab).filter(|_| self.step.best.contains(&true))
    }

    fn embed(&mut self) -> Result<(), String> {
        let Model { device, embedding, config, .. } = &mut *self.model;
        let args = [
            Arg::start(&embedding.weight),
            Arg::At(self.buffers.step.get()?, self.step.at(Array::Tokens)),
            self.buffers.x.start()?,
            Arg::U32(config.hidden),
            Arg::U32(embedding.inputs),
        ];
        launch(device, Kernel::Embed, [self.step.rows, 1, 1], 0, &args)
    }

    fn attention(&mut self, index: usize) -> Result<(), String> {
        self.project(index)?;
        self.attend(index)?;
        let Model { device, layers, .. } = &mut *self.model;
        let (b, rows) = (&*self.buffers, self.step.rows);
        product(device, &layers[index].o, &b.attended, &b.x, &b.split, rows, true)
    }

    /// Queries into their buffer, keys and values into the pool.
    fn project(&mut self, index: usize) -> Result<(), String> {
        let Model { device, config, layers, frequencies, .. } = &mut *self.model;
        let (b, step, layer) = (&*self.buffers, self.step, &layers[index]);
        norm(device, config, &layer.attn_norm, b.x.get()?, None, b.normed.get()?, step.rows)?;
        product(device, &layer.qkv, &b.normed, &b.qkv, &b.split, step.rows, false)?;
        let steps = b.step.get()?;
        let args = [
            b.qkv.start()?,
            Arg::At(steps, step.at(Array::Positions)),
            Arg::At(steps, step.at(Array::Slots)),
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

    fn attend(&mut self, index: usize) -> Result<(), String> {
        let Model { device, config, .. } = &mut *self.model;
        let (b, step) = (&*self.buffers, self.step);
        let (steps, found, attended) = (b.step.get()?, b.found.get()?, b.attended.get()?);
        let pitch = Widths::new(config).q.next_multiple_of(FILL);
        let kernels = kernel::attend(config.head_dim);
        for ((kernel, shared_bytes), (tiles, array)) in
            kernels.into_iter().zip(step.tiles.into_iter().zip([Array::Tiles, Array::TilesWide]))
        {
            if tiles == 0 {
                continue;
            }
            let args = [
                b.q.start()?,
                Arg::start(self.pool),
                Arg::At(steps, step.at(Array::Tables)),
                Arg::At(steps, step.at(array)),
                Arg::At(steps, step.at(Array::Members)),
                Arg::At(steps, step.at(Array::Positions)),
                Arg::start(attended),
                Arg::start(found),
                Arg::U32(config.heads),
                Arg::U32(config.kv_heads),
                Arg::U32(config.head_dim),
                Arg::U32(index),
                Arg::U32(config.layers),
                Arg::U32(self.shape.block_tokens),
                Arg::U32(step.parts),
                Arg::U32(pitch),
                Arg::F32(1.0 / (config.head_dim as f32).sqrt()),
            ];
            launch(device, kernel, [tiles, config.kv_heads, 1], shared_bytes, &args)?;
        }
        if step.folds == 0 {
            return Ok(());
        }
        let args = [
            Arg::start(found),
            Arg::At(steps, step.at(Array::Folds)),
            Arg::At(steps, step.at(Array::Positions)),
            Arg::start(attended),
            Arg::U32(config.heads),
            Arg::U32(config.head_dim),
            Arg::U32(step.parts),
            Arg::U32(pitch),
        ];
        launch(device, Kernel::Fold, [step.folds, config.heads, 1], 0, &args)
    }

    fn mlp(&mut self, index: usize) -> Result<(), String> {
        let Model { device, config, layers, .. } = &mut *self.model;
        let (b, rows, layer) = (&*self.buffers, self.step.rows, &layers[index]);
        norm(device, config, &layer.mlp_norm, b.x.get()?, None, b.normed.get()?, rows)?;
        let matrix = &layer.gate_up;
        let product_of = Product::gated(rows, matrix.outputs);
        let args = [
            b.normed.start()?,
            Arg::start(&matrix.weight),
            Arg::maybe(matrix.bias.as_ref()),
            Arg::Null,
            b.inner.start()?,
            Arg::U32(rows),
            Arg::U32(matrix.outputs),
            Arg::U32(matrix.inputs),
            Arg::U32(0),
            Arg::U32(config.intermediate.next_multiple_of(FILL)),
        ];
        let blocks = config.intermediate.div_ceil(product_of.columns);
        let grid = [rows.div_ceil(product_of.rows), blocks, 1];
        launch(device, product_of.kernel, grid, product_of.shared_bytes, &args)?;
        product(device, &layer.down, &b.inner, &b.x, &b.split, rows, true)
    }

    fn logits(&mut self) -> Result<(), String> {
        let (picks, parts) = (self.step.picks, self.best_parts());
        let Model { device, config, final_norm, output, embedding, .. } = &mut *self.model;
        let b = &*self.buffers;
        let steps = b.step.get()?;
        let pick = Arg::At(steps, self.step.at(Array::Picks));
        norm(device, config, final_norm, b.x.get()?, Some(pick), b.normed.get()?, picks)?;
        let output = output.as_ref().unwrap_or(embedding);
        product(device, output, &b.normed, &b.logits, &b.split, picks, false)?;
        let Some(parts) = parts else { return Ok(()) };
        let coldness = || Arg::At(steps, self.step.at(Array::Coldness));
        let args = [b.logits.start()?, coldness(), b.parts.start()?, b.mass.start()?, Arg::U32(config.vocab)];
        launch(device, Kernel::Candidates, [parts, picks, 1], CANDIDATES_BYTES, &args)?;
        let args = [b.parts.start()?, b.mass.start()?, coldness(), b.best.start()?, Arg::U32(parts)];
        launch(device, Kernel::Best, [picks, 1, 1], BEST_BYTES, &args)
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
    launch(device, kernel::norm(rows), [rows, 1, 1], NORM_BYTES, &args)
}

/// `y = x · Wᵀ + b`, or that added to `y`. `split`: room for the sums of ranges, where they are added later.
fn product<D: Device>(
    device: &mut D,
    matrix: &Matrix<D::Buffer>,
    x: &Grown<D::Buffer>,
    y: &Grown<D::Buffer>,
    split: &Grown<D::Buffer>,
    rows: usize,
    add: bool,
) -> Result<(), String> {
    let product = Product::of(rows, matrix.outputs);
    let to = if product.is_split() { split } else { y };
    let args = [
        x.start()?,
        Arg::start(&matrix.weight),
        Arg::maybe(matrix.bias.as_ref()),
        to.start()?,
        Arg::Null,
        Arg::U32(rows),
        Arg::U32(matrix.outputs),
        Arg::U32(matrix.inputs),
        Arg::U32(usize::from(add)),
        Arg::U32(0),
    ];
    let ranges = if product.is_split() { RANGES } else { 1 };
    let grid = [rows.div_ceil(product.rows), matrix.outputs.div_ceil(product.columns), ranges];
    launch(device, product.kernel, grid, product.shared_bytes, &args)?;
    if !product.is_split() {
        return Ok(());
    }
    let args = [
        split.start()?,
        Arg::maybe(matrix.bias.as_ref()),
        y.start()?,
        Arg::U32(rows),
        Arg::U32(matrix.outputs),
        Arg::U32(usize::from(add)),
    ];
    let grid = [matrix.outputs.div_ceil(Kernel::Gather.threads()), rows, 1];
    launch(device, Kernel::Gather, grid, 0, &args)
}
