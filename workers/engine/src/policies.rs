//! Eviction policies side by side, without a model: a factory's queue on caches of equal size.
//!
//! Called by the example `policies` and by tests.

use rand::SeedableRng;
use rand::seq::SliceRandom;
use rand_chacha::ChaCha8Rng;

use crate::forecast::need;
use crate::kv::key::{BlockKey, KeyMap, chain};
use crate::kv::policy::{Eviction, Segment};
use crate::kv::pool::{BlockRef, Pool, Taken};
use crate::kv::quota::{ANYONE, Quotas};
use crate::kv::shadow::{Seen, ShadowRate, Shadows};
use crate::kv::table::Table;
use crate::prefetch::{Below, Chain, Outlook, Prefetch, QUEUE_MAX};

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
    fn queue(&self) -> Vec<(u32, u32)> {
        let mut queue: Vec<(u32, u32)> =
            (0..self.templates).flat_map(|t| (0..self.documents).map(move |d| (t, d))).collect();
        queue.shuffle(&mut ChaCha8Rng::seed_from_u64(self.seed));
        queue
    }

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
    let queue = workload.queue();
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

/// The cache of one engine without a model: what requests would find, for simulations of several engines.
pub struct CacheModel {
    workload: PolicyWorkload,
    root: BlockKey,
    shadows: Shadows,
}

impl CacheModel {
    /// An empty one, of as many blocks as the workload says.
    pub fn new(workload: &PolicyWorkload, eviction: Eviction) -> Self {
        let root = BlockKey::root("policies", "f32", workload.block_tokens);
        let shadows = Shadows::new(&[eviction], workload.blocks, workload.block_tokens);
        Self { workload: *workload, root, shadows }
    }

    /// Tells what the engine is still going to be asked: templates, each as often as requests are expected.
    pub fn forecast(&mut self, templates: &[u32]) {
        let prefix = self.workload.prefix_tokens / self.workload.block_tokens;
        let mut needs: KeyMap<u32> = KeyMap::default();
        for template in templates {
            for key in self.workload.keys(self.root, *template, 0).into_iter().take(prefix) {
                *needs.entry(key).or_default() += 1;
            }
        }
        self.shadows.forecast(&needs);
    }

    /// Prompt tokens of a request that are found.
    pub fn request(&mut self, template: u32, document: u32, now_ms: u64) -> u64 {
        let workload = &self.workload;
        let prompt_tokens = workload.prefix_tokens + workload.data_tokens;
        let keys = workload.keys(self.root, template, document);
        let seen = Seen {
            keys: &keys,
            matchable: (prompt_tokens - 1) / workload.block_tokens,
            public_tokens: workload.prefix_tokens,
            prompt_tokens,
        };
        self.shadows.replay(seen, now_ms).map(|(_, hit_tokens)| hit_tokens).sum()
    }
}

/// What looking ahead finds, against the same cache without.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PrefetchRate {
    /// Prompt tokens in all.
    pub prompt_tokens: u64,
    /// Of these, tokens found on the device without looking ahead, and brought back from a slower tier by the request.
    pub without: (u64, u64),
    /// The same with looking ahead.
    pub with: (u64, u64),
    /// Blocks brought ahead of need.
    pub brought_blocks: u64,
    /// Of these, blocks evicted before any request came.
    pub wasted_blocks: u64,
}

impl PrefetchRate {
    /// How much more is found on the device with looking ahead: 0.3 is 30 % more.
    pub fn gain(&self) -> f64 {
        self.with.0 as f64 / self.without.0.max(1) as f64 - 1.0
    }
}

/// A queue of which the next `window` documents are announced before each one, as workers announce the jobs in hand, and
/// the next few wait at the engine; the eviction is `planned` both times. The slower tier keeps everything, and holds the templates' prefixes from the
/// start, as after a restart.
pub fn compare_prefetch(workload: &PolicyWorkload, window: usize) -> PrefetchRate {
    let without = Replay::run(workload, window, 0, 0);
    let with = Replay::run(workload, window, 0, workload.blocks);
    PrefetchRate {
        prompt_tokens: u64::from(workload.templates * workload.documents)
            * (workload.prefix_tokens + workload.data_tokens) as u64,
        without: without.hits,
        with: with.hits,
        brought_blocks: with.prefetch.counts.brought,
        wasted_blocks: with.prefetch.counts.wasted,
    }
}

#[derive(Default)]
struct Lower(KeyMap<()>);

impl Below for Lower {
    fn has(&mut self, key: &BlockKey) -> bool {
        self.0.contains_key(key)
    }

    fn ask(&mut self, _: &[BlockKey]) {}
}

struct Replay {
    pool: Pool,
    lower: Lower,
    prefetch: Prefetch,
    hits: (u64, u64),
}

