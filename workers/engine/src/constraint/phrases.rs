//! Which word may follow which: an automaton over whole words that comes with a small model.
//!
//! A model of few parameters knows the turns of its corpus and slips between them: a word that is none, an amount where
//! a name belongs. Held to word sequences that its corpus has, it chooses among turns instead of letters. Invariant: a
//! byte is accepted only if the sentence can still end, with the facts on offer and unlike the sentences before it.
//! Made by `model/corpus/phrases.py`, where the file's layout stands; loaded by `checkpoint`, walked by `Shape`.

use std::sync::Arc;

use super::book::{END, OTHER, PhraseBook, Step, Ways};

/// Words after which a sentence turns away from an earlier one that began alike, where there is another way.
const ALIKE_WORDS_MAX: usize = 2;
/// Bytes in front of every heading, `- `.
const BULLET_BYTES: u8 = 2;

/// The name being written: facts `from..to` begin with its first `depth` bytes.
#[derive(Debug, Clone, Copy)]
struct Name {
    from: u16,
    to: u16,
    depth: u16,
}

#[derive(Debug, Clone, Copy)]
struct Cursor {
    /// Steps whose words begin with the `depth` bytes of the word so far.
    from: u32,
    to: u32,
    depth: u16,
    /// All steps of the state.
    all: (u32, u32),
    name: Option<Name>,
    /// Bytes of a list mark still to come.
    bullet: u8,
    /// The sentence has left the automaton; the next one returns to it.
    off: bool,
    stopped: bool,
}

/// A point to return to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    cursor: Cursor,
    words: usize,
    starts: usize,
}

/// A text on its way through the automaton.
#[derive(Debug, Clone)]
pub(crate) struct Phrases {
    book: Arc<PhraseBook>,
    ways: Ways,
    /// Sorted.
    facts: Vec<Vec<u8>>,
    start: u32,
    is_heading: bool,
    cursor: Cursor,
    /// Words of all finished sentences and of the one being written.
    words: Vec<u32>,
    starts: Vec<usize>,
}

impl Phrases {
    /// The start of a paragraph that may name these facts and repeats nothing that was `said`.
    pub fn prose(book: &Arc<PhraseBook>, facts: &[String], said: &[String]) -> Self {
        let mut facts: Vec<Vec<u8>> = facts.iter().map(|f| f.clone().into_bytes()).collect();
        facts.sort_unstable();
        facts.dedup();
        let mut phrases = Self::new(book, facts, book.sentence, false);
        for sentence in said {
            let mark = phrases.mark();
            // A space behind it ends a sentence; what this book does not know cannot be repeated by it.
            if !sentence.bytes().chain([b' ']).all(|b| phrases.byte(b)) {
                phrases.rewind(mark);
            }
        }
        phrases
    }

    /// The start of a list of headings.
    pub fn headings(book: &Arc<PhraseBook>) -> Self {
        Self::new(book, Vec::new(), book.heading, true)
    }

