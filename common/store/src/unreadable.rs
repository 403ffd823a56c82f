//! Messages that nobody could read, and what makes two of them the same.

use bul_job::TenantId;

/// A message nobody could read.
#[derive(Debug, Clone)]
pub struct UnreadableMessage {
    /// Tenant of the credential or subject it came by.
    pub tenant: TenantId,
    /// Raw bytes.
    pub raw: Vec<u8>,
    /// The name its publisher gave it, where there is one: equal bytes under two names are two messages.
    pub message_id: Option<String>,
    /// Why it cannot be read.
    pub reason: String,
    /// Where it came from.
    pub source: String,
}

impl UnreadableMessage {
    /// What two deliveries of one message have in common: tenant, bytes, name. Each part is preceded by its
    /// length, so that no two messages give the same input.
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        let mut put = |part: &[u8]| {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        };
        put(self.tenant.as_str().as_bytes());
        put(&self.raw);
        if let Some(id) = &self.message_id {
            put(id.as_bytes());
        }
        *hasher.finalize().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_names_tenant_bytes_and_id() {
        let message = |tenant: &str, raw: &[u8], id: Option<&str>| UnreadableMessage {
            tenant: tenant.parse().unwrap(),
            raw: raw.to_vec(),
            message_id: id.map(Into::into),
            reason: "r".into(),
            source: "s".into(),
        };
        let all = [
            message("a", b"bc", None),
            message("ab", b"c", None),
            message("a", b"b", Some("c")),
            message("a", b"b", None),
            message("a", b"b", Some("")),
        ];
        let digests: std::collections::BTreeSet<_> = all.iter().map(UnreadableMessage::digest).collect();
        assert_eq!(digests.len(), all.len());
        let elsewhere = UnreadableMessage { reason: "x".into(), source: "y".into(), ..all[0].clone() };
        assert_eq!(elsewhere.digest(), all[0].digest());
    }
}
