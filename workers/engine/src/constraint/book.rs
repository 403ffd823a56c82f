//! The automaton itself: words, states, steps between them, and the ways to end behind each.
//!
//! Read once from its file and shared by all texts that `phrases` holds to it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

const MAGIC: &[u8] = b"BULPHR01";
/// Next state of a word that ends its sentence or heading.
pub(super) const END: u32 = u32::MAX;
/// Ways to end are counted up to here; with more sentences before it a text may run out of ways.
const WAYS_MAX: u8 = 250;
/// Sets of facts whose counts are kept; the slots of a document mostly offer the same ones.
const PREPARED_MAX: usize = 32;
/// What stands for a fact that the corpus does not know by name.
pub(super) const OTHER: &[u8] = b"*";

/// Ways to end behind each step, for one set of facts.
pub(super) type Ways = Arc<[u8]>;

/// A word, and the state behind it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub word: u32,
    pub next: u32,
}

/// The automaton.
pub(crate) struct PhraseBook {
    text: Vec<u8>,
    word_ends: Vec<u32>,
    state_ends: Vec<u32>,
    pub(super) steps: Vec<Step>,
    pub sentence: u32,
    pub heading: u32,
    /// Facts the corpus knows by name.
    pub known: HashSet<Vec<u8>>,
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

    pub fn word(&self, word: u32) -> &[u8] {
        let at = word as usize;
        let start = if at == 0 { 0 } else { self.word_ends[at - 1] };
        &self.text[start as usize..self.word_ends[at] as usize]
    }

    pub fn range(&self, state: u32) -> std::ops::Range<usize> {
        let at = state as usize;
        let start = if at == 0 { 0 } else { self.state_ends[at - 1] };
        start as usize..self.state_ends[at] as usize
    }

    /// Ways to end behind each step when these facts are on offer (sorted).
    pub fn ways(&self, facts: &[Vec<u8>]) -> Ways {
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
