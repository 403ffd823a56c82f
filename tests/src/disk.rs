//! A small file system that can be filled to its last byte.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Bytes written at once while it is being filled, first coarse, then fine.
const STEPS: [usize; 2] = [1 << 20, 1 << 10];

/// A file system in memory, unmounted when dropped.
pub struct SmallDisk(TempDir);

impl SmallDisk {
    /// Mounts one that every account may write to; `None`, with a printed note, where this user may not mount.
    pub fn mount(megabytes: usize) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let size = format!("size={megabytes}m,mode=777");
        let tries = [&["mount"][..], &["sudo", "-n", "mount"]];
        let mounted = tries.iter().any(|start| {
            let mut command = Command::new(start[0]);
            command.args(&start[1..]).args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path());
            command.output().is_ok_and(|done| done.status.success())
        });
        if !mounted {
            eprintln!("not run: mounting a file system needs root, or sudo without a password");
        }
        mounted.then(|| Self(folder))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all the room that is left.
    pub fn fill(&self) {
        for (n, step) in STEPS.into_iter().enumerate() {
            let mut file = std::fs::File::create(self.ballast(n)).expect("a file can be made");
            while file.write_all(&vec![1; step]).is_ok() {}
        }
    }

    /// Gives the room back.
    pub fn empty(&self) {
        for n in 0..STEPS.len() {
            std::fs::remove_file(self.ballast(n)).expect("the ballast is there");
        }
    }

    fn ballast(&self, n: usize) -> PathBuf {
        self.path().join(format!("ballast-{n}"))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let tries = [&["umount"][..], &["sudo", "-n", "umount"]];
        let _ = tries.iter().any(|start| {
            let mut command = Command::new(start[0]);
            command.args(&start[1..]).arg("-l").arg(self.path());
            command.status().is_ok_and(|done| done.success())
        });
    }
}
