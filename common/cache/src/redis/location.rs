//! Where Redis is. The address holds a password: it is shown to nobody but the client that connects.

use std::fmt;
use std::str::FromStr;

use deadpool_redis::redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

/// `redis://`, `rediss://` (TLS) or `unix:` address of a server; printed without user and password.
#[derive(Clone)]
pub struct Location {
    pub(super) info: ConnectionInfo,
}

/// The address is not understood. It is not repeated here: it may hold a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the address of redis is not understood; it looks like redis://:password@host:6379/0")]
pub struct LocationError;

impl Location {
    /// Reads an address.
    ///
    /// # Errors
    /// When it is not understood.
    pub fn parse(address: &str) -> Result<Self, LocationError> {
        let info = address.into_connection_info().map_err(|_| LocationError)?;
        Ok(Self { info })
    }

    /// Whether the connection is encrypted.
    pub(super) fn is_tls(&self) -> bool {
        matches!(self.info.addr(), ConnectionAddr::TcpTls { .. })
    }
}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(address: &str) -> Result<Self, LocationError> {
        Self::parse(address)
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let db = self.info.redis_settings().db();
        match self.info.addr() {
            ConnectionAddr::Tcp(host, port) => write!(f, "redis://{host}:{port}/{db}"),
            ConnectionAddr::TcpTls { host, port, .. } => write!(f, "rediss://{host}:{port}/{db}"),
            ConnectionAddr::Unix(path) => write!(f, "unix:{}?db={db}", path.display()),
            _ => f.write_str("redis"),
        }
    }
}

impl fmt::Debug for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_shown_without_its_password() {
        for (address, shown) in [
            ("redis://127.0.0.1", "redis://127.0.0.1:6379/0"),
            ("redis://bul:hunter2@cache.example:7000/3", "redis://cache.example:7000/3"),
            ("rediss://:hunter2@cache.example", "rediss://cache.example:6379/0"),
            ("unix:///run/redis.sock?db=2&pass=hunter2", "unix:/run/redis.sock?db=2"),
        ] {
            let location = Location::parse(address).unwrap();
            assert_eq!((location.to_string().as_str(), format!("{location:?}").as_str()), (shown, shown));
        }
    }

    #[test]
    fn an_address_that_is_not_understood_is_not_repeated() {
        for address in
            ["", "127.0.0.1:6379", "http://:hunter2@host", "redis://:hunter2@host:notaport", "redis://h/x"]
        {
            let error = Location::parse(address).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
    }
}
