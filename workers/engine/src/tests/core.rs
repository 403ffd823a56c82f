//! The engine's core without a model: budgets, fairness, hits, preemption, no leaks.

use std::collections::{HashMap, HashSet};

use rand::seq::{IndexedRandom, SliceRandom};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::factory::{Answer, Factory, Job, identity, text};
use super::reference::{Reference, Scoped, scoped};
use crate::engine::Command;
use crate::generate::GenerateError;
use crate::job::{Finish, Receipt};
use crate::kv::policy::Eviction;
use crate::kv::pool::Pool;
use crate::kv::quota::Quotas;
use crate::prefetch::Outlook;
use crate::sched::{Limits, Reserve};
use crate::sequence::Identity;

const BT: usize = 4;

fn limits(running_max: usize, reserve: Reserve) -> Limits {
    Limits { block_tokens: BT, step_tokens_max: 48, running_max, reserve }
}

fn job(seed: u64) -> Job {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let template = rng.random_range(0..8u32);
    Job {
        tenant: ["a", "b", "c"].choose(&mut rng).unwrap().to_string(),
        lane: rng.random_range(0..3),
        public: text(template, 18 + template as usize),
        data: text(rng.random_range(100..400), rng.random_range(1..20)),
        max_tokens: rng.random_range(1..16),
        seed: seed / 3,
    }
}

struct Open {
    job: Job,
    number: usize,
    answer: Answer,
    expected: String,
    output: usize,
    cancelled: bool,
}

/// Jobs handed in, always 64 of them in the engine, beside a plain cache that follows what it plans.
struct Crowd {
    factory: Factory,
    reference: Reference,
    rng: ChaCha8Rng,
    open: Vec<Open>,
    next: usize,
    done: usize,
    cancelled: usize,
    attached: usize,
    /// Tokens found in the cache.
    hits: usize,
    /// The same of each, as the plain cache has it.
    found: HashMap<Identity, usize>,
}

impl Crowd {
    fn submit(&mut self) {
        // Some ask for the same as the one before them.
        let job = job((self.next - usize::from(self.next % 25 == 24)) as u64);
        let (expected, answer) = self.factory.spoken(&job);
        self.reference.submit(identity(&job), &job, &answer);
        let output = answer.len();
        let (answer, cancel) = self.factory.submit(&job);
        let cancelled = self.rng.random_range(0..50) == 0;
        if cancelled {
            cancel.cancel();
        }
        self.open.push(Open { job, number: self.next, answer, expected, output, cancelled });
        self.next += 1;
    }

    /// One step; each block of it is where the plain cache has it.
    fn step(&mut self, blocks: usize) {
        self.factory.core.step();
        let events = std::mem::take(&mut self.factory.core.history);
        self.found.extend(self.reference.follow(&events));
        let pool = self.factory.core.pool();
        assert!(pool.held() <= blocks);
        assert_eq!((pool.held(), pool.cached()), self.reference.blocks());
        assert_eq!(pool.evicted(), self.reference.evicted);
    }

    /// Takes in what was answered: the right text, and as many hits as the plain cache has.
    fn collect(&mut self) {
        let (next, found) = (self.next, &self.found);
        let (mut hits, mut cancelled, mut attached) = (0, 0, 0);
        let before = self.open.len();
        self.open.retain_mut(|o| match o.answer.try_recv() {
            Err(tokio::sync::oneshot::error::TryRecvError::Empty) => {
                // 64 at a time: whoever came this much later was behind it in line, whatever its lane.
                assert!(next - o.number < 64 + 2 * 256 + 64, "job {} starves", o.number);
                true
            }
            Err(closed) => panic!("no answer: {closed}"),
            Ok(Err(GenerateError::Cancelled)) if o.cancelled => {
                cancelled += 1;
                false
            }
            Ok(Err(error)) => panic!("{error}"),
            Ok(Ok(completion)) => {
                assert!(!o.cancelled);
                let receipt = completion.receipt;
                assert_eq!((&completion.text, receipt.output_tokens), (&o.expected, o.output as u64));
                if receipt.attached > 0 {
                    assert_eq!(receipt.cached_tokens, receipt.prompt_tokens);
                    attached += 1;
                } else {
                    let expected = found[&identity(&o.job)];
                    assert_eq!(receipt.cached_tokens, expected as u64, "job {}", o.number);
                    hits += expected;
                }
                false
            }
        });
        self.done += before - self.open.len();
        self.hits += hits;
        self.cancelled += cancelled;
        self.attached += attached;
    }
}

