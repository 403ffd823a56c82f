//! A job that this version cannot read.
//!
//! While an installation is brought up to date, old workers meet rows of the new version: of a kind they do not know, in
//! a format they cannot write. Nothing is wrong with such a job. It is handed back without spending one of its attempts
//! and left alone for a while, so that an upgraded worker takes it; where none comes it is a dead letter that says so.

use std::time::Duration;

use bul_job::{AttemptNo, Failure, FailureClass, Rules};

use crate::StoreError;

/// Code of the failure that ends such a job.
const CODE: &str = "job_unreadable";

/// What to do with an attempt whose job cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unread {
    /// Hand it back; nobody shall try before this time has passed.
    Wait(Duration),
    /// Nobody has come who can read it.
    Dead(Failure),
}

/// Decides on the attempt `attempt`; `why` is what reading gave.
pub fn unread(attempt: AttemptNo, rules: &Rules, why: &StoreError) -> Unread {
    if attempt.0 < rules.newer_tries {
        return Unread::Wait(rules.newer_wait);
    }
    let message =
        format!("no worker could read the job; it may be of a newer version than all workers: {why}");
    Unread::Dead(Failure { class: FailureClass::Permanent, code: CODE.into(), message, retry_after_ms: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_waits_for_others_and_not_for_ever() {
        let rules = Rules { newer_tries: 3, newer_wait: Duration::from_secs(7), ..Rules::default() };
        let why = StoreError::Corrupt("unknown kind".into());
        let decided = [1, 2, 3].map(|n| unread(AttemptNo(n), &rules, &why));
        assert_eq!(decided[..2], [Unread::Wait(rules.newer_wait), Unread::Wait(rules.newer_wait)]);
        assert!(matches!(&decided[2], Unread::Dead(failure) if failure.message.contains("unknown kind")));
    }
}
