//! Who works beside whom in one process.
//!
//! A job whose attempts have vanished before may be what kills workers, and whatever runs beside it would
//! vanish with it. Such an attempt waits until all others have left, and as long as it waits or works no other
//! begins: their messages go back to the broker. Used by `attempt` (places) and `pull` (waiting).

use tokio::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// The places of one process, shared by all its workers.
#[derive(Default)]
pub struct Company {
    /// Read by those that work among others, written by the one that is alone. A waiting writer keeps new
    /// readers out.
    places: RwLock<()>,
    /// Held by the one that waits to be alone, or is.
    suspect: Mutex<()>,
}

/// A place at work, from before the attempt begins until its outcome is recorded.
pub(crate) struct Place<'c> {
    _among: Option<RwLockReadGuard<'c, ()>>,
    _alone: Option<(RwLockWriteGuard<'c, ()>, MutexGuard<'c, ()>)>,
}

impl Company {
    /// A place among others; `None` while somebody must be alone.
    pub(crate) fn join(&self) -> Option<Place<'_>> {
        self.places.try_read().ok().map(|guard| Place { _among: Some(guard), _alone: None })
    }

    /// Whether nobody must be alone.
    pub(crate) fn is_open(&self) -> bool {
        self.places.try_read().is_ok()
    }

    /// Returns once nobody must be alone.
    pub(crate) async fn open(&self) {
        drop(self.places.read().await);
    }

    /// Exchanges a place among others for one alone, once all others have left. False, and at once, if another
    /// attempt waits for the same: two suspects must not wait for each other with their leases in hand.
    pub(crate) async fn clear<'c>(&'c self, place: &mut Place<'c>) -> bool {
        let Ok(suspect) = self.suspect.try_lock() else { return false };
        place._among = None;
        place._alone = Some((self.places.write().await, suspect));
        true
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn one_that_must_be_alone_waits_for_the_others_and_keeps_new_ones_out() {
        let company = Company::default();
        let (first, mut second) = (company.join().unwrap(), company.join().unwrap());
        let mut third = company.join().unwrap();
        {
            let mut clearing = std::pin::pin!(company.clear(&mut second));
            assert!(clearing.as_mut().now_or_never().is_none(), "others are at work");
            assert!(company.join().is_none(), "somebody waits to be alone");
            assert!(company.open().now_or_never().is_none());
            assert_eq!(company.clear(&mut third).now_or_never(), Some(false), "one at a time");
            drop((first, third));
            assert_eq!(clearing.now_or_never(), Some(true));
        }
        assert!(company.join().is_none(), "somebody is alone");
        drop(second);
        assert!(company.open().now_or_never().is_some() && company.join().is_some());
    }

    #[tokio::test]
    async fn one_that_gives_up_waiting_lets_the_others_in() {
        let company = Company::default();
        let (first, mut second) = (company.join().unwrap(), company.join().unwrap());
        assert!(company.clear(&mut second).now_or_never().is_none(), "dropped while it waited");
        drop(second);
        assert!(company.join().is_some());
        drop(first);
    }
}
