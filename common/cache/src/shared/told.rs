//! What processes tell of breakers that are their own, by way of Redis: above all that of the store, of which the store
//! itself cannot be told. Called by whoever runs the process, and by those who ask how all are.

use std::time::Duration;

use deadpool_redis::redis::{Pipeline, cmd};

use crate::redis::RedisLink;

/// How long a report counts, as in the store. Too low: a busy process seems to have closed it. Too high: one that has died
/// is believed that long.
const FRESH: Duration = Duration::from_secs(30);

/// Keeps when it opened, unless the last report is too old. Arguments: field, time that a report counts (ms).
const TELL: &str = r"
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local old = redis.call('HGET', KEYS[1], ARGV[1]) or ''
local since, at = string.match(old, '^(%d+) (%d+)$')
if not at or tonumber(at) + ARGV[2] <= now then since = string.format('%d', now) end
redis.call('HSET', KEYS[1], ARGV[1], since .. ' ' .. string.format('%d', now))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return true";

/// A breaker of some process that is open. Times are milliseconds since 1970 by the clock of Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToldOpen {
    /// Whose.
    pub process: String,
    /// Towards what.
    pub dependency: String,
    /// When it opened.
    pub since_ms: u64,
    /// When it was last told.
    pub told_ms: u64,
}

impl RedisLink {
    fn told_key(&self) -> String {
        format!("{}:breakers:v1", self.prefix())
    }

    /// Tells that a breaker of this process is open, again and again while it is, or that it has closed. Whether Redis has
    /// heard it.
    pub async fn tell(&self, process: &str, dependency: &str, open: bool) -> bool {
        let field = format!("{process}/{dependency}");
        let mut call = Pipeline::with_capacity(1);
        if open {
            call.cmd("EVAL").arg(TELL).arg(1).arg(self.told_key()).arg(field).arg(FRESH.as_millis() as u64);
        } else {
            call.cmd("HDEL").arg(self.told_key()).arg(field);
        }
        self.call::<(u64,)>(&call).await.is_ok()
    }

    /// The breakers told open of late; none when Redis does not answer. What is not in the form of a report is left out.
    pub async fn told_open(&self) -> Vec<ToldOpen> {
        type Seen = ((u64, u64), Vec<(String, String)>);
        let mut call = Pipeline::with_capacity(2);
        call.add_command(cmd("TIME"));
        call.cmd("HGETALL").arg(self.told_key());
        let Ok(((seconds, micros), told)) = self.call::<Seen>(&call).await else { return Vec::new() };
        let oldest = (seconds * 1000 + micros / 1000).saturating_sub(FRESH.as_millis() as u64);
        let read = |(field, times): (String, String)| {
            let ((process, dependency), (since, told)) = (field.split_once('/')?, times.split_once(' ')?);
            let (since_ms, told_ms) = (since.parse().ok()?, told.parse().ok()?);
            Some(ToldOpen { process: process.into(), dependency: dependency.into(), since_ms, told_ms })
        };
        let mut open: Vec<ToldOpen> =
            told.into_iter().filter_map(read).filter(|told| told.told_ms > oldest).collect();
        open.sort_by(|a, b| (&a.dependency, &a.process).cmp(&(&b.dependency, &b.process)));
        open
    }
}
