//! One test binary: the simulator is linked once.

mod honest;
mod mutants;
mod scenarios;
