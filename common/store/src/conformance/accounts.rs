//! Cases about leadership, keys, usage and health.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::Fixture;
use super::kit::*;
use crate::{
    ApiKey, BREAKER_FRESH, BreakerReport, Output, Permission, Presence, Receipt, StoreError, StoreErrorClass,
    Usage, UsageLine, WORKER_FRESH,
};

/// Taken once, renewed by its holder, free after its end.
pub async fn one_leader_at_a_time(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let lease = Duration::from_secs(15);
    let tasks = (0..8).map(|n| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.lead("scheduler", &format!("node-{n}"), lease).await.unwrap() })
    });
    let won: Vec<bool> = futures::future::join_all(tasks).await.into_iter().map(|r| r.unwrap()).collect();
    assert_eq!(won.iter().filter(|won| **won).count(), 1, "{won:?}");
    let holder = format!("node-{}", won.iter().position(|won| *won).unwrap());
    fixture.advance(Duration::from_secs(10));
    assert!(store.lead("scheduler", &holder, lease).await.unwrap(), "the holder renews");
    fixture.advance(Duration::from_secs(14));
    assert!(!store.lead("scheduler", "other", lease).await.unwrap(), "it was renewed");
    assert!(store.lead("retention", "other", lease).await.unwrap(), "roles are apart");
    fixture.advance(Duration::from_secs(1));
    assert!(store.lead("scheduler", "other", lease).await.unwrap(), "it has expired");
    assert!(!store.lead("scheduler", &holder, lease).await.unwrap(), "the old holder has lost it");
    store.resign("scheduler", &holder).await.unwrap();
    assert!(!store.lead("scheduler", "third", lease).await.unwrap(), "only the holder may resign");
    store.resign("scheduler", "other").await.unwrap();
    assert!(store.lead("scheduler", "third", lease).await.unwrap());
}

/// Told again and again while it is open; a process that says nothing any more has died.
pub async fn an_open_breaker_is_seen_until_it_closes_or_falls_silent(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let report = async |process: &str, dependency: &str, open: bool| {
        let (process, dependency) = (process.to_owned(), dependency.to_owned());
        store.report_breaker(&BreakerReport { process, dependency, open }).await.unwrap();
    };
    let seen = async || {
        let open = store.open_breakers().await.unwrap();
        open.into_iter().map(|b| (b.dependency, b.process, b.since)).collect::<Vec<_>>()
    };
    let entry = |dependency: &str, process: &str, since| (dependency.to_owned(), process.to_owned(), since);
    report("w1", "model", false).await;
    assert!(seen().await.is_empty());
    let start = store.now();
    report("w2", "model", true).await;
    report("w1", "model", true).await;
    report("w1", "cache", true).await;
    let all = [entry("cache", "w1", start), entry("model", "w1", start), entry("model", "w2", start)];
    assert_eq!(seen().await, all);
    fixture.advance(BREAKER_FRESH - Duration::from_secs(10));
    report("w1", "model", true).await;
    let told = store.open_breakers().await.unwrap()[1].clone();
    assert_eq!((told.since, told.reported_at), (start, store.now()), "it has been open all the time");
    fixture.advance(Duration::from_secs(10));
    assert_eq!(seen().await, [entry("model", "w1", start)], "the others have fallen silent");
    report("w1", "model", false).await;
    assert!(seen().await.is_empty());
    // After silence it is another outage.
    let later = store.now();
    report("w2", "model", true).await;
    assert_eq!(seen().await, [entry("model", "w2", later)]);
}

/// Those that say so, until they leave or fall silent.
pub async fn processes_know_who_is_there(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let attend = async |process: &str, presence| {
        store.attend(process, presence).await.unwrap().into_iter().collect::<Vec<_>>()
    };
    let here = Presence::Here;
    assert_eq!(attend("b", here).await, ["b"]);
    assert_eq!(attend("a", here).await, ["a", "b"]);
    assert_eq!(attend("c", here).await, ["a", "b", "c"]);
    fixture.advance(WORKER_FRESH - Duration::from_secs(10));
    assert_eq!(attend("a", here).await, ["a", "b", "c"]);
    assert_eq!(attend("c", Presence::Leaving).await, ["a", "b"]);
    fixture.advance(Duration::from_secs(10));
    assert_eq!(attend("a", here).await, ["a"], "the other has fallen silent");
    assert_eq!(attend("b", here).await, ["a", "b"], "and speaks again");
    assert_eq!(attend("b", Presence::Leaving).await, ["a"]);
    assert_eq!(attend("b", Presence::Leaving).await, ["a"], "leaving twice is harmless");
}

