//! A primary and its standby: copied, kept in step, and promoted when the primary is gone.

use std::process::Command;
use std::sync::atomic::AtomicU32;

use anyhow::{Context, Result};

use crate::postgres::{Postgres, PostgresOptions, account_folder, as_account, data, run};
use crate::process::{free_port, wait_until};

impl Postgres {
    /// Starts a second server that follows this one. From then on a commit of this server is answered when it is on the
    /// disks of both (`synchronous_standby_names`), so that a promoted standby lacks nothing that was answered.
    pub fn start_standby(&self) -> Result<Self> {
        let folder = account_folder(&PostgresOptions::default())?;
        let from = format!("postgres://postgres@127.0.0.1:{}", self.port());
        run(as_account(&self.programs.join("pg_basebackup"))
            .args([
                "--checkpoint=fast",
                "--wal-method=stream",
                "--write-recovery-conf",
                "--no-sync",
                "-d",
                &from,
                "-D",
            ])
            .arg(data(folder.path())))?;
        let mut standby = Self {
            process: None,
            folder,
            programs: self.programs.clone(),
            port: free_port(),
            options: PostgresOptions::default(),
            databases: AtomicU32::new(0),
        };
        standby.restart()?;
        self.psql("ALTER SYSTEM SET synchronous_standby_names = '*'")?;
        self.psql("SELECT pg_reload_conf()")?;
        let synchronous = "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'";
        wait_until("the standby follows", || self.psql(synchronous).is_ok_and(|count| count == "1"))?;
        Ok(standby)
    }

    /// Makes a standby the primary.
    pub fn promote(&self) -> Result<()> {
        let mut promote: Command = as_account(&self.programs.join("pg_ctl"));
        run(promote.args(["promote", "--wait", "-D"]).arg(data(self.folder.path()))).context("pg_ctl promote")
    }
}
