//! Quotas as users give them: percent of the engine's blocks, which are counted only once the model is open.
//!
//! Called by `local` when it makes the pool, and by whoever reads a configuration.

use std::collections::BTreeMap;

use super::quota::{Quotas, TenantQuota};

/// Percent that all floors may have together. Blocks of public text (templates) come from what is left: without any, no
/// request that begins with a template could ever start.
pub const FLOORS_PERCENT_MAX: u32 = 90;

/// Share of one tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantShare {
    /// Percent of the blocks that others cannot take away. What is reserved for one tenant is of no use to the others.
    pub floor_percent: u32,
    /// Percent it may have at most, cached blocks included. Too low: its long requests are refused.
    pub cap_percent: u32,
}

/// Shares by tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantShares {
    /// Tenants with shares of their own.
    pub tenants: BTreeMap<String, TenantShare>,
    /// Cap of each other tenant, percent; 100 for none. They have no floor.
    pub default_cap_percent: u32,
}

impl Default for TenantShares {
    fn default() -> Self {
        Self { tenants: BTreeMap::new(), default_cap_percent: 100 }
    }
}

/// Shares that cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SharesError {
    /// A percentage out of range.
    #[error("{what} is {percent} percent; 1 to 100 are possible")]
    Percent {
        /// Which.
        what: String,
        /// Given.
        percent: u32,
    },
    /// A tenant is promised more than it may have.
    #[error("{tenant} has a floor of {floor} percent, above its cap of {cap}")]
    FloorAboveCap {
        /// Tenant.
        tenant: String,
        /// Floor, percent.
        floor: u32,
        /// Cap, percent.
        cap: u32,
    },
    /// More is promised than there is.
    #[error(
        "all floors together are {percent} percent; {FLOORS_PERCENT_MAX} may be reserved, the rest is for templates"
    )]
    Floors {
        /// Sum.
        percent: u32,
    },
}

impl TenantShares {
    /// Whether every tenant can have what it is promised.
    ///
    /// # Errors
    /// The first share that cannot be kept.
    pub fn check(&self) -> Result<(), SharesError> {
        let within = |what: &str, percent: u32, least: u32| {
            let fits = (least..=100).contains(&percent);
            fits.then_some(()).ok_or_else(|| SharesError::Percent { what: what.into(), percent })
        };
        within("the cap of each tenant", self.default_cap_percent, 1)?;
        let mut floors: u32 = 0;
        for (tenant, share) in &self.tenants {
            let (floor, cap) = (share.floor_percent, share.cap_percent);
            within(&format!("the cap of {tenant}"), cap, 1)?;
            within(&format!("the floor of {tenant}"), floor, 0)?;
            if floor > cap {
                return Err(SharesError::FloorAboveCap { tenant: tenant.clone(), floor, cap });
            }
            floors = floors.saturating_add(floor);
        }
        if floors > FLOORS_PERCENT_MAX {
            return Err(SharesError::Floors { percent: floors });
        }
        Ok(())
    }

    /// The same in blocks of an engine that has `blocks`: floors rounded down, so that their sum fits, caps rounded up.
    pub(crate) fn quotas(&self, blocks: usize) -> Quotas {
        let part = |percent: u32| blocks.saturating_mul(percent as usize);
        let cap = |percent: u32| if percent >= 100 { usize::MAX } else { part(percent).div_ceil(100).max(1) };
        let of = |share: &TenantShare| TenantQuota {
            floor_blocks: part(share.floor_percent) / 100,
            cap_blocks: cap(share.cap_percent),
        };
        let tenants = self.tenants.iter().map(|(name, share)| (name.clone(), of(share))).collect();
        let default_cap_blocks = (self.default_cap_percent < 100).then(|| cap(self.default_cap_percent));
        Quotas { tenants, default_cap_blocks }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(default_cap_percent: u32, tenants: &[(&str, u32, u32)]) -> TenantShares {
        let of = |&(name, floor_percent, cap_percent): &(&str, u32, u32)| {
            (name.to_owned(), TenantShare { floor_percent, cap_percent })
        };
        TenantShares { tenants: tenants.iter().map(of).collect(), default_cap_percent }
    }

    #[test]
    fn what_cannot_be_kept_is_named() {
        let check = |shares: TenantShares, word: &str| {
            let found = shares.check().err().map(|e| e.to_string()).unwrap_or_default();
            assert!(found.contains(word) && found.is_empty() == word.is_empty(), "{shares:?}: {found:?}");
        };
        check(TenantShares::default(), "");
        check(shares(30, &[("a", 60, 100), ("b", 30, 30), ("c", 0, 1)]), "");
        check(shares(0, &[]), "each tenant is 0 percent");
        check(shares(101, &[]), "101");
        check(shares(100, &[("a", 0, 0)]), "the cap of a");
        check(shares(100, &[("a", 101, 100)]), "the floor of a");
        check(shares(100, &[("a", 20, 10)]), "above its cap");
        check(shares(100, &[("a", 60, 100), ("b", 31, 100)]), "91 percent");
        check(shares(100, &[("a", u32::MAX, 100)]), "the floor of a");
    }

    #[test]
    fn percent_become_blocks() {
        assert!(TenantShares::default().quotas(100).is_empty());
        let quotas = shares(10, &[("a", 33, 100), ("b", 1, 1)]).quotas(50);
        let of = |name: &str| (quotas.tenants[name].floor_blocks, quotas.tenants[name].cap_blocks);
        assert_eq!((quotas.default_cap_blocks, of("a"), of("b")), (Some(5), (16, usize::MAX), (0, 1)));
        assert_eq!(shares(1, &[]).quotas(7).default_cap_blocks, Some(1));
    }
}
