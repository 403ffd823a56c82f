//! An engine without a model, its jobs, and what each job's answer must be.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::chat::Chat;
use crate::detokenise::TextOut;
use crate::engine::{Command, EngineCore, Setup};
use crate::generate::{GenerateError, ModelInfo};
use crate::job::{Completion, Sampling};
use crate::kv::KvShape;
use crate::kv::key::{BlockKey, chain};
use crate::kv::pin::Keep;
use crate::kv::policy::Eviction;
use crate::kv::pool::Pool;
use crate::kv::quota::ANYONE;
use crate::kv::shadow::Shadows;
use crate::kv::tier::Tiers;
use crate::local::LocalModel;
use crate::open::{EngineOptions, Observed};
use crate::prefetch::{Chain, Outlook};
use crate::runner::Runner;
use crate::sample::Sampler;
use crate::sched::Limits;
use crate::sequence::{Identity, Language, Reader, Reply, Sequence, Step};
use crate::sim::{SimRunner, expected_logits};
use crate::testing;
use crate::trace::{self, Trace};

#[derive(Debug, Clone)]
pub(super) struct Job {
    pub tenant: String,
    pub lane: u8,
    pub public: Vec<u32>,
    pub data: Vec<u32>,
    pub max_tokens: usize,
    pub seed: u64,
}

pub(super) type Answer = oneshot::Receiver<Result<Completion, GenerateError>>;

pub(super) struct Factory {
    pub core: EngineCore<SimRunner>,
    pub queued: Arc<AtomicUsize>,
    language: Language,
    root: BlockKey,
    limits: Limits,
    _inbox: mpsc::Sender<Command>,
}

/// Tokens of some text, different for each `salt`.
pub(super) fn text(salt: u32, len: usize) -> Vec<u32> {
    (0..len as u32).map(|i| (salt.wrapping_mul(31) + i * (salt % 7 + 1)) % 200).collect()
}

/// Layout of the simulated runner's blocks.
pub(super) fn shape(limits: Limits) -> KvShape {
    SimRunner::new(1, limits.block_tokens).kv_shape()
}

/// The simulated model behind its trait, with `blocks` KV blocks.
pub(super) fn serve(runner: SimRunner, blocks: usize, options: &EngineOptions) -> LocalModel {
    let chat = Chat::new(testing::TEMPLATE, String::new(), String::new()).unwrap();
    let info = ModelInfo {
        kind: "local",
        name: "sim".into(),
        architecture: String::new(),
        parameters: None,
        context_tokens: None,
        precision: String::new(),
        fingerprint: "sim".into(),
    };
    let context = blocks * options.block_tokens;
    LocalModel::spawn(runner, blocks, info, language(), chat, context, options, Observed::default()).unwrap()
}

pub(super) fn language() -> Language {
    let vocabulary = testing::vocabulary();
    let eos = vec![vocabulary.id("<|end|>").unwrap()];
    Language { vocabulary: vocabulary.into(), eos: eos.into(), phrases: None }
}

impl Factory {
    pub fn new(limits: Limits, pool: Pool) -> Self {
        Self::with_tiers(limits, pool, Tiers::none(shape(limits)))
    }

    /// With places for evicted blocks.
    pub fn with_tiers(limits: Limits, pool: Pool, tiers: Tiers) -> Self {
        Self::build(limits, pool, tiers, None)
    }

    /// One that tunes itself.
    pub fn tuned(limits: Limits, pool: Pool) -> Self {
        Self::build(limits, pool, Tiers::none(shape(limits)), Some(1.0))
    }

    fn build(limits: Limits, pool: Pool, tiers: Tiers, tune_step_s_max: Option<f64>) -> Self {
        let watched: &[Eviction] = if tune_step_s_max.is_some() { &Eviction::ALL } else { &[] };
        let language = language();
        let (sender, inbox) = mpsc::channel(1);
        let queued = Arc::new(AtomicUsize::new(0));
        let root = BlockKey::root("sim", "f32", limits.block_tokens);
        let core = EngineCore::new(Setup {
            runner: SimRunner::new(language.vocabulary.size(), limits.block_tokens),
            shadows: Shadows::new(watched, pool.capacity(), limits.block_tokens),
            tune_step_s_max,
            pool,
            eviction: Eviction::Lru,
            tiers,
            pinned_blocks_max: 40,
            prefetch_blocks_max: 40,
            root,
            limits,
            language: language.clone(),
            metrics: None,
            inbox,
            queued: queued.clone(),
        });
        Self { core, queued, language, root, limits, _inbox: sender }
    }

