use bul_engine::{EngineOptions, ExpectedPrefix, Message, ModelSpec, Role, Scope, TierOptions, open_with};
use bul_job::{Group, JobId, Limits, RawJob, TenantId, ValidJob};
use bul_store::{BacklogFilter, NewJob};
use bul_worker::{Ahead, Backlog};
use serde_json::{Value, json};

use super::*;
use crate::shipped;

/// Polls of a model; each lets its engine do a step.
const POLLS_MAX: usize = 100_000;

async fn store() -> Arc<dyn Store> {
    let memory = wire::StoreSpec::Sqlite(":memory:".into());
    wire::open_store_of(&memory, &bul_config::Config::default()).await.unwrap()
}

fn report() -> Value {
    json!({"query": "How sales went", "business_area": "sales", "doc_type": "report"})
}

async fn submit(store: &dyn Store, tenant: &str, job: Value, count: usize) {
    let tenant: TenantId = tenant.parse().unwrap();
    let raw = RawJob::from_value(job).unwrap();
    let job = ValidJob::parse(raw, store.now(), &Limits::default()).unwrap();
    let new = || NewJob {
        id: JobId::in_group(Group::of(&tenant, &job)),
        tenant: tenant.clone(),
        job: job.clone(),
        source: "test".into(),
    };
    store.accept(&(0..count).map(|_| new()).collect::<Vec<_>>()).await.unwrap();
}

fn model(disk: &Path, registry: &Registry) -> Arc<dyn Generate> {
    let tiers =
        TierOptions { disk_directory: Some(disk.into()), disk_bytes_max: 64 << 20, ..TierOptions::default() };
    let options = EngineOptions { threads: 1, tiers, ..EngineOptions::default() };
    open_with(&ModelSpec::Embedded(shipped::model()), &options, Some(registry)).unwrap()
}

fn backlog(store: &Arc<dyn Store>, model: &Arc<dyn Generate>, registry: &Registry) -> Backlog {
    let metrics = bul_worker::Metrics::new(registry, bul_telemetry::breakers(registry));
    Backlog::new(
        store.clone(),
        Arc::new(Catalog::builtin().unwrap()),
        Ahead::new(model.clone(), metrics),
        Affinity::new("here".into(), 1),
        BacklogFilter::default(),
    )
}

fn value(registry: &Registry, name: &str) -> i64 {
    let families = registry.gather();
    let metrics = families.iter().filter(|family| family.name() == name).flat_map(|f| f.get_metric());
    metrics.map(|metric| metric.get_gauge().get_value() as i64).sum()
}

/// What the jobs of the last run needed lies on the disk. It is back in memory before a worker has pulled the first job of this one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prefix_of_the_backlog_comes_up_before_its_first_job_is_pulled() {
    let disk = tempfile::tempdir().unwrap();
    let store = store().await;
    submit(store.as_ref(), "acme", report(), 3).await;
    submit(store.as_ref(), "globex", report(), 2).await;
    let before = model(disk.path(), &Registry::new());
    let text = "Area: sales\nDocument: report\nWrite plain business English. Refer to a fact only by its name in square \
                brackets. Never invent numbers, names or dates.";
    let message = Message { role: Role::System, text: text.into(), scope: Scope::Public };
    let prefix = ExpectedPrefix { tenant: String::new(), messages: vec![message], times: 1 };
    before.warm_up(&prefix, Duration::from_secs(3600)).await.unwrap();
    drop(before);

    let registry = Registry::new();
    let model = model(disk.path(), &registry);
    assert_eq!(model.cache_report().await.unwrap().prefetched_blocks, 0);
    backlog(&store, &model, &registry).look().await.unwrap();
    let mut brought = 0;
    for _ in 0..POLLS_MAX {
        brought = model.cache_report().await.unwrap().prefetched_blocks;
        if brought > 0 {
            break;
        }
    }
    assert!(brought > 0, "{:?}", model.cache_report().await);
    // Headings and texts of five documents, in one prefix that both tenants share.
    let expected = value(&registry, "bul_worker_forecast_requests");
    assert!(expected >= 5 * 2 && expected % 5 == 0, "{expected}");
    assert_eq!(value(&registry, "bul_engine_forecast_prefixes"), 1);
}

/// The scripted model measures what is around it: not even the store is asked on its account.
#[tokio::test]
async fn a_model_without_a_cache_has_the_queue_left_alone() {
    let store = store().await;
    submit(store.as_ref(), "acme", report(), 3).await;
    let model: Arc<dyn Generate> = Arc::new(bul_engine::Scripted::default());
    let registry = Registry::new();
    // It ends by itself.
    backlog(&store, &model, &registry).follow(Shutdown::new().stopping().clone()).await;
    assert_eq!(value(&registry, "bul_worker_forecast_requests"), 0);
}
