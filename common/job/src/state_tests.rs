//! Properties of the state machine under any sequence of inputs.

use chrono::{DateTime, TimeDelta};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::*;

const LEASE: Duration = Duration::from_secs(30);

fn at(seconds: i64) -> Timestamp {
    DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
}

fn failure(class: FailureClass) -> Failure {
    Failure { class, code: "test".into(), message: String::new(), retry_after_ms: None }
}

fn step(core: &mut JobCore, input: Input, seconds: i64) -> Result<Applied, Refused> {
    core.apply(&input, at(seconds), &Rules::default(), &mut ChaCha8Rng::seed_from_u64(7))
}

fn queued(max_attempts: u32) -> JobCore {
    let (core, action) = JobCore::accept(at(0), None, None, max_attempts, &Rules::default());
    assert_eq!(action, Action::Publish(PublishNo(1)));
    core
}

fn running(max_attempts: u32) -> JobCore {
    let mut core = queued(max_attempts);
    assert_eq!(step(&mut core, Input::Begin { lease: LEASE }, 0).unwrap().action, Action::Run(AttemptNo(1)));
    core
}

#[test]
fn a_future_run_at_waits_and_a_past_one_queues() {
    let (core, action) = JobCore::accept(at(0), Some(at(60)), None, 3, &Rules::default());
    assert_eq!((core.state, core.due_at, action), (State::Waiting, Some(at(60)), Action::None));
    let (core, _) = JobCore::accept(at(0), Some(at(-60)), None, 3, &Rules::default());
    assert_eq!(core.state, State::Queued);
}

#[test]
fn a_redelivered_finished_job_is_refused_without_change() {
    let mut core = running(3);
    step(&mut core, Input::Complete { attempt: AttemptNo(1) }, 1).unwrap();
    let before = core.clone();
    assert_eq!(step(&mut core, Input::Begin { lease: LEASE }, 2), Err(Refused::Final(State::Completed)));
    assert_eq!(core, before);
}

/// What is written beside a job is fenced like its end.
#[test]
fn the_fence_lets_through_whoever_could_extend_its_lease() {
    let mut cores = vec![queued(3), running(3)];
    let mut ends = running(3);
    step(&mut ends, Input::Complete { attempt: AttemptNo(1) }, 1).unwrap();
    let mut crashed = running(3);
    step(&mut crashed, Input::Due, 31).unwrap();
    cores.extend([ends, crashed]);
    for core in cores {
        for attempt in [AttemptNo(0), AttemptNo(1), AttemptNo(2)] {
            let extended = step(&mut core.clone(), Input::Extend { attempt, lease: LEASE }, 40).map(drop);
            assert_eq!(core.check_fence(attempt), extended, "{core:?} {attempt:?}");
        }
    }
}

#[test]
fn a_thawed_worker_cannot_commit() {
    let mut core = running(3);
    step(&mut core, Input::Due, 31).unwrap();
    step(&mut core, Input::Due, 31).unwrap();
    step(&mut core, Input::Begin { lease: LEASE }, 32).unwrap();
    let fenced = Err(Refused::Fenced { given: AttemptNo(1), latest: AttemptNo(2) });
    assert_eq!(step(&mut core, Input::Complete { attempt: AttemptNo(1) }, 33), fenced);
    assert!(step(&mut core, Input::Complete { attempt: AttemptNo(2) }, 33).is_ok());
}

#[test]
fn attempts_are_spent_by_failures_and_not_by_hand_backs() {
    let mut core = running(2);
    step(&mut core, Input::HandBack { attempt: AttemptNo(1), wait: Duration::ZERO }, 1).unwrap();
    assert_eq!((core.state, core.failures, core.crashes), (State::Waiting, 0, 0));
    for (seconds, expected) in [(10_000, State::Waiting), (20_000, State::Dead)] {
        step(&mut core, Input::Due, seconds).unwrap();
        step(&mut core, Input::Begin { lease: LEASE }, seconds).unwrap();
        let attempt = core.attempt;
        step(&mut core, Input::Fail { attempt, failure: failure(FailureClass::Transient) }, seconds).unwrap();
        assert_eq!(core.state, expected);
    }
    assert_eq!(core.attempt, AttemptNo(3));
}

