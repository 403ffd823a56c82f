//! Opaque blocks in Redis, for one thread that may wait: the engine's keys and values, shared by workers.
//!
//! A link of its own: blocks are a hundred times larger than texts, and a call for some of them must not count as a
//! failure of the look-ups of texts. Invariant: no call takes longer than it is given, whatever the server does.

use std::sync::Arc;
use std::time::Duration;

use deadpool_redis::redis::Pipeline;
use tokio::runtime::Handle;

use super::link::LinkError;
use super::{RedisLink, RedisLinkError, RedisOptions};
use crate::CacheMetrics;

/// Digits of a name.
const NAME_DIGITS: usize = 64;

/// Blocks on a server.
pub struct RedisBlocks {
    link: Arc<RedisLink>,
    names: String,
    ttl: Duration,
    runtime: Handle,
}

impl RedisBlocks {
    /// Blocks on the server of `options`, each kept for `ttl`; calls wait on `runtime`.
    ///
    /// # Errors
    /// When the address cannot be used at all.
    pub fn open(
        options: &RedisOptions,
        ttl: Duration,
        metrics: &CacheMetrics,
        runtime: Handle,
    ) -> Result<Self, RedisLinkError> {
        let link = RedisLink::open(options, metrics)?;
        let names = format!("{}:kv:v1:", link.prefix());
        Ok(Self { link, names, ttl, runtime })
    }

    /// Blocks in the order of `names`; `None` for what is not there or larger than `bytes_max`. Blocks the thread.
    ///
    /// # Errors
    /// Why there is no answer.
    pub fn get_many(
        &self,
        names: &[[u8; 32]],
        bytes_max: usize,
        within: Duration,
    ) -> Result<Vec<Option<Vec<u8>>>, &'static str> {
        let mut commands = Pipeline::with_capacity(names.len());
        for name in names {
            // One byte more than can be: whatever stands under the name, no more than that is read into memory.
            commands.cmd("GETRANGE").arg(self.name_of(name)).arg(0).arg(bytes_max);
        }
        let blocks: Vec<Vec<u8>> = self.call(&commands, within)?;
        if blocks.len() != names.len() {
            return Err("the server answered something else");
        }
        let known =
            |block: Vec<u8>| Some(block).filter(|block| !block.is_empty() && block.len() <= bytes_max);
        Ok(blocks.into_iter().map(known).collect())
    }

    /// Keeps a block. Blocks the thread.
    ///
    /// # Errors
    /// Why it may not be there.
    pub fn put(&self, name: &[u8; 32], block: &[u8], within: Duration) -> Result<(), &'static str> {
        let ttl_ms = u64::try_from(self.ttl.as_millis()).unwrap_or(u64::MAX).max(1);
        let mut commands = Pipeline::with_capacity(1);
        commands.cmd("SET").arg(self.name_of(name)).arg(block).arg("PX").arg(ttl_ms).ignore();
        self.call(&commands, within)
    }

    fn name_of(&self, name: &[u8; 32]) -> String {
        use std::fmt::Write;
        let mut text = String::with_capacity(self.names.len() + NAME_DIGITS);
        text.push_str(&self.names);
        for byte in name {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    fn call<T: deadpool_redis::redis::FromRedisValue>(
        &self,
        commands: &Pipeline,
        within: Duration,
    ) -> Result<T, &'static str> {
        let answered =
            self.runtime.block_on(async { tokio::time::timeout(within, self.link.call(commands)).await });
        match answered {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(LinkError::Skipped)) => Err("redis is left alone for a while"),
            Ok(Err(LinkError::Refused)) => Err("redis refuses"),
            Ok(Err(LinkError::Failed)) | Err(_) => Err("redis does not answer"),
        }
    }
}
