//! Machines without AVX2 and AVX-512 by construction: nothing is ever packed for them.

use super::input::{InputBlock, Narrow32, Narrow256, Wide32};
use super::pack::{Q4_0, Q4K, Q6K, Q8_0, Q8Quads};
use super::tiles::{Rows32, Rows256, Tile, Tiled};
use super::{Kernel, Sums, Wide, WideSums};

/// Has no value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Avx2 {}

impl Avx2 {
    /// Never there.
    pub fn detect() -> Option<Self> {
        None
    }
}

/// Has no value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Vnni {}

impl Vnni {
    /// Never there.
    pub fn detect() -> Option<Self> {
        None
    }
}

/// Has no value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Amx {}

impl Amx {
    /// Never there.
    pub fn detect() -> Option<Self> {
        None
    }

    /// Never called.
    pub fn claim(self, _: &f32) {
        match self {}
    }

    /// Never called.
    pub fn with_tiles<T>(self, _: impl FnOnce(&Ready) -> T) -> T {
        match self {}
    }
}

/// Has no value.
pub(super) enum Ready {}

macro_rules! never {
    ($($format:ty),*) => {$(
        impl Kernel for $format {
            const PANELS: usize = 1;

            fn tile<const R: usize, const M: usize>(
                never: Avx2,
                _: [&[Self]; R],
                _: [&[Self::Input]; M],
            ) -> Sums<R, M> {
                match never {}
            }
        }
    )*};
}

never!(Q8_0, Q4_0, Q4K, Q6K);

macro_rules! never_wide {
    ($($format:ty),*) => {$(
        impl Wide for $format {
            fn tile<const M: usize>(
                never: Vnni,
                _: [&[Self]; 2],
                _: [&[Self::Input]; M],
            ) -> WideSums<M> {
                match never {}
            }
        }
    )*};
}

never_wide!(Q8Quads, Q4_0, Q4K, Q6K);

macro_rules! never_tiled {
    ($($format:ty, $rows:ty);*) => {$(
        impl Tiled for $format {
            type Rows = $rows;
            type Columns = ();
            const ROOM: () = ();

            fn unpack(never: Amx, _: [&Self; 2], _: usize, _: &mut ()) {
                match never {}
            }

            fn multiply(never: &Ready, _: &[$rows], _: &[()], _: &mut Tile<f32>) {
                match *never {}
            }
        }
    )*};
}

never_tiled!(Q8Quads, Rows32; Q4_0, Rows32; Q4K, Rows256);

macro_rules! never_input {
    ($($block:ident($values:expr, $zero:expr)),*) => {$(
        impl InputBlock for $block {
            const VALUES: usize = $values;
            const ZERO: Self = $zero;

            fn quantise(never: Avx2, _: &[f32]) -> Self {
                match never {}
            }
        }
    )*};
}

never_input!(
    Wide32(32, Wide32 { scale: 0.0, pairs: [0; 16] }),
    Narrow32(32, Narrow32 { scale: 0.0, minus_8: 0, minus_128: 0, quads: [0; 8] }),
    Narrow256(256, Narrow256 { scale: 0.0, sums_32: [0; 4], sums_16: [0; 8], quads: [0; 64] })
);
