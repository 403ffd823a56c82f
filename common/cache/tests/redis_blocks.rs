//! Opaque blocks in Redis, asked for by a thread that may wait.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bul_cache::{CacheMetrics, Location, RedisBlocks, RedisOptions};
use bul_harness::Redis;
use tokio::runtime::Handle;

const WITHIN: Duration = Duration::from_secs(5);

fn blocks(url: &str, prefix: &str) -> Arc<RedisBlocks> {
    let options = RedisOptions {
        prefix: prefix.into(),
        timeout: WITHIN,
        ..RedisOptions::at(Location::parse(url).unwrap())
    };
    let ttl = Duration::from_secs(3600);
    Arc::new(RedisBlocks::open(&options, ttl, &CacheMetrics::unregistered(), Handle::current()).unwrap())
}

/// As the engine does it: on a thread of its own.
async fn apart<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(move || std::thread::spawn(work).join().unwrap()).await.unwrap()
}

#[tokio::test]
async fn blocks_come_back_in_order_and_not_beyond_their_size() {
    let server = Redis::start().unwrap();
    let (mine, other) = (blocks(&server.url(), "a"), blocks(&server.url(), "b"));
    apart(move || {
        mine.put(&[1; 32], &[7; 100_000], WITHIN).unwrap();
        mine.put(&[2; 32], b"\0\xff", WITHIN).unwrap();
        let found = mine.get_many(&[[2; 32], [3; 32], [1; 32]], 100_000, WITHIN).unwrap();
        assert_eq!(found, [Some(b"\0\xff".to_vec()), None, Some(vec![7; 100_000])]);
        let small = mine.get_many(&[[1; 32], [2; 32]], 99_999, WITHIN).unwrap();
        assert_eq!(small, [None, Some(b"\0\xff".to_vec())]);
        // Two installations on one server do not see each other's.
        assert_eq!(other.get_many(&[[1; 32]], 100_000, WITHIN).unwrap(), [None]);
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_away_or_silent_is_an_error_within_the_time() {
    let mut server = Redis::start().unwrap();
    let within = Duration::from_millis(300);
    let mine = blocks(&server.url(), "a");
    let one = mine.clone();
    apart(move || one.put(&[1; 32], b"x", WITHIN).unwrap()).await;
    server.freeze().unwrap();
    let one = mine.clone();
    let took = apart(move || {
        let started = Instant::now();
        assert_eq!(one.get_many(&[[1; 32]], 10, within), Err("redis does not answer"));
        started.elapsed()
    })
    .await;
    assert!(took >= within, "{took:?}");
    server.thaw().unwrap();
    server.kill();
    apart(move || assert!(mine.get_many(&[[1; 32]], 10, within).is_err())).await;
}
