//! The one writer: a task that owns the only connection that writes, fed by a bounded queue.
//!
//! Operations that wait together share one transaction and one sync of the disk (group commit): calls of
//! workers as one set, accepting calls as another, the rest one by one in the order they came. Each set
//! and each operation has a savepoint of its own, so that the failure of one leaves no trace in the
//! others. Invariant: a caller that goes away never leaves a transaction open, since its future only waits
//! for an answer; the transaction lives in this task, which awaits nothing but the database while it is
//! open.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use bul_job::{JobId, PublishNo, Rules, Timestamp};
use bul_store::{Accepted, KnownLimits, StoreError};
use futures::FutureExt;
use futures::future::BoxFuture;
use rand_chacha::ChaCha8Rng;
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection, Executor};
use tokio::sync::{mpsc, oneshot};

use crate::attempts::Reply;
use crate::confirm::{self, Confirmations};
use crate::fault::{Fault, is_busy, repeat, store_error};
use crate::intake::{Accepts, Prepared};
use crate::options::Monotone;
use crate::recent::Recent;
use crate::set::{self, Set, Waiting};
use crate::steps::{Step, Steps};

/// Operations that may wait. Beyond it callers wait for a place in the queue.
const QUEUE_MAX: usize = 2048;
/// Operations and accepted jobs in one transaction, about: the call that crosses the line is still in.
/// Too low: a sync of the disk for few. Too high: the first of them waits for the last.
const GROUP_MAX: usize = 1024;
/// Bytes of payloads and documents in one transaction, about.
const BYTES_MAX: usize = 8 * 1024 * 1024;
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
    pub(crate) recent: Recent,
    pub(crate) confirmations: Arc<Confirmations>,
    /// The last transaction failed, perhaps because the disk is full.
    pub(crate) in_trouble: bool,
    pub(crate) limits: Arc<KnownLimits>,
}

/// Handle of the writer task.
#[derive(Clone)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Message>,
    confirmations: Arc<Confirmations>,
}

enum Message {
    Accept(Waiting<Accepts>),
    Step(Waiting<Steps>),
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
            tx.in_trouble |= matches!(result, Err(StoreError::Unavailable(_) | StoreError::Failed(_)));
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

fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".into())
}

impl Writer {
    /// Starts the task.
    pub(crate) fn start(tx: Tx) -> Self {
        let (queue, inbox) = mpsc::channel(QUEUE_MAX);
        let confirmations = Arc::clone(&tx.confirmations);
        tokio::spawn(serve(tx, inbox));
        Self { queue, confirmations }
    }

