//! What becomes of blocks in engines that are opened with a model: warmed up, preempted, held at fewer bits, kept on disk.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::forecast::{ExpectedPrefix, Forecast};
use crate::generate::Generate;
use crate::job::Request;
use crate::kv::KvShape;
use crate::kv::policy::Eviction;
use crate::kv::precision::KvPrecision;
use crate::kv::tier::TierOptions;
use crate::kv::tier::codec::Codec;
use crate::open::EngineOptions;
use crate::preset::Preset;
use crate::testing;

async fn texts(model: &dyn Generate, requests: &[Request]) -> Vec<String> {
    let runs = requests.iter().map(|r| model.generate(r.clone(), None, CancellationToken::new()));
    futures::future::join_all(runs).await.into_iter().map(|done| done.unwrap().text).collect()
}

/// Most bytes that the tiny model's blocks of four tokens take besides while they are filled.
fn tail_bytes(precision: KvPrecision) -> usize {
    let shape = KvShape { layers: 2, kv_heads: 2, head_dim: 8, block_tokens: 4 };
    let options = EngineOptions::default();
    shape.tail_bytes(precision, options.running_max, options.prefill_chunk_tokens)
}

/// Bytes of `blocks` blocks of the tiny model with four tokens each.
fn bytes(blocks: usize, precision: KvPrecision) -> usize {
    let rows = blocks * 4 * 2 * 2 * 2;
    match precision {
        KvPrecision::F32 => rows * 8 * 4,
        KvPrecision::F16 | KvPrecision::Bf16 => rows * 8 * 2,
        KvPrecision::Int8 => rows * (8 + 2),
        KvPrecision::Int4 => rows * (4 + 2),
    }
}

#[tokio::test]
async fn preempted_and_restored_answers_are_the_same_bit_by_bit() {
    use {Codec as To, KvPrecision as Of};
    // A tier that loses nothing of what the engine's own memory holds.
    for (kv_precision, codec) in [
        (Of::F32, To::F32),
        (Of::F16, To::F16),
        (Of::Bf16, To::F32),
        (Of::Int8, To::Int8),
        (Of::Int8, To::F32),
        // Four bits go down as they are held, whatever is asked for.
        (Of::Int4, To::Int4),
        (Of::Int4, To::F32),
        (Of::Int4, To::Int8),
    ] {
        preempted_and_restored(kv_precision, codec).await;
    }
}

async fn preempted_and_restored(kv_precision: KvPrecision, codec: Codec) {
    let base = EngineOptions { threads: 1, block_tokens: 4, kv_precision, ..EngineOptions::default() };
    let requests: Vec<Request> = (0..10)
        .map(|i| {
            let mut request = testing::request(&format!("{} {i}", "some data ".repeat(2 + i)));
            request.sampling.max_tokens = 60;
            request.stop = Vec::new();
            request
        })
        .collect();
    let expected = texts(&testing::model(&base), &requests).await;
    let small =
        EngineOptions { kv_bytes_max: bytes(70, kv_precision) + tail_bytes(kv_precision), ..base.clone() };
    let model = testing::model(&small);
    assert_eq!(texts(&model, &requests).await, expected);
    let report = model.cache_report().await.unwrap();
    assert!(report.preemptions > 0, "{report:?}");
    let tiers = TierOptions { host_bytes_max: 1 << 24, codec, ..TierOptions::default() };
    let model = testing::model(&EngineOptions { tiers, threads: 2, ..small });
    for _ in 0..3 {
        assert_eq!(texts(&model, &requests).await, expected);
    }
    let report = model.cache_report().await.unwrap();
    assert!(report.preemptions > 0 && report.evicted_blocks > 0, "{report:?}");
    assert_eq!(report.tail_bytes > 0, kv_precision == KvPrecision::Int4);
    assert!(report.tail_bytes <= tail_bytes(kv_precision), "{report:?}");
}

