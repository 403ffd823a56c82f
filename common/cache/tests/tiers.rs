//! The suite of `bul_cache::conformance` on memory, Redis and disk.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bul_cache::conformance::{Damage, Fixture, kit};
use bul_cache::{
    CacheMetrics, Disk, DiskOptions, Key, Location, Memory, MemoryOptions, RedisLink, RedisOptions,
    RedisTier, Tier,
};
use bul_harness::Redis;

/// Small, so that the cases about sizes are quick.
const VALUE_BYTES_MAX: usize = 64 << 10;
/// Time for one call: these tests are about what is answered, not how fast on a busy machine.
const CALL: Duration = Duration::from_millis(500);

mod memory {
    use super::*;

    struct InMemory(Memory);

    #[async_trait]
    impl Fixture for InMemory {
        fn tier(&self) -> &dyn Tier {
            &self.0
        }

        fn value_bytes_max(&self) -> usize {
            VALUE_BYTES_MAX
        }

        async fn damage(&self, _: &Key, _: Damage) -> bool {
            false
        }

        async fn take_down(&mut self) -> bool {
            false
        }

        async fn bring_up(&mut self) {}
    }

    async fn make() -> Box<dyn Fixture> {
        let metrics = CacheMetrics::unregistered();
        Box::new(InMemory(Memory::new(MemoryOptions::default(), VALUE_BYTES_MAX, &metrics)))
    }

    bul_cache::tier_conformance!(make);
}

mod redis {
    use super::*;

    struct InRedis {
        server: Redis,
        tier: RedisTier,
    }

    #[async_trait]
    impl Fixture for InRedis {
        fn tier(&self) -> &dyn Tier {
            &self.tier
        }

        fn value_bytes_max(&self) -> usize {
            VALUE_BYTES_MAX
        }

        async fn damage(&self, key: &Key, how: Damage) -> bool {
            let name = self.tier.name_of(key);
            let cut = "redis.call('SET',KEYS[1],redis.call('GETRANGE',KEYS[1],0,70),'KEEPTTL')";
            match how {
                Damage::Changed => self.server.cli(&["SETRANGE", &name, "66", "X"]),
                Damage::Cut => self.server.cli(&["EVAL", cut, "1", &name]),
                Damage::Emptied => self.server.cli(&["SET", &name, "", "KEEPTTL"]),
                Damage::Replaced => self.server.cli(&["SET", &name, "something else", "KEEPTTL"]),
                Damage::Foreign => {
                    self.server.cli(&["DEL", &name]).unwrap();
                    self.server.cli(&["RPUSH", &name, "a", "list"])
                }
            }
            .unwrap();
            true
        }

        async fn take_down(&mut self) -> bool {
            self.server.kill();
            true
        }

        async fn bring_up(&mut self) {
            self.server.restart().unwrap();
        }
    }

    async fn make() -> Box<dyn Fixture> {
        let server = Redis::start().unwrap();
        let options =
            RedisOptions { timeout: CALL, ..RedisOptions::at(Location::parse(&server.url()).unwrap()) };
        let metrics = CacheMetrics::unregistered();
        let link = RedisLink::open(&options, &metrics).unwrap();
        let tier = RedisTier::new(link, &options, VALUE_BYTES_MAX, &metrics);
        Box::new(InRedis { server, tier })
    }

    bul_cache::tier_conformance!(make);
}

mod disk {
    use super::*;

    struct OnDisk {
        disk: Disk,
        folder: tempfile::TempDir,
    }

    impl OnDisk {
        fn path(&self, key: &Key) -> PathBuf {
            self.folder.path().join("v1").join(&key.hex()[..2]).join(key.hex())
        }
    }

    #[async_trait]
    impl Fixture for OnDisk {
        fn tier(&self) -> &dyn Tier {
            &self.disk
        }

        fn value_bytes_max(&self) -> usize {
            VALUE_BYTES_MAX
        }

        async fn damage(&self, key: &Key, how: Damage) -> bool {
            let path = self.path(key);
            let mut bytes = std::fs::read(&path).unwrap();
            match how {
                Damage::Changed => bytes[66] ^= 1,
                Damage::Cut => bytes.truncate(70),
                Damage::Emptied => bytes.clear(),
                Damage::Replaced => bytes = b"something else".to_vec(),
                Damage::Foreign => {
                    std::fs::remove_file(&path).unwrap();
                    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
                    return true;
                }
            }
            std::fs::write(&path, bytes).unwrap();
            true
        }

        /// The folder is gone and cannot be made again: a file stands in its place.
        async fn take_down(&mut self) -> bool {
            std::fs::rename(self.folder.path().join("v1"), self.folder.path().join("aside")).unwrap();
            std::fs::write(self.folder.path().join("v1"), "").unwrap();
            true
        }

        async fn bring_up(&mut self) {
            std::fs::remove_file(self.folder.path().join("v1")).unwrap();
            std::fs::rename(self.folder.path().join("aside"), self.folder.path().join("v1")).unwrap();
        }
    }

    async fn make() -> Box<dyn Fixture> {
        let folder = tempfile::tempdir().unwrap();
        let mut options = DiskOptions { timeout: kit::PATIENCE, ..DiskOptions::at(folder.path()) };
        options.breaker.open_ms = 500;
        let disk = Disk::open(options, VALUE_BYTES_MAX, &CacheMetrics::unregistered()).await.unwrap();
        Box::new(OnDisk { disk, folder })
    }

    bul_cache::tier_conformance!(make);
}
