//! Kernels for tiles with AMX, whose one instruction multiplies sixteen rows with sixteen outputs.
//!
//! A tile of weights has four inputs of sixteen outputs in each of its rows, as two panels side by
//! side have them, but signed. Sums leave the tile registers through memory and are scaled there
//! with AVX-512. Rust has no stable intrinsics for tiles: each group of products is one piece of
//! assembly that leaves nothing in them.
//! Intel SDM volume 1, chapter 18. Called by `tiles`.

#![expect(
    unsafe_code,
    reason = "tile instructions, vector loads by pointer, calls into functions with AVX-512"
)]
#![expect(
    clippy::needless_range_loop,
    reason = "iterator adapters are functions without vector instructions"
)]

use std::arch::asm;
use std::arch::x86_64::*;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::sync::OnceLock;

use super::Vnni;
use super::pack::{Q4_0, Q4K, Q8Quads};
use super::tiles::{RowTile, Rows32, Rows256, TILE, Tile, Tiled};
use super::vnni::{halves, join, join_eight, join_half, prefetch};

/// Proof that this processor has tiles and that the system lets this process use them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Amx(());

impl Amx {
    /// `None` where an instruction set is missing or the system refuses.
    pub fn detect() -> Option<Self> {
        static ALLOWED: OnceLock<bool> = OnceLock::new();
        let allowed = *ALLOWED.get_or_init(|| Vnni::detect().is_some() && has_tiles() && is_allowed());
        allowed.then_some(Self(()))
    }

    /// Asks for the cache line of a sum that will be written. Stores leave the processor in order: one
    /// that waits for its line holds up those of the tiles behind it.
    pub fn claim(self, sum: &f32) {
        // SAFETY: `Amx` exists only where the instruction does; it reads and writes nothing.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(std::ptr::from_ref(sum).cast()) };
    }

    /// Runs `products` with this thread's tile registers set up, and clears them afterwards: the
    /// system then has eight KiB less to keep whenever the thread pauses.
    pub fn with_tiles<T>(self, products: impl FnOnce(&Ready) -> T) -> T {
        struct Release;
        impl Drop for Release {
            fn drop(&mut self) {
                // SAFETY: `Amx` exists only where the instruction does.
                unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
            }
        }
        // SAFETY: as above; 64 readable bytes in the layout of palette 1.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const SHAPES, options(readonly, nostack, preserves_flags));
        }
        let _release = Release;
        products(&Ready(PhantomData))
    }
}

/// Proof that this thread's tile registers are set up.
pub(super) struct Ready(PhantomData<*const ()>);

/// Bits of leaf 7: tiles, and their products of bytes.
fn has_tiles() -> bool {
    const BOTH: u32 = 1 << 24 | 1 << 25;
    __cpuid_count(7, 0).edx & BOTH == BOTH
}

/// Asks for the tile registers, which Linux gives only to processes that do: signal frames grow.
#[cfg(target_os = "linux")]
fn is_allowed() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const TILE_DATA: libc::c_long = 18;
    // SAFETY: two numbers, no memory; it may be refused.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn is_allowed() -> bool {
    false
}

#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// Tiles 0 to 3: sums. 4 and 5: 32 values of sixteen rows. 6 and 7: weights for them.
static SHAPES: Shapes = Shapes {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    row_bytes: [64, 64, 64, 64, 32, 32, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 8, 8, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// 32 inputs of sixteen outputs: `[quad][output · 4 + input]`.
type Quads = [[i8; 64]; 8];

/// Products between which sums are scaled: stores of four tiles are under way together, and have
/// arrived when the first of them is read.
const GROUP: usize = 4;

/// Sums of [`GROUP`] times 32 products: rows of `x` are `ROW` bytes apart, products `X` bytes in `x`
/// and `W` bytes in `w`.
///
/// # Safety
/// Only within `with_tiles`. All of that has to lie behind the pointers.
#[inline(always)]
unsafe fn products<const ROW: usize, const X: usize, const W: usize>(
    x: *const i32,
    w: *const Quads,
    out: &mut MaybeUninit<[Tile<i32>; GROUP]>,
) -> &[Tile<i32>; GROUP] {
    // SAFETY: as the caller says, with the shapes above.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "tileloadd tmm4, [{x} + {row}]",
            "tileloadd tmm6, [{w} + {line}]",
            "tdpbssd tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{x} + {row} + {x1}]",
            "tileloadd tmm7, [{w} + {line} + {w1}]",
            "tdpbssd tmm1, tmm5, tmm7",
            "tileloadd tmm4, [{x} + {row} + 2 * {x1}]",
            "tileloadd tmm6, [{w} + {line} + 2 * {w1}]",
            "tdpbssd tmm2, tmm4, tmm6",
            "tileloadd tmm5, [{x} + {row} + 3 * {x1}]",
            "tileloadd tmm7, [{w} + {line} + 3 * {w1}]",
            "tdpbssd tmm3, tmm5, tmm7",
            "tilestored [{out} + {line}], tmm0",
            "tilestored [{out} + {line} + 1024], tmm1",
            "tilestored [{out} + {line} + 2048], tmm2",
            "tilestored [{out} + {line} + 3072], tmm3",
            x = in(reg) x,
            row = in(reg) ROW,
            x1 = const X,
            w = in(reg) w,
            w1 = const W,
            line = in(reg) 64_usize,
            out = in(reg) out.as_mut_ptr(),
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, preserves_flags),
        );
        // All of it was stored.
        out.assume_init_ref()
    }
}

