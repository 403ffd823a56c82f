//! Exactly N distinct lines `- Heading`.
//!
//! A heading has 2 to 60 characters: letters, single spaces, `&` between spaces, commas followed
//! by a space, apostrophes and hyphens within words; it starts and ends with a letter.

use super::{Decoded, Hash, Pressure, Utf8};

/// Tokens that a line needs at least when every token is one byte, with some air.
pub(super) const TOKENS_MIN: usize = 8;
const CHARS_MIN: usize = 2;
const CHARS_MAX: usize = 60;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A hyphen must follow.
    Line,
    /// A space must follow.
    Bullet,
    /// The heading's first letter must follow.
    First,
    /// Behind a letter.
    Letter,
    /// Behind a space: a letter or `&` must follow.
    Space,
    /// Behind `&` or a comma: a space must follow.
    Mark,
    /// Behind an apostrophe or hyphen, or the space behind `&`: a letter must follow.
    Joined,
}

#[derive(Debug, Clone, Copy)]
struct Cursor {
    state: State,
    utf8: Utf8,
    heading: Hash,
    chars: usize,
    after_ampersand: bool,
}

/// A point to return to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    cursor: Cursor,
    lines: usize,
}

/// See the module's text.
#[derive(Debug, Clone)]
pub(crate) struct Outline {
    wanted: usize,
    cursor: Cursor,
    /// Hashes of the finished headings.
    lines: Vec<Hash>,
    pressure: Pressure,
}

impl Outline {
    /// # Errors
    /// No items.
    pub fn new(items: usize) -> Result<Self, String> {
        if items == 0 {
            return Err("at least one item must be asked for".into());
        }
        let cursor = Cursor {
            state: State::Line,
            utf8: Utf8::default(),
            heading: Hash::START,
            chars: 0,
            after_ampersand: false,
        };
        Ok(Self { wanted: items, cursor, lines: Vec::new(), pressure: Pressure::None })
    }

    /// A point that `rewind` returns to.
    pub fn mark(&self) -> Mark {
        Mark { cursor: self.cursor, lines: self.lines.len() }
    }

    /// Undoes everything since `mark`.
    pub fn rewind(&mut self, mark: Mark) {
        self.cursor = mark.cursor;
        self.lines.truncate(mark.lines);
    }

    /// The last line is a whole heading.
    pub fn complete(&self) -> bool {
        self.lines.len() + 1 == self.wanted && self.may_break()
    }

    /// Sets the pressure from the tokens left; tells whether there is any. A token is at worst one byte.
    pub fn set_remaining(&mut self, tokens: usize) -> bool {
        let later = self.wanted.saturating_sub(self.lines.len() + 1) * (TOKENS_MIN - 1);
        self.pressure = if tokens <= later + 7 {
            Pressure::Hard
        } else if tokens <= later + later / 2 + 12 {
            Pressure::Close
        } else {
            Pressure::None
        };
        self.pressure > Pressure::None
    }

    /// Could the line end here?
    fn may_break(&self) -> bool {
        self.cursor.state == State::Letter
            && self.cursor.chars >= CHARS_MIN
            && !self.cursor.utf8.pending()
            && !self.lines.contains(&self.cursor.heading)
    }

    /// Takes one byte; false when it does not fit, and then the state is undefined until `rewind`.
    pub fn byte(&mut self, byte: u8) -> bool {
        if byte >= 0x80 && self.pressure == Pressure::Hard && !self.cursor.utf8.pending() {
            return false;
        }
        match self.cursor.utf8.push(byte) {
            Decoded::Partial => byte != 0xe2 && self.letter_fits(),
            Decoded::Invalid => false,
            Decoded::Char(c) if c.is_ascii() => self.char(c),
            Decoded::Char(c) => {
                // It fitted when it was begun; pressure that rose meanwhile must not strand it.
                let pressure = std::mem::replace(&mut self.pressure, Pressure::None);
                let fits = self.char(c);
                self.pressure = pressure;
                fits
            }
        }
    }

