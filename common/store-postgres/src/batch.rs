//! Calls that wait together share a transaction: a bounded queue, and a few tasks that empty it.
//!
//! A statement for few costs the server nearly as much as one for many: its commit, its start, the rules of the table
//! that it reads anew. Hence calls gather. One that meets no other is done at once; while a batch is being written, a
//! second task takes what waits only when that has become much or has waited for a while; and behind a batch of many
//! the next one waits for as long as calls keep coming. Invariants: the answer of a call is sent once,
//! after the commit that made it true; a caller that has gone away leaves nothing open, since its future
//! only waits for an answer; the failure of one call is the failure of no other.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bul_job::Timestamp;
use bul_store::StoreError;
use futures::FutureExt;
use futures::future::BoxFuture;
use sqlx::{Connection, Executor, PgConnection};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::error::Elapsed;

use crate::Shared;
use crate::connect::{IDLE_MAX, Session};
use crate::fault::{Fault, Kind, closed, repeat, unanswered};
use crate::rows::Job;
use crate::servers::Link;

/// Calls that may wait in one queue. Beyond it callers wait for a place.
const QUEUE_MAX: usize = 2048;
/// How long calls gather while another task is at work. Too low: many small batches, each with the fixed cost of a
/// statement. Too high: a batch that hangs on a dead line holds up the calls behind it for longer.
const GATHER_MAX: Duration = Duration::from_millis(20);
/// Calls of a batch behind which more are sure to come, and how long their stream may pause before it counts as over.
/// Too few, or too long: workers with few slots wait for company that cannot come, since all of it is here.
const MANY: usize = 32;
const PAUSE_MAX: Duration = Duration::from_millis(1);
/// The part of a full batch that is worth a task of its own beside one at work.
const WORTH_A_TASK: usize = 4;
/// Bytes of bodies and documents in one batch, about: the one that crosses the line is still in.
const BYTES_MAX: usize = 8 * 1024 * 1024;
/// Batches beyond this many bytes give their memory back when they are done.
const BUFFER_KEPT_MAX: usize = 1024 * 1024;
/// How long a batch may take before its connection counts as dead.
const FLUSH_MAX: Duration = Duration::from_secs(10);
/// Pauses before a batch is tried again, by deadlock victims or on a new connection.
const RETRY_WAITS: [Duration; 4] = [
    Duration::from_millis(5),
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(500),
];
/// No further try once a batch has taken this long: its callers have timeouts of their own.
const RETRY_WITHIN: Duration = Duration::from_secs(3);

/// A kind of call that is done in batches.
pub(crate) trait Work: Send + Sync + Sized + 'static {
    /// Arguments of a call.
    type Op: Send + Sync + 'static;
    /// Its result.
    type Answer: Send + 'static;
    /// For the log.
    const NAME: &'static str;

    /// How much of a batch it takes.
    fn size(_op: &Self::Op) -> usize {
        1
    }

    /// Bytes it carries.
    fn bytes(_op: &Self::Op) -> usize {
        0
    }

    /// Does what has no result yet and sets the results of what is committed. May be called again on the
    /// same batch after an error.
    fn flush<'f>(
        shared: &'f Shared,
        conn: &'f mut PgConnection,
        batch: &'f mut [Waiting<Self>],
    ) -> BoxFuture<'f, Result<(), Fault>>;
}

/// A call in a batch.
pub(crate) struct Waiting<W: Work> {
    pub(crate) op: W::Op,
    pub(crate) result: Option<Result<W::Answer, StoreError>>,
    /// What was sent to the server last, in case that its answer is lost.
    pub(crate) sent: Option<Sent>,
    /// When it was sent before without an answer.
    pub(crate) sent_at: Vec<Timestamp>,
    reply: oneshot::Sender<Result<W::Answer, StoreError>>,
}

/// A transition whose commit may or may not have taken place. Its times, in microseconds, make it
/// unlikely enough that another's looks the same.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    core: bul_job::JobCore,
    started_at: Option<Timestamp>,
    ended_at: Option<Timestamp>,
}

impl Sent {
    pub(crate) fn of(job: &Job) -> Self {
        Self { core: job.core.clone(), started_at: job.started_at, ended_at: job.ended_at }
    }
}

