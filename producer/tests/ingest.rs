//! Reading what other systems send: every source, its mistakes, hostile input and real files.
//!
//! The inputs under `fixtures/` were written for these tests. `real` reads files of other projects
//! where a checkout has them beside it and says so where it has not.

#[path = "ingest/events.rs"]
mod events;
#[path = "ingest/hostile.rs"]
mod hostile;
#[path = "ingest/real.rs"]
mod real;
#[path = "ingest/support.rs"]
mod support;
#[path = "ingest/tables.rs"]
mod tables;
#[path = "ingest/ubl.rs"]
mod ubl;
