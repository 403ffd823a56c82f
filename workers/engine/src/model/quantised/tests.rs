//! Kernels against one value at a time, against the library and against exact arithmetic.

use std::sync::Arc;

use candle_core::quantized::{GgmlDType, QMatMul, QTensor};
use candle_core::{Device, Module, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::input::InputBlock;
use super::pack::{Format, PANEL};
use super::plain::{Plain, PlainInput, steps};
use super::{Activations, Instructions, Packed, Panels};
use crate::model::linear::{Linear, forward_all};
use crate::model::threads::Threads;

const FORMATS: [GgmlDType; 4] = [GgmlDType::Q8_0, GgmlDType::Q4_0, GgmlDType::Q4K, GgmlDType::Q6K];

fn random(len: usize, seed: u64) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| rng.random::<f32>() * 4.0 - 2.0).collect()
}

fn tensor(outputs: usize, inputs: usize, dtype: GgmlDType) -> QTensor {
    let weight = random(outputs * inputs, 5);
    let weight = Tensor::from_vec(weight, (outputs, inputs), &Device::Cpu).unwrap();
    QTensor::quantize(&weight, dtype).unwrap()
}

/// What this processor can do, and less of it.
fn instructions() -> Vec<Instructions> {
    let all = Instructions::detect();
    let narrow = all.map(|all| Instructions { vnni: None, amx: None, ..all });
    let wide = all.filter(|all| all.vnni.is_some()).map(|all| Instructions { amx: None, ..all });
    let tiles = all.filter(|all| all.amx.is_some());
    narrow.into_iter().chain(wide).chain(tiles).collect()
}

fn packed(instructions: Instructions, tensor: &QTensor) -> Packed {
    Packed::with(instructions, tensor).unwrap().unwrap()
}

fn product(layer: &Linear, x: &[f32], threads: usize) -> Vec<f32> {
    let mut y = Vec::new();
    forward_all(x, [(layer, &mut y)], &mut Activations::default(), &Threads::new(threads)).unwrap();
    y
}

fn plain<F: Plain>(w: &[F], x: &[F::Input], blocks: usize, outputs: usize) -> Vec<f32> {
    let row = |x: &[F::Input], output: usize| {
        let panel = &w[output / PANEL * blocks..][..blocks];
        panel.iter().zip(x).fold(0.0, |sum, (w, x)| w.add(output % PANEL, x, sum))
    };
    x.chunks(blocks).flat_map(|x| (0..outputs).map(move |output| row(x, output))).collect()
}

fn plain_product(packed: &Packed, x: &[f32], outputs: usize) -> Vec<f32> {
    // One row after the other: none of them is laid out in tiles then.
    x.chunks(packed.inputs).flat_map(|x| plain_row(packed, x, outputs)).collect()
}

fn plain_row(packed: &Packed, x: &[f32], outputs: usize) -> Vec<f32> {
    let mut a = Activations::default();
    packed.quantise(x, &mut a, &Threads::new(1));
    let blocks = |values: usize| packed.inputs / values;
    match &packed.panels {
        Panels::Q8_0(w) => plain(w, &a.wide, blocks(32), outputs),
        Panels::Q8Quads(w, _) => plain(w, &a.narrow, blocks(32), outputs),
        Panels::Q4_0(w) => plain(w, &a.narrow, blocks(32), outputs),
        Panels::Q4K(w) => plain(w, &a.large, blocks(256), outputs),
        Panels::Q6K(w) => plain(w, &a.large, blocks(256), outputs),
    }
}

/// Largest error that rounding the activations to half a step can make, and that of summing in
/// `f32`, for each output of a row.
fn bound(w: &[f32], x: &[f32], block: usize) -> f64 {
    let mut error = 0.0;
    for (w, x) in w.chunks(block).zip(x.chunks(block)) {
        let largest = x.iter().fold(0.0_f32, |l, v| l.max(v.abs()));
        let weights: f64 = w.iter().map(|w| f64::from(w.abs())).sum();
        error += weights * f64::from(largest) * (0.5 / 127.0 + 1e-6 * (1.0 + x.len() as f64 / 32.0));
    }
    error
}

