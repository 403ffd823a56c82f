// The kernels of attention: for a few vectors, whose keys several warps and blocks share, and for the many of a prompt.

#pragma once

#define FEW_BLOCKS 512         // of attention, which leave the memory idle until they have found their keys

// Shared memory of `attend`, per piece; behind them totals of all vectors: see `attend` in src/cuda/kernel.rs.
#define FOUND_PITCH(width) ((width) + 8)
#define FOUND_FLOATS(width) (VECTORS * (FOUND_PITCH(width) + 2))

// The pieces of a chunk, one for each warp; thread by thread then 1/8 of a vector. With `tile.found` there is one chunk, which goes to
// found[place, heads, parts, head_dim + 2]: sums, largest score, weight.
template <int WIDTH, bool WHOLE>
__device__ inline void attend(const __half* q, const __half* pool, const unsigned* tables, const Tile& tile, const unsigned* members,
                              const unsigned* positions, __half* out, float* found, const Shape& shape, unsigned parts, unsigned pitch,
                              float scale) {
    BUL_SHARED(memory);
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / LANES, column = lane % LANES * 2;
    const unsigned kv_head = blockIdx.y, group = shape.heads / shape.kv_heads;
    const unsigned* table = tables + tile.table;
    const Vectors v = vectors_of(tile, members, positions, q, shape, kv_head, 0);
    const unsigned mine = threadIdx.x / 8, part = threadIdx.x % 8, vectors = tile.rows * group;
    // Of all chunks so far, each thread's own; in shared memory, since registers are few.
    float* totals = (float*)memory + CHUNK_PIECES * FOUND_FLOATS(WIDTH) + threadIdx.x;
    float most_total = NONE, weight_total = 0.0f;
    float chunk_sums[WIDTH / 8], most = NONE, weight = 0.0f;
    // Where keys lie is known before the newest of them are written.
    auto mine_of = [&](unsigned chunk) {
        const unsigned start = chunk * CHUNK, end = start + CHUNK < tile.longest ? start + CHUNK : tile.longest;
        return find_piece(pool, table, shape, kv_head, start + warp * PIECE_KEYS, end);
    };
    Piece piece = mine_of(tile.first);
    if (gridDim.x * gridDim.y <= FEW_BLOCKS) {
        fetch_piece<WIDTH>(piece, pool, shape);
    }
    await_previous();
    for (unsigned chunk = tile.first; chunk < tile.end; ++chunk) {
        const unsigned start = chunk * CHUNK, end = start + CHUNK < tile.longest ? start + CHUNK : tile.longest;
        const unsigned pieces = (end - start + PIECE_KEYS - 1) / PIECE_KEYS;
        float* to = (float*)memory + warp * FOUND_FLOATS(WIDTH);
        if (chunk > tile.first) {
            piece = mine_of(chunk);
        }
        if (warp < pieces) {
            Sums<WIDTH> sums;
            sum_piece<WIDTH, WHOLE>(sums, v, pool, table, shape, kv_head, piece, scale);
#pragma unroll
            for (unsigned n = 0; n < WIDTH / 8; ++n) {
                for (unsigned i = 0; i < 4; ++i) {
                    if (g + i / 2 * 8 < vectors) {
                        to[(g + i / 2 * 8) * FOUND_PITCH(WIDTH) + n * 8 + column + i % 2] = sums.of[n][i];
                    }
                }
            }
            if (column == 0) {
                for (unsigned i = 0; i < 2; ++i) {
                    float* ends = to + VECTORS * FOUND_PITCH(WIDTH) + 2 * (g + 8 * i);
                    ends[0] = sums.most[i];
                    ends[1] = sums.weight[i];
                }
            }
        }
        __syncthreads();
        most = NONE;
        weight = 0.0f;
        for (int i = 0; i < WIDTH / 8; ++i) {
            chunk_sums[i] = 0.0f;
        }
        for (unsigned piece = 0; piece < (mine < vectors ? pieces : 0); ++piece) {
            const float* from = (const float*)memory + piece * FOUND_FLOATS(WIDTH);
            const float* ends = from + VECTORS * FOUND_PITCH(WIDTH) + 2 * mine;
            const Fold f = fold(most, ends[0]);
#pragma unroll
            for (unsigned i = 0; i < WIDTH / 8; ++i) {
                chunk_sums[i] = folded(f, chunk_sums[i], from[mine * FOUND_PITCH(WIDTH) + part + 8 * i]);
            }
            weight = folded(f, weight, ends[1]);
            most = f.most;
        }
        if (!tile.found) {
            const Fold f = fold(most_total, most);
            for (int i = 0; i < WIDTH / 8; ++i) {
                totals[i * 128] = folded(f, chunk == tile.first ? 0.0f : totals[i * 128], chunk_sums[i]);
            }
            weight_total = folded(f, weight_total, weight);
            most_total = f.most;
        }
        __syncthreads();
    }
    if (mine >= vectors) {
        return;
    }
    const unsigned* member = members + tile.members + 2 * (mine / group);
    const size_t head = kv_head * group + mine % group;
    float* to = found + ((member[1] * (size_t)shape.heads + head) * parts + tile.first) * (shape.head_dim + 2);
    __half* narrowed = out + (size_t)member[0] * pitch + head * shape.head_dim;
    for (unsigned i = 0; i < WIDTH / 8; ++i) {
        const unsigned d = part + 8 * i;
        if (d < shape.head_dim && tile.found) {
            to[d] = chunk_sums[i];
        } else if (d < shape.head_dim) {
            narrowed[d] = narrow(totals[i * 128] / weight_total);
        }
    }
    if (part == 0 && tile.found) {
        to[shape.head_dim] = most;
        to[shape.head_dim + 1] = weight;
    }
}

