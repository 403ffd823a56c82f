//! Waiting for a job: by its events, with the job itself as the truth.
//!
//! Invariant: the end of a job is never missed. Events may be lost and streams may break; whenever a
//! stream ends or is silent, the job is looked at.

use std::time::{Duration, Instant};

use bul_job::{Event, JobId};
use futures::StreamExt;

use super::Backend;
use super::types::JobView;
use crate::exit::{Exit, Fault};

/// Silence after which the job itself is looked at: a lost event costs this much.
const SILENCE: Duration = Duration::from_secs(5);
/// Pause before a broken stream is opened again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long a server may be away, for example for a restart, before the waiting ends.
const AWAY_MAX: Duration = Duration::from_secs(60);

/// Follows a job to its end. Events are handed to `on` as they come.
pub async fn follow(
    backend: &Backend,
    id: JobId,
    on: &mut (dyn FnMut(&Event) + Send),
) -> anyhow::Result<JobView> {
    let mut away_since = None;
    let mut seen = false;
    loop {
        // A stream begins with where the job is now; what happens later follows.
        if let Ok(mut stream) = backend.events(id).await {
            (away_since, seen) = (None, true);
            if let Some(job) = drain(backend, id, &mut stream, on).await? {
                return Ok(job);
            }
        }
        match backend.job(id).await {
            Ok(job) if job.status().state.is_final() => return Ok(job),
            Ok(_) => (away_since, seen) = (None, true),
            Err(error) => {
                let since = *away_since.get_or_insert_with(Instant::now);
                // A server that was never there is not waited for.
                if !seen || !is_unavailable(&error) || since.elapsed() > AWAY_MAX {
                    return Err(error);
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// `None` when the stream is over before the job is.
async fn drain(
    backend: &Backend,
    id: JobId,
    stream: &mut futures::stream::BoxStream<'static, anyhow::Result<Event>>,
    on: &mut (dyn FnMut(&Event) + Send),
) -> anyhow::Result<Option<JobView>> {
    loop {
        let over = match tokio::time::timeout(SILENCE, stream.next()).await {
            Ok(Some(Ok(event))) => {
                on(&event);
                if !event.is_final() {
                    continue;
                }
                true
            }
            Ok(Some(Err(_)) | None) => true,
            Err(_) => false,
        };
        match backend.job(id).await {
            Ok(job) if job.status().state.is_final() => return Ok(Some(job)),
            Err(error) if !is_unavailable(&error) => return Err(error),
            Ok(_) | Err(_) if over => return Ok(None),
            Ok(_) | Err(_) => {}
        }
    }
}

fn is_unavailable(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Fault>().is_some_and(|fault| fault.exit == Exit::Unavailable)
}
