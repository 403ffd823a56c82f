//! Times of look-ups and writes of a 1 KiB text in each tier, with the default time limits.
//!
//! `cargo run --release -p bul-cache --example latency -- redis://127.0.0.1:6379`; without an address, memory and
//! disk only. Prints median and 99th percentile in microseconds, and what the tier did not manage in time.

use std::time::{Duration, Instant};

use bul_cache::conformance::kit::{LONG, entry, key, noise};
use bul_cache::{
    Cache, CacheMetrics, CacheOptions, Computed, Disk, DiskOptions, Kept, Location, Memory, MemoryOptions,
    RedisLink, RedisOptions, RedisTier, Tier,
};

const CALLS: u64 = 5_000;
const VALUE_BYTES_MAX: usize = 1 << 16;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let metrics = CacheMetrics::unregistered();
    measure(&Memory::new(MemoryOptions::default(), VALUE_BYTES_MAX, &metrics)).await;
    if let Some(address) = std::env::args().nth(1) {
        let options = RedisOptions::at(Location::parse(&address)?);
        let link = RedisLink::open(&options, &metrics)?;
        let tier = RedisTier::new(link, &options, VALUE_BYTES_MAX, &metrics);
        tier.upkeep().await;
        measure(&tier).await;
    }
    let folder = tempfile::tempdir()?;
    measure(&Disk::open(DiskOptions::at(folder.path()), VALUE_BYTES_MAX, &metrics).await?).await;
    let (cache, _upkeep) = Cache::over(Vec::new(), CacheOptions::default(), &CacheMetrics::unregistered());
    let mut times = Vec::new();
    for _ in 0..CALLS {
        let started = Instant::now();
        let compute = || async { Ok::<_, ()>(Computed::Keep(entry(noise(1024)))) };
        let _ = cache.get_or_compute(&key(1), LONG, compute).await;
        times.push(started.elapsed());
    }
    print("whole cache, hit", times, 0);
    Ok(())
}

async fn measure(tier: &dyn Tier) {
    let text = entry(noise(1024));
    let (mut puts, mut gets, mut late) = (Vec::new(), Vec::new(), 0);
    for n in 0..CALLS {
        let key = key(n);
        let started = Instant::now();
        late += u64::from(tier.put(&key, &text, LONG).await != Kept::Yes);
        puts.push(started.elapsed());
    }
    print(&format!("{} put", tier.name()), puts, late);
    late = 0;
    for n in 0..CALLS {
        let key = key(n);
        let started = Instant::now();
        late += u64::from(tier.get(&key).await.is_none());
        gets.push(started.elapsed());
    }
    print(&format!("{} get", tier.name()), gets, late);
}

fn print(what: &str, mut times: Vec<Duration>, late: u64) {
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 100).map_or(0.0, |time| time.as_secs_f64() * 1e6);
    println!("{what:18} p50 {:8.1} us   p99 {:8.1} us   not done {late}", at(50), at(99));
}
