//! What computes: the CPU, or a CUDA device where this build knows them.
//!
//! Between the files of a checkpoint and the runner that the engine sees. Called by `checkpoint` and `local`.

use crate::attn::cpu::Attention;
use crate::kv::precision::KvPrecision;
use crate::kv::{KvShape, KvStore};
use crate::model::config::ModelConfig;
use crate::model::decoder::Decoder;
use crate::model::threads::Threads;
use crate::model::weights::Source;
use crate::open::{EngineOptions, OpenError};
use crate::runner::{ModelRunner, Runner};

#[cfg(feature = "cuda")]
use crate::cuda::{driver::Driver, mark, model::Model, runner::DeviceRunner};

/// A device to compute on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ComputeDevice {
    /// This machine's processor.
    #[default]
    Cpu,
    /// A CUDA device by its number.
    Cuda(usize),
    /// The first CUDA device where there is one and this build knows it, or else the processor.
    Auto,
}

impl ComputeDevice {
    /// Parses `cpu`, `cuda`, `cuda:1` or `auto`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "cpu" => Some(Self::Cpu),
            "cuda" => Some(Self::Cuda(0)),
            "auto" => Some(Self::Auto),
            _ => {
                let number = text.strip_prefix("cuda:")?;
                let plain = number.bytes().all(|b| b.is_ascii_digit());
                number.parse().ok().filter(|_| plain).map(Self::Cuda)
            }
        }
    }
}

impl ComputeDevice {
    /// Parses one or several, with commas between them: an engine for each.
    pub fn parse_all(text: &str) -> Option<Vec<Self>> {
        text.split(',').map(|part| Self::parse(part.trim())).collect()
    }
}

impl std::fmt::Display for ComputeDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(number) => write!(f, "cuda:{number}"),
            Self::Auto => f.write_str("auto"),
        }
    }
}

/// A device that was found.
pub(crate) enum Place {
    Cpu,
    #[cfg(feature = "cuda")]
    Cuda(Driver),
}

impl Place {
    /// Looks for `device`, before weights are read for it.
    ///
    /// # Errors
    /// When it is not there, or this build does not know CUDA.
    pub fn find(device: ComputeDevice) -> Result<Self, OpenError> {
        match device {
            ComputeDevice::Cpu => Ok(Self::Cpu),
            ComputeDevice::Cuda(number) => {
                Self::cuda(number).map_err(|reason| OpenError::Device { device: device.to_string(), reason })
            }
            ComputeDevice::Auto => Ok(Self::cuda(0).unwrap_or_else(|reason| {
                tracing::info!(%reason, "the model is computed on the CPU");
                Self::Cpu
            })),
        }
    }

    #[cfg(feature = "cuda")]
    fn cuda(number: usize) -> Result<Self, String> {
        Driver::open(number).map(Self::Cuda)
    }

    #[cfg(not(feature = "cuda"))]
    fn cuda(_: usize) -> Result<Self, String> {
        Err("this build computes on the CPU only; build it with `--features cuda`".into())
    }

    /// Bytes of the weights there; `None` for as many as the files say.
    #[cfg_attr(
        not(feature = "cuda"),
        expect(unused_variables, reason = "only a device widens or narrows them")
    )]
    pub fn weight_bytes(&self, config: &ModelConfig) -> Option<u64> {
        match self {
            Self::Cpu => None,
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => Some(config.parameters() * 2),
        }
    }

    /// Loads all weights.
    ///
    /// # Errors
    /// A missing tensor or one of another shape, by name; too little memory.
    pub fn load(self, config: ModelConfig, source: &mut dyn Source) -> Result<Loaded, OpenError> {
        match self {
            Self::Cpu => Decoder::load(config, source).map(|decoder| Loaded::Cpu(Box::new(decoder))),
            #[cfg(feature = "cuda")]
            Self::Cuda(driver) => {
                Model::load(driver, config, source).map(|model| Loaded::Cuda(Box::new(model)))
            }
        }
    }
}

/// A model whose weights are where they are needed.
pub(crate) enum Loaded {
    Cpu(Box<Decoder>),
    #[cfg(feature = "cuda")]
    Cuda(Box<Model<Driver>>),
}

impl Loaded {
    /// Shape of the model.
    pub fn config(&self) -> &ModelConfig {
        match self {
            Self::Cpu(decoder) => decoder.config(),
            #[cfg(feature = "cuda")]
            Self::Cuda(model) => model.config(),
        }
    }

