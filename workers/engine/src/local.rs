//! `LocalModel`: the handle to a model that runs in this process.
//!
//! Prompts are tokenised on the caller's task; the engine's thread sees tokens only. The queue is
//! bounded here: one request too many is refused, not kept. Opened by `open`.

mod submit;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::chat::Chat;
use crate::checkpoint::{Checkpoint, Parts, kv_blocks, kv_shape, load_gguf, tail_bytes};
use crate::compute::Loaded;
use crate::engine::{Command, EngineCore, Setup};
use crate::forecast::{ExpectedPrefix, Forecast, Known, outlook};
use crate::generate::{Generate, GenerateError, ModelInfo, Pieces};
use crate::grammar::Grammars;
use crate::job::{Completion, Receipt, Request};
use crate::kv::key::BlockKey;
use crate::kv::pin::{Keep, PinName};
use crate::kv::policy::Eviction;
use crate::kv::pool::Pool;
use crate::kv::shadow::Shadows;
use crate::kv::tier::Tiers;
use crate::metrics::Metrics;
use crate::model::weights::SafetensorsSource;
use crate::open::{EmbeddedModel, EngineOptions, Observed, OpenError};
use crate::report::CacheReport;
use crate::request::warm_up_request;
use crate::runner::Runner;
use crate::sched::{Limits, Reserve};
use crate::sequence::{Language, Reader};

/// Most tokens of a step, on whatever device: its activations need memory, too.
const STEP_TOKENS_MAX: usize = 8192;

/// Places in the channel for what is no request: forecasts, questions for reports.
const NOTICES_MAX: usize = 16;

/// A model in this process.
pub struct LocalModel {
    info: ModelInfo,
    language: Language,
    grammars: Arc<Grammars>,
    chat: Chat,
    root: BlockKey,
    block_tokens: usize,
    context: usize,
    session_ttl_ms: u64,
    queue_max: usize,
    queued: Arc<AtomicUsize>,
    inbox: Option<mpsc::Sender<Command>>,
    thread: Option<JoinHandle<()>>,
    metrics: Option<Metrics>,
    heeds_forecasts: bool,
    announced: Mutex<Known>,
}

impl LocalModel {
    /// Opens a model from the contents of its files.
    ///
    /// # Errors
    /// [`OpenError`], naming file and field or tensor.
    pub fn from_bytes(
        files: &EmbeddedModel<'_>,
        options: &EngineOptions,
        observed: Observed<'_>,
    ) -> Result<Self, OpenError> {
        let checkpoint = Checkpoint {
            name: "shipped".into(),
            config: files.config.into(),
            tokenizer: files.tokenizer.into(),
            tokenizer_config: files.tokenizer_config.into(),
            template: None,
            phrases: files.phrases.map(Into::into),
            source: SafetensorsSource::from_bytes(files.weights)?,
        };
        let (loaded, parts) = checkpoint.load(options)?;
        Self::start(loaded, parts, options, observed)
    }

    /// Opens a directory with `config.json`, `tokenizer.json`, `tokenizer_config.json` or
    /// `chat_template.jinja`, and `model.safetensors` or its shards with their index; `phrases.bin` if there
    /// is one.
    ///
    /// # Errors
    /// [`OpenError`], naming file and field or tensor.
    pub fn from_directory(
        path: &Path,
        options: &EngineOptions,
        observed: Observed<'_>,
    ) -> Result<Self, OpenError> {
        let (loaded, parts) = Checkpoint::read(path)?.load(options)?;
        Self::start(loaded, parts, options, observed)
    }

    /// Opens a GGUF file, which holds configuration and tokenizer too.
    ///
    /// # Errors
    /// [`OpenError`], naming the metadata field or tensor.
    pub fn from_gguf(
        path: &Path,
        options: &EngineOptions,
        observed: Observed<'_>,
    ) -> Result<Self, OpenError> {
        let (loaded, parts) = load_gguf(path, options)?;
        Self::start(loaded, parts, options, observed)
    }

