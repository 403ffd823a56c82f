//! Weights on the device.
//!
//! Matrices are half precision, whatever the file holds: two bytes a weight, rows filled up to 64 values and matrices to 64 rows.
//! What is multiplied with the same rows lies in one matrix (queries, keys and values; gate and up). Norms, biases and frequencies
//! are `f32`. One tensor at a time is on the host, at `f32`. Called by `runner`.

use half::f16;
use half::slice::HalfFloatSliceExt;
use rayon::prelude::*;

use super::device::Device;
use super::kernel::{FILL, HEAD_DIM_MAX, VECTORS};
use crate::model::config::{Architecture, ModelConfig};
use crate::model::rope::Rope;
use crate::model::weights::{Name, Part, Source};
use crate::open::OpenError;

/// Values that are converted and copied at once.
const STAGE: usize = 4 << 20;

/// `[outputs, inputs]` with a bias, or without.
pub(super) struct Matrix<B> {
    pub weight: B,
    pub bias: Option<B>,
    pub outputs: usize,
    /// Length of a row as it lies there.
    pub inputs: usize,
}

/// One layer.
pub(super) struct Layer<B> {
    pub attn_norm: B,
    pub qkv: Matrix<B>,
    pub q_norm: Option<B>,
    pub k_norm: Option<B>,
    pub o: Matrix<B>,
    pub mlp_norm: B,
    pub gate_up: Matrix<B>,
    pub down: Matrix<B>,
}

/// A model whose weights are on a device.
pub(crate) struct Model<D: Device> {
    pub(super) device: D,
    pub(super) config: ModelConfig,
    pub(super) embedding: Matrix<D::Buffer>,
    pub(super) layers: Vec<Layer<D::Buffer>>,
    pub(super) final_norm: D::Buffer,
    /// `None`: the embedding's.
    pub(super) output: Option<Matrix<D::Buffer>>,
    pub(super) frequencies: D::Buffer,
}

impl<D: Device> Model<D> {
    /// Copies all weights to `device`.
    ///
    /// # Errors
    /// A missing tensor or one of another shape; one with values that half precision does not hold; a shape that the kernels do not
    /// compute; too little memory on the device.
    pub fn load(device: D, config: ModelConfig, source: &mut dyn Source) -> Result<Self, OpenError> {
        let unsupported = |field: &str, reason: String| Err(OpenError::field("config", field, reason));
        if config.head_dim > HEAD_DIM_MAX {
            return unsupported("head_dim", format!("the CUDA kernels compute at most {HEAD_DIM_MAX}"));
        }
        if config.heads / config.kv_heads > VECTORS {
            let reason = format!("the CUDA kernels share a key head among at most {VECTORS} heads");
            return unsupported("num_key_value_heads", reason);
        }
        let mut upload = Upload { device, source };
        let (hidden, vocab) = (config.hidden, config.vocab);
        let embedding = upload.matrix(&[(Name::Embedding, vocab)], hidden)?;
        let mut layers = Vec::with_capacity(config.layers);
        for layer in 0..config.layers {
            layers.push(upload.layer(&config, layer)?);
        }
        let final_norm = upload.norm(Name::FinalNorm, hidden)?;
        let output = if config.tied { None } else { Some(upload.matrix(&[(Name::Output, vocab)], hidden)?) };
        let rope = Rope::new(config.rope_theta, config.head_dim, &config.rope_scaling, config.rope_pairs);
        let frequencies = upload.floats(rope.frequencies())?;
        upload.device.wait().map_err(OpenError::Setup)?;
        let device = upload.device;
        Ok(Self { device, config, embedding, layers, final_norm, output, frequencies })
    }

    /// Shape of the model.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }
}

struct Upload<'s, D> {
    device: D,
    source: &'s mut dyn Source,
}

