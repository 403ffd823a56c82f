//! Backups: the SQLite store and the caches, as plain files in a folder with a manifest.
//!
//! A backup is made beside running processes: the store is copied as it is at one moment, and the caches' files bear
//! checksums of their own, so that one that changes meanwhile is a miss after a restore and never a wrong text.
//! Invariant: a folder with the name of a backup is whole. It is filled under another name, synced, and renamed; what a
//! crash leaves behind is removed by the next run.

mod files;
mod restore;
mod schedule;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bul_job::Timestamp;
use serde::{Deserialize, Serialize};

use crate::exit::Fault;
use crate::system::create_private;
use crate::wire;
use files::{Entry, copy_tree};

pub use restore::{restore, verify};
pub use schedule::Schedule;

/// Format of the manifest. A reader refuses newer ones.
const VERSION: u32 = 1;
/// The last file that is written into a backup.
const MANIFEST: &str = "manifest.json";
/// Names of backups begin with this, and the time in UTC follows.
const PREFIX: &str = "bul-";
/// Names of backups that are being made.
const PART: &str = ".part-";
/// The store's file in a backup.
const STORE: &str = "store/bul.db";

/// What is backed up, and where it belongs.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The file of a SQLite store; `None` for PostgreSQL, which has better tools of its own.
    pub store: Option<PathBuf>,
    /// Folders of the caches, by their name in a backup.
    pub caches: Vec<(&'static str, PathBuf)>,
}

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Format.
    pub version: u32,
    /// Version of the program that made it.
    pub program: String,
    /// When.
    pub created_at: Timestamp,
    /// Whether the store is in it; otherwise it is in PostgreSQL.
    pub has_store: bool,
    /// All files.
    pub files: Vec<Entry>,
}

impl Manifest {
    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// A backup in its folder.
#[derive(Debug, Clone, Serialize)]
pub struct Backup {
    /// Name of its folder.
    pub name: String,
    /// What is in it.
    #[serde(flatten)]
    pub manifest: Manifest,
}

/// Makes a backup in `folder` and then removes the oldest beyond `keep` (0 keeps all). Returns it and the names of
/// those that went.
pub async fn create(
    parts: &Parts,
    folder: &Path,
    keep: usize,
    now: Timestamp,
) -> anyhow::Result<(Backup, Vec<String>)> {
    create_private(folder)?;
    let _alone = lock(folder)?;
    sweep(folder)?;
    let name = format!("{PREFIX}{}", now.format("%Y%m%dT%H%M%S%.3fZ"));
    let part = folder.join(format!("{PART}{name}"));
    create_private(&part)?;
    let mut files = Vec::new();
    if let Some(store) = &parts.store {
        anyhow::ensure!(store.is_file(), "there is no store at {}", store.display());
        let to = part.join(STORE);
        create_private(&part.join("store"))?;
        wire::copy_store(store, &to).await?;
        files.push(files::entry(&part, STORE)?);
    }
    let (caches, from) = (parts.caches.clone(), part.clone());
    let copied = tokio::task::spawn_blocking(move || -> anyhow::Result<Vec<Entry>> {
        let mut copied = Vec::new();
        for (name, folder) in caches {
            copy_tree(&folder, &from, Path::new(name), &mut copied)?;
        }
        Ok(copied)
    });
    files.extend(copied.await??);
    let manifest = Manifest {
        version: VERSION,
        program: env!("CARGO_PKG_VERSION").into(),
        created_at: now,
        has_store: parts.store.is_some(),
        files,
    };
    files::write_synced(&part.join(MANIFEST), &serde_json::to_vec_pretty(&manifest)?)?;
    let place = folder.join(&name);
    fs::rename(&part, &place).with_context(|| place.display().to_string())?;
    files::sync_folder(folder)?;
    let removed = prune(folder, keep)?;
    Ok((Backup { name, manifest }, removed))
}

/// All whole backups in a folder, the newest first. Other files are none of ours and left out.
pub fn list(folder: &Path) -> anyhow::Result<Vec<Backup>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| folder.display().to_string()),
    };
    let mut backups = Vec::new();
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with(PREFIX)
            && let Ok(manifest) = read_manifest(&folder.join(&name))
        {
            backups.push(Backup { name, manifest });
        }
    }
    backups.sort_by(|a, b| b.name.cmp(&a.name));
    Ok(backups)
}

fn read_manifest(place: &Path) -> anyhow::Result<Manifest> {
    let path = place.join(MANIFEST);
    let text = fs::read(&path).with_context(|| path.display().to_string())?;
    let manifest: Manifest = serde_json::from_slice(&text).with_context(|| path.display().to_string())?;
    anyhow::ensure!(
        manifest.version <= VERSION,
        "{} is of format {}, this program knows up to {VERSION}: use a newer program",
        place.display(),
        manifest.version
    );
    Ok(manifest)
}

/// Removes the oldest beyond `keep`.
fn prune(folder: &Path, keep: usize) -> anyhow::Result<Vec<String>> {
    let mut removed = Vec::new();
    if keep == 0 {
        return Ok(removed);
    }
    for backup in list(folder)?.into_iter().skip(keep) {
        // Renamed first: one that is half removed must not look like a backup.
        let gone = folder.join(format!("{PART}{}", backup.name));
        fs::rename(folder.join(&backup.name), &gone)?;
        fs::remove_dir_all(&gone)?;
        removed.push(backup.name);
    }
    Ok(removed)
}

/// Removes what a run that was killed has left.
fn sweep(folder: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(&format!("{PART}{PREFIX}")) {
            fs::remove_dir_all(entry.path()).with_context(|| entry.path().display().to_string())?;
        }
    }
    Ok(())
}

/// Two runs at once would sweep each other's work away. Ends with the process.
fn lock(folder: &Path) -> anyhow::Result<fs::File> {
    let path = folder.join("lock");
    let file = fs::File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.with_context(|| path.display().to_string())?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            Err(Fault::unavailable(format!("another backup is being made in {}", folder.display())).into())
        }
        Err(fs::TryLockError::Error(error)) => Err(error).with_context(|| path.display().to_string()),
    }
}
