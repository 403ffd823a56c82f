//! Tests of the crate as a whole.

mod exact;
mod golden;
mod phrases;
mod prose;
mod serving;
mod shapes;
mod shipped;
