// Between the matrix products: embedding, norms, rotation with the write into the pool.

#pragma once

// x[row, width] = table[tokens[row], pitch]. One block per row.
extern "C" __global__ void bul_embed(const __half* table, const unsigned* tokens, float* x, unsigned width,
                                     unsigned pitch) {
    next_may_begin();
    const __half* from = table + (size_t)tokens[blockIdx.x] * pitch;
    await_previous();
    float* to = x + (size_t)blockIdx.x * width;
    for (unsigned i = threadIdx.x; i < width; i += blockDim.x) {
        to[i] = __half2float(from[i]);
    }
}

// out[row, pitch] = x[pick[row]] / rms(x[pick[row]]) * weight (Zhang and Sennrich 2019); without `pick`, of the row itself. One block of
// 256 per row; 32 bytes of shared memory. A thread keeps the first KEPT of its numbers in registers, so that a row is read once and all
// at once; wider rows are read again. The sum is the same whatever is kept.
template <int KEPT>
__device__ inline void norm_row(const float* x, const float* weight, const unsigned* pick, __half* out, unsigned width, unsigned pitch,
                                float epsilon) {
    BUL_SHARED(memory);
    float* sums = (float*)memory;
    next_may_begin();
    const unsigned row = pick ? pick[blockIdx.x] : blockIdx.x;
    const float* from = x + (size_t)row * width;
    float kept[KEPT], weights[KEPT], sum = 0.0f;
#pragma unroll
    for (unsigned i = 0; i < KEPT; ++i) {
        const unsigned at = i * 256 + threadIdx.x;
        weights[i] = i * 256 < width ? weight[at < width ? at : 0] : 0.0f;
    }
    await_previous();
#pragma unroll
    for (unsigned i = 0; i < KEPT; ++i) {
        const unsigned at = i * 256 + threadIdx.x;
        kept[i] = i * 256 < width ? from[at < width ? at : 0] : 0.0f;
    }
#pragma unroll
    for (unsigned i = 0; i < KEPT; ++i) {
        sum = i * 256 + threadIdx.x < width ? __fmaf_rn(kept[i], kept[i], sum) : sum;
    }
    for (unsigned i = KEPT * 256 + threadIdx.x; i < width; i += 256) {
        sum = __fmaf_rn(from[i], from[i], sum);
    }
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) {
        sums[threadIdx.x / 32] = sum;
    }
    __syncthreads();
    sum = 0.0f;
#pragma unroll
    for (unsigned i = 0; i < 8; ++i) {
        sum += sums[i];
    }
    const float scale = 1.0f / sqrtf(sum / (float)width + epsilon);
    __half* to = out + (size_t)blockIdx.x * pitch;
#pragma unroll
    for (unsigned i = 0; i < KEPT; ++i) {
        const unsigned at = i * 256 + threadIdx.x;
        if (at < width) {
            to[at] = narrow(kept[i] * scale * weights[i]);
        }
    }
    for (unsigned i = KEPT * 256 + threadIdx.x; i < width; i += 256) {
        to[i] = narrow(from[i] * scale * weight[i]);
    }
}

#define NORM_ARGUMENTS \
    const float *x, const float *weight, const unsigned *pick, __half *out, unsigned width, unsigned pitch, float epsilon

// Few registers, for the sake of many rows beside each other.
extern "C" __global__ void bul_rms_norm(NORM_ARGUMENTS) {
    norm_row<4>(x, weight, pick, out, width, pitch, epsilon);
}

// Few rows, of which nothing but their own reads takes time.
extern "C" __global__ void bul_rms_norm_few(NORM_ARGUMENTS) {
    norm_row<10>(x, weight, pick, out, width, pitch, epsilon);
}

// Number of a plane of keys (`kind` 0), [block_tokens, head_dim], or values (1), [head_dim, block_tokens], in the pool,
// [blocks, layers, 2, kv_heads].
__device__ inline size_t in_plane(unsigned block, unsigned layer, unsigned kind, unsigned head, unsigned layers, unsigned kv_heads) {
    return (((size_t)block * layers + layer) * 2 + kind) * kv_heads + head;
}

