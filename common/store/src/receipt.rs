//! Where a job's tokens came from and what it waited for, beside the sums of its [`crate::Usage`].
//!
//! Stores keep it as one text: no query asks for a part of it, and each column more would cost the statement that ends jobs.
//! Invariant: what an older version left out, or a newer one has added, is no fault.

use serde::{Deserialize, Serialize};

/// The finer part of what a job cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Receipt {
    /// Of the cached tokens, those that were kept in the memory of the model's host.
    pub host_tokens: u64,
    /// Of the cached tokens, those that were kept on disk.
    pub disk_tokens: u64,
    /// Of the cached tokens, those that came from the store that engines share.
    pub remote_tokens: u64,
    /// Answers that were another request's: the same one was being computed already.
    pub attached: u64,
    /// Answers that an earlier attempt of the job had kept.
    pub kept_texts: u64,
    /// How often its requests gave their memory back to others and started again.
    pub preemptions: u64,
    /// Tokens computed again because of that.
    pub recomputed_tokens: u64,
    /// Waiting for the model, all requests together, milliseconds.
    pub queue_ms: f64,
    /// From the start of the first request to its first token, milliseconds.
    pub first_token_ms: f64,
}

impl Receipt {
    /// As stores keep it: what is not zero, times to the microsecond. `None` when there is nothing to keep, as with jobs
    /// that need no model.
    pub fn to_text(&self) -> Option<String> {
        let counts = [
            ("host_tokens", self.host_tokens),
            ("disk_tokens", self.disk_tokens),
            ("remote_tokens", self.remote_tokens),
            ("attached", self.attached),
            ("kept_texts", self.kept_texts),
            ("preemptions", self.preemptions),
            ("recomputed_tokens", self.recomputed_tokens),
        ];
        let times = [("queue_ms", self.queue_ms), ("first_token_ms", self.first_token_ms)];
        let counts = counts.into_iter().filter(|(_, count)| *count > 0);
        // "Not a number" is a bad measurement, and must not cost a finished document.
        let times =
            times.map(|(name, ms)| (name, if ms.is_finite() { (ms * 1e3).round() / 1e3 } else { 0.0 }));
        let times = times.into_iter().filter(|(_, ms)| *ms > 0.0);
        let parts: Vec<String> = counts
            .map(|(name, count)| format!("\"{name}\":{count}"))
            .chain(times.map(|(name, ms)| format!("\"{name}\":{ms}")))
            .collect();
        (!parts.is_empty()).then(|| format!("{{{}}}", parts.join(",")))
    }

    /// What a store kept; nothing, where an older version ended the job.
    ///
    /// # Errors
    /// When the text is none of ours.
    pub fn from_text(text: Option<&str>) -> Result<Self, serde_json::Error> {
        text.map_or_else(|| Ok(Self::default()), serde_json::from_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(receipt: Receipt, text: Option<&str>) {
        assert_eq!(receipt.to_text().as_deref(), text);
        assert_eq!(Receipt::from_text(text).unwrap(), receipt);
    }

    #[test]
    fn only_what_there_is_to_tell_is_kept() {
        check(Receipt::default(), None);
        check(
            Receipt { disk_tokens: 64, preemptions: u64::MAX, queue_ms: 0.125, ..Receipt::default() },
            Some(r#"{"disk_tokens":64,"preemptions":18446744073709551615,"queue_ms":0.125}"#),
        );
    }

    #[test]
    fn bad_measurements_are_left_out_and_parts_of_newer_versions_too() {
        let bad = Receipt { queue_ms: f64::NAN, first_token_ms: f64::INFINITY, ..Receipt::default() };
        assert_eq!(bad.to_text(), None);
        let fine = Receipt { queue_ms: 1.000_4, first_token_ms: 2e-4, ..Receipt::default() };
        assert_eq!(fine.to_text().as_deref(), Some(r#"{"queue_ms":1}"#));
        let newer = Receipt::from_text(Some(r#"{"attached":2,"of tomorrow":[1]}"#)).unwrap();
        assert_eq!(newer, Receipt { attached: 2, ..Receipt::default() });
        assert!(Receipt::from_text(Some("[")).is_err());
    }
}
