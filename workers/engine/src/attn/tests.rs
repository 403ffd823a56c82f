//! How rows are grouped, cut and shared among threads changes no bit, and attention is attention.

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::cpu::Attention;
use super::plan::Row;
use crate::kv::four::hadamard;
use crate::kv::pool::BlockId;
use crate::kv::precision::KvPrecision;
use crate::kv::{KvShape, KvStore};
use crate::model::threads::Threads;

/// Sequences of which some begin alike, and the rows of one step.
#[derive(Debug, Clone)]
struct Case {
    shape: KvShape,
    group: usize,
    precision: KvPrecision,
    /// Of each sequence: which one it begins like, and for how many tokens.
    likes: Vec<(usize, usize)>,
    /// Of each sequence: keys of its last row, and rows.
    spans: Vec<(usize, usize)>,
    seed: u64,
}

fn cases() -> impl Strategy<Value = Case> {
    let block_tokens = prop_oneof![1usize..=9, Just(8), Just(16), Just(16), Just(24), Just(32)];
    let head_dim = prop_oneof![Just(64usize), Just(128), 1usize..=40];
    let group = prop_oneof![Just(1usize), Just(2), Just(4), Just(8), Just(3)];
    let precision = proptest::sample::select(KvPrecision::ALL.to_vec());
    (block_tokens, head_dim, 1usize..=2, group, precision, 1usize..=9, any::<u64>()).prop_flat_map(
        |(block_tokens, head_dim, kv_heads, group, precision, sequences, seed)| {
            // Every other context ends where a block does, or one token before or behind.
            let border =
                (1usize..=6, 0usize..=2).prop_map(move |(n, off)| (n * block_tokens + off).max(2) - 1);
            let context = prop_oneof![border, 1usize..=100];
            let rows = prop_oneof![Just(1usize), 1usize..=40];
            let likes = proptest::collection::vec((any::<prop::sample::Index>(), 0usize..=90), sequences);
            let spans = proptest::collection::vec((context, rows), sequences);
            (likes, spans).prop_map(move |(likes, spans)| Case {
                shape: KvShape { layers: 1, kv_heads, head_dim, block_tokens },
                group,
                precision,
                likes: likes.iter().enumerate().map(|(i, (of, len))| (of.index(i + 1), *len)).collect(),
                spans: spans.iter().map(|(context, rows)| (*context, (*rows).min(*context))).collect(),
                seed,
            })
        },
    )
}

/// What each sequence holds at each position: numbers that stand for a token's keys and values.
/// Sequences that begin alike have the same numbers there.
fn contents(case: &Case) -> Vec<Vec<u64>> {
    let mut all: Vec<Vec<u64>> = Vec::new();
    for (i, ((like, len), (context, _))) in case.likes.iter().zip(&case.spans).enumerate() {
        let same = all.get(*like).map_or(0, |other| (*len).min(other.len()).min(*context));
        let mut tokens: Vec<u64> = all.get(*like).map_or(Vec::new(), |other| other[..same].to_vec());
        tokens.extend((same..*context).map(|at| case.seed ^ ((i as u64 + 1) << 32 | at as u64)));
        all.push(tokens);
    }
    all
}

fn numbers(seed: u64, len: usize) -> Vec<f32> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    (0..len).map(|_| rng.random::<f32>() * 4.0 - 2.0).collect()
}

/// A store with the sequences in it, full blocks shared where all before them is the same, and the
/// table of each. What no key was written to is not a number.
fn stored(case: &Case, contents: &[Vec<u64>]) -> (KvStore, Vec<Vec<BlockId>>) {
    let KvShape { kv_heads, head_dim, block_tokens, .. } = case.shape;
    let width = kv_heads * head_dim;
    let blocks: usize = contents.iter().map(|tokens| tokens.len().div_ceil(block_tokens)).sum();
    let mut store = KvStore::new(case.shape, case.precision, blocks);
    let mut known: Vec<(&[u64], BlockId)> = Vec::new();
    let mut free: Vec<u32> = (0..blocks as u32).collect();
    let (mut tables, waste) = (Vec::new(), vec![f32::NAN; width]);
    for tokens in contents {
        let mut table: Vec<BlockId> = Vec::new();
        for start in (0..tokens.len()).step_by(block_tokens) {
            let end = tokens.len().min(start + block_tokens);
            let full = end - start == block_tokens;
            if let Some((_, block)) = known.iter().find(|(before, _)| full && *before == &tokens[..end]) {
                table.push(*block);
                continue;
            }
            // Ids in no order, as after a while of use.
            let block = BlockId(free.swap_remove((tokens[start] % free.len() as u64) as usize));
            for slot in 0..block_tokens {
                match tokens.get(start + slot) {
                    Some(token) => {
                        let (k, v) = (numbers(*token, width), numbers(!token, width));
                        store.write(block, 0, slot, &k, &v);
                    }
                    None => store.write(block, 0, slot, &waste, &waste),
                }
            }
            if full {
                known.push((&tokens[..end], block));
            }
            table.push(block);
        }
        tables.push(table);
    }
    (store, tables)
}

