//! The store passes the suite of all stores, on a real server.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bul_harness::Postgres;
use bul_store::Store;
use bul_store::conformance::{Fixture, ManualClock, rules};
use bul_store_postgres::{Options, PostgresStore};

struct OnServer {
    store: Arc<PostgresStore>,
    clock: ManualClock,
    server: Postgres,
}

async fn open(server: &Postgres, clock: &ManualClock) -> Arc<PostgresStore> {
    let clock = clock.clone();
    let options = Options {
        clock: Some(Arc::new(move || clock.now())),
        rules: rules(),
        seed: Some(1),
        confirm_delay: Duration::ZERO,
        ..Options::default()
    };
    Arc::new(PostgresStore::open(&server.url(), options).await.expect("open"))
}

#[async_trait]
impl Fixture for OnServer {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    async fn reopen(&mut self) -> bool {
        self.store.close().await;
        self.store = open(&self.server, &self.clock).await;
        true
    }
}

async fn fixture() -> Box<dyn Fixture> {
    let server = Postgres::start().expect("a server");
    let clock = ManualClock::new();
    let store = open(&server, &clock).await;
    Box::new(OnServer { store, clock, server })
}

bul_store::store_conformance!(fixture);
