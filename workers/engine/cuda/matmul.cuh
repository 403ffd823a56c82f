// y[rows, outputs] = x[rows, inputs] * w[outputs, inputs]^T (+ bias) (+ y), halves in, f32 out, on tensor cores.
//
// `inputs` is a multiple of 64 and `w` has a multiple of 64 rows, both filled up with zeros; `x` has room for a multiple of 64 rows.
// The inputs are cut into eight ranges, each summed in steps of 16 from its first on, and the eight sums are added in their order.
// The cut depends on `inputs` alone. A few rows take the narrow kernel, where eight warps sum a range each and so keep enough of the
// weights in flight; many rows take the wide one, where a warp sums all ranges, one after another. Both give the same bits, so a
// row's result does not depend on how many others there are.

#pragma once

#define STEP 64                // inputs read at once
#define RANGES 8               // sums that are added at the end
#define PITCH (STEP + 8)       // of a row of halves in shared memory: neighbours lie in other banks
#define PIECE 8                // halves in 16 bytes

// First step of a range.
__device__ inline unsigned range_at(unsigned steps, unsigned range) {
    return steps * range / RANGES;
}

__device__ inline void put(float* y, const float* bias, float total, size_t row, unsigned column, unsigned outputs, unsigned add) {
    float* to = y + row * outputs + column;
    if (bias) {
        total += bias[column];
    }
    *to = add ? *to + total : total;
}

// Blocks of 256: eight warps, one range each. A block computes ROW_TILES * 16 rows and COLUMN_TILES * 16 columns.
template <int ROW_TILES, int COLUMN_TILES>
__device__ void narrow_product(const __half* x, const __half* w, const float* bias, float* y, unsigned rows, unsigned outputs,
                               unsigned inputs, unsigned add) {
    BUL_SHARED(memory);
    constexpr unsigned COLUMNS = COLUMN_TILES * MMA;
    constexpr unsigned PIECES = COLUMNS * (STEP / PIECE) / 32;
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const unsigned row_at = blockIdx.y * ROW_TILES * MMA, column_at = blockIdx.x * COLUMNS;
    const unsigned steps = inputs / STEP, end = range_at(steps, warp + 1);
    __half* tile = (__half*)memory + warp * COLUMNS * PITCH;

    FragmentSum sums[ROW_TILES][COLUMN_TILES];
    for (int r = 0; r < ROW_TILES; ++r) {
        for (int c = 0; c < COLUMN_TILES; ++c) {
            wmma::fill_fragment(sums[r][c], 0.0f);
        }
    }
    uint4 next[PIECES];
    for (unsigned step = range_at(steps, warp), first = step; step < end; ++step) {
        // The first is read here, each other one while the one before it is computed.
        if (step == first) {
            for (unsigned i = 0; i < PIECES; ++i) {
                const unsigned piece = i * 32 + lane, column = column_at + piece / (STEP / PIECE);
                const __half* from = w + (size_t)column * inputs + step * STEP + piece % (STEP / PIECE) * PIECE;
                next[i] = *(const uint4*)from;
            }
        }
        __syncwarp();
        for (unsigned i = 0; i < PIECES; ++i) {
            const unsigned piece = i * 32 + lane;
            *(uint4*)(tile + piece / (STEP / PIECE) * PITCH + piece % (STEP / PIECE) * PIECE) = next[i];
        }
        __syncwarp();
        if (step + 1 < end) {
            for (unsigned i = 0; i < PIECES; ++i) {
                const unsigned piece = i * 32 + lane, column = column_at + piece / (STEP / PIECE);
                const __half* from = w + (size_t)column * inputs + (step + 1) * STEP + piece % (STEP / PIECE) * PIECE;
                next[i] = *(const uint4*)from;
            }
        }
        for (unsigned k = 0; k < STEP; k += MMA) {
            FragmentBT b[COLUMN_TILES];
            for (int c = 0; c < COLUMN_TILES; ++c) {
                wmma::load_matrix_sync(b[c], tile + c * MMA * PITCH + k, PITCH);
            }
            for (int r = 0; r < ROW_TILES; ++r) {
                FragmentA a;
                wmma::load_matrix_sync(a, x + (size_t)(row_at + r * MMA) * inputs + step * STEP + k, inputs);
                for (int c = 0; c < COLUMN_TILES; ++c) {
                    wmma::mma_sync(sums[r][c], a, b[c], sums[r][c]);
                }
            }
        }
    }

    float* ranges = (float*)memory;
    for (int r = 0; r < ROW_TILES; ++r) {
        __syncthreads();
        for (int c = 0; c < COLUMN_TILES; ++c) {
            wmma::store_matrix_sync(ranges + warp * MMA * COLUMNS + c * MMA, sums[r][c], COLUMNS, wmma::mem_row_major);
        }
        __syncthreads();
        for (unsigned i = threadIdx.x; i < MMA * COLUMNS; i += blockDim.x) {
            const unsigned row = row_at + r * MMA + i / COLUMNS, column = column_at + i % COLUMNS;
            float total = 0.0f;
            for (unsigned range = 0; range < RANGES; ++range) {
                total += ranges[range * MMA * COLUMNS + i];
            }
            if (row < rows && column < outputs) {
                put(y, bias, total, row, column, outputs, add);
            }
        }
    }
}