#[tokio::test]
async fn a_warmed_up_prefix_is_there_for_the_first_request() {
    let options =
        EngineOptions { threads: 1, block_tokens: 4, shadow_policies: true, ..EngineOptions::default() };
    let registry = prometheus::Registry::new();
    let model = testing::model_with(&options, Some(&registry));
    let request = testing::request("data");
    let prefix =
        ExpectedPrefix { tenant: String::new(), messages: request.messages[..1].to_vec(), times: 20 };
    model.announce(&Forecast { prefixes: vec![prefix.clone()] });
    let warm = model.warm_up(&prefix, Duration::from_secs(600)).await.unwrap();
    assert_eq!(warm.cached_tokens, 0);
    let done = model.generate(request, None, CancellationToken::new()).await.unwrap();
    assert!(done.receipt.cached_tokens >= (warm.prompt_tokens - 1) / 4 * 4, "{:?} {warm:?}", done.receipt);
    let report = model.cache_report().await.unwrap();
    assert_eq!(report.pinned_blocks as u64, warm.prompt_tokens / 4);
    assert_eq!(report.policy, "planned");
    assert_eq!(report.shadows.len(), 6);
    assert!(report.hit_rate() > 0.0 && report.shadows.iter().all(|s| s.hit_tokens > 0), "{report:?}");
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    assert!(text.contains("bul_engine_shadow_hit_tokens_total{policy=\"lru\"}"), "{text}");
}

/// For queues nothing is pinned: the forecast keeps what waits. Eight other templates pass through a cache that holds two.
#[tokio::test]
async fn for_bulk_the_forecast_keeps_what_the_queue_will_ask() {
    let bulk = EngineOptions {
        threads: 1,
        block_tokens: 4,
        kv_bytes_max: bytes(70, KvPrecision::F32),
        ..EngineOptions::preset(Preset::Bulk)
    };
    let of = |template: usize| {
        let mut request = testing::request("data");
        request.messages[0].text = format!("Template {template}. {}", request.messages[0].text);
        request
    };
    let prefix = |template| ExpectedPrefix {
        tenant: String::new(),
        messages: of(template).messages[..1].to_vec(),
        times: 50,
    };
    for (eviction, is_told, is_kept) in
        [(Eviction::Planned, true, true), (Eviction::Planned, false, false), (Eviction::Lru, true, false)]
    {
        let model = testing::model(&EngineOptions { eviction, ..bulk.clone() });
        assert_eq!(model.heeds_forecasts(), eviction == Eviction::Planned);
        let warm = model.warm_up(&prefix(0), Duration::from_secs(600)).await.unwrap();
        if is_told {
            model.announce(&Forecast { prefixes: vec![prefix(0)] });
        }
        for other in 1..9 {
            model.generate(of(other), None, CancellationToken::new()).await.unwrap();
        }
        let done = model.generate(of(0), None, CancellationToken::new()).await.unwrap();
        let prefix_blocks = (warm.prompt_tokens - 1) / 4;
        assert_eq!(
            done.receipt.cached_tokens >= prefix_blocks * 4,
            is_kept,
            "{eviction:?} {:?}",
            done.receipt
        );
        assert_eq!(model.cache_report().await.unwrap().pinned_blocks, 0);
    }
}

/// The budget counts bytes: fewer bits, more blocks.
#[tokio::test]
async fn fewer_bits_hold_more_blocks_in_the_same_bytes() {
    for (kv_precision, blocks) in [
        (KvPrecision::F32, 35),
        (KvPrecision::F16, 70),
        (KvPrecision::Bf16, 70),
        (KvPrecision::Int8, 112),
        (KvPrecision::Int4, 186),
    ] {
        // What blocks take besides while they are filled is part of the budget.
        let kv_bytes_max = bytes(35, KvPrecision::F32) + tail_bytes(kv_precision);
        let options =
            EngineOptions { threads: 1, block_tokens: 4, kv_bytes_max, kv_precision, ..Default::default() };
        let info = testing::model(&options).info();
        assert_eq!(info.context_tokens, Some(blocks * 4));
    }
}

/// Blocks of one precision on disk are none of another's.
#[tokio::test]
async fn precisions_do_not_share_what_is_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let mut fingerprints = Vec::new();
    for kv_precision in KvPrecision::ALL {
        let tiers = TierOptions {
            disk_directory: Some(directory.path().to_path_buf()),
            disk_bytes_max: 1 << 20,
            ..TierOptions::default()
        };
        let options =
            EngineOptions { threads: 1, block_tokens: 4, tiers, kv_precision, ..Default::default() };
        // The second engine of the same precision finds what the first one left.
        for from_disk in [false, true] {
            let model = testing::model(&options);
            let request = testing::request("the same data");
            let done = model.generate(request, None, CancellationToken::new()).await.unwrap();
            assert_eq!(done.receipt.disk_tokens > 0, from_disk, "{kv_precision:?}");
            fingerprints.push(model.info().fingerprint);
        }
    }
    fingerprints.dedup();
    assert_eq!(
        fingerprints.len(),
        KvPrecision::ALL.len(),
        "kept texts must not pass from one to another either"
    );
}