#[test]
fn formats_match_exact_arithmetic_and_the_library_within_the_error_of_rounding() {
    for dtype in FORMATS {
        for (outputs, inputs) in [(5, 256), (8, 512), (33, 768), (47, 256)] {
            let tensor = Arc::new(tensor(outputs, inputs, dtype));
            let w = tensor.dequantize(&Device::Cpu).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let layer = Linear::quantised(tensor.clone(), None).unwrap();
            let library = QMatMul::from_arc(tensor).unwrap();
            for rows in [1, 2, 3, 7, 33] {
                let x = random(rows * inputs, rows as u64);
                let y = product(&layer, &x, 1);
                let input = Tensor::from_vec(x.clone(), (rows, inputs), &Device::Cpu).unwrap();
                let theirs = library.forward(&input).unwrap().flatten_all().unwrap().to_vec1().unwrap();
                for (i, (ours, theirs)) in y.iter().zip(&theirs).enumerate() {
                    let (row, output) = (i / outputs, i % outputs);
                    let w = &w[output * inputs..][..inputs];
                    let x = &x[row * inputs..][..inputs];
                    let exact: f64 = w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
                    let block = if matches!(dtype, GgmlDType::Q8_0 | GgmlDType::Q4_0) { 32 } else { 256 };
                    let bound = bound(w, x, block);
                    let error = (f64::from(*ours) - exact).abs();
                    assert!(
                        error <= bound,
                        "{dtype:?} {outputs}x{inputs} [{row}, {output}]: {error} {bound}"
                    );
                    // The library rounds with steps of its own, at most twice as large.
                    let apart = (f64::from(*ours) - f64::from(*theirs)).abs();
                    let theirs: f32 = *theirs;
                    assert!(apart <= 3.0 * bound, "{dtype:?} [{row}, {output}]: {ours} {theirs}");
                }
            }
        }
    }
}

#[test]
fn vector_kernels_equal_plain_arithmetic_bit_for_bit() {
    for dtype in FORMATS {
        // Blocks of 32 inputs in whole groups and not.
        let inputs = if dtype.block_size() == 32 { [512, 160, 2208] } else { [512, 256, 1280] };
        for (outputs, inputs) in [3, 16, 29].into_iter().zip(inputs).chain([(40, inputs[1])]) {
            let rows = 83;
            let tensor = tensor(outputs, inputs, dtype);
            let x = random(rows * inputs, 3);
            let mut results = Vec::new();
            for instructions in instructions() {
                let packed = packed(instructions, &tensor);
                let expected = plain_product(&packed, &x, outputs);
                let layer = Linear::packed(packed, outputs, inputs);
                results.push(product(&layer, &x, 1));
                assert_eq!(results.last(), Some(&expected), "{dtype:?} {outputs} {instructions:?}");
            }
            assert!(results.iter().all(|result| *result == results[0]), "{dtype:?} {outputs}");
        }
    }
}

/// Blocks of extreme bytes: sums of 16 bits must not overflow for any weights and activations.
#[test]
fn extreme_values_do_not_overflow() {
    use candle_core::quantized::QStorage;
    let (outputs, inputs) = (11, 512);
    for dtype in FORMATS {
        for (fill, sign) in [(0xff, 1.0), (0x7f, -1.0), (0x80, 1.0), (0x00, 1.0), (0xf0, -1.0)] {
            let bytes = outputs * inputs / dtype.block_size() * dtype.type_size();
            let mut data = vec![fill; bytes];
            for block in data.chunks_mut(dtype.type_size()) {
                let at: &[usize] = match dtype {
                    GgmlDType::Q4K => &[0, 2],
                    GgmlDType::Q6K => &[208],
                    _ => &[0],
                };
                at.iter().for_each(|at| block[*at..at + 2].copy_from_slice(&[0, 0x3c]));
            }
            let storage = QStorage::from_data(data.into(), &Device::Cpu, dtype).unwrap();
            let tensor = QTensor::new(storage, (outputs, inputs)).unwrap();
            let x: Vec<f32> = (0..20 * inputs).map(|i| if i % 7 < 6 { sign } else { -sign }).collect();
            for instructions in instructions() {
                let packed = packed(instructions, &tensor);
                let expected = plain_product(&packed, &x, outputs);
                let layer = Linear::packed(packed, outputs, inputs);
                assert_eq!(product(&layer, &x, 1), expected, "{dtype:?} {fill:x} {instructions:?}");
            }
        }
    }
}

