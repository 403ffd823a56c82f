//! What every request can reach.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use bul_broker::Broker;
use bul_dlq_replayer::Replayer;
use bul_store::{Permission, Store};
use prometheus::Registry;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::health::Readiness;
use super::metrics::HttpMetrics;
use super::options::ProducerOptions;
use super::problem::Problem;
use crate::auth::{Auth, Caller};
use crate::submit::Intake;
use crate::templates::Templates;

/// The producer's parts, shared by all requests.
#[derive(Clone)]
pub struct AppState {
    pub(crate) inner: Arc<Inner>,
    pub(crate) stopping: CancellationToken,
}

pub(crate) struct Inner {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) templates: Arc<dyn Templates>,
    pub(crate) intake: Intake,
    pub(crate) replayer: Replayer,
    pub(crate) auth: Auth,
    pub(crate) options: ProducerOptions,
    pub(crate) registry: Registry,
    pub(crate) metrics: HttpMetrics,
    pub(crate) readiness: Readiness,
    pub(crate) requests: Semaphore,
    pub(crate) batches: Semaphore,
    pub(crate) streams: Arc<Semaphore>,
}

impl AppState {
    /// Puts the parts together. Registers the producer's metrics: once per registry.
    pub fn new(
        store: Arc<dyn Store>,
        broker: Arc<dyn Broker>,
        templates: Arc<dyn Templates>,
        registry: Registry,
        options: ProducerOptions,
    ) -> Self {
        let intake = Intake::new(store.clone(), broker.clone(), templates.clone()).with_metrics(&registry);
        let checked_by = templates.clone();
        let replayer = Replayer::new(store.clone(), *intake.limits())
            .with_check(Arc::new(move |job| checked_by.check(job)));
        let inner = Inner {
            auth: Auth::new(store.clone()),
            intake,
            replayer,
            metrics: HttpMetrics::new(&registry),
            readiness: Readiness::default(),
            requests: Semaphore::new(options.requests_max),
            batches: Semaphore::new(options.batches_max),
            streams: Arc::new(Semaphore::new(options.streams_max)),
            store,
            broker,
            templates,
            options,
            registry,
        };
        Self { inner: Arc::new(inner), stopping: CancellationToken::new() }
    }

    /// The intake, for others in this process who submit jobs.
    pub fn intake(&self) -> &Intake {
        &self.inner.intake
    }

    /// Recognises callers, for routes outside this crate.
    pub fn auth(&self) -> &Auth {
        &self.inner.auth
    }
}

macro_rules! caller_with {
    ($(#[$doc:meta])* $name:ident, $permission:ident) => {
        $(#[$doc])*
        pub struct $name(pub Caller);

        impl FromRequestParts<AppState> for $name {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, state: &AppState) -> Result<Self, Problem> {
                let auth = &state.inner.auth;
                Ok(Self(auth.caller(&parts.headers, Permission::$permission).await?))
            }
        }
    };
}

caller_with!(
    /// A caller who may read. Stands first among a handler's arguments: nothing of a request is read
    /// before its sender is known.
    Reader,
    Read
);
caller_with!(
    /// A caller who may submit and cancel.
    Submitter,
    Submit
);
caller_with!(
    /// A caller who may work on schedules and dead letters.
    Operator,
    Operate
);
