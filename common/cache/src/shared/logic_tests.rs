//! Openings, closings and turns, told and untold, in whatever order.

use super::super::turn::{CLAIM_MS, REST_MS};
use super::*;
use BreakerState::{Closed, HalfOpen, Open};
use proptest::prelude::*;

/// Clocks begin late enough that an opening can be dated back.
const T: u64 = 1_000_000;

fn options() -> BreakerOptions {
    BreakerOptions {
        window_ms: 1000,
        calls_min: 2,
        failure_rate: 0.5,
        open_ms: 100,
        open_ms_max: 400,
        probes_max: 1,
        probes_to_close: 2,
    }
}

fn call(logic: &mut Logic, outcome: Outcome, now: u64) {
    let leave = logic.try_acquire(now).expect("the call is permitted");
    logic.record(leave, outcome, now);
}

fn record(generation: u64, open_for_ms: u64) -> Record {
    Record { generation, open_for_ms }
}

#[test]
fn it_tells_of_its_opening_and_its_closing() {
    let mut a = Logic::new(options());
    call(&mut a, Outcome::Failure, T);
    assert_eq!(a.untold(T), None);
    call(&mut a, Outcome::Failure, T);
    let opened = Change::Opened { until_ms: T + 100 };
    assert_eq!((a.state(T), a.untold(T)), (Open, Some(opened)));
    a.told(opened, Some(7), T + 1);
    assert_eq!(a.untold(T + 1), None);
    call(&mut a, Outcome::Success, T + 100);
    call(&mut a, Outcome::Success, T + 101);
    assert_eq!((a.state(T + 101), a.untold(T + 101)), (Closed, Some(Change::Closed { generation: 7 })));
}

#[test]
fn another_opens_with_it_and_tries_when_it_closes() {
    let mut b = Logic::new(options());
    b.learn(record(7, 80), T);
    assert_eq!((b.state(T), b.try_acquire(T + 30).err(), b.untold(T)), (Open, Some(50), None));
    b.learn(record(8, 0), T + 40);
    assert_eq!(b.state(T + 40), HalfOpen);
    call(&mut b, Outcome::Success, T + 41);
    call(&mut b, Outcome::Success, T + 41);
    assert_eq!(b.state(T + 41), Closed);
}

#[test]
fn an_adopted_opening_ends_by_itself_and_is_closed_by_its_generation() {
    let mut b = Logic::new(options());
    b.learn(record(7, 80), T);
    call(&mut b, Outcome::Success, T + 80);
    call(&mut b, Outcome::Success, T + 81);
    assert_eq!(b.untold(T + 81), Some(Change::Closed { generation: 7 }));
    // The same record, read once more before it was taken away, opens nothing.
    b.learn(record(7, 10), T + 82);
    assert_eq!(b.state(T + 82), Closed);
}

#[test]
fn a_failed_probe_after_an_adopted_opening_is_an_opening_of_its_own() {
    let mut b = Logic::new(options());
    b.learn(record(7, 80), T);
    call(&mut b, Outcome::Failure, T + 80);
    assert_eq!(b.untold(T + 80), Some(Change::Opened { until_ms: T + 280 }), "twice the first time");
}

#[test]
fn an_opening_that_is_over_or_was_never_told_is_not_told() {
    let mut a = Logic::new(options());
    call(&mut a, Outcome::Failure, T);
    call(&mut a, Outcome::Failure, T);
    assert_eq!(a.untold(T + 100), None, "too late to matter");
    call(&mut a, Outcome::Success, T + 100);
    call(&mut a, Outcome::Success, T + 100);
    assert_eq!(a.untold(T + 100), None);
}

#[test]
fn a_closing_that_overtakes_its_opening_is_told_after_it() {
    let mut a = Logic::new(options());
    call(&mut a, Outcome::Failure, T);
    call(&mut a, Outcome::Failure, T);
    let opened = a.untold(T).unwrap();
    call(&mut a, Outcome::Success, T + 100);
    call(&mut a, Outcome::Success, T + 100);
    a.told(opened, Some(9), T + 101);
    assert_eq!(a.untold(T + 101), Some(Change::Closed { generation: 9 }));
}

