//! One sentence on why a job is where it is: the first thing a waiting user asks.

use bul_job::{DeadReason, State, Timestamp};
use bul_store::JobDetail;

use super::print::{cut, relative};

/// Characters of a failure in the sentence; the whole stands with the attempt.
const MESSAGE_CHARS_MAX: usize = 200;

/// The sentence. `place` is the number of jobs before it in its lane, where known.
pub fn sentence(detail: &JobDetail, place: Option<u64>, now: Timestamp) -> String {
    let status = &detail.summary.status;
    let due = status.due_at.map_or_else(|| "soon".to_owned(), |at| relative(at.max(now), now));
    match status.state {
        State::Waiting if detail.core.failures > 0 => {
            let core = &detail.core;
            format!(
                "attempt {} comes {due}, after {} of {} allowed failures{}",
                status.attempt.next(),
                core.failures,
                core.max_attempts,
                because(detail)
            )
        }
        State::Waiting if detail.core.crashes > 0 => {
            format!("its worker was lost {} times; it is tried again {due}", detail.core.crashes)
        }
        State::Waiting if status.attempt.0 > 0 => format!("it was handed back or replayed and goes on {due}"),
        State::Waiting => format!("it is not to run before its time, {due}"),
        State::Queued => {
            let lane = detail.summary.lane;
            match place {
                Some(0) => format!("it is the next in lane {lane}"),
                Some(1) => format!("1 job is before it in lane {lane}"),
                Some(n) => format!("{n} jobs are before it in lane {lane}"),
                None => format!("it is ready in lane {lane} and waits for a worker"),
            }
        }
        State::Running if detail.core.cancel_requested => {
            "it is asked to end and does so at its next step".into()
        }
        State::Running => match detail.attempts.last() {
            Some(attempt) => format!(
                "attempt {} runs on {}, started {}",
                attempt.attempt,
                attempt.worker,
                relative(attempt.started_at, now)
            ),
            None => format!("attempt {} runs", status.attempt),
        },
        State::Completed => "completed".into(),
        State::Cancelled => "cancelled".into(),
        State::Dead => {
            let reason = match status.dead_reason {
                Some(DeadReason::Permanent) => "it would fail again",
                Some(DeadReason::AttemptsSpent) => "all its attempts have failed",
                Some(DeadReason::Poison) => "it seems to bring its workers down",
                Some(DeadReason::DeadlinePassed) => "its deadline has passed",
                Some(DeadReason::Unreadable) => "its message cannot be read",
                None => "it has failed",
            };
            format!("dead: {reason}{}", because(detail))
        }
    }
}

fn because(detail: &JobDetail) -> String {
    let last = detail.attempts.iter().rev().find_map(|attempt| attempt.failure.as_ref());
    let message = detail.summary.status.message.as_ref().or(last.map(|failure| &failure.message));
    message.map(|text| format!(": {}", cut(text, MESSAGE_CHARS_MAX))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use bul_job::{AttemptNo, JobCore, Lane, Rules};
    use bul_store::{JobStatus, JobSummary};

    use super::*;

    fn detail(state: State, change: impl FnOnce(&mut JobDetail)) -> JobDetail {
        let now: Timestamp = "2026-11-16T10:00:00Z".parse().unwrap();
        let (mut core, _) = JobCore::accept(now, None, None, 5, &Rules::default());
        core.state = state;
        let status =
            JobStatus { state, attempt: AttemptNo(0), due_at: None, dead_reason: None, message: None };
        let mut detail = JobDetail {
            summary: JobSummary {
                id: "0192f0c8-7b2e-7abc-8def-0123456789ab".parse().unwrap(),
                template: "invoice".into(),
                business_area: String::new(),
                lane: Lane::Normal,
                status,
                title: String::new(),
                accepted_at: now,
                ended_at: None,
            },
            job: None,
            core,
            source: "cli".into(),
            documents: Default::default(),
            usage: None,
            findings: Vec::new(),
            attempts: Vec::new(),
        };
        change(&mut detail);
        detail
    }

    #[test]
    fn the_sentence_says_what_is_waited_for() {
        let now: Timestamp = "2026-11-16T10:00:00Z".parse().unwrap();
        let retry = detail(State::Waiting, |d| {
            d.core.failures = 2;
            d.summary.status.attempt = AttemptNo(2);
            d.summary.status.due_at = Some(now + chrono::TimeDelta::seconds(9));
            d.summary.status.message = Some("model gone".into());
        });
        assert_eq!(
            sentence(&retry, None, now),
            "attempt 3 comes in 9 s, after 2 of 5 allowed failures: model gone"
        );
        let later =
            detail(State::Waiting, |d| d.summary.status.due_at = Some(now + chrono::TimeDelta::hours(3)));
        assert_eq!(sentence(&later, None, now), "it is not to run before its time, in 3 h");
        assert_eq!(
            sentence(&detail(State::Queued, |_| {}), Some(4), now),
            "4 jobs are before it in lane normal"
        );
        let dead = detail(State::Dead, |d| d.summary.status.dead_reason = Some(DeadReason::DeadlinePassed));
        assert_eq!(sentence(&dead, None, now), "dead: its deadline has passed");
    }
}
