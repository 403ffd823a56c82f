//! Making and reading keys.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bul_job::{TenantId, Timestamp};
use bul_store::{ApiKey, Permission};
use rand::Rng;
use subtle::ConstantTimeEq;

const PREFIX: &str = "bul_";
/// Random bytes of the public id.
const ID_BYTES: usize = 6;
/// Random bytes of the secret.
const SECRET_BYTES: usize = 32;
/// Longest key that is hashed.
const KEY_BYTES_MAX: usize = 128;

/// A key just made. The text is shown to its owner once and kept nowhere.
pub struct NewKey {
    /// What the store keeps.
    pub key: ApiKey,
    /// The key itself: `bul_<id>_<secret>`.
    pub text: String,
}

impl std::fmt::Debug for NewKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("NewKey").field("id", &self.key.id).finish_non_exhaustive()
    }
}

/// Makes a key from the random numbers of the operating system's generator (by way of `rand`).
pub fn generate_key(name: &str, tenant: TenantId, permission: Permission, now: Timestamp) -> NewKey {
    let mut id = [0; ID_BYTES];
    let mut secret = [0; SECRET_BYTES];
    let mut rng = rand::rng();
    rng.fill_bytes(&mut id);
    rng.fill_bytes(&mut secret);
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    let text = format!("{PREFIX}{id}_{}", URL_SAFE_NO_PAD.encode(secret));
    let key = ApiKey {
        hash: hash_key(&text),
        id,
        name: name.to_owned(),
        tenant,
        permission,
        created_at: now,
        revoked_at: None,
    };
    NewKey { key, text }
}

/// blake3 of the whole key, so that the id in it cannot be exchanged.
pub fn hash_key(text: &str) -> [u8; 32] {
    *blake3::hash(text.as_bytes()).as_bytes()
}

/// The public id in a key; `None` for what cannot be a key.
pub(super) fn id_of(text: &str) -> Option<&str> {
    let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
    let secret_ok = secret.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    (text.len() <= KEY_BYTES_MAX && !id.is_empty() && !secret.is_empty() && secret_ok).then_some(id)
}

/// Equality whose time does not depend on where two hashes differ.
pub(super) fn same(a: &[u8; 32], b: &[u8; 32]) -> bool {
    a.ct_eq(b).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_an_id_and_a_secret_and_show_neither_by_accident() {
        let now = "2026-11-16T09:00:00Z".parse().unwrap();
        let made = generate_key("ci", TenantId::default_tenant(), Permission::Submit, now);
        assert_eq!(id_of(&made.text), Some(made.key.id.as_str()));
        assert_eq!(made.key.hash, hash_key(&made.text));
        assert_eq!(made.text.len(), "bul_".len() + 12 + 1 + 43);
        let secret = made.text.rsplit('_').next().unwrap();
        assert!(!format!("{made:?}").contains(secret));
        let other = generate_key("ci", TenantId::default_tenant(), Permission::Submit, now);
        assert_ne!(made.text, other.text);
    }

    #[test]
    fn what_is_no_key_has_no_id() {
        for bad in [
            "",
            "bul_",
            "bul_x",
            "bul__y",
            "bul_x_",
            "key_x_y",
            "bul_x_a b",
            &format!("bul_x_{}", "a".repeat(200)),
        ] {
            assert_eq!(id_of(bad), None, "{bad}");
        }
    }
}
