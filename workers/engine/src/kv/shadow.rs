//! What each policy would have found in the same memory: caches of keys alone.
//!
//! Every finished request is replayed on one small pool per policy, so that a change of policy is
//! decided by the traffic at hand and not by belief. Blocks held by running requests are left
//! out, so all figures are a little better than the engine's own, by the same measure.

use serde::Serialize;

use super::key::{BlockKey, KeyMap};
use super::policy::{Eviction, Segment};
use super::pool::Pool;
use super::quota::{ANYONE, Quotas};
use super::table::Table;

/// Blocks of a shadow at most; larger engines are judged by this many.
const BLOCKS_MAX: usize = 1 << 16;

/// What one policy would have found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShadowRate {
    /// Policy.
    pub policy: &'static str,
    /// Prompt tokens seen.
    pub prompt_tokens: u64,
    /// Of these, tokens that would have been in the cache.
    pub hit_tokens: u64,
}

impl ShadowRate {
    /// Part of the prompt tokens found, 0 to 1.
    pub fn hit_rate(&self) -> f64 {
        if self.prompt_tokens == 0 { 0.0 } else { self.hit_tokens as f64 / self.prompt_tokens as f64 }
    }
}

#[derive(Debug)]
struct Shadow {
    policy: Eviction,
    pool: Pool,
    hit_tokens: u64,
}

/// One request, as shadows see it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seen<'a> {
    /// Keys of all full blocks, prompt and answer.
    pub keys: &'a [BlockKey],
    /// Of these, keys that could have been matched.
    pub matchable: usize,
    pub public_tokens: usize,
    pub prompt_tokens: usize,
}

/// One cache of keys per policy.
#[derive(Debug)]
pub(crate) struct Shadows {
    shadows: Vec<Shadow>,
    block_tokens: usize,
    prompt_tokens: u64,
}

impl Shadows {
    /// Shadows of an engine of `blocks` blocks.
    pub fn new(policies: &[Eviction], blocks: usize, block_tokens: usize) -> Self {
        let blocks = blocks.min(BLOCKS_MAX);
        let shadow = |policy: &Eviction| Shadow {
            policy: *policy,
            pool: Pool::with(blocks, policy.policy(blocks), &Quotas::default()),
            hit_tokens: 0,
        };
        Self { shadows: policies.iter().map(shadow).collect(), block_tokens, prompt_tokens: 0 }
    }

    /// Replays one request; gives the tokens that each policy would have found.
    pub fn replay(&mut self, seen: Seen<'_>, now_ms: u64) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let block_tokens = self.block_tokens;
        self.prompt_tokens += seen.prompt_tokens as u64;
        let mut found = Vec::with_capacity(self.shadows.len());
        for shadow in &mut self.shadows {
            shadow.pool.set_now(now_ms);
            let hits = (shadow.replay(seen, block_tokens) * block_tokens) as u64;
            shadow.hit_tokens += hits;
            found.push((shadow.policy.name(), hits));
        }
        found.into_iter()
    }

    /// Tells the policies what will be needed.
    pub fn forecast(&self, needs: &KeyMap<u32>) {
        for shadow in &self.shadows {
            shadow.pool.forecast(needs);
        }
    }

    /// Prompt tokens seen, and those that each policy would have found.
    pub fn found(&self) -> (u64, Vec<(Eviction, u64)>) {
        (self.prompt_tokens, self.shadows.iter().map(|s| (s.policy, s.hit_tokens)).collect())
    }

    /// What each policy would have found so far.
    pub fn rates(&self) -> Vec<ShadowRate> {
        let rate = |s: &Shadow| ShadowRate {
            policy: s.policy.name(),
            prompt_tokens: self.prompt_tokens,
            hit_tokens: s.hit_tokens,
        };
        self.shadows.iter().map(rate).collect()
    }
}

impl Shadow {
    fn replay(&self, seen: Seen<'_>, block_tokens: usize) -> usize {
        let matchable = &seen.keys[..seen.matchable.min(seen.keys.len())];
        for key in matchable.iter().rev() {
            self.pool.used(key);
        }
        let mut table = Table::default();
        for key in matchable {
            let Some(block) = self.pool.share(key) else { break };
            table.push(block);
        }
        let hits = table.len();
        for (i, key) in seen.keys.iter().enumerate().skip(hits) {
            let Some(taken) = self.pool.take(ANYONE, true) else { break };
            let segment = Segment::of((i + 1) * block_tokens, seen.public_tokens, seen.prompt_tokens);
            self.pool.publish(*key, &taken.block, segment);
            table.push(taken.block);
        }
        hits
    }
}
