//! `EngineCore`: one thread that owns scheduling, blocks and sequences.
//!
//! Each step is drain → admit → plan → run → apply. No locks: callers talk over a channel, whose
//! bound is kept by `local`. Invariant: every sequence that came in is answered exactly once,
//! and gives back every block it held.

use std::collections::{BTreeMap, HashMap};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::mpsc;

use crate::generate::GenerateError;
use crate::job::Finish;
use crate::kv::key::BlockKey;
use crate::kv::pool::Pool;
use crate::metrics::Metrics;
use crate::model::decoder::{Logits, Span};
use crate::runner::Runner;
use crate::sched::{Progress, Share, plan};
use crate::sequence::{Language, Sequence, Step};

/// Limits of the core.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CoreLimits {
    pub block_tokens: usize,
    pub running_max: usize,
    pub prefill_tokens_max: usize,
}

/// The engine's state; see the module's text.
pub(crate) struct EngineCore<R> {
    runner: R,
    pool: Pool,
    root: BlockKey,
    limits: CoreLimits,
    language: Language,
    metrics: Option<Metrics>,
    inbox: mpsc::Receiver<Sequence>,
    /// Requests accepted and not yet admitted; shared with `local`, which bounds it.
    queued: Arc<AtomicUsize>,
    /// Lower priority first, then first come first served.
    waiting: BTreeMap<(u8, u64), Sequence>,
    arrivals: u64,
    running: Vec<Sequence>,
    /// Blocks promised to running sequences and not taken yet.
    promised: usize,
    /// Keys of blocks that running sequences are computing, with how many do.
    computing: HashMap<BlockKey, usize>,
    evicted_seen: u64,
}

/// What admission found out about a waiting sequence.
enum Admission {
    /// Start it now.
    Admit,
    /// Another sequence computes its prefix: wait for those blocks.
    Wait,
    /// Too few blocks are free.
    Full,
}

impl<R: Runner> EngineCore<R> {
    /// An idle engine.
    pub fn new(
        runner: R,
        pool: Pool,
        root: BlockKey,
        limits: CoreLimits,
        language: Language,
        metrics: Option<Metrics>,
        inbox: (mpsc::Receiver<Sequence>, Arc<AtomicUsize>),
    ) -> Self {
        Self {
            runner,
            pool,
            root,
            limits,
            language,
            metrics,
            inbox: inbox.0,
            queued: inbox.1,
            waiting: BTreeMap::new(),
            arrivals: 0,
            running: Vec::new(),
            promised: 0,
            computing: HashMap::new(),
            evicted_seen: 0,
        }
    }

    /// Runs until all callers are gone.
    pub fn run(mut self) {
        while self.drain() {
            // A panic in one step must not silence the engine for all later requests.
            if catch_unwind(AssertUnwindSafe(|| self.step())).is_err() {
                tracing::error!(running = self.running.len(), "a model step panicked");
                self.fail_all("a model step panicked");
            }
        }
    }

    /// Takes in new requests; waits for one when there is nothing else to do. False at the end.
    fn drain(&mut self) -> bool {
        if self.running.is_empty() && self.waiting.is_empty() {
            self.publish_gauges();
            match self.inbox.blocking_recv() {
                Some(sequence) => self.enqueue(sequence),
                None => return false,
            }
        }
        while let Ok(sequence) = self.inbox.try_recv() {
            self.enqueue(sequence);
        }
        true
    }

    fn enqueue(&mut self, sequence: Sequence) {
        self.arrivals += 1;
        self.waiting.insert((sequence.priority, self.arrivals), sequence);
    }

    /// One step of the loop: cancel, admit, compute, apply.
    pub fn step(&mut self) {
        self.drop_cancelled();
        self.admit();
        self.publish_gauges();
        let progress: Vec<Progress> =
            self.running.iter().map(|s| Progress { computed: s.computed, known: s.tokens.len() }).collect();
        let shares = plan(&progress, self.limits.prefill_tokens_max);
        if shares.is_empty() {
            return;
        }
        let spans = self.spans(&shares);
        let started = Instant::now();
        let logits = self.runner.run(&spans);
        if let Some(metrics) = &self.metrics {
            metrics.step_seconds.observe(started.elapsed().as_secs_f64());
        }
        match logits {
            Ok(logits) => self.apply(&shares, &logits),
            Err(error) => {
                tracing::error!(%error, "a model step failed");
                self.fail_all(&error);
            }
        }
    }

    fn drop_cancelled(&mut self) {
        let gone: Vec<_> =
            self.waiting.iter().filter(|(_, s)| s.cancel.is_cancelled()).map(|(key, _)| *key).collect();
        for key in gone {
            if let Some(sequence) = self.waiting.remove(&key) {
                self.queued.fetch_sub(1, Ordering::Relaxed);
                self.answer(sequence, Err(GenerateError::Cancelled));
            }
        }
        let mut index = 0;
        while index < self.running.len() {
            if self.running[index].cancel.is_cancelled() {
                self.end(index, Err(GenerateError::Cancelled));
            } else {
                index += 1;
            }
        }
    }

    /// Starts waiting sequences in order. One that waits for another's prefix lets later ones
    /// pass; one that lacks memory does not, or it might wait for ever.
    fn admit(&mut self) {
        let keys: Vec<_> = self.waiting.keys().copied().collect();
        for key in keys {
            if self.running.len() >= self.limits.running_max {
                return;
            }
            match self.waiting.get(&key).map(|sequence| self.judge(sequence)) {
                Some(Admission::Admit) => {
                    if let Some(sequence) = self.waiting.remove(&key) {
                        self.start(sequence);
                    }
                }
                Some(Admission::Wait) | None => {}
                Some(Admission::Full) => return,
            }
        }
    }

