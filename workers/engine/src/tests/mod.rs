//! Tests of the crate as a whole.

mod ahead;
mod core;
mod exact;
mod factory;
pub(crate) mod golden;
mod lifecycle;
mod opened;
mod phrases;
mod precision;
mod prose;
mod quota;
mod reference;
mod samples;
mod schema;
mod serving;
mod shapes;
mod shipped;
mod traces;