// At most 16 rows a block: answers under way, where reading the weights is what takes time.
extern "C" __global__ void __launch_bounds__(256) bul_matmul_16(const __half* x, const __half* w, const float* bias, float* y,
                                                                unsigned rows, unsigned outputs, unsigned inputs, unsigned add) {
    narrow_product<1, 1>(x, w, bias, y, rows, outputs, inputs, add);
}

// At most 64 rows a block.
extern "C" __global__ void __launch_bounds__(256) bul_matmul_64(const __half* x, const __half* w, const float* bias, float* y,
                                                                unsigned rows, unsigned outputs, unsigned inputs, unsigned add) {
    narrow_product<4, 2>(x, w, bias, y, rows, outputs, inputs, add);
}

#define WIDE 64                // rows and columns of a block of the wide kernel
#define WIDE_PIECES (WIDE * (STEP / PIECE) / 128)

// Reads a [WIDE, STEP] part of a matrix of rows of `inputs` halves.
__device__ inline void wide_read(uint4 (&to)[WIDE_PIECES], const __half* from, unsigned inputs) {
    for (unsigned i = 0; i < WIDE_PIECES; ++i) {
        const unsigned piece = i * 128 + threadIdx.x;
        to[i] = *(const uint4*)(from + (size_t)(piece / (STEP / PIECE)) * inputs + piece % (STEP / PIECE) * PIECE);
    }
}

__device__ inline void wide_write(__half* to, const uint4 (&from)[WIDE_PIECES]) {
    for (unsigned i = 0; i < WIDE_PIECES; ++i) {
        const unsigned piece = i * 128 + threadIdx.x;
        *(uint4*)(to + piece / (STEP / PIECE) * PITCH + piece % (STEP / PIECE) * PIECE) = from[i];
    }
}

// Many rows: prompts and large batches. Blocks of 128: four warps, 32 x 32 each.
extern "C" __global__ void __launch_bounds__(128) bul_matmul_wide(const __half* x, const __half* w, const float* bias, float* y,
                                                                  unsigned rows, unsigned outputs, unsigned inputs, unsigned add) {
    BUL_SHARED(memory);
    __half* tile_x = (__half*)memory;
    __half* tile_w = tile_x + WIDE * PITCH;
    const unsigned warp = threadIdx.x / 32, steps = inputs / STEP;
    const unsigned row_at = blockIdx.y * WIDE, column_at = blockIdx.x * WIDE;
    const unsigned warp_row = warp / 2 * 32, warp_column = warp % 2 * 32;
    const __half* from_x = x + (size_t)row_at * inputs;
    const __half* from_w = w + (size_t)column_at * inputs;

    FragmentSum totals[2][2], sums[2][2];
    for (int i = 0; i < 4; ++i) {
        wmma::fill_fragment(totals[i / 2][i % 2], 0.0f);
    }
    uint4 next_x[WIDE_PIECES], next_w[WIDE_PIECES];
    wide_read(next_x, from_x, inputs);
    wide_read(next_w, from_w, inputs);
    for (unsigned range = 0; range < RANGES; ++range) {
        for (int i = 0; i < 4; ++i) {
            wmma::fill_fragment(sums[i / 2][i % 2], 0.0f);
        }
        for (unsigned step = range_at(steps, range); step < range_at(steps, range + 1); ++step) {
            __syncthreads();
            wide_write(tile_x, next_x);
            wide_write(tile_w, next_w);
            __syncthreads();
            if (step + 1 < steps) {
                wide_read(next_x, from_x + (step + 1) * STEP, inputs);
                wide_read(next_w, from_w + (step + 1) * STEP, inputs);
            }
            for (unsigned k = 0; k < STEP; k += MMA) {
                FragmentA a[2];
                FragmentBT b[2];
                for (int i = 0; i < 2; ++i) {
                    wmma::load_matrix_sync(a[i], tile_x + (warp_row + i * MMA) * PITCH + k, PITCH);
                    wmma::load_matrix_sync(b[i], tile_w + (warp_column + i * MMA) * PITCH + k, PITCH);
                }
                for (int i = 0; i < 4; ++i) {
                    wmma::mma_sync(sums[i / 2][i % 2], a[i / 2], b[i % 2], sums[i / 2][i % 2]);
                }
            }
        }
        for (int i = 0; i < 4; ++i) {
            for (int at = 0; at < sums[0][0].num_elements; ++at) {
                totals[i / 2][i % 2].x[at] += sums[i / 2][i % 2].x[at];
            }
        }
    }

    constexpr unsigned OUT = WIDE + 4;
    float* out = (float*)memory;
    __syncthreads();
    for (int i = 0; i < 4; ++i) {
        float* to = out + (warp_row + i / 2 * MMA) * OUT + warp_column + i % 2 * MMA;
        wmma::store_matrix_sync(to, totals[i / 2][i % 2], OUT, wmma::mem_row_major);
    }
    __syncthreads();
    for (unsigned i = threadIdx.x; i < WIDE * WIDE; i += blockDim.x) {
        const unsigned row = row_at + i / WIDE, column = column_at + i % WIDE;
        if (row < rows && column < outputs) {
            put(y, bias, out[i / WIDE * OUT + i % WIDE], row, column, outputs, add);
        }
    }
}
