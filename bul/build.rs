//! Asks the linker for the short form of relative relocations (DT_RELR) where the C library of this machine can read it, which
//! glibc does from 2.36 on: 4 MB less of the executable, which every start would read and every process keep in memory.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    let target = |key: &str| std::env::var(format!("CARGO_CFG_TARGET_{key}")).unwrap_or_default();
    let same_machine = std::env::var("HOST").ok() == std::env::var("TARGET").ok();
    if target("OS") == "linux"
        && target("ENV") == "gnu"
        && target("ARCH") == "x86_64"
        && same_machine
        && reads_relr()
    {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Whether the C library here is new enough.
fn reads_relr() -> bool {
    let Ok(told) = Command::new("getconf").arg("GNU_LIBC_VERSION").output() else { return false };
    let told = String::from_utf8_lossy(&told.stdout);
    let version = told.trim().strip_prefix("glibc ").and_then(|version| version.split_once('.'));
    let numbers =
        version.and_then(|(major, minor)| Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?)));
    numbers.is_some_and(|version| version >= (2, 36))
}
