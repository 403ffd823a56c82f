//! Which partitions this process serves before others: jobs whose prompts begin alike lie in one, and whoever serves it has that
//! beginning in its cache.
//!
//! All workers of a process share a model and therefore this. Invariant: nothing waits for it; without the store's word everything
//! counts as one's own.

use std::sync::Arc;
use std::time::Duration;

use bul_job::{Group, View};
use bul_store::{Presence, Store};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

/// How often a process says that it is there, and hears who else is: six times within the time that a sign of life counts.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// The partitions of one process, shared by all its workers.
pub struct Affinity {
    process: String,
    partitions: u8,
    view: Mutex<Arc<View>>,
}

impl Affinity {
    /// Of a process whose name no other one has, with a broker of so many partitions.
    pub fn new(process: String, partitions: u8) -> Arc<Self> {
        Arc::new(Self { process, partitions, view: Mutex::new(Arc::new(View::alone(partitions))) })
    }

    /// What it serves now.
    pub(crate) fn view(&self) -> Arc<View> {
        self.view.lock().clone()
    }

    /// Whether it serves jobs of this group before others do.
    pub(crate) fn is_own(&self, group: Group) -> bool {
        self.view.lock().own.contains(&group.partition(self.partitions))
    }

    /// Says that this process is there and follows who else is, until `stopping`; then says that it leaves. With undivided lanes
    /// there is nothing to share out.
    pub fn follow(
        self: Arc<Self>,
        store: Arc<dyn Store>,
        stopping: CancellationToken,
    ) -> BoxFuture<'static, ()> {
        async move {
            if self.partitions == 1 {
                return;
            }
            loop {
                self.tell(store.as_ref(), Presence::Here).await;
                if stopping.run_until_cancelled(tokio::time::sleep(TELL_EVERY)).await.is_none() {
                    return self.tell(store.as_ref(), Presence::Leaving).await;
                }
            }
        }
        .boxed()
    }

    async fn tell(&self, store: &dyn Store, presence: Presence) {
        let alive = match store.attend(&self.process, presence).await {
            Ok(alive) => alive,
            // Those who were there are believed to be there still: they can say no more than this one can.
            Err(error) => return debug!(%error, "who else takes jobs is not known now"),
        };
        if presence == Presence::Leaving {
            return;
        }
        let view = Arc::new(View::of(&self.process, &alive, self.partitions));
        let before = std::mem::replace(&mut *self.view.lock(), view.clone());
        if before != view {
            let own: Vec<u8> = view.own.iter().map(|partition| partition.number()).collect();
            info!(processes = alive.len(), ?own, "partitions that this process serves first");
        }
    }
}
