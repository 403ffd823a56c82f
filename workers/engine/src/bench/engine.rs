//! The engine under a factory's load: templates × documents behind shared prefixes.
//!
//! A model of a real shape with random weights writes answers of fixed length; every stream is
//! read to its end and the time of each piece is taken. Called by `bul bench engine`.

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::precision::Precision;
use super::random::{Kernels, ModelShape, RandomSource, byte_vocabulary};
use crate::chat::Chat;
use crate::checkpoint::{kv_blocks, kv_shape};
use crate::compute::{Loaded, Place};
use crate::forecast::{ExpectedPrefix, Forecast};
use crate::generate::{Generate, GenerateError, ModelInfo};
use crate::job::{Message, Receipt, Request, Role, Sampling, Scope};
use crate::local::LocalModel;
use crate::model::gguf::GgufFile;
use crate::open::{EngineOptions, Observed, OpenError};
use crate::report::CacheReport;
use crate::sequence::Language;

const TEMPLATE: &str = "{% for m in messages %}{{ m.content }}\n{% endfor %}";

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EngineLoad {
    /// Templates.
    pub templates: u32,
    /// Documents of each.
    pub documents: u32,
    /// Tokens that all documents of one template share.
    pub prefix_tokens: usize,
    /// Fewest and most tokens of data of a document; lengths between are equally likely.
    pub data_tokens: (usize, usize),
    /// Tokens of each answer.
    pub output_tokens: usize,
    /// Temperature of the draws; 0 takes the best.
    pub temperature: f32,
    /// Requests under way at the same time.
    pub concurrent: usize,
    /// Tell the engine which prefixes are coming.
    pub announce: bool,
    /// How many of the next requests it is told of, each time one starts; 0 for all of them, before the first.
    pub ahead: usize,
    /// Decides order and lengths.
    pub seed: u64,
    /// How the weights are stored.
    pub precision: Precision,
}

impl Default for EngineLoad {
    fn default() -> Self {
        Self {
            templates: 8,
            documents: 64,
            prefix_tokens: 2000,
            data_tokens: (200, 200),
            output_tokens: 400,
            temperature: 1.0,
            concurrent: 32,
            announce: true,
            ahead: 0,
            seed: 1,
            precision: Precision::F32,
        }
    }
}

impl EngineLoad {
    /// The second workload: 256 sequences without a common beginning, 100 to 1024 tokens long.
    pub fn uniform() -> Self {
        Self {
            templates: 1,
            documents: 256,
            prefix_tokens: 0,
            data_tokens: (100, 1024),
            output_tokens: 200,
            concurrent: 256,
            announce: false,
            ..Self::default()
        }
    }
}

/// Half and nearly all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EngineBenchReport {
    /// Shape or file of the model.
    pub shape: String,
    /// Its parameters.
    pub parameters: u64,
    /// Threads of the model.
    pub threads: usize,
    /// What was asked for.
    pub load: EngineLoad,
    /// From the first request to the last answer, seconds.
    pub seconds: f64,
    /// Requests answered.
    pub requests: usize,
    /// Output tokens per second, all requests together, prompts included.
    pub output_tokens_per_second: f64,
    /// Prompt and output tokens per second, found ones included.
    pub tokens_per_second: f64,
    /// Time to first token, waiting included, milliseconds.
    pub first_token_ms: Percentiles,
    /// Between two pieces of one answer, milliseconds.
    pub inter_token_ms: Percentiles,
    /// Prompt tokens found in the engine's own memory.
    pub device_hit_tokens: u64,
    /// Prompt tokens found in the host's memory.
    pub host_hit_tokens: u64,
    /// Prompt tokens found on disk.
    pub disk_hit_tokens: u64,
    /// Requests that gave their blocks back and started again.
    pub preemptions: u64,
    /// Most memory of this process so far, bytes; 0 where the system does not say.
    pub peak_memory_bytes: u64,
    /// The cache at the end.
    pub cache: CacheReport,
}

