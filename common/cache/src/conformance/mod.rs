//! The suite every tier must pass, one test per case.
//!
//! A tier's tests call [`tier_conformance!`](crate::tier_conformance) with an async function that makes a
//! [`Fixture`] on an empty tier. Cases that need what a tier does not have (memory is never down) pass at once.

pub mod cases;
pub mod kit;

use async_trait::async_trait;

use crate::{Key, Tier};

/// How the stored bytes of a text are damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Damage {
    /// One byte is another.
    Changed,
    /// The end is missing.
    Cut,
    /// Nothing is left.
    Emptied,
    /// Something else altogether.
    Replaced,
    /// No text at all: another type, a folder.
    Foreign,
}

/// An empty tier to test.
#[async_trait]
pub trait Fixture: Send {
    /// The tier.
    fn tier(&self) -> &dyn Tier;

    /// Largest text it keeps, bytes.
    fn value_bytes_max(&self) -> usize;

    /// Damages a text that was kept; `false` where bytes cannot be reached.
    async fn damage(&self, key: &Key, how: Damage) -> bool;

    /// Makes what is behind the tier fail; `false` where nothing can.
    async fn take_down(&mut self) -> bool;

    /// Makes it work again, with or without what was in it.
    async fn bring_up(&mut self);
}

/// Makes one test per case. The argument is a path to `async fn() -> Box<dyn Fixture>`.
#[macro_export]
macro_rules! tier_conformance {
    ($make:path) => {
        $crate::tier_conformance! { @each $make;
            what_is_kept_is_found_as_it_was,
            what_was_never_kept_is_a_miss,
            a_text_ends_with_its_time,
            no_time_means_not_kept,
            a_later_text_replaces_an_earlier_one,
            an_empty_text_is_a_text,
            the_largest_text_is_kept_and_a_larger_one_refused,
            keys_do_not_see_each_other,
            a_removed_text_is_gone,
            texts_that_shrink_and_texts_that_do_not_come_back,
            writers_at_once_leave_one_whole_text,
            a_damaged_text_is_a_miss_and_can_be_kept_again,
            a_tier_that_is_down_misses_quickly_and_heals,
        }
    };
    (@each $make:path; $($case:ident),* $(,)?) => {
        $(
            #[tokio::test]
            async fn $case() {
                $crate::conformance::cases::$case($make().await).await;
            }
        )*
    };
}
