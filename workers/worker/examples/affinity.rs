//! What affinity is worth: several engines with limited caches work off jobs of eight templates, once from undivided lanes and once
//! with partitions of their own, by the ring, the groups and the rule of helping out that workers use.
//! `cargo run -p bul-worker --release --example affinity`.
//!
//! Caches are the engine's own, without a model; time is modelled: prompts are computed one after another on an engine, answers
//! are written side by side.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};

use bul_engine::{CacheModel, Eviction, PolicyWorkload};
use bul_job::{Group, Limits, RawJob, TenantId, ValidJob, View};

/// Jobs of an engine at the same time.
const SLOTS: usize = 4;
/// Prompt tokens that an engine computes in a second.
const PROMPT_TOKENS_PER_S: u64 = 350;
/// Time to write an answer beside others, milliseconds.
const ANSWER_MS: u64 = 8_000;
/// As in `workers/worker/src/lanes.rs`.
const HELP_EVERY_MS: u64 = 250;

type Job = (u32, u32);

struct Engine {
    cache: CacheModel,
    view: View,
    hands: Vec<u32>,
    turn: usize,
    busy_until: u64,
    help_from: u64,
}

/// What came of a run.
#[derive(Default)]
struct Outcome {
    hit_tokens: u64,
    stolen: u64,
    end_ms: u64,
    /// Sum over all jobs, from arrival to end.
    waited_ms: u64,
}

/// Time, engine, and of an answer its template and arrival.
type Event = (u64, usize, Option<(u32, u64)>);

struct Run {
    workload: PolicyWorkload,
    engines: Vec<Engine>,
    queues: Vec<VecDeque<(u64, Job)>>,
    /// When something happens at an engine: an answer ends (then it says of which template and when it came), or a look.
    events: BinaryHeap<Reverse<Event>>,
    outcome: Outcome,
}

fn main() {
    let base = PolicyWorkload::default();
    println!(
        "{} templates × {} documents, {} + {} prompt tokens, blocks of {}; {SLOTS} slots an engine, eviction `planned`",
        base.templates, base.documents, base.prefix_tokens, base.data_tokens, base.block_tokens
    );
    println!(
        "hit rate of prompt tokens, time to the end against undivided lanes, mean time of a job against the same, stolen"
    );
    for (name, share) in [("backlog", 0), ("arriving at 80 % of what engines do with every prefix warm", 80)]
    {
        println!("\n{name}");
        println!(
            "{:>8}{:>8}{:>10}{:>34}{:>34}",
            "engines", "blocks", "undivided", "8 partitions", "16 partitions"
        );
        for engines in [2, 3, 4] {
            for blocks in [300, 600, 1200] {
                row(&PolicyWorkload { blocks, ..base }, engines, share);
            }
        }
    }
}

fn row(workload: &PolicyWorkload, engines: usize, share: u64) {
    let run = |partitions| {
        let seeds = 0..5;
        seeds.fold(Outcome::default(), |mut sum, seed| {
            let one = simulate(&PolicyWorkload { seed, ..*workload }, engines, partitions, share);
            sum.hit_tokens += one.hit_tokens;
            sum.stolen += one.stolen;
            sum.end_ms += one.end_ms;
            sum.waited_ms += one.waited_ms;
            sum
        })
    };
    let jobs = 5 * u64::from(workload.templates * workload.documents);
    let prompt_tokens = jobs * (workload.prefix_tokens + workload.data_tokens) as u64;
    let percent = |part: u64, whole: u64| part as f64 / whole.max(1) as f64 * 100.0;
    let undivided = run(1);
    print!("{engines:>8}{:>8}{:>9.1}%", workload.blocks, percent(undivided.hit_tokens, prompt_tokens));
    for partitions in [8, 16] {
        let divided = run(partitions);
        let against = |new: u64, old: u64| percent(new, old) - 100.0;
        print!(
            "{:>13.1}%{:>+6.0}%{:>+6.0}%{:>6.0}%",
            percent(divided.hit_tokens, prompt_tokens),
            against(divided.end_ms, undivided.end_ms),
            against(divided.waited_ms, undivided.waited_ms),
            percent(divided.stolen, jobs)
        );
    }
    println!();
}

/// The partition of a template, as a job for it is assigned.
fn partition(template: u32, partitions: u8) -> usize {
    let raw = RawJob { template: Some(format!("template-{template}")), ..RawJob::default() };
    let now = bul_job::Timestamp::from_timestamp(1_800_000_000, 0).unwrap_or_default();
    let group =
        ValidJob::parse(raw, now, &Limits::default()).map(|job| Group::of(&TenantId::default_tenant(), &job));
    group.map_or(0, |group| usize::from(group.partition(partitions).number()))
}

