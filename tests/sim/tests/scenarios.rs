//! The system as it is survives every scenario under every seed.

use bul_sim::{Scenario, explain, run, sweep};

/// The one seed to run instead of all, with its trace: `BUL_SIM_SEED`.
fn chosen_seed() -> Option<u64> {
    std::env::var("BUL_SIM_SEED").ok()?.parse().ok()
}

/// Times as many seeds: `BUL_SIM_TIMES`, 10 for a coffee break, 1,000 for a night.
fn times() -> u64 {
    std::env::var("BUL_SIM_TIMES").ok().and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// Runs the system as it is; panics with the trace of the first seed that breaks a rule.
fn survives(scenario: &Scenario, seeds: u64) {
    if let Some(seed) = chosen_seed() {
        explain(scenario, None, seed).iter().for_each(|line| println!("{line}"));
        let report = run(scenario, None, seed).unwrap_or_else(|failure| panic!("\n{failure}\n"));
        println!("{report:#?}");
        return;
    }
    let started = std::time::Instant::now();
    let swept = sweep(scenario, None, 0..seeds * times());
    if let Some(failure) = &swept.failure {
        panic!("\n{failure}\n");
    }
    println!("{} in {:?}: {swept:?}", scenario.name, started.elapsed());
}

macro_rules! scenarios {
    ($($name:ident: $scenario:ident x $seeds:literal,)*) => {
        $(#[test]
        fn $name() {
            survives(&Scenario::$scenario, $seeds);
        })*
    };
}

scenarios! {
    calm: CALM x 200,
    kills: KILLS x 400,
    freezes: FREEZES x 400,
    answers: ANSWERS x 400,
    broker: BROKER x 400,
    wiped: WIPED x 400,
    clocks: CLOCKS x 400,
    leaders: LEADERS x 400,
    poison: POISON x 400,
    users: USERS x 400,
    lanes: LANES x 40,
    embedded: EMBEDDED x 400,
    storm: STORM x 500,
    busy: BUSY x 30,
    thawed: THAWED x 400,
    company: COMPANY x 400,
}
