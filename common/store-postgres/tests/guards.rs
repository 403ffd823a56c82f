//! What the database itself guards: tenants, states, rights, and the schema.

use std::sync::Arc;
use std::time::Duration;

use bul_harness::Postgres;
use bul_job::{FailureClass, JobId, State};
use bul_store::conformance::kit;
use bul_store::{Begin, ReplayAs, Store, StoreError};
use bul_store_postgres::{OpenError, Options, PostgresStore};
use serde_json::json;

async fn open(url: &str) -> Arc<dyn Store> {
    Arc::new(PostgresStore::open(url, Options::default()).await.expect("open"))
}

/// SQL as the tenant role of the installation, in a transaction.
fn as_tenant(server: &Postgres, tenant: Option<&str>, sql: &str) -> anyhow::Result<String> {
    let set = tenant.map(|name| format!("SET LOCAL bul.tenant = '{name}';")).unwrap_or_default();
    server.psql(&format!("BEGIN; SET ROLE bul_bul_tenant; SET LOCAL search_path = bul; {set} {sql}; COMMIT"))
}

/// What doctor tells of a server comes from the server itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_lose_data_are_noted() {
    let hasty = Postgres::start().unwrap();
    let notes = open(&hasty.url()).await.info().notes;
    assert!(
        notes[0].starts_with("fsync is off") && notes[1].starts_with("full_page_writes is off"),
        "{notes:?}"
    );
    let safe =
        Postgres::start_with(bul_harness::PostgresOptions { fsync: true, ..Default::default() }).unwrap();
    let store = open(&safe.url()).await;
    assert!(!store.info().notes.iter().any(|note| note.contains(" is off")), "{:?}", store.info());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_as_the_tenant_role_sees_its_own_rows_only() {
    let server = Postgres::start().unwrap();
    let store = open(&server.url()).await;
    let (done, attempt) = kit::running(&store).await;
    store.complete(done, attempt, &kit::output()).await.unwrap();
    let dead = kit::dead(&store, json!({"query": "x"})).await;
    store.replay(&kit::acme(), dead, None, ReplayAs::default(), "op").await.unwrap();
    kit::accept_job(&store, kit::new_job_of(&store, "globex", json!({"query": "x"}))).await;
    let schedule = bul_store::conformance::schedules::schedule(&store, "acme", "daily");
    store.add_schedule(&schedule).await.unwrap();

    for table in ["jobs", "documents", "attempts", "audit", "schedules"] {
        let count = format!("SELECT count(*) FROM {table}");
        let own: u32 = as_tenant(&server, Some("acme"), &count).unwrap().parse().unwrap();
        assert!(own > 0, "{table}: its own rows are hidden");
        assert_eq!(as_tenant(&server, None, &count).unwrap(), "0", "{table}: without a tenant");
        assert_eq!(as_tenant(&server, Some("initech"), &count).unwrap(), "0", "{table}: a foreign tenant");
    }
    assert_eq!(as_tenant(&server, Some("globex"), "SELECT count(*) FROM jobs").unwrap(), "1");
    // Nor can it write what is another's, or look where it has no business.
    let steal = "UPDATE jobs SET title = 'stolen' WHERE tenant = 'acme'";
    as_tenant(&server, Some("globex"), steal).unwrap();
    assert_eq!(server.psql("SELECT count(*) FROM bul.jobs WHERE title = 'stolen'").unwrap(), "0");
    let give = "UPDATE jobs SET tenant = 'acme' WHERE tenant = 'globex'";
    assert!(as_tenant(&server, Some("globex"), give).is_err(), "a row was given away");
    // What is kept of a job that runs is the workers' alone; the tenant may remove its own.
    let (runs, attempt) = kit::running(&store).await;
    let text = bul_store::KeptText::new([7; 32], "a finished text".into(), 9).unwrap();
    store.keep_text(runs, attempt, &text).await.unwrap();
    assert!(as_tenant(&server, Some("acme"), "SELECT body FROM kept_texts").is_err());
    as_tenant(&server, Some("globex"), "DELETE FROM kept_texts").unwrap();
    assert_eq!(store.kept_texts(runs).await.unwrap(), [text]);
    for table in
        ["keys", "leaders", "watches", "accepted", "installation", "breakers", "workers", "session_turns"]
    {
        let read = format!("SELECT * FROM {table}");
        assert!(as_tenant(&server, Some("acme"), &read).is_err(), "{table} may be read");
    }
    assert!(as_tenant(&server, Some("acme"), "DELETE FROM jobs").is_err());
    kit::balanced(&store).await;
}

