//! Cases about schedules and fires.

use std::sync::Arc;
use std::time::Duration;

use bul_job::{MissedPolicy, RawJob, ScheduleId, State, Timestamp};
use chrono::TimeDelta;
use serde_json::json;

use super::Fixture;
use super::kit::*;
use crate::{Accepted, NewJob, Schedule, ScheduleChange, Store, StoreError};

/// A schedule that fires in a minute.
pub fn schedule(store: &Arc<dyn Store>, owner: &str, name: &str) -> Schedule {
    Schedule {
        id: ScheduleId::new(),
        tenant: tenant(owner),
        name: name.into(),
        cron: "0 9 * * MON".into(),
        zone: "Europe/Berlin".into(),
        missed: MissedPolicy::All,
        job: RawJob::from_value(json!({"query": "weekly", "priority": 1, "data": {"ä": 1}}))
            .expect("well-formed"),
        paused: false,
        next_at: Some(store.now() + TimeDelta::seconds(60)),
        last_at: None,
    }
}

fn job_at(store: &Arc<dyn Store>, at: Timestamp) -> (Timestamp, NewJob) {
    (at, new_job(store, json!({"query": "weekly"})))
}

/// Stored as given, listed by name.
pub async fn names_are_unique_per_tenant(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let weekly = schedule(&store, "acme", "weekly");
    store.add_schedule(&weekly).await.unwrap();
    let twice = store.add_schedule(&schedule(&store, "acme", "weekly")).await;
    assert!(matches!(twice, Err(StoreError::Conflict(_))), "{twice:?}");
    store.add_schedule(&schedule(&store, "acme", "daily")).await.unwrap();
    store.add_schedule(&schedule(&store, "globex", "weekly")).await.unwrap();
    let listed = store.schedules(&acme()).await.unwrap();
    assert_eq!(listed.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["daily", "weekly"]);
    let found = &listed[1];
    assert_eq!((found.id, &found.tenant, &found.job), (weekly.id, &weekly.tenant, &weekly.job));
    assert_eq!((found.cron.as_str(), found.zone.as_str()), ("0 9 * * MON", "Europe/Berlin"));
    assert_eq!((found.missed, found.paused), (MissedPolicy::All, false));
    assert_eq!((found.next_at, found.last_at), (weekly.next_at, None));
}

/// Two leaders, the same fire: one job.
pub async fn a_fire_makes_one_job_whoever_fires(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let schedule = schedule(&store, "acme", "weekly");
    store.add_schedule(&schedule).await.unwrap();
    assert!(store.due_schedules(10).await.unwrap().is_empty());
    fixture.advance(Duration::from_secs(60));
    assert_eq!(only(store.due_schedules(10).await.unwrap()).id, schedule.id);
    let (first, second) = (schedule.next_at.unwrap(), schedule.next_at.unwrap() + TimeDelta::hours(1));
    let leaders = (0..2).map(|_| {
        let store = Arc::clone(&store);
        tokio::spawn(
            async move { store.fire(schedule.id, &[job_at(&store, first)], Some(second)).await.unwrap() },
        )
    });
    let made: Vec<Accepted> =
        futures::future::join_all(leaders).await.into_iter().flat_map(|r| r.unwrap()).collect();
    assert!(matches!(only(made), Accepted::New { state: State::Queued, publish: Some(_), .. }));
    assert_eq!(balanced(&store).await.total.accepted, 1);
    let moved = only(store.schedules(&acme()).await.unwrap());
    assert_eq!((moved.next_at, moved.last_at), (Some(second), Some(first)));
    assert!(store.due_schedules(10).await.unwrap().is_empty());
    let both = store.fire(schedule.id, &[job_at(&store, first), job_at(&store, second)], None).await.unwrap();
    assert_eq!(both.len(), 1, "the first was made before");
    assert_eq!(only(store.schedules(&acme()).await.unwrap()).next_at, None, "the calendar holds no more");
    assert_not_found(store.fire(ScheduleId::new(), &[job_at(&store, first)], None).await);
    assert_eq!(balanced(&store).await.total.accepted, 2);
}

