//! What is written is found again, whatever happens to the files and to the disk under them.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;

/// Set in the process that writes until it is killed: where to.
const WRITER: &str = "BUL_TEST_KV_WRITER";

fn key(n: usize) -> BlockKey {
    BlockKey::root("m", "f32", n)
}

fn open(directory: &Path) -> Disk {
    Disk::open(directory, [7; 32], 1 << 16).unwrap()
}

fn only_file(directory: &Path) -> PathBuf {
    let mut files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|e| e == "seg"));
    assert_eq!(files.len(), 1, "{files:?}");
    files.remove(0)
}

#[test]
fn a_crash_at_any_byte_loses_only_what_was_not_whole() {
    let directory = tempfile::tempdir().unwrap();
    let blocks: Vec<Vec<u8>> = (0..3u8).map(|n| vec![n; 10 + 7 * n as usize]).collect();
    let mut disk = open(directory.path());
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
        let mut disk = open(directory.path());
        for (n, block) in blocks.iter().enumerate() {
            let expected = (ends[n] <= cut as u64).then(|| block.clone());
            assert_eq!(disk.get(&key(n)), expected, "cut at {cut}");
        }
        // What is written next stands where a scan finds it.
        disk.put(key(9), b"after the crash");
        drop(disk);
        let mut disk = open(directory.path());
        assert_eq!(disk.get(&key(9)).as_deref(), Some(&b"after the crash"[..]), "cut at {cut}");
        assert_eq!(disk.get(&key(0)).is_some(), ends[0] <= cut as u64);
        drop(disk);
        std::fs::remove_file(only_file(directory.path())).unwrap();
    }
}

/// Changes bytes as a disk, a copy that was cut short or a careless hand might.
fn damage(rng: &mut ChaCha8Rng, bytes: &mut Vec<u8>, starts: &[usize]) {
    if bytes.is_empty() {
        return;
    }
    // As often at a record's own bounds, where lengths and marks stand.
    let mut place = || match rng.random_range(0..3) {
        0 => starts[rng.random_range(0..starts.len())].min(bytes.len() - 1),
        _ => rng.random_range(0..bytes.len()),
    };
    let (at, other) = (place(), place());
    let len = match rng.random_range(0..3) {
        0 => at.abs_diff(other),
        _ => rng.random_range(1..90),
    };
    let end = (at + len).min(bytes.len());
    match rng.random_range(0..7) {
        0 => bytes[at] ^= 1 << rng.random_range(0..8),
        1 => bytes[at..end].fill(0),
        2 => rng.fill(&mut bytes[at..end]),
        3 => drop(bytes.splice(at..at, (0..len).map(|i| i as u8))),
        4 => drop(bytes.drain(at..end)),
        5 => {
            let copy = bytes[at..end].to_vec();
            bytes.splice(other..other, copy);
        }
        _ => bytes.truncate(at),
    }
}

