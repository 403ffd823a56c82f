//! What the executable brings along: the demonstration model and the demo's inputs.

use bul_engine::EmbeddedModel;

use crate::pages::forget;

// Statics, of which there is one each: a constant would be laid down again wherever it is named, 5 MB each time.
static CONFIG: &[u8] = include_bytes!("../../model/weights/config.json");
static TOKENIZER: &[u8] = include_bytes!("../../model/weights/tokenizer.json");
static TOKENIZER_CONFIG: &[u8] = include_bytes!("../../model/weights/tokenizer_config.json");
static WEIGHTS: &[u8] = include_bytes!("../../model/weights/model.safetensors");
static PHRASES: &[u8] = include_bytes!("../../model/weights/phrases.bin");

/// The shipped model; see `model/README.md` for what it is and how it was trained.
pub fn model() -> EmbeddedModel<'static> {
    EmbeddedModel {
        config: CONFIG,
        tokenizer: TOKENIZER,
        tokenizer_config: TOKENIZER_CONFIG,
        weights: WEIGHTS,
        phrases: Some(PHRASES),
    }
}

/// Gives the pages of the model's files back to the system: they are read once, when the model is opened, and would count as
/// this process's memory for as long as it runs.
pub fn forget_model() {
    #![expect(unsafe_code, reason = "pages of the executable are named")]
    for file in [TOKENIZER, WEIGHTS, PHRASES] {
        // SAFETY: constants above.
        unsafe { forget(file) };
    }
}

/// A business event of the demo.
pub struct Sample {
    /// File name, from which its kind is recognised.
    pub file: &'static str,
    /// Content.
    pub bytes: &'static [u8],
}

macro_rules! samples {
    ($($file:literal),* $(,)?) => {
        /// Inputs of the demo: an ERP invoice, CI events, figures, a contract and free requests.
        pub const SAMPLES: &[Sample] = &[$(Sample { file: $file, bytes: include_bytes!(concat!("../demo/", $file)) }),*];
    };
}

samples!(
    "invoice.xml",
    "push.json",
    "release.json",
    "incident.json",
    "sales.csv",
    "contract.json",
    "requests.jsonl"
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_forgotten_is_read_again() {
        let before = WEIGHTS.to_vec();
        forget_model();
        assert_eq!(WEIGHTS, before);
    }
}