/// Jobs under pressure: too few blocks for all that run.
fn many_jobs(reserve: Reserve, jobs: usize, blocks: usize) -> Factory {
    let mut crowd = Crowd {
        factory: Factory::new(limits(12, reserve), Pool::new(blocks)),
        reference: Reference::new(blocks, BT),
        rng: ChaCha8Rng::seed_from_u64(jobs as u64),
        open: Vec::new(),
        next: 0,
        done: 0,
        cancelled: 0,
        attached: 0,
        hits: 0,
        found: HashMap::new(),
    };
    while crowd.done < jobs {
        while crowd.open.len() < 64 && crowd.next < jobs {
            crowd.submit();
        }
        crowd.step(blocks);
        crowd.collect();
    }
    assert!(crowd.cancelled > jobs / 100 && crowd.attached > jobs / 100);
    assert!(crowd.hits > 4 * jobs, "{} hits", crowd.hits);
    crowd.factory.assert_nothing_leaked();
    let counts = crowd.factory.core.counts();
    assert!(counts.step_tokens_max <= 48, "{counts:?}");
    assert!(crowd.factory.core.pool().evicted() > 100);
    crowd.factory
}

#[test]
fn ten_thousand_jobs_under_pressure() {
    let factory = many_jobs(Reserve::Known, 10_000, 70);
    assert!(factory.core.counts().preemptions > 100, "{:?}", factory.core.counts());
}

#[test]
fn full_reservation_never_computes_twice() {
    let factory = many_jobs(Reserve::Longest, 2_000, 70);
    // Lanes may still push each other out; memory never does.
    let with_lanes = factory.core.counts().preemptions;
    let mut flat = Factory::new(limits(12, Reserve::Longest), Pool::new(70));
    let answers: Vec<_> = (0..600).map(|i| flat.submit(&Job { lane: 0, ..job(i) }).0).collect();
    flat.finish();
    assert!(answers.into_iter().all(|mut a| a.try_recv().unwrap().is_ok()));
    assert_eq!(flat.core.counts().preemptions, 0);
    assert!(with_lanes < 2_000);
}

/// Ten thousand jobs, 64 of them in the engine at a time, and memory for all: no plan is looked at here, only what every job needs.
#[test]
fn with_enough_memory_every_distinct_block_is_computed_once() {
    let mut factory = Factory::new(limits(12, Reserve::Known), Pool::new(60_000));
    let (mut distinct, mut expected) = (HashSet::<Scoped>::new(), 0);
    let mut jobs = (0..10_000).map(|i| {
        // Without answers of several tokens, whose blocks would have to be known here.
        let mut job = Job { max_tokens: 1, seed: i, lane: 0, ..job(i) };
        if (job.public.len() + job.data.len()).is_multiple_of(BT) {
            // A last block that is full would serve longer prompts, depending on who comes first.
            job.data.push(7);
        }
        let tokens = [job.public.as_slice(), &job.data].concat();
        let matchable = (tokens.len() - 1) / BT;
        for block in 0..matchable {
            expected += if distinct.insert(scoped(&job, &tokens, block, BT)) { BT } else { 0 };
        }
        // What is never matched: the last token, with the rest of its block.
        expected += tokens.len() - matchable * BT;
        job
    });
    let mut open: Vec<Answer> = Vec::new();
    loop {
        open.extend(jobs.by_ref().take(64 - open.len()).map(|job| factory.submit(&job).0));
        if open.is_empty() {
            break;
        }
        factory.core.step();
        open.retain_mut(|answer| match answer.try_recv() {
            Err(tokio::sync::oneshot::error::TryRecvError::Empty) => true,
            done => done.unwrap().is_err(),
        });
    }
    drop(jobs);
    let counts = factory.core.counts();
    assert_eq!((counts.computed, counts.preemptions), (expected as u64, 0));
    assert_eq!(counts.cached, counts.prompt - counts.computed);
    assert_eq!(factory.core.pool().evicted(), 0);
    factory.assert_nothing_leaked();
}

