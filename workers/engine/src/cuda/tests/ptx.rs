//! The PTX that is checked in is the one of its sources.

use sha2::{Digest, Sha256};

use super::super::emulator::{KERNEL_SOURCES, sources};
use super::super::kernel::Kernel;

fn ptx() -> String {
    std::fs::read_to_string(sources().join("kernels.ptx")).unwrap()
}

#[test]
fn it_was_made_of_these_sources() {
    let mut hasher = Sha256::new();
    for file in KERNEL_SOURCES {
        hasher.update(std::fs::read(sources().join(file)).unwrap());
    }
    let expected = format!("// Made by cuda/build of sources with sha256 {:x}", hasher.finalize());
    let text = ptx();
    assert_eq!(text.lines().next(), Some(expected.as_str()), "run workers/engine/cuda/build");
}

#[test]
fn it_has_every_kernel_and_says_nothing_of_the_machine_it_was_made_on() {
    let text = ptx();
    for kernel in Kernel::ALL {
        assert!(text.contains(&format!(".entry {}(", kernel.name())), "{}", kernel.name());
    }
    assert_eq!(text.matches(".entry ").count(), Kernel::ALL.len());
    assert!(text.contains(".target sm_80") && text.contains(".version 7.8"));
    for trace in ["/tmp", "/root", "/home", "/usr", ".file", "Build ID", "Cuda compilation"] {
        assert!(!text.contains(trace), "{trace}");
    }
}

/// A launch that did not wait would let the one behind it begin too early.
#[test]
fn every_kernel_lets_the_next_begin_and_waits_for_those_before_it() {
    let text = ptx();
    for kernel in text.split(".entry ").skip(1) {
        let name = kernel.split('(').next().unwrap_or_default();
        for mark in ["// griddepcontrol.launch_dependents;", "// griddepcontrol.wait;"] {
            assert!(kernel.contains(mark), "{name}: {mark}");
        }
    }
    assert!(!text.contains("\tgriddepcontrol."), "devices of 8.0 do not know it");
}
