//! The tiers together: order, promotion, writing behind the back, and one computation for many callers.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bul_cache::conformance::kit::{LONG, entry, eventually, key, noise};
use bul_cache::{
    Answer, Cache, CacheMetrics, CacheOptions, Computed, DiskOptions, Hit, Kept, Key, Location, Memory,
    MemoryOptions, RedisOptions, Source, Tier, TierStats,
};
use bul_harness::Redis;
use futures::future::join_all;
use tokio::sync::{Barrier, Notify, Semaphore};
use tokio_util::sync::CancellationToken;

/// A tier of the tests: memory under another name, that can be held.
struct Slow {
    name: &'static str,
    memory: Memory,
    gets: AtomicU64,
    may_write: Semaphore,
}

impl Slow {
    fn new(name: &'static str) -> Arc<Self> {
        let memory = Memory::new(MemoryOptions::default(), 1 << 20, &CacheMetrics::unregistered());
        Arc::new(Self { name, memory, gets: AtomicU64::new(0), may_write: Semaphore::new(1_000_000) })
    }
}

#[async_trait]
impl Tier for Slow {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn get(&self, key: &Key) -> Option<Hit> {
        self.gets.fetch_add(1, Ordering::SeqCst);
        tokio::task::yield_now().await;
        self.memory.get(key).await
    }

    async fn put(&self, key: &Key, entry: &bul_cache::Entry, ttl: Duration) -> Kept {
        self.may_write.acquire().await.unwrap().forget();
        self.memory.put(key, entry, ttl).await
    }

    async fn remove(&self, key: &Key) -> bool {
        self.memory.remove(key).await
    }

    fn stats(&self) -> TierStats {
        self.memory.stats()
    }
}

struct Stack {
    cache: Cache,
    second: Arc<Slow>,
    third: Arc<Slow>,
    stopping: CancellationToken,
    upkeep: tokio::task::JoinHandle<()>,
}

fn stack(options: CacheOptions) -> Stack {
    let (second, third) = (Slow::new("redis"), Slow::new("disk"));
    let slower: Vec<Arc<dyn Tier>> = vec![second.clone(), third.clone()];
    let (cache, upkeep) = Cache::over(slower, options, &CacheMetrics::unregistered());
    let stopping = CancellationToken::new();
    let upkeep = tokio::spawn(upkeep.run(stopping.clone()));
    Stack { cache, second, third, stopping, upkeep }
}

fn source(answer: Option<Answer>) -> Option<Source> {
    answer.map(|answer| answer.source)
}

#[tokio::test]
async fn a_text_is_found_in_the_fastest_tier_and_moves_up() {
    let s = stack(CacheOptions::default());
    s.third.put(&key(1), &entry("a"), LONG).await;
    assert_eq!(source(s.cache.get(&key(1)).await), Some(Source::Tier("disk")));
    assert_eq!(source(s.cache.get(&key(1)).await), Some(Source::Tier("memory")));
    s.cache.flush().await;
    let promoted = s.second.memory.get(&key(1)).await.unwrap();
    assert!(promoted.ttl_left <= LONG);
    s.second.put(&key(2), &entry("b"), Duration::from_secs(5)).await;
    assert_eq!(source(s.cache.get(&key(2)).await), Some(Source::Tier("redis")));
    s.cache.flush().await;
    assert!(s.third.memory.get(&key(2)).await.is_none(), "not written downwards");
    assert_eq!(s.cache.get(&key(3)).await, None);
}

#[tokio::test]
async fn a_write_reaches_all_tiers_and_a_removal_too() {
    let s = stack(CacheOptions::default());
    s.cache.put(&key(1), &entry("a"), LONG).await;
    s.cache.flush().await;
    assert!(s.second.memory.get(&key(1)).await.is_some() && s.third.memory.get(&key(1)).await.is_some());
    assert!(s.cache.remove(&key(1)).await);
    assert_eq!(s.cache.get(&key(1)).await, None);
}

#[tokio::test]
async fn a_write_in_the_queue_does_not_bring_a_removed_text_back() {
    let s = stack(CacheOptions::default());
    s.second.may_write.forget_permits(1_000_000);
    s.cache.put(&key(1), &entry("a"), LONG).await;
    let removing = tokio::spawn({
        let cache = s.cache.clone();
        async move { cache.remove(&key(1)).await }
    });
    tokio::task::yield_now().await;
    s.second.may_write.add_permits(10);
    assert!(removing.await.unwrap());
    assert_eq!(s.cache.get(&key(1)).await, None);
}

