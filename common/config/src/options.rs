//! All options, with their defaults and what goes wrong when a value is too high or too low.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::Secret;

/// The configuration of all roles.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `sqlite:PATH` or `postgres://user:password@host/database`; empty puts a file into the data folder. A primary and its
    /// standbys as `postgres://user:password@a:5432,b:5432/database`: the one that takes writes is used, also after a failover.
    pub store: String,
    /// `embedded`, `nats://host:4222` or `amqp://user:password@host:5672`; the servers of a cluster joined by commas, each with
    /// its scheme: `amqp://…@a:5672/vhost,amqp://…@b:5672/vhost`. They are tried in turn.
    pub broker: String,
    /// Copies of the stream on a NATS cluster; 3 survive the loss of one server. Other brokers have their own setting for
    /// it. More than the cluster has servers: the broker is not ready.
    pub broker_replicas: u32,
    /// Partitions of each lane, 1 to 16, with several processes of workers on NATS or RabbitMQ: jobs whose prompts begin alike lie in one,
    /// and go to the process that has that beginning in its cache; who is idle helps out. The same for all processes; set it for
    /// workers before producers, since what lies in a partition that no worker knows waits. Too many: idle workers
    /// ask the broker that many times more often.
    pub broker_partitions: u8,
    /// Jobs of one tenant that travel as one message on NATS or RabbitMQ where half as many or more are published together, 1 to
    /// 64; 1 for none. What a broker counts are messages then. Jobs that a worker has no slots for it hands on once nothing else
    /// waits. Versions that know no such messages leave them to newer workers: set 1 while producers are newer than
    /// workers. Too low: brokers spend more per job. Too high: a worker has more in hand than it begins.
    pub broker_bundle_max: usize,
    /// `redis://:password@host:6379/0` or `rediss://…`: finished texts and circuit breakers are shared among processes;
    /// empty for none. A server that is down costs texts that are written again, nothing else.
    pub redis: String,
    /// Address of the HTTP API.
    pub listen: String,
    /// Address of a separate listener for `/metrics` and health; empty serves them on `listen` only.
    pub metrics_listen: String,
    /// Server that client commands talk to.
    pub url: String,
    /// API key of client commands; empty uses the local key that `bul up` leaves for its own user.
    pub key: Secret,
    /// Folder for the database, the local key and the like; empty for the XDG data folder.
    pub data_dir: String,
    /// Folder with template packages of your own; empty for none.
    pub templates_dir: String,
    /// Model.
    pub model: ModelOptions,
    /// Cache of finished texts.
    pub cache: CacheOptions,
    /// Workers.
    pub worker: Worker,
    /// Back-off of failed attempts.
    pub retry: Retry,
    /// Limits.
    pub limits: Limits,
    /// Backups.
    pub backup: Backup,
    /// How long things are kept.
    pub retention: Retention,
    /// Logs.
    pub log: LogOptions,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            store: String::new(),
            broker: "embedded".into(),
            broker_replicas: 1,
            broker_partitions: 1,
            broker_bundle_max: 16,
            redis: String::new(),
            listen: "127.0.0.1:8002".into(),
            metrics_listen: String::new(),
            url: "http://127.0.0.1:8002".into(),
            key: Secret::default(),
            data_dir: String::new(),
            templates_dir: String::new(),
            model: ModelOptions::default(),
            cache: CacheOptions::default(),
            worker: Worker::default(),
            retry: Retry::default(),
            limits: Limits::default(),
            backup: Backup::default(),
            retention: Retention::default(),
            log: LogOptions::default(),
        }
    }
}