    fn char(&mut self, c: char) -> bool {
        let state = self.cursor.state;
        match c {
            '-' if state == State::Line => self.to(State::Bullet),
            ' ' if state == State::Bullet => {
                self.cursor.heading = Hash::START;
                self.cursor.chars = 0;
                self.to(State::First)
            }
            '\n' => {
                let more = self.lines.len() + 1 < self.wanted;
                let fits = more && self.may_break();
                self.lines.push(self.cursor.heading);
                fits && self.to(State::Line)
            }
            c if c.is_alphabetic() => self.letter_fits() && self.extend(c, State::Letter, 0),
            ' ' if state == State::Mark && self.cursor.after_ampersand => self.extend(c, State::Joined, 1),
            ' ' if state == State::Mark => self.extend(c, State::Space, 1),
            ' ' if state == State::Letter => self.goes_on() && self.extend(c, State::Space, 1),
            '&' if state == State::Space => {
                self.cursor.after_ampersand = true;
                self.goes_on() && self.extend(c, State::Mark, 2)
            }
            ',' if state == State::Letter => {
                self.cursor.after_ampersand = false;
                self.goes_on() && self.extend(c, State::Mark, 2)
            }
            '\'' | '-' if state == State::Letter => self.goes_on() && self.extend(c, State::Joined, 1),
            _ => false,
        }
    }

    fn to(&mut self, state: State) -> bool {
        self.cursor.state = state;
        true
    }

    /// May something be begun that needs more than this heading already has?
    fn goes_on(&self) -> bool {
        self.pressure == Pressure::None || (self.pressure == Pressure::Close && !self.may_break())
    }

    fn letter_fits(&self) -> bool {
        match self.cursor.state {
            State::First | State::Space | State::Joined => true,
            State::Letter => {
                self.cursor.chars < CHARS_MAX && (self.pressure < Pressure::Hard || !self.may_break())
            }
            State::Line | State::Bullet | State::Mark => false,
        }
    }

    /// Appends `c`, if `needed` further characters still have room.
    fn extend(&mut self, c: char, state: State, needed: usize) -> bool {
        self.cursor.heading = self.cursor.heading.add_char(c);
        self.cursor.chars += 1;
        self.cursor.state = state;
        let room = self.cursor.chars + needed <= CHARS_MAX;
        // A full line that repeats another one could neither end nor go on.
        let stuck = self.cursor.chars == CHARS_MAX && self.lines.contains(&self.cursor.heading);
        room && !stuck
    }
}

#[cfg(test)]
mod tests {
    use super::super::check;
    use crate::job::Constraint;

    fn verdict(items: usize, text: &str) -> bool {
        check(&Constraint::Outline { items }, text).is_ok()
    }

    #[test]
    fn headings_pass() {
        assert!(verdict(1, "- Summary"));
        assert!(verdict(2, "- Risks & Measures\n- People, Places"));
        assert!(verdict(2, "- Überblick\n- The team's follow-up"));
        assert!(verdict(1, &format!("- {}", "a".repeat(60))));
    }

    #[test]
    fn everything_else_is_refused() {
        for (n, text) in [
            (1, ""),
            (1, "Summary"),
            (1, "- "),
            (1, "- S"),
            (1, "- Summary\n"),
            (1, "- Summary "),
            (1, "- Summary 2"),
            (1, "- Summary  two"),
            (1, "- Summary."),
            (1, "- & Summary"),
            (1, "- Summary &"),
            (1, "- Summary & & more"),
            (1, "- Summary\n- More"),
            (2, "- Summary"),
            (2, "- Summary\n- summary"),
            (2, "- Summary\n\n- More"),
        ] {
            assert!(!verdict(n, text), "{text:?}");
        }
        assert!(!verdict(1, &format!("- {}", "a".repeat(61))));
    }
}
