//! Tests of the crate as a whole.

mod exact;
mod golden;
mod prose;
mod serving;
mod shapes;
mod shipped;
