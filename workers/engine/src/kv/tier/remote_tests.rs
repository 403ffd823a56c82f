//! A store that works, fails, hangs, panics or lies: the engine's thread never waits, and never believes a lie.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bul_runtime::breaker::BreakerOptions;
use parking_lot::{Condvar, Mutex};

use super::remote::{BlockName, RemoteBlocks, RemoteError, RemoteTier};
use super::*;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Works,
    Fails,
    Hangs,
    Panics,
    /// Too few answers.
    Loses,
}

/// A store in memory.
pub(crate) struct Fake {
    blocks: Mutex<HashMap<BlockName, Vec<u8>>>,
    mood: Mutex<Mood>,
    changed: Condvar,
    calls: AtomicUsize,
}

impl Fake {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            blocks: Mutex::default(),
            mood: Mutex::new(Mood::Works),
            changed: Condvar::new(),
            calls: AtomicUsize::new(0),
        })
    }

    pub fn len(&self) -> usize {
        self.blocks.lock().len()
    }

    /// From now on calls do not return, or those that wait do.
    pub fn hang(&self, hangs: bool) {
        self.set(if hangs { Mood::Hangs } else { Mood::Works });
    }

    fn set(&self, mood: Mood) {
        *self.mood.lock() = mood;
        self.changed.notify_all();
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }

    fn enter(&self) -> Result<Mood, RemoteError> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        let mut mood = self.mood.lock();
        while *mood == Mood::Hangs {
            self.changed.wait(&mut mood);
        }
        match *mood {
            Mood::Fails => Err(RemoteError("no connection".into())),
            Mood::Panics => panic!("asked to"),
            mood => Ok(mood),
        }
    }
}

impl RemoteBlocks for Fake {
    fn get_many(
        &self,
        names: &[BlockName],
        _: usize,
        _: Duration,
    ) -> Result<Vec<Option<Vec<u8>>>, RemoteError> {
        let mood = self.enter()?;
        let blocks = self.blocks.lock();
        let names = if mood == Mood::Loses { &names[1..] } else { names };
        Ok(names.iter().map(|name| blocks.get(name).cloned()).collect())
    }

    fn put(&self, name: BlockName, block: Vec<u8>, _: Duration) -> Result<(), RemoteError> {
        self.enter()?;
        self.blocks.lock().insert(name, block);
        Ok(())
    }
}

fn shape() -> KvShape {
    KvShape { layers: 2, kv_heads: 1, head_dim: 8, block_tokens: 4 }
}

fn key(n: usize) -> BlockKey {
    BlockKey::root("m", "f32", n)
}

fn values(seed: usize) -> Vec<f32> {
    (0..shape().layers * shape().layer_len()).map(|i| ((i * 7 + seed * 13) % 101) as f32 * 0.37).collect()
}

fn open_as(fake: &Arc<Fake>, model: &str, secret: u8, codec: Codec) -> Tiers {
    open_with(fake, model, secret, codec, 64 << 20)
}

fn open_with(fake: &Arc<Fake>, model: &str, secret: u8, codec: Codec, staged_bytes_max: usize) -> Tiers {
    let breaker = BreakerOptions {
        calls_min: 3,
        open_ms: 3_600_000,
        open_ms_max: 3_600_000,
        ..BreakerOptions::default()
    };
    // A machine under load must not make a good store look slow.
    let within = Duration::from_secs(600);
    let remote =
        RemoteTier { breaker, within, staged_bytes_max, ..RemoteTier::new(fake.clone(), [secret; 32]) };
    let options = TierOptions { remote: Some(remote), codec, ..TierOptions::default() };
    Tiers::open(&options, shape(), model, Box::new(|| {})).unwrap()
}

fn open(fake: &Arc<Fake>) -> Tiers {
    open_as(fake, "model", 1, Codec::F32)
}

/// Waits until what the store's thread did shows.
fn until(tiers: &mut Tiers, what: impl Fn(&Tiers) -> bool) {
    for _ in 0..50_000_000_u64 {
        tiers.collect();
        if what(tiers) {
            return;
        }
        std::thread::yield_now();
    }
    panic!("it never came: {:?}", tiers.remote_counts());
}

/// A store that holds blocks 0 to `count`.
fn filled(count: usize) -> Arc<Fake> {
    let fake = Fake::new();
    let mut tiers = open(&fake);
    for n in 0..count {
        tiers.save(key(n), &values(n));
    }
    until(&mut tiers, |t| t.remote_counts().written == count as u64);
    assert_eq!(fake.len(), count);
    fake
}

