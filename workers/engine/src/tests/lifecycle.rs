//! What becomes of blocks: restored from slower tiers, kept for sessions, warmed up, preempted.

use std::path::PathBuf;

use super::factory::{Factory, Job, shape, text};
use crate::kv::pin::{Keep, PinName};
use crate::kv::pool::Pool;
use crate::kv::tier::{Kind, TierOptions, TierWrite, Tiers};
use crate::report::CacheReport;
use crate::sched::{Limits, Reserve};

const LIMITS: Limits =
    Limits { block_tokens: 4, step_tokens_max: 64, running_max: 6, reserve: Reserve::Known };

fn job(n: u32) -> Job {
    Job {
        tenant: ["a", "b"][n as usize % 2].into(),
        lane: 0,
        public: text(n % 5, 22),
        data: text(1000 + n % 20, 9),
        max_tokens: 10,
        seed: u64::from(n),
    }
}

fn tiers(host_bytes_max: usize, disk: Option<PathBuf>) -> Tiers {
    let options = TierOptions {
        host_bytes_max,
        disk_directory: disk,
        disk_bytes_max: 1 << 20,
        ..TierOptions::default()
    };
    open(&options)
}

fn open(options: &TierOptions) -> Tiers {
    let mut tiers = Tiers::open(options, shape(LIMITS), "sim", Box::new(|| {})).unwrap();
    // The simulated model computes faster than a file is read; here everything that was kept is worth its reading.
    tiers.costs.token_s = f64::INFINITY;
    tiers
}

#[test]
fn restored_is_as_if_never_evicted() {
    let directory = tempfile::tempdir().unwrap();
    let disk = || Some(directory.path().to_path_buf());
    for (host_bytes_max, disk_directory) in [(1 << 20, None), (2000, disk()), (0, disk())] {
        let with_host = host_bytes_max > 0;
        let with_disk = disk_directory.is_some();
        let mut factory = Factory::with_tiers(LIMITS, Pool::new(26), tiers(host_bytes_max, disk_directory));
        let jobs: Vec<Job> = (0..200).map(job).collect();
        for wave in jobs.chunks(9) {
            let answers: Vec<_> = wave.iter().map(|job| factory.submit(job).0).collect();
            factory.finish();
            for (job, mut answer) in wave.iter().zip(answers) {
                assert_eq!(answer.try_recv().unwrap().unwrap().text, factory.expected(job).0);
            }
        }
        factory.assert_nothing_leaked();
        let report = factory.core.report();
        assert_eq!(report.host_tokens > 0, with_host, "{report:?}");
        assert_eq!(report.disk_tokens > 0, with_disk, "{report:?}");
        assert!(report.host_tokens + report.disk_tokens <= report.cached_tokens);
    }
}

/// An engine that is killed has written nothing at its end.
#[test]
fn written_through_a_prompt_outlives_an_engine_that_is_killed() {
    let cases = [(TierWrite::Back, 0, 0), (TierWrite::Through, 0, 28), (TierWrite::Through, 1 << 20, 28)];
    for (write, host_bytes_max, expected) in cases {
        let directory = tempfile::tempdir().unwrap();
        let options = TierOptions {
            write,
            host_bytes_max,
            disk_directory: Some(directory.path().to_path_buf()),
            disk_bytes_max: 1 << 20,
            ..TierOptions::default()
        };
        let factory = || Factory::with_tiers(LIMITS, Pool::new(60), open(&options));
        let mut first = factory();
        first.run(&job(0));
        // 31 tokens of the prompt fill seven blocks, which are written once; those of the answer are not.
        let written = first.core.report().disk_bytes;
        first.run(&Job { seed: 5, ..job(0) });
        assert_eq!(first.core.report().disk_bytes, written);
        drop(first);
        let mut second = factory();
        let again = second.run(&Job { seed: 77, ..job(0) });
        assert_eq!(again.receipt.disk_tokens, expected, "{write:?}: {:?}", again.receipt);
        assert_eq!(again.text, second.expected(&Job { seed: 77, ..job(0) }).0);
        second.assert_nothing_leaked();
    }
}

/// Slower tiers that are slower than the model: an engine with them does what one without them does.
#[test]
fn what_costs_more_to_bring_than_to_compute_is_computed() {
    let run = |tiers: Tiers| {
        let mut factory = Factory::with_tiers(LIMITS, Pool::new(26), tiers);
        for wave in (0..200).map(job).collect::<Vec<Job>>().chunks(9) {
            let answers: Vec<_> = wave.iter().map(|job| factory.submit(job).0).collect();
            factory.finish();
            for (job, mut answer) in wave.iter().zip(answers) {
                assert_eq!(answer.try_recv().unwrap().unwrap().text, factory.expected(job).0);
            }
        }
        factory.assert_nothing_leaked();
        factory.core.report()
    };
    let without = run(Tiers::none(shape(LIMITS)));
    assert!(without.evicted_blocks > 0);
    for (kind, host_bytes_max) in [(Kind::Host, 1 << 20), (Kind::Disk, 0)] {
        let directory = tempfile::tempdir().unwrap();
        let options = TierOptions {
            host_bytes_max,
            disk_directory: Some(directory.path().to_path_buf()),
            disk_bytes_max: 1 << 20,
            ..TierOptions::default()
        };
        let mut slow = Tiers::open(&options, shape(LIMITS), "sim", Box::new(|| {})).unwrap();
        slow.costs.measured(kind, 1, 1e9);
        // What a token takes is measured on the engine's own steps.
        let with = run(slow);
        assert!(with.saved_blocks > 0 && with.declined_blocks > 0, "{with:?}");
        assert_eq!((with.restored_blocks, with.prefetched_blocks), (0, 0), "{kind:?}");
        let work = |r: &CacheReport| (r.evicted_blocks, r.cached_tokens, r.computed_tokens);
        assert_eq!(work(&with), work(&without), "{kind:?}");
    }
}

