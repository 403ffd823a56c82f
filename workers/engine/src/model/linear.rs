//! Linear layers, dense or quantised, and the embedding table.
//!
//! A row of the result never depends on which other rows are computed with it: dense products and
//! packed quantised ones are summed in a fixed order, and the library's products, for formats and
//! machines without kernels of our own, are called with row counts for which it takes one kernel.
//! Called by `decoder`.

use std::ops::Range;
use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{Device, Module, Tensor};
use half::f16;

use super::kernel;
use super::quantised::{Activations, COLUMN_TILE, Packed, ROW_TILE};
use super::threads::Threads;

/// The library's products switch kernels at two and at thirty-two rows; calls stay between.
const QUANTISED_ROWS_MIN: usize = 2;
const QUANTISED_ROWS_MAX: usize = 31;

/// Rows from which threads share rows instead of outputs: each then writes whole rows, and
/// reading the weights once per thread costs little beside the arithmetic.
const SHARE_ROWS_MIN: usize = 64;

/// Parts per thread, so that a thread that is held up leaves work to the others.
const PARTS_PER_THREAD: usize = 4;

/// `y = x · Wᵀ + b`, `W` of shape `[outputs, inputs]`.
pub(crate) struct Linear {
    weight: Weight,
    bias: Option<Vec<f32>>,
    inputs: usize,
    outputs: usize,
}

enum Weight {
    Dense(Arc<Vec<f32>>),
    Packed(Arc<Packed>),
    Library { product: QMatMul, dtype: GgmlDType },
}

impl Linear {
    /// A dense layer; `weight` is row-major `[outputs, inputs]`.
    pub fn dense(weight: Arc<Vec<f32>>, bias: Option<Vec<f32>>, inputs: usize) -> Self {
        let outputs = weight.len() / inputs.max(1);
        Self { weight: Weight::Dense(weight), bias, inputs, outputs }
    }

    /// A quantised layer of shape `[outputs, inputs]`, packed where there is a kernel for it.
    ///
    /// # Errors
    /// When the library refuses the tensor.
    pub fn quantised(tensor: Arc<QTensor>, bias: Option<Vec<f32>>) -> candle_core::Result<Self> {
        let Some(packed) = Packed::new(&tensor)? else { return Self::library(tensor, bias) };
        let (outputs, inputs) = tensor.shape().dims2()?;
        Ok(Self { weight: Weight::Packed(Arc::new(packed)), bias, inputs, outputs })
    }

    /// A layer of packed weights.
    #[cfg(test)]
    pub fn packed(packed: Packed, outputs: usize, inputs: usize) -> Self {
        Self { weight: Weight::Packed(Arc::new(packed)), bias: None, inputs, outputs }
    }

    /// A quantised layer that the library computes.
    ///
    /// # Errors
    /// When the library refuses the tensor.
    pub fn library(tensor: Arc<QTensor>, bias: Option<Vec<f32>>) -> candle_core::Result<Self> {
        let (outputs, inputs) = tensor.shape().dims2()?;
        let dtype = tensor.dtype();
        let weight = Weight::Library { product: QMatMul::from_arc(tensor)?, dtype };
        Ok(Self { weight, bias, inputs, outputs })
    }

    /// Length of an output row.
    pub fn outputs(&self) -> usize {
        self.outputs
    }
}

/// Writes `[rows, outputs]` into each `y` for one `x` of shape `[rows, inputs]`, which is quantised
/// once for all of them; `activations` is scratch.
///
/// # Errors
/// Only from the library's products.
pub(crate) fn forward_all<const N: usize>(
    x: &[f32],
    mut layers: [(&Linear, &mut Vec<f32>); N],
    activations: &mut Activations,
    threads: &Threads,
) -> candle_core::Result<()> {
    activations.clear();
    for (layer, y) in &mut layers {
        let rows = x.len() / layer.inputs;
        // Every product writes all of it.
        y.resize(rows * layer.outputs, 0.0);
        match &layer.weight {
            Weight::Dense(weight) => dense_product(x, weight, layer.inputs, y, threads),
            Weight::Packed(packed) => packed.quantise(x, activations, threads),
            Weight::Library { product, dtype } => {
                let run = || library_product(x, product, *dtype, layer.inputs, layer.outputs, y);
                threads.library(run)?;
            }
        }
    }
    packed_products(x, &mut layers, activations, threads);
    for (layer, y) in layers {
        if let Some(bias) = &layer.bias {
            for row in y.chunks_exact_mut(layer.outputs) {
                kernel::add(row, bias);
            }
        }
    }
    Ok(())
}

