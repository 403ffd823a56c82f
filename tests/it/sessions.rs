//! Jobs of a session are told what was said before: of the same tenant and session, and of what was completed before they were
//! accepted. Each test ends in the conservation equation.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use bul_tests::{Server, ServerOptions, model_server, request, sqlite};
use serde_json::{Value, json};

/// Room that a worker asks for per sentence, tokens.
const TOKENS_PER_SENTENCE: u64 = 64;

/// A replay would find in the cache of texts what did not fit.
const NO_TEXTS: (&str, &str) = ("BUL_CACHE_MEMORY_MIB_MAX", "0");

/// A system on a model's server that writes down what it is asked.
struct Talk {
    server: Server,
    bodies: Arc<Mutex<Vec<Value>>>,
    /// Whether question "two" gets an answer that does not fit.
    is_stubborn: Arc<AtomicBool>,
}

impl Talk {
    fn start() -> Self {
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let is_stubborn = Arc::new(AtomicBool::new(false));
        let (heard, stubborn) = (bodies.clone(), is_stubborn.clone());
        let port = model_server(move |body| {
            let question = question(&body);
            heard.lock().expect("no test has panicked").push(body.clone());
            Ok(match question {
                Some(two) if two == "two" && stubborn.load(Ordering::SeqCst) => "[1]".into(),
                Some(question) => answer(&question),
                None => prose(body["max_tokens"].as_u64().unwrap_or(0) / TOKENS_PER_SENTENCE),
            })
        });
        let model = format!("openai+http://127.0.0.1:{port}/v1#any");
        Self {
            server: Server::start(
                ServerOptions::default().with("BUL_MODEL", &model).with(NO_TEXTS.0, NO_TEXTS.1),
            ),
            bodies,
            is_stubborn,
        }
    }

    /// Submits a job and waits for its end.
    #[track_caller]
    fn submit(&self, key: &str, job: &Value) -> Value {
        let key = format!("Bearer {key}");
        let headers = [("Authorization", key.as_str()), ("Content-Type", "application/json")];
        let answer = request(self.server.port(), "POST", "/v1/jobs", &headers, job.to_string().as_bytes());
        assert_eq!(answer.status, 202, "{answer:?}");
        self.server.settle()
    }

    /// Asks a question that is answered by a value.
    #[track_caller]
    fn ask(&self, key: &str, session: &str, question: &str) -> Value {
        let schema = json!({
            "type": "object",
            "properties": {"summary": {"type": "string"}},
            "required": ["summary"],
            "additionalProperties": false,
        });
        self.submit(
            key,
            &json!({"query": question, "session_id": session, "response_schema": schema, "formats": ["json"], "max_attempts": 1}),
        )
    }

    /// The messages of each time the model was asked this, without those that ask for another form.
    fn told(&self, asked: &str) -> Vec<Vec<(String, String)>> {
        let bodies = self.bodies.lock().expect("no test has panicked");
        let messages = bodies.iter().map(messages);
        let ends = format!("Request: \"{asked}\"");
        messages.filter(|messages| messages.last().is_some_and(|(_, text)| text.ends_with(&ends))).collect()
    }

    /// What was answered before in the only prompt that asks this.
    #[track_caller]
    fn heard(&self, asked: &str) -> Vec<String> {
        let told = self.told(asked);
        assert_eq!(told.len(), 1, "{told:#?}");
        let roles: Vec<&str> = told[0].iter().map(|(role, _)| role.as_str()).collect();
        assert_eq!(roles[0], "system");
        assert!(
            roles[1..]
                .chunks(2)
                .all(|pair| pair[0] == "user" && pair.get(1).is_none_or(|r| *r == "assistant"))
        );
        told[0].iter().filter(|(role, _)| role == "assistant").map(|(_, text)| text.clone()).collect()
    }
}

fn messages(body: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let messages = body["messages"].as_array().expect("messages");
    messages.iter().map(|message| (text(&message["role"]), text(&message["content"]))).collect()
}

/// The question of a prompt that asks for a value.
fn question(body: &Value) -> Option<String> {
    body.get("response_format")?;
    let asks = messages(body)
        .into_iter()
        .rev()
        .find_map(|(_, text)| Some(text.rsplit_once("Request: ")?.1.to_owned()));
    Some(asks?.trim_matches('"').to_owned())
}

