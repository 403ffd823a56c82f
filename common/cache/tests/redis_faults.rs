//! Redis flushed, killed, frozen, slow, cut off, restarted: the cache goes on, no call waits, and it heals.

use std::time::{Duration, Instant};

use bul_cache::conformance::kit::{LONG, entry, eventually, key};
use bul_cache::{
    Cache, CacheMetrics, CacheOptions, Computed, Location, RedisLink, RedisOptions, RedisTier, Source, Tier,
};
use bul_harness::{Fault, Proxy, Redis};
use tokio_util::sync::CancellationToken;

/// The time limit of one call here: above the hiccups of a busy machine, far below that of a hanging server.
const CALL: Duration = Duration::from_millis(60);
/// What a call may take beyond its limit: the machine's own delays.
const SLACK: Duration = Duration::from_millis(150);

fn options(url: &str) -> RedisOptions {
    let mut options = RedisOptions { timeout: CALL, ..RedisOptions::at(Location::parse(url).unwrap()) };
    options.breaker.open_ms = 300;
    options.breaker.open_ms_max = 600;
    options
}

struct Rig {
    tier: RedisTier,
    cache: Cache,
    _stop: tokio_util::sync::DropGuard,
}

/// A tier to look at, and a whole cache that must not notice.
async fn rig(url: &str) -> Rig {
    let options = options(url);
    let metrics = CacheMetrics::unregistered();
    let link = RedisLink::open(&options, &metrics).unwrap();
    let tier = RedisTier::new(link, &options, 1 << 16, &metrics);
    let whole = CacheOptions { redis: Some(options), ..CacheOptions::default() };
    let opened = Cache::open(whole, &CacheMetrics::unregistered()).await.unwrap();
    let stopping = CancellationToken::new();
    tokio::spawn(opened.upkeep.run(stopping.clone()));
    let rig = Rig { tier, cache: opened.cache, _stop: stopping.drop_guard() };
    rig.works("at the start").await;
    rig
}

impl Rig {
    async fn works(&self, when: &str) {
        eventually(&format!("the tier works {when}"), async || {
            self.tier.put(&key(1), &entry("a"), LONG).await;
            self.tier.get(&key(1)).await.is_some()
        })
        .await;
    }

    /// The server is bad: calls are misses, none takes longer than the limit, most take nothing, and computing goes on.
    async fn goes_on_without(&self, base: u64) {
        let before = self.tier.stats();
        let mut longest = Duration::ZERO;
        let started = Instant::now();
        for n in 0..200 {
            let call = Instant::now();
            assert!(self.tier.get(&key(base + n)).await.is_none());
            longest = longest.max(call.elapsed());
        }
        assert!(longest < CALL + SLACK, "a call took {longest:?}");
        // A handful fail until the breaker opens; after that only a probe now and then.
        assert!(started.elapsed() < Duration::from_secs(3), "200 calls took {:?}", started.elapsed());
        let after = self.tier.stats();
        assert!(after.skipped - before.skipped > 100, "{after:?}");
        for n in 0..20 {
            let call = Instant::now();
            let compute = || async { Ok::<_, ()>(Computed::Keep(entry("b"))) };
            let answer = self.cache.get_or_compute(&key(base + n), LONG, compute).await.unwrap();
            assert_eq!(answer.source, Source::Computed);
            assert_eq!(self.cache.get(&key(base + n)).await.unwrap().source, Source::Tier("memory"));
            assert!(call.elapsed() < CALL + SLACK, "computing took {:?}", call.elapsed());
        }
    }

    /// The whole cache writes to the server and reads from it again.
    async fn heals(&self, server: &Redis) {
        self.works("again").await;
        let mut n = 10_000;
        eventually("the cache writes to the server", async || {
            n += 1;
            self.cache.put(&key(n), &entry("c"), LONG).await;
            self.cache.flush().await;
            server.cli(&["EXISTS", &self.tier.name_of(&key(n))]).unwrap() == "1"
        })
        .await;
    }
}

#[tokio::test]
async fn flushed() {
    let server = Redis::start().unwrap();
    let rig = rig(&server.url()).await;
    server.flush().unwrap();
    assert_eq!(rig.tier.get(&key(1)).await, None);
    assert_eq!(rig.tier.stats().failed, 0);
    rig.heals(&server).await;
}