/// A process that begins jobs remembers those that it has accepted; what others have made of them since counts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_remembered_job_is_not_begun_once_another_process_has_changed_it() {
    let server = Postgres::start().unwrap();
    let (ours, theirs) = (open(&server.url()).await, open(&server.url()).await);
    kit::running(&ours).await;
    let begin = async |id| ours.begin(id, "w", kit::LEASE).await.unwrap();

    let cancelled = kit::accept_any(&ours).await;
    theirs.cancel(&kit::acme(), cancelled).await.unwrap();
    assert!(matches!(begin(cancelled).await, Begin::Skip(State::Cancelled)));

    let taken = kit::accept_any(&ours).await;
    let attempt = kit::begin(&theirs, taken).await.attempt;
    assert!(matches!(begin(taken).await, Begin::Skip(State::Running)));
    theirs.complete(taken, attempt, &kit::output()).await.unwrap();
    assert!(matches!(begin(taken).await, Begin::Skip(State::Completed)));

    // A dead letter was edited and runs again: what it asks for now is what is run.
    let edited = kit::accept_any(&ours).await;
    let attempt = kit::begin(&theirs, edited).await.attempt;
    theirs.fail(edited, attempt, &kit::failure(FailureClass::Permanent)).await.unwrap();
    let job = kit::valid(&theirs, json!({"query": "something else"}));
    theirs.edit_dead_letter(&kit::acme(), edited, &job, "op").await.unwrap();
    theirs.replay(&kit::acme(), edited, None, ReplayAs::default(), "op").await.unwrap();
    kit::drain(&theirs).await;
    let Begin::Run(attempt) = begin(edited).await else { panic!("it does not run") };
    assert_eq!((attempt.attempt.0, attempt.job.query.as_deref()), (2, Some("something else")));

    let untouched = kit::accept_any(&ours).await;
    assert!(matches!(begin(untouched).await, Begin::Run(attempt) if attempt.attempt.0 == 1));
    kit::balanced(&theirs).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_breaks_the_state_machine_is_refused_by_the_table() {
    let server = Postgres::start().unwrap();
    let store = open(&server.url()).await;
    let id: JobId = kit::accept_any(&store).await;
    for change in [
        "state = 'done'",
        "state = 'completed'",
        "state = 'completed', ended_at = now(), due_at = NULL",
        "state = 'completed', ended_at = now(), due_at = NULL, attempt = 1, worker = 'w', started_at = now()",
        "state = 'dead', ended_at = now(), due_at = NULL",
        "state = 'dead', ended_at = now(), dead_reason = 'poison'",
        "state = 'cancelled', due_at = NULL",
        "state = 'running'",
        "state = 'running', attempt = 1",
        "state = 'waiting', due_at = NULL",
        "publish = 0",
        "dead_reason = 'poison'",
        "purged_at = now()",
        "body = NULL",
        "lane = 4",
        "failures = -1",
        "max_attempts = 0",
        "digest = 'x'",
        "ended_at = now()",
    ] {
        assert!(server.psql(&format!("UPDATE bul.jobs SET {change}")).is_err(), "{change}");
    }
    assert_eq!(kit::state(&store, id).await, State::Queued);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_processes_may_make_the_schema_at_once() {
    let server = Postgres::start().unwrap();
    let url = server.url();
    let opening = (0..4).map(|_| {
        let url = url.clone();
        tokio::spawn(async move { PostgresStore::open(&url, Options::default()).await })
    });
    let stores = futures::future::join_all(opening).await;
    for store in stores {
        let store: Arc<dyn Store> = Arc::new(store.unwrap().unwrap());
        kit::accept_any(&store).await;
    }
    assert_eq!(server.psql("SELECT max(version), count(*) FROM bul.migrations").unwrap(), "7|7");
    assert_eq!(server.psql("SELECT count(*) FROM bul.jobs").unwrap(), "4");
}

/// Version 1 kept a message that came twice as two letters with one digest.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_version_1_is_brought_up_to_date() {
    let server = Postgres::start().unwrap();
    open(&server.url()).await.close().await;
    let back =
        "DROP INDEX bul.jobs_unreadable; DROP TABLE bul.breakers, bul.pruned, bul.workers, bul.kept_texts, bul.session_turns;
        ALTER TABLE bul.jobs DROP COLUMN receipt;
        ALTER TABLE bul.audit ADD CONSTRAINT audit_job_fkey FOREIGN KEY (job) REFERENCES bul.jobs (id);
        DELETE FROM bul.migrations WHERE version > 1";
    server.psql(back).unwrap();
    let letter =
        "INSERT INTO bul.jobs (id, tenant, template, business_area, lane, source, digest, accepted_at,
            ended_at, state, attempt, publish, failures, crashes, max_attempts, dead_reason, raw)
        VALUES (gen_random_uuid(), 'acme', '', '', 2, 't', sha256('x'), now(), now(), 'dead', 0, 0, 0, 0, 1,
            'unreadable', 'x')";
    server.psql(letter).unwrap();
    server.psql(letter).unwrap();
    server.psql("INSERT INTO bul.accepted VALUES ('acme', 0, 2)").unwrap();
    let store = open(&server.url()).await;
    let message = bul_store::UnreadableMessage {
        tenant: kit::acme(),
        raw: b"x".to_vec(),
        message_id: None,
        reason: "no JSON".into(),
        source: "t".into(),
    };
    let kept = store.accept_unreadable(&message).await.unwrap();
    assert_eq!(store.accept_unreadable(&message).await.unwrap(), kept);
    assert_eq!(store.dead_letters(&kit::acme(), &Default::default()).await.unwrap().len(), 3);
    kit::balanced(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_schema_and_a_foreign_one_are_refused() {
    let server = Postgres::start().unwrap();
    open(&server.url()).await.close().await;
    server.psql("INSERT INTO bul.migrations VALUES (99)").unwrap();
    let refused = PostgresStore::open(&server.url(), Options::default()).await.err().unwrap();
    assert!(matches!(refused, OpenError::TooNew { found: 99, known: 7, .. }), "{refused}");
    server.psql("DROP TABLE bul.migrations").unwrap();
    let refused = PostgresStore::open(&server.url(), Options::default()).await.err().unwrap();
    assert!(matches!(refused, OpenError::Foreign(_)), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_without_rights_is_told_what_it_needs_and_works_once_it_has_it() {
    let server = Postgres::start().unwrap();
    server.psql("CREATE ROLE app LOGIN PASSWORD 's3cret'").unwrap();
    server.psql("CREATE DATABASE shop OWNER app").unwrap();
    let url = server.url_of("app:s3cret", "shop");
    let refused = PostgresStore::open(&url, Options::default()).await.err().unwrap();
    let OpenError::Roles { run, .. } = &refused else { panic!("{refused}") };
    assert!(!format!("{refused} {refused:?}").contains("s3cret"));
    // The administrator does as told.
    server.psql(run).unwrap();
    let store = open(&url).await;
    let (id, attempt) = kit::running(&store).await;
    store.complete(id, attempt, &kit::output()).await.unwrap();
    kit::detail(&store, id).await;
    kit::balanced(&store).await;
    store.close().await;
    // Opened again, nothing has to be made.
    let store = open(&url).await;
    assert_eq!(kit::state(&store, id).await, State::Completed);
    assert_eq!(store.info().location, format!("postgres://127.0.0.1:{}/shop", server.port()));

    // An account that owns nothing and was given the roles may run the program.
    server.psql("CREATE ROLE worker LOGIN").unwrap();
    let other = server.url_of("worker", "shop");
    let refused = PostgresStore::open(&other, Options::default()).await.err().unwrap();
    assert!(matches!(refused, OpenError::Rights { .. }), "{refused}");
    server.psql("GRANT bul_shop_system, bul_shop_tenant TO worker").unwrap();
    let second = open(&other).await;
    assert_eq!(kit::state(&second, id).await, State::Completed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_installations_on_one_server_do_not_meet() {
    let server = Postgres::start().unwrap();
    let (first, second) = (open(&server.url()).await, open(&server.new_database().unwrap()).await);
    let id = kit::accept_any(&first).await;
    kit::assert_not_found(second.job(&kit::acme(), id).await);
    kit::assert_not_found(second.begin(id, "w", kit::LEASE).await);
    let roles = "SELECT rolname FROM pg_roles WHERE rolname LIKE 'bul%' ORDER BY 1";
    let expected = ["bul_bul_0_system", "bul_bul_0_tenant", "bul_bul_system", "bul_bul_tenant"];
    assert_eq!(server.psql(roles).unwrap().lines().collect::<Vec<_>>(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn durability_is_what_the_server_says() {
    let server = Postgres::start().unwrap();
    let store = open(&server.url()).await;
    assert!(store.info().durability.contains("fsync is off"), "{:?}", store.info());
    assert!(store.info().version.starts_with(|c: char| c.is_ascii_digit()), "{:?}", store.info());
    let options = bul_harness::PostgresOptions { fsync: true, ..Default::default() };
    let server = Postgres::start_with(options).unwrap();
    // The account's own preference does not make answers less than they claim to be.
    server.psql("ALTER ROLE postgres SET synchronous_commit = off").unwrap();
    let store = open(&server.url()).await;
    assert!(store.info().durability.contains("synchronous_commit=on"), "{:?}", store.info());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_character_nought_does_no_harm() {
    let server = Postgres::start().unwrap();
    let store = open(&server.url()).await;
    let job = kit::new_job(&store, json!({"query": "x", "data": {"k": "a\u{0}b"}}));
    let (id, content) = (job.id, job.job.clone());
    kit::accept_job(&store, job).await;
    let attempt = kit::begin(&store, id).await;
    assert_eq!(attempt.job, content);
    let mut failure = kit::failure(bul_job::FailureClass::Permanent);
    failure.message = "broken\u{0}text".into();
    store.fail(id, attempt.attempt, &failure).await.unwrap();
    let detail = kit::detail(&store, id).await;
    assert_eq!(detail.summary.status.message.as_deref(), Some("broken\u{fffd}text"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_bad_call_does_not_fail_its_neighbours() {
    let server = Postgres::start().unwrap();
    let store = open(&server.url()).await;
    let mut running = Vec::new();
    for _ in 0..40 {
        running.push(kit::running(&store).await);
    }
    let calls = running.iter().enumerate().map(|(n, (id, attempt))| {
        let mut output = kit::output();
        if n % 10 == 3 {
            output.documents.push(output.documents[0].clone());
        }
        let store = &store;
        async move { store.complete(*id, *attempt, &output).await }
    });
    let results = futures::future::join_all(calls).await;
    for (n, result) in results.iter().enumerate() {
        match result {
            Err(StoreError::Conflict(_)) if n % 10 == 3 => {}
            Ok(()) if n % 10 != 3 => {}
            other => panic!("{n}: {other:?}"),
        }
    }
    let ledger = kit::balanced(&store).await;
    assert_eq!((ledger.total.completed, ledger.total.running), (36, 4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_is_the_databases() {
    let server = Postgres::start().unwrap();
    let store = open(&server.url()).await;
    for _ in 0..3 {
        let before: i64 = micros(&server);
        let now = store.now().timestamp_micros();
        let after = micros(&server);
        let slack = Duration::from_millis(50).as_micros() as i64;
        assert!(before - slack <= now && now <= after + slack, "{before} {now} {after}");
    }
}

fn micros(server: &Postgres) -> i64 {
    let sql = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint";
    server.psql(sql).unwrap().parse().unwrap()
}

/// A certificate for 127.0.0.1 that the server's account may read; as settings, and its path.
fn certificate(folder: &std::path::Path) -> (Vec<(String, String)>, String) {
    use std::os::unix::fs::PermissionsExt;
    use std::process::Command;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (key, cert) = (path("key.pem"), path("cert.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE", "-addext", "subjectAltName=IP:127.0.0.1"])
        .args(["-keyout", &key, "-out", &cert])
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    // Fails where the test does not run as root; then the server runs as the same account.
    let _ = Command::new("chown").args(["postgres", &key]).output().unwrap();
    let settings = [("ssl", "on"), ("ssl_cert_file", &cert), ("ssl_key_file", &key)];
    (settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(), cert)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_line_is_encrypted_and_the_server_is_checked_where_the_url_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let (settings, cert) = certificate(folder.path());
    let server =
        Postgres::start_with(bul_harness::PostgresOptions { settings, ..Default::default() }).unwrap();
    let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
        WHERE ssl AND application_name = 'test-store'";
    let url = |parameters: &str| format!("{}?application_name=test-store&{parameters}", server.url());
    for parameters in ["sslmode=require".to_owned(), format!("sslmode=verify-full&sslrootcert={cert}")] {
        let store = open(&url(&parameters)).await;
        kit::accept_any(&store).await;
        assert_ne!(server.psql(encrypted).unwrap(), "0", "{parameters}");
        store.close().await;
    }
    // Nobody has vouched for this certificate.
    let refused = PostgresStore::open(&url("sslmode=verify-full"), Options::default()).await.err().unwrap();
    assert!(matches!(refused, OpenError::Unreachable { .. }), "{refused}");
}
