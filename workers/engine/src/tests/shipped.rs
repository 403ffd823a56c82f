//! The shipped model against the reference that its training wrote, where both are present.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::precision::Drift;
use crate::chat::Chat;
use crate::constraint::check;
use crate::generate::Generate;
use crate::job::{Constraint, Message, Request, Role, Sampling, Scope};
use crate::kv::pool::BlockId;
use crate::kv::precision::KvPrecision;
use crate::kv::tier::codec::Codec;
use crate::kv::tier::compression::{Compression, unpack};
use crate::kv::{KvShape, KvStore};
use crate::local::LocalModel;
use crate::model::config::ModelConfig;
use crate::model::decoder::{Decoder, Logits, Scratch, Span};
use crate::model::threads::Threads;
use crate::model::weights::SafetensorsSource;
use crate::open::{EngineOptions, Observed};
use crate::testing::request;
use crate::vocabulary::Vocabulary;
use tokio_util::sync::CancellationToken;

#[derive(Deserialize)]
struct Golden {
    prompts: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    system: String,
    user: String,
    prompt_ids: Vec<u32>,
    greedy_ids: Vec<u32>,
    top5_first: Vec<Candidate>,
}

#[derive(Deserialize)]
struct Candidate {
    id: u32,
    logit: f32,
}

fn folder() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../model");
    let complete = folder.join("weights/model.safetensors").exists() && folder.join("golden.json").exists();
    if !complete {
        println!("skipped: there is no shipped model yet");
    }
    complete.then_some(folder)
}

fn cases(folder: &Path) -> Vec<Case> {
    let golden = std::fs::read(folder.join("golden.json")).unwrap();
    serde_json::from_slice::<Golden>(&golden).unwrap().prompts
}

fn messages(case: &Case) -> Vec<Message> {
    vec![
        Message { role: Role::System, text: case.system.clone(), scope: Scope::Public },
        Message { role: Role::User, text: case.user.clone(), scope: Scope::Tenant },
    ]
}

#[test]
fn prompts_and_logits_agree_with_the_reference() {
    let Some(folder) = folder() else { return };
    let file = |name: &str| std::fs::read(folder.join("weights").join(name)).unwrap();
    let vocabulary = Vocabulary::from_json(&file("tokenizer.json")).unwrap();
    let settings: serde_json::Value = serde_json::from_slice(&file("tokenizer_config.json")).unwrap();
    let chat = Chat::new(settings["chat_template"].as_str().unwrap(), String::new(), String::new()).unwrap();
    let (decoder, shape) = decoder(&folder);
    let c = decoder.config();
    for case in cases(&folder) {
        let prompt = chat.prompt(&messages(&case), &vocabulary).unwrap();
        assert_eq!(prompt.tokens, case.prompt_ids);
        // The reference's own continuation is fed, so that one near tie does not spoil the rest.
        let tokens = [case.prompt_ids.as_slice(), &case.greedy_ids].concat();
        let mut store = KvStore::new(shape, KvPrecision::F32, 64);
        let blocks = (0..64).map(BlockId).collect();
        let span = Span { tokens, start: 0, blocks, logits: Logits::All };
        let logits = decoder.forward(&[span], &mut store, &mut Scratch::default(), &Threads::new(1)).unwrap();
        let rows: Vec<&[f32]> = logits.chunks_exact(c.vocab).skip(case.prompt_ids.len() - 1).collect();
        for candidate in &case.top5_first {
            let difference = (rows[0][candidate.id as usize] - candidate.logit).abs();
            assert!(difference < 1e-3, "logit of {} differs by {difference}", candidate.id);
        }
        for (row, id) in rows.iter().zip(&case.greedy_ids) {
            let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert!(row[*id as usize] > max - 1e-3, "{id} is not the best token");
        }
    }
}

#[tokio::test]
async fn it_writes_in_the_asked_shape() {
    let Some(folder) = folder() else { return };
    let model =
        LocalModel::from_directory(&folder.join("weights"), &EngineOptions::default(), Observed::default())
            .unwrap();
    for (seed, case) in cases(&folder).iter().enumerate() {
        let outline = case.user.contains("outline");
        let constraint = if outline {
            Constraint::Outline { items: 5 }
        } else {
            let names = case.user.lines().filter_map(|l| l.strip_prefix('[')?.split_once(']'));
            Constraint::Prose {
                facts: names.map(|(name, _)| name.to_string()).collect(),
                sentences: 3,
                said: Vec::new(),
            }
        };
        let request = Request {
            messages: messages(case),
            constraint: Some(constraint.clone()),
            sampling: Sampling { seed: seed as u64, ..Sampling::default() },
            ..request("")
        };
        let done = model.generate(request, None, CancellationToken::new()).await.unwrap();
        println!("{}\n{:?}\n", done.text, done.receipt);
        assert_eq!(check(&constraint, &done.text), Ok(()), "{}", done.text);
    }
}