/// Which model writes, and how it runs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelOptions {
    /// Empty for the shipped demonstration model; a folder with safetensors and tokenizer.json;
    /// a `.gguf` file; `openai+https://host/v1#model`; `scripted` for tests and queue benchmarks.
    pub spec: String,
    /// Key of an OpenAI-compatible server.
    pub key: Secret,
    /// What the local engine is for: `balanced`, `low-latency`, `memory-efficient` or `bulk`. The options below go before
    /// it where they are not 0.
    pub preset: String,
    /// Which cached blocks go first when memory is short: `planned`, `lru`, `lfu`, `adaptive`, `segmented`, `ttl`.
    pub eviction: String,
    /// Whether the engine changes the eviction policy and the length of its steps where it has measured on its own traffic that
    /// this helps. Answers stay the same; comparing the policies costs a little of the processor and about 100 bytes for each
    /// block and policy.
    pub tune: bool,
    /// How the engine holds keys and values: `f32`, `f16` or `bf16` in half the memory, `int8` in about a quarter,
    /// `int4` in a seventh. The smaller, the more prefixes stay; answers change a little (on the shipped model `KL` of 4e-6 with
    /// `int8`; of 9e-4 with `int4`, which writes another token at one place in a hundred). A CUDA device knows `f16` alone.
    pub kv: String,
    /// Blocks that may be brought from slower places before they are asked for, MiB; 0 for none. Too many push out what
    /// nobody announced.
    pub prefetch_mib_max: usize,
    /// A configuration on trial: other values for `preset`, `eviction`, `tune`, `prefetch_mib_max`, `host_mib_max`, `tier_write`,
    /// `kv_mib_max` or `running_max`, as `eviction=lru,kv_mib_max=64`. Half of the jobs, by their ids, go to a second engine
    /// with them; hits, time and speed are compared in the log and as `bul_engine_trial`. Takes memory twice. Empty for none.
    pub trial: String,
    /// Memory for compressed blocks that were evicted, MiB; 0 for none.
    pub host_mib_max: usize,
    /// When blocks go to memory, disk and Redis: `back` when they are evicted, or `through`, those of prompts as soon as they
    /// are computed, so that another or the next process finds them although this one still holds them, or was killed.
    pub tier_write: String,
    /// Precision of evicted blocks: `f32` as computed, `f16` half the bytes, `int8` about a quarter, `int4` about an eighth (with an
    /// error that shows); empty for that of the preset. All but `f32` change answers a little. With `kv = "int4"` they
    /// go as they are held.
    pub tier_codec: String,
    /// How evicted blocks in memory are packed: `none`, `lz4`, or `zstd:1` to `zstd:19`. It takes the engine's own time.
    pub host_compression: String,
    /// How they are packed on disk and in Redis.
    pub disk_compression: String,
    /// Keys and values that sessions and warmed-up templates may keep, MiB; 0 for what the preset says (nothing with `bulk`).
    pub pinned_mib_max: usize,
    /// How long the keys and values of a session are kept for its next job, seconds; 0 for what the preset says.
    pub session_ttl_s: u64,
    /// Earlier turns of its session that a job is told (jobs of the same tenant and `session_id` that were completed before it was
    /// accepted), up to 32, as far as a quarter of the model's context holds them; 0 for none. The shipped model gets none: it was
    /// trained on single prompts. Too many: prompts grow, and what was said long ago leads astray.
    pub session_turns: usize,
    /// Counts what the other eviction policies would have found, in `bul_engine_shadow_hit_tokens_total`. Costs as `tune` does.
    pub compare_policies: bool,
    /// Disk for them, in the data folder, MiB; 0 for none. They hold text of tenants in the form of keys and values:
    /// protect it like the documents.
    pub disk_mib_max: u64,
    /// Switches on the sharing of evicted blocks over Redis, among workers that have the same secret, of 16 characters or
    /// more: nobody else writes a block that they believe. Empty for none.
    pub remote_secret: Secret,
    /// What computes: `cpu`; `cuda` or `cuda:1` for an NVIDIA card (compute capability 8.0 or newer), in a build with the feature
    /// `cuda`; `auto` for the first card where there is one, or else the CPU. On a card weights, keys and values are half
    /// precision, and `kv_mib_max` is memory of the card: the preset's is far too little for one, as is its `running_max`.
    /// Several with commas between them (`cuda:0,cuda:1`) get an engine and `kv_mib_max` each; a prompt goes to the one that
    /// holds its beginning.
    pub device: String,
    /// Threads of the local engine; 0 for one per core. Too many: they wait for each other.
    pub threads: usize,
    /// Cache of keys and values, MiB; 0 for that of the preset. Too low: prefixes are computed again for every job.
    pub kv_mib_max: usize,
    /// Sequences generated at the same time; 0 for that of the preset. Too high: each gets slower and the cache fuller.
    pub running_max: usize,
    /// Share of the cache of keys and values that one tenant may fill, percent; 0 for no limit. What is computed counts
    /// like what is kept; templates count for nobody. Too low: long requests of a tenant are refused for good.
    pub tenant_cap_percent: u32,
    /// Tenants with shares of their own, by name: `[model.tenants.acme]`; as a variable an inline table,
    /// `{acme = {floor_percent = 20, cap_percent = 60}}`.
    pub tenants: BTreeMap<String, TenantShare>,
}

