//! The way into BUL: HTTP API, keys and intake.
//!
//! [`submit::Intake`] accepts jobs; [`http`] offers it and everything else of the contract over
//! HTTP; [`auth`] knows who calls; [`ingest`] reads what other systems send. Links no store, no
//! broker and no model: the composition root puts them in.

pub mod adopt;
pub mod auth;
pub mod http;
pub mod ingest;
pub mod submit;
pub mod templates;
mod together;

pub use adopt::Adopted;
#[cfg(feature = "openapi")]
pub use http::openapi;
pub use http::{AppState, ProducerOptions, explanation, metrics_router, router, serve, serve_router};
pub use submit::{Intake, Outcome, SubmitAnswer, SubmitError, SubmitMode};
pub use templates::Templates;
