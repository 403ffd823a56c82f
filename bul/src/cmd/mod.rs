//! One file per command.

pub mod backup;
pub mod bench;
pub mod completions;
pub mod config;
pub mod demo;
pub mod dlq;
pub mod doctor;
pub mod jobs;
pub mod key;
pub mod ledger;
pub mod migrate;
pub mod model;
pub mod reference;
pub mod roles;
pub mod schedule;
pub mod submit;
pub mod template;
pub mod tenant;
pub mod up;
pub mod usage;
