//! Constraints hold whatever the model says, for any budget that is accepted.

use std::sync::Arc;

use proptest::prelude::*;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::constraint::{PhraseBook, Shape, check};
use crate::job::{Constraint, Sampling};
use crate::sample::Sampler;
use crate::testing::vocabulary;
use crate::vocabulary::Vocabulary;

/// Writes an answer from random logits, some of them strongly in favour of a few tokens.
pub(super) fn write(
    constraint: &Constraint,
    vocabulary: &Vocabulary,
    max_tokens: usize,
    seed: u64,
    greedy: bool,
    book: Option<&Arc<PhraseBook>>,
) -> Result<String, String> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let temperature = if greedy { 0.0 } else { 1.0 };
    let mut sampler = Sampler::new(&Sampling { max_tokens, temperature, top_p: 0.9, seed });
    let mut shape = Shape::new(constraint, max_tokens, book)?;
    let end = vocabulary.id("<|end|>").unwrap();
    // A fixed preference makes repetition likely, which the shape must break up.
    let favour: Vec<f32> = (0..vocabulary.size()).map(|_| rng.random::<f32>() * 6.0).collect();
    let mut text = Vec::new();
    for written in 0..max_tokens {
        if shape.must_end() {
            break;
        }
        shape.set_remaining(max_tokens - written);
        let logits: Vec<f32> = favour.iter().map(|f| f + rng.random::<f32>() * 3.0).collect();
        let may_end = shape.may_end();
        let token = sampler
            .choose(&logits, |token| {
                let bytes = vocabulary.bytes(token);
                if token == end { may_end } else { !bytes.is_empty() && shape.allows(bytes) }
            })
            .ok_or_else(|| format!("stuck after {:?}", String::from_utf8_lossy(&text)))?;
        if token == end {
            break;
        }
        assert!(shape.push(vocabulary.bytes(token)));
        text.extend_from_slice(vocabulary.bytes(token));
    }
    String::from_utf8(text).map_err(|e| e.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn random_logits_keep_to_prose(
        sentences in 1usize..6,
        facts in proptest::collection::vec("[A-Za-z0-9_ ]{1,12}", 0..5),
        spare in 0usize..120,
        seed in any::<u64>(),
        greedy in any::<bool>(),
    ) {
        let vocabulary = vocabulary();
        let constraint = Constraint::Prose { facts, sentences, said: Vec::new() };
        let max_tokens = sentences * 10 + spare;
        let text = write(&constraint, &vocabulary, max_tokens, seed, greedy, None);
        prop_assert!(text.is_ok(), "{:?}", text);
        let text = text.unwrap();
        prop_assert_eq!(check(&constraint, &text), Ok(()), "{}", text);
    }

    #[test]
    fn random_logits_keep_to_an_outline(
        items in 1usize..8,
        spare in 0usize..150,
        seed in any::<u64>(),
        greedy in any::<bool>(),
    ) {
        let vocabulary = vocabulary();
        let constraint = Constraint::Outline { items };
        let text = write(&constraint, &vocabulary, items * 8 + spare, seed, greedy, None);
        prop_assert!(text.is_ok(), "{:?}", text);
        let text = text.unwrap();
        prop_assert_eq!(check(&constraint, &text), Ok(()), "{}", text);
    }

    #[test]
    fn what_is_refused_leaves_no_trace(
        bytes in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..5), 1..60),
    ) {
        // Trying tokens and then pushing one gives the state of pushing alone.
        let constraint = Constraint::Prose { facts: vec!["ab".into()], sentences: 2, said: Vec::new() };
        let mut tried = Shape::new(&constraint, 500, None).unwrap();
        let mut plain = tried.clone();
        for token in b"The [ab] one is, (well) done. A b".chunks(2) {
            for other in &bytes {
                tried.allows(other);
            }
            prop_assert_eq!(tried.push(token), plain.push(token));
            prop_assert_eq!(format!("{tried:?}"), format!("{plain:?}"));
        }
    }
}

/// Apostrophes behind one-letter words once ate up the tokens for the last full stop.
#[test]
fn apostrophes_do_not_use_up_the_budget() {
    let constraint = Constraint::Prose { facts: vec![], sentences: 4, said: Vec::new() };
    let text = write(&constraint, &vocabulary(), 147, 1_108_949_539_210_450_762, false, None).unwrap();
    assert_eq!(check(&constraint, &text), Ok(()), "{text}");
}

#[test]
fn a_budget_too_small_for_the_shape_is_refused() {
    assert!(
        Shape::new(&Constraint::Prose { facts: vec![], sentences: 3, said: Vec::new() }, 20, None).is_err()
    );
    assert!(
        Shape::new(&Constraint::Prose { facts: vec![], sentences: 0, said: Vec::new() }, 20, None).is_err()
    );
    assert!(
        Shape::new(
            &Constraint::Prose { facts: vec!["a]b".into()], sentences: 1, said: Vec::new() },
            20,
            None
        )
        .is_err()
    );
    assert!(Shape::new(&Constraint::Outline { items: 3 }, 20, None).is_err());
}
