// Products of few rows: answers under way, where reading the weights is what takes time. See matmul.cuh for what all products share.
//
// A launch may begin while the ones before it still run (common.cuh), and weights wait for nobody: a block asks for its first ones before
// it waits for its rows.

#pragma once

// Blocks of 256: eight warps, one range each. A block computes ROW_TILES * 16 rows, or 8 where FEW, and TILES * 8 columns, of which half
// are gates and half what they gate where GATED. A lane has DEPTH steps of the weights under way.
template <int ROW_TILES, int TILES, int DEPTH, bool GATED, bool FEW>
__device__ void narrow_product(const __half* x, const __half* w, const Result& to, unsigned rows, unsigned inputs) {
    BUL_SHARED(memory);
    constexpr unsigned COLUMNS = TILES * 8, HALF = COLUMNS / 2, ROWS = FEW ? MMA / 2 : MMA;
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / LANES, q = lane % LANES;
    const unsigned row_at = blockIdx.x * ROW_TILES * ROWS, column_at = blockIdx.y * (GATED ? HALF : COLUMNS);
    const unsigned steps = inputs / STEP, first = range_at(steps, warp), end = range_at(steps, warp + 1);

    const __half* from_w[TILES];
#pragma unroll
    for (unsigned n = 0; n < TILES; ++n) {
        const unsigned shift = GATED && n >= TILES / 2 ? to.outputs / 2 - HALF : 0;
        from_w[n] = w + (size_t)(column_at + shift + n * 8 + g) * inputs + q * PIECE;
    }
    // Behind the last row stands the last one again: one read for all of them.
    const __half* from_x[ROW_TILES][2];
#pragma unroll
    for (unsigned i = 0; i < ROW_TILES * 2; ++i) {
        const unsigned row = row_at + i / 2 * MMA + i % 2 * 8 + g;
        from_x[i / 2][i % 2] = x + (size_t)(row < rows ? row : rows - 1) * inputs + q * PIECE;
    }
    float sums[ROW_TILES][TILES][4];
#pragma unroll
    for (unsigned i = 0; i < ROW_TILES * TILES * 4; ++i) {
        sums[i / 4 / TILES][i / 4 % TILES][i % 4] = 0.0f;
    }
    // Of `w` and, for few rows, of `x`, by halves of a step.
    uint4 ahead[DEPTH][2][TILES], rows_ahead[DEPTH][2][ROW_TILES][2];
    auto read = [&](unsigned d, unsigned step) {
#pragma unroll
        for (unsigned half = 0; half < 2; ++half) {
            const size_t at = step * STEP + half * SPAN;
#pragma unroll
            for (unsigned n = 0; n < TILES; ++n) {
                ahead[d][half][n] = read_once(from_w[n] + at);
            }
        }
    };
    auto read_rows = [&](unsigned d, unsigned step) {
#pragma unroll
        for (unsigned i = 0; i < ROW_TILES * 4; ++i) {
            const __half* from = from_x[i / 4][i / 2 % 2] + step * STEP + i % 2 * SPAN;
            // The upper half of a tile.
            rows_ahead[d][i % 2][i / 4][i / 2 % 2] = FEW && i / 2 % 2 ? uint4{0, 0, 0, 0} : *(const uint4*)from;
        }
    };
    // The last step stands in where there are fewer, so that all of these reads are under way at once.
#pragma unroll
    for (unsigned d = 0; d < DEPTH; ++d) {
        read(d, first + d < steps ? first + d : steps - 1);
    }
    next_may_begin();
    await_previous();
#pragma unroll
    for (unsigned d = 0; d < (ROW_TILES == 1 ? DEPTH : 0); ++d) {
        read_rows(d, first + d < steps ? first + d : steps - 1);
    }
    for (unsigned at = first; at < end; at += DEPTH) {
#pragma unroll
        for (unsigned d = 0; d < DEPTH; ++d) {
            const unsigned step = at + d;
            if (step < end) {
                if (ROW_TILES > 1) {
                    read_rows(d, step);
                }
#pragma unroll
                for (unsigned half = 0; half < 2; ++half) {
#pragma unroll
                    for (unsigned r = 0; r < ROW_TILES; ++r) {
                        multiply_span<TILES>(sums[r], rows_ahead[d][half][r][0], rows_ahead[d][half][r][1], ahead[d][half]);
                    }
                }
                if (step + DEPTH < end) {
                    read(d, step + DEPTH);
                    if (ROW_TILES == 1) {
                        read_rows(d, step + DEPTH);
                    }
                }
            }
        }
    }

    float* ranges = (float*)memory;
#pragma unroll
    for (unsigned r = 0; r < ROW_TILES; ++r) {
        __syncthreads();
#pragma unroll
        for (unsigned n = 0; n < TILES; ++n) {
            for (unsigned i = 0; i < (FEW ? 2 : 4); ++i) {
                ranges[(warp * ROWS + g + i / 2 * 8) * COLUMNS + n * 8 + 2 * q + i % 2] = sums[r][n][i];
            }
        }
        __syncthreads();
        for (unsigned i = threadIdx.x; i < ROWS * (GATED ? HALF : COLUMNS); i += blockDim.x) {
            const unsigned row = i / (GATED ? HALF : COLUMNS), column = i % (GATED ? HALF : COLUMNS);
            float total = 0.0f, up = 0.0f;
            for (unsigned range = 0; range < RANGES; ++range) {
                total += ranges[(range * ROWS + row) * COLUMNS + column];
                up += GATED ? ranges[(range * ROWS + row) * COLUMNS + HALF + column] : 0.0f;
            }
            const unsigned y_row = row_at + r * MMA + row, y_column = column_at + column;
            if (y_row < rows && y_column < (GATED ? to.outputs / 2 : to.outputs)) {
                if (GATED) {
                    to.out[y_row * (size_t)to.pitch + y_column] = gated(to, total, up, y_column);
                } else {
                    put(to, total, y_row, y_column);
                }
            }
        }
    }
}

