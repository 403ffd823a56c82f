//! Cases about lifecycle events.

use bul_job::{Event, EventKind, JobId, State};
use futures::StreamExt;

use super::Fixture;
use super::kit::*;
use crate::EventFilter;

/// More than any listener's buffer holds.
const FLOOD: u32 = 20_000;

async fn soon<T>(event: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, event).await.expect("an event was expected and none came")
}

fn progress(owner: &str, job: JobId, done: u32) -> Event {
    let at = bul_job::Timestamp::from_timestamp(1_800_000_000, 0).expect("in range");
    let kind = EventKind::Progress { stage: "generate".into(), done, total: 10 };
    Event { tenant: tenant(owner), job, at, kind }
}

/// By tenant, and by job where given; nothing from before.
pub async fn listeners_see_what_passes_their_filter(fixture: Box<dyn Fixture>) {
    let broker = fixture.broker();
    let (job, other) = (JobId::new(), JobId::new());
    broker.publish_event(progress("acme", job, 0)).await.unwrap();
    let of_tenant = EventFilter { tenant: tenant("acme"), job: None };
    let of_job = EventFilter { tenant: tenant("acme"), job: Some(job) };
    let mut tenants = broker.events(of_tenant).await.unwrap();
    let mut jobs = broker.events(of_job).await.unwrap();
    let end = EventKind::State { state: State::Completed, attempt: 1, message: None };
    let sent = [
        progress("globex", job, 1),
        progress("acme", other, 2),
        progress("acme", job, 3),
        Event { kind: end, ..progress("acme", job, 4) },
    ];
    for event in &sent {
        broker.publish_event(event.clone()).await.unwrap();
    }
    for expected in &sent[1..] {
        assert_eq!(soon(tenants.next()).await.as_ref(), Some(expected));
    }
    for expected in &sent[2..] {
        assert_eq!(soon(jobs.next()).await.as_ref(), Some(expected));
    }
    assert!(sent[3].is_final());
}

/// It loses events and no publisher waits for it; what comes later it still sees.
pub async fn a_slow_listener_blocks_nobody(fixture: Box<dyn Fixture>) {
    let broker = fixture.broker();
    let job = JobId::new();
    let mut slow = broker.events(EventFilter { tenant: tenant("acme"), job: Some(job) }).await.unwrap();
    let flood = async {
        for done in 0..=FLOOD {
            broker.publish_event(progress("acme", job, done)).await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, flood).await.expect("a slow listener holds the publisher up");
    let until_last = async {
        loop {
            let event = slow.next().await.expect("the listener lives on");
            if matches!(event.kind, EventKind::Progress { done: FLOOD, .. }) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, until_last).await.expect("the latest event was lost");
}

/// A watcher does not hang when the broker goes.
pub async fn close_ends_the_listeners(fixture: Box<dyn Fixture>) {
    let broker = fixture.broker();
    let mut listener = broker.events(EventFilter { tenant: tenant("acme"), job: None }).await.unwrap();
    broker.close().await;
    assert_eq!(tokio::time::timeout(PATIENCE, listener.next()).await.expect("the stream goes on"), None);
    assert!(broker.events(EventFilter { tenant: tenant("acme"), job: None }).await.is_err());
    assert!(broker.publish_event(progress("acme", JobId::new(), 0)).await.is_err());
}
