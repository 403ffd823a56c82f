//! Calls of one kind that wait together and are done as one set inside the writer's transaction.
//!
//! Invariants: the answer of a call is sent once, after the commit that made it true; an error that one
//! call causes in the database is that of no other, since a set that fails is undone and its calls are
//! then done one by one.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use bul_store::StoreError;
use futures::FutureExt;
use sqlx::Executor;
use tokio::sync::oneshot;

use crate::fault::{Fault, repeat};
use crate::writer::Tx;

/// A kind of call that is done in sets.
pub(crate) trait Set: Send + Sized + 'static {
    /// Arguments of a call.
    type Op: Send + Sync + 'static;
    /// Its result.
    type Answer: Send + Sync + 'static;

    /// How much of a transaction it takes.
    fn size(_op: &Self::Op) -> usize {
        1
    }

    /// Bytes it carries.
    fn bytes(op: &Self::Op) -> usize;

    /// Does all calls and sets their results. On `Err` nothing of it will remain.
    fn run(tx: &mut Tx, set: &mut [Waiting<Self>]) -> impl Future<Output = Result<(), Fault>> + Send;
}

/// A call in a set.
pub(crate) struct Waiting<S: Set> {
    pub(crate) op: S::Op,
    pub(crate) result: Option<Result<S::Answer, StoreError>>,
    reply: oneshot::Sender<Result<S::Answer, StoreError>>,
}

impl<S: Set> Waiting<S> {
    pub(crate) fn new(op: S::Op) -> (Self, oneshot::Receiver<Result<S::Answer, StoreError>>) {
        let (reply, answer) = oneshot::channel();
        (Self { op, result: None, reply }, answer)
    }

    /// Whether its caller has gone.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    /// Tells the caller, after the commit; `fault` when the transaction failed as a whole.
    pub(crate) fn answer(self, fault: Option<&StoreError>) {
        let result = match (fault, self.result) {
            // Its own error says more, for example that the disk is full.
            (Some(_), Some(Err(own))) => Err(own),
            (Some(fault), _) => Err(repeat(fault)),
            (None, Some(result)) => result,
            (None, None) => Err(StoreError::Unavailable("the operation was not run".into())),
        };
        // A caller that has gone away does not want to know.
        let _ = self.reply.send(result);
    }
}

/// Does a set. An error here fails the whole transaction.
pub(crate) async fn run<S: Set>(tx: &mut Tx, set: &mut [Waiting<S>]) -> Result<(), sqlx::Error> {
    if set.is_empty() {
        return Ok(());
    }
    let Some(fault) = attempt(tx, set).await? else { return Ok(()) };
    if let [only] = set {
        only.result = Some(Err(fault.into()));
        return Ok(());
    }
    tracing::warn!(error = %fault, calls = set.len(), "a set failed, its calls are done one by one");
    for place in 0..set.len() {
        let one = &mut set[place..=place];
        if let Some(fault) = attempt(tx, one).await? {
            one[0].result = Some(Err(fault.into()));
        }
    }
    Ok(())
}

/// Does a set in a savepoint; its fault, if it had one and was undone.
async fn attempt<S: Set>(tx: &mut Tx, set: &mut [Waiting<S>]) -> Result<Option<Fault>, sqlx::Error> {
    tx.now = tx.clock.now();
    set.iter_mut().for_each(|waiting| waiting.result = None);
    tx.conn.execute("SAVEPOINT a_set").await?;
    // A panic must not take the writer along; it fails its own set only.
    let done = AssertUnwindSafe(S::run(tx, set)).catch_unwind().await;
    let fault = match done {
        Ok(Ok(())) => {
            tx.conn.execute("RELEASE a_set").await?;
            return Ok(None);
        }
        Ok(Err(fault)) => fault,
        Err(_) => StoreError::Failed("internal error, see the log".into()).into(),
    };
    tx.recent.clear();
    tx.conn.execute("ROLLBACK TO a_set; RELEASE a_set").await?;
    Ok(Some(fault))
}