    /// How keys and values are held.
    ///
    /// # Errors
    /// A precision that the device's kernels do not read.
    pub fn kv_precision(&self, options: &EngineOptions) -> Result<KvPrecision, OpenError> {
        match self {
            Self::Cpu(_) => Ok(options.kv_precision),
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => device_precision(options),
        }
    }

    /// Precision of the weights, when that of the files is `stored`.
    pub fn precision(&self, stored: String) -> String {
        match self {
            Self::Cpu(_) => stored,
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => "f16".into(),
        }
    }

    /// Fingerprint of what is computed, when that of the files is `model`.
    pub fn mark(&self, model: blake3::Hash) -> blake3::Hash {
        match self {
            Self::Cpu(_) => model,
            #[cfg(feature = "cuda")]
            Self::Cuda(_) => mark(model),
        }
    }

    /// With room for `blocks` blocks of keys and values.
    ///
    /// # Errors
    /// When a device has too little memory for them.
    pub fn runner(
        self,
        shape: KvShape,
        blocks: usize,
        options: &EngineOptions,
    ) -> Result<Box<dyn Runner>, OpenError> {
        match self {
            Self::Cpu(decoder) => {
                let store = KvStore::new(shape, options.kv_precision, blocks);
                let attention = Attention::new(options.group_attention);
                let threads = Threads::new(options.threads);
                Ok(Box::new(ModelRunner::new(*decoder, store, attention, threads)))
            }
            #[cfg(feature = "cuda")]
            Self::Cuda(model) => Ok(Box::new(DeviceRunner::new(*model, shape, blocks)?)),
        }
    }
}

/// How a CUDA device holds keys and values.
#[cfg(any(feature = "cuda", test))]
fn device_precision(options: &EngineOptions) -> Result<KvPrecision, OpenError> {
    match options.kv_precision {
        // The setting's default is full precision, which a device has no kernels for.
        KvPrecision::F32 | KvPrecision::F16 => Ok(KvPrecision::F16),
        other @ (KvPrecision::Bf16 | KvPrecision::Int8 | KvPrecision::Int4) => Err(OpenError::Device {
            device: options.device.to_string(),
            reason: format!("keys and values are f16 there, not {}: set `model.kv` to f16", other.name()),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_precision_that_a_device_has_no_kernels_for_is_named_with_its_setting() {
        for kv_precision in KvPrecision::ALL {
            let options =
                EngineOptions { device: ComputeDevice::Cuda(1), kv_precision, ..EngineOptions::default() };
            let found = device_precision(&options).map_err(|error| error.to_string());
            match kv_precision {
                KvPrecision::F32 | KvPrecision::F16 => assert_eq!(found, Ok(KvPrecision::F16)),
                KvPrecision::Bf16 | KvPrecision::Int8 | KvPrecision::Int4 => {
                    let error = found.unwrap_err();
                    for part in ["cuda:1", kv_precision.name(), "`model.kv`"] {
                        assert!(error.contains(part), "{error}");
                    }
                }
            }
        }
    }

    #[test]
    fn names_are_read_back() {
        for device in
            [ComputeDevice::Cpu, ComputeDevice::Cuda(0), ComputeDevice::Cuda(12), ComputeDevice::Auto]
        {
            assert_eq!(ComputeDevice::parse(&device.to_string()), Some(device));
        }
        assert_eq!(ComputeDevice::parse("cuda"), Some(ComputeDevice::Cuda(0)));
        for wrong in ["", "gpu", "cuda:", "cuda:x", "cuda:+1", "cuda:99999999999999999999", "CUDA"] {
            assert_eq!(ComputeDevice::parse(wrong), None, "{wrong}");
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_build_without_cuda_says_so() {
        let error = Place::find(ComputeDevice::Cuda(1)).err().unwrap().to_string();
        assert!(error.contains("cuda:1") && error.contains("--features cuda"), "{error}");
        assert!(matches!(Place::find(ComputeDevice::Auto), Ok(Place::Cpu)));
    }

    /// Where there is a device this proves nothing, and where there is none it must say what is missing.
    #[cfg(feature = "cuda")]
    #[test]
    fn a_device_that_is_not_there_is_named() {
        let error = Place::find(ComputeDevice::Cuda(4096)).err().unwrap().to_string();
        assert!(error.contains("cuda:4096") && error.contains("no CUDA device"), "{error}");
        assert!(Place::find(ComputeDevice::Auto).is_ok());
    }
}
