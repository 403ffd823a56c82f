//! Turns of sessions: what finished jobs of a session have said, for the prompts of later ones.
//!
//! A session belongs to a tenant. Invariant: which turns a job is told follows from the times in the store alone, so that every
//! attempt of it is told the same ones, whatever else of the session ends meanwhile.

/// Most bytes of either side of a turn that is kept.
pub const TURN_BYTES_MAX: usize = 64 * 1024;
/// Most turns that are read at once.
pub const TURNS_MAX: usize = 32;

/// What a user asked for and what was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionTurn {
    user: String,
    assistant: String,
}

impl SessionTurn {
    /// A turn; `None` when a side of it is too large to be kept.
    pub fn new(user: String, assistant: String) -> Option<Self> {
        let fits = user.len() <= TURN_BYTES_MAX && assistant.len() <= TURN_BYTES_MAX;
        fits.then_some(Self { user, assistant })
    }

    /// A turn as a store has kept it; `None` when it is none.
    pub fn from_bytes(user: Vec<u8>, assistant: Vec<u8>) -> Option<Self> {
        Self::new(String::from_utf8(user).ok()?, String::from_utf8(assistant).ok()?)
    }

    /// What the user asked for.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// What was answered.
    pub fn assistant(&self) -> &str {
        &self.assistant
    }

    /// Bytes of both sides.
    pub fn bytes(&self) -> usize {
        self.user.len() + self.assistant.len()
    }
}
