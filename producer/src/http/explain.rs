//! Why a job is where it is, in a sentence: the first question of everybody who waits.

use bul_job::{Parked, State, Timestamp};
use bul_store::{JobDetail, OpenBreaker, Place};

/// The sentence. `place`: what stands before it, as far as it is queued or parked; `breakers`: what workers have told of
/// dependencies that are down.
pub fn explanation(detail: &JobDetail, place: &Place, breakers: &[OpenBreaker], now: Timestamp) -> String {
    let sentence = sentence(detail, place, now);
    match breakers.iter().find(|breaker| breaker.holds_work_back()) {
        Some(breaker) if matches!(detail.summary.status.state, State::Queued | State::Waiting) => {
            format!("{sentence}; work is held back: {breaker}")
        }
        Some(_) | None => sentence,
    }
}

fn sentence(detail: &JobDetail, place: &Place, now: Timestamp) -> String {
    match detail.summary.status.state {
        State::Queued => queued(detail, place, now),
        State::Waiting => match detail.core.parked {
            Some(why) => parked(detail, why, place, now),
            None => waiting(detail, now),
        },
        State::Running => running(detail),
        State::Completed => {
            let formats: Vec<&str> = detail.documents.keys().map(|f| f.as_str()).collect();
            format!("completed{} with {}", ended(detail), formats.join(", "))
        }
        State::Cancelled => format!("cancelled{}", ended(detail)),
        State::Dead => dead(detail),
    }
}

fn queued(detail: &JobDetail, place: &Place, now: Timestamp) -> String {
    let lane = detail.summary.lane;
    let place_in_lane = match place.before {
        Some(0) => format!("queued in lane {lane}, next in its lane"),
        Some(1) => format!("queued in lane {lane}, 1 job before it"),
        Some(n) => format!("queued in lane {lane}, {n} jobs before it"),
        None => format!("queued in lane {lane}"),
    };
    match spent(place, now).or_else(|| full(place)) {
        Some(limit) => format!("{place_in_lane}; {limit}"),
        None => place_in_lane,
    }
}

/// As many jobs of its tenant run as may.
fn full(place: &Place) -> Option<String> {
    let (running, max) = (place.load.running, place.limits.running_max);
    let run = if running == 1 { "job of its tenant runs" } else { "jobs of its tenant run" };
    (max > 0 && running >= u64::from(max)).then(|| format!("{running} {run}, and {max} may at the same time"))
}

/// The tokens of its tenant are used up.
fn spent(place: &Place, now: Timestamp) -> Option<String> {
    let until = place.limits.spent_until(&place.load, now)?;
    Some(format!("the tokens of its tenant are used up until {}", until.format("%Y-%m-%dT%H:%M:%SZ")))
}

/// It waits for a place and not for a time. What held it back may have changed since it was parked.
fn parked(detail: &JobDetail, why: Parked, place: &Place, now: Timestamp) -> String {
    let lane = detail.summary.lane;
    let queued = place.load.queued[lane.index()];
    let limit = match why {
        Parked::Budget => spent(place, now).or_else(|| full(place)),
        Parked::RunningMax | Parked::Turn => full(place).or_else(|| spent(place, now)),
    };
    let limit = limit.or_else(|| {
        let share = place.limits.queued_max;
        (share > 0 && queued >= u64::from(share)).then(|| {
            format!("{queued} jobs of its tenant are queued in lane {lane}, and others have a turn, too")
        })
    });
    let before = match place.parked_before {
        Some(0) => "it is the next of its tenant".to_owned(),
        Some(1) => "1 job of its tenant is before it".to_owned(),
        Some(n) => format!("{n} jobs of its tenant are before it"),
        None => "it stands in line".to_owned(),
    };
    match limit {
        Some(limit) => format!("waits its turn: {limit}; {before}"),
        None => format!("waits its turn and is about to be queued; {before}"),
    }
}