    fn new(book: &Arc<PhraseBook>, facts: Vec<Vec<u8>>, start: u32, is_heading: bool) -> Self {
        let cursor = Cursor {
            from: 0,
            to: 0,
            depth: 0,
            all: (0, 0),
            name: None,
            bullet: 0,
            off: false,
            stopped: false,
        };
        let (ways, book) = (book.ways(&facts), book.clone());
        let mut phrases =
            Self { book, ways, facts, start, is_heading, cursor, words: Vec::new(), starts: vec![0] };
        phrases.begin();
        phrases
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

    /// Lets the rest of this sentence go its own way; `false` when it does already.
    pub fn relax(&mut self) -> bool {
        !std::mem::replace(&mut self.cursor.off, true)
    }

    /// Could the last heading end here?
    pub fn may_end(&self) -> bool {
        self.cursor.off || !self.is_heading || self.narrow(self.cursor, b"\n").is_some()
    }

    /// Takes one byte; false when it does not fit, and then the state is undefined until `rewind`.
    pub fn byte(&mut self, byte: u8) -> bool {
        if self.cursor.off {
            return self.byte_off(byte);
        }
        if self.cursor.bullet > 0 {
            self.cursor.bullet -= 1;
            return true;
        }
        if let Some(name) = self.cursor.name {
            return self.name_byte(name, byte);
        }
        match byte {
            b' ' => self.end_word(),
            b'[' => self.open_name(),
            _ => {
                let fits = self.step(byte);
                if fits && byte == b'\n' { self.end_word() } else { fits }
            }
        }
    }

    fn byte_off(&mut self, byte: u8) -> bool {
        let over = if self.is_heading { byte == b'\n' } else { byte == b' ' && self.cursor.stopped };
        self.cursor.stopped = matches!(byte, b'.' | b'!' | b'?');
        if over {
            self.end_sentence();
        }
        true
    }

    fn step(&mut self, byte: u8) -> bool {
        match self.narrow(self.cursor, &[byte]) {
            Some(cursor) => {
                self.cursor = cursor;
                true
            }
            None => false,
        }
    }

    /// The steps that go on with these bytes, if one of them can be finished.
    fn narrow(&self, mut cursor: Cursor, bytes: &[u8]) -> Option<Cursor> {
        for byte in bytes {
            let steps = &self.book.steps[cursor.from as usize..cursor.to as usize];
            // In byte order a word that ends here comes before those that go on.
            let at = |step: &Step| self.book.word(step.word).get(usize::from(cursor.depth)).copied();
            let first = steps.partition_point(|step| at(step) < Some(*byte));
            let count = steps[first..].partition_point(|step| at(step) == Some(*byte));
            cursor.from += first as u32;
            cursor.to = cursor.from + count as u32;
            cursor.depth += 1;
        }
        (cursor.from..cursor.to).any(|step| self.can_finish(step)).then_some(cursor)
    }

    /// Leads this step to an end that no earlier sentence has had? Every earlier sentence that begins
    /// like this one uses up one way.
    fn can_finish(&self, step: u32) -> bool {
        let (ways, alike) = self.ways_and_alike(step);
        ways > alike && (alike == 0 || !self.should_turn_away())
    }

    /// Whether this is the place to differ from earlier sentences, and some step does.
    fn should_turn_away(&self) -> bool {
        let written = self.words.len() - self.starts.last().copied().unwrap_or(0);
        let differs = |step| matches!(self.ways_and_alike(step), (1.., 0));
        written == ALIKE_WORDS_MAX && (self.cursor.all.0..self.cursor.all.1).any(differs)
    }

    fn ways_and_alike(&self, step: u32) -> (usize, usize) {
        match usize::from(self.ways[step as usize]) {
            0 => (0, 0),
            ways => (ways, self.begun_alike(self.book.steps[step as usize].word)),
        }
    }

    fn begun_alike(&self, word: u32) -> usize {
        let Some((own, earlier)) = self.starts.split_last() else { return 0 };
        let mine = &self.words[*own..];
        let alike = |(i, from): (usize, &usize)| {
            let other = &self.words[*from..self.starts[i + 1]];
            other.len() > mine.len() && other[..mine.len()] == *mine && other[mine.len()] == word
        };
        earlier.iter().enumerate().filter(|pair| alike(*pair)).count()
    }

    fn end_word(&mut self) -> bool {
        let depth = usize::from(self.cursor.depth);
        let whole = |step: &u32| self.book.word(self.book.steps[*step as usize].word).len() == depth;
        let Some(step) = (self.cursor.from..self.cursor.to).find(whole) else { return false };
        if !self.can_finish(step) {
            return false;
        }
        let Step { word, next } = self.book.steps[step as usize];
        self.words.push(word);
        match next {
            END => self.end_sentence(),
            next => self.enter(next),
        }
        true
    }

    fn end_sentence(&mut self) {
        self.starts.push(self.words.len());
        self.begin();
    }

    fn begin(&mut self) {
        self.cursor.off = false;
        self.cursor.stopped = false;
        self.cursor.bullet = if self.is_heading { BULLET_BYTES } else { 0 };
        self.enter(self.start);
    }

    fn enter(&mut self, state: u32) {
        let range = self.book.range(state);
        self.cursor.from = range.start as u32;
        self.cursor.to = range.end as u32;
        self.cursor.all = (self.cursor.from, self.cursor.to);
        self.cursor.depth = 0;
        self.cursor.name = None;
    }

    fn open_name(&mut self) -> bool {
        let name = Name { from: 0, to: self.facts.len() as u16, depth: 0 };
        self.cursor.name = Some(name);
        self.any_name(name)
    }

    fn any_name(&self, name: Name) -> bool {
        (name.from..name.to).any(|at| self.with_name(at).is_some())
    }

    /// The state behind a whole name in brackets.
    fn with_name(&self, at: u16) -> Option<Cursor> {
        let fact = &self.facts[usize::from(at)];
        let name = if self.book.known.contains(fact) { fact.as_slice() } else { OTHER };
        self.narrow(Cursor { name: None, ..self.cursor }, &[b"[", name, b"]"].concat())
    }

    fn name_byte(&mut self, name: Name, byte: u8) -> bool {
        let depth = usize::from(name.depth);
        let range = &self.facts[usize::from(name.from)..usize::from(name.to)];
        if byte == b']' {
            let whole = range.iter().position(|fact| fact.len() == depth);
            let cursor = whole.and_then(|at| self.with_name(name.from + at as u16));
            return cursor.map(|cursor| self.cursor = cursor).is_some();
        }
        let at = |fact: &Vec<u8>| fact.get(depth).copied();
        let first = range.partition_point(|fact| at(fact) < Some(byte));
        let count = range[first..].partition_point(|fact| at(fact) == Some(byte));
        let from = name.from + first as u16;
        let name = Name { from, to: from + count as u16, depth: name.depth + 1 };
        self.cursor.name = Some(name);
        self.any_name(name)
    }
}
