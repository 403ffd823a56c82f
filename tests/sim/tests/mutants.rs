//! Each fault that is put into the glue on purpose is found within few seeds, and by a rule that names it.

use bul_sim::{Mutant, Rule, Scenario, sweep};

/// Seeds within which a mutant must be found.
const SEEDS_MAX: u64 = 400;

fn check(mutant: Mutant, scenario: &Scenario, rules: &[Rule]) {
    let swept = sweep(scenario, Some(mutant), 0..SEEDS_MAX);
    let Some(failure) = swept.failure else {
        panic!("{mutant:?} was not found in {SEEDS_MAX} seeds of {}", scenario.name);
    };
    println!("{mutant:?}: {:?} at seed {}: {}", failure.rule, failure.seed, failure.how);
    assert!(rules.contains(&failure.rule), "{mutant:?} was found by another rule than expected\n{failure}");
    assert!(!failure.trace.is_empty(), "a failure is told with its last events");
}

macro_rules! mutants {
    ($($name:ident: $mutant:ident in $scenario:ident by $($rule:ident)|+;)*) => {
        $(#[test]
        fn $name() {
            check(Mutant::$mutant, &Scenario::$scenario, &[$(Rule::$rule),+]);
        })*

        #[test]
        fn every_mutant_has_its_test() {
            let tested = [$(Mutant::$mutant),*];
            for mutant in Mutant::ALL {
                assert!(tested.contains(&mutant), "{mutant:?}");
            }
        }
    };
}

mutants! {
    ack_before_commit: AckBeforeCommit in KILLS by NotLost;
    ack_on_no_answer: AckOnNoAnswer in ANSWERS by NotLost;
    no_fence_on_complete: NoFence in FREEZES by Fence | Once | Ends;
    documents_before_the_end: DocumentsBefore in KILLS by Once | Fence;
    no_idempotency_key: NoIdempotency in ANSWERS by Intake;
    dead_letter_lost: DeadLetterLost in CALM by Conservation;
    accepted_but_not_counted: NotCounted in CALM by Conservation;
    attempt_number_off_by_one: AttemptOffByOne in CALM by Fence | Ends | Settles;
    attempt_number_stays: AttemptStays in KILLS by Fence;
    no_due_time_on_queue: NoDueOnQueue in CALM by NotLost;
    any_confirmation_counts: AnyConfirmation in ANSWERS by NotLost;
    confirmed_though_unpublished: ConfirmUnpublished in ANSWERS by NotLost;
    lease_never_expires: LeaseNeverExpires in KILLS by Settles;
    finished_job_runs_again: FinishedRunsAgain in BROKER by Ends | Once;
    hand_back_spends_an_attempt: HandBackSpends in USERS by Accounts;
    crashes_not_counted: CrashesUncounted in POISON by Poison;
    no_reconciler: NoReconciler in WIPED by Settles;
    cron_unguarded: FireUnguarded in LEADERS by Cron;
    replay_of_the_living: ReplayAlive in LEADERS by Replay;
    cancel_forgotten: CancelForgotten in USERS by Cancelled;
    most_urgent_lane_first: StrictPriority in LANES by Lanes;
    own_clocks_decide: OwnClockDecides in CALM by Ends | Settles | Fence;
    thawed_leader_fires_behind_the_calendar: FireBehindCalendar in THAWED by Cron;
    unreadable_message_kept_twice: UnreadableTwice in BROKER by Intake;
    lost_message_never_looked_for: NoLookAgain in BUSY by Settles;
    suspects_among_others: SuspectsTogether in COMPANY by Ends;
}
