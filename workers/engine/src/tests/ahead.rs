//! What is brought ahead of need: found on the device, changes no answer, and takes nobody's place.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::factory::{Factory, Job, shape, text};
use crate::engine::Command;
use crate::kv::policy::Eviction;
use crate::kv::pool::Pool;
use crate::kv::quota::Quotas;
use crate::kv::tier::remote::RemoteTier;
use crate::kv::tier::remote_tests::Fake;
use crate::kv::tier::{TierOptions, TierWrite, Tiers};
use crate::prefetch::Outlook;
use crate::sched::{Limits, Reserve};

const LIMITS: Limits =
    Limits { block_tokens: 4, step_tokens_max: 64, running_max: 6, reserve: Reserve::Known };

fn public(template: u32) -> Vec<u32> {
    text(template + 1, 24)
}

fn job(template: u32, n: u32) -> Job {
    Job {
        tenant: ["a", "b"][n as usize % 2].into(),
        lane: 0,
        public: public(template),
        data: text(1000 + n, 9),
        max_tokens: 8,
        seed: u64::from(n),
    }
}

fn factory(blocks: usize, options: &TierOptions) -> Factory {
    let pool = Pool::with(blocks, Eviction::Planned.policy(blocks), &Quotas::default());
    Factory::with_tiers(LIMITS, pool, Tiers::open(options, shape(LIMITS), "sim", Box::new(|| {})).unwrap())
}

fn announce(factory: &mut Factory, expected: &[(u32, u32)]) {
    let mut outlook = Outlook::default();
    for (template, times) in expected {
        let one = factory.outlook(&public(*template), *times);
        outlook.needs.extend(one.needs);
        outlook.chains.extend(one.chains);
    }
    factory.core.handle(Command::Forecast(outlook));
}

fn on_disk(directory: &std::path::Path) -> TierOptions {
    let disk_directory: Option<PathBuf> = Some(directory.into());
    TierOptions { disk_directory, disk_bytes_max: 1 << 20, ..TierOptions::default() }
}

/// Runs a job of each template; tokens found on the device, and those brought by the requests themselves.
fn hits(factory: &mut Factory, n: u32) -> (u64, u64) {
    let mut found = (0, 0);
    for template in 0..3 {
        let job = job(template, n + template);
        let done = factory.run(&job);
        assert_eq!(done.text, factory.expected(&job).0);
        let receipt = done.receipt;
        let below = receipt.host_tokens + receipt.disk_tokens + receipt.remote_tokens;
        found = (found.0 + receipt.cached_tokens - below, found.1 + below);
    }
    factory.assert_nothing_leaked();
    found
}

#[test]
fn after_a_restart_announced_prefixes_are_on_the_device_before_the_first_request() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = factory(40, &on_disk(directory.path()));
    hits(&mut first, 0);
    first.core.save_all();
    drop(first);
    let mut cold = factory(40, &on_disk(directory.path()));
    let without = hits(&mut cold, 100);
    drop(cold);
    let mut warm = factory(40, &on_disk(directory.path()));
    announce(&mut warm, &[(0, 5), (1, 4), (2, 3)]);
    warm.core.step();
    let with = hits(&mut warm, 100);
    // How many are brought back by the requests depends on what is quicker on this machine.
    assert_eq!((without.0, with), (0, (72, 0)));
    let report = warm.core.report();
    assert_eq!(
        (report.prefetched_blocks, report.prefetch_used_blocks, report.prefetch_wasted_blocks),
        (18, 18, 0)
    );
}

#[test]
fn a_block_that_is_damaged_meanwhile_costs_only_itself() {
    let directory = tempfile::tempdir().unwrap();
    let mut first = factory(40, &on_disk(directory.path()));
    hits(&mut first, 0);
    first.core.save_all();
    drop(first);
    let mut damaged = factory(40, &on_disk(directory.path()));
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "seg") {
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[150..].iter_mut().step_by(97).for_each(|b| *b ^= 0x55);
            std::fs::write(&path, &bytes).unwrap();
        }
    }
    announce(&mut damaged, &[(0, 5), (1, 4), (2, 3)]);
    for _ in 0..100 {
        damaged.core.step();
    }
    hits(&mut damaged, 100);
}

