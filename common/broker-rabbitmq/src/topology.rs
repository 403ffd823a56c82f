//! Exchanges and queues: their names, and making them.
//!
//! Everything is looked at before it is made, so that a program without the right to configure works
//! on what an operator has made, and so that lost queues are noticed: before a lane's queue is made, a
//! new incarnation is written. Called by `line` for each connection, and when something is missing.

use std::time::Duration;

use bul_job::{Lane, PARTITIONS_MAX, Partition, Queue};
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::protocol::{AMQPErrorKind, AMQPSoftError};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, Connection, ErrorKind, ExchangeKind};

use crate::incarnation;
use crate::server::Server;

/// Names of everything on the server.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    pub(crate) jobs: ShortString,
    pub(crate) events: ShortString,
    pub(crate) incarnation: ShortString,
    /// Start of the queues' names.
    jobs_prefix: String,
}

impl Names {
    pub(crate) fn new(prefix: &str) -> Self {
        Self {
            jobs: format!("{prefix}.jobs").into(),
            events: format!("{prefix}.events").into(),
            incarnation: format!("{prefix}.incarnation").into(),
            jobs_prefix: format!("{prefix}.jobs."),
        }
    }

    /// The first partition's is that of an undivided lane: a version without partitions works on it as it always did.
    pub(crate) fn queue(&self, queue: Queue) -> ShortString {
        format!("{}{queue}", self.jobs_prefix).into()
    }
}

/// Why something could not be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TopologyError {
    #[error("no answer within {0:?}")]
    Slow(Duration),
    #[error(transparent)]
    Amqp(#[from] lapin::Error),
    #[error("{0}")]
    Other(String),
}

impl TopologyError {
    /// Whether trying again cannot help until an operator acts.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Slow(_) => false,
            Self::Amqp(error) => {
                matches!(soft(error), Some(AMQPSoftError::ACCESSREFUSED | AMQPSoftError::PRECONDITIONFAILED))
            }
            Self::Other(_) => true,
        }
    }
}

/// Arguments of a lane's queue. `reject-publish`: where an operator's policy sets a longest length, the
/// dispatcher sees back-pressure instead of losing the oldest. Attempts are counted in the store, so no
/// delivery limit: the server would drop what the store holds for queued.
fn lane_arguments(server: &Server) -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("reject-publish".into()));
    if server.has_default_delivery_limit() {
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongLongInt(-1));
    }
    arguments
}

/// The reply code of a channel's end.
fn soft(error: &lapin::Error) -> Option<AMQPSoftError> {
    match error.kind() {
        ErrorKind::ProtocolError(error) => match error.kind() {
            AMQPErrorKind::Soft(soft) => Some(soft.clone()),
            AMQPErrorKind::Hard(_) => None,
        },
        _ => None,
    }
}

/// A channel that is opened again after a refusal has closed it.
pub(crate) struct Maker<'a> {
    connection: &'a Connection,
    channel: Channel,
    limit: Duration,
}

impl<'a> Maker<'a> {
    pub(crate) async fn new(connection: &'a Connection, limit: Duration) -> Result<Self, TopologyError> {
        let channel = within(limit, connection.create_channel()).await?;
        Ok(Self { connection, channel, limit })
    }

    pub(crate) fn channel(&self) -> &Channel {
        &self.channel
    }

    async fn again(&mut self) -> Result<(), TopologyError> {
        self.channel = within(self.limit, self.connection.create_channel()).await?;
        Ok(())
    }

