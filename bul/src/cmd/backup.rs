//! `bul backup`: copies of the SQLite store and of the caches, and the way back.

use std::path::PathBuf;

use chrono::Utc;
use clap::Subcommand;

use crate::backup::{self, Backup, Parts};
use crate::client::print::{bytes, count, relative, table};
use crate::context::Context;
use crate::exit::{Exit, Fault};
use crate::wire;

/// Copies of the store and the caches, and the way back.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "A backup holds the SQLite store, as it is at one moment, and the caches of texts and of keys and values. It is made while everything runs. A PostgreSQL database is not in it: use pg_dump or its own archiving.\n\nWith backup.folder and backup.cron in the configuration the process with the scheduler makes them by the calendar.\n\nExamples:\n  bul backup create --to /var/backups/bul --keep 7\n  bul backup list --from /var/backups/bul\n  bul backup restore bul-20261127T030000.000Z --from /var/backups/bul"
)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a backup, and remove the oldest beyond what is kept
    #[command(after_help = "Example:\n  bul backup create --to /var/backups/bul --keep 7")]
    Create {
        /// Folder of the backups; otherwise backup.folder of the configuration
        #[arg(long, value_name = "FOLDER")]
        to: Option<PathBuf>,
        /// Backups that stay, 0 for all; otherwise backup.keep
        #[arg(long)]
        keep: Option<usize>,
    },
    /// The backups in a folder, the newest first
    #[command(after_help = "Example:\n  bul backup list -o json")]
    List {
        /// Folder of the backups; otherwise backup.folder
        #[arg(long, value_name = "FOLDER")]
        from: Option<PathBuf>,
    },
    /// Read a backup and compare every file with its digest
    #[command(after_help = "Example:\n  bul backup verify bul-20261127T030000.000Z")]
    Verify {
        /// Name from `bul backup list`
        name: String,
        /// Folder of the backups; otherwise backup.folder
        #[arg(long, value_name = "FOLDER")]
        from: Option<PathBuf>,
    },
    /// Put a backup in the place of the store and caches, which are kept under other names
    ///
    /// Jobs that were accepted after the backup are not in it. No process of this installation may run.
    #[command(after_help = "Example:\n  bul backup restore bul-20261127T030000.000Z")]
    Restore {
        /// Name from `bul backup list`
        name: String,
        /// Folder of the backups; otherwise backup.folder
        #[arg(long, value_name = "FOLDER")]
        from: Option<PathBuf>,
    },
}

/// Runs the command.
pub async fn run(args: Args, context: &Context) -> anyhow::Result<Exit> {
    context.init_logs(false)?;
    let config = context.config();
    let folder = |given: Option<PathBuf>, flag: &str| match given {
        Some(folder) => Ok(folder),
        None if config.backup.folder.is_empty() => {
            Err(Fault::usage(format!("no folder of backups: give {flag}, or set backup.folder")))
        }
        None => Ok(PathBuf::from(&config.backup.folder)),
    };
    match args.action {
        Action::Create { to, keep } => {
            let folder = folder(to, "--to")?;
            let parts = wire::backup_parts(context)?;
            let keep = keep.unwrap_or(config.backup.keep);
            let (backup, removed) = backup::create(&parts, &folder, keep, Utc::now()).await?;
            let made = serde_json::json!({"backup": &backup, "removed": &removed});
            context.print(&made, || created(&backup, &removed, &parts))?;
        }
        Action::List { from } => {
            let backups = backup::list(&folder(from, "--from")?)?;
            context.print(&backups, || listed(&backups))?;
        }
        Action::Verify { name, from } => {
            let folder = folder(from, "--from")?;
            let verified = tokio::task::spawn_blocking(move || backup::verify(&folder, &name)).await??;
            context.print(&verified, || format!("{} is whole: {}", verified.name, size(&verified)))?;
        }
        Action::Restore { name, from } => {
            let folder = folder(from, "--from")?;
            let parts = wire::backup_parts(context)?;
            let before = backup::restore(parts, folder, name.clone(), Utc::now()).await?;
            let answer = serde_json::json!({"restored": &name, "before": &before});
            context.print(&answer, || {
                let kept: Vec<_> = before
                    .iter()
                    .map(|path| format!("\n  what was there before: {}", path.display()))
                    .collect();
                format!("{name} is restored{}", kept.concat())
            })?;
        }
    }
    Ok(Exit::Done)
}

fn size(backup: &Backup) -> String {
    let manifest = &backup.manifest;
    format!("{}, {}", count(manifest.files.len() as u64, "file"), bytes(manifest.bytes()))
}

fn created(backup: &Backup, removed: &[String], parts: &Parts) -> String {
    let mut text = format!("{} made: {}", backup.name, size(backup));
    for name in removed {
        text.push_str(&format!("\n{name} removed"));
    }
    if parts.store.is_none() {
        text.push_str("\nnote: the PostgreSQL database is not in it; use pg_dump");
    }
    text
}

fn listed(backups: &[Backup]) -> String {
    if backups.is_empty() {
        return "no backups".into();
    }
    let now = Utc::now();
    let rows: Vec<Vec<String>> = backups
        .iter()
        .map(|backup| {
            let manifest = &backup.manifest;
            vec![
                backup.name.clone(),
                relative(manifest.created_at, now),
                if manifest.has_store { "store and caches" } else { "caches" }.into(),
                manifest.files.len().to_string(),
                bytes(manifest.bytes()),
            ]
        })
        .collect();
    table(&["NAME", "MADE", "HOLDS", "FILES", "SIZE"], &rows)
}
