//! A whole installation in one thread, without time, network or disk: producers, workers, schedulers,
//! replayers, users, a store and a broker, driven by one seed.
//!
//! The decisions are those of `bul_job`, unchanged; the order of steps is that of the services, await for
//! await. Invariant: the same seed gives the same history, so that a failure can be looked at again with
//! its trace. Start reading at `run.rs`; `worker.rs` mirrors `workers/worker/src/attempt.rs`.

mod broker;
mod clock;
mod company;
mod exec;
mod faults;
mod invariants;
mod life;
mod mutants;
mod net;
mod plan;
mod proc;
mod producer;
mod pull;
mod replayer;
mod run;
mod scenario;
mod scheduler;
mod store;
mod store_calendar;
mod store_types;
mod trace;
mod users;
mod worker;
mod world;

pub use clock::Ms;
pub use faults::Stats;
pub use invariants::Rule;
pub use mutants::Mutant;
pub use run::{Failure, Report, Sweep, explain, run, sweep};
pub use scenario::Scenario;