#[tokio::test]
async fn killed_and_restarted() {
    let mut server = Redis::start().unwrap();
    let rig = rig(&server.url()).await;
    server.kill();
    rig.goes_on_without(100).await;
    server.restart().unwrap();
    rig.heals(&server).await;
}

#[tokio::test]
async fn restarted_between_two_calls() {
    let mut server = Redis::start().unwrap();
    let rig = rig(&server.url()).await;
    server.restart().unwrap();
    rig.heals(&server).await;
}

#[tokio::test]
async fn frozen_and_thawed() {
    let server = Redis::start().unwrap();
    let rig = rig(&server.url()).await;
    server.freeze().unwrap();
    rig.goes_on_without(100).await;
    server.thaw().unwrap();
    rig.heals(&server).await;
}

#[tokio::test]
async fn not_there_at_the_start() {
    let mut server = Redis::start().unwrap();
    server.kill();
    let options = options(&server.url());
    let metrics = CacheMetrics::unregistered();
    let link = RedisLink::open(&options, &metrics).unwrap();
    let tier = RedisTier::new(link, &options, 1 << 16, &metrics);
    assert_eq!(tier.get(&key(1)).await, None);
    server.restart().unwrap();
    eventually("it is found", async || {
        tier.put(&key(1), &entry("a"), LONG).await;
        tier.get(&key(1)).await.is_some()
    })
    .await;
}

#[tokio::test]
async fn slow_cut_reset_and_black_holed() {
    let server = Redis::start().unwrap();
    let proxy = Proxy::start(server.port()).unwrap();
    let rig = rig(&server.url_at(proxy.port())).await;
    let faults = [Fault::Delay(CALL * 2), Fault::Cut, Fault::Reset, Fault::BlackHole, Fault::LostAnswers];
    for (fault, base) in faults.into_iter().zip([100, 1100, 2100, 3100, 4100]) {
        proxy.set(fault);
        // What is already open may answer once more.
        rig.goes_on_without(base).await;
        proxy.set(Fault::None);
        rig.heals(&server).await;
    }
}

#[tokio::test]
async fn full_or_read_only_it_still_answers_look_ups() {
    let server = Redis::start().unwrap();
    let rig = rig(&server.url()).await;
    for fault in [["CONFIG", "SET", "maxmemory", "1"], ["REPLICAOF", "127.0.0.1", "1", ""]] {
        let fault: Vec<&str> = fault.into_iter().filter(|word| !word.is_empty()).collect();
        server.cli(&fault).unwrap();
        for n in 0..30 {
            rig.tier.put(&key(500 + n), &entry("b"), LONG).await;
        }
        assert!(rig.tier.get(&key(1)).await.is_some(), "{fault:?}");
        assert_eq!(rig.tier.get(&key(500)).await, None);
        server.cli(&["CONFIG", "SET", "maxmemory", "0"]).unwrap();
    }
    server.cli(&["REPLICAOF", "NO", "ONE"]).unwrap();
    assert!(rig.tier.stats().dropped >= 60, "{:?}", rig.tier.stats());
    rig.heals(&server).await;
}

#[tokio::test]
async fn a_wrong_password_is_a_server_that_is_down() {
    let server = Redis::start_with(Some("right"), &[]).unwrap();
    let good = rig(&server.url()).await;
    good.works("with the password").await;
    let options = options(&format!("redis://:wrong@127.0.0.1:{}", server.port()));
    let metrics = CacheMetrics::unregistered();
    let link = RedisLink::open(&options, &metrics).unwrap();
    assert!(!format!("{link:?} {options:?}").contains("wrong"));
    let tier = RedisTier::new(link, &options, 1 << 16, &metrics);
    for n in 0..50 {
        assert_eq!(tier.get(&key(n)).await, None);
    }
    assert!(tier.stats().failed >= 1, "{:?}", tier.stats());
}

#[tokio::test]
async fn callers_that_go_away_do_not_keep_the_breaker_open() {
    let server = Redis::start().unwrap();
    let rig = rig(&server.url()).await;
    server.freeze().unwrap();
    rig.goes_on_without(100).await;
    // Probes that are cancelled long before their time limit, as many as come in a while.
    let mut cancelled = 0;
    eventually("probes are cancelled", async || {
        let key = key(cancelled);
        let call = tokio::time::timeout(Duration::from_millis(3), rig.tier.get(&key));
        cancelled += u64::from(call.await.is_err());
        cancelled == 3
    })
    .await;
    server.thaw().unwrap();
    rig.heals(&server).await;
}
