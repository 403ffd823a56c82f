//! `EngineCore`: one thread that owns scheduling, blocks and sequences.
//!
//! Each step is drain → plan → run → apply. No locks: callers talk over a channel, whose bound is
//! kept by `local`. Invariant: every request that came in is answered exactly once, and gives
//! back every block it held.

mod ahead;
#[cfg(test)]
pub(crate) mod history;
mod step;
mod tune;
mod watch;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

pub(crate) use self::tune::TIMES;
use self::tune::Tuning;
use crate::generate::GenerateError;
use crate::job::Finish;
use crate::kv::key::BlockKey;
use crate::kv::pin::Pins;
use crate::kv::policy::Eviction;
use crate::kv::pool::Pool;
use crate::kv::shadow::Shadows;
use crate::kv::tier::Tiers;
use crate::metrics::Metrics;
use crate::prefetch::{Outlook, Prefetch};
use crate::report::CacheReport;
use crate::runner::Runner;
use crate::sched::{Limits, Place};
use crate::sequence::{Identity, Language, Live, Reader, Sequence};

/// Readers of one answer; a further one has it computed for itself.
const READERS_MAX: usize = 256;

/// What callers send to the engine's thread.
pub(crate) enum Command {
    /// Answer this.
    Generate(Box<Sequence>),
    /// What will be needed from now on.
    Forecast(Outlook),
    /// Blocks have come from the shared store.
    Wake,
    /// Say what the cache holds and found.
    Report(oneshot::Sender<CacheReport>),
}

/// What an engine consists of.
pub(crate) struct Setup<R> {
    pub runner: R,
    pub pool: Pool,
    pub eviction: Eviction,
    pub shadows: Shadows,
    /// Longest step that automatic tuning may bring about, seconds; `None` to leave all settings as they are.
    pub tune_step_s_max: Option<f64>,
    pub tiers: Tiers,
    /// Blocks that sessions and warmed-up prefixes may keep.
    pub pinned_blocks_max: usize,
    /// Blocks that may be brought ahead of need and wait to be used.
    pub prefetch_blocks_max: usize,
    pub root: BlockKey,
    pub limits: Limits,
    pub language: Language,
    pub metrics: Option<Metrics>,
    pub inbox: mpsc::Receiver<Command>,
    /// Requests accepted and not yet admitted; shared with `local`, which bounds it.
    pub queued: Arc<AtomicUsize>,
}

/// The engine's state; see the module's text.
pub(crate) struct EngineCore<R> {
    runner: R,
    pool: Pool,
    eviction: Eviction,
    shadows: Shadows,
    tuning: Option<Tuning>,
    tiers: Tiers,
    pins: Pins,
    prefetch: Prefetch,
    /// Requests that wait for the shared store in this step.
    held: HashSet<Place>,
    /// Requests have come or started since the prefetch was told.
    queue_changed: bool,
    /// There may be more to bring ahead of need.
    more_ahead: bool,
    /// Room for the bytes of one block.
    spare: Vec<f32>,
    root: BlockKey,
    limits: Limits,
    language: Language,
    metrics: Option<Metrics>,
    inbox: mpsc::Receiver<Command>,
    /// Taken from the inbox, not carried out yet.
    arrived: Vec<Command>,
    queued: Arc<AtomicUsize>,
    waiting: BTreeMap<Place, Sequence>,
    running: BTreeMap<Place, Live>,
    /// Requests waiting and running by what decides their answer.
    known: HashMap<Identity, Place>,
    arrivals: u64,
    started: Instant,
    counts: Counts,
    evicted_seen: u64,
    #[cfg(test)]
    pub history: Vec<history::Event>,
}

/// What the engine did since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Counts {
    pub steps: u64,
    pub preemptions: u64,
    /// Most tokens of one step.
    pub step_tokens_max: usize,
    /// Tokens computed, those of repeated starts included.
    pub computed: u64,
    /// Of these, tokens computed again because of preemptions.
    pub recomputed: u64,
    /// Prompt tokens of answered requests, and those of them found in the cache.
    pub prompt: u64,
    pub cached: u64,
    /// Of these, tokens from the host's memory, from disk and from the shared store.
    pub tiers: [u64; 3],
    /// Seconds of planning and bookkeeping before the model runs, and of the model.
    pub planning_s: f64,
    pub model_s: f64,
}