// From qkv[rows, (heads + 2 kv_heads) head_dim]: queries into q[rows, heads, head_dim], keys and values into the pool at slots[row]
// (block times block_tokens plus slot). Queries and keys are normed per head where there is a weight for it (Qwen3) and rotated by
// their position (Su et al. 2021), in pairs (i, i + half), or (2i, 2i + 1) when `adjacent`. One warp per row and head:
// grid (rows, heads + 2 kv_heads).
extern "C" __global__ void bul_rotate(const float* qkv, const unsigned* positions, const unsigned* slots, const float* frequencies,
                                      const float* q_norm, const float* k_norm, __half* q, __half* pool, unsigned heads,
                                      unsigned kv_heads, unsigned head_dim, unsigned layer, unsigned layers, unsigned block_tokens,
                                      unsigned adjacent, float epsilon) {
    next_may_begin();
    const unsigned row = blockIdx.x, lane = threadIdx.x, half = head_dim / 2;
    const bool is_query = blockIdx.y < heads;
    const bool is_value = blockIdx.y >= heads + kv_heads;
    const float* from = qkv + ((size_t)row * (heads + 2 * kv_heads) + blockIdx.y) * head_dim;
    const unsigned head = is_query ? blockIdx.y : (blockIdx.y - heads) % kv_heads;
    __half* to = q + ((size_t)row * heads + head) * head_dim;
    unsigned stride = 1;
    if (!is_query) {
        const unsigned block = slots[row] / block_tokens, slot = slots[row] % block_tokens;
        to = pool + in_plane(block, layer, is_value ? 1 : 0, head, layers, kv_heads) * block_tokens * head_dim;
        to += is_value ? slot : slot * head_dim;
        stride = is_value ? block_tokens : 1;
    }
    const float* weight = is_value ? nullptr : is_query ? q_norm : k_norm;
    // At most HEAD_DIM_MAX / 2 pairs, two of a lane; all are read at once, what is known beforehand before it is waited for the rest.
    float a[2], b[2], weights[2][2], turn[2], sum = 0.0f;
    const float position = (float)positions[row];
#pragma unroll
    for (unsigned i = 0; i < 2; ++i) {
        const unsigned at = i * 32 + lane < half ? i * 32 + lane : 0;
        turn[i] = frequencies[at];
        weights[i][0] = weight ? weight[adjacent ? 2 * at : at] : 1.0f;
        weights[i][1] = weight ? weight[adjacent ? 2 * at + 1 : at + half] : 1.0f;
    }
    await_previous();
#pragma unroll
    for (unsigned i = 0; i < 2; ++i) {
        const unsigned at = i * 32 + lane < half ? i * 32 + lane : 0;
        a[i] = from[adjacent ? 2 * at : at];
        b[i] = from[adjacent ? 2 * at + 1 : at + half];
    }
#pragma unroll
    for (unsigned i = 0; i < 2; ++i) {
        sum += i * 32 + lane < half ? a[i] * a[i] + b[i] * b[i] : 0.0f;
    }
    const float scale = weight ? 1.0f / sqrtf(warp_sum(sum) / (float)head_dim + epsilon) : 1.0f;
#pragma unroll
    for (unsigned i = 0; i < 2; ++i) {
        const unsigned at = i * 32 + lane;
        if (at >= half) {
            break;
        }
        float x = a[i] * scale * weights[i][0], y = b[i] * scale * weights[i][1];
        if (!is_value) {
            const float angle = position * turn[i];
            const float c = cosf(angle), s = sinf(angle), rotated = x * c - y * s;
            y = y * c + x * s;
            x = rotated;
        }
        to[(adjacent ? 2 * at : at) * stride] = narrow(x);
        to[(adjacent ? 2 * at + 1 : at + half) * stride] = narrow(y);
    }
}