// Rows of prompts: four times 16 vectors of one sequence, a warp each, and all keys that they see.
template <int WIDTH, bool WHOLE>
__device__ inline void attend_wide(const __half* q, const __half* pool, const unsigned* tables, const Tile& tile,
                                   const unsigned* members, const unsigned* positions, __half* out, const Shape& shape, unsigned pitch,
                                   float scale) {
    BUL_SHARED(memory);
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / LANES, column = lane % LANES * 2;
    const unsigned kv_head = blockIdx.y, group = shape.heads / shape.kv_heads, first = warp * VECTORS;
    const Vectors v = vectors_of(tile, members, positions, q, shape, kv_head, first);
    // Of all chunks so far; in shared memory, since registers are few. Each lane has its own places.
    float* totals = (float*)memory + warp * 32 * (WIDTH / 2) + lane;
    float most[2] = {NONE, NONE}, weight[2] = {0.0f, 0.0f};
    for (int i = 0; i < WIDTH / 2; ++i) {
        totals[i * 32] = 0.0f;
    }
    unsigned longest = v.seen[0] > v.seen[1] ? v.seen[0] : v.seen[1];
    for (int distance = LANES; distance < 32; distance *= 2) {
        const unsigned other = __shfl_xor_sync(ALL_LANES, longest, distance);
        longest = other > longest ? other : longest;
    }
    for (unsigned start = 0; start < longest; start += CHUNK) {
        const unsigned end = start + CHUNK < longest ? start + CHUNK : longest;
        Sums<WIDTH> chunk;
        clear(chunk);
        for (unsigned at = start; at < end; at += PIECE_KEYS) {
            Sums<WIDTH> sums;
            const Piece piece = find_piece(pool, tables + tile.table, shape, kv_head, at, end);
            sum_piece<WIDTH, WHOLE>(sums, v, pool, tables + tile.table, shape, kv_head, piece, scale);
            fold_in(chunk, sums);
        }
        const Fold f[2] = {fold(most[0], chunk.most[0]), fold(most[1], chunk.most[1])};
#pragma unroll
        for (int i = 0; i < WIDTH / 2; ++i) {
            totals[i * 32] = folded(f[i % 4 / 2], totals[i * 32], chunk.of[i / 4][i % 4]);
        }
        for (int i = 0; i < 2; ++i) {
            weight[i] = folded(f[i], weight[i], chunk.weight[i]);
            most[i] = f[i].most;
        }
    }
    for (unsigned i = 0; i < WIDTH / 2; ++i) {
        const unsigned vector = first + g + i % 4 / 2 * 8, d = i / 4 * 8 + column + i % 2;
        if (vector < tile.rows * group && d < shape.head_dim) {
            const size_t row = members[tile.members + 2 * (vector / group)], head = kv_head * group + vector % group;
            out[row * pitch + head * shape.head_dim + d] = narrow(totals[i * 32] / weight[i % 4 / 2]);
        }
    }
}