impl<D: Device> Upload<'_, D> {
    fn layer(&mut self, config: &ModelConfig, layer: usize) -> Result<Layer<D::Buffer>, OpenError> {
        let (hidden, inner) = (config.hidden, config.intermediate);
        let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        let name = |part| Name::Layer(layer, part);
        let per_head = config.architecture == Architecture::Qwen3;
        let mut head_norm = |part| per_head.then(|| self.norm(name(part), config.head_dim)).transpose();
        // In the decoder's order, so that random weights are the same in both.
        let (q_norm, k_norm) = (head_norm(Part::QNorm)?, head_norm(Part::KNorm)?);
        Ok(Layer {
            attn_norm: self.norm(name(Part::AttnNorm), hidden)?,
            qkv: self.matrix(&[(name(Part::Q), q), (name(Part::K), kv), (name(Part::V), kv)], hidden)?,
            q_norm,
            k_norm,
            o: self.matrix(&[(name(Part::O), hidden)], q)?,
            mlp_norm: self.norm(name(Part::MlpNorm), hidden)?,
            gate_up: self.matrix(&[(name(Part::Gate), inner), (name(Part::Up), inner)], hidden)?,
            down: self.matrix(&[(name(Part::Down), hidden)], inner)?,
        })
    }

    fn norm(&mut self, name: Name, len: usize) -> Result<D::Buffer, OpenError> {
        let found = self.source.vector(name, false, len)?;
        self.floats(&found.ok_or_else(|| self.source.missing(name, &[len]))?)
    }

    /// One matrix of several, each with its number of outputs, one below the other.
    fn matrix(&mut self, parts: &[(Name, usize)], inputs: usize) -> Result<Matrix<D::Buffer>, OpenError> {
        let outputs: usize = parts.iter().map(|(_, outputs)| outputs).sum();
        let filled = inputs.next_multiple_of(FILL);
        let bytes = outputs.next_multiple_of(FILL) * filled * size_of::<f16>();
        let mut weight = self.device.alloc(bytes).map_err(OpenError::Setup)?;
        let (mut biases, mut has_bias, mut row) = (Vec::with_capacity(outputs), false, 0);
        for (name, outputs) in parts.iter().copied() {
            let values = self.source.matrix(name, outputs, inputs)?;
            let values = values.ok_or_else(|| self.source.missing(name, &[outputs, inputs]))?;
            self.halves(&mut weight, row, &values, inputs, name)?;
            // An embedding has none, and no source is asked for it twice.
            let bias = match name {
                Name::Embedding => None,
                _ => self.source.vector(name, true, outputs)?,
            };
            has_bias |= bias.is_some();
            biases.extend(bias.unwrap_or_else(|| vec![0.0; outputs]));
            row += outputs;
        }
        let bias = if has_bias { Some(self.floats(&biases)?) } else { None };
        Ok(Matrix { weight, bias, outputs, inputs: filled })
    }

    /// Rows of `inputs` values into a matrix from `row` on.
    fn halves(
        &mut self,
        weight: &mut D::Buffer,
        row: usize,
        values: &[f32],
        inputs: usize,
        name: Name,
    ) -> Result<(), OpenError> {
        let filled = inputs.next_multiple_of(FILL);
        let rows_at_once = (STAGE / filled).max(1);
        for (part, values) in values.chunks(rows_at_once * inputs).enumerate() {
            let rows = values.len() / inputs;
            let mut bytes = vec![0; rows * filled * size_of::<f16>()];
            // On all cores: a model has billions of them.
            let convert = |(to, from): (&mut [u8], &[f32])| {
                let mut halves = vec![f16::ZERO; inputs];
                halves.convert_from_f32_slice(from);
                for (to, half) in to.as_chunks_mut::<2>().0.iter_mut().zip(&halves) {
                    *to = half.to_le_bytes();
                }
                halves.iter().all(|half| half.is_finite())
            };
            let rows =
                bytes.par_chunks_exact_mut(filled * size_of::<f16>()).zip(values.par_chunks_exact(inputs));
            let are_finite = rows.map(convert).reduce(|| true, |a, b| a & b);
            if !are_finite {
                let reason = "holds values that half precision does not hold".to_string();
                return Err(OpenError::Tensor { file: "weights".into(), name: format!("{name:?}"), reason });
            }
            let at = (row + part * rows_at_once) * filled * size_of::<f16>();
            self.device.write(weight, at, &bytes).map_err(OpenError::Setup)?;
        }
        Ok(())
    }

    fn floats(&mut self, values: &[f32]) -> Result<D::Buffer, OpenError> {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        let mut buffer = self.device.alloc(bytes.len()).map_err(OpenError::Setup)?;
        self.device.write(&mut buffer, 0, &bytes).map_err(OpenError::Setup)?;
        Ok(buffer)
    }
}
