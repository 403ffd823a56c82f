//! Edits: alone, and as a part of a replay.

use super::*;

fn must_be_a_number() -> JobCheck {
    Arc::new(|job| {
        let wrong = job.data.get("a").is_some_and(|a| a.is_string());
        if wrong { Err(vec![FieldError::new("/data/a", "must be a number")]) } else { Ok(()) }
    })
}

async fn actions(store: &dyn Store) -> Vec<(String, JobId)> {
    store.audit(&tenant(), 100).await.unwrap().into_iter().map(|line| (line.action, line.job)).collect()
}

#[tokio::test]
async fn an_edit_is_checked_and_answers_with_the_difference() {
    let store = store().await;
    let replayer = Replayer::new(store.clone(), Limits::default()).with_check(must_be_a_number());
    let id = dead(store.as_ref(), "invoice", "x").await;
    let edit = async |edit| replayer.edit(&tenant(), id, edit, "ann").await;

    let patch = Edit::Patch(json!({"data": {"a": 2}, "priority": "high"}));
    let seen = replayer.preview(&tenant(), id, patch.clone()).await.unwrap();
    assert!(seen.changed && seen.dry_run);
    assert_eq!(replayer.show(&tenant(), id).await.unwrap().job.unwrap().data["a"], 1);
    let report = edit(patch).await.unwrap();
    assert!(report.changed && report.diff == seen.diff);
    assert!(report.diff.contains("-    \"a\": 1\n+    \"a\": 2\n"), "{}", report.diff);
    let letter = replayer.show(&tenant(), id).await.unwrap();
    assert_eq!(letter.job.unwrap().data["a"], 2);

    let same = edit(Edit::Patch(json!({}))).await.unwrap();
    assert_eq!((same.changed, same.diff.as_str()), (false, ""));
    for bad in [json!({"data": {"a": "x"}}), json!({"colour": 1}), json!({"formats": ["doc"]}), json!([])] {
        let error = edit(Edit::Patch(bad.clone())).await.unwrap_err();
        assert!(matches!(error, EditError::Invalid(JobError::Fields(_))), "{bad}: {error}");
    }
    let unknown = replayer.edit(&tenant(), JobId::new(), Edit::Patch(json!({})), "ann").await.unwrap_err();
    assert!(matches!(unknown, EditError::Store(StoreError::NotFound(_))));
    let audit = store.audit(&tenant(), 10).await.unwrap();
    assert_eq!(audit.iter().filter(|line| line.action == "dlq.edit").count(), 1);
}

async fn unreadable(store: &dyn Store) -> JobId {
    let message = UnreadableMessage {
        tenant: tenant(),
        raw: b"{broken".to_vec(),
        message_id: None,
        reason: "not JSON".into(),
        source: "nats".into(),
    };
    store.accept_unreadable(&message).await.unwrap()
}

#[tokio::test]
async fn an_unreadable_message_takes_a_whole_job_only() {
    let store = store().await;
    let replayer = Replayer::new(store.clone(), Limits::default());
    let id = unreadable(store.as_ref()).await;
    let error =
        replayer.edit(&tenant(), id, Edit::Patch(json!({"template": "invoice"})), "ann").await.unwrap_err();
    assert!(matches!(error, EditError::NothingToPatch));
    let raw = RawJob::from_value(json!({"template": "invoice"})).unwrap();
    let report = replayer.edit(&tenant(), id, Edit::Whole(Box::new(raw)), "ann").await.unwrap();
    assert!(report.diff.contains("+  \"template\": \"invoice\""), "{}", report.diff);
    let done = replay(&replayer, &Selection::Ids(vec![id]), &ReplayOptions::default()).await;
    assert_eq!(done.replayed, 1);
}

