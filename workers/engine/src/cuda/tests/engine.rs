//! The engine over the emulated device: scheduling, prefix cache and tiers do not notice where the blocks are.

use tokio_util::sync::CancellationToken;

use super::*;
use crate::chat::Chat;
use crate::generate::{Generate, ModelInfo};
use crate::job::Completion;
use crate::kv::tier::TierOptions;
use crate::kv::tier::codec::Codec;
use crate::local::LocalModel;
use crate::open::{EngineOptions, Observed};
use crate::sequence::Language;
use crate::testing::{SPECIAL, TEMPLATE, request, vocabulary};

fn model(blocks: usize, options: &EngineOptions) -> LocalModel {
    let runner = runner(Order::Forward, options.block_tokens, blocks);
    let info = ModelInfo {
        kind: "local",
        name: "emulated".into(),
        architecture: "llama".into(),
        parameters: None,
        context_tokens: Some(256),
        precision: "f16".into(),
        fingerprint: "emulated".into(),
    };
    let vocabulary = vocabulary();
    let eos = vocabulary.id(SPECIAL[3]).into_iter().collect();
    let language = Language { vocabulary: vocabulary.into(), eos, phrases: None };
    let chat = Chat::new(TEMPLATE, String::new(), SPECIAL[3].into()).unwrap();
    LocalModel::spawn(runner, blocks, info, language, chat, 256, options, Observed::default()).unwrap()
}

async fn ask(model: &LocalModel, text: &str) -> Completion {
    let mut request = request(text);
    request.sampling.max_tokens = 6;
    model.generate(request, None, CancellationToken::new()).await.unwrap()
}

#[tokio::test]
async fn answers_are_those_of_each_request_alone() {
    let texts = ["one", "two invoices", "three"];
    let options = EngineOptions::default();
    let together = model(64, &options);
    let (a, b, c) =
        tokio::join!(ask(&together, texts[0]), ask(&together, texts[1]), ask(&together, texts[2]));
    for (text, found) in texts.into_iter().zip([a, b, c]) {
        let alone = ask(&model(64, &options), text).await;
        assert_eq!((alone.text, alone.finish), (found.text, found.finish));
    }
    let again = ask(&together, "one").await;
    assert!(again.receipt.cached_tokens > 0, "{:?}", again.receipt);
}

/// Few blocks and a tier beneath: what is evicted is read from the device, and answers stay the same.
#[tokio::test]
async fn evicted_blocks_are_read_from_the_device() {
    let tiers = TierOptions { host_bytes_max: 1 << 20, codec: Codec::F16, ..TierOptions::default() };
    let options = EngineOptions { tiers, pinned_bytes_max: 0, ..EngineOptions::default() };
    let small = model(9, &options);
    let text = |word: &str| format!("{word} ").repeat(40 / word.len());
    let first = ask(&small, &text("one")).await;
    for word in ["two", "three", "four"] {
        ask(&small, &text(word)).await;
    }
    let again = ask(&small, &text("one")).await;
    assert_eq!(first.text, again.text);
    let report = small.cache_report().await.unwrap();
    assert!(report.evicted_blocks > 0 && report.host_bytes > 0, "{report:?}");
}
