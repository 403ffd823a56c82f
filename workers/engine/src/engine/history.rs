//! What became of sequences, in order: for tests that follow every block.

use crate::sequence::Identity;

/// One thing that happened to a sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// It starts, or starts again.
    Start(Identity),
    /// It gives its blocks back and will start again.
    Preempt(Identity),
    /// So many of its tokens are computed in this step.
    Compute(Identity, usize),
    /// It is over, wherever it stood.
    End(Identity),
}
