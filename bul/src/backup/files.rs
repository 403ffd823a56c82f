//! Copying files and knowing them again.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::system::create_private;

/// Files of a cache that belong to the running process and not to its content.
const LOCK: &str = "lock";
/// How deep the folders of a cache go at most.
const DEPTH_MAX: usize = 8;
const BUFFER: usize = 256 * 1024;

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its path below the backup's folder, with `/`.
    pub path: String,
    /// Its length.
    pub bytes: u64,
    /// blake3 of its content, in hexadecimal digits.
    pub blake3: String,
}

impl Entry {
    /// The path below a folder. A manifest may come from anywhere: only plain names below one of `roots` are taken.
    pub(super) fn below(&self, roots: &[&str]) -> anyhow::Result<PathBuf> {
        let path = Path::new(&self.path);
        let is_plain = path.components().all(|part| matches!(part, Component::Normal(_)));
        let is_known = roots.iter().any(|root| path.starts_with(root) && path != Path::new(root));
        anyhow::ensure!(
            is_plain && is_known,
            "the manifest names {:?}, which is no file of a backup",
            self.path
        );
        Ok(path.to_owned())
    }
}

/// Copies what is in `folder` to `to/name`, and adds what was copied to `copied`. Files that vanish meanwhile are left
/// out: caches remove theirs at any time. Links are not followed.
pub(super) fn copy_tree(
    folder: &Path,
    to: &Path,
    name: &Path,
    copied: &mut Vec<Entry>,
) -> anyhow::Result<()> {
    if name.components().count() > DEPTH_MAX {
        return Ok(());
    }
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| folder.display().to_string()),
    };
    create_private(&to.join(name))?;
    for entry in entries {
        let entry = entry?;
        let Ok(kind) = entry.file_type() else { continue };
        let inner = name.join(entry.file_name());
        if kind.is_dir() {
            copy_tree(&entry.path(), to, &inner, copied)?;
        } else if kind.is_file() && entry.file_name() != LOCK {
            match copy(&entry.path(), &to.join(&inner)) {
                Ok((bytes, blake3)) => {
                    copied.push(Entry { path: inner.to_string_lossy().into_owned(), bytes, blake3 });
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error).with_context(|| entry.path().display().to_string()),
            }
        }
    }
    Ok(())
}

/// Copies a file to the disk; returns length and digest of what was copied, which may be more than the file holds by now.
pub(super) fn copy(from: &Path, to: &Path) -> io::Result<(u64, String)> {
    let mut source = File::open(from)?;
    let mut target = private(to)?;
    let digested = digest(&mut source, |piece| target.write_all(piece))?;
    target.sync_all()?;
    Ok(digested)
}

/// Length and digest of a file below `folder`.
pub(super) fn entry(folder: &Path, path: &str) -> anyhow::Result<Entry> {
    let mut file = File::open(folder.join(path)).with_context(|| path.to_owned())?;
    let (bytes, blake3) = digest(&mut file, |_| Ok(()))?;
    Ok(Entry { path: path.into(), bytes, blake3 })
}

fn digest(source: &mut File, mut piece: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<(u64, String)> {
    let (mut hasher, mut bytes, mut buffer) = (blake3::Hasher::new(), 0, vec![0; BUFFER]);
    loop {
        let read = source.read(&mut buffer)?;
        if read == 0 {
            return Ok((bytes, hasher.finalize().to_hex().to_string()));
        }
        hasher.update(&buffer[..read]);
        bytes += read as u64;
        piece(&buffer[..read])?;
    }
}

pub(super) fn write_synced(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let written = private(path).and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    written.with_context(|| path.display().to_string())
}

/// Names survive a power failure once their folder is synced.
pub(super) fn sync_folder(folder: &Path) -> anyhow::Result<()> {
    File::open(folder).and_then(|file| file.sync_all()).with_context(|| folder.display().to_string())
}

/// A new file that only its owner reads: backups hold what customers wrote.
fn private(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options().create_new(true).write(true).mode(0o600).open(path)
}
