//! Affinity: jobs whose prompts begin alike go to the worker that has computed that beginning already.
//!
//! A job belongs to a [`Group`], and its id ends in the group's number, so that no row and no message has to carry it. Groups fall into
//! the [`Partition`]s of a lane, which the brokers keep apart; [`View`] says which partitions a process serves first. Invariant:
//! affinity is a wish. Every job may run everywhere, and whatever is wrong here costs time and loses nothing.

use std::collections::BTreeSet;

use crate::{Lane, TenantId, ValidJob};

/// Most partitions of a lane. More of them spread the groups better, and cost the broker a queue for each lane.
pub const PARTITIONS_MAX: u8 = 16;

/// Jobs whose prompts begin alike, as far as their requests tell: 256 groups, by hash, so that two may share a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group(pub(crate) u8);

impl Group {
    /// The group of a job: its conversation, if it has one; else its template; for a free document its area and type, which are what
    /// the instructions before its text depend on.
    pub fn of(tenant: &TenantId, job: &ValidJob) -> Self {
        let text = |part: &Option<String>| part.as_deref().unwrap_or_default().to_owned();
        let parts = match (&job.session_id, job.template.as_str()) {
            (Some(session), _) => ["session".into(), tenant.to_string(), session.clone()],
            (None, "document") => ["free".into(), text(&job.business_area), text(&job.doc_type)],
            (None, template) => ["template".into(), template.into(), String::new()],
        };
        Self(digest(&parts).to_le_bytes()[0])
    }

    /// Where its jobs lie when each lane has so many partitions.
    pub fn partition(self, partitions: u8) -> Partition {
        Partition(self.0 % partitions.max(1))
    }
}

/// A part of a lane that the broker keeps apart, from 0. What other programs publish lies in the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Partition(u8);

impl Partition {
    /// The only one of an undivided lane, and that of messages of other programs.
    pub const FIRST: Self = Self(0);

    /// The partition of this number, if there can be one.
    pub fn new(number: u8) -> Option<Self> {
        (number < PARTITIONS_MAX).then_some(Self(number))
    }

    /// All of them, when there are so many.
    pub fn all(partitions: u8) -> impl Iterator<Item = Self> {
        (0..partitions.clamp(1, PARTITIONS_MAX)).map(Self)
    }

    /// Its number, from 0.
    pub fn number(self) -> u8 {
        self.0
    }
}

/// What a broker hands work out of: one partition of one lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Queue {
    /// Lane.
    pub lane: Lane,
    /// Partition of the lane.
    pub partition: Partition,
}

impl Queue {
    /// All queues of a lane that has so many partitions.
    pub fn of(lane: Lane, partitions: u8) -> impl Iterator<Item = Self> {
        Partition::all(partitions).map(move |partition| Self { lane, partition })
    }

    /// All queues of all lanes, in the order of [`Self::index`].
    pub fn all(partitions: u8) -> impl Iterator<Item = Self> {
        Lane::ALL.into_iter().flat_map(move |lane| Self::of(lane, partitions))
    }

    /// Position among all queues when every lane has so many partitions.
    pub fn index(self, partitions: u8) -> usize {
        let width = usize::from(partitions.clamp(1, PARTITIONS_MAX));
        self.lane.index() * width + usize::from(self.partition.0)
    }
}

impl std::fmt::Display for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.partition {
            Partition::FIRST => self.lane.fmt(f),
            Partition(number) => write!(f, "{}.{number}", self.lane),
        }
    }
}

/// Who serves which partitions first, as one process sees it. Those that see the same processes agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Its own, in order.
    pub own: Vec<Partition>,
    /// The others, those first for which it would be the better choice, so that who helps out helps with the same ones.
    pub others: Vec<Partition>,
}

impl View {
    /// Everything belongs to whoever knows of nobody else.
    pub fn alone(partitions: u8) -> Self {
        Self { own: Partition::all(partitions).collect(), others: Vec::new() }
    }

    /// What `me` serves when these processes are alive; `me` is one of them, whether it is named or not.
    pub fn of(me: &str, alive: &BTreeSet<String>, partitions: u8) -> Self {
        let mut alive: BTreeSet<&str> = alive.iter().map(String::as_str).collect();
        alive.insert(me);
        let owners = owners(&alive, partitions);
        let mut view = Self { own: Vec::new(), others: Vec::new() };
        for (partition, owner) in Partition::all(partitions).zip(owners) {
            let side = if owner == me { &mut view.own } else { &mut view.others };
            side.push(partition);
        }
        view.others.sort_by_key(|partition| std::cmp::Reverse(weight(me, *partition)));
        view
    }
}

/// The owner of each partition: rendezvous hashing (Thaler and Ravishankar, 1998) with bounded loads (after Mirrokni, Thorup and
/// Zadimoghaddam, 2018). The pair of the highest weight is served first, and nobody gets a second share before everybody has one: with
/// few partitions a looser bound leaves processes without any. `alive` is not empty.
fn owners<'a>(alive: &BTreeSet<&'a str>, partitions: u8) -> Vec<&'a str> {
    let all: Vec<Partition> = Partition::all(partitions).collect();
    let weigh = |name: &'a str| all.iter().map(move |partition| (weight(name, *partition), name, *partition));
    let mut pairs: Vec<(u64, &str, Partition)> = alive.iter().flat_map(|name| weigh(name)).collect();
    pairs.sort_unstable_by(|a, b| b.cmp(a));
    let (share, mut larger) = (all.len() / alive.len().max(1), all.len() % alive.len().max(1));
    let mut loads: std::collections::BTreeMap<&str, usize> = alive.iter().map(|name| (*name, 0)).collect();
    let mut owners: Vec<Option<&str>> = vec![None; all.len()];
    for (_, name, partition) in pairs {
        let (owner, load) = (&mut owners[usize::from(partition.0)], loads.entry(name).or_default());
        let is_larger = *load == share;
        if owner.is_some() || *load > share || (is_larger && larger == 0) {
            continue;
        }
        larger -= usize::from(is_larger);
        *load += 1;
        *owner = Some(name);
    }
    // As many shares as partitions were given out, and none was refused while one was left.
    owners.into_iter().flatten().collect()
}

fn weight(process: &str, partition: Partition) -> u64 {
    digest(&[process.to_owned(), partition.0.to_string()])
}

/// The same in every process, version and machine. The lengths keep `ab, c` and `a, bc` apart.
fn digest<const N: usize>(parts: &[String; N]) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes()).update(part.as_bytes());
    }
    let mut bytes = [0; 8];
    hasher.finalize_xof().fill(&mut bytes);
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
#[path = "affinity_tests.rs"]
mod tests;
