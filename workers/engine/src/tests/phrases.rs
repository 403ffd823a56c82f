//! A model's phrases: answers keep to them, can always end, and bad files are refused.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;

use super::shapes::write;
use crate::constraint::{PhraseBook, Shape, check};
use crate::job::Constraint;
use crate::testing::vocabulary;

/// A book of whole sentences and headings, without merged states.
fn book(sentences: &[&str], headings: &[&str]) -> Vec<u8> {
    let mut states: Vec<BTreeMap<String, u32>> = vec![BTreeMap::new(), BTreeMap::new()];
    let texts =
        sentences.iter().map(|s| (0, (*s).to_string())).chain(headings.iter().map(|h| (1, format!("{h}\n"))));
    for (start, text) in texts {
        let words: Vec<&str> = text.split(' ').collect();
        let mut state = start;
        for (at, word) in words.iter().enumerate() {
            if at + 1 == words.len() {
                states[state].entry((*word).into()).or_insert(u32::MAX);
            } else {
                let fresh = states.len() as u32;
                let next = *states[state].entry((*word).into()).or_insert(fresh);
                if next == fresh {
                    states.push(BTreeMap::new());
                }
                state = next as usize;
            }
        }
    }
    let words: std::collections::BTreeSet<&String> = states.iter().flat_map(|s| s.keys()).collect();
    let words: Vec<&String> = words.into_iter().collect();
    let text: usize = words.iter().map(|w| w.len()).sum();
    let steps: usize = states.iter().map(BTreeMap::len).sum();
    let mut out = b"BULPHR01".to_vec();
    let number = |n: usize, out: &mut Vec<u8>| out.extend((n as u32).to_le_bytes());
    for n in [words.len(), text, states.len(), steps, 0, 1] {
        number(n, &mut out);
    }
    words.iter().fold(0, |end, word| {
        number(end + word.len(), &mut out);
        end + word.len()
    });
    words.iter().for_each(|word| out.extend(word.as_bytes()));
    states.iter().fold(0, |end, state| {
        number(end + state.len(), &mut out);
        end + state.len()
    });
    for (word, next) in states.iter().flatten() {
        number(words.binary_search(&word).unwrap(), &mut out);
        number(*next as usize, &mut out);
    }
    out
}

const SENTENCES: &[&str] = &[
    "The total is [total].",
    "The total is good.",
    "The team works well.",
    "The team of [owner] is small.",
    "We hand [*] over, as planned.",
    "We thank [owner]'s team.",
    "All is well.",
    "All is said and done.",
];
const HEADINGS: &[&str] = &["Summary", "Risks & Measures", "Risks", "Next steps", "Summary of costs"];

fn small() -> Arc<PhraseBook> {
    Arc::new(PhraseBook::from_bytes(&book(SENTENCES, HEADINGS)).unwrap())
}

fn follows(shape: &mut Shape, text: &str) -> bool {
    text.bytes().all(|b| shape.push(&[b]))
}

fn prose(facts: &[&str], sentences: usize) -> Constraint {
    Constraint::Prose { facts: facts.iter().map(|f| (*f).to_string()).collect(), sentences, said: Vec::new() }
}

#[test]
fn only_known_sequences_with_facts_on_offer_follow() {
    let book = small();
    for (facts, text, expected) in [
        (&["total"][..], "The total is [total].", true),
        (&["total"], "The total is [total]. We hand", false),
        (&["total", "lot number"], "The total is [total]. We hand [lot number] over, as planned.", true),
        (&["owner"], "We thank [owner]'s team. The team of [owner] is small.", true),
        (&["owner"], "The total is [", false),
        (&["total"], "The team of", false),
        (&["total", "owner"], "The total is [owner", false),
        (&[], "All is well. All is said and done.", true),
        (&[], "All is we, ", false),
        (&[], "Ally", false),
        (&[], "The total works", false),
    ] {
        let mut shape = Shape::new(&prose(facts, 3), 500, Some(&book)).unwrap();
        assert_eq!(follows(&mut shape, text), expected, "{facts:?} {text}");
    }
}

#[test]
fn a_sentence_comes_once_and_the_way_to_it_is_closed_in_time() {
    let book = small();
    let mut shape = Shape::new(&prose(&["total"], 4), 500, Some(&book)).unwrap();
    assert!(follows(&mut shape, "All is well. All is "));
    assert!(!shape.allows(b"w") && shape.allows(b"s"));
    assert!(follows(&mut shape, "said and done. "));
    // Both sentences that begin so are used up.
    assert!(!shape.allows(b"A") && shape.allows(b"T"));
}

#[test]
fn what_was_said_elsewhere_does_not_come_again() {
    let book = small();
    let said =
        ["All is well.", "No sentence of the book.", "The total is [total]."].map(String::from).to_vec();
    let constraint = Constraint::Prose { facts: vec!["total".into()], sentences: 2, said };
    let mut shape = Shape::new(&constraint, 500, Some(&book)).unwrap();
    assert!(follows(&mut shape, "All is "));
    assert!(!shape.allows(b"w") && shape.allows(b"s"));
    assert!(follows(&mut shape, "said and done. The total is "));
    assert!(!shape.allows(b"[") && shape.allows(b"g"));
    // The same without a book.
    let mut shape = Shape::new(&constraint, 500, None).unwrap();
    assert!(follows(&mut shape, "All is well"));
    assert!(!shape.allows(b".") && shape.allows(b" "));
}

