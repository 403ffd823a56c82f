//! The HTTP API from the outside: the real router, a real store, a real broker.

mod account;
mod batches;
mod dead_letters;
mod documents;
mod events;
mod jobs;
mod refusals;
mod schedules;
mod support;
mod wire;
