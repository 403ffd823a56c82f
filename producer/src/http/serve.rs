//! The listener: connections are bounded, slow heads and clients that do not read are cut off, the end is orderly.
//!
//! `axum::serve` sets no time limit on a request's head, which lets anybody hold connections open
//! for free; hence the loop here.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use futures::FutureExt;
use futures::future::BoxFuture;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::options::ProducerOptions;
use super::stall::Stall;
use super::state::AppState;

/// Pause when the system gives out no more connections, which lasts until some are closed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves the API until `shutdown` fires, then lets open requests finish for at most `stop_grace`.
/// Event streams end at once.
pub fn serve(
    listener: TcpListener,
    state: AppState,
    shutdown: CancellationToken,
) -> BoxFuture<'static, io::Result<()>> {
    async move {
        let state = AppState { stopping: shutdown.clone(), ..state };
        let options = state.inner.options.clone();
        run(listener, super::router(state), &options, shutdown).await
    }
    .boxed()
}

/// Serves any other router, such as that of the metrics, under the same limits.
pub fn serve_router(
    listener: TcpListener,
    app: Router,
    shutdown: CancellationToken,
) -> BoxFuture<'static, io::Result<()>> {
    async move { run(listener, app, &ProducerOptions::default(), shutdown).await }.boxed()
}

async fn run(
    listener: TcpListener,
    app: Router,
    options: &ProducerOptions,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    info!(%address, "listening");
    let places = Arc::new(Semaphore::new(options.connections_max));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(options.header_timeout)
        .max_headers(options.headers_max)
        .max_buf_size(options.header_bytes_max.max(16 * 1024));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        // Taken before accepting: with all places taken, new connections wait in the backlog.
        let place = tokio::select! {
            () = shutdown.cancelled() => break,
            place = places.clone().acquire_owned() => place.map_err(io::Error::other)?,
        };
        let stream = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    rejected(&error).await;
                    continue;
                }
            },
        };
        no_delay(&stream);
        let service = TowerToHyperService::new(app.clone());
        let stream = TokioIo::new(Stall::new(stream, options.write_timeout));
        let connection = graceful.watch(http.serve_connection(stream, service));
        connections.spawn(async move {
            if let Err(error) = connection.await {
                debug!(%error, "connection ended");
            }
            drop(place);
        });
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    let open = connections.len();
    info!(%address, open, "listener stops");
    if tokio::time::timeout(options.stop_grace, graceful.shutdown()).await.is_err() {
        warn!(open = connections.len(), "connections cut off behind the grace period");
    }
    connections.shutdown().await;
    Ok(())
}

/// A connection that broke before it was accepted concerns its client alone; all else is a lack of
/// resources, and asking again at once would only burn time.
async fn rejected(error: &io::Error) {
    let theirs = matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    );
    if !theirs {
        warn!(%error, "no connection accepted");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// Answers are small: waiting to fill a packet would only delay them.
fn no_delay(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%error, "TCP_NODELAY not set");
    }
}
