//! Cases about what sessions have said.

use std::sync::Arc;
use std::time::Duration;

use bul_job::{JobId, Timestamp};
use serde_json::json;

use super::Fixture;
use super::kit::*;
use crate::{Output, Retention, SessionTurn, Store, TURN_BYTES_MAX, TURNS_MAX};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 3_600);

fn turn(said: &str) -> SessionTurn {
    SessionTurn::new(format!("ask {said}"), format!("say {said}")).expect("it is small")
}

/// A job of a tenant that has said something in a session.
async fn says(store: &Arc<dyn Store>, owner: &str, session: &str, said: &str) -> JobId {
    let job = new_job_of(store, owner, json!({"query": "x", "session_id": session}));
    let id = accept_job(store, job).await;
    let attempt = begin(store, id).await.attempt;
    let turn = Some((session.to_owned(), turn(said)));
    store.complete(id, attempt, &Output { turn, ..output() }).await.unwrap();
    id
}

/// Who answered what in acme's session `s`.
async fn heard(store: &Arc<dyn Store>, until: Timestamp, limit: usize) -> Vec<String> {
    let turns = store.session_turns(&acme(), "s", until, limit).await.unwrap();
    turns.iter().map(|turn| turn.assistant().trim_start_matches("say ").to_owned()).collect()
}

/// The latest ones, the newest last; neither of other sessions and tenants, nor of jobs that had not ended by then.
pub async fn a_session_is_told_what_ended_before(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    for said in ["one", "two"] {
        fixture.advance(SECOND);
        says(&store, "acme", "s", said).await;
    }
    says(&store, "acme", "S", "another session").await;
    says(&store, "globex", "s", "another tenant").await;
    // A job without a turn, and one that has not ended.
    let (plain, attempt) = running(&store).await;
    store.complete(plain, attempt, &output()).await.unwrap();
    running(&store).await;
    let then = store.now();
    fixture.advance(SECOND);
    says(&store, "acme", "s", "three \u{0} 🦀").await;
    assert_eq!(heard(&store, then, 9).await, ["one", "two"]);
    assert_eq!(heard(&store, store.now(), 2).await, ["two", "three \u{0} 🦀"]);
    assert_eq!(heard(&store, then, 1).await, ["two"]);
    assert!(heard(&store, then, 0).await.is_empty());
    let told = store.session_turns(&tenant("globex"), "s", store.now(), 9).await.unwrap();
    assert_eq!(told, [turn("another tenant")]);
    assert!(store.session_turns(&acme(), "%", store.now(), 9).await.unwrap().is_empty());
    balanced(&store).await;
}

/// Jobs may end at the same moment; there is an order all the same, and never more than may be. The largest turn comes back.
pub async fn turns_of_one_moment_keep_their_order(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    for n in 0..TURNS_MAX + 3 {
        says(&store, "acme", "s", &format!("{n:02}")).await;
    }
    let told = heard(&store, store.now(), 1_000).await;
    assert_eq!((told.len(), told.last().map(String::as_str)), (TURNS_MAX, Some("34")));
    assert!(told.is_sorted(), "{told:?}");
    let large = SessionTurn::new("ü".repeat(TURN_BYTES_MAX / 2), String::new()).expect("it fits");
    assert!(SessionTurn::new(String::new(), "x".repeat(TURN_BYTES_MAX + 1)).is_none());
    fixture.advance(SECOND);
    let (id, attempt) = running(&store).await;
    let turn = Some(("s".to_owned(), large.clone()));
    store.complete(id, attempt, &Output { turn, ..output() }).await.unwrap();
    assert_eq!(store.session_turns(&acme(), "s", store.now(), 1).await.unwrap(), [large]);
}

/// A turn is text of a document: it is kept no longer.
pub async fn turns_go_with_the_documents(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    says(&store, "acme", "s", "old").await;
    fixture.advance(2 * DAY);
    says(&store, "acme", "s", "young").await;
    let bare = Retention { documents: Some(DAY), ..Retention::default() };
    assert_eq!(store.prune(&bare, None, 100).await.unwrap().documents, 2);
    assert_eq!(heard(&store, store.now(), 9).await, ["young"]);
    fixture.advance(2 * DAY);
    let gone = Retention { completed: Some(DAY), ..Retention::default() };
    assert_eq!(store.prune(&gone, None, 100).await.unwrap().completed, 2);
    assert!(heard(&store, store.now(), 9).await.is_empty());
    balanced(&store).await;
}