impl Replay {
    /// With `window` documents in hand and so many more that wait.
    fn run(workload: &PolicyWorkload, window: usize, waiting: usize, ahead_blocks: usize) -> Self {
        let root = BlockKey::root("policies", "f32", workload.block_tokens);
        let queue = workload.queue();
        let policy = Eviction::Planned.policy(workload.blocks);
        let pool = Pool::with(workload.blocks, policy, &Quotas::default());
        let prefetch = Prefetch::new(ahead_blocks);
        let mut replay = Self { pool, lower: Lower::default(), prefetch, hits: (0, 0) };
        let prefix = workload.prefix_tokens / workload.block_tokens;
        let prefixes: Vec<Vec<BlockKey>> =
            (0..workload.templates).map(|t| workload.keys(root, t, 0)[..prefix].to_vec()).collect();
        replay.lower.0.extend(prefixes.iter().flatten().map(|key| (*key, ())));
        let mut running = Table::default();
        for at in 0..queue.len() {
            let next = &queue[at..(at + window.max(1)).min(queue.len())];
            let later = &queue[at + next.len()..(at + next.len() + waiting).min(queue.len())];
            let mut outlook = Outlook::default();
            for (template, keys) in prefixes.iter().enumerate() {
                let count =
                    |of: &[(u32, u32)]| of.iter().filter(|(t, _)| *t as usize == template).count() as u32;
                let times = if waiting == 0 { count(next) } else { need(count(next), count(later)) };
                if times > 0 {
                    outlook.needs.extend(keys.iter().map(|key| (*key, times)));
                    outlook.chains.push(Chain {
                        tenant: String::new(),
                        keys: keys.clone(),
                        public: prefix,
                        times,
                    });
                }
            }
            replay.pool.forecast(&outlook.needs);
            replay.prefetch.forecast(outlook);
            let waiting = next.iter().take(QUEUE_MAX).map(|(template, _)| {
                let keys = prefixes[*template as usize].clone();
                Chain { tenant: String::new(), keys, public: prefix, times: 1 }
            });
            replay.prefetch.queue(waiting.collect());
            replay.bring();
            // The one before ran all the while, and held its blocks.
            drop(std::mem::take(&mut running));
            let (template, document) = queue[at];
            running = replay.request(workload, &workload.keys(root, template, document));
        }
        replay
    }

    fn bring(&mut self) {
        let mut brought = Table::default();
        while let Some(wanted) = self.prefetch.next(&self.pool, &mut self.lower) {
            let Some(taken) = self.prefetch.take(&self.pool, ANYONE, &wanted) else { break };
            let block = self.keep(taken);
            self.pool.publish(wanted.key, &block, Segment::Public);
            self.prefetch.brought(wanted.key);
            brought.push(block);
        }
    }

    fn keep(&mut self, taken: Taken) -> BlockRef {
        if let Some(key) = taken.evicted {
            self.prefetch.evicted(&key);
            self.lower.0.insert(key, ());
        }
        taken.block
    }

    fn request(&mut self, workload: &PolicyWorkload, keys: &[BlockKey]) -> Table {
        let block_tokens = workload.block_tokens as u64;
        let prompt_tokens = workload.prefix_tokens + workload.data_tokens;
        let matchable = (prompt_tokens - 1) / workload.block_tokens;
        for key in keys[..matchable].iter().rev() {
            self.pool.used(key);
            self.prefetch.used(key);
        }
        let mut table = Table::default();
        let mut is_hit = true;
        for (i, key) in keys.iter().enumerate() {
            if is_hit && i < matchable {
                if let Some(block) = self.pool.share(key) {
                    self.prefetch.found(key);
                    self.hits.0 += block_tokens;
                    table.push(block);
                    continue;
                }
                is_hit = self.lower.has(key);
                self.hits.1 += if is_hit { block_tokens } else { 0 };
            }
            let Some(taken) = self.pool.take(ANYONE, true) else { break };
            let block = self.keep(taken);
            let segment = Segment::of((i + 1) * workload.block_tokens, workload.prefix_tokens, prompt_tokens);
            self.pool.publish(*key, &block, segment);
            table.push(block);
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looking_ahead_finds_a_third_more_on_the_device() {
        for (seed, templates, blocks, window) in
            [(1, 8, 600, 16), (2, 8, 500, 32), (3, 16, 600, 16), (4, 32, 800, 8)]
        {
            let documents = 512 / templates;
            let workload = PolicyWorkload { seed, templates, documents, blocks, ..PolicyWorkload::default() };
            let rate = compare_prefetch(&workload, window);
            println!(
                "{templates} templates, {blocks} blocks, window {window}: {rate:?} {:+.0} %",
                rate.gain() * 100.0
            );
            assert!(rate.gain() >= 0.3, "{rate:?}");
        }
    }

    /// Whatever is in hand: to be told of the queue behind it must not cost what that alone would find.
    #[test]
    fn what_waits_adds_to_what_is_in_hand() {
        for (seed, blocks) in [(1, 400), (2, 500), (3, 600), (4, 800)] {
            let workload = PolicyWorkload { seed, blocks, ..PolicyWorkload::default() };
            for in_hand in [1, 4, 16] {
                let found =
                    [0, 1000].map(|waiting| Replay::run(&workload, in_hand, waiting, 0).hits.0 as f64);
                println!("{blocks} blocks, {in_hand} in hand: {:+.1} %", (found[1] / found[0] - 1.0) * 100.0);
                assert!(found[1] >= 0.97 * found[0], "{blocks} blocks, {in_hand} in hand: {found:?}");
            }
        }
    }

    #[test]
    fn with_enough_memory_looking_ahead_changes_only_the_first_time() {
        let workload = PolicyWorkload { blocks: 60_000, documents: 8, ..PolicyWorkload::default() };
        let rate = compare_prefetch(&workload, 16);
        let prefix = (workload.prefix_tokens / 16 * 16) as u64;
        assert_eq!(rate.without, (8 * 7 * prefix, 8 * prefix));
        assert_eq!(rate.with, (8 * 8 * prefix, 0));
        assert_eq!((rate.brought_blocks, rate.wasted_blocks), (8 * prefix / 16, 0));
    }

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
    fn a_model_of_one_cache_finds_what_the_comparison_finds() {
        let workload = PolicyWorkload { blocks: 60_000, documents: 4, ..PolicyWorkload::default() };
        let mut cache = CacheModel::new(&workload, Eviction::Planned);
        cache.forecast(&[0, 0, 1]);
        let hits: u64 = (0..8).map(|n| cache.request(n % 2, n / 2, u64::from(n))).sum();
        assert_eq!(hits, 6 * (workload.prefix_tokens / 16 * 16) as u64);
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
