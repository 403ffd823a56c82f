//! One paragraph of plain sentences.
//!
//! Letters, spaces and `, ; : ' - ( ) . ? !`, dashes and the typographic apostrophe; brackets
//! around one of the given names. A sentence has 3 to 60 words, starts with a capital or a name,
//! and repeats neither an earlier sentence nor a run of six words. The last one ends in a full stop.

use super::{Decoded, Hash, Pressure, Utf8};

/// Tokens that a sentence needs at least when every token is one byte, with some air.
pub(super) const TOKENS_MIN: usize = 10;
const WORDS_MIN: usize = 3;
const WORDS_MAX: usize = 60;
const RUN: usize = 6;
const WORD_CHARS_MAX: u8 = 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// A capital or a bracket must follow.
    Start,
    /// Within a word, behind a letter.
    Word,
    /// Behind a hyphen: a letter must follow.
    Hyphen,
    /// Behind an apostrophe: a letter, or the word is over.
    Apostrophe,
    /// Behind a space: a word must follow.
    Gap,
    /// Behind a dash between words: a space must follow.
    Dash,
    /// Behind an opening parenthesis: a word must follow.
    Open,
    /// Behind a comma and the like: a space must follow.
    Comma,
    /// Within brackets; names `from..to` start with the `depth` bytes written.
    Fact { from: u16, to: u16, depth: u16 },
    /// Behind a closing bracket.
    FactEnd,
    /// Behind a closing parenthesis.
    Close,
    /// Behind a full stop.
    End,
}

/// The part of the state that is cheap to copy.
#[derive(Debug, Clone, Copy)]
struct Cursor {
    state: State,
    utf8: Utf8,
    word: Hash,
    word_chars: u8,
    parenthesis: bool,
    sentences: usize,
}

/// A point to return to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    cursor: Cursor,
    words: usize,
    starts: usize,
}

/// See the module's text.
#[derive(Debug, Clone)]
pub(crate) struct Prose {
    /// Sorted, so that names with a common start are neighbours.
    facts: Vec<Vec<u8>>,
    longest_fact: usize,
    wanted: usize,
    cursor: Cursor,
    /// Hashes of all finished words.
    words: Vec<Hash>,
    /// Where each sentence starts in `words`; the last one is being written.
    starts: Vec<usize>,
    /// Sentences of other texts, which count as repetitions too.
    said: Vec<Vec<Hash>>,
    /// Whether a repeated run of words is refused.
    refuses_runs: bool,
    pressure: Pressure,
    facts_fit: bool,
}

impl Prose {
    /// # Errors
    /// No sentences, or a name that cannot stand in brackets.
    pub fn new(facts: &[String], sentences: usize) -> Result<Self, String> {
        if sentences == 0 {
            return Err("at least one sentence must be asked for".into());
        }
        if facts.len() > usize::from(u16::MAX) {
            return Err("there are too many facts".into());
        }
        let mut sorted: Vec<Vec<u8>> = facts.iter().map(|f| f.clone().into_bytes()).collect();
        sorted.sort_unstable();
        sorted.dedup();
        if let Some(bad) =
            facts.iter().find(|f| f.is_empty() || f.len() > 255 || f.contains(['[', ']', '\n']))
        {
            return Err(format!("{bad:?} cannot stand in brackets"));
        }
        let cursor = Cursor {
            state: State::Start,
            utf8: Utf8::default(),
            word: Hash::START,
            word_chars: 0,
            parenthesis: false,
            sentences: 0,
        };
        Ok(Self {
            longest_fact: sorted.iter().map(Vec::len).max().unwrap_or(0),
            facts: sorted,
            wanted: sentences,
            cursor,
            words: Vec::new(),
            starts: vec![0],
            said: Vec::new(),
            refuses_runs: true,
            pressure: Pressure::None,
            facts_fit: true,
        })
    }

    /// The same for a model whose phrases see to variety: they know where a sentence can still turn away from an
    /// earlier one, this form would only see it when it is too late.
    pub fn with_runs(mut self) -> Self {
        self.refuses_runs = false;
        self
    }

    /// The same behind sentences that have been said elsewhere. What is no sentence of this form cannot
    /// be repeated in it.
    pub fn after(mut self, said: &[String]) -> Self {
        let words = |sentence: &String| {
            let mut alone = Self { wanted: 1, said: Vec::new(), ..self.clone() };
            (sentence.bytes().all(|b| alone.byte(b)) && alone.complete()).then_some(alone.words)
        };
        self.said = said.iter().filter_map(words).collect();
        self
    }

    /// A point that `rewind` returns to.
    pub fn mark(&self) -> Mark {
        Mark { cursor: self.cursor, words: self.words.len(), starts: self.starts.len() }
    }