    fn judge(&self, sequence: &Sequence) -> Admission {
        let keys = sequence.matchable(self.limits.block_tokens);
        let (matched, idle) = self.pool.probe(keys);
        if keys.get(matched).is_some_and(|key| self.computing.contains_key(key)) {
            return Admission::Wait;
        }
        // Sharing an idle block takes it from those that could be evicted.
        let needed = sequence.blocks_max(self.limits.block_tokens) - matched + idle;
        if self.pool.available() < self.promised + needed { Admission::Full } else { Admission::Admit }
    }

    fn start(&mut self, mut sequence: Sequence) {
        self.queued.fetch_sub(1, Ordering::Relaxed);
        sequence.admitted = Some(Instant::now());
        let block_tokens = self.limits.block_tokens;
        let matchable = sequence.matchable(block_tokens).to_vec();
        for key in &matchable {
            let Some(block) = self.pool.share(key) else { break };
            sequence.blocks.push(block);
        }
        let matched = sequence.blocks.len();
        sequence.sealed = matched;
        sequence.computed = matched * block_tokens;
        sequence.cached_tokens = sequence.computed;
        for key in &matchable[matched..] {
            *self.computing.entry(*key).or_default() += 1;
        }
        self.promised += sequence.blocks_max(block_tokens) - matched;
        self.running.push(sequence);
    }

    fn spans(&mut self, shares: &[Share]) -> Vec<Span> {
        let block_tokens = self.limits.block_tokens;
        let mut spans = Vec::with_capacity(shares.len());
        for share in shares {
            let sequence = &mut self.running[share.sequence];
            let end = sequence.computed + share.tokens;
            while sequence.blocks.len() * block_tokens < end {
                // Admission promised these blocks, so the pool has them.
                let Some(block) = self.pool.take() else { break };
                self.promised -= 1;
                sequence.blocks.push(block);
            }
            spans.push(Span {
                tokens: sequence.tokens[sequence.computed..end].to_vec(),
                start: sequence.computed,
                blocks: sequence.blocks.clone(),
                logits: if share.last { Logits::Last } else { Logits::None },
            });
        }
        spans
    }

    fn apply(&mut self, shares: &[Share], logits: &[f32]) {
        let mut rows = logits.chunks_exact(self.runner.vocab());
        let mut ended: Vec<(usize, Result<Finish, GenerateError>)> = Vec::new();
        for share in shares {
            self.running[share.sequence].computed += share.tokens;
            self.seal(share.sequence);
            if !share.last {
                continue;
            }
            let sequence = &mut self.running[share.sequence];
            let Some(row) = rows.next() else {
                ended.push((share.sequence, Err(GenerateError::Engine("a row of logits is missing".into()))));
                continue;
            };
            match sequence.draw(row, &self.language.vocabulary, &self.language.eos) {
                Step::More => sequence.stream(),
                Step::Done(finish) => ended.push((share.sequence, Ok(finish))),
                Step::Stuck => {
                    let reason = "no token of the vocabulary fits the constraint".to_string();
                    ended.push((share.sequence, Err(GenerateError::Shape(reason))));
                }
            }
        }
        // From the back, so that indices stay valid.
        for (index, outcome) in ended.into_iter().rev() {
            self.end(index, outcome);
        }
    }

    /// Publishes the blocks of a sequence that are full and written.
    fn seal(&mut self, index: usize) {
        let block_tokens = self.limits.block_tokens;
        let sequence = &mut self.running[index];
        while (sequence.sealed + 1) * block_tokens <= sequence.computed {
            let key = sequence.key(sequence.sealed, block_tokens, self.root);
            self.pool.publish(key, sequence.blocks[sequence.sealed]);
            forget(&mut self.computing, &key);
            sequence.sealed += 1;
        }
    }

    /// Ends a running sequence and gives back what it held.
    fn end(&mut self, index: usize, outcome: Result<Finish, GenerateError>) {
        let sequence = self.running.remove(index);
        let block_tokens = self.limits.block_tokens;
        for key in sequence.matchable(block_tokens).iter().skip(sequence.sealed) {
            forget(&mut self.computing, key);
        }
        self.promised -= sequence.blocks_max(block_tokens) - sequence.blocks.len();
        self.pool.release(&sequence.blocks);
        self.answer(sequence, outcome);
    }

    fn answer(&self, sequence: Sequence, outcome: Result<Finish, GenerateError>) {
        if let Some(metrics) = &self.metrics {
            metrics.outcome(&outcome);
        }
        let receipt = sequence.finish(outcome);
        if let (Some(metrics), Some(receipt)) = (&self.metrics, receipt) {
            metrics.count_tokens(&receipt);
        }
    }

    fn fail_all(&mut self, reason: &str) {
        while !self.running.is_empty() {
            self.end(self.running.len() - 1, Err(GenerateError::Engine(reason.to_string())));
        }
    }

    fn publish_gauges(&mut self) {
        let Some(metrics) = &self.metrics else { return };
        metrics.running.set(self.running.len() as i64);
        metrics.waiting.set(self.waiting.len() as i64);
        metrics.kv_blocks.with_label_values(&["used"]).set(self.pool.held() as i64);
        metrics.kv_blocks.with_label_values(&["cached"]).set(self.pool.cached() as i64);
        metrics.kv_evicted.inc_by(self.pool.evicted() - self.evicted_seen);
        self.evicted_seen = self.pool.evicted();
    }
}

fn forget(computing: &mut HashMap<BlockKey, usize>, key: &BlockKey) {
    if let Some(count) = computing.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            computing.remove(key);
        }
    }
}
