//! The connection to Redis: a pool, a time limit for each call, and a breaker.
//!
//! Invariant: a call returns within `timeout`, whatever the server does, and returns at once while the breaker is
//! open. Connecting goes on in a task of its own when a call's time is up. Called by the Redis tier and by shared
//! breakers; both go through one breaker, since it is one server.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bul_runtime::breaker::{BreakerOptions, BreakerState, Outcome};
use deadpool_redis::redis::{self, AsyncConnectionConfig, ErrorKind, FromRedisValue, Pipeline, RedisError};
use deadpool_redis::{Connection, Manager, Pool, PoolConfig, PoolError, Runtime, Timeouts};
use tracing::debug;

use super::{Location, RedisOptions};
use crate::{CacheMetrics, SharedBreaker};

/// How long a check waits for its answer.
const CHECK_MAX: Duration = Duration::from_secs(2);

/// Why a call gave no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LinkError {
    /// The breaker is open; nothing was sent.
    Skipped,
    /// The server answered that it will not: wrong type, memory full, read-only.
    Refused,
    /// No answer in time, or the connection failed.
    Failed,
}

/// The link could not be set up; nothing was connected to yet.
#[derive(Debug, thiserror::Error)]
#[error("the link to redis at {location} cannot be set up: {reason}")]
pub struct RedisLinkError {
    location: String,
    reason: &'static str,
}

/// A link to one server; see the module's text.
pub struct RedisLink {
    pool: Pool,
    location: Location,
    prefix: String,
    timeout: Duration,
    breaker: SharedBreaker,
}

impl fmt::Debug for RedisLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisLink").field("location", &self.location).finish_non_exhaustive()
    }
}

impl RedisLink {
    /// Sets the link up. Nothing is connected to: a server that is down now may be there later.
    ///
    /// # Errors
    /// When the address cannot be used at all.
    pub fn open(options: &RedisOptions, metrics: &CacheMetrics) -> Result<Arc<Self>, RedisLinkError> {
        let location = options.location.clone();
        if location.is_tls() {
            // Answers an error when the process has chosen before, which is as good.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let pool =
            pool(options).map_err(|reason| RedisLinkError { location: location.to_string(), reason })?;
        Ok(Arc::new(Self {
            pool,
            location,
            prefix: options.prefix.clone(),
            timeout: options.timeout,
            breaker: SharedBreaker::local("redis", options.breaker.clone(), metrics),
        }))
    }

    /// Where the server is, without its password.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// Connects and waits for an answer, whatever the breaker says.
    ///
    /// # Errors
    /// What is wrong, in words without the password.
    pub async fn check(&self) -> Result<(), String> {
        let gone = |error: PoolError| format!("redis at {}: {}", self.location, kind(&error));
        let mut connection = self.pool.get().await.map_err(gone)?;
        let ping = redis::cmd("PING");
        match tokio::time::timeout(CHECK_MAX, ping.query_async::<String>(&mut connection)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(format!("redis at {}: {:?}", self.location, error.kind())),
            Err(_) => Err(format!("redis at {} does not answer", self.location)),
        }
    }

    /// What the breaker before it does.
    pub fn state(&self) -> BreakerState {
        self.breaker.state()
    }

    /// What all names on the server begin with.
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// Connects, so that the first call finds a connection. Failure is for that call to meet.
    pub(crate) async fn warm(&self) {
        drop(self.pool.get().await);
    }

    /// Sends commands and reads their answers. Dropped midway, nothing is lost but the answer.
    pub(crate) async fn call<T: FromRedisValue>(&self, commands: &Pipeline) -> Result<T, LinkError> {
        let Ok(pass) = self.breaker.try_acquire() else { return Err(LinkError::Skipped) };
        let answered = tokio::time::timeout(self.timeout, async {
            let mut connection = self.connection().await?;
            commands.query_async::<T>(&mut connection).await.map_err(sort)
        })
        .await;
        let result = answered.unwrap_or(Err(LinkError::Failed));
        pass.record(match result {
            Ok(_) => Outcome::Success,
            Err(LinkError::Failed) => Outcome::Failure,
            // A server that is full or read-only works: its look-ups shall go on.
            Err(LinkError::Skipped | LinkError::Refused) => Outcome::Ignored,
        });
        result
    }

    async fn connection(&self) -> Result<Connection, LinkError> {
        let gone = |error: PoolError| {
            debug!(redis = %self.location, error = kind(&error), "no connection");
            LinkError::Failed
        };
        if self.pool.status().available > 0 {
            return self.pool.get().await.map_err(gone);
        }
        // A handshake, with TLS above all, takes longer than one call may. Cancelled with each call it would never
        // succeed; in its own task it does, and the next call finds the connection. The pool bounds the tasks.
        let pool = self.pool.clone();
        tokio::spawn(async move { pool.get().await }).await.map_err(|_| LinkError::Failed)?.map_err(gone)
    }
}

fn pool(options: &RedisOptions) -> Result<Pool, &'static str> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(options.connect_timeout))
        .set_response_timeout(Some(options.connect_timeout));
    let manager = Manager::new_with_config(options.location.info.clone(), config)
        .map_err(|_| "the address cannot be used")?;
    let timeouts = Timeouts {
        wait: Some(options.timeout),
        create: Some(options.connect_timeout),
        recycle: Some(options.timeout),
    };
    let config = PoolConfig { timeouts, ..PoolConfig::new(options.connections_max.max(1)) };
    Pool::builder(manager)
        .config(config)
        .runtime(Runtime::Tokio1)
        .build()
        .map_err(|_| "the pool is not built")
}

/// Tells an answer of a living server from a failure. The errors of a pipeline must be looked at one by one: the code
/// of the whole is not that of its parts.
fn sort(error: RedisError) -> LinkError {
    if error.kind() == ErrorKind::UnexpectedReturnType {
        return LinkError::Refused;
    }
    let refuses = |code: &str| matches!(code, "WRONGTYPE" | "OOM" | "READONLY" | "MISCONF" | "NOPERM");
    match error.into_server_errors() {
        Some(errors) if errors.iter().all(|(_, error)| refuses(error.code())) => LinkError::Refused,
        _ => LinkError::Failed,
    }
}

/// A word for the log; the whole text may name what should not be named.
fn kind(error: &PoolError) -> &'static str {
    match error {
        PoolError::Timeout(_) => "timeout",
        PoolError::Backend(error) if error.is_connection_refusal() => "refused",
        PoolError::Backend(error) if error.kind() == ErrorKind::AuthenticationFailed => "wrong password",
        PoolError::Backend(_) => "connection failed",
        _ => "pool",
    }
}

/// A breaker for a server that answers in a millisecond: opens after a handful of slow answers, looks again soon.
pub(super) fn breaker() -> BreakerOptions {
    BreakerOptions {
        window_ms: 10_000,
        calls_min: 5,
        failure_rate: 0.5,
        open_ms: 1_000,
        open_ms_max: 15_000,
        probes_max: 1,
        probes_to_close: 2,
    }
}
