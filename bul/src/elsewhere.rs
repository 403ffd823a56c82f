//! The broker of a command that has none: the embedded one lives in the server's process.
//!
//! It confirms nothing. A job accepted beside it stays an unconfirmed publication in the store, which
//! the server's dispatcher sends a few seconds later. To confirm here would lose the job: the message
//! would end with this process.

use async_trait::async_trait;
use bul_broker::{Broker, BrokerError, BrokerInfo, Delivery, Depth, EventFilter, Message};
use bul_job::{Event, Queue};
use futures::stream::{BoxStream, StreamExt};

/// See the module.
pub struct Elsewhere;

fn elsewhere<T>() -> Result<T, BrokerError> {
    Err(BrokerError::Unavailable("the embedded broker runs in the server's process".into()))
}

#[async_trait]
impl Broker for Elsewhere {
    fn info(&self) -> BrokerInfo {
        BrokerInfo {
            kind: "elsewhere",
            version: env!("CARGO_PKG_VERSION").into(),
            location: "in the server's process".into(),
            durable: true,
            durability: "the store keeps every job until the server's dispatcher publishes it".into(),
            notes: Vec::new(),
        }
    }

    async fn publish(&self, _: &[Message]) -> Result<(), BrokerError> {
        elsewhere()
    }

    async fn fetch_from(&self, _: &[Queue], _: usize) -> Result<Vec<Box<dyn Delivery>>, BrokerError> {
        elsewhere()
    }

    async fn ready_in(&self, _: &[Queue]) -> Result<(), BrokerError> {
        elsewhere()
    }

    async fn depths(&self) -> Result<[Depth; 4], BrokerError> {
        elsewhere()
    }

    async fn publish_event(&self, _: Event) -> Result<(), BrokerError> {
        Ok(())
    }

    async fn events(&self, _: EventFilter) -> Result<BoxStream<'static, Event>, BrokerError> {
        Ok(futures::stream::empty().boxed())
    }

    async fn check(&self) -> Result<(), BrokerError> {
        Ok(())
    }

    async fn close(&self) {}
}
