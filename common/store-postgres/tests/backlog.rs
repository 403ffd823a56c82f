//! A look at a long queue: what it reads must not depend on how long it is.

use bul_harness::Postgres;
use bul_store::{BACKLOG_MAX, BacklogFilter, Store};
use bul_store_postgres::{Options, PostgresStore};

const JOBS: usize = 100_000;

/// Queued jobs of two templates, in the order of their ids.
fn fill(server: &Postgres) {
    let sql = format!(
        "INSERT INTO bul.jobs (id, accepted_at, attempt, publish, failures, crashes, max_attempts, lane, state, tenant,
            template, business_area, source, digest, body)
         SELECT n.id::uuid, now(), 0, 1, 0, 0, 5, 2, 'queued', 'acme',
            CASE n.n % 2 WHEN 0 THEN 'invoice' ELSE 'contract' END, '', 'test', sha256(n.n::text::bytea), '{{}}'
         FROM (SELECT lpad(to_hex(n), 30, '0') || '07' AS id, n FROM generate_series(1, {JOBS}) n) n"
    );
    server.psql(&sql).unwrap();
    server.psql("ANALYZE bul.jobs").unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_at_a_long_backlog_reads_by_id_alone() {
    let server = Postgres::start().unwrap();
    let store = PostgresStore::open(&server.url(), Options::default()).await.expect("open");
    fill(&server);
    let kinds = store.backlog(&BacklogFilter::default()).await.unwrap();
    let counts: Vec<(&str, u64)> = kinds.iter().map(|kind| (kind.template.as_str(), kind.jobs)).collect();
    assert_eq!(counts, [("contract", 500), ("invoice", 500)]);

    let front = format!("'{{{:030x}07}}'", JOBS / 2);
    let plan = server
        .psql(&format!(
            "PREPARE look (uuid[], bigint, smallint[]) AS {};
             EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) EXECUTE look({front}, {BACKLOG_MAX}, '{{0, 1, 2, 3}}')",
            include_str!("../queries/backlog.sql").replace(" jobs j", " bul.jobs j"),
        ))
        .unwrap();
    println!("{plan}");
    assert_eq!(plan.matches("using jobs_pkey").count(), 2, "{plan}");
    assert!(!plan.contains("Seq Scan on jobs"), "{plan}");
    // As many rows as are looked at from either place, and no more.
    let scans = plan.lines().filter(|line| line.contains("using jobs_pkey"));
    assert!(scans.into_iter().all(|line| line.contains("rows=1000")), "{plan}");
}
