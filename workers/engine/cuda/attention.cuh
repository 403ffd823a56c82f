// Causal attention over paged keys and values (Kwon et al. 2023), online softmax (Milakov and Gimelshein 2018), grouped queries,
// shared prefixes read once for several sequences (Juravsky et al. 2024).
//
// Query vectors are rows of the step times the query heads that share a key head; a warp holds 16 of them. The keys of a row are cut
// into chunks of 128 and these into pieces of 32. Each piece is summed on its own, the pieces of a chunk are folded together in their
// order, and so are the chunks of a row: by one warp, by the four of a block, or by `bul_fold` over what several blocks found. The
// cut depends on positions alone and all ways fold alike, so a row's result does not depend on its company here either.
//
// Here is how a piece is summed and how sums are folded; attend.cuh has the kernels. Keys and values go from the pool into registers as
// tensor-core products want them: 16 bytes of a key for four lanes each, and 8 neighbouring keys' values of one column, which is why a
// block holds its values by columns.

#pragma once

#define PIECE_KEYS 32
#define CHUNK_PIECES 4
#define CHUNK (PIECE_KEYS * CHUNK_PIECES)
#define VECTORS 16             // query vectors of a warp
#define NONE (-INFINITY)
#define NO_ROW 0xffffffffu

// What a block, or a warp of `bul_attend_wide`, has to do.
struct Tile {
    unsigned members;          // where the pairs (row, place among the found) of its rows start
    unsigned rows;             // how many
    unsigned table;            // where the block table of their sequence starts, or of one of them
    unsigned longest;          // keys that the row sees that sees most
    unsigned first, end;       // chunks
    unsigned found;            // whether `bul_fold` follows
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

// Written out, so that all ways of folding round alike.
__device__ inline float folded(const Fold& f, float before, float now) {
    return __fmaf_rn(before, f.before, __fmul_rn(now, f.now));
}

// Sums of one or several pieces for 16 vectors, as products leave them: rows g and g + 8, columns 8n + 2q and the next.
template <int WIDTH>
struct Sums {
    float of[WIDTH / 8][4];
    float most[2], weight[2];
};

template <int WIDTH>
__device__ inline void clear(Sums<WIDTH>& sums) {
    for (int n = 0; n < WIDTH / 8; ++n) {
        for (int i = 0; i < 4; ++i) {
            sums.of[n][i] = 0.0f;
        }
    }
    for (int i = 0; i < 2; ++i) {
        sums.most[i] = NONE;
        sums.weight[i] = 0.0f;
    }
}

template <int WIDTH>
__device__ inline void fold_in(Sums<WIDTH>& sums, const Sums<WIDTH>& now) {
    const Fold f[2] = {fold(sums.most[0], now.most[0]), fold(sums.most[1], now.most[1])};
#pragma unroll
    for (int n = 0; n < WIDTH / 8; ++n) {
        for (int i = 0; i < 4; ++i) {
            sums.of[n][i] = folded(f[i / 2], sums.of[n][i], now.of[n][i]);
        }
    }
    for (int i = 0; i < 2; ++i) {
        sums.weight[i] = folded(f[i], sums.weight[i], now.weight[i]);
        sums.most[i] = f[i].most;
    }
}

// Where the values of a lane's two vectors lie, and how many keys they see.
struct Vectors {
    const __half* q[2];
    unsigned seen[2];          // none without a vector; then it stands for the first one
};

// `first`: the lane's warp's first vector, counted in the tile.
__device__ inline Vectors vectors_of(const Tile& tile, const unsigned* members, const unsigned* positions, const __half* q,
                                     const Shape& shape, unsigned kv_head, unsigned first) {
    const unsigned group = shape.heads / shape.kv_heads;
    Vectors v;
    for (unsigned i = 0; i < 2; ++i) {
        const unsigned wanted = first + threadIdx.x % 32 / LANES + 8 * i;
        const bool is_there = wanted < tile.rows * group;
        const unsigned vector = is_there ? wanted : 0, row = members[tile.members + 2 * (vector / group)];
        v.q[i] = q + ((size_t)row * shape.heads + kv_head * group + vector % group) * shape.head_dim;
        v.seen[i] = is_there ? positions[row] + 1 : 0;
    }
    return v;
}

// How the pool is laid out decides how it is read: in pieces of 16 bytes where heads and blocks are whole pieces, as those of all known
// models are, and half by half otherwise. Reads of pieces have no branches, so that all of them are under way at once.
template <int WIDTH>
__device__ inline bool whole_pieces(const Shape& shape) {
    return shape.head_dim == WIDTH && shape.block_tokens % PIECE == 0;
}

__device__ inline uint4 packed(const __half* halves) {
    const unsigned short* bits = (const unsigned short*)halves;
    return {bits[0] | (unsigned)bits[1] << 16, bits[2] | (unsigned)bits[3] << 16, bits[4] | (unsigned)bits[5] << 16,
            bits[6] | (unsigned)bits[7] << 16};
}

// 8 numbers of a vector or key, from `at` on; zeros beside the head.
template <bool WHOLE>
__device__ inline uint4 read_head(const __half* from, unsigned at, unsigned head_dim) {
    if constexpr (WHOLE) {
        return *(const uint4*)(from + at);
    } else {
        __half halves[PIECE];
        for (unsigned i = 0; i < PIECE; ++i) {
            halves[i] = at + i < head_dim ? from[at + i] : __float2half_rn(0.0f);
        }
        return packed(halves);
    }
}

// The values of 8 keys from position `at` on, by columns; zeros from `end` on, whatever lies there.
struct Values {
    const __half* from;        // of the first column, where they lie in one piece
    uint4 there;               // all ones where a key is there
};

__device__ inline Values find_values(const __half* pool, const unsigned* table, const Shape& shape, unsigned kv_head, unsigned at,
                                     unsigned end) {
    const unsigned tokens = shape.block_tokens, count = at < end ? end - at : 0, first = at < end ? at : 0;
    const size_t plane = in_plane(table[first / tokens], shape.layer, 1, kv_head, shape.layers, shape.kv_heads);
    Values v;
    v.from = pool + plane * tokens * shape.head_dim + first % tokens;
    unsigned there[4];
    for (unsigned i = 0; i < 4; ++i) {
        there[i] = (count > 2 * i ? 0xffffu : 0) | (count > 2 * i + 1 ? 0xffff0000u : 0);
    }
    v.there = {there[0], there[1], there[2], there[3]};
    return v;
}

template <bool WHOLE>
__device__ inline uint4 read_values(const Values& v, const __half* pool, const unsigned* table, const Shape& shape, unsigned kv_head,
                                    unsigned d, unsigned at, unsigned end) {
    if constexpr (WHOLE) {
        const uint4 all = *(const uint4*)(v.from + (size_t)d * shape.block_tokens);
        return {all.x & v.there.x, all.y & v.there.y, all.z & v.there.z, all.w & v.there.w};
    } else {
        __half halves[PIECE];
        for (unsigned i = 0; i < PIECE; ++i) {
            const unsigned key = at + i, tokens = shape.block_tokens;
            halves[i] = __float2half_rn(0.0f);
            if (key < end && d < shape.head_dim) {
                const size_t plane = in_plane(table[key / tokens], shape.layer, 1, kv_head, shape.layers, shape.kv_heads);
                halves[i] = pool[(plane * shape.head_dim + d) * tokens + key % tokens];
            }
        }
        return packed(halves);
    }
}

// Where a piece of keys lies.
struct Piece {
    unsigned at, end;          // keys behind the end are not there
    unsigned key;              // the lane's, of all in the pool
    Values values;             // of keys 8q to 8q + 7
};

// Each lane finds one key. Keys that are not there have weight zero; the last one stands in for them.
__device__ inline Piece find_piece(const __half* pool, const unsigned* table, const Shape& shape, unsigned kv_head, unsigned at,
                                   unsigned end) {
    const unsigned lane = threadIdx.x % 32, position = at + lane < end ? at + lane : end - 1;
    const size_t plane = in_plane(table[position / shape.block_tokens], shape.layer, 0, kv_head, shape.layers, shape.kv_heads);
    const unsigned key = (unsigned)(plane * shape.block_tokens) + position % shape.block_tokens;
    return {at, end, key, find_values(pool, table, shape, kv_head, at + lane % LANES * 8, end)};
}

// Asks for a piece while the launches before this one still run: all but its newest keys were there before the step. 64 bytes at once: of
// the lane's key, and of values, where those are two columns in blocks of 16 tokens.
template <int WIDTH>
__device__ inline void fetch_piece(const Piece& piece, const __half* pool, const Shape& shape) {
#pragma unroll
    for (unsigned d = 0; d < WIDTH; d += SPAN) {
        fetch_ahead(pool + (size_t)piece.key * shape.head_dim + (d < shape.head_dim ? d : 0));
    }
#pragma unroll
    for (unsigned d = 0; d < WIDTH; d += 16) {
        const unsigned column = d + threadIdx.x % 32 / LANES * 2;
        fetch_ahead(piece.values.from + (size_t)(column < shape.head_dim ? column : 0) * shape.block_tokens);
    }
}

// Sums a piece.
template <int WIDTH, bool WHOLE>
__device__ inline void sum_piece(Sums<WIDTH>& sums, const Vectors& v, const __half* pool, const unsigned* table, const Shape& shape,
                                 unsigned kv_head, const Piece& piece, float scale) {
    constexpr unsigned SPANS = WIDTH / SPAN;
    const unsigned lane = threadIdx.x % 32, g = lane / LANES, q = lane % LANES, at = piece.at, end = piece.end, mine = piece.key;

    // Column g of product t is key 8 (g / 2) + 2 t + g % 2, so that lane q is left with the scores of keys 8q to 8q + 7.
    uint4 keys[SPANS][4];
#pragma unroll
    for (unsigned t = 0; t < 4; ++t) {
        const __half* key = pool + (size_t)__shfl_sync(ALL_LANES, mine, g / 2 * 8 + 2 * t + g % 2) * shape.head_dim;
#pragma unroll
        for (unsigned span = 0; span < SPANS; ++span) {
            keys[span][t] = read_head<WHOLE>(key, span * SPAN + q * PIECE, shape.head_dim);
        }
    }
    float scores[4][4];
#pragma unroll
    for (unsigned i = 0; i < 16; ++i) {
        scores[i / 4][i % 4] = 0.0f;
    }
#pragma unroll
    for (unsigned span = 0; span < SPANS; ++span) {
        const unsigned d = span * SPAN + q * PIECE;
        const uint4 low = read_head<WHOLE>(v.q[0], d, shape.head_dim), high = read_head<WHOLE>(v.q[1], d, shape.head_dim);
        multiply_span<4>(scores, low, high, keys[span]);
    }

    // Under way while weights are computed.
    const Values& found = piece.values;
    uint4 values[WIDTH / 8];
#pragma unroll
    for (unsigned n = 0; n < WIDTH / 8; ++n) {
        values[n] = read_values<WHOLE>(found, pool, table, shape, kv_head, n * 8 + g, at + 8 * q, end);
    }
    unsigned weights[4][2];
#pragma unroll
    for (unsigned i = 0; i < 2; ++i) {
        float most = NONE;
#pragma unroll
        for (unsigned j = 0; j < 8; ++j) {
            float& score = scores[j / 2][2 * i + j % 2];
            score = at + 8 * q + j < v.seen[i] ? score * scale : NONE;
            most = score > most ? score : most;
        }
        for (int distance = 1; distance < LANES; distance *= 2) {
            const float other = __shfl_xor_sync(ALL_LANES, most, distance);
            most = other > most ? other : most;
        }
        float weight = 0.0f;
#pragma unroll
        for (unsigned t = 0; t < 4; ++t) {
            float both[2];
            for (unsigned j = 0; j < 2; ++j) {
                const float score = scores[t][2 * i + j];
                // As it will weigh, so that weights sum to one.
                both[j] = __half2float(__float2half_rn(score == NONE ? 0.0f : expf(score - most)));
                weight += both[j];
            }
            weights[t][i] = pair(both[0], both[1]);
        }
        for (int distance = 1; distance < LANES; distance *= 2) {
            weight += __shfl_xor_sync(ALL_LANES, weight, distance);
        }
        sums.most[i] = most;
        sums.weight[i] = weight;
    }
#pragma unroll
    for (unsigned n = 0; n < WIDTH / 8; ++n) {
        for (int i = 0; i < 4; ++i) {
            sums.of[n][i] = 0.0f;
        }
        multiply(sums.of[n], weights[0][0], weights[0][1], weights[1][0], weights[1][1], values[n].x, values[n].y);
    }
#pragma unroll
    for (unsigned n = 0; n < WIDTH / 8; ++n) {
        multiply(sums.of[n], weights[2][0], weights[2][1], weights[3][0], weights[3][1], values[n].z, values[n].w);
    }
}