/// Share of one tenant in the cache of keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TenantShare {
    /// Percent that others cannot take away: its prefixes stay while they work. All floors together may be 90; what is
    /// reserved for one is of no use to the others.
    pub floor_percent: u32,
    /// Percent it may fill at most; 0 for `tenant_cap_percent`, or its floor where that is more.
    pub cap_percent: u32,
}

impl Default for ModelOptions {
    fn default() -> Self {
        Self {
            spec: String::new(),
            key: Secret::default(),
            preset: "balanced".into(),
            eviction: "planned".into(),
            tune: false,
            kv: "f32".into(),
            prefetch_mib_max: 64,
            trial: String::new(),
            host_mib_max: 0,
            tier_write: "back".into(),
            tier_codec: String::new(),
            host_compression: "lz4".into(),
            disk_compression: "lz4".into(),
            pinned_mib_max: 0,
            session_ttl_s: 0,
            session_turns: 2,
            compare_policies: false,
            disk_mib_max: 0,
            remote_secret: Secret::default(),
            device: "cpu".into(),
            threads: 0,
            kv_mib_max: 0,
            running_max: 0,
            tenant_cap_percent: 0,
            tenants: BTreeMap::new(),
        }
    }
}

/// Cache of finished texts: a job that runs again does not write again what it had written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheOptions {
    /// Memory for texts, MiB; 0 switches the cache off.
    pub memory_mib_max: u64,
    /// Disk for texts, in the data folder, MiB; 0 for none. One process per folder.
    pub disk_mib_max: u64,
    /// Time a text is kept, seconds. Too high: texts of deleted tenants stay that long.
    pub ttl_s: u64,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self { memory_mib_max: 16, disk_mib_max: 0, ttl_s: 86_400 }
    }
}

/// Copies of the SQLite store and of the caches. PostgreSQL has its own tools.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Backup {
    /// Folder, on another disk if possible; empty for none.
    pub folder: String,
    /// When, in UTC: five fields, such as `0 3 * * *`; empty for none but those of `bul backup create`. The process with
    /// the scheduler makes them.
    pub cron: String,
    /// How many stay; 0 for all. Too low: an error that is found late is in all of them. Too high: the disk fills up.
    pub keep: usize,
}

impl Default for Backup {
    fn default() -> Self {
        Self { folder: String::new(), cron: String::new(), keep: 7 }
    }
}

