//! Orderly end: one token to stop taking work, one to stop the work itself.
//!
//! First signal: `stopping` fires, work in hand has the grace period to finish, then `halting` fires
//! and unfinished jobs are handed back. Second signal: the process exits at once.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The two stages of an orderly end.
#[derive(Debug, Clone, Default)]
pub struct Shutdown {
    stopping: CancellationToken,
    halting: CancellationToken,
}

impl Shutdown {
    /// A running system.
    pub fn new() -> Self {
        Self::default()
    }

    /// Fires when no new work may be taken.
    pub fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// Fires when work in hand must be given back.
    pub fn halting(&self) -> &CancellationToken {
        &self.halting
    }

    /// Begins the end: stop now, halt after `grace`.
    pub async fn stop(&self, grace: Duration) {
        self.stopping.cancel();
        tokio::select! {
            () = tokio::time::sleep(grace) => {}
            () = self.halting.cancelled() => {}
        }
        self.halting.cancel();
    }

    /// Ends the work in hand without waiting for the grace period to pass.
    pub fn halt(&self) {
        self.stopping.cancel();
        self.halting.cancel();
    }
}

/// Waits for SIGTERM or SIGINT and begins the end; a second signal exits with 130 at once, for the
/// operator who will not wait.
pub async fn watch_signals(shutdown: Shutdown, grace: Duration) {
    let mut signals = match Signals::new() {
        Ok(signals) => signals,
        Err(error) => {
            warn!(%error, "signals cannot be watched; stop the process by other means");
            return;
        }
    };
    let name = signals.next().await;
    info!(signal = name, grace_ms = grace.as_millis() as u64, "stopping");
    tokio::select! {
        () = shutdown.stop(grace) => {}
        name = signals.next() => {
            warn!(signal = name, "second signal: exiting at once");
            std::process::exit(130);
        }
    }
}

struct Signals {
    term: tokio::signal::unix::Signal,
    int: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { term: signal(SignalKind::terminate())?, int: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.term.recv() => "SIGTERM",
            _ = self.int.recv() => "SIGINT",
        }
    }
}
