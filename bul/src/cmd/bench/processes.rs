//! Workers in processes of their own, as an operator runs them, and what they tell of their work.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bul_telemetry::names;
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::Instant;

use super::pipeline::peak_mb;
use crate::context::Context;
use crate::exit::Fault;
use crate::wire::{BrokerSpec, StoreSpec};

/// Longest wait for a process to become ready.
const READY_MAX: Duration = Duration::from_secs(30);
/// How often one that is not ready is asked again.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// Longest wait for a process to end by itself.
const END_MAX: Duration = Duration::from_secs(15);

/// Worker processes. They are killed when this is dropped.
pub(super) struct Processes {
    children: Vec<Child>,
    /// Where each serves its health and metrics.
    addresses: Vec<String>,
    http: reqwest::Client,
}

/// Whether other processes can reach store and broker.
pub(super) fn check(store: &StoreSpec, broker: &BrokerSpec) -> anyhow::Result<()> {
    match (store, broker) {
        (StoreSpec::Postgres(_), BrokerSpec::Nats(_) | BrokerSpec::Rabbit(_)) => Ok(()),
        _ => Err(Fault::usage("--processes needs PostgreSQL and a broker outside")
            .hint("set BUL_STORE=postgres://… and BUL_BROKER=nats://… or amqp://…")
            .into()),
    }
}

impl Processes {
    /// Starts `count` workers with the benchmark's settings, a folder below `folder` each, and waits until they are ready.
    pub(super) async fn start(context: &Context, count: usize, folder: &Path) -> anyhow::Result<Self> {
        let mut started = Self { children: Vec::new(), addresses: Vec::new(), http: reqwest::Client::new() };
        let config = context.config();
        for n in 0..count {
            let address = free_address().await?;
            let mut command = Command::new(std::env::current_exe()?);
            if let Some(file) = &context.file {
                command.arg("--config").arg(file);
            }
            command.args(["worker", "--replicas", "1"]);
            command
                .env("BUL_MODEL", &config.model.spec)
                .env("BUL_TEMPLATES_DIR", &config.templates_dir)
                .env("BUL_WORKER_CONCURRENCY", config.worker.concurrency.to_string())
                .env("BUL_DATA_DIR", folder.join(format!("worker-{n}")))
                .env("BUL_METRICS_LISTEN", &address)
                .env("BUL_LOG", "warn");
            command.stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
            started.children.push(command.spawn().context("a worker process cannot be started")?);
            started.addresses.push(address);
        }
        let end = Instant::now() + READY_MAX;
        for address in &started.addresses {
            while !started.is_ready(address).await {
                ensure!(Instant::now() < end, "a worker process is not ready within {READY_MAX:?}");
                tokio::time::sleep(ASK_EVERY).await;
            }
        }
        Ok(started)
    }

    async fn is_ready(&self, address: &str) -> bool {
        let answer = self.http.get(format!("http://{address}/readyz")).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Attempts that have completed in all of them.
    pub(super) async fn completed(&self) -> anyhow::Result<u64> {
        let mut sum = 0;
        for address in &self.addresses {
            let answer = self.http.get(format!("http://{address}/metrics")).send().await;
            sum += completed_in(&answer.context("a worker process has ended")?.text().await?);
        }
        Ok(sum)
    }

    /// Largest resident memory of each so far.
    pub(super) fn peaks_mb(&self) -> Vec<f64> {
        let ids = self.children.iter().filter_map(Child::id);
        ids.map(|id| peak_mb(&id.to_string())).collect()
    }

    /// Lets them finish and end.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        for child in &self.children {
            if let Some(id) = child.id() {
                let kill = Command::new("kill").args(["-TERM", &id.to_string()]).status().await?;
                ensure!(kill.success(), "a worker process had ended before");
            }
        }
        for child in &mut self.children {
            let ended = tokio::time::timeout(END_MAX, child.wait()).await;
            let status = ended.context("a worker process does not end")??;
            ensure!(status.success(), "a worker process ended with {status}");
        }
        Ok(())
    }
}

/// Sum of the completed attempts in a page of metrics (Prometheus text format 0.0.4).
fn completed_in(page: &str) -> u64 {
    let lines = page.lines().filter(|line| line.starts_with(names::ATTEMPTS.name));
    let completed = lines.filter(|line| line.contains("outcome=\"completed\""));
    completed.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
}

async fn free_address() -> anyhow::Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.context("a free port")?;
    Ok(listener.local_addr()?.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn completed_attempts_are_summed_over_templates() {
        let page = "# TYPE bul_attempts_total counter\n\
            bul_attempts_total{outcome=\"completed\",template=\"a\"} 12\n\
            bul_attempts_total{outcome=\"failed\",template=\"a\"} 3\n\
            bul_attempts_total{outcome=\"completed\",template=\"b\"} 30\n";
        assert_eq!(completed_in(page), 42);
        assert_eq!(completed_in(""), 0);
    }

    #[test]
    fn what_only_one_process_can_reach_is_refused() {
        let (store, broker) = (StoreSpec::Postgres(String::new()), BrokerSpec::Nats(String::new()));
        assert!(check(&store, &broker).is_ok());
        assert!(check(&StoreSpec::Sqlite("a.db".into()), &broker).is_err());
        assert!(check(&store, &BrokerSpec::Embedded).is_err());
    }
}
