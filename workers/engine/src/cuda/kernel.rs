//! Names and sizes of the kernels in `cuda/`, as their sources have them.

use half::f16;

/// A kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kernel {
    Embed,
    RmsNorm,
    RmsNormFew,
    Rotate,
    Matmul8By8,
    Matmul16By8,
    Matmul16By32,
    Matmul64,
    MatmulWide64,
    MatmulWide128,
    MatmulSplit,
    Gather,
    Gate8,
    Gate16,
    Gate64,
    GateWide64,
    GateWide128,
    Attend64,
    Attend128,
    AttendWide64,
    AttendWide128,
    Fold,
    Candidates,
    Best,
}

impl Kernel {
    /// All of them, in the order of their declaration.
    pub const ALL: [Self; 24] = [
        Self::Embed,
        Self::RmsNorm,
        Self::RmsNormFew,
        Self::Rotate,
        Self::Matmul8By8,
        Self::Matmul16By8,
        Self::Matmul16By32,
        Self::Matmul64,
        Self::MatmulWide64,
        Self::MatmulWide128,
        Self::MatmulSplit,
        Self::Gather,
        Self::Gate8,
        Self::Gate16,
        Self::Gate64,
        Self::GateWide64,
        Self::GateWide128,
        Self::Attend64,
        Self::Attend128,
        Self::AttendWide64,
        Self::AttendWide128,
        Self::Fold,
        Self::Candidates,
        Self::Best,
    ];

    /// Name in the PTX.
    pub fn name(self) -> &'static str {
        match self {
            Self::Embed => "bul_embed",
            Self::RmsNorm => "bul_rms_norm",
            Self::RmsNormFew => "bul_rms_norm_few",
            Self::Rotate => "bul_rotate",
            Self::Matmul8By8 => "bul_matmul_8_8",
            Self::Matmul16By8 => "bul_matmul_16_8",
            Self::Matmul16By32 => "bul_matmul_16_32",
            Self::Matmul64 => "bul_matmul_64",
            Self::MatmulWide64 => "bul_matmul_wide_64",
            Self::MatmulWide128 => "bul_matmul_wide_128",
            Self::MatmulSplit => "bul_matmul_split",
            Self::Gather => "bul_gather",
            Self::Gate8 => "bul_gate_8",
            Self::Gate16 => "bul_gate_16",
            Self::Gate64 => "bul_gate_64",
            Self::GateWide64 => "bul_gate_wide_64",
            Self::GateWide128 => "bul_gate_wide_128",
            Self::Attend64 => "bul_attend_64",
            Self::Attend128 => "bul_attend_128",
            Self::AttendWide64 => "bul_attend_wide_64",
            Self::AttendWide128 => "bul_attend_wide_128",
            Self::Fold => "bul_fold",
            Self::Candidates => "bul_candidates",
            Self::Best => "bul_best",
        }
    }

    /// Threads of a block.
    pub fn threads(self) -> usize {
        match self {
            Self::Rotate => 32,
            Self::Attend64 | Self::Attend128 | Self::AttendWide64 | Self::AttendWide128 | Self::Fold => 128,
            _ => 256,
        }
    }
}

/// Rows of matrices and of activations are filled up to multiples of this many halves, and matrices to multiples of this many rows.
pub(super) const FILL: usize = 64;

/// Activations have room for a multiple of this many rows.
pub(super) const FILL_ROWS: usize = 128;

/// Query vectors of a tile of `bul_attend`.
pub(super) const VECTORS: usize = 16;

/// Query vectors of a tile of `bul_attend_wide`: a warp each.
pub(super) const VECTORS_WIDE: usize = 4 * VECTORS;

/// Keys that a block of `bul_attend` sums before they are folded in.
pub(super) const CHUNK: usize = 128;

/// Widest head that the kernels of attention compute.
pub(super) const HEAD_DIM_MAX: usize = 128;

/// Shared memory of a norm: a sum for each warp.
pub(super) const NORM_BYTES: usize = 8 * size_of::<f32>();

/// The quicker norm of this many rows; results are the same from both.
pub(super) fn norm(rows: usize) -> Kernel {
    if rows <= 16 { Kernel::RmsNormFew } else { Kernel::RmsNorm }
}

/// Ranges that the inputs of a product are cut into.
pub(super) const RANGES: usize = 8;

/// Shared memory that a block may have on every device of capability 8.0 and newer, once it was asked for.
pub(super) const SHARED_BYTES_MAX: usize = 96 << 10;

/// Blocks from which on a device is busy.
const BLOCKS_ENOUGH: usize = 128;

/// A product's kernel: rows and columns of a block, shared memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct Product {
    pub kernel: Kernel,
    pub rows: usize,
    pub columns: usize,
    pub shared_bytes: usize,
}

impl Product {
    /// The quickest for this many rows and outputs; results are the same from all. Where it is `MatmulSplit`, `Gather` follows.
    pub fn of(rows: usize, outputs: usize) -> Self {
        let [few, small, narrow, middle, wide, widest, split] = Self::ALL;
        match rows {
            0..=8 if outputs <= BLOCKS_ENOUGH * 64 => few,
            0..=16 if outputs <= BLOCKS_ENOUGH * 64 => small,
            0..=16 => narrow,
            17..=64 => middle,
            _ if widest.blocks(rows, outputs) >= BLOCKS_ENOUGH => widest,
            _ if wide.blocks(rows, outputs) >= BLOCKS_ENOUGH / 2 => wide,
            _ => split,
        }
    }