#[test]
fn a_job_that_keeps_killing_workers_is_poison() {
    let mut core = queued(100);
    let mut seconds = 0;
    let mut dead = None;
    for _ in 0..Rules::default().crashes_max {
        if core.state == State::Waiting {
            seconds += 10_000;
            step(&mut core, Input::Due, seconds).unwrap();
        }
        step(&mut core, Input::Begin { lease: LEASE }, seconds).unwrap();
        dead = step(&mut core, Input::Orphaned, seconds).unwrap().dead;
    }
    assert_eq!((core.state, dead), (State::Dead, Some(DeadReason::Poison)));
}

#[test]
fn a_confirmed_publication_is_looked_at_again_later_each_time() {
    let mut core = queued(3);
    let look_again = Rules::default().look_again.as_secs() as i64;
    step(&mut core, Input::Published(PublishNo(1)), 0).unwrap();
    assert_eq!((core.state, core.due_at), (State::Queued, Some(at(look_again))));
    step(&mut core, Input::Published(PublishNo(1)), -1).unwrap();
    assert_eq!(core.due_at, Some(at(look_again)), "a confirmation never comes earlier");
    assert_eq!(step(&mut core, Input::Due, look_again - 1), Err(Refused::Stale));
    let again = step(&mut core, Input::Due, look_again).unwrap();
    assert_eq!(again.action, Action::Publish(PublishNo(2)));
    assert_eq!(step(&mut core, Input::Published(PublishNo(1)), look_again), Err(Refused::Stale));
    step(&mut core, Input::Published(PublishNo(2)), look_again).unwrap();
    assert_eq!(core.due_at, Some(at(3 * look_again)));
    // The message that was not lost after all starts it as well.
    assert!(step(&mut core, Input::Begin { lease: LEASE }, look_again + 1).is_ok());
}

#[test]
fn a_job_whose_attempts_vanish_runs_alone_until_it_is_replayed() {
    let rules = Rules::default();
    let mut core = queued(3);
    for crashes in 0..rules.crashes_max {
        assert_eq!(core.runs_alone(&rules), crashes >= 2, "after {crashes} crashes");
        step(&mut core, Input::Due, 10_000 * i64::from(crashes)).ok();
        step(&mut core, Input::Begin { lease: LEASE }, 10_000 * i64::from(crashes)).unwrap();
        step(&mut core, Input::Orphaned, 10_000 * i64::from(crashes)).unwrap();
    }
    step(&mut core, Input::Replay { at: None }, 100_000).unwrap();
    assert!(!core.runs_alone(&rules));
}

#[test]
fn cancelling_reaches_every_state() {
    let mut core = queued(3);
    step(&mut core, Input::Cancel, 1).unwrap();
    assert_eq!(core.state, State::Cancelled);

    let mut core = running(3);
    step(&mut core, Input::Cancel, 1).unwrap();
    assert!(core.cancel_requested && core.state == State::Running);
    step(&mut core, Input::Due, 31).unwrap();
    assert_eq!(core.state, State::Cancelled);

    let mut core = running(3);
    step(&mut core, Input::Cancel, 1).unwrap();
    // A worker that was done before it heard of the cancellation keeps its result.
    step(&mut core, Input::Complete { attempt: AttemptNo(1) }, 2).unwrap();
    assert_eq!(core.state, State::Completed);
}

#[test]
fn a_cancelled_job_is_no_dead_letter_however_its_attempt_fails() {
    for class in [FailureClass::Transient, FailureClass::Permanent, FailureClass::Poison] {
        let mut core = running(3);
        step(&mut core, Input::Cancel, 1).unwrap();
        let fail = Input::Fail { attempt: AttemptNo(1), failure: failure(class) };
        assert_eq!(step(&mut core, fail, 2).unwrap().dead, None);
        assert_eq!(core.state, State::Cancelled);
    }
}

