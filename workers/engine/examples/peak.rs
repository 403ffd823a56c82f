//! How many multiplications and additions this processor can do at most, which no kernel exceeds: whole numbers of eight bits the way
//! quantised products do them, with AVX2 and, where there is VNNI, with AVX-512; and `f32` the way attention does.
//!
//! ```text
//! cargo run --release -p bul-engine --example peak
//! ```
//!
//! Multiply-adds per second, by the number of threads. Nothing is read from memory: all operands stay in registers.

#![expect(unsafe_code, reason = "calls into functions with AVX2 and AVX-512")]

use std::thread;
use std::time::Instant;

/// Rounds of ten independent sums: enough to hide what one instruction takes.
const ROUNDS: u64 = 20_000_000;
const SUMS: usize = 10;

#[cfg(target_arch = "x86_64")]
mod kernels {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    /// `maddubs`, `madd`, `add`: 32 products each round and sum.
    #[target_feature(enable = "avx2")]
    pub fn eight_bits() {
        let (mut a, b, ones) = (_mm256_set1_epi8(3), _mm256_set1_epi8(2), _mm256_set1_epi16(1));
        let mut sums = [_mm256_setzero_si256(); super::SUMS];
        for _ in 0..super::ROUNDS {
            for sum in &mut sums {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones));
            }
            a = black_box(a);
        }
        black_box(sums);
    }

    /// `dpbusd`: 64 products each round and sum.
    #[target_feature(enable = "avx512f,avx512vnni")]
    pub fn eight_bits_wide() {
        let (mut a, b) = (_mm512_set1_epi8(3), _mm512_set1_epi8(2));
        let mut sums = [_mm512_setzero_si512(); super::SUMS];
        for _ in 0..super::ROUNDS {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, a, b);
            }
            a = black_box(a);
        }
        black_box(sums);
    }

    /// `fmadd`: eight products each round and sum.
    #[target_feature(enable = "avx2,fma")]
    pub fn floats() {
        let mut a = _mm256_set1_ps(1.000_1);
        let mut sums = [_mm256_setzero_ps(); super::SUMS];
        for _ in 0..super::ROUNDS {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(a, a, *sum);
            }
            a = black_box(a);
        }
        black_box(sums);
    }
}

/// Thousands of millions of multiply-adds per second of `threads` at once.
fn measure(threads: usize, products: u64, run: fn()) -> f64 {
    let started = Instant::now();
    thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(run))));
    (ROUNDS * SUMS as u64 * products * threads as u64) as f64 / started.elapsed().as_secs_f64() / 1e9
}

#[cfg(target_arch = "x86_64")]
fn main() {
    if !(is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")) {
        println!("this processor has no AVX2");
        return;
    }
    let wide = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni");
    let all = thread::available_parallelism().map_or(1, usize::from);
    for threads in [1, all] {
        // SAFETY: the processor has both, which was just asked.
        let eight_bits = measure(threads, 32, || unsafe { kernels::eight_bits() });
        // SAFETY: the same.
        let floats = measure(threads, 8, || unsafe { kernels::floats() });
        println!(
            "{threads} threads: eight bits {eight_bits:.0}, f32 {floats:.0} thousand million multiply-adds per second"
        );
        if wide {
            // SAFETY: the same.
            let eight_bits = measure(threads, 64, || unsafe { kernels::eight_bits_wide() });
            println!("{threads} threads, VNNI: eight bits {eight_bits:.0}");
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn main() {
    println!("for x86-64 only");
}
