//! The thread that talks to a store of blocks: names, digests, the breaker.
//!
//! Invariant: what it hands over was written for this key by an engine with the same secret, model and precision.
//! Called by `remote`.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::Instant;

use bul_runtime::breaker::{Breaker, Outcome};

use super::remote::{BlockName, Call, Landed, RemoteError, RemoteTier, Shared, Wake};
use crate::kv::key::BlockKey;

/// Version, digest.
const HEAD: usize = 1 + 32;
const VERSION: u8 = 1;

/// What was found under a name.
enum Came {
    Block(Vec<u8>),
    Nothing,
    /// Not what was written under this name.
    Forged,
}

/// See the module's text.
pub(super) struct Clerk {
    tier: RemoteTier,
    /// Of names and digests.
    key: [u8; 32],
    packed_max: usize,
    breaker: Breaker,
    shared: Arc<Shared>,
    wake: Wake,
    started: Instant,
}

impl Clerk {
    /// For blocks of the model and precision that `seal` stands for.
    pub fn new(
        tier: &RemoteTier,
        seal: [u8; 32],
        block_bytes_max: usize,
        shared: Arc<Shared>,
        wake: Wake,
    ) -> Self {
        Self {
            tier: tier.clone(),
            key: *blake3::keyed_hash(&tier.secret, &seal).as_bytes(),
            packed_max: HEAD + block_bytes_max,
            breaker: Breaker::new(tier.breaker.clone()),
            shared,
            wake,
            started: Instant::now(),
        }
    }

    /// Works until the engine's side is gone and what it wanted written is. Requests wait for blocks and none for a write, so
    /// that writes stand back; their number is bounded by the bytes that may wait.
    pub fn run(mut self, inbox: &Receiver<Call>) {
        let mut writes: VecDeque<(BlockKey, Vec<u8>)> = VecDeque::new();
        loop {
            let call = match writes.is_empty() {
                true => inbox.recv().map_err(|_| TryRecvError::Disconnected),
                false => inbox.try_recv(),
            };
            if self.shared.stopping.load(Ordering::Relaxed) {
                return;
            }
            match (call, writes.is_empty()) {
                (Ok(Call::Get(keys)), _) => self.get(&keys),
                (Ok(Call::Put(key, bytes)), _) => writes.push_back((key, bytes)),
                (Err(TryRecvError::Disconnected), true) => return,
                (Err(_), _) => {
                    if let Some((key, bytes)) = writes.pop_front() {
                        self.put(key, &bytes);
                        self.shared.queued_bytes.fetch_sub(bytes.len(), Ordering::Relaxed);
                    }
                }
            }
        }
    }

    fn name(&self, key: &BlockKey) -> BlockName {
        blake3::keyed_hash(&self.key, key.as_bytes()).into()
    }

    fn now_ms(&self) -> u64 {
        self.started.elapsed().as_millis() as u64
    }

    /// Calls the store, if it is not left alone; with the seconds it took. `None` when it did not answer.
    fn call<T>(
        &mut self,
        work: impl FnOnce(&RemoteTier) -> Result<T, RemoteError>,
        is_fine: impl FnOnce(&T) -> bool,
    ) -> Option<(T, f64)> {
        let now = self.now_ms();
        let permit = self.breaker.try_acquire(now).ok()?;
        let started = Instant::now();
        let tier = &self.tier;
        let answer = match catch_unwind(AssertUnwindSafe(|| work(tier))) {
            Ok(Ok(answer)) => Some(answer),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a call for KV blocks");
                None
            }
            Err(_) => {
                tracing::error!("the store of KV blocks panicked");
                None
            }
        };
        let seconds = started.elapsed().as_secs_f64();
        let in_time = seconds <= self.tier.within.as_secs_f64();
        let is_good = in_time && answer.as_ref().is_some_and(is_fine);
        let now = self.now_ms();
        self.breaker.record(permit, if is_good { Outcome::Success } else { Outcome::Failure }, now);
        answer.map(|answer| (answer, seconds))
    }

    fn get(&mut self, keys: &[BlockKey]) {
        let names: Vec<BlockName> = keys.iter().map(|key| self.name(key)).collect();
        let (key, packed_max) = (self.key, self.packed_max);
        let check = |(name, block): (&BlockName, Option<Vec<u8>>)| match block {
            None => Came::Nothing,
            Some(block) if block.len() > packed_max => Came::Forged,
            Some(block) => opened(&key, name, &block).map_or(Came::Forged, |b| Came::Block(b.to_vec())),
        };
        let ask = |tier: &RemoteTier| {
            let blocks = tier.store.get_many(&names, packed_max, tier.within)?;
            if blocks.len() != names.len() {
                return Err(RemoteError(format!("{} answers to {} names", blocks.len(), names.len())));
            }
            Ok(names.iter().zip(blocks).map(check).collect::<Vec<Came>>())
        };
        let answer = self.call(ask, |came| !came.iter().any(|c| matches!(c, Came::Forged)));
        let mut landed = Landed { answered: keys.len(), ..Landed::default() };
        let Some((came, seconds)) = answer else {
            landed.counts.skipped = keys.len() as u64;
            landed.missing.extend_from_slice(keys);
            return self.land(landed);
        };
        let mut bytes = 0;
        for (key, came) in keys.iter().zip(came) {
            match came {
                Came::Block(packed) => {
                    bytes += packed.len();
                    landed.counts.fetched += 1;
                    landed.blocks.push((*key, packed));
                    continue;
                }
                Came::Nothing => landed.counts.missing += 1,
                Came::Forged => landed.counts.forged += 1,
            }
            landed.missing.push(*key);
        }
        landed.cost = (bytes > 0).then_some((bytes, seconds));
        self.land(landed);
    }

    fn put(&mut self, key: BlockKey, bytes: &[u8]) {
        let name = self.name(&key);
        let packed = self.tier.compression.pack(bytes);
        let mut block = Vec::with_capacity(HEAD + packed.len());
        block.push(VERSION);
        block.extend_from_slice(&digest(&self.key, &name, &packed));
        block.extend_from_slice(&packed);
        let written = self.call(|tier| tier.store.put(name, block, tier.within), |()| true).is_some();
        let mut landed = Landed::default();
        landed.counts.written = u64::from(written);
        landed.counts.skipped = u64::from(!written);
        if !written {
            // Not there after all: written again when it is evicted again.
            landed.missing.push(key);
        }
        self.land(landed);
    }

    fn land(&self, new: Landed) {
        let came = !new.blocks.is_empty();
        let mut landed = self.shared.landed.lock();
        // Once is enough until it was collected.
        let is_first = landed.blocks.is_empty();
        landed.append(new);
        drop(landed);
        if came && is_first {
            (self.wake)();
        }
    }
}

fn digest(key: &[u8; 32], name: &BlockName, packed: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(b"block");
    hasher.update(name);
    hasher.update(packed);
    hasher.finalize().into()
}

/// The packed bytes of a block that was written under `name` by somebody who knows the key.
fn opened<'a>(key: &[u8; 32], name: &BlockName, block: &'a [u8]) -> Option<&'a [u8]> {
    let (version, rest) = block.split_first()?;
    let (own, packed) = rest.split_first_chunk::<32>()?;
    // blake3's own comparison takes the same time wherever the two differ.
    let whole = blake3::Hash::from_bytes(digest(key, name, packed)) == blake3::Hash::from_bytes(*own);
    (*version == VERSION && whole).then_some(packed)
}
