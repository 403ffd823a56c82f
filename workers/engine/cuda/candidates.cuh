// The likeliest tokens of each row of logits, so that a row of a large vocabulary stays on the device unless somebody wants all of it.
//
// A vocabulary is cut into parts of 8192 tokens; each part finds its CANDIDATES best, and then the best of these are found and put in
// order. A part also sums exp((logit - most) / temperature), from which follows how much of the whole mass the best hold. Ties go to
// the lower token, as where a row is sorted on the host. The cut depends on the vocabulary alone.

#pragma once

#define CANDIDATES 128
#define PART_TOKENS 8192
#define PART_EACH (PART_TOKENS / 256)
#define PARTS_MAX 32           // times PART_TOKENS: largest vocabulary
#define MERGE_EACH (PARTS_MAX * CANDIDATES / 256)
#define NO_TOKEN 0xffffffffu

// Logits in an order of whole numbers; what is no number comes last.
__device__ inline unsigned rank_of(float logit) {
    if (logit != logit) {
        logit = NONE;
    }
    const unsigned bits = __float_as_uint(logit);
    return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

__device__ inline float logit_of(unsigned rank) {
    return __uint_as_float(rank & 0x80000000u ? rank & 0x7fffffffu : ~rank);
}

// Sum over a block of 256, in all threads. Shared: 16 words; calls use one half and the other in turn, so that one barrier is enough.
__device__ inline unsigned block_count(unsigned count, unsigned* shared, unsigned& turn) {
    unsigned* here = shared + turn++ % 2 * 8;
    count = warp_count(count);
    if (threadIdx.x % 32 == 0) {
        here[threadIdx.x / 32] = count;
    }
    __syncthreads();
    unsigned sum = 0;
#pragma unroll
    for (unsigned i = 0; i < 8; ++i) {
        sum += here[i];
    }
    return sum;
}

// Writes those CANDIDATES of a block's pairs that come first, in the order of threads, as pairs (rank, token). Tokens differ; NO_TOKEN
// with rank 0 is none, and fills up. Shared: 24 words.
template <int EACH>
__device__ inline void select(const unsigned (&ranks)[EACH], const unsigned (&tokens)[EACH], unsigned* to, unsigned* shared) {
    unsigned turn = 0;
    // The largest rank that CANDIDATES reach, bit by bit, until just so many do.
    unsigned bound = 0;
    bool is_exact = false;
    for (unsigned bit = 0x80000000u; bit > 0 && !is_exact; bit >>= 1) {
        unsigned count = 0;
#pragma unroll
        for (unsigned i = 0; i < EACH; ++i) {
            count += ranks[i] >= (bound | bit);
        }
        count = block_count(count, shared, turn);
        bound = count >= CANDIDATES ? bound | bit : bound;
        is_exact = count == CANDIDATES;
    }
    // Of those that have the rank itself, the lowest tokens: all below `limit`.
    unsigned limit = NO_TOKEN;
    if (!is_exact) {
        unsigned above = 0, equal = 0;
#pragma unroll
        for (unsigned i = 0; i < EACH; ++i) {
            above += ranks[i] > bound;
            equal += ranks[i] == bound;
        }
        const unsigned wanted = CANDIDATES - block_count(above, shared, turn);
        if (block_count(equal, shared, turn) > wanted) {
            limit = 0;
            for (unsigned bit = 0x80000000u; bit > 0; bit >>= 1) {
                unsigned count = 0;
#pragma unroll
                for (unsigned i = 0; i < EACH; ++i) {
                    count += ranks[i] == bound && tokens[i] < (limit | bit);
                }
                limit = block_count(count, shared, turn) <= wanted ? limit | bit : limit;
            }
        }
    }
    unsigned mine = 0;
#pragma unroll
    for (unsigned i = 0; i < EACH; ++i) {
        mine += tokens[i] != NO_TOKEN && (ranks[i] > bound || (ranks[i] == bound && tokens[i] < limit));
    }
    // Where this thread's begin: those of the lanes and of the warps before it.
    const unsigned lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    unsigned at = mine;
    for (unsigned distance = 1; distance < 32; distance *= 2) {
        const unsigned before = __shfl_sync(ALL_LANES, at, lane < distance ? lane : lane - distance);
        at += lane < distance ? 0 : before;
    }
    unsigned* warps = shared + 16;
    if (lane == 31) {
        warps[warp] = at;
    }
    __syncthreads();
    at -= mine;
    unsigned all = 0;
    for (unsigned i = 0; i < 8; ++i) {
        at += i < warp ? warps[i] : 0;
        all += warps[i];
    }
#pragma unroll
    for (unsigned i = 0; i < EACH; ++i) {
        if (tokens[i] != NO_TOKEN && (ranks[i] > bound || (ranks[i] == bound && tokens[i] < limit))) {
            to[2 * at] = ranks[i];
            to[2 * at + 1] = tokens[i];
            ++at;
        }
    }
    for (unsigned i = all + threadIdx.x; i < CANDIDATES; i += 256) {
        to[2 * i] = 0;
        to[2 * i + 1] = NO_TOKEN;
    }
    __syncthreads();
}

// Grid (parts, rows), blocks of 256. logits[rows, vocab] -> best[rows, parts, CANDIDATES, 2], mass[rows, parts, 2]: largest logit and
// sum. `coldness`: 1 / temperature of each row.
extern "C" __global__ void __launch_bounds__(256) bul_candidates(const float* logits, const float* coldness, unsigned* best, float* mass,
                                                                 unsigned vocab) {
    BUL_SHARED(memory);
    next_may_begin();
    await_previous();
    unsigned* shared = (unsigned*)memory;
    const unsigned part = blockIdx.x, parts = gridDim.x;
    const size_t row = blockIdx.y;
    unsigned ranks[PART_EACH], tokens[PART_EACH];
    float most = NONE;
#pragma unroll
    for (unsigned i = 0; i < PART_EACH; ++i) {
        // Without a branch, so that all reads are under way at once.
        const unsigned token = part * PART_TOKENS + i * 256 + threadIdx.x;
        ranks[i] = __float_as_uint(logits[row * vocab + (token < vocab ? token : vocab - 1)]);
        tokens[i] = token < vocab ? token : NO_TOKEN;
    }
#pragma unroll
    for (unsigned i = 0; i < PART_EACH; ++i) {
        ranks[i] = tokens[i] == NO_TOKEN ? 0 : rank_of(__uint_as_float(ranks[i]));
        const float logit = logit_of(ranks[i]);
        most = tokens[i] != NO_TOKEN && logit > most ? logit : most;
    }
    float* floats = (float*)memory;
    for (int distance = 16; distance > 0; distance /= 2) {
        const float other = __shfl_xor_sync(ALL_LANES, most, distance);
        most = other > most ? other : most;
    }
    if (threadIdx.x % 32 == 0) {
        floats[threadIdx.x / 32] = most;
    }
    __syncthreads();
    for (unsigned i = 0; i < 8; ++i) {
        most = floats[i] > most ? floats[i] : most;
    }
    __syncthreads();
    float sum = 0.0f;
#pragma unroll
    for (unsigned i = 0; i < PART_EACH; ++i) {
        const float logit = logit_of(ranks[i]);
        sum += tokens[i] == NO_TOKEN || logit == NONE ? 0.0f : expf((logit - most) * coldness[row]);
    }
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) {
        floats[threadIdx.x / 32] = sum;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
        sum = 0.0f;
        for (unsigned i = 0; i < 8; ++i) {
            sum += floats[i];
        }
        mass[(row * parts + part) * 2] = most;
        mass[(row * parts + part) * 2 + 1] = sum;
    }
    __syncthreads();
    select<PART_EACH>(ranks, tokens, best + (row * parts + part) * CANDIDATES * 2, shared);
}

