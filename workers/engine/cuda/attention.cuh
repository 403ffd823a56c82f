// Causal attention over paged keys and values (Kwon et al. 2023), online softmax (Milakov and Gimelshein 2018), grouped queries.
//
// A tile is up to 16 query vectors: consecutive rows of one sequence, times the query heads that share a key head. Keys are read in
// steps of 64 for all of them. Each chunk of 256 keys is summed on its own, and the chunks are folded together in their order, by one
// block or, when there are few tiles, by a second kernel over what several blocks found. The cut depends on positions alone and both
// ways fold alike, so a row's result does not depend on its company here either.

#pragma once

#define VECTORS 16             // query vectors of a tile
#define KEYS 64                // keys read at once
#define CHUNK 256              // keys summed before they are folded in
#define SCORE_PITCH (KEYS + 4)
#define WEIGHT_PITCH (KEYS + 8)
#define NONE (-INFINITY)

struct Tile {
    unsigned row;              // first row
    unsigned rows;             // how many
    unsigned table;            // where the block table of their sequence starts
    unsigned unused;
};

struct Shape {
    unsigned heads, kv_heads, head_dim, layer, layers, block_tokens;
};

// How much of what was found before, and of what is new, counts towards the sum of both.
struct Fold {
    float most, before, now;
};

__device__ inline Fold fold(float most_before, float most_now) {
    Fold f;
    f.most = most_before > most_now ? most_before : most_now;
    // Without any key there is nothing to weigh.
    f.before = most_before == NONE ? 0.0f : expf(most_before - f.most);
    f.now = most_now == NONE ? 0.0f : expf(most_now - f.most);
    return f;
}

// Written out, so that both ways of folding round alike.
__device__ inline float folded(const Fold& f, float before, float now) {
    return __fmaf_rn(before, f.before, __fmul_rn(now, f.now));
}

struct Space {
    __half* q;                 // [VECTORS, half_pitch]
    __half* kv;                // [KEYS, half_pitch]
    float* scores;             // [VECTORS, SCORE_PITCH]
    __half* weights;           // [VECTORS, WEIGHT_PITCH]
    float* sums;               // [VECTORS, float_pitch], of this chunk
    float* totals;             // the same, of all chunks
    float *most, *weight;      // [VECTORS], of this chunk
    float *most_total, *weight_total;
    float* scale;              // [VECTORS], of `sums` at this step
    unsigned padded, half_pitch, float_pitch;
};

// Bytes: see `attend_bytes` in src/cuda/kernel.rs.
__device__ inline Space carve(unsigned char* memory, unsigned head_dim) {
    Space s;
    s.padded = (head_dim + MMA - 1) / MMA * MMA;
    s.half_pitch = s.padded + 8;
    s.float_pitch = s.padded + 4;
    s.q = (__half*)memory;
    s.kv = s.q + VECTORS * s.half_pitch;
    s.scores = (float*)(s.kv + KEYS * s.half_pitch);
    s.weights = (__half*)(s.scores + VECTORS * SCORE_PITCH);
    s.sums = (float*)(s.weights + VECTORS * WEIGHT_PITCH);
    s.totals = s.sums + VECTORS * s.float_pitch;
    s.most = s.totals + VECTORS * s.float_pitch;
    s.weight = s.most + VECTORS;
    s.most_total = s.weight + VECTORS;
    s.weight_total = s.most_total + VECTORS;
    s.scale = s.weight_total + VECTORS;
    return s;
}

// Keys (`kind` 0) or values (1) from position `at` on into shared memory; zeros from `end` on and beside the head.
__device__ inline void read_kv(const Space& s, const __half* pool, const unsigned* table, const Shape& shape, unsigned kind,
                               unsigned kv_head, unsigned at, unsigned end) {
    const unsigned pieces = s.padded / PIECE;
    for (unsigned i = threadIdx.x; i < KEYS * pieces; i += blockDim.x) {
        const unsigned key = i / pieces, d = i % pieces * PIECE, position = at + key;
        __half* to = s.kv + key * s.half_pitch + d;
        const __half* from = pool;
        unsigned valid = 0;
        if (position < end && d < shape.head_dim) {
            const unsigned block = table[position / shape.block_tokens], slot = position % shape.block_tokens;
            from += in_pool(block, slot, shape.layer, kind, kv_head, shape.layers, shape.kv_heads, shape.block_tokens, shape.head_dim) + d;
            valid = shape.head_dim - d < PIECE ? shape.head_dim - d : PIECE;
        }
        if (valid == PIECE && shape.head_dim % PIECE == 0) {
            *(uint4*)to = *(const uint4*)from;
        } else {
            for (unsigned j = 0; j < PIECE; ++j) {
                to[j] = j < valid ? from[j] : __float2half_rn(0.0f);
            }
        }
    }
}

