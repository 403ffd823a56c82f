// What the kernels use of CUDA, on the CPU: enough to run them, and stricter than a GPU where that finds faults.
//
// Every thread of a block is a fibre; fibres give way at barriers and shuffles alone, in an order that the caller chooses, so that a
// missing barrier shows in another order. Shared memory starts as NaN and ends at a page that may not be touched; copies into it arrive
// when they are waited for. Included by common.cuh where BUL_HOST is defined; emulator.cpp runs the blocks.

#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#define __global__
#define __device__
#define __launch_bounds__(...)
#define __forceinline__ inline
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

struct alignas(8) uint2 {
    unsigned x, y;
};

struct alignas(8) float2 {
    float x, y;
};

namespace host {

enum class Wait { No, Warp, Block };

inline unsigned char* shared;
// What lanes show each other in a shuffle.
inline uint32_t shown[32][32];

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

template <class T>
T shuffled(unsigned mask, T value, unsigned from, int place) {
    static_assert(sizeof(T) == 4);
    host::require(mask == 0xffffffffu && from < 32, "only whole warps shuffle here");
    const unsigned warp = threadIdx.x / 32;
    std::memcpy(&host::shown[warp][threadIdx.x % 32], &value, 4);
    host::wait(host::Wait::Warp, place);
    std::memcpy(&value, &host::shown[warp][from], 4);
    host::wait(host::Wait::Warp, place);
    return value;
}

template <class T>
T __shfl_xor_sync(unsigned mask, T value, int distance) {
    return shuffled(mask, value, threadIdx.x % 32 ^ unsigned(distance), -distance);
}

template <class T>
T __shfl_sync(unsigned mask, T value, unsigned from) {
    return shuffled(mask, value, from, -100);
}

inline unsigned __float_as_uint(float value) {
    unsigned bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}

inline float __uint_as_float(unsigned bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

inline unsigned warp_count(unsigned count) {
    for (int distance = 16; distance > 0; distance /= 2) {
        count += __shfl_xor_sync(0xffffffffu, count, distance);
    }
    return count;
}

inline unsigned pair(float first, float second) {
    return __float2half_rn(first).bits | unsigned(__float2half_rn(second).bits) << 16;
}

namespace host {

// Registers of a warp's lanes in a product, twice: who is done with one product may be at the next while others still read.
struct Product {
    unsigned a[32][4], b[32][2];
};
inline Product products[32][2];
inline unsigned char turns[1024];

inline float half_of(unsigned both, unsigned which) {
    return __half2float({uint16_t(both >> 16 * which)});
}

struct Copy {
    void* to;
    const void* from;
    unsigned group;
};
// Copies of each thread that have not arrived, and the number of its group under way.
inline std::vector<Copy> copies[1024];
inline unsigned groups[1024];

}  // namespace host

// Each sum is that of the products in their order, from what was there on.
inline void multiply(float (&sums)[4], unsigned a0, unsigned a1, unsigned a2, unsigned a3, unsigned b0, unsigned b1) {
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
    host::Product& product = host::products[warp][host::turns[threadIdx.x]++ % 2];
    const unsigned a[4] = {a0, a1, a2, a3};
    std::memcpy(product.a[lane], a, sizeof a);
    product.b[lane][0] = b0;
    product.b[lane][1] = b1;
    host::wait(host::Wait::Warp, -1000);
    for (unsigned i = 0; i < 4; ++i) {
        for (unsigned k = 0; k < 16; ++k) {
            const unsigned from = k % 8 / 2, which = k % 2;
            const float x = host::half_of(product.a[g * 4 + from][k / 8 * 2 + i / 2], which);
            sums[i] += x * host::half_of(product.b[(2 * q + i % 2) * 4 + from][k / 8], which);
        }
    }
}

// Launches run one after the other, and nothing is fetched before it is read.
inline void next_may_begin() {}
inline void await_previous() {}
inline void fetch_ahead(const void*) {}

inline uint4 read_once(const __half* from) {
    return *reinterpret_cast<const uint4*>(from);
}

// Arrives as late as it may: whoever reads before `copied` finds what was there.
inline void copy_async(void* to, const void* from) {
    const uintptr_t both = reinterpret_cast<uintptr_t>(to) | reinterpret_cast<uintptr_t>(from);
    host::require(both % 16 == 0, "a copy of 16 bytes is not on their boundary");
    host::copies[threadIdx.x].push_back({to, from, host::groups[threadIdx.x]});
}

inline void copy_group() {
    ++host::groups[threadIdx.x];
}

template <int LEFT>
void copied() {
    std::vector<host::Copy>& copies = host::copies[threadIdx.x];
    size_t left = 0;
    for (const host::Copy& copy : copies) {
        if (copy.group + LEFT < host::groups[threadIdx.x]) {
            std::memcpy(copy.to, copy.from, 16);
        } else {
            copies[left++] = copy;
        }
    }
    copies.resize(left);
}
