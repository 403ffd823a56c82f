//! What every role needs to live and die well: supervised tasks and orderly shutdown.

pub mod breaker;
mod shutdown;
mod tasks;

pub use shutdown::{Shutdown, watch_signals};
pub use tasks::Tasks;