/// The queue of one kind of call.
pub(crate) struct Batcher<W: Work> {
    queue: Mutex<Option<mpsc::Sender<Waiting<W>>>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl<W: Work> Batcher<W> {
    /// Starts `writers` tasks.
    pub(crate) fn start(shared: &Arc<Shared>, writers: usize, batch_max: usize) -> Self {
        let (queue, inbox) = mpsc::channel(QUEUE_MAX);
        let line = Arc::new(Line {
            inbox: tokio::sync::Mutex::new(inbox),
            at_work: AtomicUsize::new(0),
            last: AtomicUsize::new(0),
            done: Notify::new(),
        });
        let task = |_| {
            let writer = Writer {
                shared: Arc::clone(shared),
                line: Arc::clone(&line),
                link: None,
                batch_max: batch_max.max(1),
            };
            tokio::spawn(writer.serve())
        };
        let tasks = (0..writers.max(1)).map(task).collect();
        Self { queue: Mutex::new(Some(queue)), tasks: Mutex::new(tasks) }
    }

    /// Puts a call into the queue and waits for its answer.
    pub(crate) async fn run(&self, op: W::Op) -> Result<W::Answer, StoreError> {
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(closed)?;
        let (reply, answer) = oneshot::channel();
        queue
            .send(Waiting { op, result: None, sent: None, sent_at: Vec::new(), reply })
            .await
            .map_err(|_| closed())?;
        // Held any longer it would keep the tasks from ending.
        drop(queue);
        answer.await.map_err(|_| closed())?
    }

    /// Does what waits already, and ends the tasks.
    pub(crate) async fn close(&self) {
        drop(self.queue.lock().unwrap_or_else(PoisonError::into_inner).take());
        let tasks: Vec<_> = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            let _ = task.await;
        }
    }
}

/// What the tasks of one kind share.
struct Line<W: Work> {
    inbox: tokio::sync::Mutex<mpsc::Receiver<Waiting<W>>>,
    /// Tasks that have a batch in hand.
    at_work: AtomicUsize,
    /// Calls of the last batch.
    last: AtomicUsize,
    /// Woken when one of them is done.
    done: Notify,
}

/// Counts a task as being at work until it is dropped.
struct AtWork<'l, W: Work>(&'l Line<W>);

impl<'l, W: Work> AtWork<'l, W> {
    fn begin(line: &'l Line<W>) -> Self {
        line.at_work.fetch_add(1, Ordering::AcqRel);
        Self(line)
    }
}

impl<W: Work> Drop for AtWork<'_, W> {
    fn drop(&mut self) {
        self.0.at_work.fetch_sub(1, Ordering::AcqRel);
        self.0.done.notify_one();
    }
}

/// Calls of a batch, and how much there is of them.
struct Gathered<W: Work> {
    batch: Vec<Waiting<W>>,
    size: usize,
    bytes: usize,
}

impl<W: Work> Gathered<W> {
    fn add(&mut self, waiting: Waiting<W>) {
        // Nobody wants to know any more, and nothing has been done yet.
        if !waiting.reply.is_closed() {
            self.size += W::size(&waiting.op);
            self.bytes += W::bytes(&waiting.op);
            self.batch.push(waiting);
        }
    }

    /// Whether the batch begins now, or company is waited for.
    fn is_due(&self, batch_max: usize, is_alone: bool, more_to_come: bool) -> bool {
        let is_worth_a_task = self.size >= batch_max.div_ceil(WORTH_A_TASK) || self.bytes >= BYTES_MAX;
        is_worth_a_task || (is_alone && !more_to_come)
    }
}

struct Writer<W: Work> {
    shared: Arc<Shared>,
    line: Arc<Line<W>>,
    link: Option<Link>,
    batch_max: usize,
}

impl<W: Work> Writer<W> {
    async fn serve(mut self) {
        let line = Arc::clone(&self.line);
        loop {
            match self.collect().await {
                Ok(Some(batch)) => {
                    let _at_work = AtWork::begin(&line);
                    self.run(batch).await;
                }
                Ok(None) => return,
                Err(Elapsed { .. }) => self.link = None,
            }
        }
    }

    /// The next call and those behind it; `None` at the end, an error when none has come for long.
    async fn collect(&self) -> Result<Option<Vec<Waiting<W>>>, Elapsed> {
        let first = async {
            let mut inbox = self.line.inbox.lock().await;
            let first = inbox.recv().await;
            (inbox, first)
        };
        let (mut inbox, first) = tokio::time::timeout(IDLE_MAX, first).await?;
        let Some(first) = first else { return Ok(None) };
        let mut gathered = Gathered { batch: Vec::new(), size: 0, bytes: 0 };
        gathered.add(first);
        let more_to_come = self.line.last.load(Ordering::Relaxed) >= MANY;
        let end = tokio::time::sleep(GATHER_MAX);
        tokio::pin!(end);
        loop {
            while gathered.size < self.batch_max && gathered.bytes < BYTES_MAX {
                let Ok(next) = inbox.try_recv() else { break };
                gathered.add(next);
            }
            let is_alone = self.line.at_work.load(Ordering::Acquire) == 0;
            if gathered.is_due(self.batch_max, is_alone, more_to_come) {
                break;
            }
            tokio::select! {
                // In this order: a call that is there ends no pause.
                biased;
                next = inbox.recv() => match next {
                    Some(next) => gathered.add(next),
                    None => break,
                },
                () = self.line.done.notified() => {}
                () = tokio::time::sleep(PAUSE_MAX), if is_alone => break,
                () = &mut end => break,
            }
        }
        self.line.last.store(gathered.batch.len(), Ordering::Relaxed);
        Ok(Some(gathered.batch))
    }