#define ATTEND_ARGUMENTS \
    const __half *q, const __half *pool, const unsigned *tables, const unsigned *tiles, const unsigned *members, \
        const unsigned *positions, __half *out, float *found, unsigned heads, unsigned kv_heads, unsigned head_dim, unsigned layer, \
        unsigned layers, unsigned block_tokens, unsigned parts, unsigned pitch, float scale
#define ATTEND_SHAPE {heads, kv_heads, head_dim, layer, layers, block_tokens}

template <int WIDTH>
__device__ inline void attend_any(ATTEND_ARGUMENTS) {
    const Shape shape = ATTEND_SHAPE;
    next_may_begin();
    const Tile tile = ((const Tile*)tiles)[blockIdx.x];
    if (tile.rows == 0) {
        await_previous();
        return;
    }
    if (whole_pieces<WIDTH>(shape)) {
        attend<WIDTH, true>(q, pool, tables, tile, members, positions, out, found, shape, parts, pitch, scale);
    } else {
        attend<WIDTH, false>(q, pool, tables, tile, members, positions, out, found, shape, parts, pitch, scale);
    }
}

template <int WIDTH>
__device__ inline void attend_wide_any(ATTEND_ARGUMENTS) {
    const Shape shape = ATTEND_SHAPE;
    next_may_begin();
    await_previous();
    const Tile tile = ((const Tile*)tiles)[blockIdx.x];
    if (whole_pieces<WIDTH>(shape)) {
        attend_wide<WIDTH, true>(q, pool, tables, tile, members, positions, out, shape, pitch, scale);
    } else {
        attend_wide<WIDTH, false>(q, pool, tables, tile, members, positions, out, shape, pitch, scale);
    }
}

#define ATTEND_GIVEN \
    q, pool, tables, tiles, members, positions, out, found, heads, kv_heads, head_dim, layer, layers, block_tokens, parts, pitch, scale

// Grid (tiles, kv_heads), blocks of 128. Tiles without rows fill up a grid.
extern "C" __global__ void __launch_bounds__(128) bul_attend_64(ATTEND_ARGUMENTS) {
    attend_any<64>(ATTEND_GIVEN);
}

// Three blocks for each multiprocessor, so that enough reads are under way.
extern "C" __global__ void __launch_bounds__(128, 3) bul_attend_128(ATTEND_ARGUMENTS) {
    attend_any<128>(ATTEND_GIVEN);
}

extern "C" __global__ void __launch_bounds__(128) bul_attend_wide_64(ATTEND_ARGUMENTS) {
    attend_wide_any<64>(ATTEND_GIVEN);
}

extern "C" __global__ void __launch_bounds__(128) bul_attend_wide_128(ATTEND_ARGUMENTS) {
    attend_wide_any<128>(ATTEND_GIVEN);
}

// Folds what several blocks found. Grid (rows that were found in parts, heads); `folds`: row of each place, or NO_ROW to fill up.
extern "C" __global__ void bul_fold(const float* found, const unsigned* folds, const unsigned* positions, __half* out, unsigned heads,
                                    unsigned head_dim, unsigned parts, unsigned pitch) {
    next_may_begin();
    const size_t place = blockIdx.x, head = blockIdx.y, row = folds[place];
    const unsigned chunks = row == NO_ROW ? 0 : positions[row] / CHUNK + 1;
    await_previous();
    if (row == NO_ROW) {
        return;
    }
    const float* from = found + (place * heads + head) * parts * (head_dim + 2);
    for (unsigned d = threadIdx.x; d < head_dim; d += blockDim.x) {
        float most = NONE, weight = 0.0f, total = 0.0f;
#pragma unroll 4
        for (unsigned chunk = 0; chunk < chunks; ++chunk) {
            const float* part = from + (size_t)chunk * (head_dim + 2);
            const Fold f = fold(most, part[head_dim]);
            total = folded(f, total, part[d]);
            weight = folded(f, weight, part[head_dim + 1]);
            most = f.most;
        }
        out[row * pitch + head * head_dim + d] = narrow(total / weight);
    }
}
