//! Breakers shared over a real Redis: one opens, the other learns; without Redis each is by itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bul_cache::conformance::kit::eventually;
use bul_cache::{CacheMetrics, Location, RedisLink, RedisOptions, SharedBreaker};
use bul_harness::Redis;
use bul_runtime::breaker::{BreakerOptions, BreakerState, Outcome};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Longest opening, milliseconds. Longer than the tests' looks, so that closing early is seen as such.
const OPEN_MS: u64 = 3_000;

fn options() -> BreakerOptions {
    BreakerOptions {
        window_ms: 10_000,
        calls_min: 3,
        failure_rate: 0.5,
        open_ms: OPEN_MS,
        open_ms_max: 2 * OPEN_MS,
        probes_max: 1,
        probes_to_close: 2,
    }
}

struct Replica {
    breaker: SharedBreaker,
    _stop: DropGuard,
}

fn link(server: &Redis) -> Arc<RedisLink> {
    let location = Location::parse(&server.url()).unwrap();
    let mut options = RedisOptions { timeout: Duration::from_millis(200), ..RedisOptions::at(location) };
    options.breaker.open_ms = 200;
    options.breaker.open_ms_max = 400;
    RedisLink::open(&options, &CacheMetrics::unregistered()).unwrap()
}

fn replica_named(server: &Redis, name: &'static str) -> Replica {
    let (breaker, follower) =
        SharedBreaker::shared(name, "", options(), link(server), &CacheMetrics::unregistered());
    let stopping = CancellationToken::new();
    tokio::spawn(follower.run(stopping.clone()));
    Replica { breaker, _stop: stopping.drop_guard() }
}

fn replica(server: &Redis) -> Replica {
    replica_named(server, "model")
}

impl Replica {
    /// Calls that end like this, as far as they are permitted.
    fn calls(&self, outcome: Outcome, n: usize) {
        for _ in 0..n {
            if let Ok(pass) = self.breaker.try_acquire() {
                pass.record(outcome);
            }
        }
    }

    async fn comes_to(&self, state: BreakerState) -> Duration {
        let started = Instant::now();
        eventually(&format!("it is {state:?}"), async || self.breaker.state() == state).await;
        started.elapsed()
    }
}

/// Until each of so many replicas has asked for the record: a connection of its own has done so last.
async fn all_have_looked(server: &Redis, replicas: usize) {
    eventually("all have looked", async || {
        let clients = server.cli(&["CLIENT", "LIST"]).unwrap();
        clients.lines().filter(|client| client.contains(" cmd=hmget ")).count() == replicas
    })
    .await;
}

/// Until so many looks have come after this.
async fn looks_come(server: &Redis, number: u64) {
    let looks = || {
        let stats = server.cli(&["INFO", "commandstats"]).unwrap();
        let line =
            stats.lines().find_map(|line| line.strip_prefix("cmdstat_hmget:calls=").map(str::to_owned));
        line.and_then(|line| line.split(',').next()?.parse::<u64>().ok()).unwrap_or(0)
    };
    let before = looks();
    eventually("they look again", async || looks() >= before + number).await;
}

/// Until the record can be read by `redis-cli`.
async fn told(server: &Redis) {
    eventually("the record is there", async || {
        server.cli(&["EXISTS", "bul:breaker:v1:model"]).unwrap() == "1"
    })
    .await;
}

#[tokio::test]
async fn one_opens_and_the_other_learns_within_a_second() {
    let server = Redis::start().unwrap();
    let (a, b, other) = (replica(&server), replica(&server), replica_named(&server, "webhook"));
    // Only then is the time of the news what is measured.
    all_have_looked(&server, 3).await;
    a.calls(Outcome::Failure, 3);
    assert_eq!(a.breaker.state(), BreakerState::Open);
    let learnt = b.comes_to(BreakerState::Open).await;
    assert!(learnt < Duration::from_secs(1), "{learnt:?}");
    assert_eq!(other.breaker.state(), BreakerState::Closed, "another name is another breaker");
    // It ends for both without a word from anybody.
    let wait = b.breaker.try_acquire().err().unwrap();
    assert!(wait <= Duration::from_millis(OPEN_MS), "{wait:?}");
    a.comes_to(BreakerState::HalfOpen).await;
    b.comes_to(BreakerState::HalfOpen).await;
    eventually("the record ends", async || server.cli(&["EXISTS", "bul:breaker:v1:model"]).unwrap() == "0")
        .await;
}