fn waiting(detail: &JobDetail, now: Timestamp) -> String {
    let core = &detail.core;
    let due = match core.due_at {
        Some(at) if at > now => format!("waits until {}", at.format("%Y-%m-%dT%H:%M:%SZ")),
        _ => "is due and about to be queued".to_owned(),
    };
    let why = if core.failures > 0 {
        let retries = core.max_attempts.saturating_sub(1);
        format!(" (retry {} of {retries} after: {})", core.failures, last_failure(detail))
    } else if core.crashes > 0 {
        format!(" (the worker of attempt {} was lost)", core.attempt)
    } else if core.attempt.0 > 0 {
        " (it runs again: handed back by a worker that stopped, or replayed)".to_owned()
    } else if detail.job.as_ref().is_some_and(|job| job.run_at.is_some()) {
        " (its run_at)".to_owned()
    } else {
        String::new()
    };
    due + &why
}

fn running(detail: &JobDetail) -> String {
    let since = detail.attempts.last().map(|attempt| {
        format!(" since {} on {}", attempt.started_at.format("%Y-%m-%dT%H:%M:%SZ"), attempt.worker)
    });
    let asked = if detail.core.cancel_requested { "; it was asked to end" } else { "" };
    format!("attempt {} runs{}{asked}", detail.core.attempt, since.unwrap_or_default())
}

fn dead(detail: &JobDetail) -> String {
    let reason = match detail.summary.status.dead_reason {
        Some(reason) => reason.as_str().replace('_', " "),
        None => "unknown reason".into(),
    };
    format!(
        "dead letter{} ({reason}): {}; replay it once the cause is gone",
        ended(detail),
        last_failure(detail)
    )
}

fn last_failure(detail: &JobDetail) -> String {
    let recorded = detail.attempts.iter().rev().find_map(|attempt| attempt.failure.as_ref());
    let message = detail.summary.status.message.clone().or_else(|| recorded.map(|f| f.message.clone()));
    message.unwrap_or_else(|| "no reason recorded".into())
}

