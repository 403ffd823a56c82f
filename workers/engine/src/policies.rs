//! Eviction policies side by side, without a model: a factory's queue on caches of equal size.
//!
//! Called by the example `policies` and by tests.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::kv::key::{BlockKey, KeyMap, chain};
use crate::kv::policy::Eviction;
use crate::kv::shadow::{Seen, ShadowRate, Shadows};

/// A queue of documents of some templates, in random order.
#[derive(Debug, Clone, Copy)]
pub struct PolicyWorkload {
    /// Templates.
    pub templates: u32,
    /// Documents of each.
    pub documents: u32,
    /// Tokens that all documents of one template share.
    pub prefix_tokens: usize,
    /// Tokens of data of each document.
    pub data_tokens: usize,
    /// Tokens of each answer.
    pub output_tokens: usize,
    /// Tokens per block.
    pub block_tokens: usize,
    /// Blocks of each cache.
    pub blocks: usize,
    /// Decides the order.
    pub seed: u64,
}

impl Default for PolicyWorkload {
    fn default() -> Self {
        Self {
            templates: 8,
            documents: 64,
            prefix_tokens: 2000,
            data_tokens: 200,
            output_tokens: 400,
            block_tokens: 16,
            blocks: 600,
            seed: 1,
        }
    }
}

impl PolicyWorkload {
    fn keys(&self, root: BlockKey, template: u32, document: u32) -> Vec<BlockKey> {
        let own = self.data_tokens + self.output_tokens;
        let prefix = (0..self.prefix_tokens as u32).map(|i| i ^ (template << 20));
        let tail = (0..own as u32).map(|i| i ^ (document << 12) ^ (template << 24));
        let tokens: Vec<u32> = prefix.chain(tail).collect();
        chain(root, self.block_tokens, &tokens, self.prefix_tokens, "tenant")
    }
}

/// What each policy finds. The whole queue is announced before its first document.
pub fn compare_policies(workload: &PolicyWorkload, policies: &[Eviction]) -> Vec<ShadowRate> {
    let root = BlockKey::root("policies", "f32", workload.block_tokens);
    let mut queue: Vec<(u32, u32)> =
        (0..workload.templates).flat_map(|t| (0..workload.documents).map(move |d| (t, d))).collect();
    queue.shuffle(&mut ChaCha8Rng::seed_from_u64(workload.seed));
    let mut shadows = Shadows::new(policies, workload.blocks, workload.block_tokens);
    let mut needs: KeyMap<u32> = KeyMap::default();
    for template in 0..workload.templates {
        let prefix = workload.prefix_tokens / workload.block_tokens;
        for key in workload.keys(root, template, 0).into_iter().take(prefix) {
            needs.insert(key, workload.documents);
        }
    }
    shadows.forecast(&needs);
    let prompt_tokens = workload.prefix_tokens + workload.data_tokens;
    for (now_ms, (template, document)) in queue.into_iter().enumerate() {
        let keys = workload.keys(root, template, document);
        let seen = Seen {
            keys: &keys,
            matchable: (prompt_tokens - 1) / workload.block_tokens,
            public_tokens: workload.prefix_tokens,
            prompt_tokens,
        };
        shadows.replay(seen, now_ms as u64).for_each(drop);
    }
    shadows.rates()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planned_eviction_finds_a_tenth_more_than_lru() {
        for (seed, blocks) in [(1, 400), (2, 500), (3, 600), (4, 800)] {
            let workload = PolicyWorkload { seed, blocks, ..PolicyWorkload::default() };
            let rates = compare_policies(&workload, &[Eviction::Lru, Eviction::Planned]);
            let (lru, planned) = (rates[0].hit_tokens, rates[1].hit_tokens);
            assert!(planned as f64 >= 1.1 * lru as f64, "{blocks} blocks: {rates:?}");
        }
    }

    #[test]
    fn with_enough_memory_all_policies_find_the_same() {
        let workload = PolicyWorkload { blocks: 60_000, documents: 8, ..PolicyWorkload::default() };
        let rates = compare_policies(&workload, &Eviction::ALL);
        // All but the first document of each template.
        let prefix = (workload.prefix_tokens / 16 * 16) as u64;
        assert!(rates.iter().all(|r| r.hit_tokens == 8 * 7 * prefix), "{rates:?}");
    }
}