#[test]
fn what_one_engine_writes_another_reads_bit_by_bit() {
    let fake = filled(5);
    let mut other = open(&fake);
    assert!(other.load(&key(0)).is_none(), "nothing comes unless it was asked for");
    let keys: Vec<_> = (0..8).map(key).collect();
    // The first call asks for few, until it is known how fast the store is.
    for answered in [4, 8] {
        other.ask(&keys);
        until(&mut other, |t| t.remote_counts().fetched + t.remote_counts().missing == answered);
    }
    for n in 0..5 {
        assert!(other.has(&key(n)));
        let (kind, back) = other.load(&key(n)).unwrap();
        assert_eq!((kind, back), (Kind::Remote, values(n)));
        assert!(!other.has(&key(n)), "what went to the device is no longer staged");
    }
    assert!(other.load(&key(6)).is_none());
    // What is known to be there is not written again, and what is known to be missing is not asked for again at once.
    let calls = fake.calls();
    other.save(key(1), &values(1));
    other.ask(&[key(6), key(7)]);
    other.save(key(9), &values(9));
    until(&mut other, |t| t.remote_counts().written == 1);
    assert_eq!(fake.calls(), calls + 1);
}

#[test]
fn what_lies_behind_a_missing_block_is_not_asked_for() {
    let fake = filled(12);
    let keys: Vec<_> = (0..2).chain([77]).chain(2..12).map(key).collect();
    let mut tiers = open(&fake);
    tiers.ask(&keys);
    until(&mut tiers, |t| t.remote_counts().fetched + t.remote_counts().missing == 4);
    let calls = fake.calls();
    tiers.ask(&keys);
    assert!(!tiers.is_coming(&keys[4..]));
    // One question of another chain, behind which this one would have been answered, too.
    tiers.ask(&[key(78)]);
    until(&mut tiers, |t| t.remote_counts().missing == 2);
    assert_eq!((fake.calls(), tiers.remote_counts().fetched), (calls + 1, 3));
}

/// A chain longer than there is room for: its beginning comes and stays, and nobody waits for the rest.
#[test]
fn a_chain_that_does_not_fit_brings_its_beginning() {
    let fake = filled(12);
    let keys: Vec<_> = (0..12).map(key).collect();
    let room = 5 * open(&fake).bytes_max();
    let mut tiers = open_with(&fake, "model", 1, Codec::F32, room);
    for fetched in [4, 5] {
        tiers.ask(&keys);
        until(&mut tiers, |t| t.remote_counts().fetched == fetched);
    }
    let calls = fake.calls();
    tiers.ask(&keys);
    assert!(!tiers.is_coming(&keys[5..]));
    let here = keys.iter().take_while(|key| tiers.finds(key)).count();
    assert_eq!((here, fake.calls()), (5, calls));
    // The device takes one in, and there is room for the next.
    assert!(tiers.load(&key(0)).is_some());
    tiers.ask(&keys[1..]);
    until(&mut tiers, |t| t.remote_counts().fetched == 6);
    assert!(tiers.finds(&key(5)));
}

#[test]
fn engines_of_another_model_precision_or_secret_see_nothing() {
    let fake = filled(3);
    for (model, secret, codec) in
        [("other", 1, Codec::F32), ("model", 2, Codec::F32), ("model", 1, Codec::Int8)]
    {
        let mut tiers = open_as(&fake, model, secret, codec);
        tiers.ask(&[key(0), key(1), key(2)]);
        until(&mut tiers, |t| t.remote_counts().missing == 3);
        assert!(!tiers.has(&key(0)));
    }
}

#[test]
fn forged_blocks_are_never_believed_and_close_the_store() {
    type Forge = fn(&mut HashMap<BlockName, Vec<u8>>);
    let forgeries: [(&str, Forge); 6] = [
        ("a bit", |blocks| blocks.values_mut().for_each(|b| *b.last_mut().unwrap() ^= 1)),
        ("the digest", |blocks| blocks.values_mut().for_each(|b| b[5] ^= 1)),
        ("the version", |blocks| blocks.values_mut().for_each(|b| b[0] += 1)),
        ("the end", |blocks| blocks.values_mut().for_each(|b| b.truncate(b.len() - 1))),
        ("everything", |blocks| blocks.values_mut().for_each(|b| *b = vec![1; 100_000])),
        // Each block is whole, but stands under another's name.
        ("the place", |blocks| {
            let names: Vec<BlockName> = blocks.keys().copied().collect();
            let rest: Vec<Vec<u8>> = names.iter().map(|name| blocks[name].clone()).collect();
            for (i, name) in names.iter().enumerate() {
                blocks.insert(*name, rest[(i + 1) % rest.len()].clone());
            }
        }),
    ];
    for (what, forge) in forgeries {
        let fake = filled(6);
        forge(&mut fake.blocks.lock());
        let mut tiers = open(&fake);
        for n in 0..6 {
            tiers.ask(&[key(n)]);
            until(&mut tiers, |t| t.remote_counts().forged + t.remote_counts().skipped == n as u64 + 1);
            assert!(!tiers.has(&key(n)) && tiers.load(&key(n)).is_none(), "{what}");
        }
        assert_eq!(tiers.remote_counts().fetched, 0, "{what}");
        assert_eq!(tiers.remote_counts().forged, 3, "{what}: then it is left alone");
    }
}