    /// Sets up pool, store and thread for a loaded model.
    fn start(
        loaded: Loaded,
        parts: Parts,
        options: &EngineOptions,
        observed: Observed<'_>,
    ) -> Result<Self, OpenError> {
        let options = &EngineOptions { kv_precision: loaded.kv_precision(options)?, ..options.clone() };
        let config = loaded.config();
        if parts.vocabulary.size() > config.vocab {
            return Err(OpenError::Tokenizer {
                file: "tokenizer.json".into(),
                reason: format!(
                    "has ids up to {}, but the model's `vocab_size` is {}",
                    parts.vocabulary.size() - 1,
                    config.vocab
                ),
            });
        }
        let shape = kv_shape(config, options);
        // Not more blocks than all running requests could fill.
        let useful = options.running_max.max(1) * 2 * config.context.div_ceil(shape.block_tokens);
        let blocks = kv_blocks(shape, options).min(useful.max(64));
        let context = config.context.min(blocks * shape.block_tokens);
        if blocks == 0 {
            let block_bytes = shape.block_bytes(options.kv_precision);
            let besides = match tail_bytes(shape, options) {
                0 => String::new(),
                bytes => format!(" besides {bytes} bytes for blocks that are being filled"),
            };
            return Err(OpenError::Setup(format!(
                "kv_bytes_max holds not even one block of {block_bytes} bytes{besides}"
            )));
        }
        let info = ModelInfo {
            kind: "local",
            name: parts.name,
            architecture: config.architecture.name().into(),
            parameters: Some(config.parameters()),
            context_tokens: Some(context),
            precision: loaded.precision(parts.precision),
            fingerprint: options.kv_precision.mark(loaded.mark(parts.fingerprint)).to_hex().to_string(),
        };
        let mut eos = parts.eos;
        eos.retain(|id| (*id as usize) < config.vocab);
        eos.sort_unstable();
        eos.dedup();
        if eos.is_empty() {
            let reason = "missing, and the tokenizer's configuration names no `eos_token`".to_string();
            return Err(OpenError::field("config.json", "eos_token_id", reason));
        }
        let language =
            Language { vocabulary: Arc::new(parts.vocabulary), eos: eos.into(), phrases: parts.phrases };
        let runner = loaded.runner(shape, blocks, options)?;
        Self::spawn(runner, blocks, info, language, parts.chat, context, options, observed)
    }

    #[expect(clippy::too_many_arguments, reason = "private constructor; tests pass another runner")]
    pub(crate) fn spawn(
        runner: impl Runner + 'static,
        blocks: usize,
        info: ModelInfo,
        language: Language,
        chat: Chat,
        context: usize,
        options: &EngineOptions,
        observed: Observed<'_>,
    ) -> Result<Self, OpenError> {
        let setup = |e: &dyn std::fmt::Display| OpenError::Setup(e.to_string());
        options.shares.check().map_err(|e| setup(&e))?;
        let metrics = observed.registry.map(|registry| Metrics::register(registry, observed.engine));
        let metrics = metrics.transpose().map_err(|e| setup(&e))?;
        let block_tokens = options.block_tokens.max(1);
        let root = BlockKey::root(&info.fingerprint, options.kv_precision.name(), block_tokens);
        let limits = Limits {
            block_tokens,
            running_max: options.running_max.max(1),
            step_tokens_max: (options.prefill_chunk_tokens * runner.step_factor()).clamp(1, STEP_TOKENS_MAX),
            reserve: if options.reserve_longest { Reserve::Longest } else { Reserve::Known },
        };
        let queued = Arc::new(AtomicUsize::new(0));
        let (sender, receiver) = mpsc::channel(options.queue_max.max(1) + NOTICES_MAX);
        let shape = runner.kv_shape();
        let grammars = Grammars::new(language.vocabulary.clone(), language.eos.clone(), runner.vocab());
        // Weak, or the engine would never see that all callers are gone.
        let waker = sender.downgrade();
        let wake = Box::new(move || {
            if let Some(inbox) = waker.upgrade() {
                let _ = inbox.try_send(Command::Wake);
            }
        });
        let tiers = Tiers::open_below(options.kv_precision, &options.tiers, shape, &info.fingerprint, wake)
            .map_err(|e| setup(&e))?;
        let pinned_blocks_max = options.pinned_bytes_max / shape.block_bytes(options.kv_precision).max(1);
        let prefetch_blocks_max = options.prefetch_bytes_max / shape.block_bytes(options.kv_precision).max(1);
        let core = {
            let (language, metrics, queued) = (language.clone(), metrics.clone(), queued.clone());
            let (eviction, quotas) = (options.eviction, options.shares.quotas(blocks));
            let tune_step_s_max = options.tune.then_some(options.tune_step_s_max);
            let is_watched = options.shadow_policies || options.tune;
            let watched: &'static [Eviction] = if is_watched { &Eviction::ALL } else { &[] };
            // Blocks are counted without locks, so their pool is born on the thread that owns it.
            move || {
                EngineCore::new(Setup {
                    runner,
                    pool: Pool::with(blocks, eviction.policy(blocks), &quotas),
                    eviction,
                    shadows: Shadows::new(watched, blocks, block_tokens),
                    tune_step_s_max,
                    tiers,
                    pinned_blocks_max,
                    prefetch_blocks_max,
                    root,
                    limits,
                    language,
                    metrics,
                    inbox: receiver,
                    queued,
                })
            }
        };
        let thread = std::thread::Builder::new()
            .name("bul-engine".into())
            .spawn(move || core().run())
            .map_err(|e| setup(&e))?;
        Ok(Self {
            info,
            language,
            grammars: Arc::new(grammars),
            chat,
            root,
            block_tokens,
            context,
            session_ttl_ms: options.session_ttl_ms,
            queue_max: options.queue_max.max(1),
            queued,
            inbox: Some(sender),
            thread: Some(thread),
            metrics,
            heeds_forecasts: heeds_forecasts(options),
            announced: Mutex::default(),
        })
    }
}

