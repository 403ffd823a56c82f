//! Settings and limits of the HTTP API, each with the reason for its size.

use std::time::Duration;

/// Settings of the producer.
#[derive(Debug, Clone)]
pub struct ProducerOptions {
    /// Bytes of a single job (`job_body_bytes_max`).
    pub job_body_bytes_max: usize,
    /// Bytes of a batch or an ingested body (`batch_body_bytes_max`).
    pub batch_body_bytes_max: usize,
    /// Bytes of other bodies: schedules, edits, replays (`body_bytes_max`).
    pub body_bytes_max: usize,
    /// Bytes of a refused body that are read and thrown away, so that the sender sees the answer
    /// instead of a broken connection. Behind it the connection is cut.
    pub drain_bytes_max: u64,
    /// How long that may take.
    pub drain_timeout: Duration,
    /// How long a body may take to arrive. Too low: slow lines cannot send large batches.
    pub body_timeout: Duration,
    /// How long a request may take once its body is there.
    pub request_timeout: Duration,
    /// How long the head of a request may take, against clients that send a byte a minute.
    pub header_timeout: Duration,
    /// How long a client may take nothing of its answer. Too low: slow lines lose large answers. Too high: clients that
    /// never read hold their connections for that long.
    pub write_timeout: Duration,
    /// Header lines of a request.
    pub headers_max: usize,
    /// Bytes of a request's head.
    pub header_bytes_max: usize,
    /// Requests at work at the same time; more are answered 503 at once.
    pub requests_max: usize,
    /// Batches and ingested bodies held in memory at the same time; more wait.
    pub batches_max: usize,
    /// Open event streams; more are answered 503.
    pub streams_max: usize,
    /// How often an event stream compares itself with the store: a lost event delays the watcher by
    /// this much at most. Too low: a query per watcher all the time.
    pub stream_reread: Duration,
    /// Longest life of an event stream; the watcher connects anew.
    pub stream_age_max: Duration,
    /// Open connections; more wait in the backlog of the listener.
    pub connections_max: usize,
    /// How long open requests may go on after the signal to stop.
    pub stop_grace: Duration,
    /// Whether `/metrics` is answered here too, without a key.
    pub serve_metrics: bool,
}

impl Default for ProducerOptions {
    fn default() -> Self {
        Self {
            job_body_bytes_max: 8 * 1024 * 1024,
            batch_body_bytes_max: 32 * 1024 * 1024,
            body_bytes_max: 8 * 1024 * 1024,
            drain_bytes_max: 128 * 1024 * 1024,
            drain_timeout: Duration::from_secs(15),
            body_timeout: Duration::from_secs(60),
            request_timeout: Duration::from_secs(30),
            header_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            headers_max: 64,
            header_bytes_max: 64 * 1024,
            requests_max: 512,
            batches_max: 4,
            streams_max: 1_000,
            stream_reread: Duration::from_secs(3),
            stream_age_max: Duration::from_secs(3_600),
            connections_max: 4_096,
            stop_grace: Duration::from_secs(20),
            serve_metrics: true,
        }
    }
}
