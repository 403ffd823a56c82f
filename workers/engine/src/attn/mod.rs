//! Attention over paged keys and values.
//!
//! `plan` decides once per step which rows read which block together, `tile` holds the arithmetic,
//! `cpu` shares the tiles among threads. Called by `decoder`.

pub(crate) mod cpu;
pub(crate) mod plan;
mod product;
#[cfg(test)]
mod tests;
mod tile;
