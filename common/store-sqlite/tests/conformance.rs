//! The store passes the suite of all stores, on a file and in memory.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bul_store::Store;
use bul_store::conformance::{Fixture, ManualClock, rules};
use bul_store_sqlite::{Options, SqliteStore};

struct Sqlite {
    store: Arc<SqliteStore>,
    clock: ManualClock,
    /// Absent in memory. Removed at the end of the test.
    folder: Option<tempfile::TempDir>,
}

impl Sqlite {
    async fn fixture(folder: Option<tempfile::TempDir>) -> Box<dyn Fixture> {
        let clock = ManualClock::new();
        let store = Arc::new(open(path(folder.as_ref()), &clock).await);
        Box::new(Self { store, clock, folder })
    }
}

fn path(folder: Option<&tempfile::TempDir>) -> PathBuf {
    folder.map_or_else(|| ":memory:".into(), |folder| folder.path().join("deep/er/bul.db"))
}

async fn open(path: PathBuf, clock: &ManualClock) -> SqliteStore {
    let clock = clock.clone();
    let options = Options {
        clock: Arc::new(move || clock.now()),
        rules: rules(),
        confirm_delay: Duration::ZERO,
        seed: Some(1),
        ..Options::default()
    };
    SqliteStore::open(path, options).await.expect("open")
}

#[async_trait]
impl Fixture for Sqlite {
    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }

    fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    async fn reopen(&mut self) -> bool {
        if self.folder.is_none() {
            return false;
        }
        self.store.close().await;
        self.store = Arc::new(open(path(self.folder.as_ref()), &self.clock).await);
        true
    }
}

mod file {
    use super::*;

    async fn fixture() -> Box<dyn Fixture> {
        Sqlite::fixture(Some(tempfile::tempdir().expect("a temporary folder"))).await
    }

    bul_store::store_conformance!(fixture);
}

mod memory {
    use super::*;

    async fn fixture() -> Box<dyn Fixture> {
        Sqlite::fixture(None).await
    }

    bul_store::store_conformance!(fixture);
}
