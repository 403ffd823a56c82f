//! How blocks stand in a file: a header with the model's fingerprint, then records.
//!
//! A record is a head and a payload. The head begins with a mark and ends with a checksum of its own, so that behind damage the
//! next record is found again; the payload has one over fingerprint, key and bytes, so that nothing is believed that was not
//! written for this key and this model. Called by `disk`.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use crate::kv::key::BlockKey;

const MAGIC: &[u8; 8] = b"BULKV\0\0\x02";
/// Beginning of each record.
const MARK: &[u8; 4] = b"\xb7kv\x9e";
/// Magic, fingerprint, checksum of both.
pub(super) const HEADER: u64 = 8 + 32 + 8;
/// Mark, length, key, checksum of the payload, checksum of all these.
pub(super) const HEAD: usize = 4 + 4 + 32 + 16 + 8;
/// Longest payload that is believed.
pub(super) const PAYLOAD_MAX: u32 = 1 << 30;
/// Bytes read at a time where the next record is looked for.
const CHUNK: u64 = 1 << 16;

/// What a record says about its payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub key: BlockKey,
    pub len: u32,
    pub checksum: [u8; 16],
}

/// What a file begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Beginning {
    /// The header of this model.
    Own,
    /// That of another model, precision or format.
    Foreign,
    /// None that is whole.
    Damaged,
}

/// The format, for one model.
#[derive(Debug)]
pub(super) struct Format {
    fingerprint: [u8; 32],
    /// Of the heads' checksums: a head of another model is none.
    head_key: [u8; 32],
}

impl Format {
    /// For the model of `fingerprint`.
    pub fn new(fingerprint: [u8; 32]) -> Self {
        Self { fingerprint, head_key: blake3::derive_key("bul-engine kv record head v2", &fingerprint) }
    }

    /// What a file begins with.
    pub fn header(&self) -> [u8; HEADER as usize] {
        let mut out = [0; HEADER as usize];
        out[..8].copy_from_slice(MAGIC);
        out[8..40].copy_from_slice(&self.fingerprint);
        let own = header_checksum(&out);
        out[40..].copy_from_slice(&own);
        out
    }

    /// Whose the file is that begins with `header`.
    pub fn beginning(&self, header: &[u8; HEADER as usize]) -> Beginning {
        if *header == self.header() {
            Beginning::Own
        } else if header[40..] == header_checksum(header) {
            Beginning::Foreign
        } else {
            Beginning::Damaged
        }
    }

    /// The head of the record of `block`, which has at most [`PAYLOAD_MAX`] bytes.
    pub fn head(&self, key: BlockKey, block: &[u8]) -> Head {
        Head { key, len: block.len() as u32, checksum: self.checksum(&key, block) }
    }

    /// A record's bytes.
    pub fn record(&self, head: &Head, block: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD + block.len());
        out.extend_from_slice(MARK);
        out.extend_from_slice(&head.len.to_le_bytes());
        out.extend_from_slice(head.key.as_bytes());
        out.extend_from_slice(&head.checksum);
        let own = self.head_checksum(&out);
        out.extend_from_slice(&own);
        out.extend_from_slice(block);
        out
    }

    /// Checksum of a payload.
    pub fn checksum(&self, key: &BlockKey, payload: &[u8]) -> [u8; 16] {
        let mut hasher = blake3::Hasher::new_keyed(&self.fingerprint);
        hasher.update(key.as_bytes());
        hasher.update(payload);
        let mut out = [0; 16];
        out.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        out
    }

    /// The head that stands at `at`, whose payload ends within `size`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn head_at(&self, file: &mut File, at: u64, size: u64) -> io::Result<Option<Head>> {
        if at + HEAD as u64 > size {
            return Ok(None);
        }
        let mut bytes = [0; HEAD];
        read_at(file, at, &mut bytes)?;
        Ok(self.parse(&bytes).filter(|head| end(at, head) <= size))
    }

    /// The first head that begins within `range` and whose payload ends within `size`, and where it stands.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn find(&self, file: &mut File, range: Range<u64>, size: u64) -> io::Result<Option<(u64, Head)>> {
        let Range { start: mut from, end: to } = range;
        let mut chunk = Vec::new();
        while from < to && from + HEAD as u64 <= size {
            // Longer by a head than the places that are looked at, so that none lies across its end.
            chunk.resize((size - from).min(CHUNK + HEAD as u64) as usize, 0);
            read_at(file, from, &mut chunk)?;
            let places = ((to - from) as usize).min(chunk.len() - HEAD + 1);
            for (at, bytes) in chunk.windows(HEAD).take(places).enumerate() {
                let at = from + at as u64;
                if bytes.starts_with(MARK)
                    && let Some(head) = bytes.first_chunk().and_then(|bytes| self.parse(bytes))
                    && end(at, &head) <= size
                {
                    return Ok(Some((at, head)));
                }
            }
            from += places as u64;
        }
        Ok(None)
    }

    fn parse(&self, bytes: &[u8; HEAD]) -> Option<Head> {
        let (before, own) = bytes.split_last_chunk::<8>()?;
        let (len, rest) = before.strip_prefix(MARK)?.split_first_chunk::<4>()?;
        let (key, rest) = rest.split_first_chunk::<32>()?;
        let head = Head {
            key: BlockKey::from_bytes(*key),
            len: u32::from_le_bytes(*len),
            checksum: *rest.first_chunk()?,
        };
        (*own == self.head_checksum(before) && head.len <= PAYLOAD_MAX).then_some(head)
    }

    fn head_checksum(&self, bytes: &[u8]) -> [u8; 8] {
        first_eight(blake3::keyed_hash(&self.head_key, bytes))
    }
}

/// Reads as many bytes as there is room for.
pub(super) fn read_at(file: &mut File, at: u64, bytes: &mut [u8]) -> io::Result<()> {
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(bytes)
}

/// Where the record ends whose head stands at `at`.
fn end(at: u64, head: &Head) -> u64 {
    at + HEAD as u64 + u64::from(head.len)
}

/// Checksum of magic and fingerprint; the same in every version, so that an older file is known as such.
fn header_checksum(header: &[u8; HEADER as usize]) -> [u8; 8] {
    let mut hasher = blake3::Hasher::new_derive_key("bul-engine kv segment v1");
    hasher.update(&header[..40]);
    first_eight(hasher.finalize())
}

fn first_eight(hash: blake3::Hash) -> [u8; 8] {
    let mut out = [0; 8];
    out.copy_from_slice(&hash.as_bytes()[..8]);
    out
}
