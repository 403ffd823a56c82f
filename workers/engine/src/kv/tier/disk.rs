//! Evicted blocks in append-only files.
//!
//! A segment is a header with the model's fingerprint, then records. Each record's head has a
//! checksum of its own, so that a scan after a crash stops at the first torn record and cuts the
//! file there; each payload has one over fingerprint, key and bytes, so that nothing is read that
//! was not written for this key and this model. When the files grow too large the oldest goes.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::kv::key::{BlockKey, KeyMap};

const MAGIC: &[u8; 8] = b"BULKV\0\0\x01";
/// Magic, fingerprint, checksum of both.
const HEADER: u64 = 8 + 32 + 8;
/// Length, key, checksum of the payload, checksum of all these.
const HEAD: usize = 4 + 32 + 16 + 8;
/// Longest payload that is believed.
const PAYLOAD_MAX: u32 = 1 << 30;
/// Files that the space is divided into: one goes at a time.
const SEGMENTS: u64 = 8;

/// Where a block lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    segment: u64,
    at: u64,
    len: u32,
    checksum: [u8; 16],
}

#[derive(Debug)]
struct Segment {
    number: u64,
    path: PathBuf,
    file: File,
    len: u64,
}

/// Blocks in files.
#[derive(Debug)]
pub(crate) struct Disk {
    directory: PathBuf,
    fingerprint: [u8; 32],
    /// Oldest first; the last one is written to.
    segments: Vec<Segment>,
    index: KeyMap<Place>,
    bytes_max: u64,
    /// Held while these files are in use; the system lets go of it when the process ends.
    _lock: File,
    /// After a failed write only reads go on: a full disk would fail each time.
    broken: bool,
}

impl Disk {
    /// Opens `directory` for the model of `fingerprint`, and finds again what was written there.
    /// Files of other models and unreadable ones are removed.
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
        let mut disk = Self {
            directory: directory.into(),
            fingerprint,
            segments: Vec::new(),
            index: KeyMap::default(),
            bytes_max,
            _lock: lock,
            broken: false,
        };
        for (number, path) in found {
            if !disk.scan(number, &path)? {
                std::fs::remove_file(&path)?;
            }
        }
        disk.shrink(0);
        Ok(disk)
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.len).sum()
    }

    /// Length of the block of `key`, when it is here.
    pub fn find(&self, key: &BlockKey) -> Option<usize> {
        self.index.get(key).map(|place| place.len as usize)
    }

    /// The block of `key`, if it is whole. One that is not is forgotten.
    pub fn get(&mut self, key: &BlockKey) -> Option<Vec<u8>> {
        let place = *self.index.get(key)?;
        let segment = self.segments.iter_mut().find(|s| s.number == place.segment)?;
        let mut bytes = vec![0; place.len as usize];
        let read =
            segment.file.seek(SeekFrom::Start(place.at)).and_then(|_| segment.file.read_exact(&mut bytes));
        if read.is_ok() && checksum(&self.fingerprint, key, &bytes) == place.checksum {
            return Some(bytes);
        }
        tracing::warn!(path = %segment.path.display(), at = place.at, "a cached KV block is damaged");
        self.index.remove(key);
        None
    }

    /// Drops what turned out to be unreadable.
    pub fn remove(&mut self, key: &BlockKey) {
        self.index.remove(key);
    }

    /// Appends a block. Failures are logged and end all writing: this is a cache.
    pub fn put(&mut self, key: BlockKey, block: &[u8]) {
        if self.broken || self.index.contains_key(&key) {
            return;
        }
        if let Err(error) = self.append(key, block) {
            tracing::warn!(%error, directory = %self.directory.display(), "KV blocks are no longer written");
            self.broken = true;
        }
    }

    fn append(&mut self, key: BlockKey, block: &[u8]) -> io::Result<()> {
        let record = (HEAD + block.len()) as u64;
        let segment_max = self.bytes_max / SEGMENTS;
        if record + HEADER > segment_max || block.len() as u64 > u64::from(PAYLOAD_MAX) {
            return Ok(());
        }
        if self.segments.last().is_none_or(|s| s.len + record > segment_max) {
            self.shrink(segment_max);
            self.add_segment()?;
        }
        let checksum = checksum(&self.fingerprint, &key, block);
        let Some(segment) = self.segments.last_mut() else { return Ok(()) };
        let mut bytes = head(&key, block.len() as u32, &checksum).to_vec();
        bytes.extend_from_slice(block);
        segment.file.seek(SeekFrom::Start(segment.len))?;
        if let Err(error) = segment.file.write_all(&bytes) {
            // What was written of it must not stand between later records.
            let _ = segment.file.set_len(segment.len);
            return Err(error);
        }
        let at = segment.len + HEAD as u64;
        segment.len += record;
        let place = Place { segment: segment.number, at, len: block.len() as u32, checksum };
        self.index.insert(key, place);
        Ok(())
    }

    fn add_segment(&mut self) -> io::Result<()> {
        let number = self.segments.last().map_or(0, |s| s.number + 1);
        let path = self.directory.join(format!("kv-{number:010}.seg"));
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        file.write_all(&header(&self.fingerprint))?;
        self.segments.push(Segment { number, path, file, len: HEADER });
        Ok(())
    }

    /// Removes the oldest files until `spare` bytes are left of the space.
    fn shrink(&mut self, spare: u64) {
        while !self.segments.is_empty() && self.bytes() + spare > self.bytes_max {
            let oldest = self.segments.remove(0);
            self.index.retain(|_, place| place.segment != oldest.number);
            if let Err(error) = std::fs::remove_file(&oldest.path) {
                tracing::warn!(%error, path = %oldest.path.display(), "a file of KV blocks cannot be removed");
            }
        }
    }

    /// Reads a segment's records into the index and cuts it at the first torn one; false when it
    /// is none of this model's.
    fn scan(&mut self, number: u64, path: &Path) -> io::Result<bool> {
        let mut file = OpenOptions::new().read(true).write(true).open(path)?;
        let size = file.metadata()?.len();
        let mut expected = [0; HEADER as usize];
        if size < HEADER {
            return Ok(false);
        }
        file.read_exact(&mut expected)?;
        if expected != header(&self.fingerprint) {
            return Ok(false);
        }
        let mut at = HEADER;
        let mut bytes = [0; HEAD];
        while at + HEAD as u64 <= size {
            file.seek(SeekFrom::Start(at))?;
            file.read_exact(&mut bytes)?;
            let Some((key, len, checksum)) = parse_head(&bytes) else { break };
            let end = at + HEAD as u64 + u64::from(len);
            if end > size {
                break;
            }
            self.index.insert(key, Place { segment: number, at: at + HEAD as u64, len, checksum });
            at = end;
        }
        if at < size {
            file.set_len(at)?;
        }
        self.segments.push(Segment { number, path: path.into(), file, len: at });
        Ok(true)
    }
}

