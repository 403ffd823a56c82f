//! A worker dies in the middle of a document: the next attempt goes on with the texts that were finished, and the model is not
//! asked for them again. Each test ends in the conservation equation.

use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bul_tests::{BrokerKind, Cluster, Server, ServerOptions, eventually, model_server, sqlite};
use serde_json::Value;

/// Texts that are finished when the worker dies.
const FINISHED: usize = 2;
/// Room that a worker asks for per sentence, tokens.
const TOKENS_PER_SENTENCE: u64 = 64;
/// A model that takes longer than what is worth keeping.
const KEEP_AFTER: (&str, &str) = ("BUL_WORKER_KEEP_TEXTS_AFTER_MS", "1");
const SLOW: Duration = Duration::from_millis(10);

const JOB: &str = r#"{"query": "Plan for the returns desk", "formats": ["md", "json"], "data": {"sections": ["Scope", "Aims", "Costs", "Risks"]}}"#;

/// A model's server that answers so many requests and then keeps its callers waiting until it is let go on.
struct Model {
    port: u16,
    /// Prompts in the order in which they came.
    asked: Arc<Mutex<Vec<String>>>,
    go_on: SyncSender<()>,
}

impl Model {
    fn start() -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (go_on, held) = sync_channel(1);
        let heard = asked.clone();
        let port = model_server(move |body| {
            let n = {
                let mut heard = heard.lock().expect("no test has panicked");
                heard.push(prompt(&body));
                heard.len()
            };
            if n == FINISHED + 1 {
                // An error means that the test has ended.
                let _ = held.recv();
            }
            std::thread::sleep(SLOW);
            Ok(text(n, body["max_tokens"].as_u64().unwrap_or(0) / TOKENS_PER_SENTENCE))
        });
        Self { port, asked, go_on }
    }

    fn spec(&self) -> String {
        format!("openai+http://127.0.0.1:{}/v1#any", self.port)
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("no test has panicked").clone()
    }

    /// What was finished was asked for once; the rest was asked for after the crash, at the latest.
    #[track_caller]
    fn assert_resumed(&self, document: &str) {
        let asked = self.asked();
        let (finished, later) = asked.split_at(FINISHED);
        for (n, prompt) in (1..).zip(finished) {
            assert!(!later.contains(prompt), "it was written again: {prompt}");
            assert!(document.contains(&text(n, 1)), "text {n} is not in {document}");
        }
        assert!(later.len() >= 2, "the rest was written: {asked:#?}");
    }
}

/// All that the caller says.
fn prompt(body: &Value) -> String {
    let messages = body["messages"].as_array().expect("messages");
    messages.iter().filter_map(|message| message["content"].as_str()).collect::<Vec<_>>().join("\n")
}

/// So many sentences that no other text holds.
fn text(n: usize, sentences: u64) -> String {
    let letter = |n: u64| char::from(b'a' + (n % 26) as u8);
    let sentence = |i| format!("Part {}{} keeps to its plan.", letter(n as u64), letter(i));
    (0..sentences).map(sentence).collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn assert_shown(shown: &Value) {
    assert_eq!(shown["state"], "completed", "{shown:#}");
    assert_eq!(shown["usage"]["kept_texts"], FINISHED, "{shown:#}");
    let outcomes: Vec<&str> =
        shown["attempts"].as_array().unwrap().iter().filter_map(|a| a["outcome"].as_str()).collect();
    assert_eq!(outcomes, ["crashed", "completed"], "{shown:#}");
}

#[test]
fn a_process_that_is_killed_in_mid_document_goes_on_where_it_was() {
    let model = Model::start();
    let options = ServerOptions::default().with("BUL_MODEL", &model.spec()).with(KEEP_AFTER.0, KEEP_AFTER.1);
    let mut server = Server::start(options);
    let id = server.cli_with_input(&["submit", "-", "-o", "json"], JOB).expect(0).out;
    let id = id.split('"').find(|part| part.len() == 36).expect("an id").to_owned();
    let count = "SELECT count(*) FROM kept_texts";
    eventually("the finished texts are kept, and the next one is asked for", || {
        let kept = sqlite(&server.database(), count) == [FINISHED.to_string()];
        (kept && model.asked().len() > FINISHED).then_some(())
    });
    server.kill();
    model.go_on.send(()).expect("the model waits");
    server.restart();
    let ledger = server.settle();
    assert_eq!((ledger["accepted"].as_u64(), ledger["completed"].as_u64()), (Some(1), Some(1)), "{ledger}");
    assert_shown(&server.cli(&["jobs", "show", &id, "-o", "json"]).expect(0).json());
    let document = "SELECT CAST(bytes AS TEXT) FROM documents WHERE format = 'md'";
    model.assert_resumed(&sqlite(&server.database(), document).join("\n"));
    assert_eq!(sqlite(&server.database(), count), ["0"], "nothing stays of a job that has ended");
    assert!(server.cli(&["jobs", "show", &id]).expect(0).out.contains("2 texts kept by an earlier attempt"));
}

/// Another machine takes over from the store that both share.
#[test]
fn another_worker_goes_on_where_one_was_killed() {
    let model = Model::start();
    let mut cluster = Cluster::start(BrokerKind::Nats);
    cluster.set("BUL_MODEL", &model.spec());
    cluster.set(KEEP_AFTER.0, KEEP_AFTER.1);
    cluster.role("producer", &["producer"], &[]);
    cluster.role("scheduler", &["scheduler"], &[]);
    cluster.role("worker-1", &["worker"], &[]);
    cluster.submit_lines(JOB);
    eventually("the finished texts are kept, and the next one is asked for", || {
        let kept = cluster.ask("SELECT count(*) FROM kept_texts") == FINISHED.to_string();
        (kept && model.asked().len() > FINISHED).then_some(())
    });
    cluster.kill("worker-1");
    model.go_on.send(()).expect("the model waits");
    cluster.role("worker-2", &["worker"], &[]);
    cluster.assert_exactly_once(1);
    let id = cluster.ask("SELECT id FROM jobs");
    assert_shown(&cluster.cli(&["jobs", "show", &id, "-o", "json"]).expect(0).json());
    let document = "SELECT convert_from(bytes, 'UTF8') FROM documents WHERE format = 'md'";
    model.assert_resumed(&cluster.ask(document));
    assert_eq!(cluster.ask("SELECT count(*) FROM kept_texts"), "0", "nothing stays of a job that has ended");
}
