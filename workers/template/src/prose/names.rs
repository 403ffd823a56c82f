//! Names in prose: runs of capitalised words, and tokens only a machine would write.

/// A stretch of text that looks like a name somebody has given.
pub(super) fn names(text: &str, is_german: bool) -> Vec<String> {
    if may_hold(text) { found(text, is_german) } else { Vec::new() }
}

fn found(text: &str, is_german: bool) -> Vec<String> {
    let mut out = Vec::new();
    for sentence in text.split(['.', '!', '?', ':', ';', '\n']) {
        let words: Vec<&str> = sentence.split_whitespace().map(bare).filter(|w| !w.is_empty()).collect();
        // German writes every noun with a capital; runs of them prove nothing.
        if !is_german {
            capital_runs(&words, &mut out);
        }
    }
    for word in text.split_whitespace().map(bare) {
        if is_machine_token(word) && !out.iter().any(|known| known == word) {
            out.push(word.to_owned());
        }
    }
    out
}

/// Whether there can be a name in a text: two words behind each other with capitals, or what only a machine would write.
/// Most texts have neither, which one look at their bytes shows. Text beyond ASCII is looked at closely.
fn may_hold(text: &str) -> bool {
    let mut last = b' ';
    // Of the word before and of this one; signs alone are no word.
    let (mut had_capital, mut has_capital, mut has_letter) = (false, false, false);
    text.bytes().any(|byte| {
        if matches!(byte, b' ' | b'\t'..=b'\r') {
            if has_letter {
                had_capital = has_capital;
            }
            (has_capital, has_letter) = (false, false);
        }
        has_letter |= byte.is_ascii_alphanumeric();
        has_capital |= byte.is_ascii_uppercase();
        let is_camel = byte.is_ascii_uppercase() && last.is_ascii_lowercase();
        let is_address = matches!(byte, b'@' | b'/') || (byte == b'.' && last == b'w');
        last = byte;
        !byte.is_ascii() || is_camel || is_address || (has_capital && had_capital)
    })
}

fn bare(word: &str) -> &str {
    word.trim_matches(|c: char| !c.is_alphanumeric() && !matches!(c, '@' | '/' | '#'))
}

/// Runs of at least two capitalised words. The first word of a sentence always has a capital, so
/// it only counts together with two more.
fn capital_runs(words: &[&str], out: &mut Vec<String>) {
    let mut at = 0;
    while at < words.len() {
        let length = words[at..].iter().take_while(|word| is_capitalised(word)).count();
        let needed = if at == 0 { 3 } else { 2 };
        if length >= needed {
            let from = if at == 0 && is_opener(words[0]) { 1 } else { at };
            if at + length - from >= 2 {
                out.push(words[from..at + length].join(" "));
            }
        }
        at += length.max(1);
    }
}

fn is_capitalised(word: &str) -> bool {
    let mut chars = word.chars();
    chars.next().is_some_and(char::is_uppercase) && chars.next().is_some_and(|c| c.is_lowercase() || c == '.')
}

/// Words that open a sentence before a name.
fn is_opener(word: &str) -> bool {
    matches!(
        word,
        "The"
            | "A"
            | "An"
            | "In"
            | "On"
            | "At"
            | "For"
            | "With"
            | "By"
            | "From"
            | "Dear"
            | "Our"
            | "Your"
            | "This"
    )
}

/// Addresses, links and camel case.
fn is_machine_token(word: &str) -> bool {
    let mut bytes = word.bytes();
    if bytes.next().is_none_or(|first| first.is_ascii_alphabetic()) && bytes.all(|b| b.is_ascii_lowercase()) {
        return false;
    }
    let camel = word.chars().zip(word.chars().skip(1)).any(|(a, b)| a.is_lowercase() && b.is_uppercase());
    word.contains('@') || word.contains("://") || word.starts_with("www.") || camel
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_text_that_can_hold_no_name_holds_none(
            text in "([A-C][a-c]{0,2}|[a-c]{1,3}|[-.,:;!?/@w\n]|://|www\\.|É| ){0,14}"
        ) {
            prop_assert!(may_hold(&text) || found(&text, false).is_empty(), "{:?}", found(&text, false));
        }
    }

    #[test]
    fn names_are_found() {
        for (text, expected) in [
            ("Please contact Jane Doe about it.", vec!["Jane Doe"]),
            ("The team met. The Acme Trading company paid.", vec!["Acme Trading"]),
            ("We plan the launch in good time.", vec![]),
            ("Write to sales@acme.example or myApp.", vec!["sales@acme.example", "myApp"]),
            ("Customer Service answers.", vec![]),
        ] {
            assert_eq!(names(text, false), expected, "{text}");
        }
        assert!(names("Die Neue Straße ist lang.", true).is_empty());
    }
}