impl<R: Runner> EngineCore<R> {
    /// An idle engine.
    pub fn new(setup: Setup<R>) -> Self {
        let limits = setup.limits;
        // Each running answer gets its token in each step.
        let step_tokens_max = limits.step_tokens_max.max(limits.running_max);
        let limits = Limits { step_tokens_max, ..limits };
        let tuning = setup.tune_step_s_max.map(|max| Tuning::new(setup.pool.capacity(), limits, max));
        Self {
            tuning,
            runner: setup.runner,
            pool: setup.pool,
            eviction: setup.eviction,
            shadows: setup.shadows,
            tiers: setup.tiers,
            pins: Pins::new(setup.pinned_blocks_max),
            prefetch: Prefetch::new(setup.prefetch_blocks_max),
            held: HashSet::new(),
            queue_changed: false,
            more_ahead: false,
            spare: Vec::new(),
            root: setup.root,
            limits,
            language: setup.language,
            metrics: setup.metrics,
            inbox: setup.inbox,
            arrived: Vec::new(),
            queued: setup.queued,
            waiting: BTreeMap::new(),
            running: BTreeMap::new(),
            known: HashMap::new(),
            arrivals: 0,
            started: Instant::now(),
            counts: Counts::default(),
            evicted_seen: 0,
            #[cfg(test)]
            history: Vec::new(),
        }
    }

    /// Runs until all callers are gone.
    pub fn run(mut self) {
        while self.drain() {
            // A panic in one step must not silence the engine for all later requests.
            let work = AssertUnwindSafe(|| {
                for command in std::mem::take(&mut self.arrived) {
                    self.handle(command);
                }
                self.step();
            });
            if catch_unwind(work).is_err() {
                tracing::error!(running = self.running.len(), "a model step panicked");
                self.fail_all("a model step panicked");
            }
        }
        self.save_all();
    }

    /// Nothing waits or runs.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// What it did so far.
    #[cfg(test)]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Requests that others could join.
    #[cfg(test)]
    pub fn known(&self) -> usize {
        self.known.len()
    }

    /// Its blocks.
    #[cfg(test)]
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Takes in new requests; waits for one when there is nothing else to do. False at the end.
    fn drain(&mut self) -> bool {
        if self.is_idle() && !self.more_ahead {
            self.publish_gauges();
            match self.inbox.blocking_recv() {
                Some(command) => self.arrived.push(command),
                None => return false,
            }
        }
        while let Ok(command) = self.inbox.try_recv() {
            self.arrived.push(command);
        }
        true
    }

    /// Carries out one command.
    pub fn handle(&mut self, command: Command) {
        match command {
            Command::Generate(sequence) => self.enqueue(*sequence),
            Command::Forecast(outlook) => {
                self.pool.forecast(&outlook.needs);
                self.shadows.forecast(&outlook.needs);
                if let Some(tuning) = &mut self.tuning {
                    tuning.needs.clone_from(&outlook.needs);
                }
                if let Some(metrics) = &self.metrics {
                    metrics.expect(outlook.chains.len());
                }
                self.prefetch.forecast(outlook);
            }
            // Nothing to do but to look, which each step does.
            Command::Wake => {}
            Command::Report(reply) => {
                let _ = reply.send(self.report());
            }
        }
    }

    fn enqueue(&mut self, mut sequence: Sequence) {
        sequence.account = self.pool.tenant(&sequence.tenant);
        let most = self.pool.most(sequence.account);
        let needed = sequence.longest().div_ceil(self.limits.block_tokens);
        if needed > most {
            self.queued.fetch_sub(1, Ordering::Relaxed);
            let reason = format!("it needs {needed} KV blocks, and its tenant may have {most}");
            return self.answer(sequence, &Err(GenerateError::Rejected(reason)));
        }
        let Some(mut sequence) = self.attach(sequence) else { return };
        self.arrivals += 1;
        let place = Place::new(self.arrivals, sequence.lane());
        self.known.entry(sequence.identity).or_insert(place);
        self.ask_ahead(&mut sequence);
        self.queue_changed = true;
        self.waiting.insert(place, sequence);
    }

