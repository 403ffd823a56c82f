//! Cases about what users see and command, and what one tenant may know of another.

use bul_job::{FailureClass, Format, JobId, Lane, State};
use serde_json::json;

use super::Fixture;
use super::kit::*;
use crate::{DeadFilter, JobFilter, JobSummary, PAGE_MAX, ReplayAs, ScheduleChange, page_size};

/// Open jobs end, a running one is asked to, an ended one refuses.
pub async fn cancel_in_every_state(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let queued = accept_any(&store).await;
    assert_eq!(store.cancel(&acme(), queued).await.unwrap().state, State::Cancelled);
    assert_refused(store.cancel(&acme(), queued).await);

    let run_at = (store.now() + AGES).to_rfc3339();
    let waiting = accept(&store, json!({"query": "x", "run_at": run_at})).await;
    let status = store.cancel(&acme(), waiting).await.unwrap();
    assert_eq!((status.state, status.due_at), (State::Cancelled, None));

    let (busy, attempt) = running(&store).await;
    for _ in 0..2 {
        assert_eq!(store.cancel(&acme(), busy).await.unwrap().state, State::Running);
    }
    assert!(detail(&store, busy).await.core.cancel_requested);
    let status = store.fail(busy, attempt, &failure(FailureClass::Cancelled)).await.unwrap();
    assert_eq!(status.state, State::Cancelled);

    let (completed, attempt) = running(&store).await;
    store.complete(completed, attempt, &output()).await.unwrap();
    assert_refused(store.cancel(&acme(), completed).await);
    let letter = dead(&store, json!({"query": "x"})).await;
    assert_refused(store.cancel(&acme(), letter).await);
    assert_eq!(balanced(&store).await.total.cancelled, 3);
}

/// By its sign of life; and a cancelled job is not retried.
pub async fn a_running_job_hears_of_its_cancellation(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let (id, attempt) = running(&store).await;
    assert!(!store.extend(id, attempt, LEASE).await.unwrap().cancel_requested);
    store.cancel(&acme(), id).await.unwrap();
    assert!(store.extend(id, attempt, LEASE).await.unwrap().cancel_requested);
    let status = store.fail(id, attempt, &failure(FailureClass::Transient)).await.unwrap();
    assert_eq!(status.state, State::Cancelled);
    // A worker that was done before it heard keeps its result; one that gives back ends the job.
    let (done, attempt) = running(&store).await;
    store.cancel(&acme(), done).await.unwrap();
    store.complete(done, attempt, &output()).await.unwrap();
    assert_eq!(state(&store, done).await, State::Completed);
    let (given_back, attempt) = running(&store).await;
    store.cancel(&acme(), given_back).await.unwrap();
    assert_eq!(store.hand_back(given_back, attempt).await.unwrap().state, State::Cancelled);
}

fn ids(page: &[JobSummary]) -> Vec<JobId> {
    page.iter().map(|summary| summary.id).collect()
}

/// Newest first, by state and template, page by page without gap or repetition.
pub async fn lists_filter_page_and_follow_the_cursor(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let mut all = Vec::new();
    for n in 0..10 {
        let template = if n % 2 == 0 { "invoice" } else { "report" };
        all.push(accept(&store, json!({"template": template})).await);
    }
    store.cancel(&acme(), all[3]).await.unwrap();
    let attempt = begin(&store, all[4]).await.attempt;
    store.complete(all[4], attempt, &output()).await.unwrap();
    let newest_first: Vec<JobId> = all.iter().rev().copied().collect();
    let list = |filter: JobFilter| {
        let store = &store;
        async move { store.jobs(&acme(), &filter).await.unwrap() }
    };

    assert_eq!(ids(&list(JobFilter::default()).await), newest_first);
    let mut seen = Vec::new();
    let mut before = None;
    loop {
        let page = list(JobFilter { before, limit: 3, ..Default::default() }).await;
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 3);
        before = Some(last.id);
        seen.extend(ids(&page));
    }
    assert_eq!(seen, newest_first);

    let invoices = list(JobFilter { template: Some("invoice".into()), ..Default::default() }).await;
    assert_eq!(
        ids(&invoices),
        newest_first
            .iter()
            .copied()
            .filter(|id| all.iter().position(|a| a == id).unwrap() % 2 == 0)
            .collect::<Vec<_>>()
    );
    let ended =
        list(JobFilter { states: vec![State::Cancelled, State::Completed], ..Default::default() }).await;
    assert_eq!(ids(&ended), [all[4], all[3]]);
    assert_eq!(ended[0].title, output().title);
    assert!(ended.iter().all(|summary| summary.ended_at.is_some()));
    let none =
        JobFilter { states: vec![State::Dead], template: Some("invoice".into()), ..Default::default() };
    assert!(list(none).await.is_empty());
    assert_eq!((page_size(0), page_size(usize::MAX)), (crate::PAGE_DEFAULT, PAGE_MAX));
}

