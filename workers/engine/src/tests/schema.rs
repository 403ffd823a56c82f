//! Answers that are held to a JSON Schema: valid whatever the model says, and the same in any company.

use std::path::Path;
use std::sync::mpsc::{SyncSender, sync_channel};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::factory::{language, serve};
use crate::generate::{Generate, GenerateError};
use crate::grammar::Grammars;
use crate::job::{Completion, Constraint, Finish, Request, Sampling};
use crate::local::LocalModel;
use crate::open::{EngineOptions, Observed};
use crate::sample::Sampler;
use crate::sim::SimRunner;
use crate::testing;
use crate::vocabulary::Vocabulary;

/// Schemas, and the tokens that their longest answer needs at one byte per token.
fn schemas() -> Vec<Value> {
    vec![
        json!({"type": "object", "properties": {"name": {"type": "string", "maxLength": 8},
            "age": {"type": "integer", "minimum": 0, "maximum": 130}, "active": {"type": "boolean"}},
            "required": ["name", "age"], "additionalProperties": false}),
        json!({"type": "array", "minItems": 1, "maxItems": 3, "items": {"type": "array", "maxItems": 2,
            "items": {"type": "integer", "minimum": -7, "exclusiveMaximum": 40}}}),
        json!({"enum": ["red", "grün", "\"quoted\"", 7, null, [1, 2], {"a": true}]}),
        json!({"type": "integer", "minimum": -12, "maximum": 3456}),
        json!({"type": "integer", "multipleOf": 7, "minimum": 0, "maximum": 1000}),
        json!({"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3,5}$"}),
        json!({"type": "string", "minLength": 2, "maxLength": 6}),
        json!({"type": "string", "format": "date"}),
        json!({"type": "object", "properties": {"größe": {"enum": ["süß", "日本", "🙂"]}, "x": {"type": "null"}},
            "required": ["größe"], "additionalProperties": false}),
        json!({"anyOf": [{"type": "boolean"}, {"type": "object", "properties": {"k": {"const": "v"}},
            "required": ["k"], "additionalProperties": false}]}),
        json!({"type": "object", "properties": {"node": {"$ref": "#/$defs/leaf"}}, "required": ["node"],
            "additionalProperties": false, "$defs": {"leaf": {"type": ["string", "null"], "maxLength": 3}}}),
        json!({"type": "array", "prefixItems": [{"type": "boolean"}, {"const": 5}], "items": false, "minItems": 2}),
        json!({"type": "object", "patternProperties": {"^[ab]{1,2}$": {"type": "boolean"}},
            "additionalProperties": false, "maxProperties": 3}),
        json!({"allOf": [{"type": "integer", "minimum": 3}, {"maximum": 9}]}),
    ]
}

fn assert_fits(schema: &Value, text: &str) {
    let answer: Value = serde_json::from_str(text).unwrap_or_else(|e| panic!("{schema}: {text:?}: {e}"));
    let problem = jsonschema::validate(schema, &answer).err().map(|e| e.to_string());
    assert_eq!(problem, None, "{schema}: {text}");
}

/// Writes an answer from random logits that favour some tokens by a lot.
fn write(
    grammars: &Grammars,
    vocabulary: &Vocabulary,
    eos: &[u32],
    schema: &Value,
    seed: u64,
) -> Option<String> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut sampler = Sampler::new(&Sampling { max_tokens: 300, temperature: 1.0, top_p: 0.95, seed });
    let mut grammar = grammars.start(&schema.to_string()).unwrap_or_else(|e| panic!("{schema}: {e}"));
    let favour: Vec<f32> = (0..vocabulary.size()).map(|_| rng.random::<f32>() * 6.0).collect();
    let mut text = Vec::new();
    for _ in 0..300 {
        let logits: Vec<f32> = favour.iter().map(|f| f + rng.random::<f32>() * 3.0).collect();
        let row = grammar.hold(&logits).unwrap_or_else(|| panic!("{schema}: {:?}", grammar.fault()));
        let token = sampler.choose(&row, |token| grammar.allows(token)).unwrap();
        if eos.contains(&token) {
            assert!(grammar.may_end(), "{schema}");
            return Some(String::from_utf8(text).unwrap());
        }
        assert!(grammar.commit(token), "{schema}: {:?}", grammar.fault());
        text.extend_from_slice(vocabulary.bytes(token));
        if grammar.must_end() {
            return Some(String::from_utf8(text).unwrap());
        }
    }
    None
}

