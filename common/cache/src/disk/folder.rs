//! The files of the disk tier: one per text, named by its key. All of this blocks, and runs on blocking threads.
//!
//! Layout: `FOLDER/v1/ab/abcd…` (64 digits), `FOLDER/v1/new-…` while being written, `FOLDER/lock`. Invariant: a text
//! appears whole or not at all (write beside, then rename), names and index change together under one lock, and files
//! that are not ours are never touched. Nothing is synced: after a power cut a torn file fails its checksum.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;

use super::DiskOptions;
use super::index::Index;
use crate::entry::{Stamp, decode, encode, encoded_max};
use crate::meter::Nothing;
use crate::{Entry, Hit, Key};

/// What a file takes at least, and in steps of what: sizes are counted as the file system counts them.
const BLOCK_BYTES: u64 = 4096;
/// A text's last use is written to its file at most this often, milliseconds: it is for the order after a restart.
const TOUCH_EVERY_MS: u64 = 60_000;
/// A text from further in the future than this is not believed, milliseconds: the clock was set back since, and its
/// time would end too late.
const SKEW_MS_MAX: u64 = 60_000;

/// An open folder. The lock on it ends with the process, however it ends.
pub(super) struct Folder {
    root: PathBuf,
    options: DiskOptions,
    value_bytes_max: usize,
    index: Mutex<Index>,
    /// Distinguishes files under way of this opening from those an earlier process left.
    opening: String,
    next: AtomicU64,
    closing: AtomicBool,
    _lock: File,
}

