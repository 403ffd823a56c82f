//! The record of a shared breaker in Redis: until when it is open, by Redis' clock, and a generation.
//!
//! Invariant: a record ends by itself, at the latest after the longest opening; a write that arrives late, as when
//! a frozen server goes on, changes nothing any more; a closing takes away only the opening it knows of. Called by
//! the follower alone, one call after another, so what is read is never older than what was read before.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

use deadpool_redis::redis::{Pipeline, cmd};

use super::logic::{Change, Record};
use super::turn::{CLAIM_MS, Turn};
use crate::redis::RedisLink;

/// How long a closing can be read, milliseconds: longer than a few looks of the others.
const CLOSED_KEPT_MS: u64 = 10_000;

/// Opens, or leaves alone what is open for longer. Arguments: until, longest opening (ms). Answers the generation,
/// or nil when it came too late. A generation is the time in microseconds: it needs no counter that a flush would reset.
const OPEN: &str = r"
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local limit = now + ARGV[2]
local till = math.min(tonumber(ARGV[1]), limit)
if till <= now then return false end
local old = redis.call('HMGET', KEYS[1], 'until', 'generation')
local was = tonumber(old[1] or '') or 0
if was >= till and was <= limit and old[2] then return old[2] end
local generation = t[1] .. string.format('%06d', t[2])
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'until', string.format('%d', till), 'generation', generation)
redis.call('PEXPIRE', KEYS[1], string.format('%d', till - now))
return generation";

/// Closes the opening of a generation. Arguments: generation, time to keep the news (ms). Answers the generation of
/// the closing, or nil when there is another opening, or none.
const CLOSE: &str = r"
if redis.call('HGET', KEYS[1], 'generation') ~= ARGV[1] then return false end
local t = redis.call('TIME')
local generation = t[1] .. string.format('%06d', t[2])
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'until', '0', 'generation', generation)
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return generation";

/// Claims the next probe, or prolongs it: whoever is first has it. Arguments: who, how long (ms). Answers whether it is the
/// caller's and for how long (ms) it is taken.
const CLAIM: &str = r"
local holder = redis.call('GET', KEYS[1])
if holder and holder ~= ARGV[1] then return {0, redis.call('PTTL', KEYS[1])} end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return {1, ARGV[2]}";

/// What was read: Redis' time in seconds and microseconds; until and generation, where there is a record. As bytes:
/// nonsense in a record must not look like a server that fails.
type Seen = ((u64, u64), (Option<Vec<u8>>, Option<Vec<u8>>));

/// Where the record stands.
pub(super) struct Board {
    link: Arc<RedisLink>,
    key: String,
    /// Tells this process from the others.
    me: String,
    open_ms_max: u64,
    /// Redis' clock minus the local one, milliseconds, as of the last look.
    ahead_ms: Option<i64>,
}

impl Board {
    pub(super) fn new(link: Arc<RedisLink>, name: &str, open_ms_max: u64) -> Self {
        let key = format!("{}:breaker:v1:{name}", link.prefix());
        // Seeded by the system anew in each process.
        let me = format!("{}-{:016x}", std::process::id(), RandomState::new().hash_one(name));
        Self { link, key, me, open_ms_max, ahead_ms: None }
    }

    /// Asks for the next probe, or for more time with it. `None` when Redis did not answer.
    pub(super) async fn claim(&mut self, asked_ms: u64) -> Option<Turn> {
        let mut call = Pipeline::with_capacity(1);
        let key = format!("{}:probe", self.key);
        call.cmd("EVAL").arg(CLAIM).arg(1).arg(key).arg(&self.me).arg(CLAIM_MS);
        let ((mine, left_ms),): ((bool, i64),) = self.link.call(&call).await.ok()?;
        Some(Turn::answered(mine, u64::try_from(left_ms).unwrap_or(0), asked_ms))
    }

    /// Writes a change. `None` when Redis did not answer and the change is to be told again; otherwise the generation
    /// of the record, if there is one.
    pub(super) async fn tell(&mut self, change: Change, now_ms: u64) -> Option<Option<u64>> {
        let mut call = Pipeline::with_capacity(1);
        match change {
            Change::Opened { until_ms } => {
                // Without a look at Redis' clock nothing can be said in its time.
                let until = until_ms.checked_add_signed(self.ahead_ms?)?;
                debug_assert!(until_ms > now_ms, "what is over is not told");
                call.cmd("EVAL").arg(OPEN).arg(1).arg(&self.key).arg(until).arg(self.open_ms_max);
            }
            Change::Closed { generation } => {
                call.cmd("EVAL").arg(CLOSE).arg(1).arg(&self.key).arg(generation).arg(CLOSED_KEPT_MS);
            }
        }
        let (generation,): (Option<u64>,) = self.link.call(&call).await.ok()?;
        Some(generation)
    }

    /// Reads the record; `None` when there is none or Redis did not answer.
    pub(super) async fn look(&mut self, now_ms: impl Fn() -> u64) -> Option<Record> {
        let mut call = Pipeline::with_capacity(2);
        call.add_command(cmd("TIME"));
        call.cmd("HMGET").arg(&self.key).arg("until").arg("generation");
        let ((seconds, micros), (until, generation)): Seen = self.link.call(&call).await.ok()?;
        let redis_ms = seconds.checked_mul(1000)?.checked_add(micros / 1000)?;
        self.ahead_ms = Some(redis_ms.cast_signed().wrapping_sub(now_ms().cast_signed()));
        Some(Record { generation: number(generation)?, open_for_ms: number(until)?.saturating_sub(redis_ms) })
    }
}

fn number(bytes: Option<Vec<u8>>) -> Option<u64> {
    std::str::from_utf8(&bytes?).ok()?.parse().ok()
}
