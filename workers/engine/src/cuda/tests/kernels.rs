//! Kernels by themselves, where a small model does not reach them.

use half::f16;

use super::super::device::{Arg, Launch};
use super::super::kernel::{
    self, BEST_BYTES, BEST_WORDS, CANDIDATES, CANDIDATES_BYTES, Kernel, NORM_BYTES, Product, RANGES,
};
use super::*;
use crate::model::rope::RopePairs;
use crate::runner::{Best, Row};

const ROWS: usize = 130;
const INPUTS: usize = 576;

/// Numbers without a pattern between -1 and 1.
fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

fn buffer(device: &mut Emulator, bytes: &[u8]) -> <Emulator as Device>::Buffer {
    let mut buffer = device.alloc(bytes.len()).unwrap();
    device.write(&mut buffer, 0, bytes).unwrap();
    buffer
}

fn halves(device: &mut Emulator, values: &[f32]) -> <Emulator as Device>::Buffer {
    let bytes: Vec<u8> = values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect();
    buffer(device, &bytes)
}

fn floats(device: &mut Emulator, values: &[f32]) -> <Emulator as Device>::Buffer {
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    buffer(device, &bytes)
}

fn words(device: &mut Emulator, from: &<Emulator as Device>::Buffer, count: usize) -> Vec<u32> {
    let mut bytes = vec![0; count * 4];
    device.read(from, 0, &mut bytes).unwrap();
    bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect()
}

/// What a product makes of `ROWS` rows, added to what was there; `outputs` is no multiple of anything.
fn multiplied(product: Product, order: Order, outputs: usize, gated: bool) -> Vec<u32> {
    let mut device = Emulator::start(order);
    let d = &mut device;
    let x = halves(d, &numbers(ROWS.next_multiple_of(128) * INPUTS, 1));
    let w = halves(d, &numbers(outputs.next_multiple_of(64) * INPUTS, 2));
    let bias = floats(d, &numbers(outputs, 3));
    let y = floats(d, &numbers(ROWS * outputs, 4));
    let parts = d.alloc(RANGES * ROWS * outputs * 4).unwrap();
    let columns = if gated { outputs / 2 } else { outputs };
    let out = d.alloc(ROWS * columns.next_multiple_of(64) * 2).unwrap();
    let split = product.is_split();
    let args = [
        Arg::start(&x),
        Arg::start(&w),
        Arg::start(&bias),
        if split { Arg::start(&parts) } else { Arg::start(&y) },
        if gated { Arg::start(&out) } else { Arg::Null },
        Arg::U32(ROWS),
        Arg::U32(outputs),
        Arg::U32(INPUTS),
        Arg::U32(1),
        Arg::U32(columns.next_multiple_of(64)),
    ];
    let grid =
        [ROWS.div_ceil(product.rows), columns.div_ceil(product.columns), if split { RANGES } else { 1 }];
    let launch = Launch { kernel: product.kernel, grid, shared_bytes: product.shared_bytes };
    d.launch(launch, &args).unwrap();
    if split {
        let args = [
            Arg::start(&parts),
            Arg::start(&bias),
            Arg::start(&y),
            Arg::U32(ROWS),
            Arg::U32(outputs),
            Arg::U32(1),
        ];
        let grid = [outputs.div_ceil(256), ROWS, 1];
        d.launch(Launch { kernel: Kernel::Gather, grid, shared_bytes: 0 }, &args).unwrap();
    }
    if gated { words(d, &out, ROWS * columns.next_multiple_of(64) / 2) } else { words(d, &y, ROWS * outputs) }
}

