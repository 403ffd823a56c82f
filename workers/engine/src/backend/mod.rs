//! Implementations of `Generate` that hold no weights.

mod instance;
pub(crate) mod openai;
pub(crate) mod options;
pub(crate) mod scripted;
mod sse;
mod stream;
mod wire;
