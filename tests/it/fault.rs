//! Faults with real processes; each test ends in the conservation equation.

use std::time::Duration;

use bul_tests::{Server, ServerOptions, sqlite};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Every job ended exactly once: its documents are there once per format, and one attempt completed it.
fn assert_exactly_once(server: &Server, jobs: u64) {
    let ledger = server.ledger();
    assert_eq!(
        (ledger["accepted"].as_u64(), ledger["completed"].as_u64()),
        (Some(jobs), Some(jobs)),
        "{ledger}"
    );
    let ask = |query: &str| sqlite(&server.database(), query);
    assert_eq!(ask("SELECT count(*), count(DISTINCT job) FROM documents"), [format!("{}|{jobs}", jobs * 2)]);
    assert_eq!(
        ask("SELECT count(*) FROM (SELECT 1 FROM documents GROUP BY job, format HAVING count(*) > 1)"),
        ["0"]
    );
    // The attempt that completed a job stands in its row, those that did not stand in a table of their own.
    let again = "SELECT count(*) FROM attempts a JOIN jobs j ON j.id = a.job WHERE a.attempt >= j.attempt";
    assert_eq!(ask(again), ["0"], "nothing was tried after the result");
}

#[test]
fn twenty_kills_in_the_middle_of_two_hundred_jobs() {
    let mut rng = ChaCha8Rng::seed_from_u64(20);
    let mut server = Server::start(ServerOptions::default());
    let jobs: String = (0..200)
        .map(|n| format!("{{\"query\": \"Process for handling returns in region {n}\", \"formats\": [\"md\", \"json\"], \"data\": {{\"sections\": [\"Scope\", \"Process steps\"]}}}}\n"))
        .collect();
    server.cli_with_input(&["submit", "-"], &jobs).expect(0);
    let mut interrupted = 0;
    for _ in 0..20 {
        server.let_work(Duration::from_millis(rng.random_range(50..900)));
        server.kill();
        let running = sqlite(&server.database(), "SELECT count(*) FROM jobs WHERE state = 'running'");
        interrupted += running[0].parse::<u64>().unwrap();
        server.restart();
    }
    assert!(interrupted > 0, "the kills hit nothing");
    server.settle();
    assert_exactly_once(&server, 200);
}

/// The client does not know whether a killed server has taken its job, so it asks again under the same
/// key; in the end there is one job per key.
#[test]
fn submissions_survive_kills_without_loss_or_double() {
    let mut rng = ChaCha8Rng::seed_from_u64(21);
    let mut server = Server::start(ServerOptions::default().scripted());
    for n in 0..30 {
        let job = format!(
            "{{\"query\": \"Plan {n}\", \"idempotency_key\": \"plan-{n}\", \"formats\": [\"md\", \"json\"]}}"
        );
        let path = server.home().join(format!("job-{n}.json"));
        std::fs::write(&path, job).unwrap();
        let mut command = server.command();
        let mut submit = command.args(["submit", &path.display().to_string()]).spawn().unwrap();
        if n % 3 == 0 {
            server.let_work(Duration::from_millis(rng.random_range(0..40)));
            server.kill();
            let _ = submit.wait();
            server.restart();
        } else {
            assert!(submit.wait().unwrap().success());
        }
        server.cli(&["submit", &path.display().to_string()]).expect(0);
    }
    server.settle();
    assert_exactly_once(&server, 30);
}

#[test]
fn a_second_server_on_the_same_store_is_refused() {
    let server = Server::start(ServerOptions::default().scripted());
    let second = server.cli(&["up"]);
    assert_ne!(second.code, 0);
    assert!(second.err.contains("in use"), "{}", second.err);
    assert_eq!(server.ledger()["accepted"], 0);
}
