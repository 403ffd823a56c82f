//! Cases about texts that are finished before their job is.

use std::sync::Arc;
use std::time::Duration;

use bul_job::{AttemptNo, FailureClass, JobId, State};
use serde_json::json;

use super::kit::*;
use super::{Fixture, rules};
use crate::{KeptText, Output, ReplayAs, Retention, Store, TEXT_BYTES_MAX, TEXTS_MAX};

fn text(request: u8, text: &str) -> KeptText {
    KeptText::new([request; 32], text.into(), 40 + u64::from(request)).expect("it is small")
}

/// What is kept for a job, in the order of the requests.
async fn kept(store: &Arc<dyn Store>, id: JobId) -> Vec<KeptText> {
    let mut texts = store.kept_texts(id).await.unwrap();
    texts.sort_by_key(KeptText::request);
    texts
}

async fn keep(store: &Arc<dyn Store>, id: JobId, attempt: AttemptNo, texts: &[KeptText]) {
    for text in texts {
        store.keep_text(id, attempt, text).await.unwrap();
    }
}

/// The lease of a worker that has died ends; the next attempt of its job.
async fn lost(fixture: &dyn Fixture, store: &Arc<dyn Store>, id: JobId) -> AttemptNo {
    fixture.advance(AGES);
    drain(store).await;
    begin(store, id).await.attempt
}

/// It survives the attempt and the process; texts of one job are not another's; what a text is made of comes back.
pub async fn the_next_attempt_finds_what_was_kept(mut fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let (id, first) = running(&store).await;
    let (other, others) = running(&store).await;
    let texts = [text(1, "Überschrift\u{0} und 🦀"), text(2, "")];
    keep(&store, id, first, &texts).await;
    keep(&store, other, others, &[text(1, "of another job")]).await;
    // A request has one answer: the first.
    keep(&store, id, first, &[text(1, "another answer")]).await;
    assert_eq!(kept(&store, id).await, texts);
    fixture.reopen().await;
    let store = fixture.store();
    let second = lost(fixture.as_ref(), &store, id).await;
    assert_eq!(kept(&store, id).await, texts);
    keep(&store, id, second, &[text(3, "more")]).await;
    assert_eq!(kept(&store, id).await.len(), 3);
    assert!(kept(&store, JobId::new()).await.is_empty());
    assert_not_found(store.keep_text(JobId::new(), second, &text(1, "x")).await);
}

/// A worker that was frozen, or has handed its job back, writes nothing any more.
pub async fn whoever_has_lost_its_lease_keeps_nothing(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let (id, first) = running(&store).await;
    assert_fenced(store.keep_text(id, first.next(), &text(1, "of the future")).await);
    store.hand_back(id, first).await.unwrap();
    assert_fenced(store.keep_text(id, first, &text(1, "handed back")).await);
    let second = lost(fixture.as_ref(), &store, id).await;
    assert_fenced(store.keep_text(id, first, &text(1, "frozen")).await);
    assert!(kept(&store, id).await.is_empty());
    keep(&store, id, second, &[text(2, "in charge")]).await;
    store.complete(id, second, &output()).await.unwrap();
    assert_fenced(store.keep_text(id, second, &text(3, "late")).await);
    assert!(kept(&store, id).await.is_empty());
}

/// Completed at once, completed by a later attempt, cancelled while it waits and while it runs.
pub async fn texts_go_with_the_end_of_their_job(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let mut jobs = Vec::new();
    for n in 0..4 {
        let (id, attempt) = running(&store).await;
        keep(&store, id, attempt, &[text(1, "one"), text(2, "two")]).await;
        jobs.push((id, attempt));
        assert_eq!(kept(&store, jobs[n].0).await.len(), 2);
    }
    let (at_once, attempt) = jobs[0];
    store.complete(at_once, attempt, &Output { kept_texts: true, ..output() }).await.unwrap();
    let (waits, attempt) = jobs[1];
    store.fail(waits, attempt, &failure(FailureClass::Transient)).await.unwrap();
    assert_eq!(kept(&store, waits).await.len(), 2, "a failure is not the end");
    store.cancel(&acme(), waits).await.unwrap();
    let (runs, attempt) = jobs[2];
    store.cancel(&acme(), runs).await.unwrap();
    store.fail(runs, attempt, &failure(FailureClass::Cancelled)).await.unwrap();
    let (later, _) = jobs[3];
    let second = lost(fixture.as_ref(), &store, later).await;
    store.complete(later, second, &output()).await.unwrap();
    for (id, _) in jobs {
        assert!(kept(&store, id).await.is_empty(), "{}", state(&store, id).await);
    }
    balanced(&store).await;
}

/// A replay goes on where the job was.
pub async fn a_dead_letter_has_its_texts_until_it_is_purged(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let mut letters = Vec::new();
    for _ in 0..2 {
        let (id, attempt) = running(&store).await;
        keep(&store, id, attempt, &[text(1, "one")]).await;
        store.fail(id, attempt, &failure(FailureClass::Permanent)).await.unwrap();
        assert_eq!((state(&store, id).await, kept(&store, id).await.len()), (State::Dead, 1));
        letters.push(id);
    }
    store.replay(&acme(), letters[0], None, ReplayAs::default(), "op").await.unwrap();
    let attempt = lost(fixture.as_ref(), &store, letters[0]).await;
    assert_eq!(kept(&store, letters[0]).await, [text(1, "one")]);
    store.complete(letters[0], attempt, &output()).await.unwrap();
    store.purge(&acme(), letters[1], "op").await.unwrap();
    for id in letters {
        assert!(kept(&store, id).await.is_empty());
    }
}

/// Nothing stays of a job that retention removes.
pub async fn texts_go_with_a_job_that_is_removed(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let id = accept(&store, json!({"query": "x"})).await;
    let attempt = begin(&store, id).await.attempt;
    keep(&store, id, attempt, &[text(1, "one")]).await;
    store.fail(id, attempt, &failure(FailureClass::Permanent)).await.unwrap();
    fixture.advance(AGES + rules().publish_grace);
    let keep = Retention { dead: Some(Duration::from_secs(1)), ..Retention::default() };
    assert_eq!(store.prune(&keep, None, 100).await.unwrap().dead, 1);
    assert!(kept(&store, id).await.is_empty());
    balanced(&store).await;
}

/// The largest text comes back; beyond the last place nothing is kept, and nothing fails.
pub async fn texts_keep_within_their_limits(fixture: Box<dyn Fixture>) {
    let store = fixture.store();
    let (id, attempt) = running(&store).await;
    let large = text(1, &"ü".repeat(TEXT_BYTES_MAX / 2));
    keep(&store, id, attempt, std::slice::from_ref(&large)).await;
    assert_eq!(kept(&store, id).await, [large]);
    let (many, attempt) = running(&store).await;
    for n in 0..=TEXTS_MAX as u64 {
        let mut request = [0; 32];
        request[..8].copy_from_slice(&n.to_be_bytes());
        let text = KeptText::new(request, n.to_string(), n).expect("it is small");
        store.keep_text(many, attempt, &text).await.unwrap();
    }
    let kept = kept(&store, many).await;
    assert_eq!((kept.len(), kept.last().map(KeptText::text)), (TEXTS_MAX, Some("999")));
}
