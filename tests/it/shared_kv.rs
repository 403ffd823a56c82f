//! Engines that share: keys and values over Redis, or the work of one process. What one has computed the next need not, and a
//! text is the same either way.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bul_harness::Redis;
use bul_tests::{Server, ServerOptions, written};

const SECRET: &str = "a secret of the workers";
const AREAS: [(&str, &str); 3] = [("marketing", "strategy"), ("sales", "process"), ("hr", "policy")];
/// Others, whose prompts no engine has seen yet.
const MORE_AREAS: [(&str, &str); 3] = [("engineering", "manual"), ("finance", "forecast"), ("legal", "memo")];

/// A system of its own that computes every text, and writes blocks of prompts to Redis at once.
fn start(redis: &str, secret: &str, write: &str) -> Server {
    Server::start(
        ServerOptions::default()
            .with("BUL_REDIS", redis)
            .with("BUL_MODEL_REMOTE_SECRET", secret)
            .with("BUL_MODEL_TIER_WRITE", write)
            .with("BUL_CACHE_MEMORY_MIB_MAX", "0"),
    )
}

/// Writes a document of each area; what came of it, by file name without the job's id.
fn write_documents(server: &Server) -> BTreeMap<String, String> {
    written(server, AREAS, "out")
}

/// The value of a line of `/metrics`, which must be there.
fn metric(server: &Server, name: &str) -> i64 {
    bul_tests::metric(server.port(), name).unwrap_or_else(|| panic!("{name} is not told"))
}

const WRITTEN: &str = "bul_engine_remote_blocks_total{outcome=\"written\"}";
const SKIPPED: &str = "bul_engine_remote_blocks_total{outcome=\"skipped\"}";
const FORGED: &str = "bul_engine_remote_blocks_total{outcome=\"forged\"}";
const TOKENS: &str = "bul_engine_tier_tokens_total{tier=\"remote\"}";

/// What has been written is counted when the engine looks next, at the latest with another document.
fn wait_for_written(server: &Server) {
    let end = Instant::now() + Duration::from_secs(120);
    while metric(server, WRITTEN) == 0 {
        assert!(Instant::now() < end, "no block was written");
        server.cli(&["submit", "--query", "Another", "--format", "md", "--wait"]).expect(0);
    }
}

#[test]
fn a_new_worker_begins_with_the_prompts_of_one_that_was_killed() {
    let redis = Redis::start().expect("Redis starts");
    let mut first = start(&redis.url(), SECRET, "through");
    let texts = write_documents(&first);
    wait_for_written(&first);
    first.kill();
    let second = start(&redis.url(), SECRET, "back");
    assert_eq!(write_documents(&second), texts);
    assert!(metric(&second, TOKENS) > 0, "nothing came from Redis");
    // Whoever has another secret neither finds nor believes any of it.
    let stranger = start(&redis.url(), "another secret altogether", "through");
    assert_eq!(write_documents(&stranger), texts);
    assert_eq!((metric(&stranger, TOKENS), metric(&stranger, FORGED)), (0, 0));
}

#[test]
fn without_its_redis_a_worker_goes_on() {
    let mut redis = Redis::start().expect("Redis starts");
    let server = start(&redis.url(), SECRET, "through");
    write_documents(&server);
    wait_for_written(&server);
    redis.kill();
    // Prompts that it has to ask for, and would write.
    let texts = written(&server, MORE_AREAS, "more");
    assert!(metric(&server, SKIPPED) > 0, "Redis was not asked");
    let alone = Server::start(ServerOptions::default().with("BUL_CACHE_MEMORY_MIB_MAX", "0"));
    assert_eq!(written(&alone, MORE_AREAS, "more"), texts);
}

#[test]
fn engines_of_one_process_share_out_the_work() {
    let options = |device| {
        ServerOptions::default().with("BUL_MODEL_DEVICE", device).with("BUL_CACHE_MEMORY_MIB_MAX", "0")
    };
    let (one, two) = (Server::start(options("cpu")), Server::start(options("cpu,cpu")));
    assert_eq!(write_documents(&one), write_documents(&two));
    let generated = |engine: usize| {
        metric(&two, &format!("bul_engine_tokens_total{{engine=\"{engine}\",kind=\"generated\"}}"))
    };
    assert!(generated(0) > 0 && generated(1) > 0, "{} and {}", generated(0), generated(1));
    let all = metric(&one, "bul_engine_tokens_total{kind=\"generated\"}");
    assert_eq!(generated(0) + generated(1), all);
    assert!(two.cli(&["model", "info"]).expect(0).out.contains("shipped"));
}