#[test]
fn a_cache_on_disk_outlives_the_engine() {
    let directory = tempfile::tempdir().unwrap();
    let disk = || tiers(1 << 20, Some(directory.path().to_path_buf()));
    let mut first = Factory::with_tiers(LIMITS, Pool::new(60), disk());
    first.run(&job(0));
    first.core.save_all();
    drop(first);
    let mut second = Factory::with_tiers(LIMITS, Pool::new(60), disk());
    let again = second.run(&Job { seed: 77, ..job(0) });
    assert_eq!(again.receipt.disk_tokens, 28, "{:?}", again.receipt);
    assert_eq!(again.text, second.expected(&Job { seed: 77, ..job(0) }).0);
    second.assert_nothing_leaked();
}

#[test]
fn a_session_goes_on_where_it_was_through_a_flood() {
    let keep = Keep { name: PinName::Session { tenant: "a".into(), session: "s".into() }, ttl_ms: 600_000 };
    let flood = |factory: &mut Factory| {
        let answers: Vec<_> = (10..60).map(|n| factory.submit(&job(n)).0).collect();
        factory.finish();
        assert!(answers.into_iter().all(|mut a| a.try_recv().unwrap().is_ok()));
    };
    let mut factory = Factory::new(LIMITS, Pool::new(90));
    let first = Job { public: text(9, 22), ..job(0) };
    let (mut answer, _) = factory.submit_kept(&first, Some(keep));
    factory.finish();
    let told = factory.answer(&first);
    assert!(answer.try_recv().unwrap().is_ok());
    let held = factory.core.pool().held();
    assert!(held > 0);
    flood(&mut factory);
    assert_eq!(factory.core.pool().held(), held, "there was room for the flood besides");
    // The next turn begins with all that was said.
    let mut next = first.clone();
    next.data.extend(&told);
    next.data.extend(text(5, 6));
    let (mut answer, _) = factory.submit(&next);
    factory.finish();
    let done = answer.try_recv().unwrap().unwrap();
    assert_eq!(done.text, factory.expected(&next).0);
    // Blocks of the answer included; its last token was never computed.
    let said = first.public.len() + first.data.len() + told.len() - 1;
    assert!(done.receipt.cached_tokens as usize >= said / 4 * 4, "{:?}", done.receipt);
}

/// What a session has said lies on disk when its engine has ended, the answer included: the next engine goes on from there.
#[test]
fn a_session_goes_on_from_disk_in_another_engine() {
    let directory = tempfile::tempdir().unwrap();
    let disk = || tiers(0, Some(directory.path().to_path_buf()));
    let keep = Keep { name: PinName::Session { tenant: "a".into(), session: "s".into() }, ttl_ms: 600_000 };
    let mut first = Factory::with_tiers(LIMITS, Pool::new(60), disk());
    let opening = job(0);
    let (mut answer, _) = first.submit_kept(&opening, Some(keep));
    first.finish();
    assert!(answer.try_recv().unwrap().is_ok());
    let told = first.answer(&opening);
    first.core.save_all();
    drop(first);
    let mut second = Factory::with_tiers(LIMITS, Pool::new(60), disk());
    let mut next = opening.clone();
    next.data.extend(&told);
    next.data.extend(text(5, 6));
    let done = second.run(&next);
    assert_eq!(done.text, second.expected(&next).0);
    // The answer's last token was never computed.
    let said = opening.public.len() + opening.data.len() + told.len() - 1;
    assert!(done.receipt.disk_tokens as usize >= said / 4 * 4, "{:?}", done.receipt);
    second.assert_nothing_leaked();
}

#[test]
fn what_is_kept_gives_way_to_work() {
    let mut factory = Factory::new(LIMITS, Pool::new(15));
    for n in 0..3 {
        let name = PinName::Session { tenant: "a".into(), session: n.to_string() };
        let (mut answer, _) = factory.submit_kept(&job(n), Some(Keep { name, ttl_ms: 600_000 }));
        factory.finish();
        assert!(answer.try_recv().unwrap().is_ok());
    }
    assert!(factory.core.pool().held() > 0);
    // Needs more than what the pins leave.
    let large = Job { data: text(3, 28), ..job(4) };
    assert_eq!(factory.run(&large).text, factory.expected(&large).0);
    assert_eq!(factory.core.counts().preemptions, 0);
}

/// Templates in a circle, one more than there is room for: the longest unused is always the one that comes next.
#[test]
fn an_engine_that_tunes_itself_leaves_a_policy_that_finds_nothing() {
    let round = |factory: &mut Factory, n: u32| {
        let job = Job { public: text(n % 9, 24), ..job(n) };
        assert_eq!(factory.run(&job).text, factory.expected(&job).0);
    };
    let found = |factory: &mut Factory, jobs: std::ops::Range<u32>| {
        let before = factory.core.report().cached_tokens;
        jobs.for_each(|n| round(factory, n));
        factory.core.report().cached_tokens - before
    };
    let (mut fixed, mut tuned) = (Factory::new(LIMITS, Pool::new(60)), Factory::tuned(LIMITS, Pool::new(60)));
    assert_eq!((found(&mut fixed, 0..2_000), fixed.core.report().policy), (0, "lru"));
    found(&mut tuned, 0..2_000);
    assert_ne!(tuned.core.report().policy, "lru");
    assert!(found(&mut tuned, 2_000..2_200) > 1_000, "{:?}", tuned.core.report());
    tuned.assert_nothing_leaked();
}
