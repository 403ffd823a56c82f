//! Compression of blocks outside the device's memory.
//!
//! Each packed block says how it was packed, so a tier reads what was written under other settings. Invariant: whatever
//! the bytes are, no more than the stated limit is allocated.

use serde::{Deserialize, Serialize};

/// Levels above take seconds per block and gain nothing on numbers.
const LEVEL_MAX: i32 = 19;
/// How it was packed, length before.
const HEAD: usize = 1 + 4;

/// How a tier packs its blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Compression {
    /// As they are.
    None,
    /// Fast both ways, and little gain.
    #[default]
    Lz4,
    /// Smaller and slower; for disks and networks.
    Zstd {
        /// 1 (fast) to 19 (small).
        level: i32,
    },
}

impl Compression {
    /// Forms of [`Self::parse`].
    pub const NAMES: [&str; 3] = ["none", "lz4", "zstd:1 to zstd:19"];

    /// `none`, `lz4`, or `zstd:3` with its level.
    pub fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            None if text == "none" => Some(Self::None),
            None if text == "lz4" => Some(Self::Lz4),
            Some(("zstd", level)) => {
                let level = level.parse().ok().filter(|level| (1..=LEVEL_MAX).contains(level))?;
                Some(Self::Zstd { level })
            }
            None | Some(_) => None,
        }
    }

    /// Packs the bytes of a block.
    pub(crate) fn pack(self, bytes: &[u8]) -> Vec<u8> {
        let (id, payload) = match self {
            Self::None => (0, None),
            Self::Lz4 => (1, Some(lz4_flex::compress(bytes))),
            Self::Zstd { level } => (2, zstd::bulk::compress(bytes, level.clamp(1, LEVEL_MAX)).ok()),
        };
        // What does not get smaller is kept as it is.
        let payload = payload.filter(|packed| packed.len() < bytes.len());
        let (id, payload) = payload.as_deref().map_or((0, bytes), |packed| (id, packed));
        let mut out = Vec::with_capacity(HEAD + payload.len());
        out.push(id);
        out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        out.extend_from_slice(payload);
        out
    }
}

/// The bytes of a packed block, when they are at most `bytes_max` and whole.
pub(crate) fn unpack(packed: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
    let (id, rest) = packed.split_first()?;
    let (len, payload) = rest.split_first_chunk::<4>()?;
    let len = u32::from_le_bytes(*len) as usize;
    // Before anything is allocated: a length that no block has is damage.
    if len > bytes_max {
        return None;
    }
    let bytes = match id {
        0 => payload.to_vec(),
        1 => lz4_flex::decompress(payload, len).ok()?,
        2 => zstd::bulk::decompress(payload, len).ok()?,
        _ => return None,
    };
    (bytes.len() == len).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read() {
        assert_eq!(Compression::parse("zstd:3"), Some(Compression::Zstd { level: 3 }));
        assert_eq!(Compression::parse("lz4"), Some(Compression::Lz4));
        assert_eq!(Compression::parse("none"), Some(Compression::None));
        for unknown in ["", "zstd", "zstd:0", "zstd:20", "zstd:x", "lz4:1", "gzip"] {
            assert_eq!(Compression::parse(unknown), None, "{unknown}");
        }
    }
    use proptest::prelude::*;

    const ALL: [Compression; 4] = [
        Compression::None,
        Compression::Lz4,
        Compression::Zstd { level: 1 },
        Compression::Zstd { level: 99 },
    ];

    proptest! {
        #[test]
        fn any_bytes_come_back(bytes in proptest::collection::vec(0u8..5, 0..2000), noise in proptest::collection::vec(any::<u8>(), 0..300)) {
            let bytes = [bytes, noise].concat();
            for compression in ALL {
                let packed = compression.pack(&bytes);
                prop_assert!(packed.len() <= HEAD + bytes.len());
                prop_assert_eq!(unpack(&packed, bytes.len()), Some(bytes.clone()));
                prop_assert!(bytes.is_empty() || unpack(&packed, bytes.len() - 1).is_none(), "too large");
            }
        }

        #[test]
        fn damage_is_refused_or_harmless(
            bytes in proptest::collection::vec(0u8..3, 50..400),
            at in any::<prop::sample::Index>(),
            change in 1u8..255,
            garbage in proptest::collection::vec(any::<u8>(), 0..60),
        ) {
            for compression in ALL {
                let mut packed = compression.pack(&bytes);
                let at = at.index(packed.len());
                packed[at] ^= change;
                // A checksum stands around it; here it must only keep to the limit.
                prop_assert!(unpack(&packed, 400).is_none_or(|back| back.len() <= 400));
                prop_assert!(unpack(&packed[..at], 400).is_none_or(|back| back.len() <= 400));
            }
            prop_assert!(unpack(&garbage, 400).is_none_or(|back| back.len() <= 400));
        }
    }

    #[test]
    fn settings_are_read_as_written() {
        for (text, expected) in [
            ("\"none\"", Compression::None),
            ("\"lz4\"", Compression::Lz4),
            ("{\"zstd\": {\"level\": 3}}", Compression::Zstd { level: 3 }),
        ] {
            assert_eq!(serde_json::from_str::<Compression>(text).unwrap(), expected);
        }
        assert!(serde_json::from_str::<Compression>("{\"zstd\": {\"level\": 3, \"x\": 1}}").is_err());
    }
}