#[tokio::test]
async fn a_second_opening_and_a_closing_are_learnt_too() {
    let server = Redis::start().unwrap();
    let (a, b) = (replica(&server), replica(&server));
    a.calls(Outcome::Failure, 3);
    b.comes_to(BreakerState::Open).await;
    a.comes_to(BreakerState::HalfOpen).await;
    // The probe of another fails: open again, for longer, for all.
    a.calls(Outcome::Failure, 1);
    let started = Instant::now();
    eventually("the second opening is learnt", async || {
        b.breaker.try_acquire().err().is_some_and(|wait| wait > Duration::from_millis(OPEN_MS))
    })
    .await;
    a.comes_to(BreakerState::HalfOpen).await;
    a.calls(Outcome::Success, 2);
    assert_eq!(a.breaker.state(), BreakerState::Closed);
    b.comes_to(BreakerState::HalfOpen).await;
    b.calls(Outcome::Success, 2);
    assert_eq!(b.breaker.state(), BreakerState::Closed);
    assert!(started.elapsed() < Duration::from_millis(4 * OPEN_MS));
}

#[tokio::test]
async fn one_of_them_probes_and_the_other_waits_for_what_it_finds() {
    let server = Redis::start().unwrap();
    let (a, b) = (replica(&server), replica(&server));
    a.calls(Outcome::Failure, 3);
    b.comes_to(BreakerState::Open).await;
    let pass = |replica: &Replica| replica.breaker.try_acquire().ok();
    eventually("one may probe", async || {
        a.breaker.closed_for().is_none() || b.breaker.closed_for().is_none()
    })
    .await;
    let (prober, other) = if a.breaker.closed_for().is_none() { (&a, &b) } else { (&b, &a) };
    let probe = pass(prober).expect("it has just said so");
    // Longer than a claim lasts that nobody prolongs.
    looks_come(&server, 2 * 16).await;
    assert!(pass(other).is_none(), "a second probe beside the first");
    probe.record(Outcome::Success);
    let mut second = None;
    eventually("the second probe", async || {
        second = pass(prober);
        second.is_some()
    })
    .await;
    second.expect("just acquired").record(Outcome::Success);
    assert_eq!(prober.breaker.state(), BreakerState::Closed);
    other.comes_to(BreakerState::HalfOpen).await;
    other.calls(Outcome::Success, 2);
    assert_eq!(other.breaker.state(), BreakerState::Closed);
}

#[tokio::test]
async fn a_closing_is_learnt_before_the_time_is_over() {
    let server = Redis::start().unwrap();
    let (a, b) = (replica(&server), replica(&server));
    a.calls(Outcome::Failure, 3);
    b.comes_to(BreakerState::Open).await;
    server.cli(&["HSET", "bul:breaker:v1:model", "until", "0", "generation", "99"]).unwrap();
    let learnt = b.comes_to(BreakerState::HalfOpen).await;
    assert!(learnt < Duration::from_secs(1), "{learnt:?}");
    // That somebody else got through is news, not proof: its own calls must succeed first.
    b.calls(Outcome::Success, 1);
    assert_eq!(b.breaker.state(), BreakerState::HalfOpen);
    b.calls(Outcome::Success, 1);
    assert_eq!(b.breaker.state(), BreakerState::Closed);
}

#[tokio::test]
async fn a_replica_that_starts_late_learns_too_and_one_that_dies_leaves_nothing() {
    let server = Redis::start().unwrap();
    let a = replica(&server);
    a.calls(Outcome::Failure, 3);
    told(&server).await;
    drop(a);
    let b = replica(&server);
    b.comes_to(BreakerState::Open).await;
    b.comes_to(BreakerState::HalfOpen).await;
    b.calls(Outcome::Success, 2);
    assert_eq!(b.breaker.state(), BreakerState::Closed);
    let ttl: i64 = server.cli(&["PTTL", "bul:breaker:v1:model"]).unwrap().parse().unwrap();
    assert!(ttl <= 10_000, "{ttl}");
}

#[tokio::test]
async fn flushed_killed_and_restarted_each_goes_on_by_itself() {
    let mut server = Redis::start().unwrap();
    let (a, b) = (replica(&server), replica(&server));
    a.calls(Outcome::Failure, 3);
    b.comes_to(BreakerState::Open).await;
    server.flush().unwrap();
    server.kill();
    // No news, no Redis: what was learnt ends by itself.
    b.comes_to(BreakerState::HalfOpen).await;
    b.calls(Outcome::Success, 2);
    assert_eq!(b.breaker.state(), BreakerState::Closed);
    b.calls(Outcome::Failure, 3);
    assert_eq!(b.breaker.state(), BreakerState::Open);
    assert_ne!(a.breaker.state(), BreakerState::Closed, "by itself it had no success yet");
    server.restart().unwrap();
    // The opening that could not be told is told when Redis is back, as long as it lasts.
    told(&server).await;
}

