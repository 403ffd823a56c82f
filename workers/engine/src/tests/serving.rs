//! The engine behind its trait: sharing, isolation, streaming, cancelling, limits.

use std::sync::mpsc::{SyncSender, sync_channel};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::factory::{language, serve};
use crate::chat::Chat;
use crate::generate::{Generate, GenerateError};
use crate::job::{Completion, Constraint, Finish, Request, Role, Scope};
use crate::local::LocalModel;
use crate::open::EngineOptions;
use crate::sim::SimRunner;
use crate::testing::{self, TEMPLATE, model, request};

fn options() -> EngineOptions {
    EngineOptions { threads: 1, ..EngineOptions::default() }
}

/// A simulated model of `blocks` KV blocks.
fn sim(options: &EngineOptions, blocks: usize, change: impl FnOnce(&mut SimRunner)) -> LocalModel {
    let mut runner = SimRunner::new(language().vocabulary.size(), options.block_tokens);
    change(&mut runner);
    serve(runner, blocks, options)
}

async fn run(model: &LocalModel, request: Request) -> Result<Completion, GenerateError> {
    model.generate(request, None, CancellationToken::new()).await
}

fn of_tenant(tenant: &str, text: &str) -> Request {
    Request { tenant: tenant.into(), ..request(text) }
}

/// Answers must not depend on block size, chunk size, company or what is cached.
#[tokio::test]
async fn answers_do_not_depend_on_circumstances() {
    let requests: Vec<Request> = (0..6).map(|i| request(&format!("data set {} of the day", i % 4))).collect();
    let mut expected = Vec::new();
    for request in &requests {
        // A fresh model each time: nothing is cached, nobody else runs.
        expected.push(run(&model(&options()), request.clone()).await.unwrap().text);
    }
    for (block_tokens, prefill_chunk_tokens, running_max) in
        [(16, 256, 16), (4, 7, 2), (1, 1, 16), (32, 10, 1), (16, 256, 3)]
    {
        let options = EngineOptions { block_tokens, prefill_chunk_tokens, running_max, ..options() };
        let model = model(&options);
        for round in ["cold", "warm"] {
            let runs = requests.iter().map(|r| run(&model, r.clone()));
            let texts: Vec<String> =
                futures::future::join_all(runs).await.into_iter().map(|c| c.unwrap().text).collect();
            assert_eq!(texts, expected, "{round} {options:?}");
        }
    }
}

#[tokio::test]
async fn simulated_answers_survive_eviction() {
    let requests: Vec<Request> =
        (0..12).map(|i| of_tenant(["a", "b"][i % 2], &format!("data {}", i % 5))).collect();
    let mut expected = Vec::new();
    for request in &requests {
        expected.push(run(&sim(&options(), 64, |_| {}), request.clone()).await.unwrap().text);
    }
    // Barely more blocks than one request needs: everything is evicted all the time.
    for blocks in [9, 12, 20] {
        let model = sim(&options(), blocks, |_| {});
        for _ in 0..2 {
            let runs = requests.iter().map(|r| run(&model, r.clone()));
            let texts: Vec<String> =
                futures::future::join_all(runs).await.into_iter().map(|c| c.unwrap().text).collect();
            assert_eq!(texts, expected, "{blocks} blocks");
        }
    }
}

#[tokio::test]
async fn prefixes_are_shared_and_receipts_say_so() {
    let options = EngineOptions { block_tokens: 4, ..options() };
    let model = sim(&options, 200, |_| {});
    let first = run(&model, of_tenant("a", "some data")).await.unwrap().receipt;
    assert_eq!(first.cached_tokens, 0);
    let again = run(&model, of_tenant("a", "some data")).await.unwrap().receipt;
    // All full blocks but the one that holds the last token.
    assert_eq!(again.cached_tokens, (again.prompt_tokens - 1) / 4 * 4);
    let other = run(&model, of_tenant("b", "some data")).await.unwrap().receipt;
    let vocabulary = testing::vocabulary();
    let chat = Chat::new(TEMPLATE, String::new(), String::new()).unwrap();
    let public = chat.prompt(&request("some data").messages, &vocabulary).unwrap().public_tokens as u64;
    assert_eq!(other.cached_tokens, public / 4 * 4, "the public part, and nothing of the tenant's");
    assert!(other.cached_tokens > 0 && other.cached_tokens < again.cached_tokens);
}

