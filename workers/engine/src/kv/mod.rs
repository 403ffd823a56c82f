//! Keys, ids and bytes of KV blocks, each apart from the others.
//!
//! Ids and keys know nothing of a model, so that everything about sharing and eviction is
//! tested without one.

mod index;
pub(crate) mod key;
pub(crate) mod pin;
pub(crate) mod policy;
pub(crate) mod pool;
pub(crate) mod precision;
pub(crate) mod quota;
pub(crate) mod shadow;
pub(crate) mod shares;
mod slab;
mod store;
pub(crate) mod table;
#[cfg(test)]
mod tests;
pub(crate) mod tier;

pub(crate) use store::{KvShape, KvStore, LANES};
