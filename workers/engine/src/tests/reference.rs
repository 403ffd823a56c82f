//! A cache as plain as can be, that follows what the engine plans: no hashes, no numbers of blocks, no free lists.
//!
//! It is told which sequence starts, computes, gives way and ends, and says by itself what each finds, and which blocks go. What
//! is being computed at the same time is nobody's hit until all of a block is computed: that order is the order of the events.

use std::collections::HashMap;

use super::factory::Job;
use crate::engine::history::Event;
use crate::sequence::Identity;

/// Text of a block with all before it, and who may see it: what a key stands for.
pub(super) type Scoped = (Option<String>, Vec<u32>);

/// What block `block` of a job holds, whose tokens with those of its answer are `tokens`.
pub(super) fn scoped(job: &Job, tokens: &[u32], block: usize, block_tokens: usize) -> Scoped {
    let end = (block + 1) * block_tokens;
    let owner = (end > job.public.len()).then(|| format!("{}/{}", job.tenant, job.public.len()));
    (owner, tokens[..end].to_vec())
}

/// What a job's sequence has and holds.
struct Held {
    job: Job,
    /// Of prompt and whole answer.
    tokens: Vec<u32>,
    /// Tokens drawn so far, and those of the prompt.
    known: usize,
    computed: usize,
    sealed: usize,
    /// Blocks whose contents were full at some time: they can be asked for after a new start.
    nameable: usize,
    /// Contents of the blocks held; `None` where nothing is full yet, or a twin is in the cache.
    blocks: Vec<Option<Scoped>>,
    /// Tokens found at its first start.
    hits: Option<usize>,
}

/// See the module's text.
pub(super) struct Reference {
    capacity: usize,
    block_tokens: usize,
    /// What can be found, and how many hold it.
    published: HashMap<Scoped, usize>,
    /// Of that, what nobody holds, the longest unused first.
    unused: Vec<Scoped>,
    /// Blocks held that nobody else can find.
    private: usize,
    /// Blocks that lost their contents to others.
    pub evicted: u64,
    sequences: HashMap<Identity, Held>,
}

impl Reference {
    pub fn new(capacity: usize, block_tokens: usize) -> Self {
        Self {
            capacity,
            block_tokens,
            published: HashMap::new(),
            unused: Vec::new(),
            private: 0,
            evicted: 0,
            sequences: HashMap::new(),
        }
    }

    /// A job is handed in whose answer will be `answer`. One that is known already joins that.
    pub fn submit(&mut self, identity: Identity, job: &Job, answer: &[u32]) {
        let prompt = job.public.len() + job.data.len();
        self.sequences.entry(identity).or_insert_with(|| Held {
            job: job.clone(),
            tokens: [job.public.as_slice(), &job.data, answer].concat(),
            known: prompt,
            computed: 0,
            sealed: 0,
            nameable: prompt / self.block_tokens,
            blocks: Vec::new(),
            hits: None,
        });
    }

    /// Blocks held by somebody, and blocks that can be found.
    pub fn blocks(&self) -> (usize, usize) {
        (self.private + self.published.len() - self.unused.len(), self.published.len())
    }

    /// Follows the events of one step; gives the hits of the sequences that ended in it.
    pub fn follow(&mut self, events: &[Event]) -> Vec<(Identity, usize)> {
        let mut ended = Vec::new();
        let mut computed = Vec::new();
        for event in events {
            match event {
                Event::Compute(identity, tokens) => {
                    self.grow(identity, *tokens);
                    computed.push(*identity);
                }
                Event::Start(identity) => self.start(identity),
                Event::Preempt(identity) => self.give_back(identity),
                Event::End(identity) => {
                    // All that was computed in a step is published before the first sequence ends in it.
                    computed.drain(..).for_each(|identity| self.publish(&identity));
                    self.give_back(identity);
                    let held = self.sequences.remove(identity).expect("one that was handed in");
                    ended.extend(held.hits.map(|hits| (*identity, hits)));
                }
            }
        }
        computed.into_iter().for_each(|identity| self.publish(&identity));
        ended
    }

    fn start(&mut self, identity: &Identity) {
        let held = self.sequences.get_mut(identity).expect("one that was handed in");
        // At least one token is computed, or there would be nothing to draw from.
        for block in 0..held.nameable.min((held.known - 1) / self.block_tokens) {
            let wanted = scoped(&held.job, &held.tokens, block, self.block_tokens);
            let Some(holders) = self.published.get_mut(&wanted) else { break };
            if *holders == 0 {
                self.unused.retain(|unused| *unused != wanted);
            }
            *holders += 1;
            held.blocks.push(Some(wanted));
        }
        held.sealed = held.blocks.len();
        held.computed = held.sealed * self.block_tokens;
        held.hits.get_or_insert(held.computed);
    }

    /// Takes blocks for `tokens` more.
    fn grow(&mut self, identity: &Identity, tokens: usize) {
        let held = self.sequences.get_mut(identity).expect("one that was handed in");
        held.computed += tokens;
        assert!(held.computed <= held.known, "computed before it was drawn");
        while held.blocks.len() * self.block_tokens < held.computed {
            if self.private + self.published.len() == self.capacity {
                assert!(!self.unused.is_empty(), "more is held than there is");
                self.published.remove(&self.unused.remove(0));
                self.evicted += 1;
            }
            held.blocks.push(None);
            self.private += 1;
        }
    }

    /// Its full blocks can be found from now on; where all that is known was computed, a token is drawn.
    fn publish(&mut self, identity: &Identity) {
        let held = self.sequences.get_mut(identity).expect("one that was handed in");
        while (held.sealed + 1) * self.block_tokens <= held.computed {
            let context = scoped(&held.job, &held.tokens, held.sealed, self.block_tokens);
            if !self.published.contains_key(&context) {
                self.published.insert(context.clone(), 1);
                self.private -= 1;
                held.blocks[held.sealed] = Some(context);
            }
            held.sealed += 1;
        }
        held.nameable = held.nameable.max(held.sealed);
        held.known += usize::from(held.computed == held.known && held.known < held.tokens.len());
    }

    /// It gives all its blocks back, the last one first.
    fn give_back(&mut self, identity: &Identity) {
        let held = self.sequences.get_mut(identity).expect("one that was handed in");
        for block in held.blocks.drain(..).rev() {
            let Some(context) = block else {
                self.private -= 1;
                continue;
            };
            let holders = self.published.get_mut(&context).expect("what is held can be found");
            *holders -= 1;
            if *holders == 0 {
                self.unused.push(context);
            }
        }
        (held.computed, held.sealed) = (0, 0);
    }
}
