//! What is cached: a finished text with what it cost, and its form on a wire or disk.
//!
//! Invariant: [`decode`] gives back exactly what [`encode`] was given, for the same key, or says that the bytes
//! are corrupt; it never panics and never reserves more memory than the limit. Called by the Redis and disk tiers.

use bytes::Bytes;

use crate::Key;

/// No option allows a larger text, bytes. Prose of one slot is a few KiB; a text beyond this is a mistake.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// A finished text.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Entry {
    /// The text.
    pub body: Bytes,
    /// Its facts.
    pub meta: Meta,
}

/// Facts beside the text: what is not spent again when it is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Meta {
    /// The caller's own mark, for example why the generation ended.
    pub mark: u8,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens generated.
    pub output_tokens: u32,
    /// Time it took, milliseconds.
    pub compute_ms: u32,
}

/// When an entry was written and until when it holds, milliseconds since 1970 by the writer's clock. Both 0 where
/// somebody else keeps the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stamp {
    pub(crate) written_ms: u64,
    pub(crate) expires_ms: u64,
}

/// Why bytes are no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Corrupt {
    #[error("shorter than its head")]
    Short,
    #[error("of another kind or version")]
    Version,
    #[error("not as long as it says")]
    Length,
    #[error("larger than the limit")]
    TooLarge,
    #[error("wrong checksum")]
    Checksum,
    #[error("not decompressed")]
    Compression,
}

/// `BULC`, then the version of the form below.
const MAGIC: [u8; 5] = *b"BULC\x01";
const COMPRESSED: u8 = 1;
/// Bytes before the checksum: magic 5, flags 1, mark 1, spare 1, length 4, stored length 4, three numbers of 4,
/// two stamps of 8.
const FACTS: usize = 44;
const CHECKSUM: usize = 16;
/// Bytes before the text.
pub(crate) const HEAD: usize = FACTS + CHECKSUM;

/// The most bytes an entry of a text of `value_bytes_max` can take: texts that do not shrink are kept as they are.
pub(crate) const fn encoded_max(value_bytes_max: usize) -> usize {
    HEAD + value_bytes_max
}

/// The form on a wire or disk. Texts from `compress_from` bytes on are compressed where that makes them shorter.
pub(crate) fn encode(key: &Key, entry: &Entry, stamp: Stamp, compress_from: usize) -> Vec<u8> {
    let packed = (entry.body.len() >= compress_from)
        .then(|| lz4_flex::block::compress(&entry.body))
        .filter(|packed| packed.len() < entry.body.len());
    let stored: &[u8] = packed.as_deref().unwrap_or(&entry.body);
    let mut bytes = Vec::with_capacity(HEAD + stored.len());
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&[if packed.is_some() { COMPRESSED } else { 0 }, entry.meta.mark, 0]);
    let meta = &entry.meta;
    let lengths = [entry.body.len() as u32, stored.len() as u32];
    for number in lengths.into_iter().chain([meta.prompt_tokens, meta.output_tokens, meta.compute_ms]) {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
    bytes.extend_from_slice(&stamp.written_ms.to_le_bytes());
    bytes.extend_from_slice(&stamp.expires_ms.to_le_bytes());
    let sum = checksum(key, &bytes, stored);
    bytes.extend_from_slice(&sum);
    bytes.extend_from_slice(stored);
    bytes
}

/// Reads the form back. The key is part of the checksum: an entry under another's name is corrupt too.
pub(crate) fn decode(key: &Key, bytes: &[u8], value_bytes_max: usize) -> Result<(Entry, Stamp), Corrupt> {
    let (facts, rest) = bytes.split_at_checked(FACTS).ok_or(Corrupt::Short)?;
    let (sum, stored) = rest.split_at_checked(CHECKSUM).ok_or(Corrupt::Short)?;
    let mut facts_left = Reader(facts);
    let (magic, [flags, mark, spare]) = (facts_left.take::<5>()?, facts_left.take::<3>()?);
    if magic != MAGIC || flags > COMPRESSED || spare != 0 {
        return Err(Corrupt::Version);
    }
    let (length, stored_length) = (facts_left.u32()? as usize, facts_left.u32()? as usize);
    if stored_length != stored.len() || (flags == 0 && length != stored_length) {
        return Err(Corrupt::Length);
    }
    if length > value_bytes_max {
        return Err(Corrupt::TooLarge);
    }
    if checksum(key, facts, stored) != *sum {
        return Err(Corrupt::Checksum);
    }
    let meta = Meta {
        mark,
        prompt_tokens: facts_left.u32()?,
        output_tokens: facts_left.u32()?,
        compute_ms: facts_left.u32()?,
    };
    let stamp = Stamp { written_ms: facts_left.u64()?, expires_ms: facts_left.u64()? };
    let body = if flags == COMPRESSED {
        let body = lz4_flex::block::decompress(stored, length).map_err(|_| Corrupt::Compression)?;
        if body.len() != length {
            return Err(Corrupt::Compression);
        }
        body
    } else {
        stored.to_vec()
    };
    Ok((Entry { body: body.into(), meta }, stamp))
}

