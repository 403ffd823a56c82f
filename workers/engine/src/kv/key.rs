//! Keys of KV blocks: a chain of 256-bit digests.
//!
//! Invariant: two blocks have one key only when model, precision, sharing scope and every token
//! up to and including the block are the same. Short hashes are out of the question: a collision
//! would hand one customer's text to another. Called by `engine` at admission and when sealing.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

/// blake3-256 over (parent, scope, tokens).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlockKey([u8; 32]);

/// A map from keys, which are digests already: hashing them a second time would be most of a lookup.
pub(crate) type KeyMap<V> = HashMap<BlockKey, V, BuildHasherDefault<DigestHasher>>;

/// Takes the eight bytes that a key offers as they are.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct DigestHasher(u64);

impl Hasher for DigestHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, digest: u64) {
        self.0 = digest;
    }
}

impl Hash for BlockKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // Equality still compares all 256 bits; this only picks the place in a table.
        let mut first = [0; 8];
        first.copy_from_slice(&self.0[..8]);
        state.write_u64(u64::from_le_bytes(first));
    }
}

/// Who may match a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockScope<'a> {
    /// Everybody.
    Public,
    /// One tenant.
    Tenant(&'a str),
}

impl BlockKey {
    /// A key as it was written to a file.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Start of all chains of one model, KV precision and block size.
    pub fn root(fingerprint: &str, precision: &str, block_tokens: usize) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("bul-engine kv block chain v1");
        for part in [fingerprint, precision] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        hasher.update(&(block_tokens as u64).to_le_bytes());
        Self(hasher.finalize().into())
    }

    /// Key of the block that follows this one and holds `tokens`.
    pub fn child(&self, scope: BlockScope<'_>, tokens: &[u32]) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        match scope {
            BlockScope::Public => hasher.update(&[0]),
            BlockScope::Tenant(tenant) => {
                hasher.update(&[1]);
                // The length keeps the tenant's name and the tokens apart.
                hasher.update(&(tenant.len() as u64).to_le_bytes());
                hasher.update(tenant.as_bytes())
            }
        };
        for token in tokens {
            hasher.update(&token.to_le_bytes());
        }
        Self(hasher.finalize().into())
    }
}

/// Keys of all full blocks of `tokens`, of which the first `public_tokens` are the same for
/// everybody. A block that holds even one later token is the tenant's.
pub fn chain(
    root: BlockKey,
    block_tokens: usize,
    tokens: &[u32],
    public_tokens: usize,
    tenant: &str,
) -> Vec<BlockKey> {
    let mut parent = root;
    tokens
        .chunks_exact(block_tokens)
        .enumerate()
        .map(|(i, block)| {
            let public = (i + 1) * block_tokens <= public_tokens;
            let scope = if public { BlockScope::Public } else { BlockScope::Tenant(tenant) };
            parent = parent.child(scope, block);
            parent
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_ingredient_changes_the_key() {
        let root = BlockKey::root("m", "f32", 4);
        let key = root.child(BlockScope::Public, &[1, 2, 3, 4]);
        let others = [
            BlockKey::root("n", "f32", 4).child(BlockScope::Public, &[1, 2, 3, 4]),
            BlockKey::root("m", "q8", 4).child(BlockScope::Public, &[1, 2, 3, 4]),
            BlockKey::root("m", "f32", 8).child(BlockScope::Public, &[1, 2, 3, 4]),
            root.child(BlockScope::Tenant(""), &[1, 2, 3, 4]),
            root.child(BlockScope::Tenant("a"), &[1, 2, 3, 4]),
            root.child(BlockScope::Public, &[1, 2, 3, 5]),
            key.child(BlockScope::Public, &[1, 2, 3, 4]),
        ];
        assert!(others.iter().all(|other| *other != key));
    }

    proptest! {
        #[test]
        fn tenants_share_public_blocks_and_nothing_else(
            tokens in proptest::collection::vec(0u32..4, 0..80),
            public in 0usize..80,
            block in 1usize..9,
            a in "[a-c]{1,3}",
            b in "[a-c]{1,3}",
        ) {
            prop_assume!(a != b);
            let root = BlockKey::root("m", "f32", block);
            let of_a = chain(root, block, &tokens, public, &a);
            let of_b = chain(root, block, &tokens, public, &b);
            prop_assert_eq!(of_a.len(), tokens.len() / block);
            for (i, (x, y)) in of_a.iter().zip(&of_b).enumerate() {
                prop_assert_eq!(x == y, (i + 1) * block <= public);
            }
        }
    }
}
