//! The model on a CUDA device, with kernels of our own.
//!
//! Behind the same trait as the model on the CPU: scheduler, index and keys do not know where the bytes of a block lie. Matrices,
//! activations between products and the pool are half precision, sums and the residual are `f32`. The cut of every sum depends on
//! sizes and positions alone, never on the other rows of a step, so that here too a row's result is the same in any company, as long
//! as the device's products are: they are not the CPU's bits, and blocks of one never match keys of the other.
//!
//! `device` is all that is asked of a device; `driver` is CUDA's own, in builds with the feature `cuda`, and in tests `emulator`
//! runs the kernels' very sources on the CPU. `step` says what a step computes, `tiles` who reads which keys together, `model` holds the
//! weights, `forward` calls the kernels, `runner` is what the engine sees.

mod buffers;
pub(crate) mod device;
#[cfg(any(test, feature = "cuda"))]
pub(crate) mod driver;
#[cfg(test)]
pub(crate) mod emulator;
mod forward;
mod kernel;
pub(crate) mod model;
pub(crate) mod runner;
mod step;
#[cfg(test)]
mod tests;
mod tiles;

/// Raised whenever a kernel begins to sum in another order.
#[cfg(feature = "cuda")]
const KERNELS_VERSION: u32 = 3;

/// Fingerprint of a model that is computed here: its texts and blocks are not those of the CPU.
#[cfg(feature = "cuda")]
pub(crate) fn mark(model: blake3::Hash) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new_derive_key("bul-engine cuda kernels v1");
    hasher.update(model.as_bytes());
    hasher.update(&KERNELS_VERSION.to_le_bytes());
    hasher.finalize()
}