#[tokio::test]
async fn a_private_system_message_is_not_shared() {
    let model = sim(&EngineOptions { block_tokens: 1, ..options() }, 400, |_| {});
    let private = |tenant: &str| {
        let mut request = of_tenant(tenant, "x");
        request.messages[0].scope = Scope::Tenant;
        request
    };
    run(&model, private("a")).await.unwrap();
    let other = run(&model, private("b")).await.unwrap().receipt;
    // Only the first token, which the template writes, is everybody's.
    assert_eq!(other.cached_tokens, 1);
    let own = run(&model, private("a")).await.unwrap().receipt;
    assert_eq!(own.cached_tokens, own.prompt_tokens - 1);
}

#[tokio::test]
async fn requests_of_one_template_compute_its_prefix_once() {
    let options = EngineOptions { block_tokens: 4, ..options() };
    let model = sim(&options, 400, |_| {});
    let runs = (0..6).map(|i| run(&model, of_tenant(&format!("t{i}"), &format!("data {i}"))));
    let done = futures::future::join_all(runs).await;
    let cold = done.iter().filter(|c| c.as_ref().unwrap().receipt.cached_tokens == 0).count();
    assert_eq!(cold, 1, "the others wait for the first one's blocks");
}

#[tokio::test]
async fn pieces_add_up_to_the_answer() {
    let model = model(&options());
    for seed in 0..5 {
        let (sender, mut receiver) = mpsc::channel(200);
        let mut request = request("stream");
        request.sampling.seed = seed;
        let done = model.generate(request, Some(sender), CancellationToken::new()).await.unwrap();
        let mut text = String::new();
        while let Some(piece) = receiver.recv().await {
            text.push_str(&piece);
        }
        assert_eq!(text, done.text);
    }
    // A reader that takes nothing does not hold up the answer.
    let (sender, _receiver) = mpsc::channel(1);
    let full = model.generate(request("stream"), Some(sender), CancellationToken::new()).await.unwrap();
    assert_eq!(full.text, run(&model, request("stream")).await.unwrap().text);
}

#[tokio::test]
async fn seeds_reproduce() {
    let model = model(&options());
    let with_seed = |seed| {
        let mut request = request("seeds");
        request.sampling.seed = seed;
        request
    };
    let (a, b) = (run(&model, with_seed(1)).await.unwrap(), run(&model, with_seed(1)).await.unwrap());
    assert_eq!(a.text, b.text);
    assert_ne!(a.text, run(&model, with_seed(2)).await.unwrap().text);
}

#[tokio::test]
async fn stop_strings_and_lengths_end_answers() {
    let model = model(&options());
    let mut plain = request("stop");
    plain.sampling.max_tokens = 40;
    plain.constraint = Some(Constraint::Prose { facts: vec![], sentences: 2, said: Vec::new() });
    let full = run(&model, plain.clone()).await.unwrap();
    assert_eq!(full.finish, Finish::Stop);
    let stop: String = full.text.chars().skip(4).take(2).collect();
    plain.stop = vec![stop.clone()];
    let cut = run(&model, plain).await.unwrap();
    assert_eq!(cut.finish, Finish::Stop);
    assert_eq!(cut.text, full.text[..full.text.find(&stop).unwrap()]);
    let mut short = request("short");
    short.sampling.max_tokens = 3;
    let short = run(&model, short).await.unwrap();
    assert!(short.finish == Finish::Stop || short.receipt.output_tokens == 3);
}

#[tokio::test]
async fn constraints_hold_with_random_weights() {
    let model = model(&options());
    for seed in 0..6 {
        for constraint in [
            Constraint::Prose {
                facts: vec!["total".into(), "due date".into()],
                sentences: 3,
                said: Vec::new(),
            },
            Constraint::Outline { items: 4 },
        ] {
            let mut request = request("shape");
            request.sampling.seed = seed;
            request.sampling.max_tokens = 120;
            request.constraint = Some(constraint.clone());
            let done = run(&model, request).await.unwrap();
            assert_eq!(crate::constraint::check(&constraint, &done.text), Ok(()), "{}", done.text);
            assert_eq!(done.finish, Finish::Stop);
        }
    }
}