/// Whatever was done to the bytes of a file: nothing wrong comes back, and every record that still stands whole anywhere in it is
/// found, those behind the damage too. Lost is what the damage itself has touched.
#[test]
fn damage_loses_only_the_records_that_it_touches() {
    let directory = tempfile::tempdir().unwrap();
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    // Two pairs of one length: what moves may then end where another record begins.
    let blocks: Vec<Vec<u8>> =
        [40, 90, 40, 200, 90, 1, 300].map(|len| (0..len).map(|_| rng.random::<u8>() % 5).collect()).into();
    let mut disk = open(directory.path());
    let mut starts = vec![0];
    for (n, block) in blocks.iter().enumerate() {
        starts.push(disk.bytes().max(HEADER) as usize);
        disk.put(key(n), block);
    }
    drop(disk);
    let path = only_file(directory.path());
    let whole = std::fs::read(&path).unwrap();
    let records: Vec<&[u8]> =
        starts[1..].iter().zip(&blocks).map(|(at, block)| &whole[*at..at + HEAD + block.len()]).collect();
    let (mut survived, mut lost) = (0, 0);
    for round in 0..4_000 {
        let mut bytes = whole.clone();
        for _ in 0..rng.random_range(1..4) {
            damage(&mut rng, &mut bytes, &starts);
        }
        std::fs::write(&path, &bytes).unwrap();
        let mut disk = open(directory.path());
        // A record may lie where a damaged one was believed to be, and is found once that one was asked for.
        for _ in 0..blocks.len() {
            (0..blocks.len()).for_each(|n| drop(disk.get(&key(n))));
        }
        let mut check = |disk: &mut Disk| {
            for (n, (block, record)) in blocks.iter().zip(&records).enumerate() {
                let found = disk.get(&key(n));
                assert!(
                    found.as_ref().is_none_or(|found| found == block),
                    "round {round}: wrong bytes of {n}"
                );
                let stands = bytes.windows(record.len()).any(|window| window == *record);
                assert_eq!(found.is_some(), stands, "round {round}: record {n}");
                (survived, lost) = (survived + u32::from(stands), lost + u32::from(!stands));
            }
        };
        check(&mut disk);
        disk.put(key(99), b"after the damage");
        drop(disk);
        let mut disk = open(directory.path());
        assert_eq!(disk.get(&key(99)).as_deref(), Some(&b"after the damage"[..]), "round {round}");
        for _ in 0..blocks.len() {
            (0..blocks.len()).for_each(|n| drop(disk.get(&key(n))));
        }
        check(&mut disk);
        drop(disk);
        for (_, path) in files(directory.path()).unwrap() {
            std::fs::remove_file(path).unwrap();
        }
    }
    assert!(survived > 10_000 && lost > 10_000, "{survived} {lost}");
}

#[test]
fn a_block_under_a_forged_key_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut disk = open(directory.path());
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
    let mut disk = open(directory.path());
    assert!(disk.find(&key(0)).is_some(), "the scan believes the heads");
    assert_eq!((disk.get(&key(0)), disk.get(&key(1))), (None, None));
    assert_eq!(disk.find(&key(0)), None, "and is not asked again");
    // A key that differs in one bit alone is another key.
    drop(disk);
    std::fs::write(&path, &whole).unwrap();
    let mut disk = open(directory.path());
    let mut forged = *key(0).as_bytes();
    forged[31] ^= 1;
    assert_eq!(disk.get(&BlockKey::from_bytes(forged)), None);
    assert!(disk.get(&key(0)).is_some());
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

/// Bytes without any record of this model are no file of ours.
#[test]
fn a_file_of_noise_is_removed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kv-0000000003.seg");
    for bytes in [&[0; 5_000][..], b"too short", &Format::new([8; 32]).header()] {
        std::fs::write(&path, bytes).unwrap();
        assert_eq!(open(directory.path()).bytes(), 0);
        assert!(!path.exists());
    }
    // What cannot be opened at all keeps nobody from working with the rest.
    std::fs::create_dir(&path).unwrap();
    let mut disk = open(directory.path());
    disk.put(key(0), b"written all the same");
    assert!(disk.get(&key(0)).is_some());
}

