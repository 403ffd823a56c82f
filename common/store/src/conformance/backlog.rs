//! Cases about what waits, by kind.

use std::sync::Arc;
use std::time::Duration;

use bul_job::{Group, JobId, Lane};
use chrono::TimeDelta;
use serde_json::{Value, json};

use super::Fixture;
use super::kit::*;
use crate::{BACKLOG_MAX, BacklogFilter, NewJob, Store, Waiting};

/// A job with the id that its group gives it, as everything that accepts jobs makes them.
fn grouped(store: &Arc<dyn Store>, owner: &str, value: Value) -> NewJob {
    let (owner, job) = (tenant(owner), valid(store, value));
    NewJob { id: JobId::in_group(Group::of(&owner, &job)), tenant: owner, job, source: "test".into() }
}

fn plan(area: &str, doc_type: &str) -> Value {
    json!({"query": "x", "business_area": area, "doc_type": doc_type})
}

fn invoice() -> Value {
    json!({"template": "invoice", "data": {"number": 7}})
}

async fn add(store: &Arc<dyn Store>, jobs: Vec<NewJob>) -> Vec<JobId> {
    let ids = jobs.iter().map(|job| job.id).collect();
    store.accept(&jobs).await.unwrap();
    ids
}

async fn look(store: &Arc<dyn Store>, filter: &BacklogFilter) -> Vec<Waiting> {
    store.backlog(filter).await.unwrap()
}

/// Template and area of each kind, and its jobs.
fn counts(kinds: &[Waiting]) -> Vec<(&str, &str, u64)> {
    kinds.iter().map(|kind| (kind.template.as_str(), kind.business_area.as_str(), kind.jobs)).collect()
}

/// Each kind with its oldest job, whoever's it is; document types of one area are kinds of their own.
pub async fn the_backlog_is_counted_by_kind(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    assert!(look(&store, &BacklogFilter::default()).await.is_empty());
    let mut jobs: Vec<NewJob> = (0..4).map(|_| grouped(&store, "acme", invoice())).collect();
    jobs.extend((0..3).map(|_| grouped(&store, "globex", plan("sales", "offer"))));
    jobs.extend((0..2).map(|_| grouped(&store, "acme", plan("sales", "plan"))));
    jobs.push(grouped(&store, "globex", invoice()));
    let ids = add(&store, jobs).await;
    let kinds = look(&store, &BacklogFilter::default()).await;
    assert_eq!(counts(&kinds), [("invoice", "", 5), ("document", "sales", 3), ("document", "sales", 2)]);
    let firsts: Vec<(JobId, &str)> = kinds.iter().map(|kind| (kind.first, kind.tenant.as_str())).collect();
    assert_eq!(firsts, [(ids[0], "acme"), (ids[4], "globex"), (ids[7], "acme")]);
    let offer = store.job(&kinds[1].tenant, kinds[1].first).await.unwrap().job.unwrap();
    assert_eq!(offer.doc_type.as_deref(), Some("offer"));
    assert_eq!(kinds[1].group, Group::of(&kinds[1].tenant, &offer));
}

/// What runs, has ended or comes much later is not waiting; what comes soon is.
pub async fn the_backlog_is_what_comes_next(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let jobs = (0..6).map(|_| grouped(&store, "acme", plan("legal", "memo"))).collect();
    let ids = add(&store, jobs).await;
    let filter = BacklogFilter { within: Duration::from_secs(10), ..BacklogFilter::default() };
    for (at, left) in [(0, 5), (1, 4)] {
        let attempt = begin(&store, ids[at]).await.attempt;
        assert_eq!(look(&store, &filter).await[0].jobs, left);
        if at == 0 {
            store.complete(ids[at], attempt, &output()).await.unwrap();
        }
    }
    store.cancel(&acme(), ids[2]).await.unwrap();
    let kinds = look(&store, &filter).await;
    assert_eq!((kinds[0].jobs, kinds[0].first), (3, ids[3]));
    for seconds in [5, 60] {
        let run_at = store.now() + TimeDelta::seconds(seconds);
        let mut job = invoice();
        job["run_at"] = json!(run_at.to_rfc3339());
        add(&store, vec![grouped(&store, "acme", job)]).await;
    }
    assert_eq!(counts(&look(&store, &filter).await), [("document", "legal", 3), ("invoice", "", 1)]);
    fixture.advance(Duration::from_secs(55));
    assert_eq!(look(&store, &filter).await[1].jobs, 2);
}

/// Only lanes that are asked for, in the turns in which they are served, and no more jobs than asked for.
pub async fn the_backlog_has_a_limit_and_lanes_take_turns(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let job = |area: &str, priority: &str| {
        let mut job = plan(area, "plan");
        job["priority"] = json!(priority);
        grouped(&store, "acme", job)
    };
    let mut jobs: Vec<NewJob> = (0..60).map(|_| job("sales", "normal")).collect();
    jobs.extend((0..60).map(|_| job("legal", "critical")));
    add(&store, jobs).await;
    let of =
        |lanes: &[Lane], limit| BacklogFilter { lanes: lanes.to_vec(), limit, ..BacklogFilter::default() };
    let kinds = look(&store, &of(&Lane::ALL, 40)).await;
    assert_eq!(counts(&kinds), [("document", "legal", 32), ("document", "sales", 8)], "eight turns and two");
    let kinds = look(&store, &of(&[Lane::Normal, Lane::Low], 40)).await;
    assert_eq!(counts(&kinds), [("document", "sales", 40)]);
    let kinds = look(&store, &of(&Lane::ALL, usize::MAX)).await;
    assert_eq!(kinds.iter().map(|kind| kind.jobs).sum::<u64>(), 120);
}

/// Beyond the limit nothing is counted, and what has begun is behind: the look goes on from there.
pub async fn a_long_backlog_is_seen_from_where_it_begins(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let mut ids = Vec::new();
    for (area, count) in [("sales", 6), ("legal", 3), ("finance", 2 * BACKLOG_MAX)] {
        let jobs = (0..count).map(|_| grouped(&store, "acme", plan(area, "plan"))).collect();
        ids.extend(add(&store, jobs).await);
    }
    for id in &ids[..5] {
        begin(&store, *id).await;
    }
    let filter = BacklogFilter { limit: 10, ..BacklogFilter::default() };
    let kinds = look(&store, &filter).await;
    let expected = [("document", "finance", 6), ("document", "legal", 3), ("document", "sales", 1)];
    assert_eq!(counts(&kinds), expected);
    let kinds = look(&store, &BacklogFilter::default()).await;
    assert_eq!(kinds.iter().map(|kind| kind.jobs).sum::<u64>(), BACKLOG_MAX as u64);
}