fn ended(detail: &JobDetail) -> String {
    detail.summary.ended_at.map_or(String::new(), |at| format!(" at {}", at.format("%Y-%m-%dT%H:%M:%SZ")))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(core: Value, more: Value, before: Option<u64>, expected: &str) {
        check_place(core, more, &Place { before, ..Place::default() }, expected);
    }

    fn check_place(core: Value, more: Value, place: &Place, expected: &str) {
        let mut machine = json!({
            "state": "queued", "attempt": 0, "publish": 1, "failures": 0, "crashes": 0, "max_attempts": 5,
            "due_at": null, "cancel_requested": false, "deadline": null
        });
        machine.as_object_mut().unwrap().extend(core.as_object().unwrap().clone());
        let mut detail = json!({
            "id": bul_job::JobId::new(), "template": "invoice", "business_area": "", "lane": "normal",
            "state": machine["state"], "attempt": machine["attempt"], "accepted_at": "2026-11-16T09:00:00Z",
            "core": machine, "source": "http", "documents": {}, "attempts": []
        });
        detail.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let detail: JobDetail = serde_json::from_value(detail).unwrap();
        assert_eq!(sentence(&detail, place, "2026-11-16T09:00:00Z".parse().unwrap()), expected);
    }

    #[test]
    fn a_dependency_that_is_down_is_named() {
        let at: Timestamp = "2026-11-16T09:00:00Z".parse().unwrap();
        let down = OpenBreaker {
            process: "worker-1".into(),
            dependency: "model".into(),
            since: at,
            reported_at: at,
        };
        let detail = |state: &str| -> JobDetail {
            serde_json::from_value(json!({
                "id": bul_job::JobId::new(), "template": "invoice", "business_area": "", "lane": "normal",
                "state": state, "attempt": 0, "accepted_at": at, "source": "http", "documents": {}, "attempts": [],
                "core": {"state": state, "attempt": 0, "publish": 1, "failures": 0, "crashes": 0, "max_attempts": 5,
                    "due_at": null, "cancel_requested": false, "deadline": null}
            }))
            .unwrap()
        };
        let why = |state| explanation(&detail(state), &Place::default(), std::slice::from_ref(&down), at);
        let expected =
            "queued in lane normal; work is held back: model is down for worker-1 since 09:00:00 UTC";
        assert_eq!(why("queued"), expected);
        assert_eq!(why("cancelled"), "cancelled");
        let optional = OpenBreaker { dependency: bul_store::REDIS.into(), ..down.clone() };
        let said = explanation(&detail("queued"), &Place::default(), &[optional], at);
        assert_eq!(said, "queued in lane normal", "no job waits for Redis");
    }

    #[test]
    fn what_holds_the_tenant_back_is_named() {
        let mut place = Place { parked_before: Some(7), ..Place::default() };
        let turn = json!({"state": "waiting", "parked": "turn"});
        let check =
            |core: &Value, place: &Place, expected| check_place(core.clone(), json!({}), place, expected);
        check(&turn, &place, "waits its turn and is about to be queued; 7 jobs of its tenant are before it");
        place.load.queued[bul_job::Lane::Normal.index()] = 10_000;
        let share = "waits its turn: 10000 jobs of its tenant are queued in lane normal, and others have a turn, too; \
                     7 jobs of its tenant are before it";
        check(&turn, &place, share);
        (place.limits.running_max, place.load.running) = (3, 3);
        let running = json!({"state": "waiting", "parked": "running_max"});
        let full = "waits its turn: 3 jobs of its tenant run, and 3 may at the same time; \
                    7 jobs of its tenant are before it";
        check(&running, &place, full);
        (place.limits.tokens_per_minute, place.load.minute_tokens) = (50, 50);
        let budget = json!({"state": "waiting", "parked": "budget"});
        let spent = "waits its turn: the tokens of its tenant are used up until 2026-11-16T09:01:00Z; \
                     7 jobs of its tenant are before it";
        check(&budget, &place, spent);
        let place = Place { before: Some(2), parked_before: None, ..place };
        let queued = "queued in lane normal, 2 jobs before it; the tokens of its tenant are used up until \
                      2026-11-16T09:01:00Z";
        check(&json!({}), &place, queued);
    }

    #[test]
    fn each_state_has_its_sentence() {
        check(json!({}), json!({}), Some(12), "queued in lane normal, 12 jobs before it");
        check(json!({}), json!({}), Some(0), "queued in lane normal, next in its lane");
        let later = "2026-11-16T09:05:00Z";
        check(
            json!({"state": "waiting", "failures": 2, "attempt": 2, "due_at": later}),
            json!({"message": "model unavailable"}),
            None,
            "waits until 2026-11-16T09:05:00Z (retry 2 of 4 after: model unavailable)",
        );
        check(json!({"state": "waiting"}), json!({}), None, "is due and about to be queued");
        check(
            json!({"state": "waiting", "crashes": 1, "attempt": 1, "due_at": later}),
            json!({}),
            None,
            "waits until 2026-11-16T09:05:00Z (the worker of attempt 1 was lost)",
        );
        let attempt = json!({"attempts": [{
            "attempt": 1, "worker": "w1", "started_at": "2026-11-16T09:00:01Z", "outcome": ""}]});
        check(
            json!({"state": "running", "attempt": 1, "cancel_requested": true}),
            attempt,
            None,
            "attempt 1 runs since 2026-11-16T09:00:01Z on w1; it was asked to end",
        );
        check(
            json!({"state": "dead"}),
            json!({"dead_reason": "attempts_spent", "message": "model unavailable", "ended_at": later}),
            None,
            "dead letter at 2026-11-16T09:05:00Z (attempts spent): model unavailable; replay it once the cause is gone",
        );
        check(
            json!({"state": "completed"}),
            json!({"documents": {"md": 3, "pdf": 9}}),
            None,
            "completed with md, pdf",
        );
    }
}