/// Prompts of the corpus with an answer each, as tokens.
fn corpus(folder: &Path) -> Vec<(Vec<u32>, Vec<u32>)> {
    let file = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let vocabulary = Vocabulary::from_json(&file("weights/tokenizer.json")).unwrap();
    let settings: serde_json::Value = serde_json::from_slice(&file("weights/tokenizer_config.json")).unwrap();
    let chat = Chat::new(settings["chat_template"].as_str().unwrap(), String::new(), String::new()).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let sample = String::from_utf8(file("corpus/sample.jsonl")).unwrap();
    let ask = |system: &serde_json::Value, prompt: &serde_json::Value| {
        let asked = [
            Message { role: Role::System, text: text(system), scope: Scope::Public },
            Message { role: Role::User, text: text(&prompt["user"]), scope: Scope::Tenant },
        ];
        let answer = vocabulary.encode_text(&text(&prompt["answers"][0])).unwrap();
        (chat.prompt(&asked, &vocabulary).unwrap().tokens, answer)
    };
    let groups = sample.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    groups
        .flat_map(|group| {
            let prompts = group["prompts"].as_array().unwrap().iter();
            prompts.map(|prompt| ask(&group["system"], prompt)).collect::<Vec<_>>()
        })
        .collect()
}

/// How far the next tokens' probabilities move when the prompt's keys and values went through a
/// codec: mean divergence in nats, and how often the best token stays the best.
fn error_of(codec: Codec, decoder: &Decoder, cases: &[(Vec<u32>, Vec<u32>)]) -> (f64, f64) {
    let c = decoder.config();
    let shape = KvShape { layers: c.layers, kv_heads: c.kv_heads, head_dim: c.head_dim, block_tokens: 16 };
    let blocks: Vec<BlockId> = (0..64).map(BlockId).collect();
    let mut drift = Drift::default();
    for (prompt, answer) in cases {
        let run = |store: &mut KvStore, tokens: &[u32], start: usize, logits: Logits| {
            let span = Span { tokens: tokens.to_vec(), start, blocks: blocks.clone(), logits };
            decoder.forward(&[span], store, &mut Scratch::default(), &Threads::new(1)).unwrap()
        };
        let mut store = KvStore::new(shape, KvPrecision::F32, 64);
        // The last token is computed again behind a full hit, as in the engine.
        let (prefix, last) = prompt.split_at(prompt.len() - 1);
        run(&mut store, prefix, 0, Logits::None);
        let mut restored = KvStore::new(shape, KvPrecision::F32, 64);
        for block in &blocks {
            let mut values = Vec::new();
            store.export(*block, &mut values);
            if !values.is_empty() {
                let bytes = codec.encode(shape, &values);
                restored.import(*block, &codec.decode(shape, &bytes, values.len()).unwrap());
            }
        }
        let tokens = [last, answer].concat();
        let exact = run(&mut store, &tokens, prefix.len(), Logits::All);
        let close = run(&mut restored, &tokens, prefix.len(), Logits::All);
        drift.compare(&exact, &close, c.vocab);
    }
    (drift.divergence(), drift.same())
}

#[test]
fn codecs_change_the_shipped_model_by_little() {
    let Some(folder) = folder() else { return };
    let (decoder, _) = decoder(&folder);
    let cases: Vec<(Vec<u32>, Vec<u32>)> = cases(&folder)
        .into_iter()
        .map(|case| (case.prompt_ids, case.greedy_ids))
        .chain(corpus(&folder))
        .collect();
    let tokens: usize = cases.iter().map(|(_, answer)| answer.len()).sum();
    assert!(tokens > 5_000, "{tokens}: so few that one tie decides");
    for (codec, divergence_max, same_min) in [
        (Codec::F32, 0.0, 1.0),
        (Codec::F16, 1e-5, 0.999),
        (Codec::Int8, 0.002, 0.98),
        (Codec::Int4, 0.02, 0.9),
    ] {
        let (divergence, same) = error_of(codec, &decoder, &cases);
        println!("{codec:?}: divergence {divergence:.2e} nats, best token the same in {:.2} %", same * 100.0);
        assert!(divergence <= divergence_max && same >= same_min, "{codec:?}: {divergence} {same}");
    }
}

