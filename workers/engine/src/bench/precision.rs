//! Precisions of random models, and the bytes of their tensors.
//!
//! Which tensor has which format follows what llama.cpp's quantiser writes for a model whose output
//! layer is its embedding, so that both engines do the same work on one file.

use std::borrow::Cow;

use candle_core::Device;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use half::f16;
use serde::{Deserialize, Serialize};

use crate::model::weights::{Name, Part};

/// How weights are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// Eight bits in blocks of 32.
    #[serde(rename = "q8_0")]
    Q8_0,
    /// Four bits in blocks of 32; the output layer has six.
    #[serde(rename = "q4_0")]
    Q4_0,
    /// Four bits in blocks of 256; the output layer, and half of the values and of the layers
    /// that leave the MLP, have six.
    Q4KM,
}

impl Precision {
    /// All precisions.
    pub const ALL: [Self; 4] = [Self::F32, Self::Q8_0, Self::Q4_0, Self::Q4KM];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
            Self::Q4KM => "q4_k_m",
        }
    }

    /// The precision of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|precision| precision.name() == name)
    }

    /// Format of matrix `name` with rows of `inputs` in a model of `layers`.
    pub(super) fn format(self, name: Name, layers: usize, inputs: usize) -> GgmlDType {
        let wanted = match (self, name) {
            (Self::F32, _) => return GgmlDType::F32,
            (Self::Q8_0, _) => GgmlDType::Q8_0,
            (_, Name::Embedding | Name::Output) => GgmlDType::Q6K,
            (Self::Q4_0, _) => GgmlDType::Q4_0,
            (Self::Q4KM, Name::Layer(layer, Part::V | Part::Down)) if sensitive(layer, layers) => {
                GgmlDType::Q6K
            }
            (Self::Q4KM, _) => GgmlDType::Q4K,
        };
        // Rows must be whole blocks.
        if inputs.is_multiple_of(wanted.block_size()) { wanted } else { GgmlDType::Q8_0 }
    }
}

/// The first and the last eighth of the layers, and every third between.
fn sensitive(layer: usize, layers: usize) -> bool {
    layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2
}

/// Gives the blocks in `data`, which are random bytes, scales of a size that keeps values near
/// `largest`.
pub(super) fn set_scales(data: &mut [u8], dtype: GgmlDType, largest: f32) {
    // Where the 16-bit scales of a block lie, and the largest value at a scale of one.
    let scales: &[(usize, f32)] = match dtype {
        GgmlDType::Q8_0 => &[(0, 128.0)],
        GgmlDType::Q4_0 => &[(0, 8.0)],
        // The minimum is about as large as half of the range above it.
        GgmlDType::Q4K => &[(0, 63.0 * 7.5), (2, 63.0)],
        GgmlDType::Q6K => &[(208, 128.0 * 32.0)],
        _ => return,
    };
    for block in data.chunks_exact_mut(dtype.type_size()) {
        for (at, range) in scales {
            let scale = f16::from_f32(largest / range).to_le_bytes();
            block[*at..*at + 2].copy_from_slice(&scale);
        }
    }
}

/// A tensor `[outputs, inputs]` of these bytes.
pub(super) fn tensor(
    data: Vec<u8>,
    dtype: GgmlDType,
    outputs: usize,
    inputs: usize,
) -> candle_core::Result<QTensor> {
    QTensor::new(QStorage::from_data(Cow::Owned(data), &Device::Cpu, dtype)?, (outputs, inputs))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_follow_the_quantiser() {
        for precision in Precision::ALL {
            assert_eq!(Precision::parse(precision.name()), Some(precision));
            assert_eq!(serde_json::to_value(precision).unwrap(), precision.name());
        }
        let format = |layer, part| Precision::Q4KM.format(Name::Layer(layer, part), 28, 1024);
        let six = (0..28).filter(|layer| format(*layer, Part::Down) == GgmlDType::Q6K);
        assert_eq!(six.collect::<Vec<_>>(), [0, 1, 2, 5, 8, 11, 14, 17, 20, 23, 24, 25, 26, 27]);
        assert_eq!(format(0, Part::Up), GgmlDType::Q4K);
        assert_eq!(Precision::Q4_0.format(Name::Embedding, 28, 1024), GgmlDType::Q6K);
        assert_eq!(Precision::Q4KM.format(Name::Layer(0, Part::Q), 2, 64), GgmlDType::Q8_0);
    }
}
