//! Live text of a job for people: one section at a time.
//!
//! The engine writes several sections of a document at once, and their tokens arrive mixed. Shown as
//! they come they would be unreadable: one section is shown live, the others are kept until it rests.

use std::collections::VecDeque;

/// Tokens of other sections after which the one shown counts as finished.
const REST_TOKENS: usize = 48;

/// Orders tokens by section.
#[derive(Debug, Default)]
pub struct Slots {
    shown: Option<String>,
    kept: VecDeque<(String, String)>,
    since: usize,
    any: bool,
}

impl Slots {
    /// Takes in a token and returns what to print now.
    pub fn push(&mut self, slot: &str, text: &str) -> String {
        let mut out = String::new();
        if self.shown.is_none() {
            out.push_str(&self.head(slot));
        }
        if self.shown.as_deref() == Some(slot) {
            self.since = 0;
            out.push_str(text);
            return out;
        }
        match self.kept.iter_mut().find(|(name, _)| name == slot) {
            Some((_, kept)) => kept.push_str(text),
            None => self.kept.push_back((slot.to_owned(), text.to_owned())),
        }
        self.since += 1;
        if self.since >= REST_TOKENS {
            out.push_str(&self.turn());
        }
        out
    }

    /// What is left when the job is at its end.
    pub fn finish(&mut self) -> String {
        let mut out = String::new();
        while !self.kept.is_empty() {
            out.push_str(&self.turn());
        }
        if self.any {
            out.push('\n');
        }
        *self = Self::default();
        out
    }

    fn turn(&mut self) -> String {
        let Some((slot, text)) = self.kept.pop_front() else { return String::new() };
        self.head(&slot) + &text
    }

    fn head(&mut self, slot: &str) -> String {
        self.since = 0;
        self.shown = Some(slot.to_owned());
        let gap = if std::mem::replace(&mut self.any, true) { "\n\n" } else { "" };
        format!("{gap}[{slot}]\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_are_shown_one_after_the_other() {
        let mut slots = Slots::default();
        let mut out = String::new();
        for n in 0..3 {
            out += &slots.push("a", &format!("a{n} "));
            out += &slots.push("b", &format!("b{n} "));
        }
        out += &slots.finish();
        assert_eq!(out, "[a]\na0 a1 a2 \n\n[b]\nb0 b1 b2 \n");
        assert_eq!(slots.finish(), "");
    }

    #[test]
    fn a_section_that_rests_gives_way() {
        let mut slots = Slots::default();
        slots.push("a", "x");
        let shown: String = (0..REST_TOKENS).map(|_| slots.push("b", "y")).collect();
        assert!(shown.ends_with(&format!("[b]\n{}", "y".repeat(REST_TOKENS))));
        assert_eq!(slots.push("b", "z"), "z");
    }
}
