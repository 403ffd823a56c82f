//! Evicted keys and values over Redis: the cache's connection behind the engine's trait.

use std::sync::Arc;
use std::time::Duration;

use bul_cache::{CacheMetrics, RedisBlocks, RedisOptions};
use bul_config::Config;
use bul_engine::{BlockName, RemoteBlocks, RemoteError, RemoteTier};
use tokio::runtime::Handle;

use crate::exit::Fault;
use crate::wire;

/// Characters of a secret, at least. A short one can be guessed from what it has signed.
const SECRET_CHARS_MIN: usize = 16;

/// Longest call.
const CALL_MAX: Duration = Duration::from_millis(500);

struct OverRedis(RedisBlocks);

impl RemoteBlocks for OverRedis {
    fn get_many(
        &self,
        names: &[BlockName],
        bytes_max: usize,
        within: Duration,
    ) -> Result<Vec<Option<Vec<u8>>>, RemoteError> {
        self.0.get_many(names, bytes_max, within).map_err(|why| RemoteError(why.into()))
    }

    fn put(&self, name: BlockName, block: Vec<u8>, within: Duration) -> Result<(), RemoteError> {
        self.0.put(&name, &block, within).map_err(|why| RemoteError(why.into()))
    }
}

/// The store of blocks that the configuration names; `None` without a secret. Called within the runtime whose
/// threads the connection lives on.
///
/// # Errors
/// A secret without Redis, or one that is too short.
pub fn remote_tier(config: &Config) -> anyhow::Result<Option<RemoteTier>> {
    let secret = config.model.remote_secret.expose();
    if secret.is_empty() {
        return Ok(None);
    }
    if secret.chars().count() < SECRET_CHARS_MIN {
        return Err(Fault::usage(format!(
            "model.remote_secret must have {SECRET_CHARS_MIN} characters or more"
        ))
        .into());
    }
    let Some(redis) = wire::redis_options(config)? else {
        return Err(Fault::usage("model.remote_secret is set without redis").into());
    };
    let secret = blake3::derive_key("bul keys and values over redis v1", secret.as_bytes());
    // A link gives up no earlier than the engine does.
    let options = RedisOptions { timeout: CALL_MAX, connections_max: 1, ..redis };
    let ttl = Duration::from_secs(config.cache.ttl_s.max(1));
    let blocks = RedisBlocks::open(&options, ttl, &CacheMetrics::unregistered(), Handle::current())
        .map_err(|error| Fault::usage(error.to_string()))?;
    Ok(Some(RemoteTier::new(Arc::new(OverRedis(blocks)), secret)))
}