#[test]
fn random_logits_fit_each_schema() {
    let language = language();
    let grammars =
        Grammars::new(language.vocabulary.clone(), language.eos.clone(), language.vocabulary.size() + 5);
    for schema in schemas() {
        for seed in 0..12 {
            let text = write(&grammars, &language.vocabulary, &language.eos, &schema, seed);
            assert_fits(&schema, &text.unwrap_or_else(|| panic!("{schema}: no end")));
        }
    }
    assert_eq!(grammars.kept(), schemas().len());
}

#[test]
fn compiled_schemas_are_few_and_independent() {
    let language = language();
    let grammars =
        Grammars::new(language.vocabulary.clone(), language.eos.clone(), language.vocabulary.size());
    let schema = |n: usize| json!({"type": "integer", "minimum": n, "maximum": n}).to_string();
    for n in 0..50 {
        grammars.start(&schema(n)).unwrap();
    }
    assert_eq!(grammars.kept(), 32);
    // Two answers of one schema: what one wrote does not move the other.
    let token = |text: &str| language.vocabulary.encode_text(text).unwrap()[0];
    let logits = vec![0.0; language.vocabulary.size()];
    let (mut one, mut two) = (grammars.start(&schema(45)).unwrap(), grammars.start(&schema(45)).unwrap());
    assert!(one.hold(&logits).is_some() && one.allows(token("4")) && one.commit(token("4")));
    assert!(one.hold(&logits).is_some() && one.allows(token("5")) && !one.allows(token("4")));
    assert!(two.hold(&logits).is_some() && two.allows(token("4")) && !two.allows(token("5")));
}

/// None of these may hang, panic or fill the memory; each is refused or answered within its limits.
#[test]
fn hostile_schemas_are_refused_or_harmless() {
    let language = language();
    let grammars =
        Grammars::new(language.vocabulary.clone(), language.eos.clone(), language.vocabulary.size());
    let wide: serde_json::Map<String, Value> =
        (0..1500).map(|i| (format!("p{i}"), json!({"type": "string", "maxLength": 4000}))).collect();
    let nested = (0..12).fold(
        json!({"type": "string"}),
        |inner, _| json!({"anyOf": [inner.clone(), {"type": "array", "items": inner}]}),
    );
    let refused = [
        json!(false),
        json!({"type": "integer", "minimum": 3, "maximum": 2}),
        json!({"type": "array", "uniqueItems": true}),
        json!({"oneOf": [{"type": "integer"}, {"type": "number"}]}),
        json!({"type": "string", "format": "no such format"}),
        json!({"type": "string", "pattern": "(["}),
        json!({"$ref": "#/$defs/nothing"}),
        json!({"type": "colour"}),
        nested,
    ];
    for schema in refused {
        let text = schema.to_string();
        let short: String = text.chars().take(200).collect();
        assert!(grammars.start(&text).is_err_and(|e| !e.is_empty() && e.len() < 500), "{short}");
    }
    for schema in [
        json!({"type": "object", "properties": wide, "additionalProperties": false}),
        json!({"type": "string", "pattern": "^(a|aa|aaa)*$", "maxLength": 4000}),
        json!({"type": "string", "pattern": "(x+x+)+y", "minLength": 900, "maxLength": 1000}),
        json!({"type": "array", "minItems": 4000, "items": {"type": "array", "minItems": 4000}}),
        json!({"$ref": "#"}),
        json!({"allOf": [{"$ref": "#"}, {"type": "object"}]}),
        json!({"type": "string", "pattern": "((a{1000}){1000}){1000}"}),
        json!({"anyOf": [{"type": "array", "items": {"$ref": "#"}}, {"type": "array", "items": {"$ref": "#"}}]}),
    ] {
        let Ok(mut grammar) = grammars.start(&schema.to_string()) else { continue };
        let logits = vec![0.0; language.vocabulary.size()];
        let mut sampler = Sampler::new(&Sampling { max_tokens: 60, temperature: 1.0, top_p: 1.0, seed: 1 });
        for _ in 0..60 {
            let Some(row) = grammar.hold(&logits) else { break };
            let Some(token) = sampler.choose(&row, |token| grammar.allows(token)) else { break };
            if language.eos.contains(&token) || !grammar.commit(token) || grammar.must_end() {
                break;
            }
        }
    }
}

