//! API keys: who calls, for which tenant, with which permission.
//!
//! A key is `bul_<id>_<secret>` and comes in `Authorization: Bearer …` only, never in a URL, where
//! logs would keep it. The store holds its blake3 hash; 256 random bits need no slow hash. Tenant
//! and permission come from the key alone, never from the request.

mod cache;
mod key;

use std::sync::Arc;

use axum::http::{HeaderMap, header};
use bul_job::TenantId;
use bul_store::{Permission, Store, StoreError};

pub use key::{NewKey, generate_key, hash_key};

use cache::Cache;

/// Longest header that is looked at.
const HEADER_BYTES_MAX: usize = 256;

/// Who makes a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Public id of the key.
    pub key_id: String,
    /// Name of the key; the actor in the audit.
    pub name: String,
    /// Tenant it acts for.
    pub tenant: TenantId,
    /// What it may do.
    pub permission: Permission,
}

/// A request that may not go on.
#[derive(Debug, thiserror::Error)]
pub enum AuthError {
    /// No `Authorization: Bearer` header.
    #[error("a key is needed: send it as Authorization: Bearer bul_…")]
    Missing,
    /// No such key, or revoked; which of both is not told.
    #[error("the key is not valid")]
    Invalid,
    /// The key may do less.
    #[error("this needs a key with the permission {needed}, the key given has {held}")]
    Forbidden {
        /// Needed.
        needed: &'static str,
        /// Held.
        held: &'static str,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Recognises callers.
#[derive(Clone)]
pub struct Auth {
    store: Arc<dyn Store>,
    cache: Arc<Cache>,
}

impl Auth {
    /// Keys are looked up in `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, cache: Arc::new(Cache::default()) }
    }

    /// The caller behind these headers, if it has at least `needed`.
    pub async fn caller(&self, headers: &HeaderMap, needed: Permission) -> Result<Caller, AuthError> {
        let token = bearer(headers)?;
        let caller = self.of_key(token).await?;
        if caller.permission < needed {
            return Err(AuthError::Forbidden { needed: needed.as_str(), held: caller.permission.as_str() });
        }
        Ok(caller)
    }

    /// The caller behind a key.
    pub async fn of_key(&self, token: &str) -> Result<Caller, AuthError> {
        let id = key::id_of(token).ok_or(AuthError::Invalid)?;
        let hash = hash_key(token);
        if let Some(caller) = self.cache.get(&hash) {
            return Ok(caller);
        }
        let found = self.store.find_key(&hash).await?.ok_or(AuthError::Invalid)?;
        // The look-up compared hashes, which leak nothing of the secret; compared once more here so
        // that no store implementation can weaken it.
        if !key::same(&found.hash, &hash) || found.id != id || found.revoked_at.is_some() {
            return Err(AuthError::Invalid);
        }
        let caller =
            Caller { key_id: found.id, name: found.name, tenant: found.tenant, permission: found.permission };
        self.cache.put(hash, caller.clone());
        Ok(caller)
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, AuthError> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next().ok_or(AuthError::Missing)?;
    if values.next().is_some() || value.len() > HEADER_BYTES_MAX {
        return Err(AuthError::Invalid);
    }
    let text = value.to_str().map_err(|_| AuthError::Invalid)?;
    let (scheme, token) = text.split_once(' ').ok_or(AuthError::Missing)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim()) } else { Err(AuthError::Missing) }
}