#[test]
fn a_store_that_fails_is_left_alone() {
    for mood in [Mood::Fails, Mood::Panics, Mood::Loses] {
        let fake = filled(6);
        let before = fake.calls();
        fake.set(mood);
        let mut tiers = open(&fake);
        for n in 0..6 {
            tiers.ask(&[key(n)]);
            until(&mut tiers, |t| t.remote_counts().skipped == n as u64 + 1);
        }
        assert_eq!(fake.calls() - before, 3, "{mood:?}");
        assert!(!tiers.has(&key(0)));
    }
}

#[test]
fn a_store_that_hangs_holds_nothing_up() {
    let fake = filled(40);
    fake.set(Mood::Hangs);
    let mut tiers = open(&fake);
    // More than may wait: all of these return, though nothing comes.
    for n in 0..200 {
        tiers.ask(&[key(n)]);
        tiers.save(key(1000 + n), &values(n));
        tiers.collect();
        assert!(tiers.load(&key(n)).is_none());
    }
    assert!(tiers.remote_counts().skipped > 100, "{:?}", tiers.remote_counts());
    fake.set(Mood::Works);
    until(&mut tiers, |t| t.find(&key(0)).is_some());
    // Dropped with calls under way.
    fake.set(Mood::Hangs);
    tiers.ask(&[key(39)]);
    drop(tiers);
    fake.set(Mood::Works);
}

#[test]
fn what_waits_to_be_used_keeps_to_its_bytes() {
    let fake = filled(60);
    let len = fake.blocks.lock().values().map(Vec::len).max().unwrap();
    let within = Duration::from_secs(600);
    let tier = RemoteTier { staged_bytes_max: 10 * len, within, ..RemoteTier::new(fake.clone(), [1; 32]) };
    let options = TierOptions { remote: Some(tier), ..TierOptions::default() };
    let mut tiers = Tiers::open(&options, shape(), "model", Box::new(|| {})).unwrap();
    for n in 0..60 {
        let before = tiers.remote_counts().fetched;
        tiers.ask(&[key(n)]);
        until(&mut tiers, |t| t.remote_counts().fetched > before);
        assert!(tiers.remote.as_ref().unwrap().bytes() <= 10 * len);
    }
    assert!(tiers.has(&key(59)) && !tiers.has(&key(0)));
}

#[test]
fn slower_than_computing_is_not_asked_for() {
    let fake = filled(3);
    let mut tiers = open(&fake);
    let calls = fake.calls();
    tiers.costs.computed(1_000_000, 1e-9);
    tiers.ask(&[key(0)]);
    assert_eq!((tiers.counts.declined, fake.calls()), (1, calls));
    let mut slow = Costs::default();
    slow.computed(1, 1e-3);
    assert!(slow.worth_fetching(1000, 4));
    for _ in 0..30 {
        slow.fetched(1000, 1.0);
    }
    assert!(!slow.worth_fetching(1000, 4));
    assert!((0..20_000).any(|_| slow.worth_fetching(1000, 4)), "it is tried again some time");
}

#[test]
fn host_and_disk_may_be_packed_differently() {
    let directory = tempfile::tempdir().unwrap();
    let rounds = [
        (Compression::Lz4, Compression::Zstd { level: 3 }),
        (Compression::None, Compression::Lz4),
        (Compression::Zstd { level: 1 }, Compression::Zstd { level: 9 }),
    ];
    for (round, (host, disk)) in rounds.into_iter().enumerate() {
        let options = TierOptions {
            host_bytes_max: 2000,
            disk_directory: Some(directory.path().to_path_buf()),
            disk_bytes_max: 1 << 20,
            host_compression: host,
            disk_compression: disk,
            ..TierOptions::default()
        };
        let mut tiers = Tiers::open(&options, shape(), "model", Box::new(|| {})).unwrap();
        for n in 30 * round..30 * (round + 1) {
            tiers.save(key(n), &values(n));
        }
        tiers.close();
        // Blocks of the settings before are read as well.
        for n in 0..30 * (round + 1) {
            assert_eq!(tiers.load(&key(n)).unwrap(), (Kind::Disk, values(n)), "{host:?} {disk:?}");
        }
    }
}
