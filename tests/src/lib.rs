//! The harness: real processes of `bul` in temporary folders on free ports.
//!
//! Nothing here knows the insides of the product: it is driven by its command line and looked at from
//! outside. Processes die with the harness.

mod cluster;
mod data;
mod http;
mod program;
mod server;
mod tools;

pub use cluster::{BrokerKind, BrokerServer, Cluster};
pub use data::{repository, shared};
pub use http::{Answer, refusing_server, request};
pub use program::{Ran, bul};
pub use server::{Server, ServerOptions};
pub use tools::{page_count, pdf_text, run, sqlite};