#[test]
fn all_products_give_the_same_bits() {
    let outputs = 150;
    let expected = multiplied(Product::ALL[0], Order::Forward, outputs, false);
    // Against sums at twice the precision.
    let rounded = |values: Vec<f32>| -> Vec<f64> {
        values.into_iter().map(|v| f64::from(f16::from_f32(v).to_f32())).collect()
    };
    let (x, w) = (rounded(numbers(ROWS * INPUTS, 1)), rounded(numbers(outputs * INPUTS, 2)));
    let (bias, before) = (numbers(outputs, 3), numbers(ROWS * outputs, 4));
    for (at, found) in expected.iter().enumerate() {
        let (row, column) = (at / outputs, at % outputs);
        let sum: f64 = (0..INPUTS).map(|i| x[row * INPUTS + i] * w[column * INPUTS + i]).sum();
        let exact = sum + f64::from(bias[column]) + f64::from(before[at]);
        assert!((f64::from(f32::from_bits(*found)) - exact).abs() < 1e-3, "row {row}, column {column}");
    }
    for product in Product::ALL {
        for order in [Order::Forward, Order::Shuffled(3)] {
            assert!(multiplied(product, order, outputs, false) == expected, "{product:?} {order:?}");
        }
    }
}

#[test]
fn all_products_that_weigh_gates_give_the_same_bits() {
    let expected = multiplied(Product::GATED[0], Order::Forward, 150, true);
    assert!(expected.iter().any(|word| *word != 0));
    for product in Product::GATED {
        for order in [Order::Forward, Order::Shuffled(3)] {
            assert!(multiplied(product, order, 150, true) == expected, "{product:?} {order:?}");
        }
    }
}

/// Rows of each width, some longer than what a thread keeps.
#[test]
fn both_norms_give_the_same_bits() {
    for width in [70, 1024, 2570, 5000] {
        let norm = |kernel| {
            let mut device = Emulator::start(Order::Shuffled(5));
            let d = &mut device;
            let (x, weight) = (floats(d, &numbers(3 * width, 1)), floats(d, &numbers(width, 2)));
            let out = d.alloc(3 * width * 2).unwrap();
            let (x, weight, to) = (Arg::start(&x), Arg::start(&weight), Arg::start(&out));
            let args = [x, weight, Arg::Null, to, Arg::U32(width), Arg::U32(width), Arg::F32(1e-6)];
            d.launch(Launch { kernel, grid: [3, 1, 1], shared_bytes: NORM_BYTES }, &args).unwrap();
            words(d, &out, 3 * width / 2)
        };
        let (many, few) = (norm(Kernel::RmsNorm), norm(Kernel::RmsNormFew));
        assert!(many == few && few.iter().any(|word| *word != 0), "{width}");
    }
}

/// The best of each row of `logits`, as the device finds them.
fn best_of(logits: &[f32], vocab: usize, coldness: &[f32], order: Order) -> Vec<u32> {
    let mut device = Emulator::start(order);
    let d = &mut device;
    let (rows, parts) = (logits.len() / vocab, kernel::parts(vocab).unwrap());
    let logits = floats(d, logits);
    let coldness = floats(d, coldness);
    let found = d.alloc(rows * parts * CANDIDATES * 8).unwrap();
    let mass = d.alloc(rows * parts * 8).unwrap();
    let best = d.alloc(rows * BEST_WORDS * 4).unwrap();
    let (found_at, mass_at) = (Arg::start(&found), Arg::start(&mass));
    let args = [Arg::start(&logits), Arg::start(&coldness), found_at, mass_at, Arg::U32(vocab)];
    let launch =
        Launch { kernel: Kernel::Candidates, grid: [parts, rows, 1], shared_bytes: CANDIDATES_BYTES };
    d.launch(launch, &args).unwrap();
    let args =
        [Arg::start(&found), Arg::start(&mass), Arg::start(&coldness), Arg::start(&best), Arg::U32(parts)];
    d.launch(Launch { kernel: Kernel::Best, grid: [rows, 1, 1], shared_bytes: BEST_BYTES }, &args).unwrap();
    words(d, &best, rows * BEST_WORDS)
}

