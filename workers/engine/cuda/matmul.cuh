// y[rows, outputs] = x[rows, inputs] * w[outputs, inputs]^T (+ bias) (+ y), halves in, f32 out, on tensor cores; or, of gates and what
// they gate, silu(gate) * up (Shazeer 2020) as halves.
//
// `inputs` is a multiple of 64 and `w` has a multiple of 64 rows, both filled up with zeros; `x` has room for a multiple of 128 rows.
// The inputs are cut into eight ranges, each summed in steps of 64 from its first on, and the eight sums are added in their order.
// The cut depends on `inputs` alone. A few rows take the narrow kernels (narrow.cuh), where eight warps sum a range each straight from
// memory and so keep enough of the weights in flight; many rows take the wide ones, through shared memory. All give the same bits, so a
// row's result does not depend on how many others there are. Blocks that read the same weights are neighbours: grid (rows, columns,
// ranges).

#pragma once

#define STEP 64                // inputs
#define RANGES 8               // sums that are added at the end

// First step of a range.
__device__ inline unsigned range_at(unsigned steps, unsigned range) {
    return steps * range / RANGES;
}

// Where results go. `out` takes halves and is null for plain products, `y` takes all others.
struct Result {
    float* y;
    const float* bias;
    __half* out;
    unsigned outputs, add, pitch;
};

__device__ inline void put(const Result& to, float total, size_t row, unsigned column) {
    float* y = to.y + row * to.outputs + column;
    if (to.bias) {
        total += to.bias[column];
    }
    *y = to.add ? *y + total : total;
}

// Two neighbours, the first in an even column, as far as there are such columns.
__device__ inline void put(const Result& to, const float (&totals)[2], size_t row, unsigned column) {
    if (column + 1 < to.outputs && to.outputs % 2 == 0) {
        float2* y = (float2*)(to.y + row * to.outputs + column);
        const float first = to.bias ? totals[0] + to.bias[column] : totals[0];
        const float second = to.bias ? totals[1] + to.bias[column + 1] : totals[1];
        const float2 before = to.add ? *y : float2{0.0f, 0.0f};
        *y = to.add ? float2{before.x + first, before.y + second} : float2{first, second};
        return;
    }
    for (unsigned i = 0; i < 2; ++i) {
        if (column + i < to.outputs) {
            put(to, totals[i], row, column + i);
        }
    }
}

// Half of the outputs are gates.
__device__ inline __half gated(const Result& to, float gate, float up, unsigned column) {
    if (to.bias) {
        gate += to.bias[column];
        up += to.bias[to.outputs / 2 + column];
    }
    return narrow(gate / (1.0f + expf(-gate)) * up);
}

// Two neighbours, as far as there are such columns.
__device__ inline void put_gated(const Result& to, const float (&gates)[2], const float (&ups)[2], size_t row, unsigned column) {
    for (unsigned i = 0; i < 2; ++i) {
        if (column + i < to.outputs / 2) {
            to.out[row * to.pitch + column + i] = gated(to, gates[i], ups[i], column + i);
        }
    }
}

#define PRODUCT_ARGUMENTS \
    const __half *x, const __half *w, const float *bias, float *y, __half *out, unsigned rows, unsigned outputs, unsigned inputs, \
        unsigned add, unsigned pitch
#define PRODUCT_RESULT {y, bias, out, outputs, add, pitch}

#define WIDE 128               // columns of a block of the wide kernels
#define STAGES(rows) (3 * 256 / ((rows) + 128))  // steps of both matrices in shared memory: one in use, the others on their way

