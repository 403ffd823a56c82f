//! From a model's specification to something that generates.
//!
//! `ModelSpec::parse` reads what stands in `BUL_MODEL`; `open` loads it. Every error names the
//! file and the field or tensor that is at fault. Called by the worker's start and `bul model`.

mod settings;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::backend::openai::OpenAi;
use crate::backend::options::OpenAiOptions;
use crate::backend::scripted::{Scripted, ScriptedOptions};
use crate::compute::ComputeDevice;
use crate::fleet::Fleet;
use crate::generate::Generate;
use crate::local::LocalModel;
use crate::trial::Trial;

pub use settings::EngineOptions;

/// A model that could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file that must be there is not.
    #[error("{file}: missing")]
    Missing {
        /// File.
        file: String,
    },
    /// A file cannot be read.
    #[error("{file}: cannot be read: {source}")]
    Read {
        /// File.
        file: String,
        /// Cause.
        source: std::io::Error,
    },
    /// A field is missing, malformed or asks for something unsupported.
    #[error("{file}: field `{field}`: {reason}")]
    Field {
        /// File.
        file: String,
        /// Field, dotted.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A tensor is missing or of another shape or precision.
    #[error("{file}: tensor `{name}`: {reason}")]
    Tensor {
        /// File.
        file: String,
        /// Tensor.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The tokenizer is malformed or does not belong to the model.
    #[error("{file}: tokenizer: {reason}")]
    Tokenizer {
        /// File.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The model does not fit the memory it may take.
    #[error("the model needs about {needed_mib} MiB of memory, but only {allowed_mib} MiB are allowed")]
    Memory {
        /// Estimate, MiB.
        needed_mib: u64,
        /// Budget, MiB.
        allowed_mib: u64,
    },
    /// The specification itself is wrong.
    #[error("`{spec}` names no model: {reason}")]
    Spec {
        /// What was given, without secrets.
        spec: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The device to compute on is not there, or this build knows none of its kind.
    #[error("model.device `{device}`: {reason}")]
    Device {
        /// What was asked for.
        device: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The engine could not be set up.
    #[error("the engine could not be set up: {0}")]
    Setup(String),
}

impl OpenError {
    pub(crate) fn field(file: &str, field: &str, reason: String) -> Self {
        Self::Field { file: file.into(), field: field.into(), reason }
    }

    pub(crate) fn io(file: &str, source: std::io::Error) -> Self {
        if source.kind() == std::io::ErrorKind::NotFound {
            return Self::Missing { file: file.into() };
        }
        Self::Read { file: file.into(), source }
    }
}

/// Reads a whole file, with its name in the error.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, OpenError> {
    std::fs::read(path).map_err(|e| OpenError::io(&path.display().to_string(), e))
}

/// A small model that is part of the executable: the contents of its files.
#[derive(Debug, Clone, Copy)]
pub struct EmbeddedModel<'a> {
    /// `config.json`
    pub config: &'a [u8],
    /// `tokenizer.json`
    pub tokenizer: &'a [u8],
    /// `tokenizer_config.json`, with the chat template in it
    pub tokenizer_config: &'a [u8],
    /// `model.safetensors`
    pub weights: &'a [u8],
    /// `phrases.bin`: which word may follow which, for a model too small to be left alone.
    pub phrases: Option<&'a [u8]>,
}

/// Which model to open.
#[derive(Debug, Clone)]
pub enum ModelSpec {
    /// Part of the executable.
    Embedded(EmbeddedModel<'static>),
    /// Directory with `config.json`, `tokenizer.json` and safetensors.
    Directory(PathBuf),
    /// GGUF file.
    Gguf(PathBuf),
    /// OpenAI-compatible server.
    OpenAi(OpenAiOptions),
    /// Deterministic text without a model, for tests and queue benchmarks.
    Scripted(ScriptedOptions),
}

impl ModelSpec {
    /// Parses a directory, a `.gguf` file, `openai+http(s)://host/path#model` or `scripted`.
    /// An empty text means the shipped model and gives `None`.
    ///
    /// # Errors
    /// `OpenError::Spec` when it is none of these. The key is never part of an error.
    pub fn parse(spec: &str, key: Option<String>) -> Result<Option<Self>, OpenError> {
        let spec = spec.trim();
        let wrong = |reason: &str| OpenError::Spec { spec: spec.into(), reason: reason.into() };
        if spec.is_empty() {
            return Ok(None);
        }
        if spec == "scripted" {
            return Ok(Some(Self::Scripted(ScriptedOptions::default())));
        }
        if let Some(url) = spec.strip_prefix("openai+") {
            let (base_url, model) = url.split_once('#').unwrap_or((url, ""));
            if model.is_empty() {
                return Err(wrong("the model's name must follow a `#`"));
            }
            let parsed = reqwest::Url::parse(base_url).map_err(|e| wrong(&e.to_string()))?;
            if !matches!(parsed.scheme(), "http" | "https") {
                return Err(wrong("only openai+http:// and openai+https:// are known"));
            }
            if !parsed.username().is_empty() || parsed.password().is_some() {
                let reason = "a key in the address would end up in logs; pass it separately".to_string();
                return Err(OpenError::Spec { spec: "openai+…".into(), reason });
            }
            let base_url = base_url.trim_end_matches('/').to_string();
            return Ok(Some(Self::OpenAi(OpenAiOptions::new(base_url, model.to_string(), key))));
        }
        if spec.contains("://") {
            return Err(wrong("of addresses, only openai+http:// and openai+https:// are known"));
        }
        let path = PathBuf::from(spec);
        if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf")) {
            return Ok(Some(Self::Gguf(path)));
        }
        if path.is_dir() {
            return Ok(Some(Self::Directory(path)));
        }
        Err(wrong(
            "neither a directory, nor a .gguf file, nor openai+http(s)://host/v1#model, nor `scripted`",
        ))
    }
}

/// Opens a model with default settings and without metrics.
///
/// # Errors
/// [`OpenError`], naming what is missing or wrong.
pub fn open(spec: &ModelSpec) -> Result<Arc<dyn Generate>, OpenError> {
    open_with(spec, &EngineOptions::default(), None)
}

/// Opens a model. Loading reads all weights: call it from a thread that may block.
///
/// # Errors
/// [`OpenError`], naming what is missing or wrong.
pub fn open_with(
    spec: &ModelSpec,
    options: &EngineOptions,
    registry: Option<&prometheus::Registry>,
) -> Result<Arc<dyn Generate>, OpenError> {
    Ok(match spec {
        ModelSpec::OpenAi(openai) => Arc::new(OpenAi::new(openai.clone(), registry)?),
        ModelSpec::Scripted(scripted) => Arc::new(Scripted::with(scripted.clone())),
        local => Arc::new(open_local(local, options, Observed { registry, engine: None })?),
    })
}

/// Opens a local model on several devices, an engine for each; requests go to the one that holds their prefix. Memory for keys
/// and values is that of each engine; threads and places for evicted blocks are shared out. With one device, and for other
/// models, it is [`open_with`].
///
/// # Errors
/// [`OpenError`], naming what is missing or wrong.
pub fn open_on(
    spec: &ModelSpec,
    options: &EngineOptions,
    devices: &[ComputeDevice],
    registry: Option<&prometheus::Registry>,
) -> Result<Arc<dyn Generate>, OpenError> {
    if devices.len() < 2 || matches!(spec, ModelSpec::OpenAi(_) | ModelSpec::Scripted(_)) {
        let device = devices.first().copied().unwrap_or(options.device);
        return open_with(spec, &EngineOptions { device, ..options.clone() }, registry);
    }
    let engine = |(number, device): (usize, &ComputeDevice)| {
        let observed = Observed { registry, engine: Some(number) };
        open_local(spec, &options.share(number, devices.len(), *device), observed)
    };
    let engines = devices.iter().enumerate().map(engine).collect::<Result<Vec<_>, _>>()?;
    Ok(Arc::new(Fleet::new(engines)))
}

/// Opens a local model twice, on the processor or the same card, with two configurations that share the traffic. Weights and
/// memory for keys and values are there twice; threads are shared.
///
/// # Errors
/// [`OpenError`], naming what is missing or wrong; for a model that is computed elsewhere.
pub fn open_trial(
    spec: &ModelSpec,
    [a, b]: [&EngineOptions; 2],
    registry: Option<&prometheus::Registry>,
) -> Result<Arc<dyn Generate>, OpenError> {
    if a.kv_precision != b.kv_precision {
        return Err(OpenError::Setup("both sides of a trial must hold keys and values alike".into()));
    }
    let side = |number, options: &EngineOptions| {
        let options = EngineOptions { threads: options.threads.div_ceil(2), ..options.clone() };
        let opened = open_local(spec, &options, Observed { registry, engine: Some(number) })?;
        Ok::<_, OpenError>(Arc::new(opened) as Arc<dyn Generate>)
    };
    let trial = Trial::new(side(0, a)?, side(1, b)?, registry);
    Ok(Arc::new(trial.map_err(|error| OpenError::Setup(error.to_string()))?))
}

/// Where an engine's metrics go; nowhere by default.
#[derive(Debug, Clone, Copy, Default)]
pub struct Observed<'a> {
    /// What they are registered with.
    pub registry: Option<&'a prometheus::Registry>,
    /// Its number among several, which their label `engine` tells.
    pub engine: Option<usize>,
}

fn open_local(
    spec: &ModelSpec,
    options: &EngineOptions,
    observed: Observed<'_>,
) -> Result<LocalModel, OpenError> {
    match spec {
        ModelSpec::Embedded(files) => LocalModel::from_bytes(files, options, observed),
        ModelSpec::Directory(path) => LocalModel::from_directory(path, options, observed),
        ModelSpec::Gguf(path) => LocalModel::from_gguf(path, options, observed),
        ModelSpec::OpenAi(_) | ModelSpec::Scripted(_) => {
            Err(OpenError::Setup("this model is not computed in this process".into()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifications_are_told_apart() {
        let parse = |spec: &str| ModelSpec::parse(spec, Some("sk-secret".into()));
        assert!(parse(" ").unwrap().is_none());
        assert!(matches!(parse("scripted").unwrap(), Some(ModelSpec::Scripted(_))));
        assert!(matches!(parse("a/b.GGUF").unwrap(), Some(ModelSpec::Gguf(_))));
        let directory = tempfile::tempdir().unwrap();
        assert!(matches!(
            parse(&directory.path().display().to_string()).unwrap(),
            Some(ModelSpec::Directory(_))
        ));
        match parse("openai+https://host/v1/#org/model").unwrap() {
            Some(ModelSpec::OpenAi(options)) => {
                assert_eq!(
                    (options.base_url.as_str(), options.model.as_str()),
                    ("https://host/v1", "org/model")
                );
                assert!(!format!("{options:?}").contains("secret"));
            }
            other => panic!("{other:?}"),
        }
        for wrong in ["openai+https://host/v1", "openai+ftp://h#m", "https://host", "/no/such/dir"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        let text = parse("openai+https://user:pass@host/v1#m").unwrap_err().to_string();
        assert!(!text.contains("pass@"), "{text}");
    }
}
