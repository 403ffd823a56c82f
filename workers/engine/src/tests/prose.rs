//! What one paragraph of plain sentences is, and what is not.

use crate::constraint::check;
use crate::job::Constraint;

fn verdict(sentences: usize, text: &str) -> Result<(), String> {
    let facts = ["total".to_string(), "total_2024".to_string(), "Owner name".to_string()];
    check(&Constraint::Prose { facts: facts.to_vec(), sentences, said: Vec::new() }, text)
}

#[test]
fn plain_sentences_pass() {
    for (n, text) in [
        (1, "The invoice is due."),
        (1, "[total] is the sum, and [total_2024] (the older one) isn't."),
        (1, "The customers' share - as agreed - stays well-known: high; steady."),
        (1, "Die Prüfung läuft, für [Owner name]’s Änderung – später."),
        (2, "Is this right? It is quite right."),
        (3, "One two three. Four five six! Seven eight nine."),
    ] {
        assert_eq!(verdict(n, text), Ok(()), "{text}");
    }
}

#[test]
fn everything_else_is_refused() {
    for (n, text) in [
        (1, ""),
        (1, "the invoice is due."),
        (1, "The invoice is due"),
        (1, "The invoice is due. "),
        (1, "The invoice  is due."),
        (1, "The invoice of 2024 is due."),
        (1, "The [price] is due now."),
        (1, "The [total is due now."),
        (1, "The [tot] is due now."),
        (1, "The invoice is due.\n"),
        (1, "The **invoice** is due."),
        (1, "The invoice is due?"),
        (1, "The end."),
        (1, "The invoice (still open is due."),
        (1, "The invoice ,open, is due."),
        (1, "The invoice is due. It is late."),
        (2, "The invoice is due."),
        (2, "The invoice is due. it is late."),
        (2, "The invoice is due. The invoice is due."),
        (1, "One two three four five six and one two three four five six."),
        (1, "A a a a a a a."),
        (1, "The invoice is due \u{1F600}."),
    ] {
        assert!(verdict(n, text).is_err(), "{text:?}");
    }
    let long = format!("A{}.", " word b c d e".repeat(20));
    assert!(verdict(1, &long).is_err());
}