#[test]
fn a_replay_for_later_drops_a_deadline_that_lies_before_it() {
    for (at_s, kept) in [(None, true), (Some(20), true), (Some(90), false)] {
        let (mut core, _) = JobCore::accept(at(0), None, Some(at(60)), 1, &Rules::default());
        step(&mut core, Input::Begin { lease: LEASE }, 0).unwrap();
        let failure = failure(FailureClass::Permanent);
        step(&mut core, Input::Fail { attempt: AttemptNo(1), failure }, 1).unwrap();
        step(&mut core, Input::Replay { at: at_s.map(at) }, 2).unwrap();
        assert_eq!(core.deadline.is_some(), kept, "released at {at_s:?}");
    }
}

#[test]
fn a_passed_deadline_ends_waiting_jobs_and_never_running_ones() {
    let (mut core, _) = JobCore::accept(at(0), Some(at(10)), Some(at(5)), 3, &Rules::default());
    assert_eq!(step(&mut core, Input::Due, 10).unwrap().dead, Some(DeadReason::DeadlinePassed));
    let (mut core, _) = JobCore::accept(at(0), None, Some(at(5)), 3, &Rules::default());
    step(&mut core, Input::Begin { lease: LEASE }, 1).unwrap();
    assert!(step(&mut core, Input::Complete { attempt: AttemptNo(1) }, 6).is_ok());
}

#[test]
fn replay_keeps_the_fence_and_forgets_the_failures() {
    let mut core = running(1);
    step(&mut core, Input::Fail { attempt: AttemptNo(1), failure: failure(FailureClass::Transient) }, 1)
        .unwrap();
    assert_eq!(core.state, State::Dead);
    step(&mut core, Input::Replay { at: None }, 2).unwrap();
    assert_eq!((core.state, core.failures, core.attempt), (State::Waiting, 0, AttemptNo(1)));
    assert_eq!(step(&mut core, Input::Replay { at: None }, 2), Err(Refused::NotNow(State::Waiting)));
}

#[test]
fn a_parked_job_waits_for_a_place_and_spends_nothing() {
    let mut core = queued(3);
    step(&mut core, Input::Park { why: Parked::RunningMax }, 1).unwrap();
    assert_eq!((core.state, core.parked), (State::Waiting, Some(Parked::RunningMax)));
    assert_eq!((core.attempt, core.failures, core.crashes), (AttemptNo(0), 0, 0));
    // No time lets it go, however late it is.
    for days in 1..4 {
        step(&mut core, Input::Due, days * 90_000).unwrap();
        assert_eq!(core.state, State::Waiting);
    }
    assert_eq!(step(&mut core, Input::Begin { lease: LEASE }, 400_000), Err(Refused::NotNow(State::Waiting)));
    let released = step(&mut core, Input::Release, 400_000).unwrap();
    assert_eq!((released.action, core.parked), (Action::Publish(PublishNo(2)), None));
    assert_eq!(step(&mut core, Input::Release, 400_000), Err(Refused::NotNow(State::Queued)));
}

#[test]
fn a_parked_job_keeps_its_deadline() {
    for input in [Input::Due, Input::Release] {
        let (mut core, _) = JobCore::accept(at(0), None, Some(at(60)), 3, &Rules::default());
        step(&mut core, Input::Park { why: Parked::Turn }, 1).unwrap();
        assert_eq!(core.due_at, Some(at(60)));
        assert_eq!(step(&mut core, input, 60).unwrap().dead, Some(DeadReason::DeadlinePassed));
        assert_eq!((core.state, core.parked), (State::Dead, None));
    }
}

#[test]
fn only_a_parked_job_is_released() {
    let (mut core, _) = JobCore::accept(at(0), Some(at(60)), None, 3, &Rules::default());
    assert_eq!(step(&mut core, Input::Release, 1), Err(Refused::NotNow(State::Waiting)));
    assert_eq!(step(&mut core, Input::Park { why: Parked::Turn }, 1), Err(Refused::NotNow(State::Waiting)));
}

