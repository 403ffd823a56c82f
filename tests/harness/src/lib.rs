//! Real servers for tests: started on free ports in temporary folders, killed with the test.
//!
//! Each server is a struct that starts it (`start`), tells its address, and can be killed, restarted
//! and wiped, since that is what faults are made of. Every child is started through `setpriv --pdeathsig`, so that
//! a test that is itself killed leaves nothing behind.

mod nats;
mod postgres;
mod process;
mod proxy;
mod rabbitmq;
mod redis;
mod standby;
mod tools;

pub use nats::{Nats, NatsOptions};
pub use postgres::{Postgres, PostgresOptions};
pub use process::{free_port, wait_until};
pub use proxy::{Fault, Proxy};
pub use rabbitmq::RabbitMq;
pub use redis::Redis;
pub use tools::tools;