#[async_trait]
impl Generate for LocalModel {
    fn info(&self) -> ModelInfo {
        self.info.clone()
    }

    fn announce(&self, forecast: &Forecast) {
        let (vocabulary, known) = (&self.language.vocabulary, &mut *self.announced.lock());
        let outlook = outlook(forecast, &self.chat, vocabulary, self.root, self.block_tokens, known);
        if let Some(inbox) = &self.inbox {
            // When the engine is that busy, the next announcement will do.
            let _ = inbox.try_send(Command::Forecast(outlook));
        }
    }

    fn heeds_forecasts(&self) -> bool {
        self.heeds_forecasts
    }

    async fn cache_report(&self) -> Option<CacheReport> {
        let (reply, answer) = oneshot::channel();
        self.inbox.as_ref()?.send(Command::Report(reply)).await.ok()?;
        answer.await.ok()
    }

    async fn warm_up(&self, prefix: &ExpectedPrefix, keep_for: Duration) -> Result<Receipt, GenerateError> {
        let prompt =
            self.chat.prefix(&prefix.messages, &self.language.vocabulary).map_err(GenerateError::Rejected)?;
        let request = warm_up_request(prefix.tenant.clone());
        let (reply, answer) = oneshot::channel();
        let token = CancellationToken::new();
        let _guard = token.clone().drop_guard();
        let mut sequence = self.sequence_of(prompt, request, Reader::new(None, token, reply))?;
        sequence.keep = sequence.keys.last().map(|key| Keep {
            name: PinName::Prefix(*key),
            ttl_ms: u64::try_from(keep_for.as_millis()).unwrap_or(u64::MAX),
        });
        self.submit(sequence)?;
        answer.await.unwrap_or_else(|_| Err(stopped())).map(|done| done.receipt)
    }

    async fn generate(
        &self,
        request: Request,
        pieces: Option<Pieces>,
        cancel: CancellationToken,
    ) -> Result<Completion, GenerateError> {
        // Dropping this future must stop the engine's work too.
        let token = cancel.child_token();
        let _guard = token.clone().drop_guard();
        let (reply, answer) = oneshot::channel();
        let grammar = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(GenerateError::Cancelled),
            grammar = self.grammar(&request) => grammar,
        };
        let sequence = grammar.and_then(|grammar| self.sequence(request, grammar, pieces, token, reply));
        let submitted = sequence.and_then(|sequence| self.submit(sequence));
        if submitted.is_err() {
            if let Some(metrics) = &self.metrics {
                metrics.outcome(&submitted);
            }
            submitted?;
        }
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(GenerateError::Cancelled),
            answer = answer => answer.unwrap_or_else(|_| Err(stopped())),
        }
    }
}

impl Drop for LocalModel {
    fn drop(&mut self) {
        // Without senders the thread ends by itself.
        self.inbox = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Whether anything looks at what is announced: the policy in force, or one that may come into force or is compared with it, or
/// what brings blocks from slower places.
fn heeds_forecasts(options: &EngineOptions) -> bool {
    let looks_ahead = options.prefetch_bytes_max > 0 && !options.tiers.is_empty();
    options.eviction == Eviction::Planned || options.tune || options.shadow_policies || looks_ahead
}

fn stopped() -> GenerateError {
    GenerateError::Engine("the engine's thread has stopped".into())
}