fn any_input() -> impl Strategy<Value = Input> {
    let attempt = (0u32..6).prop_map(AttemptNo);
    let class = prop::sample::select(vec![
        FailureClass::Transient,
        FailureClass::Permanent,
        FailureClass::Poison,
        FailureClass::Cancelled,
    ]);
    prop_oneof![
        4 => Just(Input::Due),
        2 => (0u32..6).prop_map(|n| Input::Published(PublishNo(n))),
        2 => Just(Input::Park { why: Parked::Turn }),
        2 => Just(Input::Release),
        4 => Just(Input::Begin { lease: LEASE }),
        1 => attempt.clone().prop_map(|attempt| Input::Extend { attempt, lease: LEASE }),
        1 => attempt.clone().prop_map(|attempt| Input::Complete { attempt }),
        2 => (attempt.clone(), class).prop_map(|(attempt, c)| Input::Fail { attempt, failure: failure(c) }),
        1 => attempt.prop_map(|attempt| Input::HandBack { attempt, wait: LEASE }),
        1 => Just(Input::Orphaned),
        1 => Just(Input::Cancel),
        1 => Just(Input::Replay { at: None }),
    ]
}

proptest! {
    #[test]
    fn invariants_hold_under_any_history(
        inputs in prop::collection::vec((any_input(), 0i64..3600), 1..60),
        seed: u64,
        max_attempts in 1u32..5,
        delayed: bool,
    ) {
        let rules = Rules::default();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let run_at = delayed.then(|| at(100));
        let (mut core, _) = JobCore::accept(at(0), run_at, None, max_attempts, &rules);
        let mut now = at(0);
        for (input, seconds) in inputs {
            now += TimeDelta::seconds(seconds);
            let before = core.clone();
            let result = core.apply(&input, now, &rules, &mut rng);
            match &result {
                Err(_) => prop_assert_eq!(&core, &before, "a refused input changes nothing"),
                Ok(applied) => {
                    prop_assert_eq!(applied.dead.is_some(), core.state == State::Dead && before.state != State::Dead);
                    if let Action::Run(attempt) = applied.action {
                        prop_assert_eq!(attempt, before.attempt.next());
                        prop_assert_eq!(core.state, State::Running);
                    }
                }
            }
            prop_assert!(core.attempt >= before.attempt && core.publish >= before.publish);
            prop_assert!(core.failures <= core.max_attempts && core.crashes <= rules.crashes_max);
            prop_assert_eq!(core.state.is_final(), core.due_at.is_none(), "every open job has a way on");
            prop_assert!(core.parked.is_none() || core.state == State::Waiting);
            if before.state.is_final() && core.state != before.state {
                let replayed = before.state == State::Dead && matches!(input, Input::Replay { .. });
                prop_assert!(replayed);
            }
        }
    }

    /// Whatever has happened, a dispatcher that keeps looking and a worker that works end the job.
    #[test]
    fn every_history_can_be_brought_to_an_end(inputs in prop::collection::vec(any_input(), 0..40), seed: u64) {
        let rules = Rules::default();
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let (mut core, _) = JobCore::accept(at(0), None, None, 3, &rules);
        let mut now = at(0);
        for input in inputs {
            let _ = core.apply(&input, now, &rules, &mut rng);
        }
        for _ in 0..8 {
            now += TimeDelta::seconds(3600);
            let _ = core.apply(&Input::Due, now, &rules, &mut rng);
            let _ = core.apply(&Input::Release, now, &rules, &mut rng);
            if let Ok(Applied { action: Action::Run(attempt), .. }) = core.apply(&Input::Begin { lease: LEASE }, now, &rules, &mut rng) {
                core.apply(&Input::Complete { attempt }, now, &rules, &mut rng).unwrap();
            }
        }
        prop_assert!(core.state.is_final());
    }
}
