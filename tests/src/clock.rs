//! A false wall clock for chosen processes: what a machine has whose clock was never set, or is set while it runs.
//!
//! `libfaketime` answers a process's questions for the time; the steady clock by which it waits stays true, as on a real
//! machine. Its hands are a file, so that a running process sees them jump within two seconds.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use tempfile::TempDir;

/// Where Debian keeps the library that is made for programs with threads.
const LIBRARIES: &str = "/usr/lib";
const LIBRARY: &str = "faketime/libfaketimeMT.so.1";

/// Where shared memory lies, and how the library's is called, before the number of the process.
const MEMORY: &str = "/dev/shm";
const LEFT_BEHIND: [&str; 2] = ["faketime_shm_", "sem.faketime_sem_"];

/// A false clock; any number of processes may look at it.
pub struct Clock {
    folder: TempDir,
    library: PathBuf,
}

impl Clock {
    /// A clock that is `ahead` seconds ahead of the true one, or behind it.
    pub fn ahead(ahead: i64) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // Servers that run as another account look at it, too.
        std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755))
            .expect("its rights can be set");
        let clock = Self { folder, library: library() };
        clock.set(ahead);
        clock
    }

    /// Sets its hands: from now on it is so many seconds ahead of the true time.
    pub fn set(&self, ahead: i64) {
        // A reader must not meet half a file.
        let fresh = self.folder.path().join("fresh");
        std::fs::write(&fresh, format!("{ahead:+}\n")).expect("the hands can be written");
        std::fs::rename(&fresh, self.hands()).expect("the hands can be set");
    }

    fn hands(&self) -> PathBuf {
        self.folder.path().join("hands")
    }

    /// The environment of a process that looks at it.
    pub fn environment(&self) -> Vec<(String, String)> {
        let (library, hands) = (self.library.display().to_string(), self.hands().display().to_string());
        [
            ("LD_PRELOAD", library.as_str()),
            ("FAKETIME_TIMESTAMP_FILE", hands.as_str()),
            ("FAKETIME_CACHE_DURATION", "1"),
            // The name of this option changed between releases.
            ("DONT_FAKE_MONOTONIC", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("NO_FAKE_STAT", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }
}

impl Drop for Clock {
    /// The library makes shared memory per process, which a process that is killed leaves behind.
    fn drop(&mut self) {
        for entry in std::fs::read_dir(MEMORY).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let pid = LEFT_BEHIND.iter().find_map(|prefix| name.strip_prefix(prefix));
            if pid.is_some_and(|pid| !std::path::Path::new("/proc").join(pid).exists()) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// # Panics
/// Where it is not installed: a test of clocks that runs without a false one would prove nothing.
fn library() -> PathBuf {
    let folders = std::fs::read_dir(LIBRARIES).into_iter().flatten().flatten().map(|entry| entry.path());
    let candidates =
        std::iter::once(PathBuf::from(LIBRARIES)).chain(folders).map(|folder| folder.join(LIBRARY));
    let found = candidates.into_iter().find(|file| file.is_file());
    found.expect("libfaketime is not installed; run make test-deps")
}