#[test]
fn wrong_and_right_forecasts_change_no_answer() {
    for seed in 0..6 {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let options = TierOptions { host_bytes_max: 1 << 20, ..TierOptions::default() };
        let mut factory = factory(30, &options);
        let mut n = 0;
        for _ in 0..40 {
            let expected: Vec<(u32, u32)> = (0..rng.random_range(0..6))
                .map(|_| (rng.random_range(0..8), rng.random_range(0..5)))
                .collect();
            announce(&mut factory, &expected);
            let jobs: Vec<Job> = (0..rng.random_range(1..7))
                .map(|_| {
                    n += 1;
                    job(rng.random_range(0..8), n)
                })
                .collect();
            let answers: Vec<_> = jobs.iter().map(|job| factory.submit(job).0).collect();
            factory.finish();
            for (job, mut answer) in jobs.iter().zip(answers) {
                assert_eq!(answer.try_recv().unwrap().unwrap().text, factory.expected(job).0);
            }
        }
        factory.assert_nothing_leaked();
        let report = factory.core.report();
        assert!(report.prefetch_used_blocks + report.prefetch_wasted_blocks <= report.prefetched_blocks);
    }
}

fn shared(store: &Arc<Fake>) -> TierOptions {
    // A machine under load must not make a good store look slow.
    let within = Duration::from_secs(600);
    let remote = RemoteTier { within, ..RemoteTier::new(store.clone(), [3; 32]) };
    TierOptions { remote: Some(remote), ..TierOptions::default() }
}

/// The same with a model that takes so long for a token.
fn slow(options: &TierOptions, token_s: f64) -> Factory {
    let mut tiers = Tiers::open(options, shape(LIMITS), "sim", Box::new(|| {})).unwrap();
    tiers.costs.token_s = token_s;
    Factory::with_tiers(LIMITS, Pool::new(40), tiers)
}

#[test]
fn a_lone_request_waits_for_what_is_on_its_way() {
    let store = Fake::new();
    let through = TierOptions { write: TierWrite::Through, ..shared(&store) };
    let mut first = slow(&through, f64::INFINITY);
    hits(&mut first, 0);
    // Eight blocks of each of three prompts.
    while store.len() < 24 {
        std::thread::yield_now();
    }
    let mut other = slow(&shared(&store), f64::INFINITY);
    // While a request waits, what has come is also brought to the device.
    let (device, below) = hits(&mut other, 100);
    assert_eq!(device + below, 72);
}

#[test]
fn a_store_that_hangs_costs_a_request_less_than_its_prompt() {
    let store = Fake::new();
    store.hang(true);
    // 28 tokens of a prompt: 14 ms, and not the ten minutes of the store's own limit.
    let mut factory = slow(&shared(&store), 0.001);
    assert_eq!(hits(&mut factory, 0), (0, 0));
    store.hang(false);
}

#[test]
fn a_prefix_that_another_engine_computed_comes_before_it_is_needed() {
    let store = Fake::new();
    let options = || shared(&store);
    let mut first = factory(40, &options());
    hits(&mut first, 0);
    first.core.save_all();
    assert!(store.len() >= 18, "{}", store.len());
    let mut other = factory(40, &options());
    announce(&mut other, &[(0, 5), (1, 4), (2, 3)]);
    for _ in 0..50_000_000_u64 {
        other.core.step();
        if other.core.report().prefetched_blocks >= 18 {
            break;
        }
        std::thread::yield_now();
    }
    assert_eq!(hits(&mut other, 100), (72, 0));
}
