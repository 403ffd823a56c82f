//! Bytes of tokens to text that can be shown while it grows.
//!
//! Invariant: pieces are valid UTF-8, never contain the start of a stop string that may still
//! complete, and their concatenation is the final text. One per sequence, owned by `engine`.

/// Growing text of one answer.
#[derive(Debug, Default)]
pub(crate) struct TextOut {
    text: String,
    /// Bytes of a character that is not complete yet.
    partial: Vec<u8>,
    stops: Vec<String>,
    emitted: usize,
    strip_space: bool,
    ended: bool,
}

impl TextOut {
    /// `stops` end the text and are not part of it; `strip_space` drops one leading space.
    pub fn new(stops: Vec<String>, strip_space: bool) -> Self {
        Self { stops: stops.into_iter().filter(|s| !s.is_empty()).collect(), strip_space, ..Self::default() }
    }

    /// Appends the bytes of one token; true when a stop string is now met.
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        if bytes.is_empty() || self.ended {
            return self.ended;
        }
        let first = self.text.is_empty() && self.partial.is_empty();
        let bytes = if first && self.strip_space { bytes.strip_prefix(b" ").unwrap_or(bytes) } else { bytes };
        self.strip_space &= first && bytes.is_empty();
        self.partial.extend_from_slice(bytes);
        let old = self.text.len();
        self.drain_partial(false);
        self.cut_at_stop(old)
    }

    /// Moves complete characters from `partial` to `text`; all of it at the end.
    fn drain_partial(&mut self, end: bool) {
        loop {
            match std::str::from_utf8(&self.partial) {
                Ok(valid) => {
                    self.text.push_str(valid);
                    self.partial.clear();
                    return;
                }
                Err(error) => {
                    let valid = error.valid_up_to();
                    self.text.push_str(&String::from_utf8_lossy(&self.partial[..valid]));
                    let bad = match error.error_len() {
                        Some(len) => len,
                        None if end => self.partial.len() - valid,
                        None => {
                            self.partial.drain(..valid);
                            return;
                        }
                    };
                    self.text.push('\u{FFFD}');
                    self.partial.drain(..valid + bad);
                }
            }
        }
    }

    fn cut_at_stop(&mut self, old: usize) -> bool {
        let longest = self.stops.iter().map(String::len).max().unwrap_or(0);
        let mut from = old.saturating_sub(longest);
        while !self.text.is_char_boundary(from) {
            from -= 1;
        }
        let found = self.stops.iter().filter_map(|stop| self.text[from..].find(stop.as_str())).min();
        if let Some(at) = found {
            self.text.truncate(from + at);
            self.partial.clear();
            self.ended = true;
        }
        self.ended
    }

    /// Text that may be shown and has not been taken yet.
    pub fn ready(&self) -> &str {
        let held = if self.ended { 0 } else { self.held_back() };
        &self.text[self.emitted.min(self.text.len())..self.text.len() - held]
    }

    /// Marks what `ready` returned as taken.
    pub fn take(&mut self) {
        self.emitted += self.ready().len();
    }

    /// All text taken so far. It never changes any more, whatever is pushed.
    pub fn taken(&self) -> &str {
        &self.text[..self.emitted]
    }

    /// Length of the longest end of the text that starts a stop string.
    fn held_back(&self) -> usize {
        let unseen = self.text.len() - self.emitted;
        let held = |stop: &String| {
            (1..stop.len())
                .rev()
                .filter(|n| *n <= unseen && stop.is_char_boundary(*n))
                .find(|n| self.text.ends_with(&stop[..*n]))
        };
        self.stops.iter().filter_map(held).max().unwrap_or(0)
    }

    /// Ends the text: an incomplete character becomes U+FFFD, nothing is held back any more.
    pub fn finish(&mut self) {
        if !self.ended {
            self.drain_partial(true);
            self.ended = true;
        }
    }

    /// The whole text so far.
    pub fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(chunks: &[&[u8]], stops: &[&str]) -> (Vec<String>, String) {
        let mut out = TextOut::new(stops.iter().map(|s| s.to_string()).collect(), false);
        let mut pieces = Vec::new();
        for chunk in chunks {
            let stopped = out.push(chunk);
            pieces.push(out.ready().to_string());
            out.take();
            if stopped {
                break;
            }
        }
        out.finish();
        pieces.push(out.ready().to_string());
        (pieces, out.text().to_string())
    }

    #[test]
    fn characters_are_not_split() {
        let (pieces, text) = run(&[b"a\xc3", b"\xa9", b"\xe2\x82", b"\xac!"], &[]);
        assert_eq!(pieces, ["a", "é", "", "€!", ""]);
        assert_eq!(text, "aé€!");
        assert_eq!(run(&[b"a\xff", b"b\xc3"], &[]).1, "a\u{FFFD}b\u{FFFD}");
    }

    #[test]
    fn stop_strings_are_held_back_and_cut() {
        let (pieces, text) = run(&[b"one E", b"N", b"D two"], &["END"]);
        assert_eq!((pieces.concat(), text.as_str()), ("one ".to_string(), "one "));
        let (pieces, text) = run(&[b"one E", b"NX"], &["END"]);
        assert_eq!((pieces[0].as_str(), text.as_str()), ("one ", "one ENX"));
    }

    #[test]
    fn one_leading_space_goes() {
        let mut out = TextOut::new(Vec::new(), true);
        out.push(b" The");
        out.push(b" end");
        assert_eq!(out.text(), "The end");
    }

    proptest! {
        #[test]
        fn pieces_add_up_to_the_text(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..4), 0..40),
            stops in proptest::collection::vec("[a-cé]{1,3}", 0..3),
        ) {
            let chunks: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            let stops: Vec<&str> = stops.iter().map(String::as_str).collect();
            let (pieces, text) = run(&chunks, &stops);
            prop_assert_eq!(pieces.concat(), text.clone());
            prop_assert!(stops.iter().all(|stop| !text.contains(stop)));
        }
    }
}
