// All kernels of the CUDA engine, one translation unit.
//
// `build` makes kernels.ptx of it; host/emulator.cpp compiles the very same text for the CPU, where the tests run it. The Rust side
// is src/cuda/: `kernel.rs` names the kernels and their block sizes, `forward.rs` calls them in order.

#include "common.cuh"
#include "layers.cuh"
#include "matmul.cuh"
#include "narrow.cuh"
#include "attention.cuh"
#include "attend.cuh"
#include "candidates.cuh"
