//! Stores and brokers in the pairs that few choose: the local database with a broker outside, and PostgreSQL with the broker
//! in the process. Each runs jobs, is killed in their midst and goes on; each test ends in the conservation equation.

use bul_harness::{Nats, Postgres, RabbitMq};
use bul_tests::{Ran, Server, ServerOptions, bul, eventually, sqlite};

const JOBS: usize = 80;

fn options() -> ServerOptions {
    ServerOptions::default()
        .scripted()
        .with("BUL_TEST_TOKEN_DELAY_MS", "10")
        .with("BUL_WORKER_LEASE_S", "5")
        .with("BUL_RETRY_BASE_MS", "100")
}

/// `ask` puts a question to the store's tables, past the product.
fn jobs_and_a_kill(options: ServerOptions, pair: [&str; 2], ask: impl Fn(&Server, &str) -> String) {
    let mut server = Server::start(options);
    let doctor = server.cli(&["doctor"]).expect(0).out;
    for part in pair {
        assert!(doctor.contains(part), "{part} is not in {doctor}");
    }
    let job = |n: usize| {
        format!(
            "{{\"query\": \"Plan {n}\", \"idempotency_key\": \"plan-{n}\", \"formats\": [\"md\", \"json\"], \"data\": {{\"sections\": [\"Scope\"]}}}}\n"
        )
    };
    let submit = |server: &Server, range: std::ops::Range<usize>| {
        let jobs: String = range.map(job).collect();
        server.cli_with_input(&["submit", "-"], &jobs).expect(0);
    };
    submit(&server, 0..JOBS);
    eventually("some are done, others run", || {
        let ledger = server.ledger();
        (ledger["completed"].as_u64() >= Some(5) && ledger["running"].as_u64() > Some(0)).then_some(())
    });
    server.kill();
    let open = ask(&server, "SELECT count(*) FROM jobs WHERE state <> 'completed'");
    assert_ne!(open, "0", "the kill hit nothing");
    server.restart();
    submit(&server, JOBS..JOBS + 10);
    // Asked again under their keys: the same jobs.
    submit(&server, 0..10);
    let (ledger, count) = (server.settle(), JOBS + 10);
    let pair = (ledger["accepted"].as_u64(), ledger["completed"].as_u64());
    assert_eq!(pair, (Some(count as u64), Some(count as u64)), "{ledger}");
    let stored = ask(&server, "SELECT count(*), count(DISTINCT job) FROM documents");
    assert_eq!(stored, format!("{}|{count}", count * 2));
    let doubles = "SELECT count(*) FROM (SELECT 1 FROM documents GROUP BY job, format HAVING count(*) > 1) d";
    assert_eq!(ask(&server, doubles), "0");
}

fn ask_sqlite(server: &Server, query: &str) -> String {
    sqlite(&server.database(), query).join("\n")
}

#[test]
fn sqlite_with_nats() {
    let nats = Nats::start().expect("NATS starts");
    jobs_and_a_kill(options().with("BUL_BROKER", &nats.url()), ["sqlite", "nats"], ask_sqlite);
}

#[test]
fn sqlite_with_rabbitmq() {
    let rabbit = RabbitMq::start().expect("RabbitMQ starts");
    jobs_and_a_kill(options().with("BUL_BROKER", &rabbit.url()), ["sqlite", "rabbitmq"], ask_sqlite);
}

#[test]
fn postgres_with_the_embedded_broker() {
    let postgres = Postgres::start().expect("PostgreSQL starts");
    let home = tempfile::tempdir().expect("a temporary folder");
    Ran::of(bul(home.path()).env("BUL_STORE", postgres.url()).arg("migrate")).expect(0);
    let ask = |_: &Server, query: &str| {
        postgres.psql(&format!("SET search_path = bul; {query}")).expect("a query of the test")
    };
    jobs_and_a_kill(options().with("BUL_STORE", &postgres.url()), ["postgres", "embedded"], ask);
}