fn short(parts: &[&[u8]]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new_derive_key("bul-engine kv segment v1");
    for part in parts {
        hasher.update(part);
    }
    let mut out = [0; 8];
    out.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    out
}

fn header(fingerprint: &[u8; 32]) -> [u8; HEADER as usize] {
    let mut out = [0; HEADER as usize];
    out[..8].copy_from_slice(MAGIC);
    out[8..40].copy_from_slice(fingerprint);
    out[40..].copy_from_slice(&short(&[MAGIC, fingerprint]));
    out
}

fn checksum(fingerprint: &[u8; 32], key: &BlockKey, payload: &[u8]) -> [u8; 16] {
    let mut hasher = blake3::Hasher::new_keyed(fingerprint);
    hasher.update(key.as_bytes());
    hasher.update(payload);
    let mut out = [0; 16];
    out.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
    out
}

fn head(key: &BlockKey, len: u32, checksum: &[u8; 16]) -> [u8; HEAD] {
    let mut out = [0; HEAD];
    out[..4].copy_from_slice(&len.to_le_bytes());
    out[4..36].copy_from_slice(key.as_bytes());
    out[36..52].copy_from_slice(checksum);
    let own = short(&[&out[..52]]);
    out[52..].copy_from_slice(&own);
    out
}

fn parse_head(bytes: &[u8; HEAD]) -> Option<(BlockKey, u32, [u8; 16])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let (key, rest) = rest.split_first_chunk::<32>()?;
    let (checksum, own) = rest.split_first_chunk::<16>()?;
    let len = u32::from_le_bytes(*len);
    (own == short(&[&bytes[..52]]) && len <= PAYLOAD_MAX)
        .then(|| (BlockKey::from_bytes(*key), len, *checksum))
}