/// A benchmark that could not be run.
#[derive(Debug, thiserror::Error)]
pub enum EngineBenchError {
    /// The model could not be set up.
    #[error("the model could not be set up: {0}")]
    Open(#[from] OpenError),
    /// A request failed.
    #[error("a request failed: {0}")]
    Generate(#[from] GenerateError),
}

/// A model of `shape` with random weights.
fn open_shape(
    shape: ModelShape,
    precision: Precision,
    options: &EngineOptions,
) -> Result<LocalModel, OpenError> {
    let config = shape.config()?;
    let mut source = RandomSource::new(7, precision, Kernels::Own, config.layers);
    let loaded = Place::find(options.device)?.load(config, &mut source)?;
    open(loaded, shape.name(), precision.name(), options)
}

/// The model of a GGUF file; its vocabulary is left out, since the load is made of single bytes.
fn open_file(path: &Path, options: &EngineOptions) -> Result<LocalModel, OpenError> {
    let mut file = GgufFile::open(path)?;
    let loaded = Place::find(options.device)?.load(file.config()?, &mut file)?;
    open(loaded, &path.file_stem().unwrap_or_default().to_string_lossy(), "", options)
}

/// Answers never end by themselves.
fn open(
    loaded: Loaded,
    name: &str,
    precision: &str,
    options: &EngineOptions,
) -> Result<LocalModel, OpenError> {
    let options = &EngineOptions { kv_precision: loaded.kv_precision(options)?, ..options.clone() };
    let config = loaded.config();
    let layout = kv_shape(config, options);
    let blocks = kv_blocks(layout, options);
    let context = config.context.min(blocks * layout.block_tokens);
    let info = ModelInfo {
        kind: "local",
        name: name.into(),
        architecture: config.architecture.name().into(),
        parameters: Some(config.parameters()),
        context_tokens: Some(context),
        precision: loaded.precision(precision.into()),
        fingerprint: format!("random {name} {precision}"),
    };
    let runner = loaded.runner(layout, blocks, options)?;
    let language = Language {
        vocabulary: Arc::new(byte_vocabulary(runner.vocab())?),
        eos: [u32::MAX].into(),
        phrases: None,
    };
    let chat = Chat::new(TEMPLATE, String::new(), String::new())?;
    LocalModel::spawn(runner, blocks, info, language, chat, context, options, Observed::default())
}

/// As many letters as tokens are wanted.
fn letters(count: usize, salt: u64) -> String {
    let mut rng = ChaCha8Rng::seed_from_u64(salt);
    (0..count).map(|_| char::from(rng.random_range(b'a'..=b'z'))).collect()
}

fn requests(load: &EngineLoad) -> Vec<Request> {
    let mut rng = ChaCha8Rng::seed_from_u64(load.seed);
    let mut out = Vec::new();
    for template in 0..u64::from(load.templates) {
        let prefix = letters(load.prefix_tokens, template << 32);
        for document in 0..u64::from(load.documents) {
            let seed = template << 20 | document;
            let length = rng.random_range(load.data_tokens.0..=load.data_tokens.1.max(load.data_tokens.0));
            let message = |role, text, scope| Message { role, text, scope };
            out.push(Request {
                id: format!("{template}-{document}"),
                tenant: "bench".into(),
                session: None,
                messages: vec![
                    message(Role::System, prefix.clone(), Scope::Public),
                    message(Role::User, letters(length.max(1), seed + 1), Scope::Tenant),
                ],
                sampling: Sampling {
                    max_tokens: load.output_tokens.max(1),
                    temperature: load.temperature,
                    top_p: 1.0,
                    seed,
                },
                stop: Vec::new(),
                constraint: None,
                priority: 0,
            });
        }
    }
    out.shuffle(&mut rng);
    out
}

/// One answer and the times between its pieces, milliseconds.
async fn run(model: &LocalModel, request: Request) -> Result<(Receipt, Vec<f64>), GenerateError> {
    let (sender, mut receiver) = mpsc::channel(request.sampling.max_tokens + 1);
    let read = async {
        let (mut gaps, mut last): (Vec<f64>, Option<Instant>) = (Vec::new(), None);
        while receiver.recv().await.is_some() {
            let now = Instant::now();
            if let Some(last) = last.replace(now) {
                gaps.push(now.duration_since(last).as_secs_f64() * 1e3);
            }
        }
        gaps
    };
    let (done, gaps) = tokio::join!(model.generate(request, Some(sender), CancellationToken::new()), read);
    Ok((done?.receipt, gaps))
}

/// Runs `load` on a model of `shape` under `options`.
///
/// # Errors
/// When the model does not fit its options, or a request fails.
pub async fn bench_engine(
    shape: ModelShape,
    load: &EngineLoad,
    options: &EngineOptions,
) -> Result<EngineBenchReport, EngineBenchError> {
    let options = &EngineOptions { queue_max: options.queue_max.max(load.concurrent), ..options.clone() };
    measure(&open_shape(shape, load.precision, options)?, load, options).await
}

/// The same on a GGUF file, whose own precision counts.
///
/// # Errors
/// When the file is no model, does not fit its options, or a request fails.
pub async fn bench_engine_file(
    path: &Path,
    load: &EngineLoad,
    options: &EngineOptions,
) -> Result<EngineBenchReport, EngineBenchError> {
    let options = &EngineOptions { queue_max: options.queue_max.max(load.concurrent), ..options.clone() };
    measure(&open_file(path, options)?, load, options).await
}

async fn measure(
    model: &LocalModel,
    load: &EngineLoad,
    options: &EngineOptions,
) -> Result<EngineBenchReport, EngineBenchError> {
    let requests = requests(load);
    let started = Instant::now();
    let mut runs = futures::stream::iter(requests.iter().enumerate().map(|(at, request)| {
        if load.announce && (at == 0 || load.ahead > 0) {
            let ahead = if load.ahead == 0 { requests.len() } else { load.ahead };
            model.announce(&forecast(&requests[at..requests.len().min(at + ahead)]));
        }
        run(model, request.clone())
    }))
    .buffer_unordered(load.concurrent.max(1));
    let (mut receipts, mut gaps) = (Vec::new(), Vec::new());
    while let Some(done) = runs.next().await {
        let (receipt, more) = done?;
        receipts.push(receipt);
        gaps.extend(more);
    }
    let seconds = started.elapsed().as_secs_f64().max(Duration::from_micros(1).as_secs_f64());
    drop(runs);
    let cache = model.cache_report().await.unwrap_or_default();
    let sum = |measure: fn(&Receipt) -> u64| receipts.iter().map(measure).sum::<u64>();
    let (cached, host, disk) = (sum(|r| r.cached_tokens), sum(|r| r.host_tokens), sum(|r| r.disk_tokens));
    let output = sum(|r| r.output_tokens);
    Ok(EngineBenchReport {
        shape: model.info().name,
        parameters: model.info().parameters.unwrap_or(0),
        threads: options.threads,
        load: *load,
        seconds,
        requests: receipts.len(),
        output_tokens_per_second: output as f64 / seconds,
        tokens_per_second: (output + sum(|r| r.prompt_tokens)) as f64 / seconds,
        first_token_ms: percentiles(receipts.iter().map(|r| r.queue_ms + r.first_token_ms).collect()),
        inter_token_ms: percentiles(gaps),
        device_hit_tokens: cached - host - disk,
        host_hit_tokens: host,
        disk_hit_tokens: disk,
        preemptions: cache.preemptions,
        peak_memory_bytes: peak_memory_bytes(),
        cache,
    })
}

/// What the queue knows before it starts.
fn forecast(requests: &[Request]) -> Forecast {
    let mut prefixes: Vec<ExpectedPrefix> = Vec::new();
    for request in requests {
        let first = &request.messages[..1];
        match prefixes.iter_mut().find(|p| p.messages == first) {
            Some(prefix) => prefix.times += 1,
            None => prefixes.push(ExpectedPrefix {
                tenant: request.tenant.clone(),
                messages: first.to_vec(),
                times: 1,
            }),
        }
    }
    Forecast { prefixes }
}

fn percentiles(mut values: Vec<f64>) -> Percentiles {
    values.sort_by(f64::total_cmp);
    let at = |part: usize| values.get(values.len() * part / 100).or(values.last()).copied().unwrap_or(0.0);
    Percentiles { p50: at(50), p99: at(99) }
}

/// Most memory this process had at one time.
fn peak_memory_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
