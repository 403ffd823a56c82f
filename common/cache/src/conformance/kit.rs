//! What the cases and the tests share.

use std::time::Duration;

use crate::{Entry, Fingerprint, Key, KeyParts, Meta, Owner, SamplingPart, Tier};

/// Long enough never to end during a test.
pub const LONG: Duration = Duration::from_secs(3600);
/// Time within which something must have happened; the machine may be busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The key with a number.
pub fn key(n: u64) -> Key {
    let model = Fingerprint::new("model", "1").expect("it has a name");
    let sampling = SamplingPart { tokens_max: n, temperature: 0.0, top_p: 1.0, seed: 0 };
    let owner = Owner::Tenant("acme");
    let parts = KeyParts { model, owner, messages: &[], sampling, stop: &[], constraint: None };
    parts.key().expect("all parts are there")
}

/// An entry with a text.
pub fn entry(text: impl Into<bytes::Bytes>) -> Entry {
    Entry {
        body: text.into(),
        meta: Meta { mark: 3, prompt_tokens: 100, output_tokens: 20, compute_ms: 900 },
    }
}

/// Bytes that no compression makes shorter.
pub fn noise(bytes: usize) -> Vec<u8> {
    let mut noise = vec![0; bytes];
    blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut noise);
    noise
}

/// The text under a key, if there is one.
pub async fn text(tier: &dyn Tier, key: &Key) -> Option<bytes::Bytes> {
    tier.get(key).await.map(|hit| hit.entry.body)
}

/// Asks again and again until it is so.
///
/// # Panics
/// When it is not so in time.
pub async fn eventually(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let end = tokio::time::Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(tokio::time::Instant::now() < end, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