/// A simulated model; its logits favour nothing.
fn sim(options: &EngineOptions, blocks: usize, gate: Option<std::sync::mpsc::Receiver<()>>) -> LocalModel {
    let mut runner = SimRunner::new(language().vocabulary.size(), options.block_tokens);
    runner.gate = gate;
    serve(runner, blocks, options)
}

fn request(schema: &Value, text: &str, seed: u64) -> Request {
    Request {
        constraint: Some(Constraint::Schema { schema: schema.to_string() }),
        sampling: Sampling { max_tokens: 150, temperature: 1.0, top_p: 1.0, seed },
        ..testing::request(text)
    }
}

async fn run(model: &LocalModel, request: Request) -> Result<Completion, GenerateError> {
    model.generate(request, None, CancellationToken::new()).await
}

fn mixed() -> Vec<(Value, Request)> {
    let schemas = schemas();
    (0..12)
        .map(|i| {
            let schema = schemas[i * 5 % schemas.len()].clone();
            let request = request(&schema, &format!("data {}", i % 3), i as u64);
            (schema, request)
        })
        .collect()
}

async fn all(model: &LocalModel, requests: &[(Value, Request)]) -> Vec<String> {
    let runs = requests.iter().map(|(_, r)| run(model, r.clone()));
    futures::future::join_all(runs).await.into_iter().map(|done| done.unwrap().text).collect()
}

#[tokio::test]
async fn answers_fit_and_do_not_depend_on_company_or_cache() {
    let options = EngineOptions { threads: 1, ..EngineOptions::default() };
    let requests = mixed();
    let mut alone = Vec::new();
    for (schema, request) in &requests {
        let done = run(&sim(&options, 64, None), request.clone()).await.unwrap();
        assert_fits(schema, &done.text);
        assert_eq!(done.finish, Finish::Stop);
        alone.push(done.text);
    }
    let model = sim(&options, 200, None);
    for round in ["cold", "warm"] {
        assert_eq!(all(&model, &requests).await, alone, "{round}");
    }
}

#[tokio::test]
async fn answers_go_on_behind_a_preemption_as_if_there_was_none() {
    let schema = json!({"type": "array", "minItems": 3, "maxItems": 4,
        "items": {"type": "string", "minLength": 12, "maxLength": 20}});
    let requests: Vec<(Value, Request)> =
        (0..12).map(|i| (schema.clone(), request(&schema, &format!("data {i}"), i))).collect();
    let options = EngineOptions { threads: 1, block_tokens: 4, running_max: 8, ..EngineOptions::default() };
    let roomy = sim(&EngineOptions { running_max: 1, ..options.clone() }, 400, None);
    let expected = all(&roomy, &requests).await;
    expected.iter().for_each(|text| assert_fits(&schema, text));
    // So few blocks that running answers give theirs back and go on later.
    let tight = sim(&options, 72, None);
    for _ in 0..3 {
        assert_eq!(all(&tight, &requests).await, expected);
    }
    let report = tight.cache_report().await.unwrap();
    assert!(report.preemptions > 0, "the test needs memory to be short: {report:?}");
}

#[tokio::test]
async fn the_same_prompt_with_another_schema_is_another_request() {
    let (open, gate) = sync_channel(0);
    let options = EngineOptions { threads: 1, ..EngineOptions::default() };
    let model = sim(&options, 200, Some(gate));
    let small = json!({"type": "integer", "minimum": 10, "maximum": 19});
    let large = json!({"type": "integer", "minimum": 20, "maximum": 29});
    // Compiled beforehand, so that the requests below are in the queue as soon as they are polled.
    for schema in [&small, &large] {
        passing(&open, run(&model, request(schema, "other", 1))).await.unwrap();
    }
    let mut runs = [&small, &small, &large].map(|schema| Box::pin(run(&model, request(schema, "same", 3))));
    for run in &mut runs {
        assert!(futures::poll!(run).is_pending());
    }
    drop(open);
    let done = futures::future::join_all(runs).await;
    let done: Vec<Completion> = done.into_iter().map(Result::unwrap).collect();
    assert_fits(&small, &done[0].text);
    assert_fits(&large, &done[2].text);
    assert_eq!(done[0].text, done[1].text);
    let attached: Vec<u64> = done.iter().map(|d| d.receipt.attached).collect();
    assert_eq!(attached[0] + attached[1], 1, "the equal ones share an answer");
    assert_eq!(attached[2], 0);
}

