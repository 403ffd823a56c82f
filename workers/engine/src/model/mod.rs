//! The decoder: shape, weights, layers and the kernels beneath them.

pub(crate) mod config;
pub(crate) mod decoder;
pub(crate) mod gguf;
pub(crate) mod kernel;
pub(crate) mod linear;
mod pages;
pub(crate) mod quantised;
pub(crate) mod rope;
mod team;
pub(crate) mod threads;
pub(crate) mod weights;

/// Raised whenever a kernel begins to sum in another order.
const KERNELS_VERSION: u32 = 1;

/// Names what decides the last bits of keys and values besides the weights: the order of sums in this version's kernels, and
/// which of them this machine takes. Blocks computed by other arithmetic would make a warm answer differ from a cold one.
pub(crate) fn arithmetic() -> String {
    let kernels = if quantised::is_supported() { "packed" } else { "library" };
    // The library picks its own kernels by what it finds.
    #[cfg(target_arch = "x86_64")]
    let wide = is_x86_feature_detected!("avx512vnni");
    #[cfg(not(target_arch = "x86_64"))]
    let wide = false;
    format!("v{KERNELS_VERSION} {} {kernels} {wide}", std::env::consts::ARCH)
}
