//! Supervised tasks: each has a name and a span, none is forgotten, a panic is an error.

use std::future::Future;

use futures::FutureExt;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::task::JoinHandle;
use tracing::{Instrument, error, error_span};

/// The tasks of a role.
#[derive(Default)]
pub struct Tasks {
    handles: FuturesUnordered<futures::future::BoxFuture<'static, (&'static str, Result<(), String>)>>,
    aborts: Vec<tokio::task::AbortHandle>,
}

impl Tasks {
    /// No tasks yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task under a name.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let handle: JoinHandle<()> = tokio::spawn(task.instrument(error_span!("task", task.name = name)));
        self.aborts.push(handle.abort_handle());
        self.handles.push(
            handle
                .map(move |joined| match joined {
                    Ok(()) => (name, Ok(())),
                    Err(e) if e.is_cancelled() => (name, Ok(())),
                    Err(e) => (name, Err(panic_text(e))),
                })
                .boxed(),
        );
    }

    /// Waits for the next task to end; `None` when there are no more. An `Err` is a panic, with its
    /// text: the role must not go on as if nothing had happened.
    pub async fn next(&mut self) -> Option<(&'static str, Result<(), String>)> {
        let ended = self.handles.next().await;
        if let Some((name, Err(panic))) = &ended {
            error!(task.name = name, panic, "a task panicked");
        }
        ended
    }

    /// Waits for all tasks; the first panic is returned.
    pub async fn join(mut self) -> Result<(), String> {
        let mut first = Ok(());
        while let Some((name, result)) = self.next().await {
            if let (Err(panic), Ok(())) = (result, &first) {
                first = Err(format!("task {name} panicked: {panic}"));
            }
        }
        first
    }

    /// Aborts what is still running.
    pub fn abort(&self) {
        self.aborts.iter().for_each(tokio::task::AbortHandle::abort);
    }
}

/// The text of a panic, for the record of the job or task it ended.
fn panic_text(error: tokio::task::JoinError) -> String {
    match error.try_into_panic() {
        Ok(payload) => payload
            .downcast_ref::<&str>()
            .map(ToString::to_string)
            .or_else(|| payload.downcast_ref::<String>().cloned())
            .unwrap_or_else(|| "panic without a text".into()),
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_reported_with_its_name_and_text() {
        let mut tasks = Tasks::new();
        tasks.spawn("quiet", async {});
        tasks.spawn("loud", async { panic!("out of paper") });
        assert_eq!(tasks.join().await, Err("task loud panicked: out of paper".into()));
    }
}
