//! Numbers in prose, reduced to digits so that `1,234.50` and `1.234,50` are the same claim.

use std::collections::HashSet;

/// One number as it stands in a text.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Number<'t> {
    pub(super) shown: &'t str,
    /// Spellings of the same value: with and without separators.
    pub(super) key: String,
}

/// Every number of a text. Digits inside a word (`ISO9001`, `v2`) count as well.
pub(super) fn numbers(text: &str) -> Vec<Number<'_>> {
    let bytes = text.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if !bytes[at].is_ascii_digit() {
            at += 1;
            continue;
        }
        let start = at;
        while at < bytes.len() {
            let separator = matches!(bytes[at], b'.' | b',' | b'\'');
            let goes_on = bytes[at].is_ascii_digit()
                || (separator && bytes.get(at + 1).is_some_and(u8::is_ascii_digit));
            if !goes_on {
                break;
            }
            at += 1;
        }
        let shown = &text[start..at];
        out.push(Number { shown, key: key(shown) });
    }
    out
}

/// Digits without separators, trailing decimal zeros and leading zeros.
fn key(shown: &str) -> String {
    let point = shown.rfind(['.', ',']).filter(|at| shown.len() - at - 1 != 3);
    let (whole, fraction) = point.map_or((shown, ""), |at| (&shown[..at], &shown[at + 1..]));
    let digits = |part: &str| part.chars().filter(char::is_ascii_digit).collect::<String>();
    let whole = digits(whole);
    let whole = whole.trim_start_matches('0');
    let whole = if whole.is_empty() { "0" } else { whole };
    match digits(fraction).trim_end_matches('0') {
        "" => whole.to_owned(),
        fraction => format!("{whole}.{fraction}"),
    }
}

/// Keys of every number in a text.
pub(super) fn keys(text: &str, out: &mut HashSet<String>) {
    out.extend(numbers(text).into_iter().map(|number| number.key));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_value_are_equal() {
        for (text, expected) in [
            ("1,234.50", "1234.5"),
            ("1.234,50", "1234.5"),
            ("1234.5", "1234.5"),
            ("1,234", "1234"),
            ("007", "7"),
            ("0.50", "0.5"),
            ("20%", "20"),
        ] {
            assert_eq!(numbers(text)[0].key, expected, "{text}");
        }
    }

    #[test]
    fn all_numbers_are_seen() {
        let seen: Vec<_> =
            numbers("On 1 May 2026, v2 of ISO9001 cost €1,000.").into_iter().map(|n| n.shown).collect();
        assert_eq!(seen, ["1", "2026", "2", "9001", "1,000"]);
    }
}