    fn sequence(&self, job: &Job, reader: Reader) -> Sequence {
        let tokens = [job.public.as_slice(), &job.data].concat();
        let bt = self.limits.block_tokens;
        let trace = Trace::new(&reader.span);
        Sequence {
            identity: identity(job),
            prompt_tokens: tokens.len(),
            public_tokens: job.public.len(),
            tenant: job.tenant.clone(),
            account: ANYONE,
            keys: chain(self.root, bt, &tokens, job.public.len(), &job.tenant),
            tokens,
            max_tokens: job.max_tokens,
            sampler: Sampler::new(&sampling(job)),
            shape: None,
            grammar: None,
            text: TextOut::new(Vec::new(), false),
            readers: vec![reader],
            computed: 0,
            sealed: 0,
            announced: 0,
            cached_tokens: 0,
            tier_tokens: [0; 3],
            keep: None,
            held_until: None,
            admitted: None,
            first_token: None,
            trace,
        }
    }

    /// Hands a job in.
    pub fn submit(&mut self, job: &Job) -> (Answer, CancellationToken) {
        self.submit_kept(job, None)
    }

    /// The same, and its blocks are kept afterwards.
    pub fn submit_kept(&mut self, job: &Job, keep: Option<Keep>) -> (Answer, CancellationToken) {
        let (reply, answer) = oneshot::channel();
        let cancel = CancellationToken::new();
        let reader = reader(job.lane, reply, cancel.clone());
        self.queued.fetch_add(1, Ordering::Relaxed);
        let sequence = Sequence { keep, ..self.sequence(job, reader) };
        self.core.handle(Command::Generate(Box::new(sequence)));
        (answer, cancel)
    }

    /// Says that `times` jobs with this public text will come.
    pub fn outlook(&self, public: &[u32], times: u32) -> Outlook {
        let keys = chain(self.root, self.limits.block_tokens, public, public.len(), "");
        let needs = keys.iter().map(|key| (*key, times)).collect();
        let chain = Chain { tenant: String::new(), public: keys.len(), keys, times };
        Outlook { needs, chains: vec![chain] }
    }

    /// Steps until nothing is left to do.
    pub fn finish(&mut self) {
        for _ in 0..1_000_000 {
            if self.core.is_idle() {
                return;
            }
            self.core.step();
        }
        panic!("no end");
    }

    /// Runs one job alone.
    pub fn run(&mut self, job: &Job) -> Completion {
        let (mut answer, _) = self.submit(job);
        self.finish();
        answer.try_recv().unwrap().unwrap()
    }

    /// What the model without an engine says: text and number of tokens.
    pub fn expected(&self, job: &Job) -> (String, usize) {
        let (text, tokens) = self.spoken(job);
        (text, tokens.len())
    }

    /// Tokens of the expected answer.
    pub fn answer(&self, job: &Job) -> Vec<u32> {
        self.spoken(job).1
    }

    /// Text and tokens of the expected answer.
    pub fn spoken(&self, job: &Job) -> (String, Vec<u32>) {
        let sequence = self.written(job);
        (sequence.text.text().to_string(), sequence.tokens[sequence.prompt_tokens..].to_vec())
    }

    fn written(&self, job: &Job) -> Sequence {
        let mut sequence = self.sequence(job, reader(0, oneshot::channel().0, CancellationToken::new()));
        let Language { vocabulary, eos, .. } = &self.language;
        loop {
            let row = expected_logits(&sequence.tokens, self.limits.block_tokens, vocabulary.size());
            if sequence.draw(&row, vocabulary, eos) != Step::More {
                sequence.text.finish();
                return sequence;
            }
        }
    }

    /// No block, key or place in the queue is left behind.
    pub fn assert_nothing_leaked(&self) {
        let pool = self.core.pool();
        assert!(self.core.is_idle());
        assert_eq!(pool.held(), 0);
        assert_eq!(self.core.runner().begun(), 0, "a sequence went without leaving its last block");
        assert_eq!(pool.available(), pool.capacity());
        assert_eq!(pool.computing(), 0);
        assert_eq!(self.core.known(), 0);
        assert_eq!(self.queued.load(Ordering::Relaxed), 0);
    }
}

/// What decides a job's answer.
pub(super) fn identity(job: &Job) -> Identity {
    blake3::hash(format!("{:?}", Job { lane: 0, ..job.clone() }).as_bytes()).into()
}

fn reader(priority: u8, reply: Reply, cancel: CancellationToken) -> Reader {
    Reader { priority, span: trace::caller("job/part"), ..Reader::new(None, cancel, reply) }
}

fn sampling(job: &Job) -> Sampling {
    Sampling { max_tokens: job.max_tokens, temperature: 0.9, top_p: 0.95, seed: job.seed }
}
