//! Where inputs lie.

use std::path::PathBuf;

/// The repository's root.
pub fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Files of a folder of openly licensed real inputs that stand beside the checkout; empty, with a
/// printed note, where they are absent.
pub fn shared(folder: &str, extension: &str) -> Vec<PathBuf> {
    let root = repository().join("../shared/data").join(folder);
    let Ok(entries) = std::fs::read_dir(&root) else {
        println!("note: {folder} is not there, its inputs are not tried");
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == extension))
        .collect();
    files.sort();
    files
}