macro_rules! tiled {
    ($($format:ty, $rows:ty, $columns:ty, $unpack:ident, $multiply:ident);*) => {$(
        impl Tiled for $format {
            type Rows = $rows;
            type Columns = $columns;
            const ROOM: $columns = <$columns>::ROOM;

            fn unpack(_: Amx, pair: [&Self; 2], blocks: usize, out: &mut $columns) {
                // SAFETY: `Amx` exists only where the features were detected.
                unsafe { $unpack(pair, blocks, out) }
            }

            fn multiply(_: &Ready, rows: &[$rows], columns: &[$columns], sums: &mut Tile<f32>) {
                // SAFETY: `Ready` is made of an `Amx`, and only while the registers are set up.
                unsafe { $multiply(rows, columns, sums) }
            }
        }
    )*};
}

tiled!(
    Q8Quads, Rows32, Columns32, unpack_q8, multiply_32;
    Q4_0, Rows32, Columns32, unpack_q4_0, multiply_32;
    Q4K, Rows256, Columns256, unpack_q4k, multiply_256
);

/// 32 inputs of sixteen outputs.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Columns32 {
    q: Quads,
    d: [f32; TILE],
}

impl Columns32 {
    const ROOM: Self = Self { q: [[0; 64]; 8], d: [0.0; TILE] };
}

/// 256 inputs of sixteen outputs in eight parts.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Columns256 {
    /// Values less 8, so that a part's sum of products stays within 16 bits: 32 · 8 · 127.
    q: [Quads; 8],
    scales: [[i32; TILE]; 8],
    /// Eight times the scales of two parts each, as 16-bit numbers: what the 8 took.
    eights: [[i32; TILE]; 4],
    /// The minima of two parts each, likewise.
    mins: [[i32; TILE]; 4],
    d: [f32; TILE],
    m: [f32; TILE],
}