fn rows<'a>(case: &Case, tables: &'a [Vec<BlockId>]) -> Vec<Row<'a>> {
    let of = |((context, rows), blocks): (&(usize, usize), &'a Vec<BlockId>)| {
        (context - rows + 1..=*context).map(move |context| Row { blocks, context })
    };
    case.spans.iter().zip(tables).flat_map(of).collect()
}

fn queries(case: &Case, rows: usize) -> Vec<f32> {
    let width = case.shape.kv_heads * case.group * case.shape.head_dim;
    (0..rows).flat_map(|row| numbers(case.seed.wrapping_add(row as u64), width)).collect()
}

fn attend(
    case: &Case,
    rows: &[Row<'_>],
    q: &[f32],
    store: &KvStore,
    grouped: bool,
    threads: usize,
) -> Vec<f32> {
    let attention = Attention::new(grouped);
    let plan = attention.plan(rows, case.group, store);
    let mut out = vec![f32::NAN; q.len()];
    attention.attend_in_parts(&plan, q, store, 0, &mut out, &Threads::new(threads), threads);
    out
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// Keys and values `[kv_heads, context, head_dim]` as `row` sees them: its own block maybe at more bits than those before.
fn seen(case: &Case, row: &Row<'_>, store: &KvStore) -> [Vec<f32>; 2] {
    let KvShape { kv_heads, head_dim, block_tokens, .. } = case.shape;
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    let (mut k_room, mut v_room) = (Vec::new(), Vec::new());
    for head in 0..kv_heads {
        for key in 0..row.context {
            let (block, slot) = (row.blocks[key / block_tokens], key % block_tokens);
            let is_own = key / block_tokens == (row.context - 1) / block_tokens;
            let k = store.keys((block, 0, head), is_own, &mut k_room);
            let v = store.values((block, 0, head), is_own, &mut v_room);
            keys.extend((0..head_dim).map(|d| k[d * case.shape.padded_tokens() + slot]));
            values.extend_from_slice(&v[slot * case.shape.padded_dim()..][..head_dim]);
        }
    }
    [keys, values]
}

/// The query that has the products with the keys of `store`.
fn turned(case: &Case, q: &[f32], store: &KvStore) -> Vec<f32> {
    let mut q = q.to_vec();
    if store.is_four_bit() {
        q.chunks_exact_mut(case.shape.head_dim).for_each(hadamard);
    }
    q
}

/// The definition, at double precision, over the numbers as the store gives them back.
fn reference(case: &Case, row: &Row<'_>, q: &[f32], store: &KvStore) -> Vec<f64> {
    let head_dim = case.shape.head_dim;
    let (seen, q) = (seen(case, row, store), turned(case, q, store));
    let number = |kind: usize, head: usize, key: usize, d: usize| {
        f64::from(seen[kind][(head * row.context + key) * head_dim + d])
    };
    let mut out = Vec::new();
    for (head, q) in q.chunks_exact(head_dim).enumerate() {
        let kv_head = head / case.group;
        let dot = |key: usize| -> f64 {
            q.iter().enumerate().map(|(d, q)| f64::from(*q) * number(0, kv_head, key, d)).sum()
        };
        let scores: Vec<f64> = (0..row.context).map(|key| dot(key) / (head_dim as f64).sqrt()).collect();
        let max = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let weights: Vec<f64> = scores.iter().map(|s| (s - max).exp()).collect();
        let sum: f64 = weights.iter().sum();
        out.extend((0..head_dim).map(|d| {
            weights.iter().enumerate().map(|(key, w)| w * number(1, kv_head, key, d)).sum::<f64>() / sum
        }));
    }
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn grouping_threads_and_neighbours_change_no_bit(case in cases()) {
        let (store, tables) = stored(&case, &contents(&case));
        let rows = rows(&case, &tables);
        let q = queries(&case, rows.len());
        let together = attend(&case, &rows, &q, &store, true, 1);
        prop_assert_eq!(bits(&together), bits(&attend(&case, &rows, &q, &store, true, 4)));
        prop_assert_eq!(bits(&together), bits(&attend(&case, &rows, &q, &store, false, 1)));
        let width = q.len() / rows.len();
        for (i, row) in rows.iter().enumerate() {
            let (q, out) = (&q[i * width..(i + 1) * width], &together[i * width..(i + 1) * width]);
            let alone = attend(&case, std::slice::from_ref(row), q, &store, true, 1);
            prop_assert_eq!(bits(&alone), bits(out), "row {}", i);
            if i % 8 == 0 {
                let expected = reference(&case, row, q, &store);
                for (out, expected) in out.iter().zip(&expected) {
                    prop_assert!((f64::from(*out) - expected).abs() < 2e-5, "{} {}", out, expected);
                }
            }
        }
    }

    #[test]
    fn block_size_and_sharing_change_no_bit(case in cases(), block_tokens in 1usize..=130) {
        let contents = contents(&case);
        let run = |case: &Case| {
            let (store, tables) = stored(case, &contents);
            let rows = rows(case, &tables);
            attend(case, &rows, &queries(case, rows.len()), &store, true, 1)
        };
        if case.precision == KvPrecision::Int4 {
            // Which keys a row sees at eight bits depends on where blocks begin.
            return Ok(());
        }
        let other = Case { shape: KvShape { block_tokens, ..case.shape }, ..case.clone() };
        prop_assert_eq!(bits(&run(&case)), bits(&run(&other)));
        // Rounded numbers at full precision are the numbers of the rounded store.
        let (store, tables) = stored(&case, &contents);
        let exact = Case { precision: KvPrecision::F32, ..case.clone() };
        let mut wide = KvStore::new(case.shape, KvPrecision::F32, tables.iter().map(Vec::len).sum());
        for block in tables.iter().flatten() {
            let mut values = Vec::new();
            store.export(*block, &mut values);
            wide.import(*block, &values);
        }
        let rows = rows(&case, &tables);
        let q = queries(&case, rows.len());
        let narrow = attend(&case, &rows, &q, &store, true, 1);
        prop_assert_eq!(bits(&narrow), bits(&attend(&exact, &rows, &q, &wide, true, 1)));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    /// Whatever the precision, attention is that over the numbers seen, in one piece of memory at full precision.
    #[test]
    fn paged_is_contiguous(case in cases()) {
        let (store, tables) = stored(&case, &contents(&case));
        let rows = rows(&case, &tables);
        let q = queries(&case, rows.len());
        let together = attend(&case, &rows, &q, &store, true, 2);
        let width = q.len() / rows.len();
        for (i, row) in rows.iter().enumerate().step_by(3) {
            let KvShape { kv_heads, head_dim, .. } = case.shape;
            let shape = KvShape { block_tokens: row.context, ..case.shape };
            let whole = Case { shape, precision: KvPrecision::F32, ..case.clone() };
            let mut contiguous = KvStore::new(shape, KvPrecision::F32, 1);
            let [keys, values] = seen(&case, row, &store);
            for key in 0..row.context {
                let of = |all: &[f32]| -> Vec<f32> {
                    let rows = (0..kv_heads).map(|head| &all[(head * row.context + key) * head_dim..][..head_dim]);
                    rows.flatten().copied().collect()
                };
                contiguous.write(BlockId(0), 0, key, &of(&keys), &of(&values));
            }
            let (q, out) = (&q[i * width..(i + 1) * width], &together[i * width..(i + 1) * width]);
            let alone = Row { blocks: &[BlockId(0)], context: row.context };
            let expected = attend(&whole, &[alone], &turned(&case, q, &store), &contiguous, false, 1);
            prop_assert_eq!(bits(out), bits(&expected), "row {}", i);
        }
    }
}

/// The load that grouping is for: 32 sequences behind one prefix, over several tiles.
#[test]
fn many_sequences_behind_a_long_prefix_change_no_bit() {
    for group in [2, 8] {
        let case = Case {
            shape: KvShape { layers: 1, kv_heads: 2, head_dim: 128, block_tokens: 16 },
            group,
            precision: KvPrecision::F32,
            likes: (0..32).map(|_| (0, 1024)).collect(),
            spans: (0..32).map(|i| (1025 + i * 7, if i == 5 { 48 } else { 1 })).collect(),
            seed: 5,
        };
        let (store, tables) = stored(&case, &contents(&case));
        assert!(tables.iter().all(|table| table[..64] == tables[0][..64]));
        let rows = rows(&case, &tables);
        let q = queries(&case, rows.len());
        let alone = attend(&case, &rows, &q, &store, false, 1);
        for threads in [1, 4] {
            assert_eq!(bits(&alone), bits(&attend(&case, &rows, &q, &store, true, threads)));
        }
    }
}