/// Jobs in an order that the seed decides.
fn jobs(workload: &PolicyWorkload) -> Vec<Job> {
    let mut all: Vec<Job> =
        (0..workload.templates).flat_map(|t| (0..workload.documents).map(move |d| (t, d))).collect();
    all.sort_by_key(|(t, d)| *blake3::hash(format!("{} {t} {d}", workload.seed).as_bytes()).as_bytes());
    all
}

fn simulate(workload: &PolicyWorkload, engines: usize, partitions: u8, share: u64) -> Outcome {
    let names: BTreeSet<String> = (0..engines).map(|n| format!("process-{}-{n}", workload.seed)).collect();
    let engine = |name: &String| Engine {
        cache: CacheModel::new(workload, Eviction::Planned),
        view: if partitions == 1 { View::alone(1) } else { View::of(name, &names, partitions) },
        hands: Vec::new(),
        turn: 0,
        busy_until: 0,
        help_from: 0,
    };
    let mut run = Run {
        workload: *workload,
        engines: names.iter().map(engine).collect(),
        queues: vec![VecDeque::new(); usize::from(partitions)],
        events: BinaryHeap::new(),
        outcome: Outcome::default(),
    };
    // What an engine does at best: its prompts one after another, or its slots one after another.
    let warm_ms = (workload.data_tokens as u64 * 1_000 / PROMPT_TOKENS_PER_S).max(ANSWER_MS / SLOTS as u64);
    let gap_ms = (warm_ms * 100).checked_div(share).unwrap_or(0) / engines as u64;
    for (at, job) in (0..).zip(jobs(workload)) {
        let now = at * gap_ms;
        run.until(now);
        run.queues[partition(job.0, partitions)].push_back((now, job));
        if share > 0 {
            run.arrived(partition(job.0, partitions), now);
        }
    }
    (0..engines).for_each(|engine| run.pull(engine, 0));
    run.until(u64::MAX);
    run.outcome
}

impl Run {
    /// Everything that happens up to `end`.
    fn until(&mut self, end: u64) {
        while let Some(Reverse((now, at, ended))) = self.events.peek().copied()
            && now <= end
        {
            self.events.pop();
            if let Some((template, since)) = ended {
                let hands = &mut self.engines[at].hands;
                if let Some(place) = hands.iter().position(|in_hand| *in_hand == template) {
                    hands.swap_remove(place);
                }
                self.outcome.end_ms = self.outcome.end_ms.max(now);
                self.outcome.waited_ms += now - since;
            }
            self.pull(at, now);
        }
    }

    /// Its owner hears of it at once; of several, the one with the most free slots.
    fn arrived(&mut self, partition: usize, now: u64) {
        let owns = |engine: &&usize| {
            self.engines[**engine].view.own.iter().any(|own| usize::from(own.number()) == partition)
        };
        let all: Vec<usize> = (0..self.engines.len()).collect();
        let owner = all.iter().filter(owns).min_by_key(|engine| self.engines[**engine].hands.len()).copied();
        if let Some(owner) = owner {
            self.pull(owner, now);
        }
        // Its owner is busy: whoever is idle finds it at the next look.
        if !self.queues[partition].is_empty() {
            for engine in all {
                self.events.push(Reverse((now + HELP_EVERY_MS, engine, None)));
            }
        }
    }

    fn pull(&mut self, at: usize, now: u64) {
        while self.engines[at].hands.len() < SLOTS {
            let Some((since, job)) = self.take(at, now) else { return };
            let engine = &mut self.engines[at];
            engine.hands.push(job.0);
            engine.cache.forecast(&engine.hands);
            let found = engine.cache.request(job.0, job.1, now);
            let prompt = (self.workload.prefix_tokens + self.workload.data_tokens) as u64 - found;
            engine.busy_until = engine.busy_until.max(now) + prompt * 1_000 / PROMPT_TOKENS_PER_S;
            self.outcome.hit_tokens += found;
            self.events.push(Reverse((engine.busy_until + ANSWER_MS, at, Some((job.0, since)))));
        }
    }

    /// The next job: of its own partitions in turn, then of the others'.
    fn take(&mut self, at: usize, now: u64) -> Option<(u64, Job)> {
        let engine = &mut self.engines[at];
        engine.turn += 1;
        let (own, turn) = (&engine.view.own, engine.turn);
        for n in 0..own.len() {
            let partition = own[(turn + n) % own.len()];
            if let Some(job) = self.queues[usize::from(partition.number())].pop_front() {
                return Some(job);
            }
        }
        if engine.view.others.is_empty() || engine.help_from > now {
            return None;
        }
        for partition in &engine.view.others {
            if let Some(job) = self.queues[usize::from(partition.number())].pop_front() {
                self.outcome.stolen += 1;
                return Some(job);
            }
        }
        engine.help_from = now + HELP_EVERY_MS;
        None
    }
}