/// By hash; revoked for good.
pub async fn keys_are_found_until_revoked(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let key = |id: &str, name: &str, byte: u8| ApiKey {
        id: id.into(),
        name: name.into(),
        tenant: acme(),
        permission: Permission::Submit,
        hash: [byte; 32],
        created_at: store.now(),
        revoked_at: None,
    };
    store.add_key(&key("k1", "erp", 1)).await.unwrap();
    for twin in [key("k1", "other", 2), key("k2", "other", 1), key("k2", "erp", 2)] {
        let result = store.add_key(&twin).await;
        assert!(matches!(result, Err(StoreError::Conflict(_))), "{result:?}");
    }
    let found = store.find_key(&[1; 32]).await.unwrap().unwrap();
    assert_eq!((found.id.as_str(), found.name.as_str(), found.hash), ("k1", "erp", [1; 32]));
    assert_eq!((found.tenant, found.permission), (acme(), Permission::Submit));
    assert_eq!((found.created_at, found.revoked_at), (store.now(), None));
    assert!(store.find_key(&[2; 32]).await.unwrap().is_none());
    store.revoke_key("k1").await.unwrap();
    let revoked_at = Some(store.now());
    fixture.advance(AGES);
    store.revoke_key("k1").await.unwrap();
    assert!(store.find_key(&[1; 32]).await.unwrap().is_none());
    assert_eq!(only(store.keys().await.unwrap()).revoked_at, revoked_at, "the first time counts");
    assert_not_found(store.revoke_key("nobody").await);
    store.add_key(&key("k2", "erp", 2)).await.unwrap();
    store.add_key(&key("k3", "ci", 3)).await.unwrap();
    let names: Vec<_> = store.keys().await.unwrap().into_iter().map(|k| (k.name, k.id)).collect();
    assert_eq!(names.len(), 3);
    assert_eq!(names[0], ("ci".to_owned(), "k3".to_owned()));
}

/// Only completed jobs, only since, only the tenant's.
pub async fn usage_sums_by_template_and_area(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let complete = |template: &'static str, area: &'static str, tokens: u64| {
        let store = Arc::clone(&store);
        async move {
            let id = accept(&store, json!({"template": template, "business_area": area})).await;
            let attempt = begin(&store, id).await.attempt;
            let usage = Usage {
                prompt_tokens: tokens,
                cached_tokens: 1,
                output_tokens: 2,
                total_ms: 0.5,
                receipt: Receipt {
                    host_tokens: 3,
                    disk_tokens: 4,
                    remote_tokens: 5,
                    attached: 6,
                    preemptions: 7,
                    recomputed_tokens: 8,
                    ..Receipt::default()
                },
                ..Usage::default()
            };
            store.complete(id, attempt, &Output { usage, ..output() }).await.unwrap();
        }
    };
    complete("invoice", "finance", 1_000_000).await;
    fixture.advance(Duration::from_secs(10));
    let since = store.now();
    complete("invoice", "finance", 10).await;
    complete("invoice", "finance", 20).await;
    complete("invoice", "sales", 40).await;
    accept(&store, json!({"template": "invoice"})).await;
    let line = |area: &str, jobs: u64, prompt_tokens: u64| UsageLine {
        template: "invoice".into(),
        business_area: area.into(),
        jobs,
        prompt_tokens,
        cached_tokens: jobs,
        output_tokens: 2 * jobs,
        total_ms: 0.5 * jobs as f64,
        host_tokens: 3 * jobs,
        disk_tokens: 4 * jobs,
        remote_tokens: 5 * jobs,
        attached: 6 * jobs,
        preemptions: 7 * jobs,
        recomputed_tokens: 8 * jobs,
    };
    assert_eq!(store.usage(&acme(), since).await.unwrap(), [line("finance", 2, 30), line("sales", 1, 40)]);
    let all = store.usage(&acme(), since - AGES).await.unwrap();
    assert_eq!((all[0].jobs, all[0].prompt_tokens), (3, 1_000_030));
}

/// Both say something true.
pub async fn check_and_info_answer(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    store.check().await.unwrap();
    store.check().await.unwrap();
    let info = store.info();
    assert!(!info.kind.is_empty() && !info.version.is_empty() && !info.durability.is_empty());
    let before = store.now();
    fixture.advance(Duration::from_secs(1));
    assert_eq!(store.now() - before, chrono::TimeDelta::seconds(1));
    assert_eq!(balanced(&store).await.total.accepted, 0);
}

/// Reads and writes fail alike, and both may be tried elsewhere.
pub async fn a_closed_store_says_so(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let id = accept_any(&store).await;
    store.close().await;
    store.close().await;
    let write = store.cancel(&acme(), id).await.map(drop);
    let read = store.job(&acme(), id).await.map(drop);
    for result in [write, read, store.check().await] {
        let Err(error) = result else { panic!("a closed store worked") };
        assert!(matches!(error, StoreError::Unavailable(_)), "{error:?}");
        assert_eq!(error.class(), StoreErrorClass::Transient);
    }
}
