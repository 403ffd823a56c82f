//! Text hygiene: one form for every string, whatever the event or the model sent.
//!
//! Invariant: cleaned text is NFC, legal in XML 1.0, free of control, bidi-control and invisible
//! format characters, and cleaning it again changes nothing. Called by normalisation only.

use unicode_normalization::{UnicodeNormalization, is_nfc};

/// Removes what no document may hold and composes the rest. Line ends become `\n`, tabs stay.
pub(crate) fn clean(text: String) -> String {
    if is_plain(&text) { text } else { cleaned(&text) }
}

/// Whether there is nothing to clean: printable ASCII, as most texts are.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n' | b'\t'))
}

fn cleaned(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\r' => {
                chars.next_if_eq(&'\n');
                out.push('\n');
            }
            '\u{0B}' | '\u{0C}' | '\u{85}' | '\u{2028}' | '\u{2029}' => out.push('\n'),
            c if is_kept(c) => out.push(c),
            _ => {}
        }
    }
    compose(&mut out);
    out
}

/// Composes in place; joining two composed texts can leave a mark behind its letter.
pub(crate) fn compose(text: &mut String) {
    if !text.is_ascii() && !is_nfc(text) {
        *text = text.nfc().collect();
    }
}

/// Cleaned text of one line: every run of blanks and line ends is one space, none at the ends.
pub(crate) fn clean_line(text: String) -> String {
    if is_one_line(&text) {
        return text;
    }
    let mut out = String::with_capacity(text.len());
    for word in clean(text).split([' ', '\t', '\n']).filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// Whether a text is words of printable ASCII with single spaces between them and nothing at its ends: a clean line, as
/// most texts of one line are, found out at a fraction of what cleaning costs. `false` says nothing.
pub fn is_one_line(text: &str) -> bool {
    let mut blank = true;
    for byte in text.bytes() {
        match byte {
            b' ' if blank => return false,
            b' '..=b'~' => blank = byte == b' ',
            _ => return false,
        }
    }
    !blank || text.is_empty()
}

fn is_kept(c: char) -> bool {
    match c {
        '\n' | '\t' => true,
        // Joiners carry meaning in Persian, Indic scripts and emoji.
        '\u{200C}' | '\u{200D}' => true,
        // Soft hyphen, Mongolian vowel separator, zero width space, bidi marks and overrides,
        // invisible operators, byte order mark, interlinear annotation, language tags: unseen by
        // a reader, so they can only mislead (`invoice\u{202E}fdp.exe`) or break a search.
        '\u{AD}' | '\u{61C}' | '\u{180E}' | '\u{200B}' | '\u{200E}' | '\u{200F}' => false,
        '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}' => false,
        '\u{FFF9}'..='\u{FFFB}' | '\u{E0000}'..='\u{E007F}' => false,
        // Noncharacters; U+FFFE and U+FFFF are illegal in XML.
        '\u{FDD0}'..='\u{FDEF}' => false,
        c if u32::from(c) & 0xFFFE == 0xFFFE => false,
        c => !c.is_control(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expected: &str) {
        assert_eq!(clean(input.into()), expected);
        assert_eq!(clean(expected.into()), expected, "cleaning twice changes nothing");
    }

    #[test]
    fn removes_what_readers_cannot_see() {
        check("a\u{0}b\u{7}c\u{9f}d", "abcd");
        check("invoice\u{202E}fdp.exe\u{2069}", "invoicefdp.exe");
        check("\u{FEFF}zero\u{200B}width\u{FFFF}", "zerowidth");
        check("می\u{200C}خواهم", "می\u{200C}خواهم");
    }

    #[test]
    fn composes_and_unifies_line_ends() {
        check("Mu\u{308}ller", "Müller");
        check("a\r\nb\rc\u{2028}d", "a\nb\nc\nd");
        // The mark composes only once the character between is gone.
        check("u\u{200B}\u{308}", "ü");
    }

    #[test]
    fn one_line() {
        for (input, expected) in [
            ("  a \t\n b\u{A0}c ", "a b\u{A0}c"),
            (" \n ", ""),
            ("", ""),
            ("a b c", "a b c"),
            ("a  b", "a b"),
            (" a", "a"),
            ("a ", "a"),
            ("a\tb", "a b"),
            ("ä  ö", "ä ö"),
        ] {
            assert_eq!(clean_line(input.into()), expected, "{input:?}");
            assert_eq!(clean_line(expected.into()), expected, "cleaning twice changes nothing");
            assert!(!is_one_line(input) || input == expected, "{input:?}");
        }
    }
}