/// The shipped model, and the shape of its keys and values in blocks of sixteen tokens.
fn decoder(folder: &Path) -> (Decoder, KvShape) {
    let config = std::fs::read(folder.join("weights").join("config.json")).unwrap();
    let mut source = SafetensorsSource::from_directory(&folder.join("weights")).unwrap();
    let decoder = Decoder::load(ModelConfig::from_json(&config).unwrap(), &mut source).unwrap();
    let c = decoder.config();
    let shape = KvShape { layers: c.layers, kv_heads: c.kv_heads, head_dim: c.head_dim, block_tokens: 16 };
    (decoder, shape)
}

/// Whole answers, all of their keys and values held at each precision: since the cut of the work changes no bit, this is what
/// decoding token by token reads.
#[test]
fn precisions_change_the_shipped_model_by_little() {
    let Some(folder) = folder() else { return };
    let (decoder, shape) = decoder(&folder);
    let c = decoder.config();
    let limits = [
        (KvPrecision::F32, 0.0, 1.0),
        (KvPrecision::F16, 1e-6, 0.999),
        (KvPrecision::Bf16, 1e-5, 0.998),
        (KvPrecision::Int8, 4e-5, 0.995),
        (KvPrecision::Int4, 0.003, 0.98),
    ];
    let mut drifts = limits.map(|_| Drift::default());
    let (mut scratch, threads) = (Scratch::default(), Threads::new(2));
    for (prompt, answer) in corpus(&folder) {
        let tokens = [prompt.as_slice(), &answer].concat();
        let mut run = |precision| {
            let mut store = KvStore::new(shape, precision, 64);
            let blocks = (0..64).map(BlockId).collect();
            let span = Span { tokens: tokens.clone(), start: 0, blocks, logits: Logits::All };
            let logits = decoder.forward(&[span], &mut store, &mut scratch, &threads).unwrap();
            logits[(prompt.len() - 1) * c.vocab..].to_vec()
        };
        let exact = run(KvPrecision::F32);
        for ((precision, ..), drift) in limits.iter().zip(&mut drifts) {
            drift.compare(&exact, &run(*precision), c.vocab);
        }
    }
    for ((precision, divergence_max, same_min), drift) in limits.iter().zip(&drifts) {
        let (divergence, same) = (drift.divergence(), drift.same());
        println!(
            "{}: {} bytes a token, divergence {divergence:.2e} nats, best token the same in {:.2} % of {}",
            precision.name(),
            shape.block_bytes(*precision) / 16,
            same * 100.0,
            drift.rows()
        );
        assert!(drift.rows() > 5_000, "so few that one tie decides");
        assert!(divergence <= *divergence_max && same >= *same_min, "{precision:?}: {divergence} {same}");
    }
}

/// Sizes and times of packing real keys and values; only that nothing is lost, and that more effort is not in vain, is
/// asserted.
#[test]
fn packing_keeps_the_shipped_models_blocks() {
    let Some(folder) = folder() else { return };
    let (decoder, shape) = decoder(&folder);
    let mut store = KvStore::new(shape, KvPrecision::F32, 64);
    let tokens = cases(&folder)[0].prompt_ids.clone();
    let full = tokens.len() / 16;
    let span = Span { tokens, start: 0, blocks: (0..64).map(BlockId).collect(), logits: Logits::None };
    decoder.forward(&[span], &mut store, &mut Scratch::default(), &Threads::new(1)).unwrap();
    for codec in [Codec::F32, Codec::F16, Codec::Int8, Codec::Int4] {
        let mut values = Vec::new();
        let mut encoded = |block| {
            store.export(BlockId(block), &mut values);
            codec.encode(shape, &values)
        };
        let blocks: Vec<Vec<u8>> = (0..full as u32).map(&mut encoded).collect();
        let plain: usize = blocks.iter().map(Vec::len).sum();
        let mut sizes = Vec::new();
        for compression in [Compression::Lz4, Compression::Zstd { level: 1 }, Compression::Zstd { level: 9 }]
        {
            let started = std::time::Instant::now();
            let packed: Vec<Vec<u8>> = blocks.iter().map(|block| compression.pack(block)).collect();
            let packing = started.elapsed();
            let started = std::time::Instant::now();
            for (block, packed) in blocks.iter().zip(&packed) {
                assert_eq!(unpack(packed, block.len()).as_ref(), Some(block));
            }
            let size: usize = packed.iter().map(Vec::len).sum();
            println!(
                "{codec:?} {compression:?}: {:.3} of {plain} bytes, {packing:?} and {:?} back",
                size as f64 / plain as f64,
                started.elapsed()
            );
            sizes.push(size);
        }
        assert!(sizes[2] <= sizes[0], "{codec:?}: {sizes:?}");
    }
}