#[tokio::test]
async fn writes_never_wait_and_are_dropped_beyond_the_queue() {
    let options = CacheOptions { queue_entries_max: 8, queue_bytes_max: 64 << 10, ..CacheOptions::default() };
    let s = stack(options);
    s.second.may_write.forget_permits(1_000_000);
    for n in 0..100 {
        s.cache.put(&key(n), &entry("a"), LONG).await;
    }
    let dropped = s.cache.stats();
    assert_eq!(dropped[0].1.kept, 100);
    s.second.may_write.add_permits(1_000_000);
    s.cache.flush().await;
    assert!(s.second.memory.stats().kept <= 10);
    // Four texts of 20 KiB are more than the bytes allow.
    s.second.may_write.forget_permits(1_000_000);
    let before = s.second.memory.stats().kept;
    for n in 200..204 {
        s.cache.put(&key(n), &entry(noise(20 << 10)), LONG).await;
    }
    s.second.may_write.add_permits(1_000_000);
    s.cache.flush().await;
    assert_eq!(s.second.memory.stats().kept - before, 3);
}

#[tokio::test]
async fn what_is_queued_at_the_end_is_still_written() {
    let s = stack(CacheOptions::default());
    for n in 0..100 {
        s.cache.put(&key(n), &entry("a"), LONG).await;
    }
    s.stopping.cancel();
    s.upkeep.await.unwrap();
    assert_eq!((s.second.memory.stats().kept, s.third.memory.stats().kept), (100, 100));
    // A cache that is asked after its end still answers.
    assert!(s.cache.get(&key(5)).await.is_some());
    s.cache.put(&key(200), &entry("late"), LONG).await;
}

#[tokio::test]
async fn one_computation_for_all_who_ask_at_once() {
    let s = stack(CacheOptions::default());
    let (runs, asked, all_have) = (AtomicUsize::new(0), AtomicUsize::new(0), Notify::new());
    // It ends when everybody has asked.
    let compute = || async {
        runs.fetch_add(1, Ordering::SeqCst);
        all_have.notified().await;
        Ok::<_, ()>(Computed::Keep(entry("a")))
    };
    let key = key(1);
    let ask = async || {
        if asked.fetch_add(1, Ordering::SeqCst) == 49 {
            all_have.notify_one();
        }
        s.cache.get_or_compute(&key, LONG, compute).await
    };
    let answers = join_all((0..50).map(|_| ask())).await;
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    assert!(answers.iter().all(|a| a.as_ref().unwrap().entry == entry("a")));
    let computed = answers.iter().filter(|a| a.as_ref().unwrap().source == Source::Computed).count();
    assert_eq!((computed, s.second.gets.load(Ordering::SeqCst)), (1, 1), "the look-ups below are shared too");
    let again = s.cache.get_or_compute(&key, LONG, compute).await.unwrap();
    assert_eq!(again.source, Source::Tier("memory"));
}

/// A worker runs it inside tasks, with errors that may be sent but not shared.
#[tokio::test]
async fn it_can_be_run_in_a_task_with_any_error() {
    let s = stack(CacheOptions::default());
    let cache = s.cache.clone();
    let task = tokio::spawn(async move {
        let compute = || async { Err(std::cell::Cell::new(7)) };
        cache.get_or_compute(&key(1), LONG, compute).await.map(|_| ()).map_err(|error| error.get())
    });
    assert_eq!(task.await.unwrap(), Err(7));
}

#[tokio::test]
async fn other_keys_do_not_wait() {
    let s = stack(CacheOptions::default());
    let (one, two) = (key(1), key(2));
    let hangs = s.cache.get_or_compute(&one, LONG, pending::<Result<Computed, ()>>);
    let quick = s.cache.get_or_compute(&two, LONG, || async { Ok::<_, ()>(Computed::Keep(entry("b"))) });
    tokio::select! {
        biased;
        _ = hangs => panic!("it hangs"),
        quick = quick => assert_eq!(quick.unwrap().source, Source::Computed),
    }
}

#[tokio::test]
async fn a_cancelled_leader_hands_over() {
    let s = stack(CacheOptions::default());
    let started = Arc::new(Notify::new());
    let leader = tokio::spawn({
        let (cache, started) = (s.cache.clone(), started.clone());
        async move {
            let hang = || async {
                started.notify_one();
                pending::<Result<Computed, ()>>().await
            };
            cache.get_or_compute(&key(1), LONG, hang).await
        }
    });
    started.notified().await;
    let runs = Arc::new(AtomicUsize::new(0));
    let waiters: Vec<_> = (0..5)
        .map(|_| {
            let (cache, runs) = (s.cache.clone(), runs.clone());
            tokio::spawn(async move {
                let compute = || async {
                    runs.fetch_add(1, Ordering::SeqCst);
                    Ok::<_, ()>(Computed::Keep(entry("a")))
                };
                cache.get_or_compute(&key(1), LONG, compute).await.unwrap()
            })
        })
        .collect();
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    assert_eq!(runs.load(Ordering::SeqCst), 0, "they wait for the leader");
    leader.abort();
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap().entry, entry("a"));
    }
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_panic_of_the_leader_hands_over_too() {
    let s = stack(CacheOptions::default());
    let cache = s.cache.clone();
    let leader = tokio::spawn(async move {
        async fn burst() -> Result<Computed, ()> {
            panic!("poison")
        }
        let _ = cache.get_or_compute(&key(1), LONG, burst).await;
    });
    assert!(leader.await.unwrap_err().is_panic());
    let next =
        s.cache.get_or_compute(&key(1), LONG, || async { Ok::<_, ()>(Computed::Keep(entry("a"))) }).await;
    assert_eq!(next.unwrap().source, Source::Computed);
}

