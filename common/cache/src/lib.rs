//! A cache of finished texts, in three tiers: memory, Redis, disk; and breakers that replicas share through Redis.
//!
//! Invariant: a cache can only save time. It never fails, never holds a document up for longer than its named limits,
//! never gives a text of one tenant to another, and never gives out a damaged one. The worker asks it before the
//! model; the composition root opens it. What a text depends on is in its [`Key`]; see [`KeyParts`].

mod back;
mod cache;
#[cfg(any(test, feature = "conformance"))]
pub mod conformance;
mod disk;
mod entry;
mod flight;
mod key;
mod memory;
mod meter;
mod redis;
mod shared;
mod tier;

pub use cache::{Answer, Cache, CacheOptions, Computed, OpenError, Opened, Source, Upkeep};
pub use disk::{Clock, Disk, DiskError, DiskOptions};
pub use entry::{Entry, Meta, VALUE_BYTES_MAX};
pub use key::{ConstraintPart, Fingerprint, Key, KeyError, KeyParts, MessagePart, Owner, SamplingPart};
pub use memory::{Memory, MemoryOptions};
pub use meter::CacheMetrics;
pub use redis::{Location, LocationError, RedisBlocks, RedisLink, RedisLinkError, RedisOptions, RedisTier};
pub use shared::{Follower, LOOK_EVERY, Pass, SharedBreaker, ToldOpen};
pub use tier::{Hit, Kept, Tier, TierStats};
