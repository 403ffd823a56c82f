//! The harness: real processes of `bul` in temporary folders on free ports.
//!
//! Nothing here knows the insides of the product: it is driven by its command line and looked at from
//! outside. Processes die with the harness.

mod broker;
mod clock;
mod cluster;
mod data;
mod disk;
mod http;
mod patience;
mod program;
mod server;
mod tools;
mod written;

pub use broker::{BrokerKind, BrokerServer, Servers};
pub use clock::Clock;
pub use cluster::Cluster;
pub use data::{repository, shared};
pub use disk::SmallDisk;
pub use http::{Answer, completions_server, metric, model_server, refusing_server, request};
pub use patience::eventually;
pub use program::{Ran, bul};
pub use server::{Server, ServerOptions};
pub use tools::{installed, page_count, pdf_text, run, sqlite};
pub use written::written;
