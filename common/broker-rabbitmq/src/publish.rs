//! Publishing with confirms: everything is sent, then every confirm awaited.
//!
//! `mandatory`, since a message that no queue takes is confirmed and lost otherwise. A channel serves
//! one call at a time, since a returned message does not say whose it was; a channel whose call did
//! not end cleanly is never used again. Called by `lib`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bul_broker::{BrokerError, Message, Parcel};
use futures::StreamExt;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Channel, Confirmation};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::Shared;
use crate::message::encode;
use crate::options::{IN_FLIGHT_MAX, PUBLISHERS_MAX};
use crate::topology::within;

/// Channels to publish on.
pub(crate) struct Publishers {
    permits: Semaphore,
    idle: Mutex<Vec<Channel>>,
}

impl Publishers {
    pub(crate) fn new() -> Self {
        Self { permits: Semaphore::new(PUBLISHERS_MAX), idle: Mutex::new(Vec::new()) }
    }

    /// A channel in confirm mode, an idle one if there is one that lives.
    async fn channel(&self, shared: &Shared) -> Result<Channel, BrokerError> {
        loop {
            let Some(idle) = self.idle.lock().pop() else { break };
            if idle.status().connected() {
                return Ok(idle);
            }
        }
        let connection = shared.publishing.get().await?;
        let limit = shared.options.call_timeout;
        let opened = async {
            let channel = within(limit, connection.create_channel()).await?;
            within(limit, channel.confirm_select(ConfirmSelectOptions::default())).await?;
            Ok(channel)
        };
        opened
            .await
            .map_err(|error: crate::topology::TopologyError| BrokerError::Unavailable(error.to_string()))
    }
}

/// What became of a call's messages.
#[derive(Default)]
struct Outcome {
    /// Places of those confirmed.
    confirmed: Vec<usize>,
    refused: usize,
    returned: Option<String>,
}

/// Publishes what is new.
pub(crate) async fn publish(shared: &Arc<Shared>, messages: &[Message]) -> Result<(), BrokerError> {
    let (new, epoch) = shared.recent.lock().unknown(messages, Instant::now());
    publish_all(shared, new, epoch, shared.options.bundle_max).await
}

/// Publishes each for itself, known or not.
pub(crate) async fn publish_apart(shared: &Arc<Shared>, messages: &[Message]) -> Result<(), BrokerError> {
    let epoch = shared.recent.lock().epoch();
    publish_all(shared, messages.iter().collect(), epoch, 1).await
}

async fn publish_all(
    shared: &Arc<Shared>,
    messages: Vec<&Message>,
    epoch: u64,
    bundle_max: usize,
) -> Result<(), BrokerError> {
    if messages.is_empty() {
        return Ok(());
    }
    if shared.publishing.is_blocked() {
        return Err(alarm());
    }
    let limit = shared.options.call_timeout;
    let Ok(permit) = tokio::time::timeout(limit, shared.publishers.permits.acquire()).await else {
        return Err(BrokerError::Full(format!("{PUBLISHERS_MAX} calls publish already")));
    };
    let channel = shared.publishers.channel(shared).await?;
    let parcels = bul_broker::parcels(messages, shared.options.partitions, bundle_max);
    let sent = send(shared, &channel, &parcels).await;
    drop(permit);
    let outcome = match sent {
        Ok(outcome) => outcome,
        Err(error) => {
            // Perhaps an exchange is missing: look before the next try.
            mend_later(shared);
            return Err(error);
        }
    };
    shared.publishers.idle.lock().push(channel);
    if let Some(returned) = outcome.returned {
        mend_later(shared);
        return Err(BrokerError::Unavailable(format!("no queue takes a message: {returned}")));
    }
    let confirmed: Vec<&Message> = outcome
        .confirmed
        .iter()
        .filter_map(|place| parcels.get(*place))
        .flat_map(|parcel| parcel.messages().iter().copied())
        .collect();
    shared.recent.lock().confirm(&confirmed, epoch, Instant::now());
    match outcome.refused {
        0 => Ok(()),
        refused => Err(BrokerError::Full(format!("the server refused {refused} messages: a queue is full"))),
    }
}

/// Sends and awaits every confirm; an error leaves the channel in no known state.
async fn send(shared: &Shared, channel: &Channel, parcels: &[Parcel<'_>]) -> Result<Outcome, BrokerError> {
    let exchange = &shared.recipe.names.jobs;
    let publish = |parcel: &Parcel<'_>| {
        let (key, properties, body) = encode(parcel, shared.options.partitions);
        async move {
            let unavailable = |error: lapin::Error| BrokerError::Unavailable(error.to_string());
            let options = BasicPublishOptions { mandatory: true, immediate: false };
            let sent = channel.basic_publish(exchange.clone(), key, options, &body, properties);
            sent.await.map_err(unavailable)?.await.map_err(unavailable)
        }
    };
    // In order: the first poll of each sends it.
    let mut confirms = futures::stream::iter(parcels.iter().map(publish)).buffered(IN_FLIGHT_MAX);
    let mut outcome = Outcome::default();
    let limit = shared.options.call_timeout;
    for place in 0..parcels.len() {
        match tokio::time::timeout(limit, confirms.next()).await {
            Ok(Some(Ok(Confirmation::Ack(None)))) => outcome.confirmed.push(place),
            Ok(Some(Ok(Confirmation::Ack(Some(message)) | Confirmation::Nack(Some(message))))) => {
                outcome.returned = Some(format!("{}: {}", message.routing_key, message.reply_text));
            }
            Ok(Some(Ok(Confirmation::Nack(None)))) => outcome.refused += 1,
            Ok(Some(Ok(Confirmation::NotRequested)) | None) => {
                return Err(BrokerError::Unavailable("the channel gives no confirms".into()));
            }
            Ok(Some(Err(error))) => return Err(error),
            Err(_) if shared.publishing.is_blocked() => return Err(alarm()),
            Err(_) => {
                let location = shared.recipe.places.location();
                return Err(BrokerError::Unavailable(format!(
                    "{location} confirms nothing within {limit:?}"
                )));
            }
        }
    }
    Ok(outcome)
}

pub(crate) fn alarm() -> BrokerError {
    BrokerError::Full("the server takes no publications: its memory or disk alarm is on".into())
}

/// Makes what is missing beside the caller, who has its error already.
fn mend_later(shared: &Arc<Shared>) {
    if shared.is_mending.swap(true, Ordering::SeqCst) {
        return;
    }
    let mender = Arc::clone(shared);
    shared.until_closed(async move {
        mender.mend().await;
        mender.is_mending.store(false, Ordering::SeqCst);
    });
}
