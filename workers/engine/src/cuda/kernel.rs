//! Names and sizes of the kernels in `cuda/`, as their sources have them.

/// A kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kernel {
    Embed,
    RmsNorm,
    Rotate,
    Swiglu,
    Matmul16,
    Matmul64,
    MatmulWide,
    Attend,
    Fold,
}

impl Kernel {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Embed,
        Self::RmsNorm,
        Self::Rotate,
        Self::Swiglu,
        Self::Matmul16,
        Self::Matmul64,
        Self::MatmulWide,
        Self::Attend,
        Self::Fold,
    ];

    /// Name in the PTX.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embed => "bul_embed",
            Self::RmsNorm => "bul_rms_norm",
            Self::Rotate => "bul_rotate",
            Self::Swiglu => "bul_swiglu",
            Self::Matmul16 => "bul_matmul_16",
            Self::Matmul64 => "bul_matmul_64",
            Self::MatmulWide => "bul_matmul_wide",
            Self::Attend => "bul_attend",
            Self::Fold => "bul_fold",
        }
    }

    /// Threads of a block.
    pub fn threads(self) -> usize {
        match self {
            Self::Rotate => 32,
            Self::MatmulWide | Self::Attend | Self::Fold => 128,
            Self::Embed | Self::RmsNorm | Self::Swiglu | Self::Matmul16 | Self::Matmul64 => 256,
        }
    }
}

/// Rows of matrices and of activations are filled up to multiples of this many halves, and both to multiples of this many rows.
pub(super) const FILL: usize = 64;

/// Query vectors of a tile of `bul_attend`.
pub(super) const VECTORS: usize = 16;

/// Keys that `bul_attend` sums before it folds them in.
pub(super) const CHUNK: usize = 256;

/// Widest head whose tile fits the shared memory that every device gives a block.
pub(super) const HEAD_DIM_MAX: usize = 128;

/// Shared memory of `bul_rms_norm`: a sum for each warp.
pub(super) const NORM_BYTES: usize = 8 * size_of::<f32>();

/// A product's kernel: rows and columns of a block, shared memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product {
    pub kernel: Kernel,
    pub rows: usize,
    pub columns: usize,
    pub shared_bytes: usize,
}

impl Product {
    /// The quickest for this many rows; results are the same from all.
    pub fn of(rows: usize) -> Self {
        match rows {
            0..=16 => Self::ALL[0],
            17..=64 => Self::ALL[1],
            _ => Self::ALL[2],
        }
    }

    /// All of them. Shared memory: tiles of weights and, later and in their place, sums.
    pub const ALL: [Self; 3] = [
        Self { kernel: Kernel::Matmul16, rows: 16, columns: 16, shared_bytes: 8 * 16 * (FILL + 8) * 2 },
        Self { kernel: Kernel::Matmul64, rows: 64, columns: 32, shared_bytes: 8 * 32 * (FILL + 8) * 2 },
        Self { kernel: Kernel::MatmulWide, rows: 64, columns: 64, shared_bytes: 2 * 64 * (FILL + 8) * 2 },
    ];
}

/// Shared memory of `bul_attend`, as `carve` in `cuda/attention.cuh` divides it.
pub(super) fn attend_bytes(head_dim: usize) -> usize {
    const KEYS: usize = 64;
    let padded = head_dim.next_multiple_of(16);
    let halves = (VECTORS + KEYS) * (padded + 8) + VECTORS * (KEYS + 8);
    let floats = VECTORS * (KEYS + 4) + 2 * VECTORS * (padded + 4) + 5 * VECTORS;
    halves * 2 + floats * 4
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_memory_is_what_every_device_has() {
        let most = Product::ALL.iter().map(|p| p.shared_bytes).chain([attend_bytes(HEAD_DIM_MAX)]).max();
        assert!(most.is_some_and(|bytes| bytes <= 48 << 10), "{most:?}");
    }
}
