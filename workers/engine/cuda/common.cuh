// What all kernels share: conversions, reductions, layout constants.
//
// Rules of all kernels here: shared memory is dynamic and carved by hand, offsets into weights and the pool are 64-bit, and no
// number depends on how many rows a step has or on where in it a row stands, so that a row's result is the same in any company.

#pragma once

#ifdef BUL_HOST
#include "host/shim.h"
#else
#include <cuda_fp16.h>
#include <mma.h>
// Fragments of tensor-core products need 32-byte boundaries.
extern __shared__ __align__(128) unsigned char bul_shared[];
#define BUL_SHARED(name) unsigned char* name = bul_shared
#endif

namespace wmma = nvcuda::wmma;

// One step of a tensor-core product: 16 x 16 x 16.
#define MMA 16
using FragmentA = wmma::fragment<wmma::matrix_a, MMA, MMA, MMA, __half, wmma::row_major>;
using FragmentB = wmma::fragment<wmma::matrix_b, MMA, MMA, MMA, __half, wmma::row_major>;
using FragmentBT = wmma::fragment<wmma::matrix_b, MMA, MMA, MMA, __half, wmma::col_major>;
using FragmentSum = wmma::fragment<wmma::accumulator, MMA, MMA, MMA, float>;

// Rounds to half precision. What is too large becomes the largest half, not infinity, which would make every later number of the
// row NaN; what is NaN stays so.
__device__ inline __half narrow(float value) {
    const float most = 65504.0f;
    value = value > most ? most : value;
    value = value < -most ? -most : value;
    return __float2half_rn(value);
}

// Sum over the lanes of a warp, in all of them.
__device__ inline float warp_sum(float value) {
    for (int distance = 16; distance > 0; distance /= 2) {
        value += __shfl_xor_sync(0xffffffffu, value, distance);
    }
    return value;
}