/// Only queued jobs of the same lane count, accepted before.
pub async fn place_counts_the_lane(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let mut normal = Vec::new();
    for _ in 0..4 {
        normal.push(accept_any(&store).await);
        accept(&store, json!({"query": "x", "priority": "high"})).await;
    }
    for (place, id) in normal.iter().enumerate() {
        assert_eq!(store.place(*id).await.unwrap().before, Some(place as u64));
    }
    begin(&store, normal[0]).await;
    store.cancel(&acme(), normal[1]).await.unwrap();
    assert_eq!(store.place(normal[0]).await.unwrap().before, None);
    assert_eq!(store.place(normal[3]).await.unwrap().before, Some(1));
    assert_eq!(store.place(JobId::new()).await.unwrap().before, None);
    assert_eq!(detail(&store, normal[3]).await.summary.lane, Lane::Normal);
}

/// Every method that takes a tenant: what belongs to another does not exist.
pub async fn a_foreign_tenant_sees_nothing(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let foreign = tenant("globex");
    let (done, attempt) = running(&store).await;
    store.complete(done, attempt, &output()).await.unwrap();
    let open = accept_any(&store).await;
    let dead = dead(&store, json!({"query": "x"})).await;
    let schedule = super::schedules::schedule(&store, "acme", "daily");
    store.add_schedule(&schedule).await.unwrap();

    assert_not_found(store.job(&foreign, done).await);
    assert_not_found(store.document(&foreign, done, Format::Pdf).await);
    assert_not_found(store.cancel(&foreign, open).await);
    let job = valid(&store, json!({"query": "stolen"}));
    assert_not_found(store.edit_dead_letter(&foreign, dead, &job, "op").await);
    assert_not_found(store.replay(&foreign, dead, None, ReplayAs::default(), "op").await);
    assert_not_found(store.purge(&foreign, dead, "op").await);
    assert_not_found(store.remove_schedule(&foreign, schedule.id).await);
    assert_not_found(store.set_schedule(&foreign, schedule.id, ScheduleChange::Pause).await);
    assert!(store.jobs(&foreign, &JobFilter::default()).await.unwrap().is_empty());
    let by_id = DeadFilter { ids: vec![dead], ..Default::default() };
    assert!(store.dead_letters(&foreign, &by_id).await.unwrap().is_empty());
    assert_eq!(store.count_dead_letters(&foreign, &by_id).await.unwrap(), 0);
    assert!(store.schedules(&foreign).await.unwrap().is_empty());
    assert!(store.usage(&foreign, store.now() - AGES).await.unwrap().is_empty());
    store.purge(&acme(), dead, "op").await.unwrap();
    assert!(store.audit(&foreign, 10).await.unwrap().is_empty());

    assert_eq!(state(&store, open).await, State::Queued);
    assert!(!only(store.schedules(&acme()).await.unwrap()).paused);
    assert!(!balanced(&store).await.tenants.contains_key(&foreign));
}