/// A cache as plain as can be: contexts in the order in which they became unused.
struct Oracle {
    capacity: usize,
    unused: Vec<Scoped>,
}

impl Oracle {
    /// One job, alone; how many of its tokens are hits.
    fn run(&mut self, job: &Job, answer: &[u32], finish: Finish) -> usize {
        let prompt = job.public.len() + job.data.len();
        let tokens = [job.public.as_slice(), &job.data, answer].concat();
        // Contexts of the blocks held; `None` where a twin is in the cache, or nothing is full yet.
        let mut held: Vec<Option<Scoped>> = Vec::new();
        for block in 0..(prompt - 1) / BT {
            let wanted = scoped(job, &tokens, block, BT);
            let Some(at) = self.unused.iter().position(|c| *c == wanted) else { break };
            held.push(Some(self.unused.remove(at)));
        }
        let hits = held.len() * BT;
        let (mut computed, mut sealed) = (hits, held.len());
        // The last token of an answer is drawn, never computed; its end is no token of it.
        let end = if finish == Finish::Stop { tokens.len() } else { tokens.len() - 1 };
        while computed < end {
            computed += if computed < prompt { (prompt - computed).min(48) } else { 1 };
            while held.len() * BT < computed {
                // A full cache loses its longest unused block.
                if self.unused.len() + held.len() == self.capacity {
                    self.unused.remove(0);
                }
                held.push(None);
            }
            while (sealed + 1) * BT <= computed {
                let context = scoped(job, &tokens, sealed, BT);
                held[sealed] = (!self.unused.contains(&context)).then_some(context);
                sealed += 1;
            }
        }
        self.unused.extend(held.into_iter().rev().flatten());
        hits
    }
}

#[test]
fn hits_are_those_of_a_plain_cache() {
    for blocks in [15, 20, 40, 90] {
        let mut factory = Factory::new(limits(1, Reserve::Known), Pool::new(blocks));
        let mut oracle = Oracle { capacity: blocks, unused: Vec::new() };
        let mut hits = 0;
        for seed in 0..800 {
            let job = Job { seed, ..job(seed) };
            let done = factory.run(&job);
            let answer = factory.answer(&job);
            let expected = oracle.run(&job, &answer, done.finish);
            assert_eq!(done.receipt.cached_tokens, expected as u64, "{blocks} blocks, job {seed}");
            hits += expected;
        }
        assert!(hits > 0);
    }
}

#[test]
fn the_same_request_is_computed_once() {
    let mut factory = Factory::new(limits(4, Reserve::Known), Pool::new(100));
    let same = job(1);
    let answers: Vec<_> = (0..5).map(|_| factory.submit(&same)).collect();
    // Another lane makes no other answer; another tenant does.
    let other = factory.submit(&Job { tenant: "z".into(), ..same.clone() }).0;
    // One reader leaves: the others still get their answer.
    answers[0].1.cancel();
    factory.finish();
    let expected = factory.expected(&same);
    let receipts: Vec<_> = answers
        .into_iter()
        .skip(1)
        .map(|(mut answer, _)| {
            let done = answer.try_recv().unwrap().unwrap();
            assert_eq!(done.text, expected.0);
            done.receipt
        })
        .collect();
    assert!(receipts.iter().all(|r| r.attached == 1 && r.cached_tokens == r.prompt_tokens));
    let mut other = other;
    assert_eq!(other.try_recv().unwrap().unwrap().receipt.attached, 0);
    factory.assert_nothing_leaked();
    // Once it is over, the same request is a new one, with hits.
    assert_eq!(factory.run(&same).receipt.attached, 0);
}