impl Columns256 {
    const ROOM: Self = Self {
        q: [[[0; 64]; 8]; 8],
        scales: [[0; TILE]; 8],
        eights: [[0; TILE]; 4],
        mins: [[0; TILE]; 4],
        d: [0.0; TILE],
        m: [0.0; TILE],
    };
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn load(values: &[i32; TILE]) -> __m512i {
    // SAFETY: 64 readable bytes; the instruction asks for no alignment.
    unsafe { _mm512_loadu_si512(values.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn load_floats(values: &[f32; TILE]) -> __m512 {
    // SAFETY: 64 readable bytes; the instruction asks for no alignment.
    unsafe { _mm512_loadu_ps(values.as_ptr()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn store<T>(out: &mut [T], vector: __m512i) {
    const { assert!(64 % size_of::<T>() == 0) };
    assert_eq!(size_of_val(out), 64);
    // SAFETY: 64 writable bytes of numbers; the instruction asks for no alignment.
    unsafe { _mm512_storeu_si512(out.as_mut_ptr().cast(), vector) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn store_floats(out: &mut [f32; TILE], vector: __m512) {
    // SAFETY: 64 writable bytes; the instruction asks for no alignment.
    unsafe { _mm512_storeu_ps(out.as_mut_ptr(), vector) }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn unpack_q8([low, high]: [&Q8Quads; 2], blocks: usize, out: &mut Columns32) {
    prefetch([low, high], blocks, 0, 1);
    let raised = _mm512_set1_epi8(-128);
    for quad in 0..8 {
        store(&mut out.q[quad], _mm512_xor_si512(join(&low.q[quad], &high.q[quad]), raised));
    }
    store_floats(&mut out.d, halves(&low.d, &high.d));
}

/// 32 values of four bits each, less 8.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn unpack_nibbles(low: &[[u8; 32]; 4], high: &[[u8; 32]; 4], out: &mut Quads) {
    let (mask, eight) = (_mm512_set1_epi8(15), _mm512_set1_epi8(8));
    for quad in 0..4 {
        let both = join(&low[quad], &high[quad]);
        let upper = _mm512_and_si512(_mm512_srli_epi16::<4>(both), mask);
        store(&mut out[quad], _mm512_sub_epi8(_mm512_and_si512(both, mask), eight));
        store(&mut out[quad + 4], _mm512_sub_epi8(upper, eight));
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn unpack_q4_0([low, high]: [&Q4_0; 2], blocks: usize, out: &mut Columns32) {
    prefetch([low, high], blocks, 0, 1);
    unpack_nibbles(&low.q, &high.q, &mut out.q);
    store_floats(&mut out.d, halves(&low.d, &high.d));
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn unpack_q4k([low, high]: [&Q4K; 2], blocks: usize, out: &mut Columns256) {
    for part in 0..8 {
        prefetch([low, high], blocks, part, 8);
        unpack_nibbles(&low.q[part], &high.q[part], &mut out.q[part]);
        let scales = _mm512_cvtepu8_epi32(join_eight(&low.scales[part], &high.scales[part]));
        store(&mut out.scales[part], scales);
    }
    for pair in 0..4 {
        let (first, second) = (load(&out.scales[pair * 2]), load(&out.scales[pair * 2 + 1]));
        let both = _mm512_or_si512(first, _mm512_slli_epi32::<16>(second));
        store(&mut out.eights[pair], _mm512_slli_epi32::<3>(both));
        let mins = _mm512_cvtepu8_epi16(join_half(&low.mins[pair], &high.mins[pair]));
        store(&mut out.mins[pair], mins);
    }
    store_floats(&mut out.d, halves(&low.d, &high.d));
    store_floats(&mut out.m, halves(&low.m, &high.m));
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn multiply_32(rows: &[Rows32], columns: &[Columns32], sums: &mut Tile<f32>) {
    let mut out = [_mm512_setzero_ps(); TILE];
    for m in 0..TILE {
        out[m] = load_floats(&sums.0[m]);
    }
    let ((rows, last_rows), (columns, last)) = (rows.as_chunks::<GROUP>(), columns.as_chunks::<GROUP>());
    for i in 0..columns.len().min(rows.len()) {
        group_32(&rows[i], &columns[i], GROUP, &mut out);
    }
    if !last.is_empty() {
        let (mut rows, mut columns) = ([Rows32::ZERO; GROUP], [Columns32::ROOM; GROUP]);
        rows[..last.len()].copy_from_slice(last_rows);
        columns[..last.len()].copy_from_slice(last);
        group_32(&rows, &columns, last.len(), &mut out);
    }
    for m in 0..TILE {
        store_floats(&mut sums.0[m], out[m]);
    }
}

/// Adds the products of the first `count` blocks.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn group_32(rows: &[Rows32; GROUP], columns: &[Columns32; GROUP], count: usize, out: &mut [__m512; TILE]) {
    let mut whole = MaybeUninit::uninit();
    let (x, w) = (rows[0].quads.as_ptr().cast(), &raw const columns[0].q);
    // SAFETY: `GROUP` blocks of both.
    let whole =
        unsafe { products::<32, { size_of::<Rows32>() }, { size_of::<Columns32>() }>(x, w, &mut whole) };
    for b in 0..count {
        let d = load_floats(&columns[b].d);
        for m in 0..TILE {
            let scale = _mm512_mul_ps(d, _mm512_set1_ps(rows[b].scale[m]));
            out[m] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(load(&whole[b].0[m])), scale, out[m]);
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn multiply_256(rows: &[Rows256], columns: &[Columns256], sums: &mut Tile<f32>) {
    for (rows, columns) in rows.iter().zip(columns) {
        let (mut first, mut second) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        let x = rows.quads[0].as_ptr();
        // SAFETY: all eight parts of a block, four after four.
        let whole = unsafe {
            [
                products::<256, 32, { size_of::<Quads>() }>(x, &raw const columns.q[0], &mut first),
                products::<256, 32, { size_of::<Quads>() }>(
                    x.add(GROUP * 8),
                    &raw const columns.q[GROUP],
                    &mut second,
                ),
            ]
        };
        scale_256(whole, rows, columns, sums);
    }
}

/// Scales the sums of a block's parts, and takes the minima off.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn scale_256(whole: [&[Tile<i32>; GROUP]; 2], rows: &Rows256, columns: &Columns256, sums: &mut Tile<f32>) {
    let mut scales = [_mm512_setzero_si512(); 8];
    let (mut eights, mut mins) = ([_mm512_setzero_si512(); 4], [_mm512_setzero_si512(); 4]);
    for part in 0..8 {
        scales[part] = load(&columns.scales[part]);
    }
    for pair in 0..4 {
        eights[pair] = load(&columns.eights[pair]);
        mins[pair] = load(&columns.mins[pair]);
    }
    let (d, dm) = (load_floats(&columns.d), load_floats(&columns.m));
    for m in 0..TILE {
        let (mut total, mut min) = (_mm512_setzero_si512(), _mm512_setzero_si512());
        for part in 0..8 {
            // The upper half of a sum is its sign, and of a scale zero.
            total = _mm512_dpwssd_epi32(total, scales[part], load(&whole[part / GROUP][part % GROUP].0[m]));
        }
        for pair in 0..4 {
            let x = _mm512_set1_epi32(rows.sums[m][pair]);
            total = _mm512_dpwssd_epi32(total, eights[pair], x);
            min = _mm512_dpwssd_epi32(min, mins[pair], x);
        }
        let x = _mm512_set1_ps(rows.scale[m]);
        let out = load_floats(&sums.0[m]);
        let out = _mm512_fmadd_ps(_mm512_cvtepi32_ps(total), _mm512_mul_ps(d, x), out);
        let out = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(min), _mm512_mul_ps(dm, x), out);
        store_floats(&mut sums.0[m], out);
    }
}