/// Workers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Worker {
    /// Jobs in work at the same time. Too low: the engine has nothing to batch. Too high: more work is
    /// lost and repeated when the process is killed.
    pub concurrency: usize,
    /// Lease of an attempt, seconds. Too low: a paused worker loses its job to another. Too high: the
    /// job of a killed worker waits that long.
    pub lease_s: u64,
    /// Time to finish work in hand at shutdown, seconds. Longer than the supervisor's own patience
    /// means being killed.
    pub grace_s: u64,
    /// Longest attempt, seconds. It may be longer than a broker lets a message be held (RabbitMQ 1,500 s here): the lease in the
    /// store keeps the attempt going, and a message that is handed out again finds the job running.
    pub attempt_s_max: u64,
    /// How long a message or job that only a newer version can read is left to newer workers, seconds; then it is a
    /// dead letter. Too low: an upgrade that takes longer leaves letters to replay. Too high: one that was forgotten
    /// is noticed late.
    pub newer_s_max: u64,
    /// Texts that took the model at least this long are kept in the store until their job has ended, milliseconds: after a crash
    /// in the middle of a document they are not written again. Too low: a commit for texts that are cheaper to write again. 0
    /// keeps none.
    pub keep_texts_after_ms: u64,
    /// Lanes to serve; empty for all.
    pub lanes: Vec<String>,
    /// Workers in one process, each with `concurrency` jobs in work; they share the model.
    pub replicas: usize,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            concurrency: 4,
            lease_s: 30,
            grace_s: 20,
            attempt_s_max: 1800,
            newer_s_max: 600,
            keep_texts_after_ms: 500,
            lanes: Vec::new(),
            replicas: 1,
        }
    }
}

/// Back-off.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// Upper bound of the first delay, milliseconds.
    pub base_ms: u64,
    /// Upper bound of any delay, milliseconds.
    pub cap_ms: u64,
    /// Attempts that may end without an outcome before the job counts as poison.
    pub crashes_max: u32,
}

impl Default for Retry {
    fn default() -> Self {
        Self { base_ms: 1_000, cap_ms: 900_000, crashes_max: 6 }
    }
}

/// Limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Messages the embedded broker holds; more wait in the store.
    pub broker_messages_max: usize,
    /// HTTP requests answered at the same time.
    pub requests_max: usize,
    /// Jobs of one tenant with workers at the same time, over all processes; 0 for no limit. This and the next
    /// three hold for tenants without limits of their own (`bul tenant set`).
    pub tenant_running_max: u32,
    /// Jobs of one tenant in a lane of the broker; the rest wait in the store and follow as these begin. Too high:
    /// other tenants wait behind that many. Too low: workers wait for the scheduler, which fills up every 200 ms
    /// or sooner. 0 for no limit.
    pub tenant_queued_max: u32,
    /// Tokens of one tenant per minute (prompt not from the cache, and output); 0 for no limit. Jobs that run when
    /// they are used up go on to their end.
    pub tenant_tokens_per_minute: u64,
    /// The same per day, UTC.
    pub tenant_tokens_per_day: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            broker_messages_max: 100_000,
            requests_max: 1_024,
            tenant_running_max: 0,
            tenant_queued_max: 10_000,
            tenant_tokens_per_minute: 0,
            tenant_tokens_per_day: 0,
        }
    }
}

/// How long things are kept after their end, days; 0 for ever. The ledger counts what is gone with what is there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// Completed jobs with their documents. Their idempotency keys go with them: too low, and what is sent again late
    /// is another job.
    pub completed_days: u64,
    /// Cancelled jobs.
    pub cancelled_days: u64,
    /// Dead letters. Too low: one that nobody has looked at yet is gone.
    pub dead_days: u64,
    /// Lines of the audit, and which fires of schedules were made.
    pub events_days: u64,
    /// Documents, where they shall go before the record of their job; 0 for as long as the job is kept.
    pub documents_days: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self { completed_days: 90, cancelled_days: 30, dead_days: 0, events_days: 365, documents_days: 0 }
    }
}

/// Logs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogOptions {
    /// `auto` (readable on a terminal, JSON otherwise), `text` or `json`.
    pub format: String,
    /// Filter in the syntax of `RUST_LOG`.
    pub filter: String,
    /// Log the end of each span that the filter lets through, with the time it took.
    pub spans: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { format: "auto".into(), filter: "info".into(), spans: false }
    }
}
