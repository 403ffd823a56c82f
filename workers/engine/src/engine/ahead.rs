//! Bringing blocks to the device before a request asks for them, and keeping them for the next start.

use std::time::Instant;

use super::EngineCore;
use super::step::{LOOKAHEAD_MAX, keep};
use crate::kv::key::BlockKey;
use crate::kv::policy::Segment;
use crate::kv::precision::KvPrecision;
use crate::kv::table::Table;
use crate::prefetch::{Chain, QUEUE_MAX};
use crate::runner::Runner;
use crate::sequence::Sequence;

/// Bytes brought between two steps while requests run: about a millisecond of their time.
const BUSY_BYTES: usize = 1 << 20;
/// The same while none runs; a request that comes meanwhile waits that long.
const IDLE_BYTES: usize = 16 << 20;

impl<R: Runner> EngineCore<R> {
    /// Brings what requests that still wait and the forecast need next. Runs when the step's own blocks are taken: what is free
    /// or idle then was promised to nobody.
    pub(super) fn look_ahead(&mut self) {
        if self.tiers.is_empty() {
            return;
        }
        if std::mem::take(&mut self.queue_changed) {
            let ahead = self.waiting.values().take(QUEUE_MAX);
            self.prefetch.queue(ahead.map(|sequence| self.chain(sequence)).collect());
        }
        let bytes = if self.running.is_empty() { IDLE_BYTES } else { BUSY_BYTES };
        let blocks = (bytes / self.runner.kv_shape().block_bytes(KvPrecision::F32).max(1)).max(1);
        // Given back the last one first, so that the beginning of a prefix stays longest.
        let mut brought = Table::default();
        self.more_ahead = (0..blocks).all(|_| self.bring_one(&mut brought));
        drop(brought);
        if let Some(metrics) = &self.metrics {
            metrics.count_ahead(self.prefetch.counts, self.tiers.remote_counts());
        }
    }

    fn chain(&self, sequence: &Sequence) -> Chain {
        let block_tokens = self.limits.block_tokens;
        Chain {
            tenant: sequence.tenant.clone(),
            keys: sequence.matchable(block_tokens).to_vec(),
            public: sequence.public_tokens / block_tokens,
            times: 1,
        }
    }

    /// Brings one block; false when there is none to bring for now.
    fn bring_one(&mut self, brought: &mut Table) -> bool {
        let Some(wanted) = self.prefetch.next(&self.pool, &mut self.tiers) else { return false };
        let account = self.pool.tenant(&wanted.tenant);
        let Some(taken) = self.prefetch.take(&self.pool, account, &wanted) else { return false };
        let block = keep(&mut self.tiers, &mut self.prefetch, &mut self.runner, &mut self.spare, taken);
        let Some((_, values)) = self.tiers.load(&wanted.key) else {
            self.prefetch.unreadable();
            return true;
        };
        self.runner.import(block.id(), &values);
        let segment = if wanted.is_public { Segment::Public } else { Segment::Tenant };
        self.pool.publish(wanted.key, &block, segment);
        self.prefetch.brought(wanted.key);
        brought.push(block);
        true
    }

    /// A request waits: what the shared store has of its prompt may be here when it starts.
    pub(super) fn ask_ahead(&mut self, sequence: &mut Sequence) {
        let block_tokens = self.limits.block_tokens;
        let keys = sequence.matchable(block_tokens);
        let missing = &keys[self.pool.probe(keys).blocks..];
        if !self.tiers.is_shared() || missing.is_empty() {
            return;
        }
        self.tiers.ask(missing);
        sequence.held_until = Some(Instant::now() + self.tiers.patience(missing.len() * block_tokens));
    }

    /// Takes in what the shared store has brought, and finds the requests that do not start yet, since the next block of their
    /// prompts is on its way.
    pub(super) fn hold_back(&mut self) {
        self.held.clear();
        if !self.tiers.is_shared() {
            return;
        }
        let has_come = self.tiers.collect();
        if has_come {
            self.prefetch.again();
        }
        let (now, block_tokens) = (Instant::now(), self.limits.block_tokens);
        for (at, (place, sequence)) in self.waiting.iter_mut().enumerate() {
            if sequence.held_until.is_none_or(|until| until <= now) {
                continue;
            }
            if at >= LOOKAHEAD_MAX {
                // Not looked at yet; it must not pass those before it and compute what they wait for.
                self.held.insert(*place);
                continue;
            }
            let keys = sequence.matchable(block_tokens);
            let is_here = |key: &&BlockKey| self.pool.is_published(key) || self.tiers.finds(key);
            let here = keys.iter().take_while(is_here).count();
            if has_come {
                // There is room for further questions.
                let not_on_device = keys.iter().filter(|key| !self.pool.is_published(key));
                let chain: Vec<BlockKey> = not_on_device.copied().collect();
                self.tiers.ask(&chain);
            }
            if self.tiers.is_coming(&keys[here..]) {
                self.held.insert(*place);
            } else {
                sequence.held_until = None;
            }
        }
    }

    /// Keeps the cache for the next start, where there is a tier that outlives this one.
    pub fn save_all(&mut self) {
        if self.tiers.is_empty() {
            return;
        }
        for (key, block) in self.pool.published() {
            self.runner.export(block, &mut self.spare);
            self.tiers.save(key, &self.spare);
        }
        self.tiers.close();
    }
}