#[tokio::test]
async fn errors_and_partial_texts_are_neither_kept_nor_shared() {
    for fails in [true, false] {
        let s = stack(CacheOptions::default());
        let runs = AtomicUsize::new(0);
        let under_way = AtomicUsize::new(0);
        let most = AtomicUsize::new(0);
        // The first ends when everybody has asked; all others wait for each other.
        let (asked, all_have, others) = (AtomicUsize::new(0), Notify::new(), Barrier::new(9));
        let compute = || async {
            let run = runs.fetch_add(1, Ordering::SeqCst);
            most.fetch_max(under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            if run == 0 {
                all_have.notified().await;
            } else {
                others.wait().await;
            }
            under_way.fetch_sub(1, Ordering::SeqCst);
            if fails { Err("out of memory") } else { Ok(Computed::Pass(entry("half a"))) }
        };
        let key = key(1);
        let ask = async || {
            if asked.fetch_add(1, Ordering::SeqCst) == 9 {
                all_have.notify_one();
            }
            s.cache.get_or_compute(&key, LONG, compute).await
        };
        let answers = join_all((0..10).map(|_| ask())).await;
        assert_eq!(runs.load(Ordering::SeqCst), 10, "each finds out for itself");
        assert_eq!(most.load(Ordering::SeqCst), 9, "all that waited at once, not one after another");
        assert!(
            answers.iter().all(|a| a.as_ref().map(|a| a.source).ok() == (!fails).then_some(Source::Computed))
        );
        assert_eq!(s.cache.get(&key).await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_hangs_does_not_hold_the_others_for_ever() {
    let s = stack(CacheOptions { wait_max: Duration::from_secs(5), ..CacheOptions::default() });
    let cache = s.cache.clone();
    let leader =
        tokio::spawn(
            async move { cache.get_or_compute(&key(1), LONG, pending::<Result<Computed, ()>>).await },
        );
    tokio::task::yield_now().await;
    let answer =
        s.cache.get_or_compute(&key(1), LONG, || async { Ok::<_, ()>(Computed::Keep(entry("a"))) }).await;
    assert_eq!(answer.unwrap().source, Source::Computed);
    assert!(!leader.is_finished());
}

#[tokio::test]
async fn a_text_too_large_is_given_out_and_not_kept() {
    let s = stack(CacheOptions { value_bytes_max: 100, ..CacheOptions::default() });
    let compute = || async { Ok::<_, ()>(Computed::Keep(entry(noise(101)))) };
    assert_eq!(s.cache.get_or_compute(&key(1), LONG, compute).await.unwrap().entry, entry(noise(101)));
    assert_eq!(s.cache.stats()[0].1.too_large, 1);
}

#[tokio::test]
async fn two_replicas_share_texts_and_a_restarted_one_finds_its_own() {
    let server = Redis::start().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let redis = RedisOptions {
        timeout: Duration::from_millis(500),
        ..RedisOptions::at(Location::parse(&server.url()).unwrap())
    };
    let with_redis = || CacheOptions { redis: Some(redis.clone()), ..CacheOptions::default() };
    let disk = DiskOptions { timeout: Duration::from_secs(5), ..DiskOptions::at(folder.path()) };
    let with_both = || CacheOptions { disk: Some(disk.clone()), ..with_redis() };
    let stopping = CancellationToken::new();
    let run = async |options: CacheOptions| {
        let opened = Cache::open(options, &CacheMetrics::unregistered()).await.unwrap();
        (opened.cache, tokio::spawn(opened.upkeep.run(stopping.clone())))
    };
    let (a, a_upkeep) = run(with_both()).await;
    let (b, b_upkeep) = run(with_redis()).await;
    a.put(&key(1), &entry("a"), LONG).await;
    a.flush().await;
    assert_eq!(source(b.get(&key(1)).await), Some(Source::Tier("redis")));
    stopping.cancel();
    a_upkeep.await.unwrap();
    b_upkeep.await.unwrap();
    drop((a, b));
    server.flush().unwrap();
    // The scan of the first opening may still hold the folder for a moment.
    let reopened = tokio::sync::OnceCell::new();
    eventually("the folder is free", async || {
        match Cache::open(with_both(), &CacheMetrics::unregistered()).await {
            Ok(opened) => reopened.set(opened).is_ok(),
            Err(_) => false,
        }
    })
    .await;
    let opened = reopened.into_inner().unwrap();
    let running = CancellationToken::new();
    let upkeep = tokio::spawn(opened.upkeep.run(running.clone()));
    assert_eq!(source(opened.cache.get(&key(1)).await), Some(Source::Tier("disk")));
    opened.cache.flush().await;
    assert_eq!(server.cli(&["DBSIZE"]).unwrap(), "1", "moved up into redis again");
    running.cancel();
    upkeep.await.unwrap();
}
