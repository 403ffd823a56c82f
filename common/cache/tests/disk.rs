//! The folder of the disk tier: limits, restarts, kills, strangers' files, clocks that jump.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bul_cache::conformance::kit::{LONG, PATIENCE, entry, eventually, key, noise, text};
use bul_cache::{CacheMetrics, Disk, DiskOptions, Kept, Tier};
use proptest::prelude::*;

const VALUE_BYTES_MAX: usize = 64 << 10;

fn options(folder: &Path) -> DiskOptions {
    DiskOptions { timeout: PATIENCE, ..DiskOptions::at(folder) }
}

/// An opened and scanned folder.
async fn open(options: DiskOptions) -> Disk {
    let disk = Disk::open(options, VALUE_BYTES_MAX, &CacheMetrics::unregistered()).await.unwrap();
    disk.upkeep().await;
    disk
}

fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let each = |entry: std::fs::DirEntry| match entry.path() {
        path if path.is_dir() => files(&path),
        path => vec![path],
    };
    entries.flatten().flat_map(each).collect()
}

fn texts(folder: &Path) -> usize {
    files(&folder.join("v1")).len()
}

#[tokio::test]
async fn it_stays_under_its_limits_and_forgets_what_was_not_used() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(DiskOptions { bytes_max: 40 << 10, ..options(folder.path()) }).await;
    for n in 0..10 {
        disk.put(&key(n), &entry(noise(3000)), LONG).await;
    }
    assert_eq!((disk.stats().bytes, disk.stats().entries, texts(folder.path())), (40 << 10, 10, 10));
    assert!(disk.get(&key(0)).await.is_some());
    // Two blocks: two others go.
    disk.put(&key(10), &entry(noise(5000)), LONG).await;
    assert_eq!((disk.stats().bytes, texts(folder.path())), (40 << 10, 9));
    assert_eq!((text(&disk, &key(1)).await, text(&disk, &key(2)).await), (None, None));
    assert!(disk.get(&key(0)).await.is_some());
    drop(disk);

    let disk = open(DiskOptions { entries_max: 3, ..options(folder.path()) }).await;
    assert_eq!(texts(folder.path()), 3);
    assert_eq!(disk.put(&key(20), &entry("new"), LONG).await, Kept::Yes);
    assert_eq!(texts(folder.path()), 3);
}

#[tokio::test]
async fn a_text_too_large_for_the_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(DiskOptions { bytes_max: 4096, ..options(folder.path()) }).await;
    assert_eq!(disk.put(&key(1), &entry(noise(5000)), LONG).await, Kept::TooLarge);
    assert_eq!(disk.put(&key(1), &entry("a"), LONG).await, Kept::Yes);
}

#[tokio::test]
async fn texts_and_their_order_survive_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(options(folder.path())).await;
    for n in 0..6 {
        disk.put(&key(n), &entry(n.to_string()), LONG).await;
    }
    drop(disk);
    // Files of one moment are told apart by the times the tests give them; 0 is the one used last.
    for n in 0..6_u64 {
        let path = folder.path().join("v1").join(&key(n).hex()[..2]).join(key(n).hex());
        let used = std::time::UNIX_EPOCH
            + Duration::from_secs(1_700_000_000 + (6 - n) % 6 * 100 + u64::from(n == 0) * 900);
        std::fs::File::options().write(true).open(path).unwrap().set_modified(used).unwrap();
    }
    let disk =
        Disk::open(options(folder.path()), VALUE_BYTES_MAX, &CacheMetrics::unregistered()).await.unwrap();
    assert_eq!(text(&disk, &key(3)).await.as_deref(), Some(&b"3"[..]), "found before the scan");
    disk.upkeep().await;
    eventually("the index is complete", async || disk.stats().entries == 6).await;
    drop(disk);
    let disk = open(DiskOptions { entries_max: 3, ..options(folder.path()) }).await;
    let mut left = Vec::new();
    for n in 0..6 {
        left.extend(text(&disk, &key(n)).await);
    }
    assert_eq!(left, ["0", "1", "3"], "used last: 3 by reading it, 0 and 1 by their times");
}

#[tokio::test]
async fn strangers_are_left_alone_and_leavings_are_cleared() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(options(folder.path())).await);
    let v1 = folder.path().join("v1");
    let hex = key(1).hex();
    let wrong_place = v1.join("zz").join(&hex);
    for sub in ["zz", "ab", &hex[..2]] {
        std::fs::create_dir_all(v1.join(sub)).unwrap();
    }
    let strangers =
        [folder.path().join("thesis.txt"), v1.join("notes"), v1.join("ab").join("photo.jpg"), wrong_place];
    for path in &strangers {
        std::fs::write(path, "mine").unwrap();
    }
    std::fs::create_dir_all(v1.join(&hex[..2]).join(&hex)).unwrap();
    std::fs::write(v1.join("new-123-abc-0"), "half a te").unwrap();
    let disk = open(DiskOptions { entries_max: 0, ..options(folder.path()) }).await;
    assert!(strangers.iter().all(|path| path.exists()));
    assert!(!v1.join("new-123-abc-0").exists());
    assert_eq!(disk.get(&key(1)).await, None, "a folder where a text should be");
    assert_eq!(disk.put(&key(1), &entry("a"), LONG).await, Kept::Dropped);
}