/// A part of one layer's product that one thread computes.
struct Part<'a> {
    packed: &'a Packed,
    rows: Range<usize>,
    columns: Range<usize>,
    y: Vec<&'a mut [f32]>,
}

fn packed_products(
    x: &[f32],
    layers: &mut [(&Linear, &mut Vec<f32>)],
    activations: &Activations,
    threads: &Threads,
) {
    let work: usize = layers.iter().map(|(layer, _)| x.len() * layer.outputs).sum();
    let parts = match threads.share(work) {
        1 => 1,
        count => count * PARTS_PER_THREAD,
    };
    let mut items = Vec::new();
    for (layer, y) in layers {
        let Weight::Packed(packed) = &layer.weight else { continue };
        let (rows, outputs) = (x.len() / layer.inputs, layer.outputs);
        if rows >= SHARE_ROWS_MIN {
            let count = rows.div_ceil(parts).next_multiple_of(ROW_TILE);
            for (part, y) in y.chunks_mut(count * outputs).enumerate() {
                let rows = part * count..(part * count + y.len() / outputs);
                items.push(Part { packed, rows, columns: 0..outputs, y: y.chunks_mut(outputs).collect() });
            }
            continue;
        }
        let width = outputs.div_ceil(parts).next_multiple_of(COLUMN_TILE);
        let first = items.len();
        for start in (0..outputs).step_by(width) {
            let columns = start..(start + width).min(outputs);
            items.push(Part { packed, rows: 0..rows, columns, y: Vec::with_capacity(rows) });
        }
        for row in y.chunks_mut(outputs) {
            for (part, columns) in items[first..].iter_mut().zip(row.chunks_mut(width)) {
                part.y.push(columns);
            }
        }
    }
    threads.for_each(items, |mut part| {
        part.packed.product(activations, part.rows.clone(), part.columns.clone(), &mut part.y);
    });
}

/// Splits the outputs among threads; each thread reads all rows and its own part of the weights.
fn dense_product(x: &[f32], weight: &[f32], inputs: usize, y: &mut [f32], threads: &Threads) {
    let (rows, outputs) = (x.len() / inputs, weight.len() / inputs);
    let parts = threads.share(rows * weight.len());
    if parts == 1 {
        return kernel::matmul_t(x, weight, inputs, y);
    }
    let width = outputs.div_ceil(parts).next_multiple_of(8);
    if rows == 1 {
        let items: Vec<_> = weight.chunks(width * inputs).zip(y.chunks_mut(width)).collect();
        return threads.for_each(items, |(w, y)| kernel::matmul_t(x, w, inputs, y));
    }
    // Columns of `y` are not contiguous, so each thread fills its own slab.
    let mut slabs = vec![0.0; rows * outputs];
    let items: Vec<_> = weight.chunks(width * inputs).zip(slabs.chunks_mut(width * rows)).collect();
    threads.for_each(items, |(w, slab)| kernel::matmul_t(x, w, inputs, slab));
    for (part, slab) in slabs.chunks(width * rows).enumerate() {
        let columns = slab.len() / rows;
        for (row, values) in slab.chunks_exact(columns).enumerate() {
            let start = row * outputs + part * width;
            y[start..start + columns].copy_from_slice(values);
        }
    }
}

fn library_product(
    x: &[f32],
    product: &QMatMul,
    dtype: GgmlDType,
    inputs: usize,
    outputs: usize,
    y: &mut [f32],
) -> candle_core::Result<()> {
    let switches = matches!(dtype, GgmlDType::Q4K | GgmlDType::Q5K | GgmlDType::Q6K | GgmlDType::Q8_0);
    for (x, y) in x.chunks(QUANTISED_ROWS_MAX * inputs).zip(y.chunks_mut(QUANTISED_ROWS_MAX * outputs)) {
        let rows = x.len() / inputs;
        let mut input = x.to_vec();
        let padded = if switches { rows.max(QUANTISED_ROWS_MIN) } else { rows };
        input.resize(padded * inputs, 0.0);
        let output = product.forward(&Tensor::from_vec(input, (padded, inputs), &Device::Cpu)?)?;
        y.copy_from_slice(&output.flatten_all()?.to_vec1::<f32>()?[..rows * outputs]);
    }
    Ok(())
}

