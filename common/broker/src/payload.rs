//! What a message on a lane carries: a job that the store knows, or a submission of a program that
//! publishes straight onto the broker.
//!
//! Tenant and lane come from the subject or routing key, `<lane>.<tenant>` with the number of a further partition behind
//! it, which the broker's own permissions guard; never from the bytes.

use bul_job::{Lane, Partition, TenantId};
use bytes::Bytes;

use crate::Message;

/// What a delivery carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// A job that the store has accepted and that is ready now.
    Ready(Message),
    /// Several such jobs of one tenant and lane, at least one.
    Bundle(Vec<Message>),
    /// Something another program has published. It must be accepted first, or kept as a dead letter.
    Foreign(Foreign),
}

impl Payload {
    /// The message, if it is a single one of ours.
    pub fn ready(&self) -> Option<&Message> {
        match self {
            Self::Ready(message) => Some(message),
            Self::Bundle(_) | Self::Foreign(_) => None,
        }
    }

    /// Whose it is and by which lane it goes, as one of ours says itself: adapters compare it with where it came from.
    pub fn owner(&self) -> Option<(&TenantId, Lane)> {
        let message = match self {
            Self::Ready(message) => message,
            Self::Bundle(messages) => messages.first()?,
            Self::Foreign(_) => return None,
        };
        Some((&message.tenant, message.lane))
    }
}

/// Bytes of another program, with what the broker says about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Foreign {
    /// Where it was published: the NATS subject or the AMQP routing key.
    pub subject: String,
    /// Whose it is; absent when the subject names no valid tenant.
    pub tenant: Option<TenantId>,
    /// The lane it came by.
    pub lane: Lane,
    /// Media type, if given: the NATS header `Content-Type` or the AMQP property `content_type`.
    pub content_type: Option<String>,
    /// What its publisher calls it: the NATS header `Nats-Msg-Id` or the AMQP property `message_id`.
    pub message_id: Option<String>,
    /// W3C trace context, if given.
    pub traceparent: Option<String>,
    /// Whether our mark was on it and the rest could not be read, for example after a downgrade.
    pub broken: Option<String>,
    /// Whether our mark was on it and names a newer form than this version reads. A worker of that version can
    /// take it: it is given back for a while before it counts as broken.
    pub newer: bool,
    /// The bytes as they came.
    pub body: Bytes,
}

/// The end of a subject or routing key: `<lane>.<tenant>` in the first partition, `<lane>.<tenant>.<partition>` in another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// Lane.
    pub lane: Lane,
    /// Tenant.
    pub tenant: TenantId,
    /// Partition of the lane.
    pub partition: Partition,
}

impl Route {
    /// Where a message goes when each lane has so many partitions.
    pub fn of(message: &Message, partitions: u8) -> Self {
        let partition = message.partition(partitions);
        Self { lane: message.lane, tenant: message.tenant.clone(), partition }
    }

    /// Reads what [`Display`](std::fmt::Display) writes.
    pub fn parse(text: &str) -> Option<Self> {
        let (lane, rest) = text.split_once('.')?;
        // A tenant's name has no dot.
        let (tenant, partition) = match rest.split_once('.') {
            None => (rest, Partition::FIRST),
            Some((tenant, number)) => {
                let partition = Partition::new(number.parse().ok()?)?;
                (tenant, Some(partition).filter(|further| *further != Partition::FIRST)?)
            }
        };
        Some(Self { lane: Lane::parse(lane)?, tenant: tenant.parse().ok()?, partition })
    }
}

impl std::fmt::Display for Route {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.lane.as_str(), self.tenant)?;
        match self.partition {
            Partition::FIRST => Ok(()),
            further => write!(f, ".{}", further.number()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_is_lane_tenant_and_perhaps_a_partition() {
        for (text, expected) in [
            ("high.acme", Some("high.acme")),
            ("normal.globex-2", Some("normal.globex-2")),
            ("high", None),
            ("urgent.acme", None),
            ("high.", None),
            ("high.a b", None),
            ("high.acme.3", Some("high.acme.3")),
            ("high.acme.0", None),
            ("high.acme.16", None),
            ("high.acme.3.1", None),
        ] {
            assert_eq!(Route::parse(text).map(|route| route.to_string()).as_deref(), expected, "{text}");
        }
    }
}
