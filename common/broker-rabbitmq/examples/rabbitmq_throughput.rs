//! Messages per second through a RabbitMQ of this machine: published in batches, then fetched and
//! acked, then both at once. `cargo run --release --example rabbitmq_throughput -- [messages] [amqp://…]`

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use bul_broker::{Broker, Message};
use bul_broker_rabbitmq::{Options, RabbitBroker};
use bul_harness::RabbitMq;
use bul_job::{JobId, Lane, PublishNo};

const BATCH: usize = 1_000;
const WORKERS: usize = 16;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut args = std::env::args().skip(1);
    let number: usize = args.next().map_or(Ok(100_000), |text| text.parse())?;
    let (server, url) = match args.next() {
        Some(url) => (None, url),
        None => {
            let server = RabbitMq::start()?;
            let url = server.url();
            (Some(server), url)
        }
    };
    let producer = RabbitBroker::open(&url, Options::default()).await?;
    let consumer = RabbitBroker::open(&url, Options::default()).await?;
    println!("{} at {}; {}", producer.info().version, producer.info().location, load());
    for round in 1..=3 {
        let published = publish(&producer, number).await?;
        let consumed = consume(&consumer, number).await?;
        let start = Instant::now();
        let (first, second) = tokio::join!(publish(&producer, number), consume(&consumer, number));
        first?;
        second?;
        let both = number as f64 / start.elapsed().as_secs_f64();
        println!(
            "round {round}: published {published:.0}/s, fetched and acked {consumed:.0}/s, both at once {both:.0}/s; {}",
            load()
        );
    }
    producer.close().await;
    consumer.close().await;
    drop(server);
    Ok(())
}

/// Other work on the machine, to judge the figures by.
fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!("load {}", load.split(' ').next().unwrap_or("unknown"))
}

async fn publish(broker: &RabbitBroker, number: usize) -> anyhow::Result<f64> {
    let start = Instant::now();
    for batch in 0..number / BATCH {
        let lane = Lane::ALL[batch % Lane::ALL.len()];
        let message = || Message {
            job: JobId::new(),
            tenant: bul_job::TenantId::default_tenant(),
            lane,
            publish: PublishNo(1),
        };
        let batch: Vec<Message> = std::iter::repeat_with(message).take(BATCH).collect();
        broker.publish(&batch).await?;
    }
    Ok(number as f64 / start.elapsed().as_secs_f64())
}

async fn consume(broker: &RabbitBroker, number: usize) -> anyhow::Result<f64> {
    let (start, done) = (Instant::now(), Arc::new(AtomicUsize::new(0)));
    let worker = |_| {
        let (broker, done) = (broker.clone(), Arc::clone(&done));
        tokio::spawn(async move {
            while done.load(Ordering::SeqCst) < number {
                for lane in Lane::ALL {
                    for delivery in broker.fetch(lane, 8).await? {
                        delivery.ack().await?;
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                }
                let all_done = async {
                    while done.load(Ordering::SeqCst) < number {
                        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
                    }
                };
                tokio::select! {
                    woken = broker.ready(&Lane::ALL) => woken?,
                    () = all_done => {}
                }
            }
            anyhow::Ok(())
        })
    };
    for worker in (0..WORKERS).map(worker).collect::<Vec<_>>() {
        worker.await??;
    }
    Ok(number as f64 / start.elapsed().as_secs_f64())
}
