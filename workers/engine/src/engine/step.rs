//! One step of the engine: plan, start, compute, apply.

use std::collections::HashSet;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::EngineCore;
use crate::generate::GenerateError;
use crate::grammar::Grammar;
use crate::job::Finish;
use crate::kv::key::BlockKey;
use crate::kv::pool::{BlockRef, Pool, Taken};
use crate::kv::table::Table;
use crate::kv::tier::{Kind, Tiers};
use crate::model::decoder::{Logits, Span};
use crate::prefetch::Prefetch;
use crate::runner::{Picked, Row, Runner};
use crate::sched::{Facts, Place, Plan, Progress, Share, Waiting, plan};
use crate::sequence::{Language, Live, Sequence, Step};
use crate::trace::{self, Phase};

/// Waiting requests looked at in one step. Looking at all would cost more than a step when
/// thousands wait.
pub(super) const LOOKAHEAD_MAX: usize = 32;
/// How long the engine rests when all it has waits for the shared store.
const REST: Duration = Duration::from_micros(200);

impl<R: Runner> EngineCore<R> {
    /// One step of the loop.
    pub fn step(&mut self) {
        let began = Instant::now();
        self.drop_cancelled();
        let now_ms = self.started.elapsed().as_millis() as u64;
        self.pool.set_now(now_ms);
        self.pins.expire(now_ms);
        self.hold_back();
        let shares = self.plan();
        self.publish_gauges();
        let spans = self.spans(&shares);
        self.look_ahead();
        if spans.is_empty() {
            if !self.held.is_empty() {
                std::thread::sleep(REST);
            }
            return;
        }
        let started = Instant::now();
        let logits = self.compute(&shares, &spans);
        let seconds = started.elapsed().as_secs_f64();
        self.counts.planning_s += started.duration_since(began).as_secs_f64();
        self.counts.model_s += seconds;
        if let Some(metrics) = &self.metrics {
            metrics.step_seconds.observe(seconds);
        }
        match logits {
            Ok(logits) => {
                let tokens: usize = shares.iter().map(|share| share.tokens).sum();
                if tokens > 2 * shares.len() {
                    // Steps of answers alone say nothing about the time of a prompt.
                    self.tiers.costs.computed(tokens, seconds);
                    self.tune_steps(tokens, seconds);
                }
                self.apply(&shares, &logits);
            }
            Err(error) => {
                tracing::error!(%error, "a model step failed");
                self.fail_all(&error);
            }
        }
    }

    /// Runs the model; beside it, what may follow in answers that are held to a schema is found out.
    fn compute(&mut self, shares: &[Share], spans: &[Span]) -> Result<Picked, String> {
        let (runner, running) = (&mut self.runner, &mut self.running);
        let drawn: HashSet<Place> = shares.iter().filter(|s| s.last).map(|s| s.place).collect();
        let live = running.iter_mut().filter(|(place, _)| drawn.contains(place));
        let held: Vec<&mut Grammar> =
            live.filter_map(|(_, live)| live.sequence.grammar.as_deref_mut()).collect();
        if held.is_empty() {
            return runner.step(spans);
        }
        std::thread::scope(|scope| {
            scope.spawn(|| held.into_iter().for_each(Grammar::prepare));
            runner.step(spans)
        })
    }

    /// Plans until nobody has to give way, and starts who may start.
    fn plan(&mut self) -> Vec<Share> {
        loop {
            match self.next_plan() {
                // What is merely kept goes before what is running.
                Plan::Preempt(_) if self.pins.release_one() => {}
                Plan::Preempt(place) => self.preempt(place),
                Plan::Run { admit, mut shares } => {
                    for place in &admit {
                        self.start(*place);
                    }
                    if self.running.is_empty() && self.waiting.len() > self.held.len() {
                        if !self.pins.release_one() {
                            self.drop_stuck();
                        }
                        continue;
                    }
                    shares.iter_mut().for_each(|share| self.trim(share));
                    return shares;
                }
            }
        }
    }

    fn next_plan(&self) -> Plan {
        let block_tokens = self.limits.block_tokens;
        let running: Vec<Progress> =
            self.running.iter().map(|(place, live)| live.progress(*place, block_tokens)).collect();
        let mut waiting = Vec::new();
        if self.running.len() < self.limits.running_max || self.may_make_room(&running) {
            let ready = self.waiting.iter().filter(|(place, _)| !self.held.contains(*place));
            let ahead = ready.take(LOOKAHEAD_MAX);
            waiting.extend(ahead.map(|(place, sequence)| self.view(*place, sequence)));
        }
        let tenants = running.iter().map(|p| p.tenant).chain(waiting.iter().map(|w| w.progress.tenant));
        let ledger = self.pool.ledger(tenants);
        plan(&Facts { limits: self.limits, running: &running, waiting: &waiting, ledger })
    }

