//! The decoder: shape, weights, layers and the kernels beneath them.

pub(crate) mod config;
pub(crate) mod decoder;
pub(crate) mod gguf;
pub(crate) mod kernel;
pub(crate) mod linear;
pub(crate) mod quantised;
pub(crate) mod rope;
pub(crate) mod threads;
pub(crate) mod weights;
