//! Evicted blocks in append-only files.
//!
//! A segment is a file of records (`records`). A scan finds what was written, goes on behind damage at the next record, and cuts
//! off what a crash has left unfinished at the end. When the files grow too large the oldest goes. Invariant: what is given back
//! was written for this key and this model. A disk that fails costs cache and nothing else: it is left alone for a while and
//! then tried again.

#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::records::{Beginning, Format, HEAD, HEADER, Head, PAYLOAD_MAX, read_at};
use crate::kv::key::{BlockKey, KeyMap};

/// Files that the space is divided into: one goes at a time.
const SEGMENTS: u64 = 8;
/// How long nothing is written after a write has failed: a full disk would fail each time, and each time costs the engine's own
/// time and, for a moment, the last room of whoever else writes there.
const REST: Duration = Duration::from_secs(5);

/// Where a block lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    segment: u64,
    at: u64,
    len: u32,
    checksum: [u8; 16],
}

impl Place {
    /// Of the payload whose head stands at `at`.
    fn behind(head: &Head, segment: u64, at: u64) -> Self {
        Self { segment, at: at + HEAD as u64, len: head.len, checksum: head.checksum }
    }

    fn end(&self) -> u64 {
        self.at + u64::from(self.len)
    }
}

#[derive(Debug)]
struct Segment {
    number: u64,
    path: PathBuf,
    file: File,
    len: u64,
}

/// What became of blocks at the files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct DiskCounts {
    /// Appended.
    pub written: u64,
    /// Not appended, since the write failed.
    pub failed: u64,
    /// Could not be read back.
    pub unreadable: u64,
    /// Read back, but not what was written.
    pub damaged: u64,
    /// The last write has failed.
    pub is_failing: bool,
}

/// Blocks in files.
#[derive(Debug)]
pub(crate) struct Disk {
    directory: PathBuf,
    format: Format,
    /// Oldest first; the last one is written to.
    segments: Vec<Segment>,
    index: KeyMap<Place>,
    bytes_max: u64,
    /// Held while these files are in use; the system lets go of it when the process ends.
    _lock: File,
    /// Set by a failed write, until one succeeds: when the next may be tried.
    rests_until: Option<Instant>,
    /// The last read has failed: a disk that is gone must not fill the log.
    reads_fail: bool,
    counts: DiskCounts,
}