#[tokio::test]
async fn a_patch_is_shown_first_and_then_made_with_each_replay() {
    let store = store().await;
    let replayer = Replayer::new(store.clone(), Limits::default()).with_check(must_be_a_number());
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.push(dead(store.as_ref(), "invoice", "x").await);
    }
    let unreadable = unreadable(store.as_ref()).await;
    let patch = Some(json!({"data": {"a": 2}}));
    let dry = ReplayOptions { dry_run: true, patch: patch.clone(), ..Default::default() };
    let dry = replay(&replayer, &all(), &dry).await;
    assert_eq!((dry.matched, dry.replayed, dry.edits.len()), (8, 0, 5));
    assert!(dry.edits.iter().all(|e| e.dry_run && e.diff.contains("-    \"a\": 1\n+    \"a\": 2\n")));
    assert_eq!(dry.refusals.iter().map(|r| r.id).collect::<Vec<_>>(), [unreadable]);
    assert_eq!(actions(store.as_ref()).await, []);

    let done = replay(&replayer, &all(), &ReplayOptions { patch, ..Default::default() }).await;
    assert_eq!((done.replayed, done.failed, done.edits.len(), done.refusals.len()), (7, 1, 5, 1));
    let audit = actions(store.as_ref()).await;
    for id in ids {
        assert_eq!(store.job(&tenant(), id).await.unwrap().job.unwrap().data["a"], 2);
        assert!(
            audit.contains(&("dlq.edit".to_owned(), id)) && audit.contains(&("dlq.replay".to_owned(), id))
        );
    }
    assert_eq!((audit.len(), state(store.as_ref(), unreadable).await), (14, State::Dead));
}

#[tokio::test]
async fn a_patch_that_does_not_fit_leaves_the_letter_as_it_is() {
    let store = store().await;
    let replayer = Replayer::new(store.clone(), Limits::default()).with_check(must_be_a_number());
    let id = dead(store.as_ref(), "invoice", "x").await;
    let wrong = ReplayOptions { patch: Some(json!({"data": {"a": "x"}})), ..Default::default() };
    let many = replay(&replayer, &all(), &wrong).await;
    assert_eq!((many.replayed, many.failed), (0, 1));
    assert!(many.refusals[0].message.contains("must be a number"), "{many:?}");
    let one = replayer.replay_one(&tenant(), id, &wrong, "ann").await.unwrap_err();
    assert!(matches!(one, ReplayError::Edit(EditError::Invalid(_))), "{one}");
    assert_eq!((actions(store.as_ref()).await, state(store.as_ref(), id).await), (vec![], State::Dead));
}

#[tokio::test]
async fn one_replay_is_refused_while_a_breaker_is_open_before_anything_changes() {
    let store = store().await;
    let replayer = Replayer::new(store.clone(), Limits::default());
    let id = dead(store.as_ref(), "invoice", "x").await;
    breaker(store.as_ref(), true).await;
    let patched = ReplayOptions { patch: Some(json!({"data": {"a": 2}})), ..Default::default() };
    let refused = replayer.replay_one(&tenant(), id, &patched, "ann").await.unwrap_err();
    assert!(matches!(&refused, ReplayError::Halted(why) if why.contains("model is down")), "{refused}");
    let dry = ReplayOptions { dry_run: true, ..patched.clone() };
    let dry = replayer.replay_one(&tenant(), id, &dry, "ann").await.unwrap();
    assert_eq!((dry.matched, dry.replayed, dry.halted.is_some(), dry.edits.len()), (1, 0, true, 1));
    assert_eq!((actions(store.as_ref()).await, state(store.as_ref(), id).await), (vec![], State::Dead));

    let anyway = ReplayOptions { ignore_breakers: true, ..patched };
    let done = replayer.replay_one(&tenant(), id, &anyway, "ann").await.unwrap();
    assert_eq!((done.replayed, done.ids, done.edits.len()), (1, vec![id], 1));
    let again = replayer.replay_one(&tenant(), id, &anyway, "ann").await.unwrap_err();
    assert!(matches!(again, ReplayError::Edit(EditError::Store(StoreError::NotFound(_)))), "{again}");
    let again = ReplayOptions { ignore_breakers: true, ..Default::default() };
    let again = replayer.replay_one(&tenant(), id, &again, "ann").await.unwrap_err();
    assert!(matches!(again, ReplayError::Edit(EditError::Store(StoreError::Refused(_)))), "{again}");
}