/// Lets the steps pass that `work` waits for, and not one more.
async fn passing<T>(open: &SyncSender<()>, work: impl Future<Output = T>) -> T {
    let mut work = std::pin::pin!(work);
    loop {
        if let std::task::Poll::Ready(done) = futures::poll!(&mut work) {
            return done;
        }
        let _ = open.try_send(());
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_cancelled_answer_leaves_the_others_alone() {
    let options = EngineOptions { threads: 1, ..EngineOptions::default() };
    let (open, gate) = sync_channel(0);
    let model = sim(&options, 200, Some(gate));
    let schema = json!({"type": "string", "minLength": 40, "maxLength": 60});
    let cancel = CancellationToken::new();
    let (sender, mut pieces) = tokio::sync::mpsc::channel(100);
    let cancelled = model.generate(request(&schema, "one", 1), Some(sender), cancel.clone());
    let other = run(&model, request(&schema, "two", 2));
    let steer = async {
        passing(&open, pieces.recv()).await;
        cancel.cancel();
        drop(open);
    };
    let (cancelled, other, ()) = futures::join!(cancelled, other, steer);
    assert!(matches!(cancelled, Err(GenerateError::Cancelled)), "{cancelled:?}");
    assert_fits(&schema, &other.unwrap().text);
    let report = model.cache_report().await.unwrap();
    assert_eq!(report.held_blocks, 0);
}

#[tokio::test]
async fn what_cannot_be_kept_is_said() {
    let options = EngineOptions { threads: 1, ..EngineOptions::default() };
    let model = sim(&options, 64, None);
    let long = json!({"type": "string", "minLength": 100, "maxLength": 200});
    let mut short = request(&long, "x", 1);
    short.sampling.max_tokens = 20;
    match run(&model, short).await {
        Err(GenerateError::Shape(reason)) => assert!(reason.contains("20 tokens"), "{reason}"),
        other => panic!("{other:?}"),
    }
    let mut stopped = request(&long, "x", 1);
    stopped.stop = vec!["a".into()];
    assert!(matches!(run(&model, stopped).await, Err(GenerateError::Rejected(_))));
    let unknown = json!({"type": "array", "uniqueItems": true});
    match run(&model, request(&unknown, "x", 1)).await {
        Err(GenerateError::Rejected(reason)) => assert!(reason.contains("uniqueItems"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert!(run(&model, testing::request("still there")).await.is_ok());
}

#[tokio::test]
async fn a_session_goes_on_with_another_schema() {
    let options = EngineOptions { threads: 1, block_tokens: 4, ..EngineOptions::default() };
    let (first, second) = (schemas()[0].clone(), schemas()[1].clone());
    let model = sim(&options, 400, None);
    let mut one = request(&first, "some data", 1);
    one.session = Some("s".into());
    let answer = run(&model, one.clone()).await.unwrap();
    assert_fits(&first, &answer.text);
    let mut two = Request { constraint: request(&second, "", 0).constraint, ..one.clone() };
    let said =
        |role, text: &str| crate::job::Message { role, text: text.into(), scope: crate::job::Scope::Tenant };
    two.messages.push(said(crate::job::Role::Assistant, &answer.text));
    two.messages.push(said(crate::job::Role::User, "and now the figures"));
    let warm = run(&model, two.clone()).await.unwrap();
    assert_fits(&second, &warm.text);
    assert!(warm.receipt.cached_tokens as usize > answer.receipt.prompt_tokens as usize - 8);
    let cold = run(&sim(&options, 400, None), two).await.unwrap();
    assert_eq!((warm.text, cold.receipt.cached_tokens), (cold.text, 0));
}

#[tokio::test]
async fn the_shipped_model_keeps_to_schemas() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../model/weights");
    if !folder.join("model.safetensors").exists() {
        println!("skipped: there is no shipped model yet");
        return;
    }
    let model = LocalModel::from_directory(&folder, &EngineOptions::default(), Observed::default()).unwrap();
    let schemas = schemas();
    let runs = (0..3 * schemas.len())
        .map(|i| run(&model, request(&schemas[i % schemas.len()], "Invoice 7", i as u64)));
    let done = futures::future::join_all(runs).await;
    for (i, done) in done.into_iter().enumerate() {
        let text = done.unwrap_or_else(|e| panic!("{}: {e}", schemas[i % schemas.len()])).text;
        assert_fits(&schemas[i % schemas.len()], &text);
    }
}
