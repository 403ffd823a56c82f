// What all kernels share: conversions, reductions, tensor-core products, layout constants.
//
// Rules of all kernels here: shared memory is dynamic and carved by hand, offsets into weights and the pool are 64-bit, and no
// number depends on how many rows a step has or on where in it a row stands, so that a row's result is the same in any company.

#pragma once

#ifdef BUL_HOST
#include "host/shim.h"
#else
#include <cuda_fp16.h>
extern __shared__ __align__(128) unsigned char bul_shared[];
#define BUL_SHARED(name) unsigned char* name = bul_shared
#endif

#define MMA 16                 // rows, and numbers of a sum, of one tensor-core product
#define LANES 4                // lanes that share a row of a product
#define PIECE 8                // halves in 16 bytes
#define SPAN 32                // numbers of a sum that LANES lanes read at once, 16 bytes each
#define ALL_LANES 0xffffffffu

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
        value += __shfl_xor_sync(ALL_LANES, value, distance);
    }
    return value;
}

#ifndef BUL_HOST
// A launch may begin while the ones before it still run, where the device knows how (programmatic dependent launch, from compute
// capability 9.0 on): src/cuda/driver.rs makes instructions of these two comments there. Elsewhere it begins when they are done.
//
// Every kernel says both. From here on the next launch may begin, once all blocks of this one have said so or have ended.
__device__ inline void next_may_begin() {
    asm volatile("// griddepcontrol.launch_dependents;" ::: "memory");
}

// From here on all that earlier launches wrote is there, and what they read may be written: the one before is done, and so are those
// before it, since it has waited, too. What a step was given, weights and older keys may be read earlier.
__device__ inline void await_previous() {
    asm volatile("// griddepcontrol.wait;" ::: "memory");
}

// Asks for the bytes around an address, which will be read soon, into the second cache.
__device__ inline void fetch_ahead(const void* from) {
    asm volatile("prefetch.global.L2 [%0];" ::"l"(from));
}

// Sum over the lanes of a warp, in all of them.
__device__ inline unsigned warp_count(unsigned count) {
    return __reduce_add_sync(ALL_LANES, count);
}

// sums[16 x 8] += a[16 x 16] * b[16 x 8] (mma.m16n8k16 of PTX). With g = lane / 4 and q = lane % 4 a lane holds, in pairs of
// neighbours, a at rows g, g + 8, g, g + 8 and numbers 2q, 2q, 2q + 8, 2q + 8; b at numbers 2q, 2q + 8 of column g; sums at rows g,
// g, g + 8, g + 8 and columns 2q, 2q + 1, 2q, 2q + 1.
__device__ inline void multiply(float (&sums)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

// 16 bytes that nobody will read again soon, past the first cache.
__device__ inline uint4 read_once(const __half* from) {
    uint4 read;
    asm("ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];"
        : "=r"(read.x), "=r"(read.y), "=r"(read.z), "=r"(read.w)
        : "l"(from));
    return read;
}

// 16 bytes from global to shared memory, which arrive behind a `copied`.
__device__ inline void copy_async(void* to, const void* from) {
    const unsigned at = (unsigned)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at), "l"(from) : "memory");
}

// Ends a group of copies.
__device__ inline void copy_group() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}

// Waits until at most `LEFT` groups of this thread are under way.
template <int LEFT>
__device__ inline void copied() {
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}

__device__ inline unsigned pair(float first, float second) {
    const __half2 both = __halves2half2(__float2half_rn(first), __float2half_rn(second));
    return *(const unsigned*)&both;
}
#endif

// Products over the 32 numbers of a sum that four lanes read as 16 bytes each, for COLUMNS times 8 columns: lane q holds numbers 8q to
// 8q + 7 of rows g and g + 8 and of column g. Which numbers meet in which product is the same for all who sum in this way, and so are
// the bits. Neighbouring products belong to different sums, since one has to wait for the one before it in its own.
template <unsigned COLUMNS>
__device__ inline void multiply_span(float (&sums)[COLUMNS][4], const uint4& low, const uint4& high, const uint4 (&columns)[COLUMNS]) {
#pragma unroll
    for (unsigned n = 0; n < COLUMNS; ++n) {
        multiply(sums[n], low.x, high.x, low.y, high.y, columns[n].x, columns[n].y);
    }
#pragma unroll
    for (unsigned n = 0; n < COLUMNS; ++n) {
        multiply(sums[n], low.z, high.z, low.w, high.w, columns[n].z, columns[n].w);
    }
}