// Blocks of 256: eight warps, two rows of four. A warp computes half of ROWS and 32 columns, where GATED 16 gates and what they gate.
// `split`: each of RANGES blocks sums one range, into y[range, rows, outputs]; `bul_gather` adds them.
template <int ROWS, bool GATED, bool SPLIT>
__device__ void wide_product(const __half* x, const __half* w, const Result& to, unsigned rows, unsigned inputs) {
    BUL_SHARED(memory);
    next_may_begin();
    await_previous();
    constexpr unsigned TILES = ROWS / 2 / MMA, HALF = WIDE / 2, AHEAD = STAGES(ROWS) - 1;
    // A step lies there as two spans, rows of 64 bytes each, so that no two lanes read from the same bank.
    constexpr unsigned SPAN_SIZE = (ROWS + WIDE) * SPAN, STAGE = 2 * SPAN_SIZE;
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / LANES, q = lane % LANES;
    const unsigned row_at = blockIdx.x * ROWS, column_at = blockIdx.y * (GATED ? HALF : WIDE), steps = inputs / STEP;
    const unsigned warp_row = warp / 4 * (ROWS / 2), warp_column = warp % 4;
    const unsigned first = SPLIT ? range_at(steps, blockIdx.z) : 0, end = SPLIT ? range_at(steps, blockIdx.z + 1) : steps;
    // Rows of `w` behind its last are left out.
    const unsigned filled = (to.outputs + STEP - 1) / STEP * STEP;

    // What this thread copies of each span: 16 bytes each.
    constexpr unsigned COPIES = (ROWS + WIDE) * LANES / 256;
    const __half* from[COPIES];
#pragma unroll
    for (unsigned i = 0; i < COPIES; ++i) {
        const unsigned row = (i * 256 + threadIdx.x) / LANES, piece = threadIdx.x % LANES * PIECE;
        const unsigned column = row - ROWS, wanted = column_at + column + (GATED && column >= HALF ? to.outputs / 2 - HALF : 0);
        from[i] = row < ROWS ? x + (size_t)(row_at + row) * inputs : w + (size_t)(wanted < filled ? wanted : filled - 1) * inputs;
        from[i] += piece;
    }
    auto fetch = [&](unsigned step) {
        __half* stage = (__half*)memory + step % (AHEAD + 1) * STAGE + threadIdx.x * PIECE;
#pragma unroll
        for (unsigned i = 0; i < COPIES * 2; ++i) {
            copy_async(stage + i % 2 * SPAN_SIZE + i / 2 * 256 * PIECE, from[i / 2] + step * STEP + i % 2 * SPAN);
        }
    };
    float totals[TILES][4][4], sums[TILES][4][4];
#pragma unroll
    for (unsigned i = 0; i < TILES * 16; ++i) {
        totals[i / 16][i / 4 % 4][i % 4] = sums[i / 16][i / 4 % 4][i % 4] = 0.0f;
    }
    for (unsigned step = first; step < first + AHEAD; ++step) {
        if (step < end) {
            fetch(step);
        }
        copy_group();
    }
    unsigned range = 0;
    for (unsigned step = first; step < end; ++step) {
        copied<AHEAD - 1>();
        __syncthreads();
        if (step + AHEAD < end) {
            fetch(step + AHEAD);
        }
        copy_group();
#pragma unroll
        for (unsigned half = 0; half < 2; ++half) {
            const __half* span = (const __half*)memory + step % (AHEAD + 1) * STAGE + half * SPAN_SIZE;
            uint4 columns[4];
#pragma unroll
            for (unsigned n = 0; n < 4; ++n) {
                const unsigned column = GATED ? n / 2 * HALF + warp_column * 16 + n % 2 * 8 : warp_column * 32 + n * 8;
                columns[n] = *(const uint4*)(span + (ROWS + column + g) * SPAN + q * PIECE);
            }
#pragma unroll
            for (unsigned r = 0; r < TILES; ++r) {
                const __half* row = span + (warp_row + r * MMA + g) * SPAN + q * PIECE;
                const uint4 low = *(const uint4*)row, high = *(const uint4*)(row + 8 * SPAN);
                multiply_span<4>(sums[r], low, high, columns);
            }
        }
        // Where a range ends; several without a step may end at once, and add nothing.
        while (!SPLIT && range + 1 < RANGES && range_at(steps, range + 1) <= step + 1) {
            ++range;
            if (range_at(steps, range) == step + 1) {
#pragma unroll
                for (unsigned i = 0; i < TILES * 16; ++i) {
                    totals[i / 16][i / 4 % 4][i % 4] += sums[i / 16][i / 4 % 4][i % 4];
                    sums[i / 16][i / 4 % 4][i % 4] = 0.0f;
                }
            }
        }
    }
#pragma unroll
    for (unsigned r = 0; r < TILES; ++r) {
#pragma unroll
        for (unsigned n = 0; n < (GATED ? 2 : 4); ++n) {
#pragma unroll
            for (unsigned i = 0; i < 4; i += 2) {
                const unsigned row = row_at + warp_row + r * MMA + g + i / 2 * 8;
                const unsigned column = column_at + warp_column * (GATED ? 16 : 32) + n * 8 + 2 * q;
                if (row >= rows) {
                    continue;
                }
                const float both[2] = {totals[r][n][i] + sums[r][n][i], totals[r][n][i + 1] + sums[r][n][i + 1]};
                if (GATED) {
                    const float up[2] = {totals[r][n + 2][i] + sums[r][n + 2][i], totals[r][n + 2][i + 1] + sums[r][n + 2][i + 1]};
                    put_gated(to, both, up, row, column);
                } else if (SPLIT) {
                    const Result part = {to.y + (size_t)blockIdx.z * rows * to.outputs, nullptr, nullptr, to.outputs, 0, 0};
                    put(part, both, row, column);
                } else {
                    put(to, both, row, column);
                }
            }
        }
    }
}

// Many rows: prompts and large batches.
extern "C" __global__ void __launch_bounds__(256) bul_matmul_wide_64(PRODUCT_ARGUMENTS) {
    wide_product<64, false, false>(x, w, PRODUCT_RESULT, rows, inputs);
}

extern "C" __global__ void __launch_bounds__(256) bul_matmul_wide_128(PRODUCT_ARGUMENTS) {
    wide_product<128, false, false>(x, w, PRODUCT_RESULT, rows, inputs);
}

extern "C" __global__ void __launch_bounds__(256) bul_gate_wide_64(PRODUCT_ARGUMENTS) {
    wide_product<64, true, false>(x, w, PRODUCT_RESULT, rows, inputs);
}

extern "C" __global__ void __launch_bounds__(256) bul_gate_wide_128(PRODUCT_ARGUMENTS) {
    wide_product<128, true, false>(x, w, PRODUCT_RESULT, rows, inputs);
}

// For products whose results are too few to keep a device busy.
extern "C" __global__ void __launch_bounds__(256) bul_matmul_split(PRODUCT_ARGUMENTS) {
    wide_product<64, false, true>(x, w, PRODUCT_RESULT, rows, inputs);
}

// Adds what `bul_matmul_split` found in parts[RANGES, rows, outputs]. Blocks of 256, grid (outputs / 256, rows).
extern "C" __global__ void bul_gather(const float* parts, const float* bias, float* y, unsigned rows, unsigned outputs, unsigned add) {
    next_may_begin();
    await_previous();
    const unsigned column = blockIdx.x * blockDim.x + threadIdx.x;
    if (column >= outputs) {
        return;
    }
    float total = 0.0f;
    for (unsigned range = 0; range < RANGES; ++range) {
        total += parts[((size_t)range * rows + blockIdx.y) * outputs + column];
    }
    const Result to = {y, bias, nullptr, outputs, add, 0};
    put(to, total, blockIdx.y, column);
}
