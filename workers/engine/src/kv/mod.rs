//! Keys, ids and bytes of KV blocks, each apart from the others.
//!
//! Ids and keys know nothing of a model, so that everything about sharing and eviction is
//! tested without one.

pub(crate) mod four;
mod index;
pub(crate) mod key;
pub(crate) mod pin;
pub(crate) mod policy;
pub(crate) mod pool;
pub(crate) mod precision;
pub(crate) mod quota;
pub(crate) mod shadow;
mod shape;
pub(crate) mod shares;
mod slab;
mod store;
pub(crate) mod table;
mod tail;
#[cfg(test)]
mod tests;
pub(crate) mod tier;

pub(crate) use shape::{KvShape, LANES};
pub(crate) use store::KvStore;