// Scores of 16 vectors and 64 keys; each warp takes 16 keys.
__device__ inline void score(const Space& s, unsigned warp) {
    FragmentSum sum;
    wmma::fill_fragment(sum, 0.0f);
    for (unsigned d = 0; d < s.padded; d += MMA) {
        FragmentA a;
        FragmentBT b;
        wmma::load_matrix_sync(a, s.q + d, s.half_pitch);
        wmma::load_matrix_sync(b, s.kv + warp * MMA * s.half_pitch + d, s.half_pitch);
        wmma::mma_sync(sum, a, b, sum);
    }
    wmma::store_matrix_sync(s.scores + warp * MMA, sum, SCORE_PITCH, wmma::mem_row_major);
}

// From scores to weights of the values; eight neighbouring lanes per vector. `seen`: keys that this thread's vector sees.
__device__ inline void soften(const Space& s, unsigned at, unsigned seen, float scale) {
    const unsigned vector = threadIdx.x / 8, part = threadIdx.x % 8;
    const float* scores = s.scores + vector * SCORE_PITCH;
    const float before = s.most[vector];
    float most = before;
    for (unsigned key = part; key < KEYS; key += 8) {
        const float value = scores[key] * scale;
        most = at + key < seen && value > most ? value : most;
    }
    for (int distance = 4; distance > 0; distance /= 2) {
        const float other = __shfl_xor_sync(0xffffffffu, most, distance);
        most = other > most ? other : most;
    }
    float sum = 0.0f;
    for (unsigned key = part; key < KEYS; key += 8) {
        const __half weight = __float2half_rn(at + key < seen ? expf(scores[key] * scale - most) : 0.0f);
        s.weights[vector * WEIGHT_PITCH + key] = weight;
        // As it will weigh, so that weights sum to one.
        sum += __half2float(weight);
    }
    for (int distance = 4; distance > 0; distance /= 2) {
        sum += __shfl_xor_sync(0xffffffffu, sum, distance);
    }
    if (part == 0) {
        const float kept = before == NONE ? 0.0f : expf(before - most);
        s.scale[vector] = kept;
        s.weight[vector] = s.weight[vector] * kept + sum;
        s.most[vector] = most;
    }
}

// sums = sums * scale + weights * values; each warp takes every fourth 16 columns.
__device__ inline void weigh(const Space& s, unsigned warp, unsigned lane) {
    for (unsigned d = warp * MMA; d < s.padded; d += 4 * MMA) {
        for (unsigned i = lane; i < VECTORS * MMA; i += 32) {
            s.sums[i / MMA * s.float_pitch + d + i % MMA] *= s.scale[i / MMA];
        }
        __syncwarp();
        FragmentSum sum;
        wmma::load_matrix_sync(sum, s.sums + d, s.float_pitch, wmma::mem_row_major);
        for (unsigned key = 0; key < KEYS; key += MMA) {
            FragmentA a;
            FragmentB b;
            wmma::load_matrix_sync(a, s.weights + key, WEIGHT_PITCH);
            wmma::load_matrix_sync(b, s.kv + key * s.half_pitch + d, s.half_pitch);
            wmma::mma_sync(sum, a, b, sum);
        }
        wmma::store_matrix_sync(s.sums + d, sum, s.float_pitch, wmma::mem_row_major);
    }
}

// One chunk: sums, largest score and weight of all keys from `chunk` times CHUNK on.
__device__ inline void attend_chunk(const Space& s, const __half* pool, const unsigned* table, const Shape& shape, unsigned kv_head,
                                    unsigned chunk, unsigned longest, unsigned seen, float scale) {
    const unsigned warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    for (unsigned i = threadIdx.x; i < VECTORS * s.float_pitch; i += blockDim.x) {
        s.sums[i] = 0.0f;
    }
    if (threadIdx.x < VECTORS) {
        s.most[threadIdx.x] = NONE;
        s.weight[threadIdx.x] = 0.0f;
    }
    const unsigned first = chunk * CHUNK, end = first + CHUNK < longest ? first + CHUNK : longest;
    for (unsigned at = first; at < end; at += KEYS) {
        __syncthreads();
        read_kv(s, pool, table, shape, 0, kv_head, at, end);
        __syncthreads();
        score(s, warp);
        __syncthreads();
        read_kv(s, pool, table, shape, 1, kv_head, at, end);
        soften(s, at, seen, scale);
        __syncthreads();
        weigh(s, warp, lane);
    }
    __syncthreads();
}

