//! Lays out a run before it starts: who submits what and when, and which disasters come.
//!
//! Everything is drawn from the seed, so that a run is its seed and its scenario.

use bul_job::{Lane, MissedPolicy, ScheduleSpec};
use rand::RngExt;

use crate::clock::{Ms, OwnClock, stamp};
use crate::exec::{Pid, Role, Sim};
use crate::proc::Proc;
use crate::scenario::{Mix, Scenario};
use crate::store_types::{Body, Nature, Schedule};
use crate::users;
use crate::world::Outage;

/// Hours that a process's clock is off at most.
const OFF_MAX_MS: i64 = 3 * 3_600_000;
/// Longest step of the store's clock: all of them together stay below the 100 fires, a minute apart, that
/// the calendar makes up for.
const AHEAD_MAX: Ms = 20 * 60_000;
/// Longest step back of the store's clock; it stands still that long.
pub const BACK_MAX: Ms = 20_000;
/// Urgent jobs of a flood.
const FLOOD: u32 = 90;

/// Adds the processes, their users and what will go wrong.
pub fn lay_out(sim: &Sim) {
    let scenario = *sim.scenario();
    let outside = sim.add(Role::Outside, OwnClock::default(), 0);
    let roles = [
        (Role::Everything, usize::from(scenario.embedded)),
        (Role::Producer, scenario.producers),
        (Role::Worker, scenario.workers),
        (Role::Scheduler, scenario.schedulers),
        (Role::Replayer, scenario.replayers),
    ];
    for (role, count) in roles {
        for _ in 0..count {
            let clock = OwnClock { offset: sim.faults(|f| f.rng.random_range(-OFF_MAX_MS..=OFF_MAX_MS)) };
            let after = sim.faults(|f| f.between(0, 400));
            sim.add(role, clock, after);
        }
    }
    let proc = Proc { sim: sim.clone(), pid: outside };
    visitors(&proc, &scenario);
    disasters(sim, &scenario);
    if scenario.cron {
        calendar(sim);
    }
    sim.later(scenario.over_at(), |sim| sim.world(|w| w.store.pause_schedules()));
    if scenario.traffic {
        sim.later(scenario.chaos, |sim| sim.world(|w| w.traffic_from = w.ids + 1));
    }
}

fn visitors(outside: &Proc, scenario: &Scenario) {
    let sim = &outside.sim;
    let span = if scenario.flood { 5_000 } else { scenario.chaos * 2 / 3 };
    for number in 0..scenario.submissions {
        let at = sim.faults(|f| f.between(10, span));
        let jobs: Vec<Body> = (0..sim.faults(|f| f.between(1, 3))).map(|_| body(sim, scenario, at)).collect();
        let keyed = sim.faults(|f| f.between(0, 3)) > 0;
        let twice = keyed && sim.faults(|f| f.between(0, 4)) == 0;
        let tenant = number as usize % scenario.tenants;
        for _ in 0..=u32::from(twice) {
            let key = keyed.then_some(number * 8);
            sim.spawn_errand(outside, users::submit(outside.clone(), at, tenant, key, jobs.clone()));
        }
    }
    for number in 0..scenario.foreign {
        let at = sim.faults(|f| f.between(10, span));
        let body = (number % 2 == 0).then(|| body(sim, scenario, at));
        sim.spawn_errand(outside, users::publish(outside.clone(), at, number, body));
    }
    for _ in 0..scenario.cancels {
        let at = sim.faults(|f| f.between(1_000, span));
        sim.spawn_errand(outside, users::cancel(outside.clone(), at));
    }
    if scenario.flood {
        let urgent = Body { lane: Lane::Critical, work_ms: 300, ..plain() };
        let flood = (0..FLOOD / 3).map(|i| (i, vec![urgent; 3]));
        for (number, jobs) in flood {
            sim.spawn_errand(outside, users::submit(outside.clone(), 5, 0, Some(100_000 + number * 8), jobs));
        }
    }
    if scenario.traffic {
        sim.spawn(outside.pid, users::traffic(outside.clone(), plain()));
    }
}

fn plain() -> Body {
    let (run_at, deadline) = (None, None);
    Body {
        nature: Nature::Good,
        lane: Lane::Normal,
        run_at,
        deadline,
        max_attempts: 3,
        formats: 1,
        work_ms: 900,
    }
}

