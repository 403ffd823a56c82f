// What the kernels use of CUDA, on the CPU: enough to run them, and stricter than a GPU where that finds faults.
//
// Every thread of a block is a fibre; fibres give way at barriers and shuffles alone, in an order that the caller chooses, so that a
// missing barrier shows in another order. Shared memory starts as NaN and ends at a page that may not be touched. A fragment lives in
// the first lane of its warp. Included by common.cuh where BUL_HOST is defined; emulator.cpp runs the blocks.

#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>

#define __global__
#define __device__
#define __launch_bounds__(threads)
#define BUL_SHARED(name) unsigned char* name = host::shared
#define __syncthreads() host::wait(host::Wait::Block, __LINE__)
#define __syncwarp() host::wait(host::Wait::Warp, __LINE__)

struct Dim {
    unsigned x, y, z;
};
inline Dim threadIdx, blockIdx, blockDim, gridDim;

struct alignas(16) uint4 {
    unsigned x, y, z, w;
};

namespace host {

enum class Wait { No, Warp, Block };

inline unsigned char* shared;
// What lanes show each other in a shuffle.
inline float shown[32][32];

// Gives way until all threads of the warp or block have come to the same line. Defined by emulator.cpp.
void wait(Wait kind, int line);

[[noreturn]] inline void fault(const char* what) {
    std::fprintf(stderr, "block (%u, %u, %u) thread %u: %s\n", blockIdx.x, blockIdx.y, blockIdx.z, threadIdx.x, what);
    std::exit(3);
}

inline void require(bool holds, const char* what) {
    if (!holds) {
        fault(what);
    }
}

}  // namespace host

struct __half {
    uint16_t bits;
};

// Rounds to the nearest, ties to even.
inline __half __float2half_rn(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    const uint32_t sign = bits >> 16 & 0x8000, size = bits & 0x7fffffff;
    if (size > 0x7f800000) {
        return {uint16_t(sign | 0x7e00)};
    }
    // Half a step above the largest half, and more.
    if (size >= 0x477ff000) {
        return {uint16_t(sign | 0x7c00)};
    }
    if (size < 0x38800000) {
        // Below the normal halves: the sum with 0.5 is rounded at just their step.
        const float sum = std::fabs(value) + 0.5f;
        uint32_t rounded;
        std::memcpy(&rounded, &sum, 4);
        return {uint16_t(sign | (rounded - 0x3f000000))};
    }
    const uint32_t odd = size >> 13 & 1;
    return {uint16_t(sign | (size - (112u << 23) + 0xfff + odd) >> 13)};
}

inline float __half2float(__half half) {
    const uint32_t sign = uint32_t(half.bits & 0x8000) << 16, exponent = half.bits >> 10 & 31, rest = half.bits & 0x3ff;
    if (exponent == 0) {
        const float size = float(rest) * 0x1p-24f;
        return sign ? -size : size;
    }
    const uint32_t bits = sign | (exponent == 31 ? 0x7f800000 : (exponent + 112) << 23) | rest << 13;
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

inline float __fmaf_rn(float a, float b, float c) {
    return std::fmaf(a, b, c);
}

inline float __fmul_rn(float a, float b) {
    return a * b;
}

inline float __shfl_xor_sync(unsigned mask, float value, int distance) {
    host::require(mask == 0xffffffffu, "only whole warps shuffle here");
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    host::shown[warp][lane] = value;
    host::wait(host::Wait::Warp, -distance);
    const float other = host::shown[warp][lane ^ unsigned(distance)];
    host::wait(host::Wait::Warp, -distance);
    return other;
}

namespace nvcuda::wmma {

struct matrix_a {};
struct matrix_b {};
struct accumulator {};
struct row_major {};
struct col_major {};
enum layout_t { mem_row_major, mem_col_major };

// All 256 elements in the first lane, row by row; the others have none.
template <class Use, int M, int N, int K, class T, class Layout = void>
struct fragment {
    static_assert(M == 16 && N == 16 && K == 16);
    int num_elements = threadIdx.x % 32 == 0 ? 256 : 0;
    float x[256];
};

template <class Use, class T, class Layout>
void fill_fragment(fragment<Use, 16, 16, 16, T, Layout>& to, float value) {
    for (int i = 0; i < to.num_elements; ++i) {
        to.x[i] = value;
    }
}

inline void aligned(const void* from, unsigned pitch, unsigned size) {
    host::require(reinterpret_cast<uintptr_t>(from) % 32 == 0, "a fragment is not on a boundary of 32 bytes");
    host::require(pitch * size % 16 == 0, "rows of a fragment are not 16 bytes apart or a multiple of them");
}

template <class Use, class Layout>
void load_matrix_sync(fragment<Use, 16, 16, 16, __half, Layout>& to, const __half* from, unsigned pitch) {
    aligned(from, pitch, 2);
    constexpr bool across = std::is_same_v<Layout, col_major>;
    for (int i = 0; i < to.num_elements; ++i) {
        const unsigned row = i / 16, column = i % 16;
        to.x[i] = __half2float(across ? from[column * size_t(pitch) + row] : from[row * size_t(pitch) + column]);
    }
}

template <class Fragment>
void load_matrix_sync(Fragment& to, const float* from, unsigned pitch, layout_t layout) {
    aligned(from, pitch, 4);
    host::require(layout == mem_row_major, "only rows are loaded");
    for (int i = 0; i < to.num_elements; ++i) {
        to.x[i] = from[i / 16 * size_t(pitch) + i % 16];
    }
}

template <class Fragment>
void store_matrix_sync(float* to, const Fragment& from, unsigned pitch, layout_t layout) {
    aligned(to, pitch, 4);
    host::require(layout == mem_row_major, "only rows are stored");
    for (int i = 0; i < from.num_elements; ++i) {
        to[i / 16 * size_t(pitch) + i % 16] = from.x[i];
    }
}

// d = a * b + c; each element is summed from c on, in the order of the products.
template <class A, class B, class C>
void mma_sync(C& d, const A& a, const B& b, const C& c) {
    if (d.num_elements == 0) {
        return;
    }
    for (int row = 0; row < 16; ++row) {
        float sums[16];
        std::memcpy(sums, c.x + row * 16, sizeof sums);
        for (int k = 0; k < 16; ++k) {
            for (int column = 0; column < 16; ++column) {
                sums[column] += a.x[row * 16 + k] * b.x[k * 16 + column];
            }
        }
        std::memcpy(d.x + row * 16, sums, sizeof sums);
    }
}

}  // namespace nvcuda::wmma
