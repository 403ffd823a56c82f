//! The engine's settings, from the configuration.
//!
//! Called by `wire` when the model is opened and by `bul config check`. Invariant: what a file may say can be kept, or is
//! refused before anything is opened.

use std::path::PathBuf;

use bul_config::Config;
use bul_engine::{
    ComputeDevice, EngineOptions, Eviction, KvPrecision, Preset, TenantShare, TenantShares, TierWrite,
};
use bul_job::TenantId;

use crate::exit::Fault;

/// Settings of the local engine: those of the preset, and over it what is set on its own.
pub fn options(config: &Config, tier: Option<PathBuf>) -> anyhow::Result<EngineOptions> {
    let model = &config.model;
    let names = |all: Vec<&str>| all.join(", ");
    let preset = Preset::parse(&model.preset).ok_or_else(|| {
        let known = names(Preset::ALL.iter().map(|preset| preset.name()).collect());
        Fault::usage(format!("model.preset: {:?} is none of {known}", model.preset))
    })?;
    let eviction = Eviction::ALL.into_iter().find(|policy| policy.name() == model.eviction);
    let eviction = eviction.ok_or_else(|| {
        let known = names(Eviction::ALL.iter().map(|policy| policy.name()).collect());
        Fault::usage(format!("model.eviction: {:?} is none of {known}", model.eviction))
    })?;
    let kv_precision = KvPrecision::parse(&model.kv).ok_or_else(|| {
        let known = names(KvPrecision::ALL.iter().map(|precision| precision.name()).collect());
        Fault::usage(format!("model.kv: {:?} is none of {known}", model.kv))
    })?;
    let shares = shares(config).map_err(|(option, why)| Fault::usage(format!("{option}: {why}")))?;
    let prefetch_bytes_max = model.prefetch_mib_max << 20;
    devices(config)?;
    let mut options = EngineOptions {
        eviction,
        kv_precision,
        prefetch_bytes_max,
        tune: model.tune,
        shares,
        ..EngineOptions::preset(preset)
    };
    if model.running_max > 0 {
        options.running_max = model.running_max;
    }
    if model.kv_mib_max > 0 {
        options.kv_bytes_max = model.kv_mib_max << 20;
    }
    if model.threads > 0 {
        options.threads = model.threads;
    }
    options.tiers.write = TierWrite::parse(&model.tier_write).ok_or_else(|| {
        let known = TierWrite::NAMES.join(", ");
        Fault::usage(format!("model.tier_write: {:?} is none of {known}", model.tier_write))
    })?;
    if model.host_mib_max > 0 {
        options.tiers.host_bytes_max = model.host_mib_max << 20;
    }
    if model.disk_mib_max > 0 {
        (options.tiers.disk_directory, options.tiers.disk_bytes_max) = (tier, model.disk_mib_max << 20);
    }
    Ok(options)
}

/// What computes; an engine for each.
pub fn devices(config: &Config) -> anyhow::Result<Vec<ComputeDevice>> {
    let device = &config.model.device;
    let devices = ComputeDevice::parse_all(device).ok_or_else(|| {
        Fault::usage(format!("model.device: {device:?} is none of cpu, cuda, cuda:<number>, auto"))
    })?;
    let is_card = |device: &ComputeDevice| matches!(device, ComputeDevice::Cuda(_));
    if devices.len() > 1 && !devices.iter().all(is_card) && !devices.iter().all(|d| *d == ComputeDevice::Cpu)
    {
        // Another kind of device computes a little differently, and what is kept under a model's name would not be the same.
        let why = format!("model.device: several must be cards by number, or all be cpu, not {device:?}");
        return Err(Fault::usage(why).into());
    }
    let twice = |(at, device): (usize, &ComputeDevice)| is_card(device) && devices[..at].contains(device);
    if devices.iter().enumerate().any(twice) {
        return Err(Fault::usage(format!("model.device: {device:?} names a card twice")).into());
    }
    Ok(devices)
}

/// Shares of the configuration. A cap of 0 percent stands for "none of its own".
///
/// # Errors
/// The option, and what is wrong with it.
fn shares(config: &Config) -> Result<TenantShares, (&'static str, String)> {
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
        match (shares(&config), expected) {
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