// Grid (tiles, kv_heads, parts), blocks of 128. With one part a block folds all chunks and writes out[rows, pitch]; with more, each
// block takes one chunk and writes what it found to `found`, [rows, heads, parts, head_dim + 2]: sums, largest score, weight.
extern "C" __global__ void __launch_bounds__(128)
    bul_attend(const __half* q, const __half* pool, const unsigned* tables, const unsigned* tiles, const unsigned* positions,
               __half* out, float* found, unsigned heads, unsigned kv_heads, unsigned head_dim, unsigned layer, unsigned layers,
               unsigned block_tokens, unsigned pitch, float scale) {
    BUL_SHARED(memory);
    const Shape shape = {heads, kv_heads, head_dim, layer, layers, block_tokens};
    const Space s = carve(memory, head_dim);
    const Tile tile = ((const Tile*)tiles)[blockIdx.x];
    const unsigned kv_head = blockIdx.y, group = heads / kv_heads, vectors = tile.rows * group;
    const unsigned longest = positions[tile.row + tile.rows - 1] + 1;
    const unsigned chunks = (longest + CHUNK - 1) / CHUNK;
    if (gridDim.z > 1 && blockIdx.z >= chunks) {
        return;
    }
    for (unsigned i = threadIdx.x; i < VECTORS * s.half_pitch; i += blockDim.x) {
        const unsigned vector = i / s.half_pitch, d = i % s.half_pitch;
        const size_t row = tile.row + vector / group, head = kv_head * group + vector % group;
        s.q[i] = vector < vectors && d < head_dim ? q[(row * heads + head) * head_dim + d] : __float2half_rn(0.0f);
    }
    for (unsigned i = threadIdx.x; i < VECTORS * s.float_pitch; i += blockDim.x) {
        s.totals[i] = 0.0f;
    }
    if (threadIdx.x < VECTORS) {
        s.most_total[threadIdx.x] = NONE;
        s.weight_total[threadIdx.x] = 0.0f;
    }
    const unsigned mine = threadIdx.x / 8;
    const unsigned seen = mine < vectors ? positions[tile.row + mine / group] + 1 : 0;
    const unsigned first = gridDim.z > 1 ? blockIdx.z : 0, end = gridDim.z > 1 ? blockIdx.z + 1 : chunks;
    for (unsigned chunk = first; chunk < end; ++chunk) {
        attend_chunk(s, pool, tables + tile.table, shape, kv_head, chunk, longest, seen, scale);
        if (gridDim.z > 1) {
            continue;
        }
        for (unsigned i = threadIdx.x; i < VECTORS * s.padded; i += blockDim.x) {
            const unsigned vector = i / s.padded, at = vector * s.float_pitch + i % s.padded;
            s.totals[at] = folded(fold(s.most_total[vector], s.most[vector]), s.totals[at], s.sums[at]);
        }
        __syncthreads();
        if (threadIdx.x < VECTORS) {
            const Fold f = fold(s.most_total[threadIdx.x], s.most[threadIdx.x]);
            s.weight_total[threadIdx.x] = folded(f, s.weight_total[threadIdx.x], s.weight[threadIdx.x]);
            s.most_total[threadIdx.x] = f.most;
        }
        __syncthreads();
    }
    for (unsigned i = threadIdx.x; i < vectors * head_dim; i += blockDim.x) {
        const unsigned vector = i / head_dim, d = i % head_dim, at = vector * s.float_pitch + d;
        const size_t row = tile.row + vector / group, head = kv_head * group + vector % group;
        if (gridDim.z > 1) {
            float* to = found + ((row * heads + head) * gridDim.z + blockIdx.z) * (head_dim + 2);
            to[d] = s.sums[at];
            if (d == 0) {
                to[head_dim] = s.most[vector];
                to[head_dim + 1] = s.weight[vector];
            }
        } else {
            out[row * pitch + head * head_dim + d] = narrow(s.totals[at] / s.weight_total[vector]);
        }
    }
}

// Folds what several blocks found. Grid (rows, heads); `parts` as it was the grid of `bul_attend`.
extern "C" __global__ void bul_fold(const float* found, const unsigned* positions, __half* out, unsigned heads, unsigned head_dim,
                                    unsigned parts, unsigned pitch) {
    const size_t row = blockIdx.x, head = blockIdx.y;
    const unsigned chunks = (positions[row] + CHUNK) / CHUNK;
    const float* from = found + (row * heads + head) * parts * (head_dim + 2);
    for (unsigned d = threadIdx.x; d < head_dim; d += blockDim.x) {
        float most = NONE, weight = 0.0f, total = 0.0f;
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
