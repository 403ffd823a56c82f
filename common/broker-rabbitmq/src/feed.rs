//! Where messages come into this process: one channel each, so that a loss takes what came by it and nothing else.

use bul_job::{Lane, Queue};

/// A channel's source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Feed {
    /// The consumer of a queue: the server pushes.
    Queue(Queue),
    /// What is taken singly out of others' partitions of a lane: the server gives what it is asked for.
    Help(Lane),
}

impl Feed {
    /// All feeds when each lane has so many partitions, in the order of [`Self::index`].
    pub(crate) fn all(partitions: u8) -> impl Iterator<Item = Self> {
        Queue::all(partitions).map(Self::Queue).chain(Lane::ALL.map(Self::Help))
    }

    pub(crate) fn lane(self) -> Lane {
        match self {
            Self::Queue(queue) => queue.lane,
            Self::Help(lane) => lane,
        }
    }

    pub(crate) fn index(self, partitions: u8) -> usize {
        match self {
            Self::Queue(queue) => queue.index(partitions),
            Self::Help(lane) => Queue::all(partitions).count() + lane.index(),
        }
    }
}

impl std::fmt::Display for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Queue(queue) => write!(f, "lane {queue}"),
            Self::Help(lane) => write!(f, "others' partitions of lane {lane}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feeds_are_numbered_in_their_order() {
        for partitions in [1, 2, 16] {
            let indices: Vec<usize> = Feed::all(partitions).map(|feed| feed.index(partitions)).collect();
            assert_eq!(indices, (0..indices.len()).collect::<Vec<_>>());
        }
    }
}
