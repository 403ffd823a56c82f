//! Messages a second over a server: `nats_throughput nats://127.0.0.1:4222 [MESSAGES]`.
//!
//! Publishes in batches of 1,000, then fetches and acks; each part three times, the median is told. The
//! machine's load stands beside the figures, since a busy one makes them worthless.

use std::time::Instant;

use bul_broker::{Broker, Message};
use bul_broker_nats::{NatsBroker, Options};
use bul_job::{JobId, Lane, PublishNo, TenantId};

const BATCH: usize = 1_000;
const ROUNDS: usize = 3;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let url = arguments.next().ok_or("which server? for example nats://127.0.0.1:4222")?;
    let count: usize = arguments.next().map_or(Ok(100_000), |text| text.parse())?;
    let broker =
        NatsBroker::open(&url, Options { prefix: "throughput".into(), ..Options::default() }).await?;
    let info = broker.info();
    println!("nats-server {} at {}, {count} messages, load {}", info.version, info.location, load());
    for callers in [1, 4] {
        for size in [64, 256] {
            let mut published = Vec::new();
            let mut consumed = Vec::new();
            for _ in 0..ROUNDS {
                published.push(publish(&broker, count, callers).await?);
                consumed.push(consume(&broker, count, size, callers).await?);
            }
            println!(
                "{callers} callers: publish {:>7.0}/s in batches of {BATCH}, fetch and ack {:>7.0}/s in batches of {size}, load {}",
                median(published),
                median(consumed),
                load()
            );
        }
    }
    broker.close().await;
    Ok(())
}

async fn publish(broker: &NatsBroker, count: usize, callers: usize) -> Outcome<f64> {
    let batch = |size: usize| -> Vec<Message> {
        let message = |_| Message {
            job: JobId::new(),
            tenant: TenantId::default_tenant(),
            lane: Lane::Normal,
            publish: PublishNo(1),
        };
        (0..size).map(message).collect()
    };
    let batches: Vec<Vec<Message>> =
        (0..count.div_ceil(BATCH)).map(|n| batch(BATCH.min(count - n * BATCH))).collect();
    let start = Instant::now();
    let callers = (0..callers).map(|caller| {
        let batches = batches.iter().skip(caller).step_by(callers);
        async move {
            for batch in batches {
                broker.publish(batch).await?;
            }
            Ok::<(), bul_broker::BrokerError>(())
        }
    });
    futures::future::try_join_all(callers).await?;
    Ok(count as f64 / start.elapsed().as_secs_f64())
}

async fn consume(broker: &NatsBroker, count: usize, size: usize, callers: usize) -> Outcome<f64> {
    let left = std::sync::atomic::AtomicI64::new(i64::try_from(count)?);
    let start = Instant::now();
    let callers = (0..callers).map(|_| async {
        while left.load(std::sync::atomic::Ordering::Relaxed) > 0 {
            for delivery in broker.fetch(Lane::Normal, size).await? {
                delivery.ack().await?;
                left.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
            }
        }
        Ok::<(), bul_broker::BrokerError>(())
    });
    futures::future::try_join_all(callers).await?;
    Ok(count as f64 / start.elapsed().as_secs_f64())
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_else(|_| "unknown".into());
    text.split(' ').next().unwrap_or("unknown").into()
}
