//! Callers seen a moment ago, so that each request does not cost a query.
//!
//! Only valid keys are kept: made-up ones cannot push them out. A revoked key works on for at most
//! [`KEPT_FOR`].

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Caller;

/// How long an entry is believed. Too high: revoking a key takes effect late.
const KEPT_FOR: Duration = Duration::from_secs(5);
/// Entries at most.
const ENTRIES_MAX: usize = 1_024;

#[derive(Default)]
pub(super) struct Cache {
    entries: Mutex<HashMap<[u8; 32], (Instant, Caller)>>,
}

impl Cache {
    pub(super) fn get(&self, hash: &[u8; 32]) -> Option<Caller> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, caller) = entries.get(hash)?;
        (at.elapsed() < KEPT_FOR).then(|| caller.clone())
    }

    pub(super) fn put(&self, hash: [u8; 32], caller: Caller) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= ENTRIES_MAX {
            entries.retain(|_, (at, _)| at.elapsed() < KEPT_FOR);
        }
        // Still full of fresh ones: forgetting all costs each key one query.
        if entries.len() >= ENTRIES_MAX {
            entries.clear();
        }
        entries.insert(hash, (Instant::now(), caller));
    }
}

#[cfg(test)]
mod tests {
    use bul_job::TenantId;
    use bul_store::Permission;

    use super::*;

    #[test]
    fn the_cache_is_bounded() {
        let cache = Cache::default();
        let caller = Caller {
            key_id: "x".into(),
            name: "x".into(),
            tenant: TenantId::default_tenant(),
            permission: Permission::Read,
        };
        for n in 0..3_000_u32 {
            let mut hash = [0; 32];
            hash[..4].copy_from_slice(&n.to_le_bytes());
            cache.put(hash, caller.clone());
            assert_eq!(cache.get(&hash), Some(caller.clone()));
        }
        assert!(cache.entries.lock().unwrap().len() <= ENTRIES_MAX);
    }
}
