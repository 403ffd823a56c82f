//! Keys, ids and bytes of KV blocks, each apart from the others.
//!
//! Ids and keys know nothing of a model, so that everything about sharing and eviction is
//! tested without one.

mod index;
pub(crate) mod key;
pub(crate) mod pool;
mod store;

pub(crate) use store::{KvShape, KvStore};