fn checksum(key: &Key, facts: &[u8], stored: &[u8]) -> [u8; CHECKSUM] {
    let mut hash = blake3::Hasher::new();
    hash.update(key.bytes()).update(facts).update(stored);
    let mut sum = [0; CHECKSUM];
    hash.finalize_xof().fill(&mut sum);
    sum
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(Corrupt::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u32(&mut self) -> Result<u32, Corrupt> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Corrupt> {
        self.take().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::kit::key;
    use proptest::prelude::*;

    const MAX: usize = 4096;

    fn entry(body: Vec<u8>, mark: u8, numbers: [u32; 3]) -> Entry {
        let [prompt_tokens, output_tokens, compute_ms] = numbers;
        Entry { body: body.into(), meta: Meta { mark, prompt_tokens, output_tokens, compute_ms } }
    }

    fn body() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..MAX),
            (any::<u8>(), 0..MAX).prop_map(|(byte, n)| vec![byte; n]),
        ]
    }

    #[test]
    fn prose_shrinks_and_noise_does_not_grow() {
        let prose = "The invoice is due within thirty days of its date. ".repeat(40);
        let long = entry(prose.clone().into_bytes(), 0, [0; 3]);
        assert!(encode(&key(1), &long, Stamp::default(), 1024).len() < prose.len() / 4);
        assert_eq!(encode(&key(1), &long, Stamp::default(), usize::MAX).len(), prose.len() + HEAD);
        let noise: Vec<u8> =
            (0..2000_u32).flat_map(|n| blake3::hash(&n.to_le_bytes()).as_bytes()[..1].to_vec()).collect();
        assert_eq!(encode(&key(1), &entry(noise, 0, [0; 3]), Stamp::default(), 0).len(), 2000 + HEAD);
    }

    #[test]
    fn an_entry_under_another_key_is_corrupt() {
        let bytes = encode(&key(1), &Entry::default(), Stamp::default(), 0);
        assert!(decode(&key(1), &bytes, MAX).is_ok());
        assert_eq!(decode(&key(2), &bytes, MAX), Err(Corrupt::Checksum));
    }

    #[test]
    fn a_text_beyond_the_limit_is_not_unpacked() {
        let bytes = encode(&key(1), &entry(vec![7; MAX + 1], 0, [0; 3]), Stamp::default(), 0);
        assert_eq!(decode(&key(1), &bytes, MAX), Err(Corrupt::TooLarge));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            body in body(), mark: u8, numbers: [u32; 3], stamps: [u64; 2], compress_from in 0..MAX,
        ) {
            let entry = entry(body, mark, numbers);
            let stamp = Stamp { written_ms: stamps[0], expires_ms: stamps[1] };
            let bytes = encode(&key(3), &entry, stamp, compress_from);
            prop_assert!(bytes.len() <= encoded_max(entry.body.len()));
            prop_assert_eq!(decode(&key(3), &bytes, MAX), Ok((entry, stamp)));
        }

        #[test]
        fn any_damage_is_seen(body in body(), at: prop::sample::Index, bit in 0..8_u32, cut: prop::sample::Index) {
            let bytes = encode(&key(4), &entry(body, 9, [1, 2, 3]), Stamp::default(), 64);
            let mut flipped = bytes.clone();
            let at = at.index(flipped.len());
            flipped[at] ^= 1 << bit;
            prop_assert!(decode(&key(4), &flipped, MAX).is_err());
            prop_assert!(decode(&key(4), &bytes[..cut.index(bytes.len())], MAX).is_err());
            let longer = [bytes.as_slice(), &[0]].concat();
            prop_assert!(decode(&key(4), &longer, MAX).is_err());
        }

        #[test]
        fn noise_is_no_entry(noise in proptest::collection::vec(any::<u8>(), 0..256)) {
            prop_assert!(decode(&key(5), &noise, MAX).is_err());
            let headed = [MAGIC.as_slice(), &noise].concat();
            prop_assert!(decode(&key(5), &headed, MAX).is_err());
        }
    }
}