impl Disk {
    /// Opens `directory` for the model of `fingerprint`, and finds again what was written there.
    /// Files of other models are removed, unreadable ones left alone.
    ///
    /// # Errors
    /// When the directory cannot be made, read or written to, or another engine uses it.
    pub fn open(directory: &Path, fingerprint: [u8; 32], bytes_max: u64) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let lock =
            OpenOptions::new().write(true).create(true).truncate(false).open(directory.join("lock"))?;
        if lock.try_lock().is_err() {
            // Two writers would cut each other's files.
            let reason = format!("{} is in use by another engine", directory.display());
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, reason));
        }
        let mut disk = Self {
            directory: directory.into(),
            format: Format::new(fingerprint),
            segments: Vec::new(),
            index: KeyMap::default(),
            bytes_max,
            _lock: lock,
            rests_until: None,
            reads_fail: false,
            counts: DiskCounts::default(),
        };
        for (number, path) in files(directory)? {
            match disk.scan(number, &path) {
                Ok(true) => {}
                Ok(false) => remove(&path),
                // A bad sector must not keep a worker from starting.
                Err(error) => {
                    tracing::warn!(%error, path = %path.display(), "a file of KV blocks cannot be read");
                }
            }
        }
        disk.shrink(0);
        Ok(disk)
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.len).sum()
    }

    /// What was done since it was opened.
    pub fn counts(&self) -> DiskCounts {
        DiskCounts { is_failing: self.rests_until.is_some(), ..self.counts }
    }

    /// Whether a write would be tried now.
    pub fn is_writable(&self) -> bool {
        self.rests_until.is_none_or(|until| until <= Instant::now())
    }

    /// Length of the block of `key`, when it is here.
    pub fn find(&self, key: &BlockKey) -> Option<usize> {
        self.index.get(key).map(|place| place.len as usize)
    }

    /// The block of `key`, if it is whole. One that is not is forgotten.
    pub fn get(&mut self, key: &BlockKey) -> Option<Vec<u8>> {
        while let Some(place) = self.index.get(key).copied() {
            match self.read(place) {
                Ok(bytes) if self.format.checksum(key, &bytes) == place.checksum => {
                    self.reads_fail = false;
                    return Some(bytes);
                }
                Ok(_) => {
                    tracing::warn!(segment = place.segment, at = place.at, "a cached KV block is damaged");
                    self.counts.damaged += 1;
                    self.index.remove(key);
                    self.rescue(place);
                }
                Err(error) => {
                    if !std::mem::replace(&mut self.reads_fail, true) {
                        tracing::warn!(%error, directory = %self.directory.display(), "KV blocks cannot be read");
                    }
                    self.counts.unreadable += 1;
                    self.index.remove(key);
                }
            }
        }
        None
    }

    /// Drops what turned out to be unreadable.
    pub fn remove(&mut self, key: &BlockKey) {
        self.index.remove(key);
    }

    /// Appends a block. A failure is logged and lets all writing rest for a while: this is a cache.
    pub fn put(&mut self, key: BlockKey, block: &[u8]) {
        if self.index.contains_key(&key) || !self.is_writable() {
            return;
        }
        match self.append(key, block) {
            Ok(false) => {}
            Ok(true) => {
                self.counts.written += 1;
                if self.rests_until.take().is_some() {
                    tracing::info!(directory = %self.directory.display(), "KV blocks are written again");
                }
            }
            Err(error) => {
                self.counts.failed += 1;
                if self.rests_until.replace(Instant::now() + REST).is_none() {
                    tracing::warn!(%error, directory = %self.directory.display(), "KV blocks are not written for now");
                }
            }
        }
    }

    /// True when it was written; false when it is too large for these files.
    fn append(&mut self, key: BlockKey, block: &[u8]) -> io::Result<bool> {
        let record = (HEAD + block.len()) as u64;
        let segment_max = self.bytes_max / SEGMENTS;
        if record + HEADER > segment_max || block.len() as u64 > u64::from(PAYLOAD_MAX) {
            return Ok(false);
        }
        if self.segments.last().is_none_or(|s| s.len + record > segment_max) {
            self.shrink(segment_max);
            self.add_segment()?;
        }
        let head = self.format.head(key, block);
        let Some(segment) = self.segments.last_mut() else { return Ok(false) };
        segment.file.seek(SeekFrom::Start(segment.len))?;
        if let Err(error) = segment.file.write_all(&self.format.record(&head, block)) {
            // What was written of it must not stand between later records, nor take the room of others.
            let _ = segment.file.set_len(segment.len);
            return Err(error);
        }
        self.index.insert(key, Place::behind(&head, segment.number, segment.len));
        segment.len += record;
        Ok(true)
    }

    fn add_segment(&mut self) -> io::Result<()> {
        let number = self.segments.last().map_or(0, |s| s.number + 1);
        let path = self.directory.join(format!("kv-{number:010}.seg"));
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        if let Err(error) = file.write_all(&self.format.header()) {
            remove(&path);
            return Err(error);
        }
        self.segments.push(Segment { number, path, file, len: HEADER });
        Ok(())
    }

    /// Removes the oldest files until `spare` bytes are left of the space.
    fn shrink(&mut self, spare: u64) {
        while !self.segments.is_empty() && self.bytes() + spare > self.bytes_max {
            let oldest = self.segments.remove(0);
            self.index.retain(|_, place| place.segment != oldest.number);
            remove(&oldest.path);
        }
    }

    /// Reads a segment's records into the index and cuts off what stands behind the last one; false when there is none of this
    /// model's.
    fn scan(&mut self, number: u64, path: &Path) -> io::Result<bool> {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let size = file.metadata()?.len();
        if size < HEADER {
            return Ok(false);
        }
        let mut header = [0; HEADER as usize];
        read_at(&mut file, 0, &mut header)?;
        let from = match self.format.beginning(&header) {
            Beginning::Own => HEADER,
            Beginning::Foreign => return Ok(false),
            // Whose records they are is seen on each.
            Beginning::Damaged => 0,
        };
        self.segments.push(Segment { number, path: path.into(), file, len: size });
        let end = self.scan_records(from)?;
        if end == 0 {
            self.segments.pop();
            return Ok(false);
        }
        if let Some(segment) = self.segments.last_mut().filter(|_| end < size) {
            segment.file.set_len(end)?;
            segment.len = end;
        }
        Ok(true)
    }

    /// Reads the records of the last segment from `from` on; where the last one ends.
    ///
    /// Where no record begins at the end of the one before, bytes were changed, lost or put in, there or in that one's payload.
    /// So the next is looked for from the beginning of that payload on: what still stands whole is found.
    fn scan_records(&mut self, from: u64) -> io::Result<u64> {
        let (mut at, mut look_from, mut end) = (from, from, from);
        while let Some(Segment { number, file, len, .. }) = self.segments.last_mut().filter(|s| at < s.len) {
            let next = match self.format.head_at(file, at, *len)? {
                Some(head) => Some((at, head)),
                None => self.format.find(file, look_from..*len, *len)?,
            };
            let Some((start, head)) = next else { break };
            let place = Place::behind(&head, *number, start);
            look_from = place.at;
            if self.admit(head.key, place) {
                at = place.end();
                end = end.max(at);
            } else {
                at = look_from;
            }
        }
        Ok(end)
    }

    /// Takes a record into the index. When there is another of its key, the first one was damaged and written anew, or damage
    /// has copied one: the later one counts if it is whole, and otherwise where it ends is not known either.
    fn admit(&mut self, key: BlockKey, place: Place) -> bool {
        let Some(old) = self.index.get(&key).copied() else {
            self.index.insert(key, place);
            return true;
        };
        if !self.is_whole(&key, place) {
            return false;
        }
        let was_whole = self.is_whole(&key, old);
        self.index.insert(key, place);
        if !was_whole {
            self.rescue(old);
        }
        true
    }

    /// Finds records that lie where a damaged payload was believed to be: bytes of it are missing, and what followed has moved up.
    fn rescue(&mut self, damaged: Place) {
        let Some(segment) = self.segments.iter_mut().find(|s| s.number == damaged.segment) else { return };
        let mut from = damaged.at;
        while let Ok(Some((at, head))) = self.format.find(&mut segment.file, from..damaged.end(), segment.len)
        {
            let place = Place::behind(&head, damaged.segment, at);
            self.index.entry(head.key).or_insert(place);
            from = place.at;
        }
    }

    fn is_whole(&mut self, key: &BlockKey, place: Place) -> bool {
        self.read(place).is_ok_and(|bytes| self.format.checksum(key, &bytes) == place.checksum)
    }

    fn read(&mut self, place: Place) -> io::Result<Vec<u8>> {
        let segment = self.segments.iter_mut().find(|s| s.number == place.segment);
        let segment = segment.ok_or(io::ErrorKind::NotFound)?;
        let mut bytes = vec![0; place.len as usize];
        read_at(&mut segment.file, place.at, &mut bytes)?;
        Ok(bytes)
    }
}

/// Segments in `directory` with their numbers, the oldest first.
fn files(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
        let number = name.strip_prefix("kv-").and_then(|n| n.strip_suffix(".seg"));
        if let Some(number) = number.and_then(|n| n.parse::<u64>().ok()) {
            found.push((number, path));
        }
    }
    found.sort();
    Ok(found)
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path) {
        tracing::warn!(%error, path = %path.display(), "a file of KV blocks cannot be removed");
    }
}
