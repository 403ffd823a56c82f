//! The simulator itself: the same seed gives the same run, and no scenario is idle.

use bul_sim::{Scenario, run, sweep};

/// Runs of each scenario that are looked at.
const SEEDS: u64 = 50;

#[test]
fn a_seed_is_a_run() {
    for scenario in &Scenario::ALL {
        for seed in 0..5 {
            let [one, two] =
                [(); 2].map(|()| run(scenario, None, seed).unwrap_or_else(|f| panic!("\n{f}\n")));
            let facts = |r: &bul_sim::Report| (r.steps, r.changes, r.jobs, r.settled_ms, r.stats.clone());
            assert_eq!(facts(&one), facts(&two), "{} seed {seed}", scenario.name);
        }
    }
}

/// A scenario whose faults do not happen proves nothing.
#[test]
fn what_a_scenario_promises_happens() {
    let expected: &[(&Scenario, &[&str])] = &[
        (&Scenario::KILLS, &["killed", "skipped"]),
        (&Scenario::FREEZES, &["frozen", "fenced"]),
        (&Scenario::ANSWERS, &["refused", "answer lost", "vanished", "late", "down", "fenced", "reply lost"]),
        (
            &Scenario::BROKER,
            &[
                "message lost",
                "duplicated",
                "reordered",
                "redelivered",
                "full",
                "wiped",
                "relapsed",
                "reconciled",
            ],
        ),
        (&Scenario::CLOCKS, &["clock set"]),
        (&Scenario::LEADERS, &["frozen", "killed", "replayed", "replay refused"]),
        (&Scenario::USERS, &["handed back", "replayed", "paused"]),
        (&Scenario::BUSY, &["message lost"]),
        (&Scenario::THAWED, &["frozen", "clock set"]),
        (&Scenario::EMBEDDED, &["killed"]),
        (&Scenario::STORM, &["killed", "frozen", "late", "wiped", "fenced", "unrecorded"]),
    ];
    for (scenario, names) in expected {
        let swept = sweep(scenario, None, 0..SEEDS);
        assert!(swept.failure.is_none(), "\n{}\n", swept.failure.map(|f| f.to_string()).unwrap_or_default());
        for name in *names {
            let times = swept.stats.get(name).copied().unwrap_or(0);
            assert!(
                times >= 3,
                "{}: {name} happened {times} times in {SEEDS} runs: {:?}",
                scenario.name,
                swept.stats
            );
        }
        assert!(swept.jobs >= SEEDS * 10, "{}: {} jobs", scenario.name, swept.jobs);
    }
}