    /// Is the first in line of a better lane than somebody who runs?
    fn may_make_room(&self, running: &[Progress]) -> bool {
        let mut ready = self.waiting.iter().filter(|(place, _)| !self.held.contains(*place));
        let first = ready.next().map(|(_, sequence)| sequence.lane());
        first.is_some_and(|lane| running.iter().any(|p| p.lane > lane))
    }

    /// What a waiting sequence would find in the cache.
    fn view<'a>(&self, place: Place, sequence: &'a Sequence) -> Waiting<'a> {
        let block_tokens = self.limits.block_tokens;
        let keys = sequence.matchable(block_tokens);
        let found = self.pool.probe(keys);
        let mut progress = sequence.progress(place, block_tokens);
        progress.blocks = found.blocks;
        progress.computed = found.blocks * block_tokens;
        Waiting {
            progress,
            keys,
            idle: (found.idle_public, found.idle_own),
            prefix_under_way: keys.get(found.blocks).is_some_and(|key| self.pool.is_computing(key)),
        }
    }

    /// What came back from a slower tier since the plan was made need not be computed.
    fn trim(&self, share: &mut Share) {
        if let Some(live) = self.running.get(&share.place) {
            let missing = live.sequence.tokens.len() - live.sequence.computed;
            share.tokens = share.tokens.min(missing);
            share.last = share.tokens == missing;
        }
    }

    /// When nothing runs and the first in line cannot start either, nothing ever will: it is
    /// refused.
    fn drop_stuck(&mut self) {
        let stuck = self.waiting.keys().copied().find(|place| !self.held.contains(place));
        let Some((place, sequence)) = stuck.and_then(|place| self.waiting.remove_entry(&place)) else {
            return;
        };
        self.queue_changed = true;
        tracing::error!(tenant = sequence.tenant, "a request finds too few blocks in an idle engine");
        self.forget(place, &sequence);
        if sequence.admitted.is_none() {
            self.queued.fetch_sub(1, Ordering::Relaxed);
        }
        let reason = "too few KV blocks, though nothing else runs".to_string();
        self.answer(sequence, &Err(GenerateError::Engine(reason)));
    }

    /// Moves a sequence from waiting to running, with what the cache holds of it.
    fn start(&mut self, place: Place) {
        let Some(mut sequence) = self.waiting.remove(&place) else { return };
        #[cfg(test)]
        self.history.push(super::history::Event::Start(sequence.identity));
        self.queue_changed = true;
        let block_tokens = self.limits.block_tokens;
        let matchable = sequence.matchable(block_tokens).len();
        if sequence.admitted.is_none() {
            // The tail first, so that it also goes first among equals.
            for key in sequence.keys[..matchable].iter().rev() {
                self.pool.used(key);
                self.prefetch.used(key);
            }
        }
        sequence.trace.close();
        let restoring = (!self.tiers.is_empty()).then(|| sequence.restoring());
        let mut blocks = Table::default();
        let mut tier_tokens = [0; 3];
        while blocks.len() < matchable {
            let key = sequence.keys[blocks.len()];
            if let Some(block) = self.pool.share(&key) {
                self.prefetch.found(&key);
                blocks.push(block);
                continue;
            }
            let Some((kind, block)) = self.restore(&key, &sequence, blocks.len()) else { break };
            blocks.push(block);
            tier_tokens[kind as usize] += block_tokens;
        }
        if let Some(span) = restoring {
            trace::restored(&span, tier_tokens);
        }
        let matched = blocks.len();
        sequence.sealed = matched;
        sequence.computed = matched * block_tokens;
        sequence.trace.found(sequence.computed);
        sequence.enter(Phase::Prefill);
        sequence.announced = matchable;
        for key in &sequence.keys[matched..matchable] {
            self.pool.begin(*key);
        }
        if sequence.admitted.is_none() {
            self.queued.fetch_sub(1, Ordering::Relaxed);
            sequence.admitted = Some(Instant::now());
            // What it finds after a preemption is its own work, not a hit.
            sequence.cached_tokens = sequence.computed;
            sequence.tier_tokens = tier_tokens;
        }
        self.running.insert(place, Live { sequence, blocks });
    }

    /// Brings block `at` of a sequence back from a slower tier, if that pays.
    fn restore(&mut self, key: &BlockKey, sequence: &Sequence, at: usize) -> Option<(Kind, BlockRef)> {
        if self.tiers.is_empty() {
            return None;
        }
        let (kind, values) = self.tiers.load(key)?;
        let block_tokens = self.limits.block_tokens;
        let public = (at + 1) * block_tokens <= sequence.public_tokens;
        let taken = self.pool.take(sequence.account, public)?;
        let block = keep(&mut self.tiers, &mut self.prefetch, &mut self.runner, &mut self.spare, taken);
        self.runner.import(block.id(), &values);
        self.pool.publish(*key, &block, sequence.segment(at, block_tokens));
        Some((kind, block))
    }

    fn spans(&mut self, shares: &[Share]) -> Vec<Span> {
        let block_tokens = self.limits.block_tokens;
        let mut spans = Vec::with_capacity(shares.len());
        let mut tokens = 0;
        for share in shares {
            let Some(Live { sequence, blocks }) = self.running.get_mut(&share.place) else { continue };
            #[cfg(test)]
            self.history.push(super::history::Event::Compute(sequence.identity, share.tokens));
            let end = sequence.computed + share.tokens;
            while blocks.len() * block_tokens < end {
                let public = (blocks.len() + 1) * block_tokens <= sequence.public_tokens;
                let taken = self.pool.take(sequence.account, public);
                // The plan never grants what the pool does not have.
                let Some(taken) = taken else { unreachable!("a planned block is missing") };
                let (tiers, prefetch) = (&mut self.tiers, &mut self.prefetch);
                blocks.push(keep(tiers, prefetch, &mut self.runner, &mut self.spare, taken));
            }
            tokens += share.tokens;
            spans.push(Span {
                tokens: sequence.tokens[sequence.computed..end].to_vec(),
                start: sequence.computed,
                blocks: blocks.ids().to_vec(),
                logits: if share.last { sequence.wanted() } else { Logits::None },
            });
        }
        self.counts.steps += u64::from(!spans.is_empty());
        self.counts.computed += tokens as u64;
        self.counts.step_tokens_max = self.counts.step_tokens_max.max(tokens);
        spans
    }

    fn apply(&mut self, shares: &[Share], picked: &Picked) {
        let mut rows = picked.rows(self.runner.vocab()).enumerate();
        let mut recomputed = 0;
        let mut ended: Vec<(Place, Result<Finish, GenerateError>)> = Vec::new();
        for share in shares {
            let Some(live) = self.running.get_mut(&share.place) else { continue };
            recomputed += live.sequence.advance(share.tokens);
            let from = live.sequence.sealed;
            seal(&self.pool, self.root, self.limits.block_tokens, live);
            write_through(&mut self.tiers, &mut self.runner, &mut self.spare, live, from);
            let sequence = &mut live.sequence;
            if !share.last {
                continue;
            }
            let Some((pick, row)) = rows.next() else {
                ended.push((share.place, Err(GenerateError::Engine("a row of logits is missing".into()))));
                continue;
            };
            sequence.enter(Phase::Decode);
            let Language { vocabulary, eos, .. } = &self.language;
            let step = match row {
                Row::Whole(row) => sequence.draw(row, vocabulary, eos),
                Row::Best(best) => match sequence.draw_best(best, vocabulary, eos) {
                    Some(step) => step,
                    None => match self.runner.logits(pick) {
                        Ok(row) => sequence.draw(&row, vocabulary, eos),
                        Err(error) => {
                            ended.push((share.place, Err(GenerateError::Engine(error))));
                            continue;
                        }
                    },
                },
            };
            match step {
                Step::More => sequence.stream(),
                Step::Done(finish) => ended.push((share.place, Ok(finish))),
                Step::Stuck => {
                    ended.push((share.place, Err(GenerateError::Shape(sequence.why_stuck()))));
                }
            }
        }
        self.counts.recomputed += recomputed;
        if let Some(metrics) = &self.metrics {
            metrics.recomputed.inc_by(recomputed);
        }
        for (place, outcome) in ended {
            self.end(place, &outcome);
        }
    }
}