/// Token embeddings, `[vocab, hidden]`.
pub(crate) enum Embedding {
    /// Shared with the output layer when tied.
    F32(Arc<Vec<f32>>),
    /// As quantised as in the file, shared with the output layer when tied.
    Packed(Arc<Packed>),
    /// Half the memory of `f32`, for formats that are not packed.
    F16(Vec<f16>),
}

impl Embedding {
    /// The table of a quantised tensor `[vocab, hidden]`, and the output layer where it is tied.
    ///
    /// # Errors
    /// When the library refuses the tensor.
    pub fn quantised(tensor: QTensor, tied: bool) -> candle_core::Result<(Self, Option<Linear>)> {
        if let Some(packed) = Packed::new(&tensor)? {
            let (outputs, inputs) = tensor.shape().dims2()?;
            let packed = Arc::new(packed);
            let weight = Weight::Packed(packed.clone());
            let output = tied.then_some(Linear { weight, bias: None, inputs, outputs });
            return Ok((Self::Packed(packed), output));
        }
        let table = tensor.dequantize(&Device::Cpu)?.flatten_all()?.to_vec1::<f32>()?;
        let table = table.into_iter().map(f16::from_f32).collect();
        let output = tied.then(|| Linear::quantised(Arc::new(tensor), None)).transpose()?;
        Ok((Self::F16(table), output))
    }

    /// Appends the row of `token` to `out`. The caller has checked that `token` is in range.
    pub fn append(&self, token: u32, hidden: usize, out: &mut Vec<f32>) {
        let range = token as usize * hidden..(token as usize + 1) * hidden;
        match self {
            Self::F32(table) => out.extend_from_slice(&table[range]),
            Self::Packed(table) => table.append_row(token as usize, out),
            Self::F16(table) => out.extend(table[range].iter().map(|v| v.to_f32())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wave(len: usize, step: f32) -> Vec<f32> {
        (0..len).map(|i| (i as f32 * step).sin()).collect()
    }

    fn forward(layer: &Linear, x: &[f32], threads: &Threads) -> Vec<f32> {
        let mut y = Vec::new();
        forward_all(x, [(layer, &mut y)], &mut Activations::default(), threads).unwrap();
        y
    }

    #[test]
    fn thread_count_does_not_change_a_bit() {
        let (one, four) = (Threads::new(1), Threads::new(4));
        for rows in [1, 2, 70] {
            let (inputs, outputs) = (512, 6011);
            let layer =
                Linear::dense(Arc::new(wave(inputs * outputs, 0.013)), Some(wave(outputs, 0.5)), inputs);
            let x = wave(rows * inputs, 0.7);
            assert_eq!(forward(&layer, &x, &one), forward(&layer, &x, &four));
        }
    }

    #[test]
    fn quantised_rows_do_not_depend_on_their_batch() {
        let (inputs, outputs, rows) = (512, 64, 40);
        let threads = Threads::new(1);
        let weight =
            Tensor::from_vec(wave(inputs * outputs, 0.013), (outputs, inputs), &Device::Cpu).unwrap();
        for dtype in [GgmlDType::Q8_0, GgmlDType::Q4_0, GgmlDType::Q4K, GgmlDType::Q5K, GgmlDType::Q6K] {
            let tensor = Arc::new(QTensor::quantize(&weight, dtype).unwrap());
            for layer in [Linear::quantised(tensor.clone(), None), Linear::library(tensor, None)] {
                let layer = layer.unwrap();
                let x = wave(rows * inputs, 0.7);
                let whole = forward(&layer, &x, &threads);
                for row in [0, 7, 33, 39] {
                    let one = forward(&layer, &x[row * inputs..(row + 1) * inputs], &threads);
                    assert_eq!(one, whole[row * outputs..(row + 1) * outputs], "{dtype:?} row {row}");
                }
            }
        }
    }
}
