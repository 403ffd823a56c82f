//! Finished texts of a job that is not finished: what its next attempt need not write again.
//!
//! A text is known by the digest of the request that it answers, so that an edited job, or another model, never gets an old
//! one. Invariant: texts are a help and not a record; whoever loses them writes again, and the document is the same.

/// Most bytes of a text that is kept.
pub const TEXT_BYTES_MAX: usize = 256 * 1024;
/// Most texts that are kept for one job; further ones are written again. A document has some dozens at most.
pub const TEXTS_MAX: usize = 1_000;

/// A finished text, and the request it answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptText {
    request: [u8; 32],
    text: String,
    prompt_tokens: u32,
}

impl KeptText {
    /// The answer to the request of this digest, whose prompt had so many tokens. `None` when it is too large to be kept.
    pub fn new(request: [u8; 32], text: String, prompt_tokens: u64) -> Option<Self> {
        let prompt_tokens = u32::try_from(prompt_tokens).unwrap_or(u32::MAX);
        (text.len() <= TEXT_BYTES_MAX).then_some(Self { request, text, prompt_tokens })
    }

    /// Digest of the request, over everything that its answer depends on.
    pub fn request(&self) -> [u8; 32] {
        self.request
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Tokens of the prompt, for the receipt.
    pub fn prompt_tokens(&self) -> u32 {
        self.prompt_tokens
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_not_kept() {
        assert!(KeptText::new([0; 32], "x".repeat(TEXT_BYTES_MAX), 1).is_some());
        assert!(KeptText::new([0; 32], "x".repeat(TEXT_BYTES_MAX + 1), 1).is_none());
        assert_eq!(KeptText::new([0; 32], String::new(), u64::MAX).unwrap().prompt_tokens(), u32::MAX);
    }
}
