//! What goes down comes back whole, or not at all.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::disk::Disk;
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

fn only_file(directory: &std::path::Path) -> PathBuf {
    let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "seg"));
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
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
fn a_crash_at_any_byte_loses_only_what_was_not_whole() {
    let directory = tempfile::tempdir().unwrap();
    let blocks: Vec<Vec<u8>> = (0..3u8).map(|n| vec![n; 10 + 7 * n as usize]).collect();
    let mut disk = Disk::open(directory.path(), [7; 32], 1 << 16).unwrap();
    let mut ends = Vec::new();
    for (n, block) in blocks.iter().enumerate() {
        disk.put(key(n), block);
        ends.push(disk.bytes());
    }
    drop(disk);
    let path = only_file(directory.path());
    let whole = std::fs::read(&path).unwrap();
    assert_eq!(whole.len() as u64, ends[2]);
    for cut in 0..=whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let mut disk = Disk::open(directory.path(), [7; 32], 1 << 16).unwrap();
        for (n, block) in blocks.iter().enumerate() {
            let expected = (ends[n] <= cut as u64).then(|| block.clone());
            assert_eq!(disk.get(&key(n)), expected, "cut at {cut}");
        }
        // What is written next stands where a scan finds it.
        disk.put(key(9), b"after the crash");
        drop(disk);
        let mut disk = Disk::open(directory.path(), [7; 32], 1 << 16).unwrap();
        assert_eq!(disk.get(&key(9)).as_deref(), Some(&b"after the crash"[..]), "cut at {cut}");
        assert_eq!(disk.get(&key(0)).is_some(), ends[0] <= cut as u64);
        drop(disk);
        std::fs::remove_file(only_file(directory.path())).unwrap();
    }
}

#[test]
fn damage_is_found_wherever_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let mut disk = Disk::open(directory.path(), [7; 32], 1 << 16).unwrap();
    let blocks: Vec<Vec<u8>> = (0..4u8).map(|n| vec![n + 1; 40]).collect();
    for (n, block) in blocks.iter().enumerate() {
        disk.put(key(n), block);
    }
    drop(disk);
    let path = only_file(directory.path());
    let whole = std::fs::read(&path).unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    for _ in 0..600 {
        let mut bytes = whole.clone();
        match rng.random_range(0..4) {
            0 => {
                let at = rng.random_range(0..bytes.len());
                bytes[at] ^= 1 << rng.random_range(0..8);
            }
            1 => {
                let (at, len) = (rng.random_range(0..bytes.len()), rng.random_range(1..90));
                let end = (at + len).min(bytes.len());
                bytes[at..end].fill(0);
            }
            2 => {
                let at = rng.random_range(0..bytes.len());
                bytes.splice(at..at, (0..rng.random_range(1..50)).map(|i| i as u8));
            }
            _ => {
                let at = rng.random_range(0..bytes.len());
                let end = (at + rng.random_range(1..60)).min(bytes.len());
                bytes.drain(at..end);
            }
        }
        std::fs::write(&path, &bytes).unwrap();
        let mut disk = Disk::open(directory.path(), [7; 32], 1 << 16).unwrap();
        for (n, block) in blocks.iter().enumerate() {
            if let Some(found) = disk.get(&key(n)) {
                assert_eq!(found, *block);
            }
        }
        drop(disk);
        for entry in std::fs::read_dir(directory.path()).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
    }
}

#[test]
fn a_block_under_a_forged_key_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut disk = Disk::open(directory.path(), [7; 32], 1 << 16).unwrap();
    disk.put(key(0), b"of one tenant");
    disk.put(key(1), b"of another  !");
    drop(disk);
    let path = only_file(directory.path());
    let whole = std::fs::read(&path).unwrap();
    let find = |needle: &[u8]| whole.windows(needle.len()).position(|w| w == needle).unwrap();
    // The payloads change places: heads stay whole, so only the payloads' checksums can tell.
    let (a, b) = (find(b"of one tenant"), find(b"of another  !"));
    let mut swapped = whole.clone();
    swapped[a..a + 13].copy_from_slice(b"of another  !");
    swapped[b..b + 13].copy_from_slice(b"of one tenant");
    std::fs::write(&path, &swapped).unwrap();
    let mut disk = Disk::open(directory.path(), [7; 32], 1 << 16).unwrap();
    assert!(disk.find(&key(0)).is_some(), "the scan believes the heads");
    assert_eq!((disk.get(&key(0)), disk.get(&key(1))), (None, None));
    assert_eq!(disk.find(&key(0)), None, "and is not asked again");
    // A key that differs in one bit alone is another key.
    drop(disk);
    std::fs::write(&path, &whole).unwrap();
    let mut disk = Disk::open(directory.path(), [7; 32], 1 << 16).unwrap();
    let mut forged = *key(0).as_bytes();
    forged[31] ^= 1;
    assert_eq!(disk.get(&BlockKey::from_bytes(forged)), None);
    assert!(disk.get(&key(0)).is_some());
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
fn two_engines_cannot_share_a_directory() {
    let directory = tempfile::tempdir().unwrap();
    let first = Disk::open(directory.path(), [7; 32], 1 << 16).unwrap();
    let error = Disk::open(directory.path(), [7; 32], 1 << 16).unwrap_err();
    assert!(error.to_string().contains("in use"), "{error}");
    drop(first);
    assert!(Disk::open(directory.path(), [7; 32], 1 << 16).is_ok());
}

#[test]
fn the_oldest_files_go_when_the_space_is_full() {
    let directory = tempfile::tempdir().unwrap();
    let bytes_max = 8000;
    let mut disk = Disk::open(directory.path(), [7; 32], bytes_max).unwrap();
    for n in 0..100 {
        disk.put(key(n), &[n as u8; 200]);
        assert!(disk.bytes() <= bytes_max);
        assert!(disk.get(&key(n)).is_some());
    }
    assert!(disk.get(&key(0)).is_none());
    let kept = (0..100).filter(|n| disk.find(&key(*n)).is_some()).count();
    assert!((15..=30).contains(&kept), "{kept}");
    // A smaller space after a restart.
    drop(disk);
    let disk = Disk::open(directory.path(), [7; 32], 3000).unwrap();
    assert!(disk.bytes() <= 3000 && disk.find(&key(99)).is_some());
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
