//! Attention over paged keys and values.

pub(crate) mod cpu;
