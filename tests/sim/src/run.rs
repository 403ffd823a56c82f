//! Runs: one seed, or many until the first failure.
//!
//! A failing seed is run once more with a trace, which must fail in the same way.

use std::fmt;
use std::time::Duration;

use bul_job::{Lane, Rules};
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use crate::broker::Broker;
use crate::clock::{Ms, StoreClock};
use crate::exec::{Pid, Role, Sim};
use crate::faults::{Faults, Stats};
use crate::invariants::{Broken, Invariants, Rule, broken};
use crate::life::Expect;
use crate::mutants::Mutant;
use crate::proc::Proc;
use crate::scenario::Scenario;
use crate::store::Store;
use crate::store_types::{Change, JobNo};
use crate::trace::Trace;
use crate::world::World;
use crate::{plan, pull, replayer, scheduler};

/// Rules of the product, but for how long lost messages may stay unnoticed.
fn rules(scenario: &Scenario) -> Rules {
    let look_again = Duration::from_millis(scenario.look_again);
    Rules { look_again, look_again_max: look_again * 2, ..Rules::default() }
}

/// Steps of a run; more means that processes keep each other busy without getting anywhere.
const STEPS_MAX: u64 = 400_000;

/// What happened in a run that broke no rule.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Steps.
    pub steps: u64,
    /// Committed changes.
    pub changes: u64,
    /// Jobs.
    pub jobs: u64,
    /// Simulated time until everything had settled.
    pub settled_ms: Ms,
    /// What went wrong, counted.
    pub stats: Stats,
}

/// A run that broke a rule.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Seed.
    pub seed: u64,
    /// Scenario.
    pub scenario: &'static str,
    /// Mutant, if one was on.
    pub mutant: Option<Mutant>,
    /// The rule.
    pub rule: Rule,
    /// How it was broken.
    pub how: String,
    /// When.
    pub at: Ms,
    /// The last events.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, scenario, rule, how, at, .. } = self;
        self.trace.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
        writeln!(f, "scenario {scenario}, seed {seed}, {at} ms: rule {rule:?} is broken: {how}")?;
        if let Some(mutant) = self.mutant {
            writeln!(f, "with the mutant {mutant:?}")?;
        }
        write!(
            f,
            "again: BUL_SIM_SEED={seed} cargo nextest run --cargo-profile release -p bul-sim {scenario}"
        )
    }
}

/// Many runs.
#[derive(Debug, Clone, Default)]
pub struct Sweep {
    /// Runs that broke no rule.
    pub runs: u64,
    /// Steps of all.
    pub steps: u64,
    /// Jobs of all.
    pub jobs: u64,
    /// What went wrong in all, counted.
    pub stats: Stats,
    /// Longest time until everything had settled.
    pub settled_ms_max: Ms,
    /// The first that did.
    pub failure: Option<Box<Failure>>,
}

/// Runs seeds until one fails.
pub fn sweep(scenario: &Scenario, mutant: Option<Mutant>, seeds: std::ops::Range<u64>) -> Sweep {
    let mut sweep = Sweep::default();
    for seed in seeds {
        match run(scenario, mutant, seed) {
            Ok(report) => {
                sweep.runs += 1;
                sweep.steps += report.steps;
                sweep.jobs += report.jobs;
                sweep.settled_ms_max = sweep.settled_ms_max.max(report.settled_ms);
                report.stats.into_iter().for_each(|(what, n)| *sweep.stats.entry(what).or_default() += n);
            }
            Err(failure) => {
                sweep.failure = Some(failure);
                break;
            }
        }
    }
    sweep
}

/// Runs one seed.
pub fn run(scenario: &Scenario, mutant: Option<Mutant>, seed: u64) -> Result<Report, Box<Failure>> {
    let (first, at, _) = match attempt(scenario, mutant, seed, false) {
        Ok(report) => return Ok(report),
        Err(failed) => failed,
    };
    let (again, trace) = match attempt(scenario, mutant, seed, true) {
        Err((again, _, trace)) => (Some(again.how), trace),
        Ok(_) => (None, Vec::new()),
    };
    let how = match again {
        Some(how) if how == first.how => how,
        other => format!("{} (and not the same the second time: {other:?})", first.how),
    };
    Err(Box::new(Failure { seed, scenario: scenario.name, mutant, rule: first.rule, how, at, trace }))
}

/// Runs one seed and gives all of its events, whether it fails or not.
pub fn explain(scenario: &Scenario, mutant: Option<Mutant>, seed: u64) -> Vec<String> {
    let trace = Trace::of_all();
    let sim = build(scenario, mutant, seed, trace);
    plan::lay_out(&sim);
    let _ = drive(&sim, scenario, &mut 0);
    let lines = sim.take_trace();
    sim.close();
    lines
}

