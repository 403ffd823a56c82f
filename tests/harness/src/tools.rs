//! Where `make test-deps` puts what it installs beside the distribution's packages.

use std::path::PathBuf;

/// The folder of the tools: `BUL_TOOLS_DIR`, or one in the user's cache.
///
/// # Panics
/// Where neither is known because `HOME` is not set.
pub fn tools() -> PathBuf {
    let set = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = || set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")));
    let tools = set("BUL_TOOLS_DIR").or_else(|| Some(cache()?.join("bul/tools")));
    tools.expect("HOME is set")
}
