//! Over an encrypted connection, with a certificate that this machine does not know.

mod kit;

use bul_broker::Broker;
use bul_broker_rabbitmq::{OpenError, Options, RabbitBroker};
use bul_harness::RabbitMq;
use bul_job::Lane;

use kit::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_own_certificate_is_trusted_when_told_and_only_then() {
    let (_server, url, certificate) = RabbitMq::start_tls().expect("RabbitMQ starts");
    let error = RabbitBroker::open(&url, options()).await.err().expect("nobody vouches for this server");
    assert!(matches!(error, OpenError::Unreachable { .. }), "{error}");
    println!("{error}");
    let trusting = Options { trusted: Some(certificate), ..options() };
    let broker = RabbitBroker::open(&url, trusting).await.expect("the server is there");
    publish(&broker, &messages(Lane::Low, 3)).await;
    assert_eq!(drain(&broker, Lane::Low, 3).await.len(), 3);
    assert!(broker.info().location.starts_with("amqps://localhost:"));
    broker.close().await;
}