type Outcome = Result<Report, (Broken, Ms, Vec<String>)>;

fn attempt(scenario: &Scenario, mutant: Option<Mutant>, seed: u64, traced: bool) -> Outcome {
    let sim = build(scenario, mutant, seed, if traced { Trace::of_last() } else { Trace::default() });
    plan::lay_out(&sim);
    let mut steps = 0;
    let result = drive(&sim, scenario, &mut steps);
    let trace = sim.take_trace();
    let report = result.map(|settled_ms| {
        let (changes, jobs) = sim.world(|w| (w.rules.changes, w.store.rows().count() as u64));
        let stats = sim.faults(|f| std::mem::take(&mut f.stats));
        Report { steps, changes, jobs, settled_ms, stats }
    });
    let at = sim.now();
    sim.close();
    report.map_err(|broken| (broken, at, trace))
}

fn build(scenario: &Scenario, mutant: Option<Mutant>, seed: u64, trace: Trace) -> Sim {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let deletes_by_number = rand::RngExt::random_bool(&mut rng, 0.5);
    let watch = Invariants::new(scenario.flood);
    let world = World {
        store: Store::new(scenario.tenants, rules(scenario), seed, mutant),
        broker: Broker::new(scenario.messages_max, deletes_by_number),
        clock: StoreClock::default(),
        rules: watch,
        store_outages: Vec::new(),
        broker_outages: Vec::new(),
        model_outages: Vec::new(),
        ids: 0,
        traffic_from: JobNo::MAX,
        open_errands: 0,
    };
    let faults = Faults::new(rng, scenario.rates, scenario.chaos);
    Sim::new(*scenario, mutant, world, faults, trace, boot)
}

/// Steps until everything has settled, and a while longer; every step is checked.
fn drive(sim: &Sim, scenario: &Scenario, steps: &mut u64) -> Result<Ms, Broken> {
    let mut settled_at: Option<Ms> = None;
    while let Some(did) = sim.step() {
        if !did {
            continue;
        }
        *steps += 1;
        let now = sim.now();
        if sim.is_traced() {
            sim.world(|w| w.store.journal.iter().map(Change::to_string).collect::<Vec<_>>())
                .into_iter()
                .for_each(|line| sim.note(|| line));
        }
        sim.world(|w| {
            let at = w.clock.read(now);
            w.check(at)
        })?;
        if now < scenario.over_at() {
            continue;
        }
        match settled_at {
            None if sim.world(|w| w.is_settled()) => settled_at = Some(now),
            None if now > scenario.over_at() + scenario.settle_max => return unsettled(sim, "in time"),
            None if *steps > STEPS_MAX => return unsettled(sim, "within the limit of steps"),
            Some(at) if now > at + scenario.linger() => {
                if sim.world(|w| w.is_settled()) {
                    break;
                }
                // Somebody came late: a replay, or a call that took effect long after it was made.
                settled_at = None;
            }
            None | Some(_) => {}
        }
    }
    let Some(at) = settled_at else { return unsettled(sim, "before everything stood still") };
    let (crashes_max, innocents_may_die) = (rules(scenario).crashes_max, scenario.innocents_may_die);
    sim.world(|w| w.check_end(&Expect { crashes_max, innocents_may_die }))?;
    Ok(at)
}

fn unsettled<T>(sim: &Sim, when: &str) -> Result<T, Broken> {
    let how = sim.world(|w| {
        let open: Vec<String> = w
            .store
            .rows()
            .filter(|(id, row)| w.must_settle(*id) && !row.core.state.is_final())
            .map(|(id, row)| format!("job {id} {} due {:?}", row.core.state, row.core.due_at))
            .collect();
        let (held, errands) = (w.broker.held(), w.open_errands);
        format!("not settled {when}: {open:?}, {held} messages, {errands} errands")
    });
    broken(Rule::Settles, how)
}

/// The tasks of a process.
fn boot(sim: &Sim, pid: Pid) {
    let p = Proc { sim: sim.clone(), pid };
    let lanes = Lane::ALL.to_vec();
    match sim.process(pid, |process| process.role) {
        Role::Worker => p.spawn(pull::run(p.clone(), lanes)),
        Role::Scheduler => p.spawn(scheduler::run(p.clone())),
        Role::Replayer => p.spawn(replayer::run(p.clone())),
        Role::Everything => {
            let all = p.clone();
            p.spawn(async move {
                scheduler::recover(&all).await;
                all.spawn(pull::run(all.clone(), lanes));
                all.spawn(scheduler::run(all.clone()));
            });
        }
        // Requests come to it from outside.
        Role::Producer | Role::Outside => {}
    }
}
