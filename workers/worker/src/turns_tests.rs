//! Which turns a prompt holds, and what becomes of one that the model refuses.

use async_trait::async_trait;
use bul_engine::{Finish, ModelInfo, Receipt, Sampling};
use parking_lot::Mutex;

use super::*;

fn turn(n: usize, bytes: usize) -> SessionTurn {
    SessionTurn::new(format!("u{n}"), "x".repeat(bytes - 2)).expect("it is small")
}

#[test]
fn the_oldest_turns_go_first_and_the_newest_is_last() {
    let turns = || (0..4).map(|n| turn(n, 10)).collect::<Vec<_>>();
    for (bytes_max, expected) in [(100, "u0u1u2u3"), (40, "u0u1u2u3"), (39, "u1u2u3"), (10, "u3"), (9, "")] {
        let kept: String = fitting(turns(), bytes_max).iter().map(SessionTurn::user).collect();
        assert_eq!(kept, expected, "{bytes_max}");
    }
    // What stands behind a gap would be told without what it answers to.
    let gap = vec![turn(0, 10), turn(1, 100), turn(2, 10)];
    assert_eq!(fitting(gap, 50).iter().map(SessionTurn::user).collect::<Vec<_>>(), ["u2"]);
    assert!(fitting(Vec::new(), 50).is_empty());
    assert_eq!([room(None), room(Some(1_024)), room(Some(1 << 20))], [BYTES_MAX_UNKNOWN, 1_024, BYTES_MAX]);
}

#[test]
fn turns_stand_between_instructions_and_request_and_are_the_tenants() {
    let turns = [turn(0, 5), turn(1, 5)];
    let messages = messages("write".into(), &turns, "now".into());
    let form: Vec<_> = messages.iter().map(|m| (m.role, m.text.as_str(), m.scope)).collect();
    use Role::{Assistant, System, User};
    assert_eq!(
        form,
        [
            (System, "write", Scope::Public),
            (User, "u0", Scope::Tenant),
            (Assistant, "xxx", Scope::Tenant),
            (User, "u1", Scope::Tenant),
            (Assistant, "xxx", Scope::Tenant),
            (User, "now", Scope::Tenant),
        ]
    );
    assert_eq!(super::messages("write".into(), &[], "now".into()).len(), 2);
}

/// Refuses what has more messages than it takes; remembers how many each request had.
struct Narrow {
    messages_max: usize,
    refusal: fn() -> GenerateError,
    asked: Mutex<Vec<usize>>,
}

#[async_trait]
impl Generate for Narrow {
    fn info(&self) -> ModelInfo {
        ModelInfo {
            kind: "narrow",
            name: String::new(),
            architecture: String::new(),
            parameters: None,
            context_tokens: None,
            precision: String::new(),
            fingerprint: String::new(),
        }
    }

    async fn generate(
        &self,
        request: Request,
        _: Option<Pieces>,
        _: CancellationToken,
    ) -> Result<Completion, GenerateError> {
        self.asked.lock().push(request.messages.len());
        if request.messages.len() > self.messages_max {
            return Err((self.refusal)());
        }
        let told: String = request.messages.iter().map(|message| message.text.as_str()).collect();
        Ok(Completion { text: told, finish: Finish::Stop, receipt: Receipt::default() })
    }
}

fn too_long() -> GenerateError {
    GenerateError::TooLong { prompt_tokens: 9, max_tokens: 9, context_tokens: 9 }
}

fn rejected() -> GenerateError {
    GenerateError::Rejected("too long".into())
}

async fn check(messages_max: usize, refusal: fn() -> GenerateError, asked: &[usize], told: Option<&str>) {
    let turns: Vec<_> = (0..3).map(|n| turn(n, 2)).collect();
    let request = Request {
        id: String::new(),
        tenant: "acme".into(),
        session: Some("s".into()),
        messages: messages("write ".into(), &turns, " now".into()),
        sampling: Sampling::default(),
        stop: Vec::new(),
        constraint: None,
        priority: 0,
    };
    let model = Narrow { messages_max, refusal, asked: Mutex::default() };
    let done = generate(&model, request, None, &CancellationToken::new()).await;
    assert_eq!(*model.asked.lock(), asked);
    assert_eq!(done.ok().map(|done| done.text).as_deref(), told);
}

#[tokio::test]
async fn what_is_too_long_is_asked_without_the_oldest_and_what_is_refused_without_any() {
    check(8, too_long, &[8], Some("write u0u1u2 now")).await;
    check(5, too_long, &[8, 6, 4], Some("write u2 now")).await;
    check(5, rejected, &[8, 2], Some("write  now")).await;
    // It would fail alone, too.
    check(1, too_long, &[8, 6, 4, 2], None).await;
    check(1, rejected, &[8, 2], None).await;
    let down = || GenerateError::Unavailable { reason: "down".into(), retry_after_ms: None };
    check(5, down, &[8], None).await;
}
