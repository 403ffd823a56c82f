//! A primary and its standby: only the server that takes writes is used, for reading too.

mod patience;

use std::sync::Arc;

use bul_harness::{Postgres, free_port};
use bul_store::conformance::kit;
use bul_store::{Store, StoreErrorClass};
use bul_store_postgres::{OpenError, Options, PostgresStore};
use patience::insist;
use serde_json::json;

async fn accept_one(store: &Arc<dyn Store>) {
    let job = kit::new_job(store, json!({"query": "x"}));
    insist(|| store.accept(std::slice::from_ref(&job))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_server_that_takes_writes_is_used_and_followed() {
    let mut primary = Postgres::start().unwrap();
    let standby = primary.start_standby().unwrap();
    let (first, second) = (standby.port(), primary.port());
    let url = format!("postgres://postgres@127.0.0.1:{first},127.0.0.1:{second}/bul");
    // The standby is the first, answers, and is passed over.
    let store: Arc<dyn Store> = Arc::new(PostgresStore::open(&url, Options::default()).await.expect("open"));
    assert_eq!(store.info().location, format!("postgres://127.0.0.1:{first},127.0.0.1:{second}/bul"));
    assert!(
        !store.info().durability.contains("synchronous_standby_names is empty"),
        "{}",
        store.info().durability
    );
    accept_one(&store).await;

    primary.kill();
    let error = store.check().await.expect_err("nobody takes writes");
    assert_eq!(error.class(), StoreErrorClass::Transient);
    assert!(error.to_string().contains(&format!("127.0.0.1:{first}: it takes no writes")), "{error}");
    match PostgresStore::open(&url, Options::default()).await {
        Err(OpenError::Unreachable { source, .. }) => {
            assert!(source.to_string().contains(&format!("127.0.0.1:{second}: ")), "{source}");
        }
        other => panic!("{other:?}"),
    }

    standby.promote().unwrap();
    insist(|| store.check()).await.unwrap();
    accept_one(&store).await;
    // The former primary comes back as if nothing had happened: nothing is read from it.
    primary.restart().unwrap();
    accept_one(&store).await;
    assert_eq!(kit::balanced(&store).await.total.accepted, 3);
    assert_eq!(standby.psql("SELECT count(*) FROM bul.jobs").unwrap(), "3");
}

#[tokio::test]
async fn a_standby_alone_does_not_open() {
    let primary = Postgres::start().unwrap();
    // Nobody listens at the second address, and no standby is waited for: that is to be said.
    let two = format!("postgres://postgres@127.0.0.1:{},127.0.0.1:{}/bul", primary.port(), free_port());
    let store = PostgresStore::open(&two, Options::default()).await.expect("open");
    let promised = store.info().durability;
    assert!(promised.contains("synchronous_standby_names is empty"), "{promised}");
    store.close().await;
    let standby = primary.start_standby().unwrap();
    let Err(refused) = PostgresStore::open(&standby.url(), Options::default()).await else {
        panic!("a server that takes no writes is opened");
    };
    assert!(refused.to_string().contains("it takes no writes"), "{refused}");
}
