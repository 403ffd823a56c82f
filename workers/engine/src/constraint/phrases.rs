//! Which word may follow which: an automaton over whole words that comes with a small model.
//!
//! A model of few parameters knows the turns of its corpus and slips between them: a word that is none, an amount where
//! a name belongs. Held to word sequences that its corpus has, it chooses among turns instead of letters. Invariant: a
//! byte is accepted only if the sentence can still end, with the facts on offer and unlike the sentences before it.
//! Made by `model/corpus/phrases.py`, where the file's layout stands; loaded by `checkpoint`, walked by `Shape`.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

const MAGIC: &[u8] = b"BULPHR01";
/// Next state of a word that ends its sentence or heading.
const END: u32 = u32::MAX;
/// Ways to end are counted up to here; with more sentences before it a text may run out of ways.
const WAYS_MAX: u8 = 250;
/// Sets of facts whose counts are kept; the slots of a document mostly offer the same ones.
const PREPARED_MAX: usize = 32;
/// Words after which a sentence turns away from an earlier one that began alike, where there is another way.
const ALIKE_WORDS_MAX: usize = 2;
/// What stands for a fact that the corpus does not know by name.
const OTHER: &[u8] = b"*";
/// Bytes in front of every heading, `- `.
const BULLET_BYTES: u8 = 2;

/// Ways to end behind each step, for one set of facts.
type Ways = Arc<[u8]>;

#[derive(Debug, Clone, Copy)]
struct Step {
    word: u32,
    next: u32,
}

/// The automaton.
pub(crate) struct PhraseBook {
    text: Vec<u8>,
    word_ends: Vec<u32>,
    state_ends: Vec<u32>,
    steps: Vec<Step>,
    sentence: u32,
    heading: u32,
    /// Facts the corpus knows by name.
    known: HashSet<Vec<u8>>,
    /// Facts that each word with a bracket needs.
    needs: HashMap<u32, Vec<Vec<u8>>>,
    /// States with a step into each state.
    before: Vec<Vec<u32>>,
    prepared: Mutex<VecDeque<(Vec<Vec<u8>>, Ways)>>,
}

impl std::fmt::Debug for PhraseBook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PhraseBook").field("words", &self.word_ends.len()).finish_non_exhaustive()
    }
}

impl PhraseBook {
    /// Reads a file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let body = bytes.strip_prefix(MAGIC).ok_or("it does not begin with the mark of a phrase file")?;
        let mut words = body.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]]));
        let mut count = || words.next().map(|n| n as usize).ok_or("it is cut off");
        let (words, text, states, steps) = (count()?, count()?, count()?, count()?);
        let (sentence, heading) = (count()? as u32, count()? as u32);
        let mut rest = &body[24..];
        let mut take = |items: usize, size: usize| {
            let bytes = items.checked_mul(size).ok_or("a count is too large")?;
            let (part, left) = rest.split_at_checked(bytes).ok_or("it is cut off")?;
            rest = left;
            Ok::<_, &str>(part)
        };
        let numbers = |part: &[u8]| -> Vec<u32> {
            part.chunks_exact(4).map(|c| u32::from_le_bytes([c[0], c[1], c[2], c[3]])).collect()
        };
        let word_ends = numbers(take(words, 4)?);
        let text = take(text, 1)?.to_vec();
        let state_ends = numbers(take(states, 4)?);
        let flat = numbers(take(steps, 8)?);
        let steps: Vec<Step> = flat.chunks_exact(2).map(|p| Step { word: p[0], next: p[1] }).collect();
        let rising = |ends: &[u32], last: usize| {
            ends.windows(2).all(|w| w[0] <= w[1]) && ends.last().copied().unwrap_or(0) as usize == last
        };
        if !rising(&word_ends, text.len()) || !rising(&state_ends, steps.len()) {
            return Err("its offsets do not rise to its size".into());
        }
        let is_state = |state: u32| (state as usize) < states;
        let inside = |s: &Step| (s.word as usize) < words && (s.next == END || is_state(s.next));
        if !steps.iter().all(inside) || !is_state(sentence) || !is_state(heading) {
            return Err("it names a word or state that it does not have".into());
        }
        Ok(Self::index(Self {
            text,
            word_ends,
            state_ends,
            steps,
            sentence,
            heading,
            known: HashSet::new(),
            needs: HashMap::new(),
            before: vec![Vec::new(); states],
            prepared: Mutex::default(),
        }))
    }

    fn index(mut self) -> Self {
        for word in 0..self.word_ends.len() as u32 {
            let names = names_in(self.word(word));
            if !names.is_empty() {
                self.known.extend(names.iter().filter(|name| *name != OTHER).cloned());
                self.needs.insert(word, names);
            }
        }
        for state in 0..self.state_ends.len() as u32 {
            for step in self.range(state) {
                if let Some(list) = self.before.get_mut(self.steps[step].next as usize) {
                    list.push(state);
                }
            }
        }
        self
    }

    fn word(&self, word: u32) -> &[u8] {
        let at = word as usize;
        let start = if at == 0 { 0 } else { self.word_ends[at - 1] };
        &self.text[start as usize..self.word_ends[at] as usize]
    }

    fn range(&self, state: u32) -> std::ops::Range<usize> {
        let at = state as usize;
        let start = if at == 0 { 0 } else { self.state_ends[at - 1] };
        start as usize..self.state_ends[at] as usize
    }

    /// Ways to end behind each step when these facts are on offer (sorted).
    fn ways(&self, facts: &[Vec<u8>]) -> Ways {
        let mut prepared = self.prepared.lock();
        if let Some((_, ways)) = prepared.iter().find(|(known, _)| known == facts) {
            return ways.clone();
        }
        let ways = self.count(facts);
        if prepared.len() >= PREPARED_MAX {
            prepared.pop_front();
        }
        prepared.push_back((facts.to_vec(), ways.clone()));
        ways
    }

    fn count(&self, facts: &[Vec<u8>]) -> Ways {
        let has_other = facts.iter().any(|fact| !self.known.contains(fact));
        let on_offer =
            |name: &Vec<u8>| if name == OTHER { has_other } else { facts.binary_search(name).is_ok() };
        let usable: Vec<bool> = (0..self.word_ends.len() as u32)
            .map(|word| self.needs.get(&word).is_none_or(|names| names.iter().all(on_offer)))
            .collect();
        let mut states = vec![0u8; self.state_ends.len()];
        let through = |states: &[u8], step: Step| match step.next {
            _ if !usable[step.word as usize] => 0,
            END => 1,
            next => states[next as usize],
        };
        // From the ends backwards: a state whose count rose may raise those before it. Counts only
        // rise and have a ceiling, so this ends.
        let mut open: VecDeque<u32> = (0..states.len() as u32).collect();
        while let Some(state) = open.pop_front() {
            let sum = |n: u8, step: usize| n.saturating_add(through(&states, self.steps[step])).min(WAYS_MAX);
            let count = self.range(state).fold(0, sum);
            if count > states[state as usize] {
                states[state as usize] = count;
                open.extend(&self.before[state as usize]);
            }
        }
        self.steps.iter().map(|step| through(&states, *step)).collect()
    }
}

/// Names in brackets within a word.
fn names_in(word: &[u8]) -> Vec<Vec<u8>> {
    word.split(|b| *b == b'[')
        .skip(1)
        .filter_map(|rest| Some(rest.split(|b| *b == b']').next()?.to_vec()))
        .collect()
}

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