fn answer(question: &str) -> String {
    json!({"summary": format!("Answer to {question}.")}).to_string()
}

fn prose(sentences: u64) -> String {
    let letter = |n: u64| char::from(b'a' + (n % 26) as u8);
    (0..sentences).map(|n| format!("Desk {} keeps to its plan.", letter(n))).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_session_carries_what_was_said_before_and_nobody_elses() {
    let talk = Talk::start();
    let key = talk.server.key();
    let made =
        ["key", "create", "--name", "other", "--permission", "submit", "--tenant", "other", "-o", "json"];
    let foreign = talk.server.cli(&made).expect(0).json()["key"].as_str().expect("a key").to_owned();
    for question in ["one", "two", "three", "four"] {
        talk.ask(&key, "s", question);
    }
    talk.ask(&key, "S", "of another session");
    let ledger = talk.ask(&foreign, "s", "of another tenant");
    assert_eq!(ledger["completed"], 6, "{ledger}");
    assert!(talk.heard("one").is_empty());
    assert_eq!(talk.heard("two"), [answer("one")]);
    assert_eq!(talk.heard("three"), [answer("one"), answer("two")]);
    assert_eq!(talk.heard("four"), [answer("two"), answer("three")], "two turns, unless told otherwise");
    assert!(talk.heard("of another session").is_empty());
    assert!(talk.heard("of another tenant").is_empty());
    // Word for word, so that a model that has computed the first prompt has computed the beginning of the second.
    let (first, second) = (&talk.told("one")[0], &talk.told("two")[0]);
    assert_eq!(second[..2], first[..]);

    // A document is told in short.
    let job = json!({"query": "Plan for the desk", "session_id": "d", "formats": ["md"], "data": {"sections": ["Scope"]}});
    talk.submit(&key, &job);
    let ledger = talk.ask(&key, "d", "what was planned");
    let told = &talk.told("what was planned")[0];
    assert!(
        told[1].1.starts_with("Title: ") && told[1].1.contains("\nRequest: Plan for the desk"),
        "{told:#?}"
    );
    assert!(told[2].1.contains("Scope\n") && told[2].1.contains("Desk a keeps to its plan."), "{told:#?}");
    assert_eq!((&ledger["accepted"], &ledger["completed"]), (&json!(8), &json!(8)), "{ledger}");
}

/// Another job of the session has ended between the two attempts.
#[test]
fn a_retry_is_told_what_the_first_attempt_was_told() {
    let talk = Talk::start();
    let key = talk.server.key();
    talk.ask(&key, "s", "one");
    talk.is_stubborn.store(true, Ordering::SeqCst);
    assert_eq!(talk.ask(&key, "s", "two")["dead"], 1);
    talk.is_stubborn.store(false, Ordering::SeqCst);
    talk.ask(&key, "s", "three");
    assert_eq!(talk.heard("three"), [answer("one")], "a dead letter has said nothing");
    talk.server.cli(&["dlq", "replay", "--all", "--yes"]).expect(0);
    talk.server.settle();
    let told = talk.told("two");
    assert_eq!(told.len(), 2, "{told:#?}");
    assert_eq!(told[0], told[1]);
    assert_eq!(told[0].len(), 4, "{told:#?}");
    let ledger = talk.ask(&key, "s", "four");
    assert_eq!(talk.heard("four"), [answer("three"), answer("two")], "in the order in which they ended");
    assert_eq!(
        (&ledger["accepted"], &ledger["completed"], &ledger["dead"]),
        (&json!(4), &json!(4), &json!(0)),
        "{ledger}"
    );
}

/// It was trained on single prompts.
#[test]
fn the_shipped_model_is_told_nothing() {
    let server = Server::start(ServerOptions::default());
    for n in 0..2 {
        let job = json!({"query": format!("Plan {n}"), "session_id": "s", "formats": ["md"], "data": {"sections": ["Scope"]}});
        server.cli_with_input(&["submit", "-"], &job.to_string()).expect(0);
        server.settle();
    }
    let ledger = server.ledger();
    assert_eq!((&ledger["accepted"], &ledger["completed"]), (&json!(2), &json!(2)), "{ledger}");
    assert_eq!(sqlite(&server.database(), "SELECT count(*) FROM session_turns"), ["0"]);
}