#[test]
fn outcomes_of_calls_from_before_the_news_do_not_count() {
    let mut b = Logic::new(options());
    let early: Vec<Leave> = (0..3).map(|_| b.try_acquire(T).unwrap()).collect();
    b.learn(record(7, 80), T);
    assert_eq!(b.state(T + 80), HalfOpen);
    let probe = b.try_acquire(T + 80).unwrap();
    for leave in early {
        b.record(leave, Outcome::Failure, T + 81);
    }
    assert_eq!(b.state(T + 81), HalfOpen);
    b.record(probe, Outcome::Success, T + 82);
}

#[test]
fn a_record_is_not_believed_for_longer_than_the_limit() {
    let mut b = Logic::new(options());
    b.learn(record(7, u64::MAX), T);
    assert_eq!(b.state(T + 399), Open);
    assert_eq!(b.state(T + 400), HalfOpen);
}

#[test]
fn only_who_has_the_turn_probes() {
    let (mut a, mut b) = (Logic::new(options()), Logic::new(options()));
    for logic in [&mut a, &mut b] {
        logic.share();
        logic.learn(record(7, 80), T);
        assert!(logic.asks_for_turn(T), "before the opening is over");
    }
    a.turned(Turn::answered(true, CLAIM_MS, T));
    b.turned(Turn::answered(false, CLAIM_MS, T));
    assert_eq!((a.state(T + 80), b.state(T + 80)), (HalfOpen, Open));
    assert_eq!((a.closed_for(T + 80), b.closed_for(T + 80)), (None, Some(CLAIM_MS - 80)));
    assert_eq!(b.try_acquire(T + 80).err(), Some(CLAIM_MS - 80));
    call(&mut a, Outcome::Success, T + 81);
    call(&mut a, Outcome::Success, T + 82);
    // Its news set the other free at once.
    b.learn(record(8, 0), T + 83);
    assert_eq!((b.state(T + 83), b.asks_for_turn(T + 83)), (HalfOpen, false));
}

#[test]
fn without_an_answer_about_the_turn_it_probes_a_little_later() {
    let mut a = Logic::new(options());
    a.share();
    call(&mut a, Outcome::Failure, T);
    call(&mut a, Outcome::Failure, T);
    assert_eq!((a.closed_for(T), a.closed_for(T + 100)), (Some(100), Some(GRACE_MS)));
    assert_eq!(a.state(T + 100 + GRACE_MS), HalfOpen);
}

#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Turn { mine: bool, left_ms: u64 },
    Hear { generation: u64, open_for_ms: u64 },
    Call(Outcome),
    Told { generation: Option<u64> },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..300_u64).prop_map(Step::Pass),
        (0..6_u64, prop_oneof![Just(0), 0..900_u64, Just(u64::MAX)])
            .prop_map(|(generation, open_for_ms)| Step::Hear { generation, open_for_ms }),
        prop_oneof![Just(Outcome::Success), Just(Outcome::Failure), Just(Outcome::Ignored)]
            .prop_map(Step::Call),
        proptest::option::of(0..6_u64).prop_map(|generation| Step::Told { generation }),
        (any::<bool>(), any::<u64>()).prop_map(|(mine, left_ms)| Step::Turn { mine, left_ms }),
    ]
}

proptest! {
    #[test]
    fn no_news_keeps_it_open_for_ever(
        is_shared in any::<bool>(), steps in proptest::collection::vec(step(), 0..60),
    ) {
        let mut now = T;
        let mut logic = Logic::new(options());
        if is_shared {
            logic.share();
        }
        for step in steps {
            match step {
                Step::Pass(ms) => now += ms,
                Step::Turn { mine, left_ms } if logic.asks_for_turn(now) => {
                    logic.turned(Turn::answered(mine, left_ms, now));
                }
                Step::Turn { .. } => {}
                Step::Hear { generation, open_for_ms } => logic.learn(record(generation, open_for_ms), now),
                Step::Call(outcome) => {
                    if let Ok(leave) = logic.try_acquire(now) {
                        logic.record(leave, outcome, now);
                    }
                }
                Step::Told { generation } => {
                    if let Some(change) = logic.untold(now) {
                        logic.told(change, generation, now);
                    }
                }
            }
        }
        now += options().open_ms_max + CLAIM_MS + REST_MS;
        for _ in 0..2 {
            if logic.state(now) != Closed {
                call(&mut logic, Outcome::Success, now);
            }
        }
        prop_assert_eq!(logic.state(now), Closed);
    }
}