fn body(sim: &Sim, scenario: &Scenario, at: Ms) -> Body {
    sim.faults(|f| {
        let Mix { good, long, flaky, broken, deadly, poison } = scenario.mix;
        let mut drawn = f.rng.random_range(0..good + long + flaky + broken + deadly + poison);
        let mut part = |weight: u32| {
            let here = drawn < weight;
            drawn = if here { u32::MAX } else { drawn.saturating_sub(weight) };
            here
        };
        let is_long = part(long);
        let nature = if part(flaky) {
            Nature::Flaky(1)
        } else if part(broken) {
            Nature::Broken
        } else if part(deadly) {
            Nature::Deadly
        } else if part(poison) {
            Nature::Poison
        } else {
            Nature::Good
        };
        let work_ms = if is_long { f.between(20_000, 70_000) } else { f.between(100, 4_000) };
        let lane = Lane::from_index(f.between(0, 3) as usize).unwrap_or_default();
        let lane = if scenario.flood { Lane::Low } else { lane };
        let timed = scenario.timed && f.between(0, 2) == 0;
        let run_at = timed.then(|| at + f.between(0, 40_000));
        let deadline =
            (scenario.timed && f.between(0, 4) == 0).then(|| run_at.unwrap_or(at) + f.between(1_000, 90_000));
        Body {
            nature,
            lane,
            run_at: run_at.map(stamp),
            deadline: deadline.map(stamp),
            max_attempts: f.between(2, 4) as u32,
            formats: f.between(1, 3) as u8,
            work_ms,
        }
    })
}

fn disasters(sim: &Sim, scenario: &Scenario) {
    let moment = |sim: &Sim| sim.faults(|f| f.between(2_000, scenario.chaos));
    for _ in 0..scenario.wipes {
        sim.later(moment(sim), |sim| {
            sim.note(|| "the broker's data is replaced by none".into());
            sim.faults(|f| f.count("wiped"));
            sim.world(|w| w.broker.wipe());
        });
    }
    for _ in 0..scenario.relapses {
        sim.later(moment(sim), |sim| {
            sim.note(|| "the broker forgets some messages, and gives acknowledged ones once more".into());
            sim.faults(|f| {
                f.count("relapsed");
                sim.world(|w| {
                    w.broker.forget_some(f);
                    w.broker.restore();
                });
            });
        });
    }
    for number in 0..scenario.outages {
        let from = moment(sim);
        let length = sim.faults(|f| f.between(1_000, 45_000));
        let until = (from + length).min(scenario.chaos.max(from));
        let outage = Outage { from, until, black_hole: sim.faults(|f| f.between(0, 1)) == 0 };
        sim.world(|w| {
            let outages = if number % 2 == 0 { &mut w.store_outages } else { &mut w.broker_outages };
            outages.push(outage);
        });
    }
    for _ in 0..scenario.model_outages {
        let from = moment(sim);
        let until = from + sim.faults(|f| f.between(5_000, 40_000));
        sim.world(|w| w.model_outages.push(Outage { from, until, black_hole: false }));
    }
    for _ in 0..scenario.halts {
        sim.later(moment(sim), |sim| {
            let able = [Role::Worker, Role::Scheduler].map(|role| sim.of_role(role)).concat();
            let chosen: Option<Pid> =
                sim.faults(|f| able.get(f.between(0, able.len() as u64) as usize)).copied();
            if let Some(pid) = chosen {
                sim.halt(pid);
            }
        });
    }
    for _ in 0..scenario.clock_steps {
        sim.later(moment(sim), |sim| {
            let back = sim.faults(|f| f.between(0, 1)) == 0;
            let ahead = sim.faults(|f| f.between(1_000, AHEAD_MAX)) as i64;
            let by = if back { -sim.faults(|f| f.between(1_000, BACK_MAX) as i64) } else { ahead };
            sim.note(|| format!("the store's clock is set by {by} ms"));
            sim.faults(|f| f.count("clock set"));
            sim.world(|w| w.clock.step(by));
        });
    }
}

/// One schedule per policy, in a zone whose clocks jump five minutes after the start.
fn calendar(sim: &Sim) {
    for (tenant, missed) in
        [MissedPolicy::All, MissedPolicy::Once, MissedPolicy::Skip].into_iter().enumerate()
    {
        let Ok(spec) = ScheduleSpec::parse("* * * * *", "Europe/Berlin") else { continue };
        let Some(starts_at) = spec.next_after(stamp(0)) else { continue };
        let (next_at, tenant) = (Some(starts_at), tenant % sim.scenario().tenants);
        sim.world(|w| {
            w.store.add_schedule(Schedule { spec, missed, tenant, starts_at, next_at, paused: false })
        });
    }
}
