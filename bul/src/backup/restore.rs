//! Back from a backup.
//!
//! Everything is checked and copied beside its place first; then each part changes places with what is there, which is
//! kept under another name. Invariant: nothing is deleted, and a restore that is cut short can be run again.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bul_job::Timestamp;

use super::{Backup, Parts, STORE, files, read_manifest};
use crate::exit::Fault;
use crate::system::create_private;
use crate::wire;

/// What to do about a store or cache in use.
const STOP_FIRST: &str = "stop every bul of this installation first";
/// Side files of SQLite; they belong to the file of before.
const SIDE_FILES: [&str; 2] = ["-wal", "-shm"];

/// Reads every file of a backup and compares it with the manifest.
///
/// # Errors
/// No such backup, or the first file that is missing or changed.
pub fn verify(folder: &Path, name: &str) -> anyhow::Result<Backup> {
    let place = folder.join(name);
    if Path::new(name).components().count() != 1 || !place.is_dir() {
        return Err(Fault::not_found(format!("there is no backup {name:?} in {}", folder.display()))
            .hint("bul backup list")
            .into());
    }
    let manifest = read_manifest(&place)?;
    for file in &manifest.files {
        file.below(&["store", "kv", "texts"])?;
        let found = files::entry(&place, &file.path)
            .map_err(|error| Fault::failed(format!("backup {name} is damaged: {error:#}")))?;
        if found != *file {
            return Err(Fault::failed(format!("backup {name} is damaged: {} has changed", file.path)).into());
        }
    }
    Ok(Backup { name: name.into(), manifest })
}

/// Puts a verified backup in its place. Returns where that which was there before lies now.
///
/// # Errors
/// When a process still uses the store or a cache, or the backup lacks the store that this installation needs.
pub async fn restore(
    parts: Parts,
    folder: PathBuf,
    name: String,
    now: Timestamp,
) -> anyhow::Result<Vec<PathBuf>> {
    if let Some(store) = parts.store.as_ref().filter(|store| store.is_file()) {
        // So that what is set aside is one file. A damaged store is set aside with its side files, as it is.
        let _ = wire::settle_store(store).await;
    }
    tokio::task::spawn_blocking(move || replace(&parts, &folder, &name, now)).await?
}

fn replace(parts: &Parts, folder: &Path, name: &str, now: Timestamp) -> anyhow::Result<Vec<PathBuf>> {
    let backup = verify(folder, name)?;
    if parts.store.is_some() && !backup.manifest.has_store {
        let why = "its store was PostgreSQL, and this installation's is SQLite";
        return Err(Fault::usage(format!("backup {name} holds no store: {why}")).into());
    }
    let place = folder.join(name);
    let _free = parts.store.as_deref().map(|store| wire::lock_file(store, STOP_FIRST)).transpose()?;
    for (_, cache) in &parts.caches {
        check_free(cache)?;
    }
    let stamp = now.format("%Y%m%dT%H%M%S%.3fZ").to_string();
    let mut before = Vec::new();
    if let Some(store) = &parts.store {
        let fresh = with_suffix(store, ".restoring");
        remove_if_there(&fresh)?;
        if let Some(parent) = store.parent() {
            create_private(parent)?;
        }
        files::copy(&place.join(STORE), &fresh).with_context(|| fresh.display().to_string())?;
        for side in SIDE_FILES {
            let path = with_suffix(store, side);
            set_aside(&path, &with_suffix(&with_suffix(store, &format!(".before-{stamp}")), side))?;
        }
        before.extend(swap(&fresh, store, &stamp)?);
    }
    for (part, cache) in &parts.caches {
        let source = place.join(part);
        if !source.is_dir() {
            continue;
        }
        let fresh = with_suffix(cache, ".restoring");
        if fresh.exists() {
            fs::remove_dir_all(&fresh).with_context(|| fresh.display().to_string())?;
        }
        files::copy_tree(&source, &fresh, Path::new(""), &mut Vec::new())?;
        before.extend(swap(&fresh, cache, &stamp)?);
    }
    Ok(before)
}

/// A cache that a process has open is locked by it; where it has several engines, by each in a folder of its own.
fn check_free(cache: &Path) -> anyhow::Result<()> {
    let inner = fs::read_dir(cache).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    for folder in std::iter::once(cache.to_path_buf()).chain(inner) {
        let Ok(file) = fs::File::options().write(true).open(folder.join("lock")) else { continue };
        if file.try_lock().is_err() {
            return Err(Fault::failed(format!("{} is in use", cache.display())).hint(STOP_FIRST).into());
        }
    }
    Ok(())
}

/// Sets aside what is at `place` and puts `fresh` there.
fn swap(fresh: &Path, place: &Path, stamp: &str) -> anyhow::Result<Option<PathBuf>> {
    let before = with_suffix(place, &format!(".before-{stamp}"));
    let was_there = set_aside(place, &before)?;
    fs::rename(fresh, place).with_context(|| place.display().to_string())?;
    if let Some(parent) = place.parent() {
        files::sync_folder(parent)?;
    }
    Ok(was_there.then_some(before))
}

fn set_aside(path: &Path, to: &Path) -> anyhow::Result<bool> {
    match fs::rename(path, to) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error).with_context(|| path.display().to_string()),
    }
}

fn remove_if_there(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| path.display().to_string())
        }
        _ => Ok(()),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