/// Saves what a block held before, since it will now be written over.
pub(super) fn keep<R: Runner>(
    tiers: &mut Tiers,
    prefetch: &mut Prefetch,
    runner: &mut R,
    spare: &mut Vec<f32>,
    taken: Taken,
) -> BlockRef {
    if let Some(key) = taken.evicted {
        prefetch.evicted(&key);
        // Exporting a block that is kept already would be for nothing.
        if !tiers.is_empty() && !tiers.holds(&key) {
            runner.export(taken.block.id(), spare);
            tiers.save(key, spare);
        }
    }
    taken.block
}

/// Saves the blocks of the prompt that have been published since the block `from`, where the tiers want them at once.
fn write_through<R: Runner>(
    tiers: &mut Tiers,
    runner: &mut R,
    spare: &mut Vec<f32>,
    live: &Live,
    from: usize,
) {
    let Live { sequence, blocks } = live;
    let block_tokens = runner.kv_shape().block_tokens;
    let to = sequence.sealed.min(sequence.prompt_tokens / block_tokens);
    for at in from..to {
        let (key, Some(block)) = (&sequence.keys[at], blocks.get(at)) else { return };
        if tiers.wants(key) {
            runner.export(block.id(), spare);
            tiers.save(*key, spare);
        }
    }
}

/// Publishes the blocks of a sequence that are full and written.
fn seal(pool: &Pool, root: BlockKey, block_tokens: usize, live: &mut Live) {
    let Live { sequence, blocks } = live;
    while (sequence.sealed + 1) * block_tokens <= sequence.computed {
        let at = sequence.sealed;
        let key = sequence.key(at, block_tokens, root);
        if let Some(block) = blocks.get(at) {
            pool.publish(key, block, sequence.segment(at, block_tokens));
        }
        if at < sequence.announced {
            pool.end(&key);
        }
        sequence.sealed += 1;
    }
}