// At most 16 rows a block. Eight columns of matrices that are small, for the sake of many blocks; several of them share a
// multiprocessor, or a second round would keep most of the device waiting.
extern "C" __global__ void __launch_bounds__(256, 4) bul_matmul_16_8(PRODUCT_ARGUMENTS) {
    narrow_product<1, 1, 2, false, false>(x, w, PRODUCT_RESULT, rows, inputs);
}

extern "C" __global__ void __launch_bounds__(256) bul_matmul_16_32(PRODUCT_ARGUMENTS) {
    narrow_product<1, 4, 2, false, false>(x, w, PRODUCT_RESULT, rows, inputs);
}

extern "C" __global__ void __launch_bounds__(256) bul_gate_16(PRODUCT_ARGUMENTS) {
    narrow_product<1, 2, 2, true, false>(x, w, PRODUCT_RESULT, rows, inputs);
}

// At most 8 rows a block: no reads and no registers for those that are not there, so that the next launch's blocks find room beside it.
extern "C" __global__ void __launch_bounds__(256, 4) bul_matmul_8_8(PRODUCT_ARGUMENTS) {
    narrow_product<1, 1, 2, false, true>(x, w, PRODUCT_RESULT, rows, inputs);
}

extern "C" __global__ void __launch_bounds__(256, 3) bul_gate_8(PRODUCT_ARGUMENTS) {
    narrow_product<1, 2, 2, true, true>(x, w, PRODUCT_RESULT, rows, inputs);
}

// At most 64 rows a block.
extern "C" __global__ void __launch_bounds__(256) bul_matmul_64(PRODUCT_ARGUMENTS) {
    narrow_product<4, 2, 2, false, false>(x, w, PRODUCT_RESULT, rows, inputs);
}

extern "C" __global__ void __launch_bounds__(256) bul_gate_64(PRODUCT_ARGUMENTS) {
    narrow_product<4, 2, 2, true, false>(x, w, PRODUCT_RESULT, rows, inputs);
}