    /// Whether the queue is there.
    pub(crate) async fn has_queue(&mut self, name: &ShortString) -> Result<bool, TopologyError> {
        let look = self.channel.queue_declare(
            name.clone(),
            QueueDeclareOptions::default().passive(),
            FieldTable::default(),
        );
        match within(self.limit, look).await {
            Ok(_) => Ok(true),
            Err(TopologyError::Amqp(error)) if soft(&error) == Some(AMQPSoftError::NOTFOUND) => {
                self.again().await?;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) async fn queue(
        &mut self,
        name: &ShortString,
        arguments: FieldTable,
    ) -> Result<(), TopologyError> {
        let make = self.channel.queue_declare(name.clone(), QueueDeclareOptions::durable(), arguments);
        within(self.limit, make).await.map(|_| ())
    }

    async fn exchange(&mut self, name: &ShortString) -> Result<(), TopologyError> {
        let look = ExchangeDeclareOptions { passive: true, ..Default::default() };
        let found =
            self.channel.exchange_declare(name.clone(), ExchangeKind::Topic, look, FieldTable::default());
        match within(self.limit, found).await {
            Ok(()) => return Ok(()),
            Err(TopologyError::Amqp(error)) if soft(&error) == Some(AMQPSoftError::NOTFOUND) => {
                self.again().await?
            }
            Err(error) => return Err(error),
        }
        let durable = ExchangeDeclareOptions { durable: true, ..Default::default() };
        let make =
            self.channel.exchange_declare(name.clone(), ExchangeKind::Topic, durable, FieldTable::default());
        within(self.limit, make).await
    }

    /// Binds; without the right to, an operator's binding is trusted: a missing one shows itself as an
    /// unroutable publication.
    async fn bind(
        &mut self,
        queue: &ShortString,
        exchange: &ShortString,
        key: &str,
    ) -> Result<(), TopologyError> {
        let bind = self.channel.queue_bind(
            queue.clone(),
            exchange.clone(),
            key.into(),
            QueueBindOptions::default(),
            FieldTable::default(),
        );
        match within(self.limit, bind).await {
            Err(TopologyError::Amqp(error)) if soft(&error) == Some(AMQPSoftError::ACCESSREFUSED) => {
                tracing::debug!(%queue, "not allowed to bind; the existing binding is used");
                self.again().await
            }
            bound => bound,
        }
    }
}

/// Keys of the messages that a queue takes, as [`Route`](bul_broker::Route) writes them.
fn keys(queue: Queue) -> String {
    match queue.partition {
        Partition::FIRST => format!("{}.*", queue.lane),
        further => format!("{}.*.{}", queue.lane, further.number()),
    }
}

/// What there is now.
pub(crate) struct Made {
    /// Whether a queue was missing.
    pub(crate) is_new: bool,
    /// Partitions of each lane: those wanted, and those that others have made beyond.
    pub(crate) partitions: u8,
}

/// Partitions that the server has, where these are wanted.
async fn partitions(maker: &mut Maker<'_>, names: &Names, wanted: u8) -> Result<u8, TopologyError> {
    let mut partitions = wanted.clamp(1, PARTITIONS_MAX);
    // The first lane's are made first: a process that died in between has left more of them than of the others'.
    while let Some(partition) = Partition::new(partitions) {
        if !maker.has_queue(&names.queue(Queue { lane: Lane::ALL[0], partition })).await? {
            break;
        }
        partitions += 1;
    }
    Ok(partitions)
}

/// Makes what is missing of these partitions and of those that others have made.
pub(crate) async fn make(
    connection: &Connection,
    names: &Names,
    server: &Server,
    (wanted, limit): (u8, Duration),
) -> Result<Made, TopologyError> {
    let mut maker = Maker::new(connection, limit).await?;
    maker.exchange(&names.jobs).await?;
    maker.exchange(&names.events).await?;
    let mut missing = Vec::new();
    let partitions = partitions(&mut maker, names, wanted).await?;
    for queue in Queue::all(partitions) {
        if !maker.has_queue(&names.queue(queue)).await? {
            missing.push(queue);
        }
    }
    if !missing.is_empty() {
        // Before the queues: a crash in between is seen again as missing queues, not as nothing.
        incarnation::renew(&mut maker, names, limit).await?;
    }
    for queue in &missing {
        maker.queue(&names.queue(*queue), lane_arguments(server)).await?;
    }
    for queue in Queue::all(partitions) {
        maker.bind(&names.queue(queue), &names.jobs, &keys(queue)).await?;
    }
    Ok(Made { is_new: !missing.is_empty(), partitions })
}

/// A call with a limit on its time.
pub(crate) async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, lapin::Error>>,
) -> Result<T, TopologyError> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => Ok(answer?),
        Err(_) => Err(TopologyError::Slow(limit)),
    }
}
