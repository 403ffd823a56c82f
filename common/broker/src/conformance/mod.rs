//! The suite every broker must pass, one test per case.
//!
//! A broker's tests call [`broker_conformance!`](crate::broker_conformance) with an async function
//! that makes a [`Fixture`] on an empty broker, or
//! [`broker_conformance_in_one!`](crate::broker_conformance_in_one) where a server takes seconds to
//! start. Where a case needs time to pass it asks the fixture: a broker in memory moves its clock, one
//! on a server waits for a message that comes back.

pub mod bundles;
pub mod events;
pub mod flow;
pub mod kit;
pub mod messages;
pub mod partitions;

use std::sync::Arc;

use async_trait::async_trait;
use bul_job::Lane;

use crate::Broker;

/// What a case wants of its broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Setup {
    /// Messages it shall hold at most; its own limit when absent.
    pub messages_max: Option<usize>,
    /// Partitions of each lane; 1 when absent. A broker that cannot divide its lanes skips the cases.
    pub partitions: Option<u8>,
    /// Jobs that travel as one message, at most; 1 when absent.
    pub bundle_max: Option<usize>,
}

/// An empty broker to test.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// The broker.
    fn broker(&self) -> Arc<dyn Broker>;

    /// Returns when messages that were handed out before and not answered have passed their deadline.
    async fn pass_ack_deadline(&self);

    /// Whether [`Setup::messages_max`] was taken up; a broker that cannot be limited skips the case.
    fn is_limited(&self) -> bool;

    /// Whether tenants take turns inside a lane; a broker with plain queues skips the case.
    fn is_fair(&self) -> bool;

    /// Whether [`Setup::bundle_max`] was taken up; a broker to which each job is a message skips the cases.
    fn makes_bundles(&self) -> bool;
}

/// For fixtures on servers with timers of their own, of which they tell nobody: a message that is taken now and left alone comes
/// back after all that were handed out before, since every deadline is equally long. Uses the lane `low`.
pub async fn pass_ack_deadline_of(broker: &Arc<dyn Broker>) {
    let witness = kit::publish(broker, Lane::Low).await;
    let held = kit::next(broker, Lane::Low).await;
    let returned = kit::next(broker, Lane::Low).await;
    assert_eq!((returned.payload().ready(), returned.deliveries()), (Some(&witness), 2));
    returned.ack().await.expect("acked");
    drop(held);
}

/// Makes one test per case. The argument is a path to `async fn(Setup) -> Box<dyn Fixture>`.
#[macro_export]
macro_rules! broker_conformance {
    ($make:path) => {
        $crate::broker_conformance! { @list each $make }
    };
    (@list $form:ident $($given:path),+) => {
        $crate::broker_conformance! { @$form $($given),+;
            messages::a_message_comes_back_as_it_was,
            messages::an_acked_message_is_gone,
            messages::a_nacked_message_returns,
            messages::a_delayed_nack_returns_after_its_delay,
            messages::a_dropped_message_returns_at_once,
            messages::an_unanswered_message_returns_after_its_deadline,
            messages::a_sign_of_life_is_no_answer,
            messages::a_late_ack_harms_nobody,
            messages::a_second_publication_of_both_numbers_is_dropped,
            messages::lanes_are_apart,
            messages::fetch_takes_no_more_than_asked,
            messages::tenants_take_turns,
            messages::depth_counts_waiting_and_held,
            flow::a_waiter_is_woken_by_a_publication,
            flow::a_waiter_is_woken_by_a_return,
            flow::ready_returns_at_once_when_there_is_work,
            flow::a_waiter_is_not_woken_by_another_lane_for_good,
            flow::nothing_is_lost_or_doubled_under_load,
            flow::a_full_broker_refuses_and_recovers,
            flow::a_closed_broker_says_so,
            flow::check_and_info_answer,
            flow::an_incarnation_stays_the_same,
            partitions::a_message_lies_in_the_partition_of_its_group,
            partitions::a_partition_keeps_its_order,
            partitions::a_fetch_takes_from_each_partition_and_fills_up,
            partitions::a_waiter_hears_of_its_own_partitions,
            partitions::returned_messages_stay_in_their_partition,
            partitions::nothing_is_lost_between_owners_of_partitions_and_thieves,
            bundles::many_go_in_bundles_and_come_once_each,
            bundles::a_bundle_returns_whole_when_a_part_does,
            bundles::parts_of_a_bundle_can_be_handed_on,
            events::listeners_see_what_passes_their_filter,
            events::a_slow_listener_blocks_nobody,
            events::close_ends_the_listeners,
        }
    };
    (@each $make:path; $($topic:ident :: $case:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $case() {
                let setup = $crate::conformance::kit::setup_of(stringify!($case));
                $crate::conformance::$topic::$case($make(setup).await).await;
            }
        )*
    };
    (@in_one $start:path, $make:path; $($topic:ident :: $case:ident),* $(,)?) => {
        #[tokio::test]
        async fn conformance() {
            let Some(server) = $start().await else { return };
            let mut failed = Vec::new();
            $(
                let case = async {
                    let setup = $crate::conformance::kit::setup_of(stringify!($case));
                    $crate::conformance::$topic::$case($make(&server, setup).await).await;
                };
                if !$crate::conformance::kit::passes(stringify!($case), case).await {
                    failed.push(stringify!($case));
                }
            )*
            assert!(failed.is_empty(), "failed: {}", failed.join(", "));
        }
    };
}

/// Makes one test of all cases, one after another on one server, for servers that take seconds to
/// start. Each case has a fixture of its own; all are run, and those that failed are named at the end.
/// The arguments are paths to `async fn() -> Option<Server>` and `async fn(&Server, Setup) -> Box<dyn Fixture>`; without
/// a server, of which it is for that function to print why, the test is left out.
#[macro_export]
macro_rules! broker_conformance_in_one {
    ($start:path, $make:path) => {
        $crate::broker_conformance! { @list in_one $start, $make }
    };
}