// Grid rows, blocks of 256. to[rows, 1 + 2 * CANDIDATES]: the mass of all tokens where that of the best is one, then the best in their
// order, pairs (logit, token); NO_TOKEN where there are fewer.
extern "C" __global__ void __launch_bounds__(256) bul_best(const unsigned* best, const float* mass, const float* coldness, unsigned* to,
                                                           unsigned parts) {
    BUL_SHARED(memory);
    next_may_begin();
    await_previous();
    unsigned *shared = (unsigned*)memory, *found = shared + 24;
    const size_t row = blockIdx.x;
    const unsigned* from = best + row * parts * CANDIDATES * 2;
    unsigned ranks[MERGE_EACH], tokens[MERGE_EACH];
#pragma unroll
    for (unsigned i = 0; i < MERGE_EACH; ++i) {
        const unsigned at = i * 256 + threadIdx.x;
        const uint2 found = *(const uint2*)(from + 2 * (at < parts * CANDIDATES ? at : 0));
        ranks[i] = found.x;
        tokens[i] = found.y;
    }
#pragma unroll
    for (unsigned i = 0; i < MERGE_EACH; ++i) {
        const bool is_there = i * 256 + threadIdx.x < parts * CANDIDATES;
        ranks[i] = is_there ? ranks[i] : 0;
        tokens[i] = is_there ? tokens[i] : NO_TOKEN;
    }
    select<MERGE_EACH>(ranks, tokens, found, shared);
    to += row * (1 + 2 * CANDIDATES);
    for (unsigned i = threadIdx.x; i < CANDIDATES; i += 256) {
        const unsigned rank = found[2 * i], token = found[2 * i + 1];
        unsigned place = 0;
        for (unsigned j = 0; j < CANDIDATES; ++j) {
            const unsigned other = found[2 * j], whose = found[2 * j + 1];
            // Those that are none stand behind all others, in their order.
            place += other > rank || (other == rank && (whose < token || (whose == token && j < i)));
        }
        to[1 + 2 * place] = __float_as_uint(logit_of(rank));
        to[2 + 2 * place] = token;
    }
    if (threadIdx.x == 0) {
        float most = NONE, sum = 0.0f;
        for (unsigned i = 0; i < parts; ++i) {
            const float part = mass[(row * parts + i) * 2];
            most = part > most ? part : most;
        }
        for (unsigned i = 0; i < parts; ++i) {
            const float part = mass[(row * parts + i) * 2];
            sum += part == NONE ? 0.0f : mass[(row * parts + i) * 2 + 1] * expf((part - most) * coldness[row]);
        }
        to[0] = __float_as_uint(sum);
    }
}
