//! What each way to a block costs, as measured, and whether it is worth it.

use super::Kind;

/// Seconds of each way to a block, as measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Costs {
    /// Of computing one token; 0 until known.
    pub token_s: f64,
    host_byte_s: f64,
    disk_byte_s: f64,
    /// Of unpacking what has come.
    remote_byte_s: f64,
    /// Of having it come.
    fetch_byte_s: f64,
}

impl Default for Costs {
    fn default() -> Self {
        // Hopeful at first: one try tells more than a guess.
        Self { token_s: 0.0, host_byte_s: 1e-9, disk_byte_s: 2e-9, remote_byte_s: 1e-9, fetch_byte_s: 5e-9 }
    }
}

impl Costs {
    /// Seconds for each byte.
    pub(super) fn byte_s(&mut self, kind: Kind) -> &mut f64 {
        match kind {
            Kind::Host => &mut self.host_byte_s,
            Kind::Disk => &mut self.disk_byte_s,
            Kind::Remote => &mut self.remote_byte_s,
        }
    }

    /// Is reading `bytes` faster than computing `tokens`?
    pub fn worth(&mut self, kind: Kind, bytes: usize, tokens: usize) -> bool {
        // Not known yet: then whatever was kept is used.
        let token_s = self.token_s;
        let byte_s = self.byte_s(kind);
        let worth = token_s == 0.0 || bytes as f64 * *byte_s < tokens as f64 * token_s;
        if !worth {
            // A disk that was slow once, say with cold files, is tried again some time.
            *byte_s *= 0.999;
        }
        worth
    }

    /// Takes a measurement in.
    pub fn measured(&mut self, kind: Kind, bytes: usize, seconds: f64) {
        let old = self.byte_s(kind);
        *old = 0.8 * *old + 0.2 * seconds / bytes.max(1) as f64;
    }

    /// Is having a block of about `bytes` come faster than computing its `tokens`?
    pub fn worth_fetching(&mut self, bytes: usize, tokens: usize) -> bool {
        let worth = self.token_s == 0.0 || bytes as f64 * self.fetch_byte_s < tokens as f64 * self.token_s;
        if !worth {
            // A store that was slow once is tried again some time.
            self.fetch_byte_s *= 0.999;
        }
        worth
    }

    /// Blocks of `bytes` came within `seconds`.
    pub fn fetched(&mut self, bytes: usize, seconds: f64) {
        self.fetch_byte_s = 0.8 * self.fetch_byte_s + 0.2 * seconds / bytes.max(1) as f64;
    }

    /// A step computed `tokens`.
    pub fn computed(&mut self, tokens: usize, seconds: f64) {
        let now = seconds / tokens.max(1) as f64;
        self.token_s = if self.token_s == 0.0 { now } else { 0.9 * self.token_s + 0.1 * now };
    }
}
