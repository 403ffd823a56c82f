//! Which life of the server's data this is: a random id in a durable queue of one message.
//!
//! It is written anew before any lane's queue is made. Data that were wiped, a virtual host that was
//! made again, or a deleted queue therefore show as another id, also to other processes. A classic
//! queue, since reading is get and requeue, and a quorum queue counts those against a limit.

use std::time::Duration;

use bul_broker::BrokerError;
use lapin::options::{BasicGetOptions, BasicNackOptions, BasicPublishOptions, ConfirmSelectOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Connection};

use crate::topology::{Maker, Names, TopologyError, within};

/// Looks for the message while another process holds it for a moment.
const TRIES: u32 = 20;
/// Pause between two looks.
const PAUSE: Duration = Duration::from_millis(25);
/// Longest id that is taken for one.
const ID_MAX: usize = 64;

/// One message: a newer id drops the older.
fn arguments() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("classic".into()));
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(1));
    arguments
}

/// Writes a new id. Two processes may do so at once: the later id stays, and both are new.
pub(crate) async fn renew(
    maker: &mut Maker<'_>,
    names: &Names,
    limit: Duration,
) -> Result<String, TopologyError> {
    if !maker.has_queue(&names.incarnation).await? {
        maker.queue(&names.incarnation, arguments()).await?;
    }
    let id = uuid::Uuid::now_v7().to_string();
    let channel = maker.channel();
    within(limit, channel.confirm_select(ConfirmSelectOptions::default())).await?;
    let options = BasicPublishOptions { mandatory: true, ..Default::default() };
    let properties = BasicProperties::default().with_delivery_mode(2);
    let publish =
        channel.basic_publish("".into(), names.incarnation.clone(), options, id.as_bytes(), properties);
    let confirm = within(limit, async { publish.await?.await }).await?;
    if !confirm.is_ack() || confirm.take_message().is_some() {
        return Err(TopologyError::Other(format!("queue {} takes no message", names.incarnation)));
    }
    Ok(id)
}

/// Writes a new id on a connection that may publish.
pub(crate) async fn replace(
    connection: &Connection,
    names: &Names,
    limit: Duration,
) -> Result<String, BrokerError> {
    let renewed = async { renew(&mut Maker::new(connection, limit).await?, names, limit).await };
    renewed.await.map_err(unavailable)
}

/// Reads the id; `None` when there is none.
pub(crate) async fn read(
    connection: &Connection,
    names: &Names,
    limit: Duration,
) -> Result<Option<String>, BrokerError> {
    let mut maker = Maker::new(connection, limit).await.map_err(unavailable)?;
    if !maker.has_queue(&names.incarnation).await.map_err(unavailable)? {
        return Ok(None);
    }
    for _ in 0..TRIES {
        let get = maker.channel().basic_get(names.incarnation.clone(), BasicGetOptions::default());
        if let Some(message) = within(limit, get).await.map_err(unavailable)? {
            // If this process dies here, its channel closes and the server requeues.
            let requeue = message.nack(BasicNackOptions { multiple: false, requeue: true });
            within(limit, requeue).await.map_err(unavailable)?;
            let id = std::str::from_utf8(&message.data).ok().filter(|id| (1..=ID_MAX).contains(&id.len()));
            return Ok(id.map(str::to_owned));
        }
        tokio::time::sleep(PAUSE).await;
    }
    Ok(None)
}

fn unavailable(error: TopologyError) -> BrokerError {
    BrokerError::Unavailable(error.to_string())
}
