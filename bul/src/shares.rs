//! The configured shares of tenants in the engine's cache.
//!
//! Called by `wire` when the model is opened and by `bul config check`. Invariant: what a file may say can be kept, or is
//! refused before anything is opened.

use bul_config::Config;
use bul_engine::{TenantShare, TenantShares};
use bul_job::TenantId;

/// Shares of the configuration. A cap of 0 percent stands for "none of its own".
///
/// # Errors
/// The option, and what is wrong with it.
pub fn of(config: &Config) -> Result<TenantShares, (&'static str, String)> {
    const TENANTS: &str = "model.tenants";
    let model = &config.model;
    let default_cap_percent = if model.tenant_cap_percent == 0 { 100 } else { model.tenant_cap_percent };
    if default_cap_percent > 100 {
        return Err(("model.tenant_cap_percent", format!("is {default_cap_percent}, must be 0 to 100")));
    }
    let mut shares = TenantShares { default_cap_percent, ..TenantShares::default() };
    for (name, share) in &model.tenants {
        name.parse::<TenantId>().map_err(|e| (TENANTS, format!("{name:?} is no tenant: {e}")))?;
        // A tenant that is promised more than others may have is not held to their cap.
        let cap_percent = match share.cap_percent {
            0 => default_cap_percent.max(share.floor_percent),
            own => own,
        };
        shares.tenants.insert(name.clone(), TenantShare { floor_percent: share.floor_percent, cap_percent });
    }
    shares.check().map_err(|e| (TENANTS, e.to_string()))?;
    Ok(shares)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(cap: u32, tenants: &[(&str, u32, u32)], expected: Result<&[(u32, u32)], &str>) {
        let mut config = Config::default();
        config.model.tenant_cap_percent = cap;
        for (name, floor_percent, cap_percent) in tenants {
            let share = bul_config::TenantShare { floor_percent: *floor_percent, cap_percent: *cap_percent };
            config.model.tenants.insert((*name).to_owned(), share);
        }
        match (of(&config), expected) {
            (Ok(shares), Ok(expected)) => {
                let found: Vec<_> =
                    shares.tenants.values().map(|share| (share.floor_percent, share.cap_percent)).collect();
                assert_eq!(found, expected);
            }
            (Err((_, message)), Err(word)) => assert!(message.contains(word), "{message}"),
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn shares_are_read_and_what_cannot_be_kept_is_refused() {
        check(0, &[], Ok(&[]));
        check(20, &[("a", 0, 0), ("b", 30, 0), ("c", 10, 50)], Ok(&[(0, 20), (30, 30), (10, 50)]));
        check(101, &[], Err("0 to 100"));
        check(0, &[("no tenant!", 1, 1)], Err("no tenant"));
        check(0, &[("a", 50, 0), ("b", 41, 0)], Err("91 percent"));
        check(0, &[("a", 50, 40)], Err("above its cap"));
    }
}
