//! Heading levels without gaps, and one anchor per heading.

use std::collections::HashSet;

/// Characters of a heading that make its anchor; more make links unreadable.
const TEXT_CHARS_MAX: usize = 64;
/// Longest anchor a template may give. Above the longest made here, so that an anchor of an earlier
/// normalisation stays what it is.
const ID_CHARS_MAX: usize = 200;

/// The outline so far.
#[derive(Default)]
pub(crate) struct Outline {
    /// Levels as given, of the headings above the current one.
    open: Vec<u8>,
    ids: HashSet<String>,
}

impl Outline {
    /// The level to use for a heading given at `level`: siblings stay siblings, gaps close up.
    pub(crate) fn level(&mut self, level: u8) -> u8 {
        while self.open.last().is_some_and(|&above| above >= level) {
            self.open.pop();
        }
        self.open.push(level);
        self.open.len() as u8
    }

    /// An anchor made from the given id, or from the words of the heading where it is empty;
    /// distinct from all earlier ones.
    pub(crate) fn id(&mut self, id: &str, words: &str) -> String {
        let base = if id.trim().is_empty() { slug(words, TEXT_CHARS_MAX) } else { slug(id, ID_CHARS_MAX) };
        let mut id = base.clone();
        let mut number = 2_usize;
        while !self.ids.insert(id.clone()) {
            id = format!("{base}-{number}");
            number += 1;
        }
        id
    }
}

/// Letters and digits in lower case, joined by single hyphens; starts with a letter, because XML
/// identifiers must.
fn slug(text: &str, chars_max: usize) -> String {
    let mut out = String::new();
    let mut gap = false;
    for c in text.chars().flat_map(char::to_lowercase).take(chars_max) {
        if c.is_alphanumeric() {
            if gap && !out.is_empty() {
                out.push('-');
            }
            gap = false;
            out.push(c);
        } else {
            gap = true;
        }
    }
    if out.starts_with(|c: char| c.is_alphabetic()) {
        out
    } else if out.is_empty() {
        "section".to_owned()
    } else {
        format!("section-{out}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_levels(given: &[u8], expected: &[u8]) {
        let mut outline = Outline::default();
        let got: Vec<u8> = given.iter().map(|&level| outline.level(level)).collect();
        assert_eq!(got, expected);
    }

    #[test]
    fn levels_have_no_gaps() {
        check_levels(&[3, 3, 2], &[1, 1, 1]);
        check_levels(&[1, 3, 3, 2, 6], &[1, 2, 2, 2, 3]);
        check_levels(&[2, 3, 1, 2], &[1, 2, 1, 2]);
    }

    #[test]
    fn anchors_are_distinct() {
        let mut outline = Outline::default();
        assert_eq!(outline.id("", "Zahlung & Verzug"), "zahlung-verzug");
        assert_eq!(outline.id("", "Zahlung – Verzug!"), "zahlung-verzug-2");
        assert_eq!(outline.id("", "2. Prüfung"), "section-2-prüfung");
        assert_eq!(outline.id("", "***"), "section");
    }
}