#[tokio::test]
async fn wrong_requests_are_refused() {
    let model = model(&options());
    let error = |request| async { run(&model, request).await.unwrap_err() };
    let long = request(&"word ".repeat(2000));
    assert!(matches!(error(long).await, GenerateError::TooLong { context_tokens: 1024, .. }));
    let mut none = request("x");
    none.messages.clear();
    assert!(matches!(error(none).await, GenerateError::Rejected(_)));
    let mut zero = request("x");
    zero.sampling.max_tokens = 0;
    assert!(matches!(error(zero).await, GenerateError::Rejected(_)));
    let mut hot = request("x");
    hot.sampling.temperature = f32::NAN;
    assert!(matches!(error(hot).await, GenerateError::Rejected(_)));
    let mut tight = request("x");
    tight.constraint = Some(Constraint::Prose { facts: vec![], sentences: 9, said: Vec::new() });
    assert!(matches!(error(tight).await, GenerateError::Rejected(_)));
}

/// A simulated model whose steps wait for the returned sender.
fn gated(options: &EngineOptions) -> (LocalModel, SyncSender<()>) {
    let (sender, receiver) = sync_channel(8);
    let model = sim(options, 200, |runner| runner.gate = Some(receiver));
    (model, sender)
}

/// Polls a future once, so that its request is submitted.
async fn submit<F: Future + Unpin>(future: &mut F) {
    assert!(futures::poll!(future).is_pending());
}

#[tokio::test]
async fn a_full_queue_refuses_and_priority_goes_first() {
    let options = EngineOptions { queue_max: 2, running_max: 1, ..options() };
    let (model, gate) = gated(&options);
    let mut first = Box::pin(run(&model, request("first")));
    submit(&mut first).await;
    gate.send(()).unwrap();
    gate.send(()).unwrap();
    // The first request leaves the queue once it runs.
    let with_priority = |priority| Request { priority, ..request(&format!("later {priority}")) };
    let mut low = loop {
        let mut low = Box::pin(run(&model, with_priority(3)));
        if futures::poll!(&mut low).is_pending() {
            break low;
        }
    };
    let mut high = loop {
        let mut high = Box::pin(run(&model, with_priority(0)));
        if futures::poll!(&mut high).is_pending() {
            break high;
        }
    };
    match run(&model, request("one too many")).await {
        Err(GenerateError::Unavailable { reason, .. }) => assert!(reason.contains("queue"), "{reason}"),
        other => panic!("{other:?}"),
    }
    drop(gate);
    let high = high.as_mut().await.unwrap().receipt;
    let low = low.as_mut().await.unwrap().receipt;
    assert!(first.await.is_ok());
    assert!(high.queue_ms < low.queue_ms, "{high:?} {low:?}");
}

#[tokio::test]
async fn cancelling_frees_the_place_and_the_blocks() {
    let options = EngineOptions { running_max: 1, ..options() };
    let (model, gate) = gated(&options);
    let cancel = CancellationToken::new();
    let mut running = Box::pin(model.generate(request("cancelled"), None, cancel.clone()));
    submit(&mut running).await;
    let mut dropped = Box::pin(run(&model, request("dropped")));
    submit(&mut dropped).await;
    let mut next = Box::pin(run(&model, request("next")));
    submit(&mut next).await;
    cancel.cancel();
    // The answer does not wait for the step that is under way.
    assert!(matches!(running.await, Err(GenerateError::Cancelled)));
    drop(dropped);
    drop(gate);
    assert!(next.await.is_ok());
}

#[tokio::test]
async fn a_panic_fails_the_running_requests_and_no_others() {
    let vocabulary = testing::vocabulary();
    let marker = vocabulary.encode_text("#").unwrap()[0];
    let model = sim(&options(), 100, |runner| runner.panic_on = Some(marker));
    let failed = run(&model, request("#")).await;
    assert!(matches!(failed, Err(GenerateError::Engine(_))), "{failed:?}");
    let mut plain = request("fine");
    plain.stop = vec!["#".into()];
    assert!(run(&model, plain).await.is_ok());
}

#[tokio::test]
async fn metrics_count_what_happened() {
    let registry = prometheus::Registry::new();
    let model = testing::model_with(&options(), Some(&registry));
    let done = run(&model, request("a")).await.unwrap();
    run(&model, request("a")).await.unwrap();
    let mut wrong = request("a");
    wrong.messages[0].role = Role::User;
    wrong.sampling.max_tokens = 0;
    assert!(run(&model, wrong).await.is_err());
    drop(model);
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    let has = |line: &str| assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    has("bul_engine_requests_total{outcome=\"completed\"} 2");
    has("bul_engine_requests_total{outcome=\"rejected\"} 1");
    has(&format!("bul_engine_tokens_total{{kind=\"prompt\"}} {}", 2 * done.receipt.prompt_tokens));
    has("bul_engine_running 0");
    has("bul_engine_kv_blocks{state=\"used\"} 0");
}