#[tokio::test]
async fn a_folder_removed_underneath_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(options(folder.path())).await;
    disk.put(&key(1), &entry("a"), LONG).await;
    std::fs::remove_dir_all(folder.path()).unwrap();
    assert_eq!(disk.get(&key(1)).await, None);
    assert_eq!(disk.put(&key(1), &entry("b"), LONG).await, Kept::Yes);
    assert_eq!(text(&disk, &key(1)).await.as_deref(), Some(&b"b"[..]));
}

#[tokio::test]
async fn one_process_per_folder() {
    let folder = tempfile::tempdir().unwrap();
    let disk = open(options(folder.path())).await;
    let second = Disk::open(options(folder.path()), VALUE_BYTES_MAX, &CacheMetrics::unregistered()).await;
    assert!(second.err().unwrap().to_string().contains("another process"));
    drop(disk);
    drop(open(options(folder.path())).await);
}

#[tokio::test]
async fn a_clock_that_jumps_ends_texts_early_and_never_late() {
    let folder = tempfile::tempdir().unwrap();
    let now = Arc::new(AtomicU64::new(1_800_000_000_000));
    let clock = now.clone();
    let clock = Arc::new(move || clock.load(Ordering::Relaxed));
    let hour = 3_600_000;
    let disk = open(DiskOptions { clock, ..options(folder.path()) }).await;
    disk.put(&key(1), &entry("a"), Duration::from_secs(2 * 3600)).await;
    now.fetch_add(hour, Ordering::Relaxed);
    assert_eq!(disk.get(&key(1)).await.unwrap().ttl_left, Duration::from_secs(3600));
    now.fetch_add(hour, Ordering::Relaxed);
    assert_eq!(disk.get(&key(1)).await, None);
    assert_eq!(texts(folder.path()), 0);
    disk.put(&key(1), &entry("b"), LONG).await;
    now.fetch_sub(3 * hour, Ordering::Relaxed);
    assert_eq!(disk.get(&key(1)).await, None, "written in the future");
}

/// Tells a process of the test below that it is the one to be killed, and where it writes.
const CHILD: &str = "BUL_TEST_CACHE_FOLDER";

/// What that process prints after each text.
const WRITTEN: &str = "written";

/// Writes texts until it is killed.
async fn write_for_ever(folder: &Path) {
    let disk = open(DiskOptions { bytes_max: 200 << 10, ..options(folder) }).await;
    for n in 0_u64.. {
        let key_no = n % 50;
        disk.put(&key(key_no), &entry(noise(2000 + key_no as usize * 100)), LONG).await;
        println!("{WRITTEN}");
    }
}

#[tokio::test]
async fn a_kill_at_any_moment_leaves_whole_texts_only() {
    if let Some(folder) = std::env::var_os(CHILD) {
        return write_for_ever(Path::new(&folder)).await;
    }
    let folder = tempfile::tempdir().unwrap();
    for round in 0..6 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "a_kill_at_any_moment_leaves_whole_texts_only"])
            .env(CHILD, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Some texts later each time; by the time it is killed the child is in the middle of another.
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let written = lines.filter(|line| line.ends_with(WRITTEN)).take(11 + 17 * round).count();
        assert_eq!(written, 11 + 17 * round, "the child writes");
        child.kill().unwrap();
        child.wait().unwrap();
        let disk = open(DiskOptions { bytes_max: 200 << 10, ..options(folder.path()) }).await;
        for n in 0..50 {
            if let Some(found) = text(&disk, &key(n)).await {
                assert_eq!(found, noise(2000 + n as usize * 100));
            }
        }
        let stats = disk.stats();
        assert!(stats.hits > 0 && stats.corrupt == 0 && stats.bytes <= 200 << 10, "{stats:?}");
        assert!(files(folder.path()).iter().all(|path| !path.to_string_lossy().contains("new-")));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever stands in the files after a crash of the file system.
    #[test]
    fn damaged_files_are_misses(
        damages in proptest::collection::vec((0..4_u8, any::<prop::sample::Index>(), any::<u8>()), 8),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let disk = open(options(folder.path())).await;
            for n in 0..8 {
                disk.put(&key(n), &entry(noise(n as usize * 700)), LONG).await;
            }
            drop(disk);
            let mut intact = Vec::new();
            for (n, (how, at, byte)) in (0..8).zip(damages) {
                let path = folder.path().join("v1").join(&key(n).hex()[..2]).join(key(n).hex());
                let whole = std::fs::read(&path).unwrap();
                let mut bytes = whole.clone();
                let at = at.index(bytes.len());
                match how {
                    0 => bytes[at] = byte,
                    1 => bytes.truncate(at),
                    2 => bytes.insert(at, byte),
                    _ => bytes[at..].fill(0),
                }
                intact.push(bytes == whole);
                std::fs::write(&path, bytes).unwrap();
            }
            let disk = open(options(folder.path())).await;
            for (n, intact) in (0..8).zip(intact) {
                let expected = intact.then(|| noise(n as usize * 700).into());
                assert_eq!(text(&disk, &key(n)).await, expected);
            }
        });
    }
}
