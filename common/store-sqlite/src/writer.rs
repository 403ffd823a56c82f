//! The one writer: a task that owns the only connection that writes, fed by a bounded queue.
//!
//! Operations that wait together share one transaction and one sync of the disk (group commit); each
//! has a savepoint of its own, so that the failure of one leaves no trace in the others. Invariant: a
//! caller that goes away never leaves a transaction open, since its future only waits for an answer;
//! the transaction lives in this task, which awaits nothing but the database while it is open.

use std::panic::AssertUnwindSafe;

use bul_job::{Rules, Timestamp};
use bul_store::StoreError;
use futures::FutureExt;
use futures::future::BoxFuture;
use rand_chacha::ChaCha8Rng;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Executor};
use tokio::sync::{mpsc, oneshot};

use crate::fault::{Fault, is_busy, repeat, store_error};
use crate::options::Monotone;

/// Operations that may wait. Beyond it callers wait for a place in the queue.
const QUEUE_MAX: usize = 1024;
/// Operations in one transaction. Too low: a sync of the disk for few. Too high: the first of them
/// waits for the last.
const GROUP_MAX: usize = 128;
/// Times the write lock is asked for, each waiting [`crate::Options::busy_timeout`].
const BEGIN_TRIES_MAX: usize = 3;

/// The transaction an operation works in.
pub(crate) struct Tx {
    pub(crate) conn: SqliteConnection,
    /// The store's time at the start of this operation.
    pub(crate) now: Timestamp,
    pub(crate) rules: Rules,
    pub(crate) rng: ChaCha8Rng,
    pub(crate) clock: Monotone,
}

/// Handle of the writer task.
#[derive(Clone)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Message>,
}

enum Message {
    Run(Box<dyn Operation>),
    Close(oneshot::Sender<()>),
}

/// An operation of any result type.
trait Operation: Send {
    /// Whether its caller has gone before it began.
    fn is_abandoned(&self) -> bool;
    /// Runs it and keeps the result; tells whether it succeeded.
    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> BoxFuture<'t, bool>;
    /// Tells the caller, after the commit; `fault` when the group failed as a whole.
    fn answer(self: Box<Self>, fault: Option<&StoreError>);
}

struct Call<T, F> {
    work: Option<F>,
    result: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Operation for Call<T, F>
where
    T: Send,
    F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, Fault>> + Send,
{
    fn is_abandoned(&self) -> bool {
        self.reply.is_closed()
    }

    fn run<'t>(&'t mut self, tx: &'t mut Tx) -> BoxFuture<'t, bool> {
        Box::pin(async move {
            let Some(work) = self.work.take() else { return false };
            // A panic must not take the writer along; it fails its own operation only.
            let result = AssertUnwindSafe(work(tx)).catch_unwind().await;
            let result = result
                .unwrap_or_else(|_| Err(StoreError::Failed("internal error, see the log".into()).into()))
                .map_err(StoreError::from);
            let succeeded = result.is_ok();
            self.result = Some(result);
            succeeded
        })
    }

    fn answer(mut self: Box<Self>, fault: Option<&StoreError>) {
        let result = match (fault, self.result.take()) {
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

impl Writer {
    /// Starts the task.
    pub(crate) fn start(tx: Tx) -> Self {
        let (queue, inbox) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(serve(tx, inbox));
        Self { queue }
    }

    /// Runs `work` in a transaction and returns after its commit.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, Fault>> + Send + 'static,
    {
        let closed = || StoreError::Unavailable("it is closed".into());
        let (reply, answer) = oneshot::channel();
        let call = Call { work: Some(work), result: None, reply };
        self.queue.send(Message::Run(Box::new(call))).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Ends the task behind what waits already.
    pub(crate) async fn close(&self) {
        let (reply, done) = oneshot::channel();
        if self.queue.send(Message::Close(reply)).await.is_ok() {
            let _ = done.await;
        }
    }
}

async fn serve(mut tx: Tx, mut inbox: mpsc::Receiver<Message>) {
    let mut closing = None;
    while let Some(message) = inbox.recv().await {
        match message {
            Message::Run(first) => {
                if let Some(reply) = run_group(&mut tx, &mut inbox, first).await {
                    closing.get_or_insert(reply);
                    inbox.close();
                }
            }
            Message::Close(reply) => {
                closing.get_or_insert(reply);
                inbox.close();
            }
        }
    }
    if let Err(error) = tx.conn.close().await {
        tracing::warn!(%error, "the database file was not closed cleanly; it recovers at the next open");
    }
    if let Some(reply) = closing {
        let _ = reply.send(());
    }
}

/// One transaction for `first` and what waits behind it. Returns the request to close, if met.
async fn run_group(
    tx: &mut Tx,
    inbox: &mut mpsc::Receiver<Message>,
    first: Box<dyn Operation>,
) -> Option<oneshot::Sender<()>> {
    let mut group = Vec::new();
    let mut closing = None;
    let mut outcome = begin(&mut tx.conn).await;
    let mut next = Some(first);
    while let Some(mut operation) = next.take() {
        if outcome.is_ok() && !operation.is_abandoned() {
            outcome = run_one(tx, operation.as_mut()).await;
        }
        group.push(operation);
        if outcome.is_ok() && group.len() < GROUP_MAX {
            match inbox.try_recv() {
                Ok(Message::Run(operation)) => next = Some(operation),
                Ok(Message::Close(reply)) => closing = Some(reply),
                Err(_) => {}
            }
        }
    }
    if outcome.is_ok() {
        outcome = tx.conn.execute("COMMIT").await.map(drop);
    }
    let fault = outcome.err().map(|error| store_error(&error));
    if let Some(error) = &fault {
        tracing::warn!(%error, operations = group.len(), "a write transaction failed");
        // SQLite rolls back by itself after some errors; then there is nothing left to roll back.
        let _ = tx.conn.execute("ROLLBACK").await;
    }
    for operation in group {
        operation.answer(fault.as_ref());
    }
    closing
}

async fn begin(conn: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let mut tries = 1;
    loop {
        match conn.execute("BEGIN IMMEDIATE").await {
            Err(error) if is_busy(&error) && tries < BEGIN_TRIES_MAX => tries += 1,
            other => return other.map(drop),
        }
    }
}

/// Runs one operation inside its savepoint. An error here fails the whole group.
async fn run_one(tx: &mut Tx, operation: &mut dyn Operation) -> Result<(), sqlx::Error> {
    tx.now = tx.clock.now();
    tx.conn.execute("SAVEPOINT operation").await?;
    if !operation.run(tx).await {
        tx.conn.execute("ROLLBACK TO operation").await?;
    }
    tx.conn.execute("RELEASE operation").await?;
    Ok(())
}