    /// Runs `work` in a transaction and returns after its commit.
    pub(crate) async fn run<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, Fault>> + Send + 'static,
    {
        let (message, answer) = call(work);
        self.queue.send(message).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    pub(crate) async fn accept(&self, jobs: Vec<Prepared>) -> Result<Vec<Accepted>, StoreError> {
        let (waiting, answer) = Waiting::new(jobs);
        self.queue.send(Message::Accept(waiting)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    pub(crate) async fn step(&self, step: Step) -> Result<Reply, StoreError> {
        let (waiting, answer) = Waiting::new(step);
        self.queue.send(Message::Step(waiting)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    pub(crate) async fn published(&self, confirmed: &[(JobId, PublishNo)]) -> Result<(), StoreError> {
        if self.queue.is_closed() {
            return Err(closed());
        }
        let confirmed = self.confirmations.hold(confirmed);
        if confirmed.is_empty() {
            return Ok(());
        }
        self.run(move |tx| Box::pin(confirm::write(tx, confirmed))).await
    }

    /// Ends the task behind what waits already.
    pub(crate) async fn close(&self) {
        let (reply, done) = oneshot::channel();
        if self.queue.send(Message::Close(reply)).await.is_ok() {
            let _ = done.await;
        }
    }
}

/// A call that [`Operation`] can stand for, and where its answer comes out.
fn call<T, F>(work: F) -> (Message, oneshot::Receiver<Result<T, StoreError>>)
where
    T: Send + 'static,
    F: for<'t> FnOnce(&'t mut Tx) -> BoxFuture<'t, Result<T, Fault>> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    (Message::Run(Box::new(Call { work: Some(work), result: None, reply })), answer)
}

async fn serve(mut tx: Tx, mut inbox: mpsc::Receiver<Message>) {
    let confirmations = Arc::clone(&tx.confirmations);
    let mut closing = Vec::new();
    loop {
        tokio::select! {
            message = inbox.recv() => match message {
                Some(first) => run_group(&mut tx, &mut inbox, first, &mut closing).await,
                None => break,
            },
            () = confirmations.due() => {
                write_confirmed(&mut tx, &mut inbox, confirmations.turn(), &mut closing).await;
            }
        }
        if !closing.is_empty() {
            inbox.close();
        }
    }
    write_confirmed(&mut tx, &mut inbox, confirmations.take_all(), &mut closing).await;
    if let Err(error) = tx.conn.close().await {
        tracing::warn!(%error, "the database file was not closed cleanly; it recovers at the next open");
    }
    for reply in closing {
        let _ = reply.send(());
    }
}

/// Writes confirmations that have waited, together with what else waits.
async fn write_confirmed(
    tx: &mut Tx,
    inbox: &mut mpsc::Receiver<Message>,
    confirmed: Vec<(JobId, PublishNo)>,
    closing: &mut Vec<oneshot::Sender<()>>,
) {
    let jobs = confirmed.len();
    if jobs == 0 {
        return;
    }
    let (message, answer) = call(move |tx| Box::pin(confirm::write(tx, confirmed)));
    run_group(tx, inbox, message, closing).await;
    if let Ok(Err(error)) = answer.await {
        tracing::warn!(%error, jobs, "confirmations are lost; the jobs are published again");
    }
}

/// Calls of one transaction.
#[derive(Default)]
struct Group {
    accepts: Vec<Waiting<Accepts>>,
    steps: Vec<Waiting<Steps>>,
    others: Vec<Box<dyn Operation>>,
    size: usize,
    bytes: usize,
}

impl Group {
    fn is_full(&self) -> bool {
        self.size >= GROUP_MAX || self.bytes >= BYTES_MAX
    }

    /// Adds a call, unless its caller has gone and nothing has been done yet.
    fn push(&mut self, message: Message, closing: &mut Vec<oneshot::Sender<()>>) {
        match message {
            Message::Accept(call) if !call.is_abandoned() => {
                self.grow(Accepts::size(&call.op), Accepts::bytes(&call.op));
                self.accepts.push(call);
            }
            Message::Step(call) if !call.is_abandoned() => {
                self.grow(Steps::size(&call.op), Steps::bytes(&call.op));
                self.steps.push(call);
            }
            Message::Run(operation) if !operation.is_abandoned() => {
                self.grow(1, 0);
                self.others.push(operation);
            }
            Message::Close(reply) => closing.push(reply),
            Message::Accept(_) | Message::Step(_) | Message::Run(_) => {}
        }
    }

    fn grow(&mut self, size: usize, bytes: usize) {
        self.size += size;
        self.bytes += bytes;
    }

    fn append(&mut self, mut later: Self) {
        self.accepts.append(&mut later.accepts);
        self.steps.append(&mut later.steps);
        self.others.append(&mut later.others);
        self.grow(later.size, later.bytes);
    }

    /// An error here fails the whole transaction.
    async fn run(&mut self, tx: &mut Tx) -> Result<(), sqlx::Error> {
        set::run(tx, &mut self.accepts).await?;
        set::run(tx, &mut self.steps).await?;
        for operation in &mut self.others {
            run_one(tx, operation.as_mut()).await?;
        }
        Ok(())
    }

    fn answer(self, fault: Option<&StoreError>) {
        self.steps.into_iter().for_each(|call| call.answer(fault));
        self.accepts.into_iter().for_each(|call| call.answer(fault));
        self.others.into_iter().for_each(|operation| operation.answer(fault));
    }
}

/// One transaction for `first` and what waits behind it, and for what has come while that was done.
async fn run_group(
    tx: &mut Tx,
    inbox: &mut mpsc::Receiver<Message>,
    first: Message,
    closing: &mut Vec<oneshot::Sender<()>>,
) {
    let mut round = Group::default();
    round.push(first, closing);
    let mut group = Group::default();
    let mut outcome = Ok(());
    loop {
        while group.size + round.size < GROUP_MAX && group.bytes + round.bytes < BYTES_MAX {
            let Ok(message) = inbox.try_recv() else { break };
            round.push(message, closing);
        }
        if round.size == 0 {
            break;
        }
        if group.size == 0 {
            outcome = begin(tx).await;
        }
        if outcome.is_ok() {
            outcome = round.run(tx).await;
        }
        group.append(std::mem::take(&mut round));
        if outcome.is_err() || group.is_full() {
            break;
        }
    }
    if group.size > 0 {
        end(tx, group, outcome).await;
    }
}

/// Commits, or undoes everything, and answers.
async fn end(tx: &mut Tx, group: Group, mut outcome: Result<(), sqlx::Error>) {
    if outcome.is_ok() {
        outcome = tx.conn.execute("COMMIT").await.map(drop);
    }
    let fault = outcome.err().map(|error| store_error(&error));
    match &fault {
        None => Steps::committed(tx, &group.steps),
        Some(error) => {
            tracing::warn!(%error, operations = group.size, "a write transaction failed");
            tx.recent.clear();
            tx.in_trouble = true;
            // SQLite rolls back by itself after some errors; then there is nothing left to roll back.
            let _ = tx.conn.execute("ROLLBACK").await;
        }
    }
    group.answer(fault.as_ref());
}

/// Takes the write lock, and looks whether another process has written since the last time.
async fn begin(tx: &mut Tx) -> Result<(), sqlx::Error> {
    if tx.in_trouble {
        make_room(tx).await?;
    }
    let mut tries = 1;
    loop {
        let begun = sqlx::query_scalar("BEGIN IMMEDIATE; PRAGMA data_version").fetch_one(&mut tx.conn).await;
        match begun {
            Err(error) if is_busy(&error) && tries < BEGIN_TRIES_MAX => tries += 1,
            other => return other.map(|version: i64| tx.recent.at(version)),
        }
    }
}

/// Moves the write-ahead log into the file and cuts it off. On a full disk the log would otherwise take all the room that is
/// made, and nothing could ever be moved.
async fn make_room(tx: &mut Tx) -> Result<(), sqlx::Error> {
    tx.conn.execute("PRAGMA wal_checkpoint(TRUNCATE)").await?;
    tx.in_trouble = false;
    Ok(())
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
