//! What the engine tells about its cache, and what other policies would have found in it.

use super::EngineCore;
use super::tune::Tuning;
use crate::kv::shadow::Seen;
use crate::report::CacheReport;
use crate::runner::Runner;
use crate::sequence::Sequence;

impl<R: Runner> EngineCore<R> {
    /// Shows an answered request to the shadows of other policies.
    pub(super) fn watch(&mut self, sequence: &Sequence) {
        let block_tokens = self.limits.block_tokens;
        let seen = Seen {
            keys: &sequence.keys,
            matchable: (sequence.prompt_tokens - 1) / block_tokens,
            public_tokens: sequence.public_tokens,
            prompt_tokens: sequence.prompt_tokens,
        };
        let now_ms = self.started.elapsed().as_millis() as u64;
        for (policy, tokens) in self.shadows.replay(seen, now_ms) {
            if let Some(metrics) = &self.metrics {
                metrics.shadow_hits.with_label_values(&[policy]).inc_by(tokens);
            }
        }
    }

    /// Changes the eviction policy where another one has proven better.
    pub(super) fn tune_policy(&mut self) {
        let Some(tuning) = &mut self.tuning else { return };
        let (prompt, found) = self.shadows.found();
        let Some(better) = tuning.policy.look(self.eviction, prompt, &found) else { return };
        tracing::info!(from = self.eviction.name(), to = better.name(), "another eviction policy finds more");
        self.eviction = better;
        self.pool.set_policy(better.policy(self.pool.capacity()));
        self.pool.forecast(&tuning.needs);
    }

    /// Takes in how long a step with prompts took, and changes the length of steps where that has proven faster.
    pub(super) fn tune_steps(&mut self, tokens: usize, seconds: f64) {
        let Some(Tuning { steps: tuner, .. }) = &mut self.tuning else { return };
        let before = tuner.settled();
        if tuner.computed(tokens, seconds) {
            tracing::info!(from = before, to = tuner.settled(), "steps of another length are faster");
        }
        self.limits.step_tokens_max = tuner.tokens().max(self.limits.running_max);
    }

    /// A step has failed or panicked: should it have been a longer one on trial, it is the last of its length.
    pub(super) fn step_failed(&mut self) {
        let Some(Tuning { steps: tuner, .. }) = &mut self.tuning else { return };
        tuner.failed();
        self.limits.step_tokens_max = tuner.tokens().max(self.limits.running_max);
    }

    /// What computes.
    #[cfg(test)]
    pub fn runner(&self) -> &R {
        &self.runner
    }

    /// What the cache holds and found.
    pub fn report(&self) -> CacheReport {
        CacheReport {
            policy: self.eviction.name(),
            step_tokens_max: self
                .tuning
                .as_ref()
                .map_or(self.limits.step_tokens_max, |tuning| tuning.steps.settled()),
            blocks: self.pool.capacity(),
            block_tokens: self.limits.block_tokens,
            held_blocks: self.pool.held(),
            cached_blocks: self.pool.cached(),
            evicted_blocks: self.pool.evicted(),
            prompt_tokens: self.counts.prompt,
            cached_tokens: self.counts.cached,
            host_tokens: self.counts.tiers[0],
            disk_tokens: self.counts.tiers[1],
            remote_tokens: self.counts.tiers[2],
            host_bytes: self.tiers.bytes().0,
            disk_bytes: self.tiers.bytes().1,
            saved_blocks: self.tiers.counts.saved,
            restored_blocks: self.tiers.counts.restored,
            declined_blocks: self.tiers.counts.declined,
            damaged_blocks: self.tiers.counts.damaged,
            tail_bytes: self.runner.tail_bytes(),
            pinned_blocks: self.pins.blocks(),
            prefetched_blocks: self.prefetch.counts.brought,
            prefetch_used_blocks: self.prefetch.counts.used,
            prefetch_wasted_blocks: self.prefetch.counts.wasted,
            computed_tokens: self.counts.computed,
            steps: self.counts.steps,
            planning_seconds: self.counts.planning_s,
            model_seconds: self.counts.model_s,
            preemptions: self.counts.preemptions,
            recomputed_tokens: self.counts.recomputed,
            shadows: self.shadows.rates(),
        }
    }

    /// Brings the metrics up to the engine's state.
    pub(super) fn publish_gauges(&mut self) {
        let Some(metrics) = &self.metrics else { return };
        metrics.running.set(self.running.len() as i64);
        metrics.waiting.set(self.waiting.len() as i64);
        metrics.kv_blocks.with_label_values(&["used"]).set(self.pool.held() as i64);
        metrics.kv_blocks.with_label_values(&["cached"]).set(self.pool.cached() as i64);
        metrics.kv_evicted.inc_by(self.pool.evicted() - self.evicted_seen);
        self.evicted_seen = self.pool.evicted();
        metrics.count_disk(self.tiers.disk_counts());
    }
}