    /// Undoes everything since `mark`.
    pub fn rewind(&mut self, mark: Mark) {
        self.cursor = mark.cursor;
        self.words.truncate(mark.words);
        self.starts.truncate(mark.starts);
    }

    /// All sentences are written.
    pub fn complete(&self) -> bool {
        self.cursor.state == State::End && self.cursor.sentences >= self.wanted
    }

    /// Sets the pressure from the tokens left; tells whether there is any. A token is at worst one byte.
    pub fn set_remaining(&mut self, tokens: usize) -> bool {
        let later = self.wanted.saturating_sub(self.cursor.sentences + 1) * (TOKENS_MIN - 1);
        let words_missing = (WORDS_MIN + 1).saturating_sub(self.sentence_words());
        // "a " per missing word, a parenthesis, a full stop, a space.
        let shortest = later + 2 * words_missing + 5;
        self.facts_fit = tokens > shortest + self.longest_fact + 4;
        self.pressure = if tokens <= shortest {
            Pressure::Hard
        } else if tokens <= later + later / 2 + 14 {
            Pressure::Close
        } else {
            Pressure::None
        };
        self.pressure > Pressure::None
    }

    /// Takes one byte; false when it does not fit, and then the state is undefined until `rewind`.
    pub fn byte(&mut self, byte: u8) -> bool {
        if let State::Fact { from, to, depth } = self.cursor.state {
            return self.fact_byte(from, to, depth, byte);
        }
        if byte >= 0x80 && self.pressure == Pressure::Hard && !self.cursor.utf8.pending() {
            return false;
        }
        match self.cursor.utf8.push(byte) {
            // Begun characters must be completable here: letters where letters fit, marks where
            // marks fit.
            Decoded::Partial if byte == 0xe2 => match self.cursor.state {
                State::Gap => self.pressed() == Pressure::None,
                State::Word | State::FactEnd => !self.completes_run(self.cursor.word.add(b'\'')),
                _ => false,
            },
            Decoded::Partial if self.cursor.utf8.within_mark() => true,
            Decoded::Partial => self.letter_fits('É') || self.letter_fits('é'),
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
        match c {
            c if c.is_alphabetic() => self.letter(c),
            ' ' => self.space(),
            '[' => self.open_fact(),
            '.' | '?' | '!' => self.stop(c),
            ',' | ';' | ':' => {
                let fits = self.pressed() == Pressure::None && self.word_may_end();
                fits && self.leave_word(State::Comma)
            }
            '-' | '\u{2013}' | '\u{2014}' => match self.cursor.state {
                State::Word
                    if self.cursor.word_chars < WORD_CHARS_MAX && self.pressed() == Pressure::None =>
                {
                    self.extend_word(c, State::Hyphen)
                }
                State::Gap if self.pressed() == Pressure::None => self.to(State::Dash),
                _ => false,
            },
            '\'' | '\u{2019}' => {
                // In a hurry a word is one letter; an apostrophe behind each would take a third of the tokens.
                let fits = matches!(self.cursor.state, State::Word | State::FactEnd)
                    && self.pressure < Pressure::Hard;
                fits && self.extend_word('\'', State::Apostrophe)
            }
            '(' => {
                let fits = self.cursor.state == State::Gap && !self.cursor.parenthesis;
                self.cursor.parenthesis = true;
                fits && self.pressed() == Pressure::None && self.to(State::Open)
            }
            ')' => {
                let fits =
                    self.cursor.parenthesis && self.word_may_end() && self.cursor.state != State::Close;
                self.cursor.parenthesis = false;
                fits && self.leave_word(State::Close)
            }
            _ => false,
        }
    }

    fn to(&mut self, state: State) -> bool {
        self.cursor.state = state;
        true
    }

    /// Words of the sentence being written, the unfinished one included.
    fn sentence_words(&self) -> usize {
        let unfinished = matches!(
            self.cursor.state,
            State::Word | State::Hyphen | State::Apostrophe | State::FactEnd | State::Fact { .. }
        );
        self.words.len() - self.starts.last().copied().unwrap_or(0) + usize::from(unfinished)
    }

    /// Pressure by tokens, and by the length of the sentence.
    fn pressed(&self) -> Pressure {
        let long = if self.sentence_words() >= WORDS_MAX { Pressure::Close } else { Pressure::None };
        self.pressure.max(long)
    }

    fn word_may_end(&self) -> bool {
        matches!(self.cursor.state, State::Word | State::Apostrophe | State::FactEnd | State::Close)
    }

    /// Could a full stop stand here?
    fn may_stop(&self) -> bool {
        self.word_may_end()
            && !self.cursor.parenthesis
            && self.sentence_words() >= WORDS_MIN
            && !self.repeats_sentence()
    }

    fn letter_fits(&self, c: char) -> bool {
        let may_turn_back = match self.cursor.state {
            State::Start => return c.is_uppercase(),
            State::Gap | State::Open | State::Hyphen => return true,
            State::Word => {
                self.cursor.word_chars < WORD_CHARS_MAX
                    && (self.pressure < Pressure::Hard || self.sentence_words() >= WORDS_MIN)
            }
            // Behind a name in brackets only the genitive follows.
            State::Apostrophe => self.cursor.word_chars < WORD_CHARS_MAX && self.pressure < Pressure::Hard,
            _ => return false,
        };
        // In a hurry, a word goes on only where it cannot end.
        may_turn_back && (self.pressure < Pressure::Hard || !(self.may_stop() || self.cursor.parenthesis))
    }

    fn letter(&mut self, c: char) -> bool {
        if !self.letter_fits(c) {
            return false;
        }
        if matches!(self.cursor.state, State::Start | State::Gap | State::Open) {
            self.cursor.word = Hash::START;
            self.cursor.word_chars = 0;
        }
        self.extend_word(c, State::Word)
    }

    fn extend_word(&mut self, c: char, state: State) -> bool {
        self.cursor.word = self.cursor.word.add_char(c);
        self.cursor.word_chars = self.cursor.word_chars.saturating_add(1);
        self.cursor.state = state;
        // The word is checked at each letter, as if it ended here: were it checked at its end,
        // a finished word could only be refused by forcing letters onto it.
        !self.completes_run(self.cursor.word)
    }

    fn space(&mut self) -> bool {
        match self.cursor.state {
            State::Comma | State::Dash => self.to(State::Gap),
            State::End => self.cursor.sentences < self.wanted && self.to(State::Start),
            State::Word | State::Apostrophe | State::FactEnd | State::Close => {
                let fits = self.pressed() == Pressure::None || !(self.may_stop() || self.cursor.parenthesis);
                fits && self.leave_word(State::Gap)
            }
            _ => false,
        }
    }

    /// Finishes the word, if one is under way.
    fn leave_word(&mut self, state: State) -> bool {
        if self.cursor.state != State::Close {
            self.words.push(self.cursor.word);
        }
        self.to(state)
    }

    fn stop(&mut self, c: char) -> bool {
        let last = self.cursor.sentences + 1 >= self.wanted;
        if !self.may_stop() || (last && c != '.') {
            return false;
        }
        self.leave_word(State::End);
        self.starts.push(self.words.len());
        self.cursor.sentences += 1;
        true
    }

    fn open_fact(&mut self) -> bool {
        let fits = matches!(self.cursor.state, State::Start | State::Gap | State::Open);
        let to = self.facts.len() as u16;
        fits && self.facts_fit
            && self.pressure < Pressure::Hard
            && self.any_fact(0, to)
            && self.to(State::Fact { from: 0, to, depth: 0 })
    }

    /// Is there a name among `from..to` that would not complete a repeated run?
    fn any_fact(&self, from: u16, to: u16) -> bool {
        self.facts[usize::from(from)..usize::from(to)].iter().any(|f| !self.completes_run(Hash::fact(f)))
    }

    fn fact_byte(&mut self, from: u16, to: u16, depth: u16, byte: u8) -> bool {
        let at = usize::from(depth);
        let range = &self.facts[usize::from(from)..usize::from(to)];
        if byte == b']' {
            let Some(name) = range.iter().find(|f| f.len() == at) else { return false };
            self.cursor.word = Hash::fact(name);
            self.cursor.word_chars = 0;
            self.cursor.state = State::FactEnd;
            return !self.completes_run(self.cursor.word);
        }
        let matching = |f: &&Vec<u8>| f.get(at) == Some(&byte);
        let Some(first) = range.iter().position(|f| matching(&f)) else { return false };
        let count = range[first..].iter().take_while(matching).count();
        let from = from + first as u16;
        let to = from + count as u16;
        self.any_fact(from, to) && self.to(State::Fact { from, to, depth: depth + 1 })
    }

    /// Would `word` be the sixth word of a run that was written before?
    fn completes_run(&self, word: Hash) -> bool {
        if !self.refuses_runs {
            return false;
        }
        let Some(before) = self.words.len().checked_sub(RUN - 1) else { return false };
        let run = &self.words[before..];
        self.words.windows(RUN).any(|w| w[RUN - 1] == word && w[..RUN - 1] == *run)
    }

    /// Would the sentence, ended here, be an earlier one again?
    fn repeats_sentence(&self) -> bool {
        let Some((start, earlier)) = self.starts.split_last() else { return false };
        let unfinished = (self.cursor.state != State::Close).then_some(self.cursor.word);
        let sentence = || self.words[*start..].iter().copied().chain(unfinished);
        let own = earlier.iter().enumerate().any(|(i, from)| {
            let to = self.starts[i + 1];
            self.words[*from..to].iter().copied().eq(sentence())
        });
        own || self.said.iter().any(|words| words.iter().copied().eq(sentence()))
    }
}