    /// The quickest of those that weigh gates; `outputs`: both halves.
    pub fn gated(rows: usize, outputs: usize) -> Self {
        let [few, narrow, middle, wide, widest] = Self::GATED;
        match rows {
            0..=8 => few,
            9..=16 => narrow,
            17..=64 => middle,
            _ if widest.blocks(rows, outputs / 2) >= BLOCKS_ENOUGH => widest,
            _ => wide,
        }
    }

    /// Whether `Gather` follows.
    pub fn is_split(self) -> bool {
        self.kernel == Kernel::MatmulSplit
    }

    fn blocks(self, rows: usize, outputs: usize) -> usize {
        rows.div_ceil(self.rows) * outputs.div_ceil(self.columns)
    }

    /// Room for the sums of a tile of 16 rows, or of fewer, in as many columns of the weights as `sums` says.
    const fn narrow(kernel: Kernel, rows: usize, columns: usize, sums: usize) -> Self {
        let tile = if rows < 16 { rows } else { 16 };
        Self { kernel, rows, columns, shared_bytes: RANGES * tile * sums * size_of::<f32>() }
    }

    /// Steps of 64 inputs of rows and of 128 columns, as many as there is room for.
    const fn wide(kernel: Kernel, rows: usize, columns: usize) -> Self {
        let stage = (rows + 128) * 64 * size_of::<f16>();
        Self { kernel, rows, columns, shared_bytes: SHARED_BYTES_MAX / stage * stage }
    }

    /// Plain products.
    pub const ALL: [Self; 7] = [
        Self::narrow(Kernel::Matmul8By8, 8, 8, 8),
        Self::narrow(Kernel::Matmul16By8, 16, 8, 8),
        Self::narrow(Kernel::Matmul16By32, 16, 32, 32),
        Self::narrow(Kernel::Matmul64, 64, 16, 16),
        Self::wide(Kernel::MatmulWide64, 64, 128),
        Self::wide(Kernel::MatmulWide128, 128, 128),
        Self::wide(Kernel::MatmulSplit, 64, 128),
    ];

    /// Products that weigh gates; columns are those of the result.
    pub const GATED: [Self; 5] = [
        Self::narrow(Kernel::Gate8, 8, 8, 16),
        Self::narrow(Kernel::Gate16, 16, 8, 16),
        Self::narrow(Kernel::Gate64, 64, 8, 16),
        Self::wide(Kernel::GateWide64, 64, 64),
        Self::wide(Kernel::GateWide128, 128, 64),
    ];
}

/// The kernels of attention for a width of heads, for few vectors and for many, and their shared memory.
pub(super) fn attend(head_dim: usize) -> [(Kernel, usize); 2] {
    let (width, few, many) = match head_dim {
        0..=64 => (64, Kernel::Attend64, Kernel::AttendWide64),
        _ => (128, Kernel::Attend128, Kernel::AttendWide128),
    };
    // Of each of four pieces the sums, 8 floats apart, and the two ends of each vector; and of all vectors the sums so far.
    let found = (4 * VECTORS * (width + 8 + 2) + VECTORS * width) * size_of::<f32>();
    [(few, found), (many, VECTORS_WIDE * width * size_of::<f32>())]
}

/// Likeliest tokens that a row of logits comes down to.
pub(crate) const CANDIDATES: usize = 128;

/// Tokens of a part of the vocabulary.
const PART_TOKENS: usize = 8192;

/// Most parts that `bul_best` looks at.
const PARTS_MAX: usize = 32;

/// Shared memory of `bul_candidates` and `bul_best`.
pub(super) const CANDIDATES_BYTES: usize = (16 + 8) * size_of::<u32>();
pub(super) const BEST_BYTES: usize = CANDIDATES_BYTES + 2 * CANDIDATES * size_of::<u32>();

/// Words of what `bul_best` writes for a row.
pub(super) const BEST_WORDS: usize = 1 + 2 * CANDIDATES;

/// Parts of a vocabulary; none when it is too large for the kernels.
pub(super) fn parts(vocab: usize) -> Option<usize> {
    Some(vocab.div_ceil(PART_TOKENS)).filter(|parts| *parts <= PARTS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shared_memory_is_what_every_device_has() {
        let products = Product::ALL.iter().chain(&Product::GATED).map(|p| p.shared_bytes);
        let attention = [16, 64, 80, HEAD_DIM_MAX].into_iter().flat_map(attend).map(|(_, bytes)| bytes);
        let most = products.chain(attention).chain([CANDIDATES_BYTES, BEST_BYTES]).max();
        assert!(most.is_some_and(|bytes| bytes <= SHARED_BYTES_MAX), "{most:?}");
    }

    #[test]
    fn every_kernel_has_its_place_and_every_product_is_chosen_for_some_size() {
        for (place, kernel) in Kernel::ALL.iter().enumerate() {
            assert_eq!(*kernel as usize, place);
        }
        let sizes =
            || [1, 9, 16, 64, 65, 256, 2048].into_iter().flat_map(|r| [1024, 4096, 151_936].map(|o| (r, o)));
        for known in Product::ALL {
            assert!(sizes().any(|(r, o)| Product::of(r, o).kernel == known.kernel), "{known:?}");
        }
        for known in Product::GATED {
            assert!(sizes().any(|(r, o)| Product::gated(r, o).kernel == known.kernel), "{known:?}");
        }
    }
}
