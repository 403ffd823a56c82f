//! Configuration: defaults < file < environment < flags.
//!
//! Every value knows where it came from ([`Origin`]), unknown keys in the file are errors, and secrets
//! may come from files (`*_FILE`). Reads files and the environment it is given; opens nothing else.

mod load;
mod options;
mod reference;
mod schema;
mod secret;
mod variables;

pub use load::{ConfigError, Loaded, Origin, Sources};
pub use options::{
    Backup, CacheOptions, Config, Limits, LogOptions, ModelOptions, Retry, TenantShare, Worker,
};
pub use reference::reference;
pub use schema::schema;
pub use secret::Secret;