impl Folder {
    /// Opens the folder, and makes it where it is missing.
    pub(super) fn open(options: DiskOptions, value_bytes_max: usize) -> io::Result<Self> {
        fs::create_dir_all(&options.folder)?;
        let lock =
            File::options().create(true).truncate(false).write(true).open(options.folder.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => {
                io::Error::new(ErrorKind::ResourceBusy, "another process uses this folder as its cache")
            }
            fs::TryLockError::Error(error) => error,
        })?;
        let root = options.folder.join("v1");
        fs::create_dir_all(&root)?;
        let opening = format!("new-{}-{:x}-", std::process::id(), (options.clock)());
        Ok(Self {
            root,
            options,
            value_bytes_max,
            index: Mutex::default(),
            opening,
            next: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            _lock: lock,
        })
    }

    /// Ends a scan that is under way.
    pub(super) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Bytes and texts on disk, as far as they have been found.
    pub(super) fn holds(&self) -> (u64, u64) {
        let index = self.index.lock();
        (index.bytes(), index.entries() as u64)
    }

    fn path(&self, key: &Key) -> PathBuf {
        let name = key.hex();
        self.root.join(&name[..2]).join(name)
    }

    /// Looks a text up. The file decides, not the index: texts are found while the scan is still under way.
    pub(super) fn read(&self, key: &Key) -> Result<Hit, Nothing> {
        let path = self.path(key);
        let bytes = match self.bytes_of(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return self.missing(key),
            Err(error) if error.kind() == ErrorKind::InvalidData => return self.corrupt(key),
            Err(_) => return Err(Nothing::Failed),
        };
        let Ok((entry, stamp)) = decode(key, &bytes, self.value_bytes_max) else { return self.corrupt(key) };
        let now_ms = (self.options.clock)();
        if stamp.expires_ms <= now_ms || stamp.written_ms > now_ms.saturating_add(SKEW_MS_MAX) {
            self.remove(key).map_err(|_| Nothing::Failed)?;
            return Err(Nothing::Miss);
        }
        self.index.lock().use_now(*key, blocks(bytes.len() as u64));
        touch(&path, now_ms);
        Ok(Hit { entry, ttl_left: Duration::from_millis(stamp.expires_ms - now_ms) })
    }

    fn missing(&self, key: &Key) -> Result<Hit, Nothing> {
        let mut index = self.index.lock();
        // Looked at again under the lock: it may have been written a moment ago.
        if !self.path(key).exists() {
            index.remove(key);
        }
        Err(Nothing::Miss)
    }

    fn corrupt(&self, key: &Key) -> Result<Hit, Nothing> {
        // What stays because it cannot be removed is found corrupt again, which is no worse.
        let _ = self.remove(key);
        Err(Nothing::Corrupt)
    }

    fn bytes_of(&self, path: &Path) -> io::Result<Vec<u8>> {
        let about = fs::symlink_metadata(path)?;
        let limit = encoded_max(self.value_bytes_max) as u64;
        // A pipe would never be read to its end, a huge file would fill the memory.
        if !about.is_file() || about.len() > limit {
            return Err(ErrorKind::InvalidData.into());
        }
        let mut bytes = Vec::with_capacity(about.len() as usize);
        File::open(path)?.take(limit + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Keeps a text for `ttl`, then makes room.
    pub(super) fn write(&self, key: &Key, entry: &Entry, ttl: Duration) -> io::Result<()> {
        let written_ms = (self.options.clock)();
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        let stamp = Stamp { written_ms, expires_ms: written_ms.saturating_add(ttl_ms) };
        let bytes = encode(key, entry, stamp, self.options.compress_from);
        let beside = self.root.join(format!("{}{}", self.opening, self.next.fetch_add(1, Ordering::Relaxed)));
        let result = self.write_whole(key, &beside, &bytes);
        if result.is_err() {
            let _ = fs::remove_file(&beside);
        }
        result
    }

    fn write_whole(&self, key: &Key, beside: &Path, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(key);
        let made = fs::write(beside, bytes);
        if made.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound) {
            // Somebody has emptied the cache with the folder.
            fs::create_dir_all(&self.root)?;
            fs::write(beside, bytes)?;
        } else {
            made?;
        }
        let mut index = self.index.lock();
        if let Err(error) = fs::rename(beside, &path) {
            // The first text of its sub-folder, or something that is no file stands in the way.
            match (error.kind(), path.parent()) {
                (ErrorKind::NotFound, Some(parent)) => fs::create_dir_all(parent)?,
                _ => return Err(error),
            }
            fs::rename(beside, &path)?;
        }
        index.use_now(*key, blocks(bytes.len() as u64));
        self.make_room(&mut index);
        Ok(())
    }

    fn make_room(&self, index: &mut Index) {
        while let Some(key) = index.surplus(self.options.bytes_max, self.options.entries_max) {
            let _ = fs::remove_file(self.path(&key));
        }
    }

    /// Forgets a text; it is an error only if it may still be there.
    pub(super) fn remove(&self, key: &Key) -> io::Result<()> {
        let mut index = self.index.lock();
        index.remove(key);
        match fs::remove_file(self.path(key)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Finds what earlier processes left: whole texts enter the index, files that were being written are removed.
    pub(super) fn scan(&self) -> io::Result<()> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let Ok(entry) = entry else { continue };
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.starts_with("new-") && !name.starts_with(&self.opening) {
                let _ = fs::remove_file(entry.path());
            } else if name.len() == 2 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.scan_into(&entry.path(), &mut found);
            }
            if self.closing.load(Ordering::Relaxed) {
                return Ok(());
            }
        }
        found.sort_unstable_by_key(|(used, _, _)| std::cmp::Reverse(*used));
        for (_, key, bytes) in found {
            // One at a time, so that nobody waits long for the lock; what was evicted meanwhile is looked at again.
            let mut index = self.index.lock();
            if self.path(&key).exists() {
                index.found_older(key, bytes);
                self.make_room(&mut index);
            }
        }
        Ok(())
    }

    fn scan_into(&self, folder: &Path, found: &mut Vec<(SystemTime, Key, u64)>) {
        let Ok(entries) = fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            let key = entry.file_name().to_str().and_then(Key::from_hex);
            let Some(key) = key.filter(|key| entry.path() == self.path(key)) else { continue };
            if let Ok(about) = entry.metadata()
                && about.is_file()
            {
                found.push((about.modified().unwrap_or(SystemTime::UNIX_EPOCH), key, blocks(about.len())));
            }
        }
    }
}

fn blocks(bytes: u64) -> u64 {
    bytes.max(1).next_multiple_of(BLOCK_BYTES)
}

/// Notes the last use on the file, for the order after a restart. Failing that, the order is a little older.
fn touch(path: &Path, now_ms: u64) {
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(now_ms);
    let is_old = |used: SystemTime| {
        let age = now.duration_since(used).or_else(|_| used.duration_since(now));
        age.is_ok_and(|age| age > Duration::from_millis(TOUCH_EVERY_MS))
    };
    if fs::metadata(path).and_then(|about| about.modified()).is_ok_and(is_old) {
        let _ = File::options().write(true).open(path).and_then(|file| file.set_modified(now));
    }
}
