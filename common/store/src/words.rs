//! What a job's row says of its last failure, beside the state machine's part: every store says the same.

use bul_job::{Applied, DeadReason, Input, JobCore, State};

/// What becomes of the code and the message of a job's last failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Words {
    /// They stay.
    Kept,
    /// There are none any more.
    Cleared,
    /// These.
    Said {
        /// For programs.
        code: String,
        /// For people.
        message: String,
    },
}

impl Words {
    /// What an input leaves that was applied to a job which was `before`.
    pub fn after(input: &Input, before: &JobCore, applied: &Applied) -> Self {
        let said = |code: &str, message: String| Self::Said { code: code.to_owned(), message };
        if applied.dead == Some(DeadReason::DeadlinePassed) {
            let message = "the deadline passed before the job was done".to_owned();
            return said(DeadReason::DeadlinePassed.as_str(), message);
        }
        let vanished = || said("crashed", format!("attempt {} ended without an outcome", before.attempt));
        match input {
            Input::Fail { failure, .. } => said(&failure.code, failure.message.clone()),
            Input::Orphaned => vanished(),
            Input::Due if before.state == State::Running => vanished(),
            Input::Complete { .. } | Input::Replay { .. } => Self::Cleared,
            Input::Due
            | Input::Published(_)
            | Input::Park { .. }
            | Input::Release
            | Input::Begin { .. }
            | Input::Extend { .. }
            | Input::HandBack { .. }
            | Input::Cancel => Self::Kept,
        }
    }
}

#[cfg(test)]
mod tests {
    use bul_job::{Action, AttemptNo, Failure, FailureClass, Rules, Timestamp};

    use super::*;

    fn after(input: &Input, state: State, dead: Option<DeadReason>) -> Words {
        let (mut core, _) = JobCore::accept(Timestamp::UNIX_EPOCH, None, None, 3, &Rules::default());
        (core.state, core.attempt) = (state, AttemptNo(2));
        Words::after(input, &core, &Applied { action: Action::None, dead })
    }

    fn said(code: &str, message: &str) -> Words {
        Words::Said { code: code.into(), message: message.into() }
    }

    #[test]
    fn failures_crashes_and_deadlines_leave_words_and_a_result_clears_them() {
        let failure = Failure {
            class: FailureClass::Transient,
            code: "model".into(),
            message: "away".into(),
            retry_after_ms: None,
        };
        let fail = Input::Fail { attempt: AttemptNo(2), failure };
        assert_eq!(after(&fail, State::Running, None), said("model", "away"));
        let crashed = said("crashed", "attempt 2 ended without an outcome");
        assert_eq!(after(&Input::Due, State::Running, None), crashed);
        assert_eq!(after(&Input::Orphaned, State::Running, None), crashed);
        assert_eq!(after(&Input::Due, State::Waiting, None), Words::Kept);
        let late = said("deadline_passed", "the deadline passed before the job was done");
        assert_eq!(after(&fail, State::Running, Some(DeadReason::DeadlinePassed)), late);
        assert_eq!(after(&Input::Complete { attempt: AttemptNo(2) }, State::Running, None), Words::Cleared);
        assert_eq!(after(&Input::Cancel, State::Queued, None), Words::Kept);
    }
}