#[test]
fn the_likeliest_tokens_are_those_that_sorting_finds() {
    const VOCAB: usize = 20_001;
    let mut logits = numbers(5 * VOCAB, 9);
    // All alike; a few alike above the others, across parts; what is no number; one that leads alone.
    logits[VOCAB..2 * VOCAB].fill(0.25);
    for token in (0..VOCAB).step_by(111) {
        logits[2 * VOCAB + token] = 3.0;
    }
    logits[3 * VOCAB] = f32::NAN;
    logits[3 * VOCAB + 9000..4 * VOCAB].fill(f32::NEG_INFINITY);
    logits[4 * VOCAB + 20_000] = 50.0;
    let coldness = [1.0, 2.0, 0.5, 1.0, 4.0];
    let found = best_of(&logits, VOCAB, &coldness, Order::Forward);
    for order in [Order::Backward, Order::Shuffled(5)] {
        assert!(best_of(&logits, VOCAB, &coldness, order) == found, "{order:?}");
    }
    for (row, found) in found.chunks_exact(BEST_WORDS).enumerate() {
        let mut sorted: Vec<(f32, u32)> = logits[row * VOCAB..][..VOCAB]
            .iter()
            .map(|l| if l.is_nan() { f32::NEG_INFINITY } else { *l })
            .zip(0..)
            .collect();
        sorted.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let weight = |logit: f32| f64::from((logit - sorted[0].0) * coldness[row]).exp();
        let mass: f64 = sorted.iter().map(|(logit, _)| weight(*logit)).sum();
        assert!((f64::from(f32::from_bits(found[0])) / mass - 1.0).abs() < 1e-4, "row {row}");
        let pairs = found[1..].as_chunks::<2>().0.iter().map(|p| (f32::from_bits(p[0]), p[1]));
        assert_eq!(pairs.collect::<Vec<_>>(), sorted[..CANDIDATES], "row {row}");
    }
}

#[test]
fn a_small_vocabulary_is_told_whole() {
    let logits = numbers(100, 4);
    let found = best_of(&logits, 100, &[1.0], Order::Forward);
    assert!(found[1 + 200..].iter().skip(1).step_by(2).all(|token| *token == u32::MAX));
    assert_eq!(found[1..201].iter().skip(1).step_by(2).max(), Some(&99));
}

/// What the engine is told of a row is what lies in its logits.
#[test]
fn a_step_tells_the_best_and_keeps_the_rest() {
    let mut runner = runner(Order::Forward, 16, 8);
    let best = |temperature| Logits::Best { temperature };
    let spans = [
        span(&tokens(20, 7), 0, &ids(0..2), best(0.5)),
        span(&[5, 6], 0, &ids(2..3), Logits::Last),
        span(&[7], 0, &ids(3..4), Logits::None),
        span(&[8], 0, &ids(4..5), best(0.0)),
    ];
    let picked = runner.step(&spans).unwrap();
    let whole: Vec<Vec<f32>> = (0..3).map(|pick| runner.logits(pick).unwrap()).collect();
    assert!(runner.logits(3).is_err());
    let rows: Vec<Row<'_>> = picked.rows(272).collect();
    let [Row::Best(first), Row::Whole(second), Row::Best(third)] = rows.as_slice() else {
        panic!("{rows:?}")
    };
    assert_eq!(*second, whole[1]);
    for (best, whole) in [(first, &whole[0]), (third, &whole[2])] {
        let Best { tokens, is_all, .. } = best;
        assert!(tokens.len() == CANDIDATES && !is_all);
        assert!(
            tokens.is_sorted_by(|a, b| a.0 >= b.0) && tokens.iter().all(|(l, t)| whole[*t as usize] == *l)
        );
        let least = tokens[CANDIDATES - 1].0;
        assert_eq!(whole.iter().filter(|logit| **logit > least).count(), CANDIDATES - 1);
    }
    assert!(runner.run(&spans).unwrap() == whole.concat());
}

/// Heads of other widths than the small model's: one that fills its kernel, one between, one that is no multiple of 16 bytes.
#[test]
fn heads_of_all_widths_are_computed_as_on_the_cpu() {
    for (head_dim, block_tokens) in [(128, 16), (128, 5), (80, 16), (64, 8), (20, 16)] {
        let json = serde_json::json!({
            "model_type": "llama", "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": head_dim, "vocab_size": 90,
            "tie_word_embeddings": true, "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "rope_theta": 10_000.0,
        });
        let config = ModelConfig::from_json(json.to_string().as_bytes()).unwrap();
        assert_eq!(config.rope_pairs, RopePairs::Halves);
        golden::check_random(&format!("heads of {head_dim}"), config, block_tokens);
    }
}
