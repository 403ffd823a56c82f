//! Engineering documents from one normalised CI/CD event: release notes and incident reports.

mod incident;
mod release;
mod shared;

pub(super) use incident::prepare as incident;
pub(super) use release::prepare as release;
