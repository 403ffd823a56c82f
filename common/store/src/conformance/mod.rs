//! The suite every store must pass, one test per case.
//!
//! A store's tests call [`store_conformance!`](crate::store_conformance) with an async function that
//! makes a [`Fixture`] on an empty store. The store under test must work by [`rules`] and by the
//! fixture's clock, which stands still unless a case moves it: no case sleeps.

pub mod accounts;
pub mod attempts;
pub mod backlog;
pub mod dead_letters;
pub mod dispatch;
pub mod history;
pub mod intake;
pub mod kit;
pub mod limits;
pub mod retention;
pub mod schedules;
pub mod texts;
pub mod turns;
pub mod users;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bul_job::{Rules, Timestamp};

use crate::Store;

/// An empty store to test, and its clock.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// The store.
    fn store(&self) -> Arc<dyn Store>;

    /// Moves the store's clock on.
    fn advance(&self, by: Duration);

    /// Closes the store and opens it again on the same data; `false` where it keeps none.
    async fn reopen(&mut self) -> bool;
}

/// The rules the cases count on.
pub fn rules() -> Rules {
    Rules::default()
}

/// A clock that moves only when told; clones share the hands.
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<AtomicI64>);

impl ManualClock {
    /// Starts at a fixed time.
    pub fn new() -> Self {
        Self(Arc::new(AtomicI64::new(1_800_000_000_000_000)))
    }

    /// The time it shows.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_timestamp_micros(self.0.load(Ordering::SeqCst)).expect("the clock is in range")
    }

    /// Moves it.
    pub fn advance(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).expect("the step is in range");
        self.0.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

/// Makes one test per case. The argument is a path to `async fn() -> Box<dyn Fixture>`.
#[macro_export]
macro_rules! store_conformance {
    ($make:path) => {
        $crate::store_conformance! { @cases $make;
            intake::a_new_job_is_queued_with_its_first_publication,
            intake::accepting_the_same_id_twice_is_harmless,
            intake::same_key_and_body_gives_the_existing_job,
            intake::same_key_and_other_body_is_a_conflict,
            intake::jobs_of_one_batch_see_each_other,
            intake::sixteen_tasks_with_one_key_make_one_job,
            intake::keys_belong_to_tenants,
            intake::dedup_holds_while_the_job_is_open,
            intake::a_conflict_in_a_batch_spoils_no_other,
            intake::an_unreadable_message_is_kept_with_its_bytes,
            intake::an_unreadable_message_that_comes_again_is_kept_once,
            intake::unicode_and_a_mebibyte_of_data_round_trip,
            dispatch::a_delayed_job_waits_for_its_time,
            dispatch::due_rows_come_in_order_and_within_the_limit,
            dispatch::a_lost_publication_is_sent_again_with_the_next_number,
            dispatch::a_confirmed_publication_is_looked_at_again_after_long,
            dispatch::a_confirmed_job_that_begins_is_due_by_its_lease,
            dispatch::a_confirmation_from_before_a_republication_is_ignored,
            dispatch::an_old_confirmation_is_ignored,
            dispatch::next_due_at_is_the_earliest,
            dispatch::republish_makes_every_queued_row_due,
            dispatch::orphans_wait_for_another_worker,
            dispatch::a_passed_deadline_is_a_dead_letter,
            attempts::begin_runs_a_job_once,
            attempts::begin_skips_what_cannot_run,
            attempts::begin_of_an_unknown_job_is_not_found,
            attempts::an_expired_lease_fences_its_worker_off,
            attempts::an_extended_lease_does_not_expire,
            attempts::completing_twice_is_refused,
            attempts::documents_and_usage_are_stored_with_the_end,
            attempts::receipts_are_kept_with_their_jobs,
            attempts::a_large_document_round_trips,
            attempts::a_transient_failure_waits_and_then_is_dead,
            attempts::retry_after_is_kept,
            attempts::permanent_and_poison_are_dead_at_once,
            attempts::a_job_that_kills_its_workers_is_poison,
            attempts::a_job_whose_attempts_vanish_runs_alone,
            attempts::handing_back_spends_nothing,
            attempts::sixteen_workers_begin_one_attempt,
            texts::the_next_attempt_finds_what_was_kept,
            texts::whoever_has_lost_its_lease_keeps_nothing,
            texts::texts_go_with_the_end_of_their_job,
            texts::a_dead_letter_has_its_texts_until_it_is_purged,
            texts::texts_go_with_a_job_that_is_removed,
            texts::texts_keep_within_their_limits,
            turns::a_session_is_told_what_ended_before,
            turns::turns_of_one_moment_keep_their_order,
            turns::turns_go_with_the_documents,
            users::cancel_in_every_state,
            users::a_running_job_hears_of_its_cancellation,
            users::lists_filter_page_and_follow_the_cursor,
            users::place_counts_the_lane,
            users::a_foreign_tenant_sees_nothing,
            dead_letters::filters_and_counts_agree,
            dead_letters::a_replay_runs_once,
            dead_letters::replay_at_a_time_waits_for_it,
            dead_letters::an_edited_letter_runs_as_edited,
            dead_letters::an_edit_and_its_replay_are_one,
            dead_letters::an_unreadable_letter_runs_once_it_is_edited,
            dead_letters::a_purge_erases_and_keeps_the_ledger,
            dead_letters::a_replay_beside_an_open_twin_is_no_error,
            schedules::names_are_unique_per_tenant,
            schedules::a_fire_makes_one_job_whoever_fires,
            schedules::a_frozen_leader_does_not_turn_the_calendar_back,
            schedules::no_fire_behind_the_calendar,
            schedules::paused_schedules_are_not_due,
            schedules::a_removed_schedule_leaves_its_jobs,
            accounts::one_leader_at_a_time,
            accounts::an_open_breaker_is_seen_until_it_closes_or_falls_silent,
            accounts::processes_know_who_is_there,
            accounts::keys_are_found_until_revoked,
            accounts::usage_sums_by_template_and_area,
            accounts::check_and_info_answer,
            accounts::a_closed_store_says_so,
            limits::concurrent_begins_keep_the_limit,
            limits::parked_jobs_are_released_in_order,
            limits::a_tenant_has_its_share_of_a_lane,
            limits::a_limited_tenant_gets_through,
            limits::parked_jobs_can_end,
            limits::a_change_reaches_those_that_wait,
            limits::a_replayed_letter_of_a_limited_tenant_waits_its_turn,
            limits::a_spent_budget_waits_for_its_next_window,
            limits::an_absurd_usage_is_stored_all_the_same,
            limits::delayed_jobs_stand_in_line_too,
            limits::a_place_tells_what_stands_before,
            backlog::the_backlog_is_counted_by_kind,
            backlog::the_backlog_is_what_comes_next,
            backlog::the_backlog_has_a_limit_and_lanes_take_turns,
            backlog::a_long_backlog_is_seen_from_where_it_begins,
            retention::ended_jobs_go_and_stay_counted,
            retention::open_and_kept_jobs_stay,
            retention::small_steps_come_to_the_end,
            retention::documents_go_before_their_jobs,
            retention::a_key_is_free_once_its_job_is_gone,
            retention::events_go_in_their_own_time,
            retention::unreadable_letters_go_too,
            history::the_ledger_balances_after_a_random_history,
            history::a_dropped_call_leaves_the_store_usable,
            history::reopening_keeps_everything,
        }
    };
    (@cases $make:path; $($topic:ident :: $case:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::conformance::$topic::$case($make().await).await;
            }
        )*
    };
}
