//! What the executable brings along: the demonstration model and the demo's inputs.

use bul_engine::EmbeddedModel;

/// The shipped model; see `model/README.md` for what it is and how it was trained.
pub fn model() -> EmbeddedModel<'static> {
    EmbeddedModel {
        config: include_bytes!("../../model/weights/config.json"),
        tokenizer: include_bytes!("../../model/weights/tokenizer.json"),
        tokenizer_config: include_bytes!("../../model/weights/tokenizer_config.json"),
        weights: include_bytes!("../../model/weights/model.safetensors"),
        phrases: Some(include_bytes!("../../model/weights/phrases.bin")),
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
