//! The load is run to its end, and what tiers found is in the report.

use super::*;
use crate::kv::tier::TierOptions;

#[tokio::test]
async fn a_load_is_measured_to_the_last_token() {
    let load = EngineLoad {
        templates: 3,
        documents: 5,
        prefix_tokens: 80,
        data_tokens: (5, 20),
        output_tokens: 12,
        concurrent: 4,
        ..EngineLoad::default()
    };
    let options = EngineOptions { threads: 1, ..EngineOptions::default() };
    let report = bench_engine(ModelShape::Tiny, &load, &options).await.unwrap();
    assert_eq!(report.requests, 15);
    assert_eq!(
        report.cache.prompt_tokens,
        report.cache.cached_tokens + report.cache.computed_tokens - 15 * 11
    );
    // Each template's prefix of five blocks is computed once.
    assert_eq!(report.device_hit_tokens, 12 * 80);
    assert!(report.first_token_ms.p50 <= report.first_token_ms.p99);
    assert!(report.output_tokens_per_second > 0.0 && report.peak_memory_bytes > 0);
    assert!(serde_json::to_string(&report).unwrap().contains("\"shape\":\"tiny\""));
}

#[tokio::test]
async fn a_second_run_finds_on_disk_what_the_first_one_left() {
    let folder = tempfile::tempdir().unwrap();
    let load = EngineLoad {
        templates: 2,
        documents: 2,
        prefix_tokens: 80,
        data_tokens: (5, 20),
        output_tokens: 2,
        concurrent: 1,
        announce: false,
        ..EngineLoad::default()
    };
    let tiers = TierOptions {
        disk_directory: Some(folder.path().into()),
        disk_bytes_max: 16 << 20,
        ..TierOptions::default()
    };
    let options = EngineOptions { threads: 1, tiers, ..EngineOptions::default() };
    let first = bench_engine(ModelShape::Tiny, &load, &options).await.unwrap();
    assert_eq!((first.device_hit_tokens, first.disk_hit_tokens), (2 * 80, 0));
    let second = bench_engine(ModelShape::Tiny, &load, &options).await.unwrap();
    // Before it has computed anything it takes all that is there; later what is faster.
    assert!(second.disk_hit_tokens >= 80, "{second:?}");
    assert!(second.cache.restored_blocks >= 5 && second.cache.disk_bytes > 0);
}

#[test]
fn shapes_have_the_sizes_of_their_models() {
    for shape in ModelShape::ALL {
        assert_eq!(ModelShape::parse(shape.name()), Some(shape));
    }
    let parameters = ModelShape::Qwen3_06b.config().unwrap().parameters();
    assert!((595_000_000..600_000_000).contains(&parameters), "{parameters}");
}