#[tokio::test]
async fn frozen_nobody_waits_and_a_late_opening_is_ignored() {
    let server = Redis::start().unwrap();
    let (a, b) = (replica(&server), replica(&server));
    all_have_looked(&server, 2).await;
    server.freeze().unwrap();
    let started = Instant::now();
    a.calls(Outcome::Failure, 3);
    a.calls(Outcome::Failure, 1000);
    // Calls that waited for the frozen server would take a thousand times its limit.
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    assert_eq!(a.breaker.state(), BreakerState::Open);
    // What was sent to the frozen server is carried out when it thaws, long after it has any meaning.
    a.comes_to(BreakerState::HalfOpen).await;
    a.calls(Outcome::Success, 2);
    server.thaw().unwrap();
    // Whatever reached the frozen server is carried out long before each has looked six times more; an opening would last.
    looks_come(&server, 2 * 6).await;
    assert_eq!(b.breaker.state(), BreakerState::Closed);
    // And sharing works again.
    b.calls(Outcome::Failure, 3);
    a.comes_to(BreakerState::Open).await;
}

#[tokio::test]
async fn a_process_tells_what_is_open_and_others_read_it() {
    let server = Redis::start().unwrap();
    let (teller, reader) = (link(&server), link(&server));
    eventually("it is told", async || teller.tell("worker-1", "store", true).await).await;
    eventually("it is read", async || reader.told_open().await.len() == 1).await;
    let first = reader.told_open().await.remove(0);
    assert_eq!((first.process.as_str(), first.dependency.as_str()), ("worker-1", "store"));
    server.cli(&["HSET", "bul:breakers:v1", "nonsense", "soon"]).unwrap();
    server.cli(&["HSET", "bul:breakers:v1", "worker-2/store", "1 1"]).unwrap();
    assert!(teller.tell("worker-1", "store", true).await);
    let again = reader.told_open().await;
    assert_eq!(again.len(), 1, "what is old or no report is left out: {again:?}");
    assert_eq!(again[0].since_ms, first.since_ms, "told again, it is the same opening");
    assert!(teller.tell("worker-1", "store", false).await);
    assert_eq!(reader.told_open().await, []);
}

#[tokio::test]
async fn nonsense_in_the_record_holds_nobody_for_long() {
    let server = Redis::start().unwrap();
    let name = "bul:breaker:v1:model";
    server.cli(&["HSET", name, "until", "99999999999999999", "generation", "7"]).unwrap();
    let a = replica(&server);
    a.comes_to(BreakerState::Open).await;
    let wait = a.breaker.try_acquire().err().unwrap();
    assert!(wait <= Duration::from_millis(2 * OPEN_MS), "{wait:?}");
    for nonsense in [["until", "soon"], ["generation", "-1"]] {
        server.cli(&["HSET", name, nonsense[0], nonsense[1]]).unwrap();
        looks_come(&server, 2).await;
    }
    server.cli(&["SET", name, "a string"]).unwrap();
    a.comes_to(BreakerState::HalfOpen).await;
    a.calls(Outcome::Success, 2);
    assert_eq!(a.breaker.state(), BreakerState::Closed);
}

#[tokio::test]
async fn without_redis_it_is_a_breaker() {
    let breaker = SharedBreaker::local("model", options(), &CacheMetrics::unregistered());
    for _ in 0..3 {
        breaker.try_acquire().unwrap().record(Outcome::Failure);
    }
    assert_eq!((breaker.state(), breaker.name()), (BreakerState::Open, "model"));
    assert!(breaker.try_acquire().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_dropped_gives_its_place_back() {
    let breaker = SharedBreaker::local("model", options(), &CacheMetrics::unregistered());
    for _ in 0..3 {
        breaker.try_acquire().unwrap().record(Outcome::Failure);
    }
    tokio::time::advance(Duration::from_millis(OPEN_MS)).await;
    for _ in 0..5 {
        drop(breaker.try_acquire().unwrap());
    }
    assert_eq!(breaker.state(), BreakerState::HalfOpen);
}
