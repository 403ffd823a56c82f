//! How the work is cut, and in which order threads run, changes no bit.

use super::*;

#[test]
fn chunks_blocks_and_kernels_change_no_bit() {
    let tokens = tokens(75, 7);
    let blocks = ids((0..75).rev());
    // 75 rows take the wide product, fewer the others.
    let whole = in_chunks(&mut runner(Order::Forward, 16, 75), &tokens, 75, &blocks);
    assert!(whole.iter().all(|logit| logit.is_finite()) && whole.len() == 75 * 272);
    for (block_tokens, chunk) in [(16, 64), (16, 17), (16, 3), (1, 75), (5, 30), (32, 10)] {
        let cut = in_chunks(&mut runner(Order::Forward, block_tokens, 75), &tokens, chunk, &blocks);
        assert!(cut == whole, "chunks of {chunk} in blocks of {block_tokens}");
    }
}

/// A barrier that is missing, or memory that two threads write, shows in one of these orders.
#[test]
fn the_order_of_threads_changes_no_bit() {
    let run = |order| {
        let mut runner = runner(order, 8, 43);
        // Wide and narrow products, chunks of keys folded by one warp, by four and by several blocks.
        let mut logits = in_chunks(&mut runner, &tokens(300, 7), 280, &ids(0..40));
        logits.extend(in_chunks(&mut runner, &tokens(9, 5), 5, &ids(40..42)));
        logits.extend(runner.run(&[span(&[9], 300, &ids(0..40), Logits::Last)]).unwrap());
        logits
    };
    let forward = run(Order::Forward);
    for order in [Order::Backward, Order::Shuffled(1)] {
        assert!(run(order) == forward, "{order:?}");
    }
}

#[test]
fn neighbours_in_the_batch_change_no_bit() {
    let sequences = [tokens(33, 5), tokens(9, 11), tokens(20, 3)];
    let table = |i: usize| ids(i as u32 * 5..i as u32 * 5 + 5);
    let alone: Vec<f32> = sequences
        .iter()
        .flat_map(|s| in_chunks(&mut runner(Order::Forward, 8, 16), s, s.len(), &table(0)))
        .collect();
    let mut together = runner(Order::Forward, 8, 16);
    let spans: Vec<Span> =
        sequences.iter().enumerate().map(|(i, s)| span(s, 0, &table(i), Logits::All)).collect();
    assert!(together.run(&spans).unwrap() == alone, "prompts");
    // One token for each, together and then each alone; what it writes is the same again.
    let next: Vec<Span> =
        sequences.iter().enumerate().map(|(i, s)| span(&[42], s.len(), &table(i), Logits::Last)).collect();
    let steps = together.run(&next).unwrap();
    let each: Vec<f32> =
        next.iter().flat_map(|span| together.run(std::slice::from_ref(span)).unwrap()).collect();
    assert!(steps == each, "answers");
    // Rows without wanted logits leave the others where they are.
    let mut middle = next.clone();
    middle[1].logits = Logits::None;
    assert!(together.run(&middle).unwrap() == [&steps[..272], &steps[2 * 272..]].concat());
}

/// Many rows behind one prefix of several chunks, which they read together; each of them alone; and all of the few last tokens of one
/// sequence at once, by one warp or by four, or one after the other.
#[test]
fn chunks_of_keys_are_folded_alike_by_whoever_reads_them() {
    let mut runner = runner(Order::Forward, 16, 160);
    let prefix = tokens(304, 7);
    let shared = ids(0..19);
    let behind = |i: u32| [shared.clone(), vec![BlockId(19 + i)]].concat();
    runner.run(&[span(&prefix, 0, &shared, Logits::None)]).unwrap();
    let spans: Vec<Span> = (0..130).map(|i| span(&[i + 7], prefix.len(), &behind(i), Logits::Last)).collect();
    runner.device().launched.clear();
    let together = runner.run(&spans).unwrap();
    assert!(runner.device().launched.contains(&"bul_fold"));
    for i in [0, 64, 129] {
        let alone = runner.run(&spans[i..=i]).unwrap();
        assert!(alone == together[i * 272..(i + 1) * 272], "row {i}");
    }
    let more = tokens(12, 5);
    let mut last = |chunk: usize| -> Vec<f32> {
        let parts = more.chunks(chunk).enumerate();
        let spans = parts.map(|(i, part)| span(part, prefix.len() + i * chunk, &behind(0), Logits::All));
        spans.flat_map(|span| runner.run(&[span]).unwrap()).collect()
    };
    let one_by_one = last(1);
    assert!(last(12) == one_by_one && last(6) == one_by_one && one_by_one.len() == 12 * 272);
}

#[test]
fn blocks_go_out_and_come_back_and_others_are_never_read() {
    let mut first = runner(Order::Forward, 8, 12);
    let tokens = tokens(20, 7);
    let blocks = ids([3, 7, 5].into_iter());
    let whole = in_chunks(&mut first, &tokens, 20, &blocks);
    let mut second = runner(Order::Forward, 8, 12);
    let (mut values, mut nothing) = (Vec::new(), vec![1.0]);
    first.export(BlockId(4), &mut nothing);
    assert!(nothing.is_empty(), "nothing was written to it");
    first.export(BlockId(3), &mut values);
    let poison = vec![f32::NAN; values.len()];
    for block in 0..12 {
        second.import(BlockId(block), &poison);
    }
    for (from, to) in [(3, 1), (7, 9)] {
        first.export(BlockId(from), &mut values);
        second.import(BlockId(to), &values);
        let mut again = Vec::new();
        second.export(BlockId(to), &mut again);
        assert_eq!(values, again);
    }
    let blocks = ids([1, 9, 0].into_iter());
    let rest = second.run(&[span(&tokens[16..], 16, &blocks, Logits::All)]).unwrap();
    assert!(rest == whole[16 * 272..]);
}

#[test]
fn what_is_out_of_range_is_refused_and_nothing_breaks() {
    let mut runner = runner(Order::Forward, 8, 4);
    for wrong in [span(&[272], 0, &ids(0..1), Logits::Last), span(&[1], 0, &ids(4..5), Logits::Last)] {
        assert!(runner.run(&[wrong]).is_err());
    }
    assert_eq!(runner.run(&[span(&[1], 0, &ids(0..1), Logits::Last)]).unwrap().len(), 272);
}
