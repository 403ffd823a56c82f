// Everything between the matrix products: embedding, norms, rotation with the write into the pool, the gate.

#pragma once

// x[row, width] = table[tokens[row], pitch]. One block per row.
extern "C" __global__ void bul_embed(const __half* table, const unsigned* tokens, float* x, unsigned width,
                                     unsigned pitch) {
    const __half* from = table + (size_t)tokens[blockIdx.x] * pitch;
    float* to = x + (size_t)blockIdx.x * width;
    for (unsigned i = threadIdx.x; i < width; i += blockDim.x) {
        to[i] = __half2float(from[i]);
    }
}

// out[row, pitch] = x[pick[row]] / rms(x[pick[row]]) * weight (Zhang and Sennrich 2019); without `pick`, of the row itself. One
// block of 256 per row; 32 bytes of shared memory.
extern "C" __global__ void bul_rms_norm(const float* x, const float* weight, const unsigned* pick, __half* out, unsigned width,
                                        unsigned pitch, float epsilon) {
    BUL_SHARED(memory);
    float* sums = (float*)memory;
    const unsigned row = pick ? pick[blockIdx.x] : blockIdx.x;
    const float* from = x + (size_t)row * width;
    float sum = 0.0f;
    for (unsigned i = threadIdx.x; i < width; i += blockDim.x) {
        sum += from[i] * from[i];
    }
    sum = warp_sum(sum);
    if (threadIdx.x % 32 == 0) {
        sums[threadIdx.x / 32] = sum;
    }
    __syncthreads();
    sum = 0.0f;
    for (unsigned i = 0; i < blockDim.x / 32; ++i) {
        sum += sums[i];
    }
    const float scale = 1.0f / sqrtf(sum / (float)width + epsilon);
    __half* to = out + (size_t)blockIdx.x * pitch;
    for (unsigned i = threadIdx.x; i < width; i += blockDim.x) {
        to[i] = narrow(from[i] * scale * weight[i]);
    }
}

// Place of a key (`kind` 0) or value (1) in the pool, [blocks, layers, 2, kv_heads, block_tokens, head_dim].
__device__ inline size_t in_pool(unsigned block, unsigned slot, unsigned layer, unsigned kind, unsigned head, unsigned layers,
                                 unsigned kv_heads, unsigned block_tokens, unsigned head_dim) {
    const size_t plane = (((size_t)block * layers + layer) * 2 + kind) * kv_heads + head;
    return (plane * block_tokens + slot) * head_dim;
}

// From qkv[rows, (heads + 2 kv_heads) head_dim]: queries into q[rows, heads, head_dim], keys and values into the pool at slots[row]
// (block times block_tokens plus slot). Queries and keys are normed per head where there is a weight for it (Qwen3) and rotated by
// their position (Su et al. 2021), in pairs (i, i + half), or (2i, 2i + 1) when `adjacent`. One warp per row and head:
// grid (rows, heads + 2 kv_heads).
extern "C" __global__ void bul_rotate(const float* qkv, const unsigned* positions, const unsigned* slots, const float* frequencies,
                                      const float* q_norm, const float* k_norm, __half* q, __half* pool, unsigned heads,
                                      unsigned kv_heads, unsigned head_dim, unsigned layer, unsigned layers, unsigned block_tokens,
                                      unsigned adjacent, float epsilon) {
    const unsigned row = blockIdx.x, lane = threadIdx.x, half = head_dim / 2;
    const bool is_query = blockIdx.y < heads;
    const bool is_value = blockIdx.y >= heads + kv_heads;
    const float* from = qkv + ((size_t)row * (heads + 2 * kv_heads) + blockIdx.y) * head_dim;
    const unsigned head = is_query ? blockIdx.y : (blockIdx.y - heads) % kv_heads;
    __half* to = q + ((size_t)row * heads + head) * head_dim;
    if (!is_query) {
        const unsigned block = slots[row] / block_tokens, slot = slots[row] % block_tokens;
        to = pool + in_pool(block, slot, layer, is_value ? 1 : 0, head, layers, kv_heads, block_tokens, head_dim);
    }
    const float* weight = is_value ? nullptr : is_query ? q_norm : k_norm;
    float scale = 1.0f;
    if (weight) {
        float sum = 0.0f;
        for (unsigned i = lane; i < head_dim; i += 32) {
            sum += from[i] * from[i];
        }
        scale = 1.0f / sqrtf(warp_sum(sum) / (float)head_dim + epsilon);
    }
    for (unsigned i = lane; i < half; i += 32) {
        const unsigned first = adjacent ? 2 * i : i, second = adjacent ? 2 * i + 1 : i + half;
        float a = from[first], b = from[second];
        if (weight) {
            a = a * scale * weight[first];
            b = b * scale * weight[second];
        }
        if (!is_value) {
            const float angle = (float)positions[row] * frequencies[i];
            const float c = cosf(angle), s = sinf(angle), rotated = a * c - b * s;
            b = b * c + a * s;
            a = rotated;
        }
        to[first] = narrow(a);
        to[second] = narrow(b);
    }
}

// out[row, pitch] = silu(gate) * up for both[row, 2 width], gates first (Shazeer 2020). Grid (rows, parts of a row).
extern "C" __global__ void bul_swiglu(const float* both, __half* out, unsigned width, unsigned pitch) {
    const unsigned i = blockIdx.y * blockDim.x + threadIdx.x;
    if (i >= width) {
        return;
    }
    const float* from = both + (size_t)blockIdx.x * 2 * width;
    const float gate = from[i];
    out[(size_t)blockIdx.x * pitch + i] = narrow(gate / (1.0f + expf(-gate)) * from[width + i]);
}
