//! Requests before they reach the engine: what is refused, and which of them are the same.
//!
//! Called by `local`.

use crate::generate::GenerateError;
use crate::job::{Request, Sampling};
use crate::sequence::Identity;

/// Digest of all that decides an answer. Lengths stand before lists, so that no two requests
/// write the same bytes.
pub(crate) fn identity(request: &Request, tokens: &[u32], public_tokens: usize) -> Identity {
    let mut hasher = blake3::Hasher::new_derive_key("bul-engine request identity v1");
    let mut text = |text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    text(&request.tenant);
    text(&format!("{:?}", request.session));
    text(&format!("{:?}", request.stop));
    text(&format!("{:?}", request.constraint));
    let Sampling { max_tokens, temperature, top_p, seed } = request.sampling;
    for number in [max_tokens as u64, u64::from(temperature.to_bits()), u64::from(top_p.to_bits()), seed] {
        hasher.update(&number.to_le_bytes());
    }
    hasher.update(&(public_tokens as u64).to_le_bytes());
    for token in tokens {
        hasher.update(&token.to_le_bytes());
    }
    hasher.finalize().into()
}

/// Warming up comes behind all work that somebody waits for.
const WARM_UP_LANE: u8 = 8;

/// The request behind a warm-up; its prompt is the prefix alone.
pub(crate) fn warm_up_request(tenant: String) -> Request {
    Request {
        id: "warm-up".into(),
        tenant,
        session: None,
        messages: Vec::new(),
        // One token is drawn and thrown away: the blocks are what counts.
        sampling: Sampling { max_tokens: 1, temperature: 0.0, top_p: 1.0, seed: 0 },
        stop: Vec::new(),
        constraint: None,
        priority: WARM_UP_LANE,
    }
}

/// Refuses what no engine can answer.
///
/// # Errors
/// `GenerateError::Rejected`, saying what is wrong.
pub(crate) fn check_sampling(request: &Request) -> Result<(), GenerateError> {
    let s = &request.sampling;
    let wrong = |text: &str| Err(GenerateError::Rejected(text.into()));
    if s.max_tokens == 0 {
        return wrong("max_tokens must be at least 1");
    }
    if !s.temperature.is_finite() || s.temperature < 0.0 {
        return wrong("temperature must be a number from 0 on");
    }
    if !(s.top_p > 0.0 && s.top_p <= 1.0) {
        return wrong("top_p must lie above 0 and not above 1");
    }
    if request.messages.is_empty() {
        return wrong("there are no messages");
    }
    Ok(())
}