#[test]
fn headings_are_those_of_the_book() {
    let book = small();
    for (text, complete) in [
        ("- Summary\n- Risks & Measures", true),
        ("- Risks\n- Next steps", true),
        ("- Risks\n- Summary of", false),
    ] {
        let mut shape = Shape::new(&Constraint::Outline { items: 2 }, 500, Some(&book)).unwrap();
        assert!(follows(&mut shape, text), "{text}");
        assert_eq!(shape.may_end(), complete, "{text}");
    }
    let mut shape = Shape::new(&Constraint::Outline { items: 2 }, 500, Some(&book)).unwrap();
    assert!(!follows(&mut shape, "- Callation"));
}

#[test]
fn where_nothing_follows_the_sentence_may_leave_and_the_next_returns() {
    let book = Arc::new(PhraseBook::from_bytes(&book(&["All is well."], &["Summary"])).unwrap());
    let mut shape = Shape::new(&prose(&[], 3), 500, Some(&book)).unwrap();
    assert!(follows(&mut shape, "All is well. "));
    assert!(!shape.allows(b"A"));
    assert!(shape.relax() && !shape.relax());
    assert!(follows(&mut shape, "It goes on. "));
    assert!(!shape.allows(b"I"));
}

#[test]
fn a_damaged_file_is_refused() {
    let good = book(SENTENCES, HEADINGS);
    assert!(PhraseBook::from_bytes(&good).is_ok());
    for cut in [0, 4, 8, 20, 31, good.len() / 2, good.len() - 1] {
        assert!(PhraseBook::from_bytes(&good[..cut]).is_err(), "{cut}");
    }
    for at in [8, 12, 16, 20, 24, 28] {
        let mut bad = good.clone();
        bad[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(PhraseBook::from_bytes(&bad).is_err(), "{at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn random_logits_write_sentences_of_the_book(
        sentences in 1usize..4,
        facts in proptest::sample::subsequence(vec!["total", "owner", "other"], 0..=3),
        seed in any::<u64>(),
        greedy in any::<bool>(),
    ) {
        let (vocabulary, book) = (vocabulary(), small());
        let constraint = prose(&facts, sentences);
        let text = write(&constraint, &vocabulary, sentences * 80, seed, greedy, Some(&book));
        prop_assert!(text.is_ok(), "{:?}", text);
        let text = text.unwrap();
        prop_assert_eq!(check(&constraint, &text), Ok(()), "{}", text);
        for sentence in text.split_inclusive('.').map(str::trim) {
            let known = sentence.replace("[other]", "[*]");
            prop_assert!(SENTENCES.contains(&known.as_str()), "{sentence} in {text}");
        }
    }

    #[test]
    fn a_file_with_any_byte_changed_never_panics(at in 0usize..600, byte in any::<u8>(), seed in any::<u64>()) {
        let mut bytes = book(SENTENCES, HEADINGS);
        let at = at % bytes.len();
        bytes[at] = byte;
        if let Ok(book) = PhraseBook::from_bytes(&bytes) {
            // Whatever it holds now: the answer keeps to the form, or the request fails.
            let constraint = prose(&["total"], 2);
            if let Ok(text) = write(&constraint, &vocabulary(), 120, seed, false, Some(&Arc::new(book))) {
                prop_assert_eq!(check(&constraint, &text), Ok(()), "{}", text);
            }
        }
    }
}

/// The shipped book knows what its corpus says.
#[test]
fn the_shipped_book_holds_the_corpus() {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../model");
    let book = PhraseBook::from_bytes(&std::fs::read(model.join("weights/phrases.bin")).unwrap()).unwrap();
    let book = Arc::new(book);
    let sample = std::fs::read_to_string(model.join("corpus/sample.jsonl")).unwrap();
    let mut answers = 0;
    for group in sample.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()) {
        for prompt in group["prompts"].as_array().unwrap() {
            let user = prompt["user"].as_str().unwrap();
            let names = user.lines().filter_map(|l| l.strip_prefix('[')?.split_once(']'));
            let facts: Vec<&str> = names.map(|(name, _)| name).collect();
            for answer in prompt["answers"].as_array().unwrap().iter().filter_map(|a| a.as_str()) {
                let constraint = if user.contains("Write an outline") {
                    Constraint::Outline { items: answer.lines().count() }
                } else {
                    prose(&facts, answer.matches('.').count())
                };
                // After two words the book turns away from a sentence that begins alike; its corpus need not. Then it
                // must hold each of them.
                let sentences: Vec<&str> = answer.split_inclusive('.').map(str::trim).collect();
                let beginnings: HashSet<Vec<&str>> =
                    sentences.iter().map(|s| s.split(' ').take(3).collect()).collect();
                if beginnings.len() < sentences.len() {
                    for sentence in sentences {
                        let mut shape = Shape::new(&prose(&facts, 1), 5_000, Some(&book)).unwrap();
                        assert!(follows(&mut shape, sentence) && shape.may_end(), "{sentence}");
                    }
                    continue;
                }
                let mut shape = Shape::new(&constraint, 5_000, Some(&book)).unwrap();
                assert!(follows(&mut shape, answer) && shape.may_end(), "{answer}");
                answers += 1;
            }
        }
    }
    assert!(answers > 300, "{answers}");
}
