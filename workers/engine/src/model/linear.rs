//! Linear layers, dense or quantised, and the embedding table.
//!
//! A row of the result never depends on which other rows are computed with it: the dense product
//! is summed in a fixed order, and quantised products are called with row counts for which the
//! library takes one kernel. Called by `decoder`.

use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{Device, Module, Tensor};
use half::f16;

use super::kernel;
use super::threads::Threads;

/// Quantised products switch kernels at two and at thirty-two rows; calls stay between.
const QUANTISED_ROWS_MIN: usize = 2;
const QUANTISED_ROWS_MAX: usize = 31;

/// `y = x · Wᵀ + b`, `W` of shape `[outputs, inputs]`.
pub(crate) struct Linear {
    weight: Weight,
    bias: Option<Vec<f32>>,
    inputs: usize,
    outputs: usize,
}

enum Weight {
    Dense(Arc<Vec<f32>>),
    Quantised { product: QMatMul, dtype: GgmlDType },
}

impl Linear {
    /// A dense layer; `weight` is row-major `[outputs, inputs]`.
    pub fn dense(weight: Arc<Vec<f32>>, bias: Option<Vec<f32>>, inputs: usize) -> Self {
        let outputs = weight.len() / inputs.max(1);
        Self { weight: Weight::Dense(weight), bias, inputs, outputs }
    }

    /// A quantised layer of shape `[outputs, inputs]`.
    ///
    /// # Errors
    /// When the library refuses the tensor.
    pub fn quantised(tensor: Arc<QTensor>, bias: Option<Vec<f32>>) -> candle_core::Result<Self> {
        let (outputs, inputs) = tensor.shape().dims2()?;
        let dtype = tensor.dtype();
        let weight = Weight::Quantised { product: QMatMul::from_arc(tensor)?, dtype };
        Ok(Self { weight, bias, inputs, outputs })
    }

    /// Length of an output row.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Writes `[rows, outputs]` into `y` for `x` of shape `[rows, inputs]`.
    ///
    /// # Errors
    /// Only from the quantised product.
    pub fn forward(&self, x: &[f32], y: &mut Vec<f32>, threads: &Threads) -> candle_core::Result<()> {
        let rows = x.len() / self.inputs;
        y.clear();
        y.resize(rows * self.outputs, 0.0);
        match &self.weight {
            Weight::Dense(weight) => dense_product(x, weight, self.inputs, y, threads),
            Weight::Quantised { product, dtype } => {
                quantised_product(x, product, *dtype, self.inputs, self.outputs, y)?;
            }
        }
        if let Some(bias) = &self.bias {
            for row in y.chunks_exact_mut(self.outputs) {
                kernel::add(row, bias);
            }
        }
        Ok(())
    }
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

fn quantised_product(
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
    /// Half the memory; used where the file is quantised anyway.
    F16(Vec<f16>),
}

impl Embedding {
    /// Appends the row of `token` to `out`. The caller has checked that `token` is in range.
    pub fn append(&self, token: u32, hidden: usize, out: &mut Vec<f32>) {
        let range = token as usize * hidden..(token as usize + 1) * hidden;
        match self {
            Self::F32(table) => out.extend_from_slice(&table[range]),
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

    #[test]
    fn thread_count_does_not_change_a_bit() {
        let (one, four) = (Threads::new(1), Threads::new(4));
        for rows in [1, 2, 70] {
            let (inputs, outputs) = (512, 6011);
            let layer =
                Linear::dense(Arc::new(wave(inputs * outputs, 0.013)), Some(wave(outputs, 0.5)), inputs);
            let x = wave(rows * inputs, 0.7);
            let (mut a, mut b) = (Vec::new(), Vec::new());
            layer.forward(&x, &mut a, &one).unwrap();
            layer.forward(&x, &mut b, &four).unwrap();
            assert_eq!(a, b);
        }
    }

    #[test]
    fn quantised_rows_do_not_depend_on_their_batch() {
        let (inputs, outputs, rows) = (512, 64, 40);
        let threads = Threads::new(1);
        let weight =
            Tensor::from_vec(wave(inputs * outputs, 0.013), (outputs, inputs), &Device::Cpu).unwrap();
        for dtype in [GgmlDType::Q8_0, GgmlDType::Q4_0, GgmlDType::Q4K, GgmlDType::Q6K] {
            let tensor = Arc::new(QTensor::quantize(&weight, dtype).unwrap());
            let layer = Linear::quantised(tensor, None).unwrap();
            let x = wave(rows * inputs, 0.7);
            let mut whole = Vec::new();
            layer.forward(&x, &mut whole, &threads).unwrap();
            for row in [0, 7, 33, 39] {
                let mut one = Vec::new();
                layer.forward(&x[row * inputs..(row + 1) * inputs], &mut one, &threads).unwrap();
                assert_eq!(one, whole[row * outputs..(row + 1) * outputs], "{dtype:?} row {row}");
            }
        }
    }
}
