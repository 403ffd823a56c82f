//! What an engine's cache holds and found, for people and for `bul bench`.

use serde::Serialize;

use crate::kv::shadow::ShadowRate;

/// State and counts of one engine since its start.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct CacheReport {
    /// Eviction policy.
    pub policy: &'static str,
    /// Tokens that one step may have, where they were tuned as it has turned out best.
    pub step_tokens_max: usize,
    /// Blocks in all.
    pub blocks: usize,
    /// Tokens per block.
    pub block_tokens: usize,
    /// Blocks held by running requests, sessions and pinned prefixes.
    pub held_blocks: usize,
    /// Blocks published, held or not.
    pub cached_blocks: usize,
    /// Blocks evicted.
    pub evicted_blocks: u64,
    /// Prompt tokens of requests that were answered.
    pub prompt_tokens: u64,
    /// Of these, tokens found in the cache at the first start.
    pub cached_tokens: u64,
    /// Of the cached ones, tokens that came from the host's memory.
    pub host_tokens: u64,
    /// Of the cached ones, tokens that came from disk.
    pub disk_tokens: u64,
    /// Of the cached ones, tokens that came from the store that engines share.
    pub remote_tokens: u64,
    /// Bytes of blocks in the host's memory, besides the engine's own.
    pub host_bytes: usize,
    /// Bytes of block files.
    pub disk_bytes: u64,
    /// Blocks written to slower tiers.
    pub saved_blocks: u64,
    /// Blocks brought back from there, by requests or ahead of them.
    pub restored_blocks: u64,
    /// Times that a block was there, and computing it was estimated to be faster.
    pub declined_blocks: u64,
    /// Blocks that were there and could not be read back whole.
    pub damaged_blocks: u64,
    /// Bytes of blocks that are being filled, which four-bit keys and values take besides.
    pub tail_bytes: usize,
    /// Blocks kept for sessions and warmed-up prefixes.
    pub pinned_blocks: usize,
    /// Blocks brought from slower tiers before a request asked for them.
    pub prefetched_blocks: u64,
    /// Of these, blocks that a request then found.
    pub prefetch_used_blocks: u64,
    /// Of these, blocks evicted before any request came.
    pub prefetch_wasted_blocks: u64,
    /// Tokens computed, those of repeated starts included.
    pub computed_tokens: u64,
    /// Steps of the model.
    pub steps: u64,
    /// Time of planning and of bookkeeping before the model ran, all steps, seconds.
    pub planning_seconds: f64,
    /// Time of the model, seconds.
    pub model_seconds: f64,
    /// Requests that gave their blocks back and started again.
    pub preemptions: u64,
    /// Of the computed tokens, those computed again because of that.
    pub recomputed_tokens: u64,
    /// What other policies would have found; empty when they are not watched.
    pub shadows: Vec<ShadowRate>,
}

impl CacheReport {
    /// Adds what another engine with the same settings holds and found.
    pub(crate) fn add(&mut self, other: &Self) {
        self.blocks += other.blocks;
        self.held_blocks += other.held_blocks;
        self.cached_blocks += other.cached_blocks;
        self.evicted_blocks += other.evicted_blocks;
        self.prompt_tokens += other.prompt_tokens;
        self.cached_tokens += other.cached_tokens;
        self.host_tokens += other.host_tokens;
        self.disk_tokens += other.disk_tokens;
        self.remote_tokens += other.remote_tokens;
        self.host_bytes += other.host_bytes;
        self.disk_bytes += other.disk_bytes;
        self.saved_blocks += other.saved_blocks;
        self.restored_blocks += other.restored_blocks;
        self.declined_blocks += other.declined_blocks;
        self.damaged_blocks += other.damaged_blocks;
        self.tail_bytes += other.tail_bytes;
        self.pinned_blocks += other.pinned_blocks;
        self.prefetched_blocks += other.prefetched_blocks;
        self.prefetch_used_blocks += other.prefetch_used_blocks;
        self.prefetch_wasted_blocks += other.prefetch_wasted_blocks;
        self.computed_tokens += other.computed_tokens;
        self.steps += other.steps;
        self.planning_seconds += other.planning_seconds;
        self.model_seconds += other.model_seconds;
        self.preemptions += other.preemptions;
        self.recomputed_tokens += other.recomputed_tokens;
        for (own, more) in self.shadows.iter_mut().zip(&other.shadows) {
            own.prompt_tokens += more.prompt_tokens;
            own.hit_tokens += more.hit_tokens;
        }
    }

    /// Part of the prompt tokens found, 0 to 1.
    pub fn hit_rate(&self) -> f64 {
        if self.prompt_tokens == 0 { 0.0 } else { self.cached_tokens as f64 / self.prompt_tokens as f64 }
    }
}
