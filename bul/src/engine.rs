//! The engine's settings, from the configuration.
//!
//! Called by `wire` when the model is opened and by `bul config check`. Invariant: what a file may say can be kept, or is
//! refused before anything is opened.

use std::path::PathBuf;

use bul_config::{Config, ModelOptions};
use bul_engine::{
    Codec, Compression, ComputeDevice, EngineOptions, Eviction, KvPrecision, Preset, TenantShare,
    TenantShares, TierOptions, TierWrite,
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
    if model.pinned_mib_max > 0 {
        options.pinned_bytes_max = model.pinned_mib_max << 20;
    }
    if model.session_ttl_s > 0 {
        options.session_ttl_ms = model.session_ttl_s.saturating_mul(1000);
    }
    options.shadow_policies |= model.compare_policies;
    tiers(&mut options.tiers, model, tier)?;
    Ok(options)
}

/// Where evicted blocks go, when, and in which form.
fn tiers(tiers: &mut TierOptions, model: &ModelOptions, folder: Option<PathBuf>) -> Result<(), Fault> {
    let unknown = |option: &str, value: &str, known: &[&str]| {
        Fault::usage(format!("model.{option}: {value:?} is none of {}", known.join(", ")))
    };
    tiers.write = TierWrite::parse(&model.tier_write)
        .ok_or_else(|| unknown("tier_write", &model.tier_write, &TierWrite::NAMES))?;
    if !model.tier_codec.is_empty() {
        tiers.codec = Codec::parse(&model.tier_codec)
            .ok_or_else(|| unknown("tier_codec", &model.tier_codec, &Codec::ALL.map(Codec::name)))?;
    }
    let packing = |option, value: &str| {
        Compression::parse(value).ok_or_else(|| unknown(option, value, &Compression::NAMES))
    };
    tiers.host_compression = packing("host_compression", &model.host_compression)?;
    tiers.disk_compression = packing("disk_compression", &model.disk_compression)?;
    if model.host_mib_max > 0 {
        tiers.host_bytes_max = model.host_mib_max << 20;
    }
    if model.disk_mib_max > 0 {
        (tiers.disk_directory, tiers.disk_bytes_max) = (folder, model.disk_mib_max << 20);
    }
    Ok(())
}

/// Settings of the engine on trial; `None` where there is none. Its files stand apart from those of the other.
pub fn trial_options(config: &Config, tier: Option<PathBuf>) -> anyhow::Result<Option<EngineOptions>> {
    if config.model.trial.is_empty() {
        return Ok(None);
    }
    let mut on_trial = config.clone();
    for part in config.model.trial.split(',') {
        let wrong = |why: &str| Fault::usage(format!("model.trial: {:?} {why}", part.trim()));
        let (name, value) = part.split_once('=').ok_or_else(|| wrong("is no option=value"))?;
        let (name, value) = (name.trim(), value.trim());
        let number = || value.parse::<usize>().map_err(|_| wrong("is no number"));
        let model = &mut on_trial.model;
        match name {
            "preset" => model.preset = value.into(),
            "eviction" => model.eviction = value.into(),
            "tune" => model.tune = value.parse().map_err(|_| wrong("is neither true nor false"))?,
            "prefetch_mib_max" => model.prefetch_mib_max = number()?,
            "host_mib_max" => model.host_mib_max = number()?,
            "tier_write" => model.tier_write = value.into(),
            "kv_mib_max" => model.kv_mib_max = number()?,
            "running_max" => model.running_max = number()?,
            _ => {
                return Err(wrong(
                    "is none of preset, eviction, tune, prefetch_mib_max, host_mib_max, \
                                  tier_write, kv_mib_max, running_max",
                )
                .into());
            }
        }
    }
    if !config.model.remote_secret.is_empty() {
        let why = "model.trial: cannot go with model.remote_secret: each side would find what the other has computed";
        return Err(Fault::usage(why).into());
    }
    if devices(config)? != [ComputeDevice::Cpu] {
        return Err(Fault::usage("model.trial: takes one device, and that the processor").into());
    }
    let on_trial = options(&on_trial, tier.map(|folder| folder.join("trial")));
    Ok(Some(on_trial.map_err(|error| Fault::usage(format!("model.trial: {error}")))?))
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

    #[test]
    fn tiers_and_pins_are_what_the_file_says() {
        let mut config = Config::default();
        let model = &mut config.model;
        (model.tier_codec, model.host_compression) = ("int4".into(), "none".into());
        (model.disk_compression, model.preset) = ("zstd:7".into(), "memory-efficient".into());
        (model.pinned_mib_max, model.session_ttl_s, model.compare_policies) = (3, 9, true);
        let found = options(&config, None).unwrap();
        assert_eq!(found.tiers.codec, Codec::Int4);
        assert_eq!(found.tiers.host_compression, Compression::None);
        assert_eq!(found.tiers.disk_compression, Compression::Zstd { level: 7 });
        assert_eq!(
            (found.pinned_bytes_max, found.session_ttl_ms, found.shadow_policies),
            (3 << 20, 9000, true)
        );
        config.model.tier_codec.clear();
        assert_eq!(options(&config, None).unwrap().tiers.codec, Codec::Int8, "the preset's");
        config.model.disk_compression = "zstd".into();
        let error = options(&config, None).unwrap_err().to_string();
        assert!(error.starts_with("model.disk_compression: \"zstd\" is none of none, lz4,"), "{error}");
    }

    #[test]
    fn a_trial_changes_what_it_names_and_nothing_else() {
        let with = |trial: &str| {
            let mut config = Config::default();
            (config.model.trial, config.model.disk_mib_max) = (trial.into(), 5);
            trial_options(&config, Some("kv".into()))
        };
        assert!(with("").unwrap().is_none());
        let plain = options(&Config::default(), None).unwrap();
        let changed = with("eviction=lru, kv_mib_max = 7").unwrap().unwrap();
        assert_eq!((changed.eviction, changed.kv_bytes_max), (Eviction::Lru, 7 << 20));
        assert_eq!(changed.running_max, plain.running_max);
        assert_eq!(changed.tiers.disk_directory, Some("kv/trial".into()), "two engines share no files");
        for (trial, word) in [
            ("kv=int8", "none of preset"),
            ("eviction", "no option=value"),
            ("kv_mib_max=x", "no number"),
            ("eviction=oldest", "none of lru"),
        ] {
            let error = with(trial).unwrap_err().to_string();
            assert!(error.contains(word), "{error}");
        }
        let mut shared = Config::default();
        (shared.model.trial, shared.model.remote_secret) =
            ("tune=true".into(), bul_config::Secret::new("sixteen letters!"));
        let error = trial_options(&shared, None).unwrap_err().to_string();
        assert!(error.contains("each side would find"), "{error}");
    }

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