#[test]
fn a_preempted_answer_is_the_same_and_its_hits_are_not_counted_twice() {
    // Two answers grow until only one fits.
    let grow = |seed| Job { lane: 0, max_tokens: 40, data: text(seed, 10), seed: seed.into(), ..job(3) };
    let long =
        |factory: &Factory, from: u32| (from..).map(grow).find(|job| factory.expected(job).1 == 40).unwrap();
    let mut factory = Factory::new(limits(4, Reserve::Known), Pool::new(24));
    let first = long(&factory, 0);
    let second = long(&factory, first.seed as u32 + 1);
    let (mut a, _) = factory.submit(&first);
    let (mut b, _) = factory.submit(&second);
    factory.finish();
    assert!(factory.core.counts().preemptions > 0);
    let (a, b) = (a.try_recv().unwrap().unwrap(), b.try_recv().unwrap().unwrap());
    assert_eq!((a.text, b.text), (factory.expected(&first).0, factory.expected(&second).0));
    assert_eq!(a.receipt.cached_tokens, 0);
    assert!(b.receipt.cached_tokens as usize <= first.public.len() / BT * BT, "{:?}", b.receipt);
    let (counts, [a, b]) = (factory.core.counts(), [a.receipt, b.receipt]);
    assert_eq!(a.preemptions + b.preemptions, counts.preemptions);
    assert_eq!(a.recomputed_tokens + b.recomputed_tokens, counts.recomputed);
    assert!(counts.recomputed > 0);
    // All that was computed stands in the receipts; the last token of an answer is drawn, never computed.
    let once = |r: Receipt| r.prompt_tokens - r.cached_tokens + r.output_tokens - 1;
    assert_eq!(counts.computed, [a, b].map(|r| once(r) + r.recomputed_tokens).iter().sum::<u64>());
    factory.assert_nothing_leaked();
}

#[test]
fn a_request_larger_than_the_engine_is_refused() {
    let mut factory = Factory::new(limits(4, Reserve::Known), Pool::new(10));
    let large = Job { max_tokens: 400, ..job(1) };
    let (mut answer, _) = factory.submit(&large);
    assert!(matches!(answer.try_recv().unwrap(), Err(GenerateError::Rejected(_))));
    factory.assert_nothing_leaked();
}

/// Hit tokens of one queue of documents under a policy, with several of them running at a time.
fn hits_of_a_queue(eviction: Eviction, blocks: usize, seed: u64) -> u64 {
    let (templates, documents) = (8, 24);
    let pool = Pool::with(blocks, eviction.policy(blocks), &Quotas::default());
    let mut factory = Factory::new(limits(2, Reserve::Known), pool);
    let public = |template: u32| text(template + 1, 100);
    let mut outlook = Outlook::default();
    for template in 0..templates {
        let one = factory.outlook(&public(template), documents);
        outlook.needs.extend(one.needs);
        outlook.chains.extend(one.chains);
    }
    factory.core.handle(Command::Forecast(outlook));
    let mut queue: Vec<(u32, u32)> =
        (0..templates).flat_map(|t| (0..documents).map(move |d| (t, d))).collect();
    queue.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
    let answers: Vec<_> = queue
        .into_iter()
        .map(|(template, document)| {
            let data = text(500 + template * 100 + document, 15);
            let job = Job { lane: 0, public: public(template), data, max_tokens: 20, ..job(document.into()) };
            factory.submit(&job).0
        })
        .collect();
    factory.finish();
    let hits = answers.into_iter().map(|mut a| a.try_recv().unwrap().unwrap().receipt.cached_tokens).sum();
    factory.assert_nothing_leaked();
    hits
}

#[test]
fn a_forecast_finds_a_tenth_more_in_the_running_engine() {
    let (mut lru, mut planned) = (0, 0);
    for seed in 0..3 {
        for blocks in [110, 140] {
            lru += hits_of_a_queue(Eviction::Lru, blocks, seed);
            planned += hits_of_a_queue(Eviction::Planned, blocks, seed);
        }
    }
    assert!(planned as f64 >= 1.1 * lru as f64, "planned {planned}, lru {lru}");
}
