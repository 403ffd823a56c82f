//! Durability against SIGKILL: a child process works on a file and tells what was answered; it is
//! killed in the middle of its work, and everything it told must be there.
//!
//! The child is this test program itself, started again for one test with [`CHILD_PATH`] set.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use bul_job::{Format, JobId, State};
use bul_store::Store;
use bul_store::conformance::kit;
use bul_store_sqlite::{Options, SqliteStore};
use rand::{RngExt, SeedableRng};
use serde_json::json;

const CHILD_PATH: &str = "BUL_TEST_KILL_PATH";
const ROUNDS: u64 = 10;
const SEED: u64 = 20_261_122;

/// The child's part. Without its variable it is a test that has nothing to do.
#[tokio::test]
async fn child_accepts_and_completes_until_killed() {
    let Some(path) = std::env::var_os(CHILD_PATH) else { return };
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(path, Options::default()).await.unwrap());
    store.end_orphaned().await.unwrap();
    loop {
        let batch = [0, 1, 2].map(|n| kit::new_job(&store, json!({"query": "x", "data": {"n": n}})));
        store.accept(&batch).await.unwrap();
        batch.iter().for_each(|job| say("accepted", job.id));
        let attempt = kit::begin(&store, batch[0].id).await.attempt;
        store.complete(batch[0].id, attempt, &kit::output()).await.unwrap();
        say("completed", batch[0].id);
        kit::begin(&store, batch[1].id).await;
    }
}

/// One write per line: a line is there as a whole or is cut off at the end of the stream.
fn say(what: &str, id: JobId) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n@ {what} {id}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

fn start_child(path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_accepts_and_completes_until_killed", "--nocapture", "--test-threads=1"])
        .env(CHILD_PATH, path)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Kills the child behind its `lines`-th answer and returns everything it said.
fn run_and_kill(path: &Path, lines: usize) -> Vec<(String, JobId)> {
    let mut child = start_child(path);
    let mut reader = BufReader::new(child.stdout.take().unwrap());
    let mut said = Vec::new();
    let mut line = String::new();
    while reader.read_line(&mut line).unwrap() > 0 {
        if let Some(rest) = line.strip_prefix("@ ").and_then(|rest| rest.strip_suffix('\n')) {
            let (what, id) = rest.split_once(' ').unwrap();
            said.push((what.to_owned(), id.parse().unwrap()));
            if said.len() == lines {
                child.kill().unwrap();
            }
        }
        line.clear();
    }
    let status = child.wait().unwrap();
    assert!(!status.success(), "the child ended by itself: {status}");
    assert!(said.len() >= lines, "the child ended early");
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_answered_survives_sigkill() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bul.db");
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(SEED);
    let mut accepted = BTreeSet::new();
    let mut completed = BTreeSet::new();
    for round in 0..ROUNDS {
        let lines = rng.random_range(1..120);
        for (what, id) in run_and_kill(&path, lines) {
            match what.as_str() {
                "accepted" => accepted.insert(id),
                "completed" => completed.insert(id),
                other => panic!("the child said {other:?}"),
            };
        }
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, Options::default()).await.unwrap());
        let ledger = kit::balanced(&store).await;
        assert!(ledger.total.accepted >= accepted.len() as u64, "round {round}: {ledger:?}");
        assert_eq!(ledger.total.accepted % 3, 0, "round {round}: a batch was accepted in part");
        for id in &accepted {
            let detail = kit::detail(&store, *id).await;
            assert!(detail.job.is_some());
            assert!(
                !completed.contains(id) || detail.core.state == State::Completed,
                "round {round}: {detail:?}"
            );
        }
        for id in &completed {
            let bytes = store.document(&kit::acme(), *id, Format::Pdf).await.unwrap();
            assert_eq!(bytes, kit::output().documents[0].1);
        }
        store.close().await;
    }
}