#[test]
fn neighbours_threads_and_shared_inputs_change_no_bit() {
    let (inputs, rows) = (512, 70);
    let x = random(rows * inputs, 11);
    for instructions in instructions() {
        let layer = |(dtype, outputs): (&GgmlDType, usize)| {
            Linear::packed(packed(instructions, &tensor(outputs, inputs, *dtype)), outputs, inputs)
        };
        let layers: Vec<Linear> = FORMATS.iter().zip([2048, 1019, 1030, 77]).map(layer).collect();
        let alone: Vec<Vec<f32>> = layers.iter().map(|layer| product(layer, &x, 1)).collect();
        for threads in [1, 3] {
            let pool = Threads::new(threads);
            let mut activations = Activations::default();
            for count in [1, 2, 5, 33, 70] {
                let mut y: [Vec<f32>; 4] = Default::default();
                let mut at = y.iter_mut();
                let outs = std::array::from_fn::<_, 4, _>(|i| (&layers[i], at.next().unwrap()));
                forward_all(&x[..count * inputs], outs, &mut activations, &pool).unwrap();
                for ((y, whole), layer) in y.iter().zip(&alone).zip(&layers) {
                    let whole = &whole[..count * layer.outputs()];
                    assert_eq!(y[..], *whole, "{count} rows, {threads} threads, {instructions:?}");
                }
            }
        }
    }
}

#[test]
fn rows_read_back_are_the_tensor() {
    for dtype in FORMATS {
        let tensor = tensor(19, 512, dtype);
        let expected = tensor.dequantize(&Device::Cpu).unwrap().to_vec2::<f32>().unwrap();
        for instructions in instructions() {
            let packed = packed(instructions, &tensor);
            for (output, expected) in expected.iter().enumerate() {
                let mut row = Vec::new();
                packed.append_row(output, &mut row);
                assert_eq!(&row, expected, "{dtype:?} {output} {instructions:?}");
            }
        }
    }
}

fn check_input<B: PlainInput + PartialEq + std::fmt::Debug>() {
    let Some(avx2) = super::Avx2::detect() else { return };
    let x = random(B::VALUES * 40, 23);
    for (i, x) in x.chunks(B::VALUES).enumerate() {
        let x: Vec<f32> = x.iter().map(|v| v * (i as f32 - 20.0) * 1e-3).collect();
        let block = B::quantise(avx2, &x);
        assert_eq!(block.values(), steps(&x));
        assert!(block.sums_are_right());
        for (value, x) in block.values().1.iter().zip(&x) {
            assert!((*value as f32 * block.values().0 - x).abs() <= block.values().0 * 0.501);
        }
    }
    let mut x = vec![0.0; B::VALUES];
    assert_eq!(B::quantise(avx2, &x), B::ZERO);
    x[B::VALUES - 1] = f32::NEG_INFINITY;
    assert!(!B::quantise(avx2, &x).values().0.is_finite());
}

#[test]
fn activations_are_rounded_to_the_nearest_step() {
    check_input::<super::Wide32>();
    check_input::<super::Narrow32>();
    check_input::<super::Narrow256>();
}

#[test]
fn every_format_is_packed_where_the_processor_allows() {
    let able = super::Avx2::detect().is_some();
    for dtype in FORMATS {
        assert_eq!(Packed::new(&tensor(8, 256, dtype)).unwrap().is_some(), able);
    }
    assert!(Packed::new(&tensor(8, 256, GgmlDType::Q5K)).unwrap().is_none());
    assert_eq!(<super::Q4K as Format>::Input::VALUES, 256);
}
