//! What goes down comes back whole, or not at all.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

fn shape() -> KvShape {
    KvShape { layers: 2, kv_heads: 1, head_dim: 8, block_tokens: 4 }
}

fn key(n: usize) -> BlockKey {
    BlockKey::root("m", "f32", n)
}

fn values(seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..shape().layers * shape().layer_len()).map(|_| f32::from_bits(rng.random())).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn any_bits_come_back_from_each_tier() {
    let directory = tempfile::tempdir().unwrap();
    let disk = Some(directory.path().to_path_buf());
    for (host_bytes_max, disk_directory) in [(1 << 20, None), (0, disk.clone()), (3000, disk)] {
        let options =
            TierOptions { host_bytes_max, disk_directory, disk_bytes_max: 1 << 20, ..TierOptions::default() };
        let mut tiers = Tiers::open(&options, shape(), "model", Box::new(|| {})).unwrap();
        for n in 0..20 {
            tiers.save(key(n), &values(n as u64));
        }
        for n in 0..20 {
            let (_, back) = tiers.load(&key(n)).unwrap();
            assert_eq!(bits(&back), bits(&values(n as u64)), "{options:?}");
        }
        assert!(tiers.load(&key(99)).is_none());
        assert!(tiers.bytes().0 <= host_bytes_max);
    }
}

#[test]
fn files_of_another_model_are_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let open = |fingerprint: &str, codec| {
        let disk_directory = Some(directory.path().to_path_buf());
        let options =
            TierOptions { disk_directory, disk_bytes_max: 1 << 20, codec, ..TierOptions::default() };
        Tiers::open(&options, shape(), fingerprint, Box::new(|| {})).unwrap()
    };
    open("one", Codec::F32).save(key(0), &values(0));
    assert!(open("one", Codec::F32).load(&key(0)).is_some(), "found again after a restart");
    assert!(open("two", Codec::F32).load(&key(0)).is_none());
    assert!(open("one", Codec::F32).load(&key(0)).is_none(), "the other model took the directory");
    open("one", Codec::F32).save(key(0), &values(0));
    assert!(open("one", Codec::Int8).load(&key(0)).is_none(), "another precision");
}

#[test]
fn slower_than_computing_is_left_alone() {
    let options = TierOptions { host_bytes_max: 1 << 20, ..TierOptions::default() };
    let mut tiers = Tiers::open(&options, shape(), "model", Box::new(|| {})).unwrap();
    tiers.save(key(0), &values(0));
    tiers.costs.computed(1000, 1e-9);
    assert!(tiers.load(&key(0)).is_none());
    assert_eq!((tiers.counts.declined, tiers.counts.restored), (1, 0));
    let mut costs = Costs::default();
    costs.computed(1, 1.0);
    assert!(costs.worth(Kind::Disk, 1 << 20, 1));
    // A measurement of a slow disk changes the answer.
    for _ in 0..50 {
        costs.measured(Kind::Disk, 1, 1.0);
    }
    assert!(!costs.worth(Kind::Disk, 1 << 20, 1));
    assert!(costs.worth(Kind::Host, 1 << 20, 1));
    // And is not the last word: it is tried again some time.
    assert!((0..100_000).any(|_| costs.worth(Kind::Disk, 1 << 20, 1)));
}

#[test]
fn every_restore_is_measured() {
    let directory = tempfile::tempdir().unwrap();
    let disk_directory = Some(directory.path().to_path_buf());
    for (kind, host_bytes_max) in [(Kind::Host, 1 << 20), (Kind::Disk, 0)] {
        let options = TierOptions {
            host_bytes_max,
            disk_directory: disk_directory.clone(),
            disk_bytes_max: 1 << 20,
            ..TierOptions::default()
        };
        let mut tiers = Tiers::open(&options, shape(), "model", Box::new(|| {})).unwrap();
        tiers.save(key(0), &values(0));
        let before = *tiers.costs.byte_s(kind);
        assert_eq!(tiers.load(&key(0)).map(|(kind, _)| kind), Some(kind));
        assert_ne!(*tiers.costs.byte_s(kind), before);
    }
}

/// A tier of files alone, whose disk has failed: nothing is packed for it until it may be tried again. With memory above it
/// blocks go on to be kept there.
#[cfg(target_os = "linux")]
#[test]
fn nothing_is_packed_for_a_disk_that_fails() {
    for (host_bytes_max, saved) in [(0, 1), (1 << 20, 3)] {
        let directory = tempfile::tempdir().unwrap();
        let options = TierOptions {
            write: TierWrite::Through,
            host_bytes_max,
            disk_directory: Some(directory.path().to_path_buf()),
            disk_bytes_max: 1 << 20,
            ..TierOptions::default()
        };
        let mut tiers = Tiers::open(&options, shape(), "model", Box::new(|| {})).unwrap();
        std::os::unix::fs::symlink("/dev/full", directory.path().join("kv-0000000000.seg")).unwrap();
        for n in 0..3 {
            assert_eq!(tiers.wants(&key(n)), n == 0 || host_bytes_max > 0);
            tiers.save(key(n), &values(n as u64));
        }
        assert_eq!((tiers.counts.saved, tiers.disk_counts().failed), (saved, 1));
        assert!(tiers.disk_counts().is_failing);
        assert_eq!(tiers.load(&key(2)).is_some(), host_bytes_max > 0);
    }
}