/// What it fires was made before, and its idea of the next fire is out of date.
pub async fn a_frozen_leader_does_not_turn_the_calendar_back(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let schedule = schedule(&store, "acme", "weekly");
    store.add_schedule(&schedule).await.unwrap();
    let hour = |n| schedule.next_at.unwrap() + TimeDelta::hours(n);
    store
        .fire(schedule.id, &[job_at(&store, hour(0)), job_at(&store, hour(1))], Some(hour(2)))
        .await
        .unwrap();
    assert!(store.fire(schedule.id, &[job_at(&store, hour(0))], Some(hour(1))).await.unwrap().is_empty());
    let after = only(store.schedules(&acme()).await.unwrap());
    assert_eq!((after.next_at, after.last_at), (Some(hour(2)), Some(hour(1))));
}

/// A leader reads a schedule and is frozen; its successor fires once for a backlog and moves the calendar
/// on. The fires that the first one still wants were never made, and somebody has decided about them.
pub async fn no_fire_behind_the_calendar(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let schedule = schedule(&store, "acme", "weekly");
    store.add_schedule(&schedule).await.unwrap();
    let hour = |n| schedule.next_at.unwrap() + TimeDelta::hours(n);
    assert_eq!(store.fire(schedule.id, &[job_at(&store, hour(2))], Some(hour(3))).await.unwrap().len(), 1);
    let late = [job_at(&store, hour(0)), job_at(&store, hour(1)), job_at(&store, hour(3))];
    assert_eq!(store.fire(schedule.id, &late, Some(hour(4))).await.unwrap().len(), 1, "only the third");
    let after = only(store.schedules(&acme()).await.unwrap());
    assert_eq!((after.next_at, after.last_at), (Some(hour(4)), Some(hour(3))));
    assert_eq!(store.fire(schedule.id, &[job_at(&store, hour(4))], None).await.unwrap().len(), 1);
    let over = store.fire(schedule.id, &[job_at(&store, hour(5))], Some(hour(6))).await.unwrap();
    assert!(over.is_empty(), "the calendar holds no more");
    assert_eq!(balanced(&store).await.total.accepted, 3);
}

/// Not while paused, and not for what was missed.
pub async fn paused_schedules_are_not_due(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let schedule = schedule(&store, "acme", "weekly");
    store.add_schedule(&schedule).await.unwrap();
    store.set_schedule(&acme(), schedule.id, ScheduleChange::Pause).await.unwrap();
    fixture.advance(AGES);
    assert!(store.due_schedules(10).await.unwrap().is_empty());
    let late = store.fire(schedule.id, &[job_at(&store, store.now())], None).await.unwrap();
    assert!(late.is_empty(), "a leader that looked before the pause makes nothing");
    let next_at = Some(store.now() + TimeDelta::seconds(5));
    store.set_schedule(&acme(), schedule.id, ScheduleChange::Resume { next_at }).await.unwrap();
    let resumed = only(store.schedules(&acme()).await.unwrap());
    assert_eq!((resumed.paused, resumed.next_at), (false, next_at));
    assert!(store.due_schedules(10).await.unwrap().is_empty());
    fixture.advance(Duration::from_secs(5));
    assert_eq!(store.due_schedules(10).await.unwrap().len(), 1);
    assert_not_found(store.set_schedule(&acme(), ScheduleId::new(), ScheduleChange::Pause).await);
}

/// The name is free again, the jobs stay.
pub async fn a_removed_schedule_leaves_its_jobs(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let schedule = schedule(&store, "acme", "weekly");
    store.add_schedule(&schedule).await.unwrap();
    store.fire(schedule.id, &[job_at(&store, schedule.next_at.unwrap())], None).await.unwrap();
    store.remove_schedule(&acme(), schedule.id).await.unwrap();
    assert_not_found(store.remove_schedule(&acme(), schedule.id).await);
    assert!(store.schedules(&acme()).await.unwrap().is_empty());
    assert_eq!(balanced(&store).await.total.queued, 1);
    store.add_schedule(&self::schedule(&store, "acme", "weekly")).await.unwrap();
}