    /// Joins `sequence` to one with the same answer. Gives it back when there is none.
    fn attach(&mut self, mut sequence: Sequence) -> Option<Sequence> {
        let Some(place) = self.known.get(&sequence.identity).copied() else { return Some(sequence) };
        let waits = self.waiting.contains_key(&place);
        let same = match self.running.get_mut(&place) {
            Some(live) => Some(&mut live.sequence),
            None => self.waiting.get_mut(&place),
        };
        let Some(same) = same else { return Some(sequence) };
        if same.readers.len() + sequence.readers.len() > READERS_MAX {
            return Some(sequence);
        }
        self.queued.fetch_sub(1, Ordering::Relaxed);
        if let Some(metrics) = &self.metrics {
            metrics.attached.inc();
        }
        let readers = std::mem::take(&mut sequence.readers);
        same.readers.extend(readers.into_iter().map(|r| Reader { attached: true, ..r }));
        // An urgent reader makes the answer urgent.
        let better = Place::new(self.arrivals + 1, same.lane());
        if waits && better < place {
            self.arrivals += 1;
            if let Some(same) = self.waiting.remove(&place) {
                self.known.insert(same.identity, better);
                self.waiting.insert(better, same);
                self.queue_changed = true;
            }
        }
        None
    }

    fn drop_cancelled(&mut self) {
        let waiting = self.waiting.iter_mut();
        let gone: Vec<Place> = waiting.filter_map(|(p, s)| s.drop_cancelled().then_some(*p)).collect();
        for place in gone {
            if let Some(sequence) = self.waiting.remove(&place) {
                self.queue_changed = true;
                #[cfg(test)]
                self.history.push(history::Event::End(sequence.identity));
                self.forget(place, &sequence);
                if sequence.admitted.is_none() {
                    self.queued.fetch_sub(1, Ordering::Relaxed);
                }
                self.answer(sequence, &Err(GenerateError::Cancelled));
            }
        }
        let running = self.running.iter_mut();
        let gone: Vec<Place> =
            running.filter_map(|(p, live)| live.sequence.drop_cancelled().then_some(*p)).collect();
        for place in gone {
            self.end(place, &Err(GenerateError::Cancelled));
        }
    }

    /// Ends a running sequence and gives back what it held.
    fn end(&mut self, place: Place, outcome: &Result<Finish, GenerateError>) {
        let Some(Live { sequence, mut blocks }) = self.running.remove(&place) else { return };
        #[cfg(test)]
        self.history.push(history::Event::End(sequence.identity));
        self.prefetch.again();
        self.runner.leave(blocks.ids());
        if let (Some(keep), Ok(_)) = (&sequence.keep, outcome) {
            blocks.truncate(sequence.sealed);
            let now_ms = self.started.elapsed().as_millis() as u64;
            self.pins.insert(keep, std::mem::take(&mut blocks), now_ms);
        }
        drop(blocks);
        self.forget(place, &sequence);
        self.unannounce(&sequence);
        self.answer(sequence, outcome);
    }

    /// Later requests can no longer join this one.
    fn forget(&mut self, place: Place, sequence: &Sequence) {
        if self.known.get(&sequence.identity) == Some(&place) {
            self.known.remove(&sequence.identity);
        }
    }

    /// Says that `sequence` will not compute the rest of its keys.
    fn unannounce(&self, sequence: &Sequence) {
        for key in sequence.keys[..sequence.announced].iter().skip(sequence.sealed) {
            self.pool.end(key);
        }
    }

    /// Gives the blocks of a running sequence back; it starts again when there is room.
    fn preempt(&mut self, place: Place) {
        let Some(Live { mut sequence, blocks }) = self.running.remove(&place) else { return };
        #[cfg(test)]
        self.history.push(history::Event::Preempt(sequence.identity));
        self.runner.leave(blocks.ids());
        drop(blocks);
        self.unannounce(&sequence);
        sequence.rewind();
        self.waiting.insert(place, sequence);
        self.queue_changed = true;
        self.counts.preemptions += 1;
        if let Some(metrics) = &self.metrics {
            metrics.preemptions.inc();
        }
    }

    fn answer(&mut self, sequence: Sequence, outcome: &Result<Finish, GenerateError>) {
        if outcome.is_ok() {
            self.watch(&sequence);
            self.tune_policy();
        }
        if let Some(metrics) = &self.metrics {
            metrics.outcome(outcome);
        }
        for receipt in sequence.finish(outcome) {
            self.counts.prompt += receipt.prompt_tokens;
            self.counts.cached += receipt.cached_tokens;
            self.counts.tiers[0] += receipt.host_tokens;
            self.counts.tiers[1] += receipt.disk_tokens;
            self.counts.tiers[2] += receipt.remote_tokens;
            if let Some(metrics) = &self.metrics {
                metrics.count(&receipt);
            }
        }
    }

    fn fail_all(&mut self, reason: &str) {
        self.step_failed();
        while let Some(place) = self.running.keys().next_back().copied() {
            self.end(place, &Err(GenerateError::Engine(reason.to_string())));
        }
    }
}