    async fn run(&mut self, mut batch: Vec<Waiting<W>>) {
        if batch.is_empty() {
            return;
        }
        let fault = self.try_hard(&mut batch).await.err().map(StoreError::from);
        if let Some(error) = &fault {
            tracing::warn!(%error, batch = W::NAME, calls = batch.len(), "a batch was not written");
        }
        for waiting in batch {
            let result = match (waiting.result, &fault) {
                (Some(result), _) => result,
                (None, Some(fault)) => Err(repeat(fault)),
                (None, None) => Err(StoreError::Unavailable("the operation was not run".into())),
            };
            // A caller that has gone away does not want to know.
            let _ = waiting.reply.send(result);
        }
    }

    /// Tries a batch until it is done or nothing speaks for another try; alone where one spoils all.
    async fn try_hard(&mut self, batch: &mut [Waiting<W>]) -> Result<(), Fault> {
        let started = Instant::now();
        let mut waits = RETRY_WAITS.iter();
        loop {
            let Err(fault) = self.try_once(batch).await else { return Ok(()) };
            let kind = fault.kind();
            if batch.len() > 1 && matches!(kind, Kind::Constraint | Kind::Other) {
                for n in 0..batch.len() {
                    let one = &mut batch[n..=n];
                    if one[0].result.is_none()
                        && let Err(fault) = self.try_once(one).await
                    {
                        one[0].result = Some(Err(fault.into()));
                    }
                }
                return Ok(());
            }
            match waits.next() {
                Some(wait)
                    if matches!(kind, Kind::Contended | Kind::Broken) && started.elapsed() < RETRY_WITHIN =>
                {
                    tracing::debug!(error = %fault, batch = W::NAME, "trying again");
                    tokio::time::sleep(*wait).await;
                }
                _ => return Err(fault),
            }
        }
    }

    async fn try_once(&mut self, batch: &mut [Waiting<W>]) -> Result<(), Fault> {
        let kept = self.link.take().filter(|link| self.shared.door.servers.is_current(link.server));
        let mut link = match kept {
            Some(link) => link,
            None => self.shared.door.connect(Session::Batch).await?,
        };
        // A panic must not take the task along; it fails its own batch only.
        let flush = AssertUnwindSafe(W::flush(&self.shared, &mut link.conn, batch)).catch_unwind();
        let result = match tokio::time::timeout(FLUSH_MAX, flush).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => {
                return Err(StoreError::Failed("internal error, see the log".into()).into());
            }
            Err(_) => return Err(unanswered(W::NAME)),
        };
        match &result {
            Ok(()) => {
                if batch.iter().map(|waiting| W::bytes(&waiting.op)).sum::<usize>() > BUFFER_KEPT_MAX {
                    link.conn.shrink_buffers();
                }
                self.link = Some(link);
            }
            Err(fault) if fault.kind() == Kind::Broken => {}
            // Whether or not a transaction is open.
            Err(_) => {
                if link.conn.execute("ROLLBACK").await.is_ok() {
                    self.link = Some(link);
                }
            }
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confirm::ConfirmWork;

    #[test]
    fn a_lone_call_waits_for_nobody_and_a_second_task_for_many() {
        for (size, is_alone, more_to_come, expected) in [
            (1, true, false, true),
            (1, false, false, false),
            (1, true, true, false),
            (127, false, true, false),
            (128, false, true, true),
            (128, true, true, true),
        ] {
            let gathered = Gathered::<ConfirmWork> { batch: Vec::new(), size, bytes: 0 };
            let due = gathered.is_due(512, is_alone, more_to_come);
            assert_eq!(due, expected, "{size} {is_alone} {more_to_come}");
        }
        let heavy = Gathered::<ConfirmWork> { batch: Vec::new(), size: 1, bytes: BYTES_MAX };
        assert!(heavy.is_due(512, false, true));
    }
}