/// A file system that takes nothing: the first segment leads to a device that is always full.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_left_alone_for_a_while_and_then_used_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kv-0000000000.seg");
    let mut disk = open(directory.path());
    std::os::unix::fs::symlink("/dev/full", &path).unwrap();
    disk.put(key(0), b"no room");
    assert_eq!(disk.counts(), DiskCounts { failed: 1, is_failing: true, ..DiskCounts::default() });
    assert!(!path.exists() && disk.find(&key(0)).is_none());
    // There is room again, which is not noticed before the time.
    disk.put(key(0), b"not tried");
    assert_eq!((disk.counts().failed, disk.bytes(), disk.is_writable()), (1, 0, false));
    disk.rests_until = Some(Instant::now());
    disk.put(key(0), b"room again");
    assert_eq!(disk.counts(), DiskCounts { written: 1, failed: 1, ..DiskCounts::default() });
    // Full in the middle of a segment: what was there is still read, and what is written later is found by the next one.
    let healthy = std::mem::replace(
        &mut disk.segments[0].file,
        OpenOptions::new().read(true).write(true).open("/dev/full").unwrap(),
    );
    disk.put(key(1), b"no room");
    let full = std::mem::replace(&mut disk.segments[0].file, healthy);
    assert!(disk.counts().is_failing && disk.find(&key(1)).is_none());
    assert_eq!(disk.get(&key(0)).as_deref(), Some(&b"room again"[..]));
    // It rests again, however often it fails.
    disk.rests_until = Some(Instant::now());
    let healthy = std::mem::replace(&mut disk.segments[0].file, full);
    disk.put(key(1), b"no room");
    disk.segments[0].file = healthy;
    assert_eq!((disk.counts().failed, disk.is_writable()), (3, false));
    disk.rests_until = Some(Instant::now());
    disk.put(key(1), b"room at last");
    drop(disk);
    let mut disk = open(directory.path());
    assert_eq!(disk.get(&key(0)).as_deref(), Some(&b"room again"[..]));
    assert_eq!(disk.get(&key(1)).as_deref(), Some(&b"room at last"[..]));
}

#[test]
fn a_read_that_fails_is_a_miss_and_no_more() {
    let directory = tempfile::tempdir().unwrap();
    let mut disk = open(directory.path());
    (0..3).for_each(|n| disk.put(key(n), &[n as u8; 100]));
    disk.segments[0].file.set_len(HEADER + 120).unwrap();
    assert_eq!((disk.get(&key(1)), disk.get(&key(2))), (None, None));
    assert_eq!(disk.counts().unreadable, 2);
    assert_eq!((disk.find(&key(1)), disk.find(&key(0))), (None, Some(100)), "it is not asked for again");
    disk.put(key(1), b"anew");
    assert_eq!(disk.get(&key(1)).as_deref(), Some(&b"anew"[..]));
}

/// Bytes of the `n`-th block of the process that is killed.
fn noise(n: usize) -> Vec<u8> {
    let mut bytes = vec![0; 2_000 + n % 700];
    ChaCha8Rng::seed_from_u64(n as u64).fill(&mut bytes[..]);
    bytes
}

fn large(directory: &Path) -> Disk {
    Disk::open(directory, [7; 32], 1 << 30).unwrap()
}

/// A process writes and is killed in the middle of it. Every block whose writing had ended is there.
#[test]
fn a_writer_that_is_killed_loses_at_most_the_block_in_hand() {
    if let Some(directory) = std::env::var_os(WRITER) {
        let mut disk = large(Path::new(&directory));
        for n in disk.index.len().. {
            disk.put(key(n), &noise(n));
            println!("\nwritten {n}");
        }
    }
    let directory = tempfile::tempdir().unwrap();
    let mut written = 0;
    for round in 1..6 {
        let name = "kv::tier::disk::tests::a_writer_that_is_killed_loses_at_most_the_block_in_hand";
        let mut writer = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture"])
            .env(WRITER, directory.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(writer.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut numbers = lines.filter_map(|line| line.strip_prefix("written ")?.parse::<usize>().ok());
        let first = numbers.find(|n| *n >= written + 150 * round).unwrap();
        writer.kill().unwrap();
        writer.wait().unwrap();
        // What it said in the meantime.
        written = numbers.last().unwrap_or(first).max(first) + 1;
        let mut disk = large(directory.path());
        for n in 0..written {
            assert!(disk.get(&key(n)).is_some_and(|found| found == noise(n)), "round {round}: {n}");
        }
        assert!((written..=written + 1).contains(&disk.index.len()), "{} {written}", disk.index.len());
    }
}
