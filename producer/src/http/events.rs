//! `/v1/jobs/{id}/events`: what happens to a job, as server-sent events.
//!
//! Invariant: a watcher always gets the final state and then the end of the stream, whatever events
//! were lost on the way: the stream compares itself with the store every few seconds. It ends with
//! the process, and after its longest age in any case; a browser then connects anew.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bul_broker::EventFilter;
use bul_job::{Event, EventKind, JobId, State as JobState, TenantId, Timestamp};
use bul_store::{JobDetail, Store, StoreError};
use futures::stream::{BoxStream, Stream, StreamExt};
use prometheus::IntGauge;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::params::Id;
use super::problem::Problem;
#[cfg(feature = "openapi")]
use super::shapes;
use super::state::{AppState, Reader};

/// A comment is sent when nothing happened for this long, so that proxies keep the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Server-sent events `state`, `progress` and `token`, from the current state to the final one.
#[cfg_attr(feature = "openapi", utoipa::path(get, path = "/v1/jobs/{id}/events", operation_id = "watch_job", tag = "jobs", params(("id" = uuid::Uuid, Path)),
    responses(shapes::Errors, (status = 200, description = "a stream that ends behind the final state", body = shapes::Event, content_type = "text/event-stream"))))]
pub(crate) async fn watch(
    Reader(caller): Reader,
    State(state): State<AppState>,
    Id(id): Id,
) -> Result<Response, Problem> {
    let inner = &state.inner;
    let permit = inner.streams.clone().try_acquire_owned().map_err(|_| {
        let detail = "too many event streams are open (streams_max)";
        Problem::later(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail)
    })?;
    // Listening begins before the first look at the store, so that nothing falls between.
    let filter = EventFilter { tenant: caller.tenant.clone(), job: Some(id) };
    let live = inner.broker.events(filter).await.unwrap_or_else(|error| {
        warn!(%error, "no live events, the stream follows the store alone");
        futures::stream::pending().boxed()
    });
    let detail = inner.store.job(&caller.tenant, id).await?;
    let mut reread = tokio::time::interval(inner.options.stream_reread);
    reread.set_missed_tick_behavior(MissedTickBehavior::Delay);
    reread.reset();
    let watcher = Watcher {
        store: inner.store.clone(),
        tenant: caller.tenant,
        id,
        live,
        live_ended: false,
        reread,
        ends_at: Instant::now() + inner.options.stream_age_max,
        stopping: state.stopping.clone(),
        next: Some(state_event(&detail, inner.store.now())),
        last: None,
        done: false,
        _open: Open::new(inner.metrics.streams.with_label_values::<&str>(&[]), permit),
    };
    let events = Sse::new(watcher.into_stream()).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    // Proxies that collect answers before passing them on would hold back the events.
    Ok(([("x-accel-buffering", "no")], events).into_response())
}

/// Counts an open stream until it is dropped.
struct Open {
    gauge: IntGauge,
    _permit: OwnedSemaphorePermit,
}

impl Open {
    fn new(gauge: IntGauge, permit: OwnedSemaphorePermit) -> Self {
        gauge.inc();
        Self { gauge, _permit: permit }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

struct Watcher {
    store: Arc<dyn Store>,
    tenant: TenantId,
    id: JobId,
    live: BoxStream<'static, Event>,
    live_ended: bool,
    reread: Interval,
    ends_at: Instant,
    stopping: CancellationToken,
    /// To be sent before anything else.
    next: Option<Event>,
    /// State and attempt sent last.
    last: Option<(JobState, u32)>,
    done: bool,
    _open: Open,
}

enum Seen {
    Live(Option<Event>),
    Reread,
    End,
}

impl Watcher {
    fn into_stream(self) -> impl Stream<Item = Result<SseEvent, Infallible>> {
        futures::stream::unfold(self, |mut watcher| async move {
            let event = watcher.next_event().await?;
            Some((Ok(wire(&event)), watcher))
        })
    }

    /// The next event worth sending; `None` at the end.
    async fn next_event(&mut self) -> Option<Event> {
        loop {
            if self.done {
                return None;
            }
            let event = match self.next.take() {
                Some(event) => event,
                None => match self.wait().await {
                    Seen::End => return None,
                    Seen::Live(Some(event)) => event,
                    Seen::Live(None) => {
                        self.live_ended = true;
                        continue;
                    }
                    Seen::Reread => match self.look().await {
                        Some(event) => event,
                        None => continue,
                    },
                },
            };
            if self.is_news(&event) {
                return Some(event);
            }
        }
    }

    async fn wait(&mut self) -> Seen {
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => Seen::End,
            event = self.live.next(), if !self.live_ended => Seen::Live(event),
            _ = self.reread.tick() => Seen::Reread,
            () = tokio::time::sleep_until(self.ends_at) => Seen::End,
        }
    }

    /// What the store says now. A store that is away for a moment is asked again at the next tick.
    async fn look(&mut self) -> Option<Event> {
        match self.store.job(&self.tenant, self.id).await {
            Ok(detail) => Some(state_event(&detail, self.store.now())),
            Err(StoreError::NotFound(_)) => {
                self.done = true;
                None
            }
            Err(error) => {
                debug!(%error, "watched job could not be read");
                None
            }
        }
    }

    /// A state that was sent already is none; the final one is the last.
    fn is_news(&mut self, event: &Event) -> bool {
        if let EventKind::State { state, attempt, .. } = &event.kind {
            let now = (*state, *attempt);
            if self.last.replace(now) == Some(now) {
                return false;
            }
            self.done = event.is_final();
        }
        true
    }
}

/// The state as an event: when it ended, or as seen now.
fn state_event(detail: &JobDetail, now: Timestamp) -> Event {
    let status = &detail.summary.status;
    let at = detail.summary.ended_at.unwrap_or(now);
    let kind =
        EventKind::State { state: status.state, attempt: status.attempt.0, message: status.message.clone() };
    // The tenant never gets onto the wire, see below.
    Event { tenant: TenantId::default_tenant(), job: detail.summary.id, at, kind }
}

/// Name, and data without the tenant, which the watcher knows.
fn wire(event: &Event) -> SseEvent {
    let name = match event.kind {
        EventKind::State { .. } => "state",
        EventKind::Progress { .. } => "progress",
        EventKind::Token { .. } => "token",
    };
    let mut data = serde_json::to_value(event).unwrap_or_default();
    if let Some(members) = data.as_object_mut() {
        members.remove("tenant");
    }
    SseEvent::default().event(name).data(data.to_string())
}
