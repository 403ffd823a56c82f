//! A kept text comes back for its own request and for no other.

use bul_engine::{Constraint, Message, Role, Sampling, Scope};

use super::*;

fn message(role: Role, text: &str) -> Message {
    Message { role, text: text.into(), scope: Scope::Tenant }
}

fn request() -> Request {
    Request {
        id: "job/scope".into(),
        tenant: "acme".into(),
        session: None,
        messages: vec![message(Role::System, "Write."), message(Role::User, "Invoice 7")],
        sampling: Sampling { max_tokens: 64, temperature: 0.7, top_p: 0.9, seed: 1 },
        stop: Vec::new(),
        constraint: Some(Constraint::Prose { facts: vec!["due".into()], sentences: 3, said: Vec::new() }),
        priority: 2,
    }
}

/// The request, changed.
fn with(change: impl Fn(&mut Request)) -> Request {
    let mut request = request();
    change(&mut request);
    request
}

fn prose(facts: &[&str], sentences: usize, said: &[&str]) -> Option<Constraint> {
    let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
    Some(Constraint::Prose { facts: owned(facts), sentences, said: owned(said) })
}

#[test]
fn everything_that_a_text_depends_on_tells_requests_apart() {
    let changed = [
        request(),
        with(|r| r.id = "job/aims".into()),
        with(|r| r.tenant = "acm".into()),
        with(|r| r.messages[1].text = "Invoice 8".into()),
        with(|r| r.messages[1].role = Role::Assistant),
        with(|r| r.messages[1].scope = Scope::Public),
        with(|r| r.messages.truncate(1)),
        with(|r| (r.messages[0].text, r.messages[1].text) = ("Write.I".into(), "nvoice 7".into())),
        with(|r| r.messages.insert(1, message(Role::User, "an earlier turn"))),
        with(|r| r.sampling.max_tokens = 65),
        with(|r| r.sampling.temperature = 0.8),
        with(|r| r.sampling.top_p = 0.8),
        with(|r| r.sampling.seed = 2),
        with(|r| r.stop = vec!["a\", \"b".into()]),
        with(|r| r.stop = vec!["a".into(), "b".into()]),
        with(|r| r.constraint = None),
        with(|r| r.constraint = prose(&["due"], 4, &[])),
        with(|r| r.constraint = prose(&["due", "x"], 3, &[])),
        with(|r| r.constraint = prose(&["due"], 3, &["x"])),
        with(|r| r.constraint = Some(Constraint::Outline { items: 3 })),
    ];
    let mut digests: Vec<[u8; 32]> = changed.iter().map(|r| digest("model", r)).collect();
    digests.push(digest("another model", &request()));
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), changed.len() + 1);
    let same = with(|r| (r.session, r.priority) = (Some("chat".into()), 0));
    assert_eq!(digest("model", &request()), digest("model", &same));
}

#[test]
fn an_earlier_text_answers_its_own_request_and_is_counted() {
    let kept = KeptText::new(digest("model", &request()), "It is due.".into(), 40).unwrap();
    let texts = Texts { earlier: [(kept.request(), kept)].into(), ..Texts::default() };
    assert_eq!(texts.find("another model", request), None);
    assert_eq!(texts.find("model", || with(|r| r.messages[1].text.push('.'))), None);
    assert_eq!(texts.used(), 0);
    let found = texts.find("model", request).unwrap();
    assert_eq!((found.text.as_str(), texts.used(), texts.has_kept()), ("It is due.", 1, false));
    let Receipt { prompt_tokens, cached_tokens, output_tokens, .. } = found.receipt;
    assert_eq!((prompt_tokens, cached_tokens, output_tokens), (40, 40, 0));
    assert_eq!(Texts::default().find("model", request), None);
}
