//! Typed ids and counters. A bare string or number never stands for a job, tenant or attempt.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Group;

/// An id that does not parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not a UUID.
    #[error("{what} id is not a UUID: {given:?}")]
    NotUuid {
        /// Kind of id.
        what: &'static str,
        /// What was given, cut to 64 characters.
        given: String,
    },
    /// Tenant names are part of subjects and paths and therefore narrow.
    #[error("tenant name must be 1 to 63 of a-z, 0-9, '-' or '_', starting with a letter or digit: {0:?}")]
    Tenant(String),
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// A new time-ordered id (UUID version 7, RFC 9562).
            #[expect(clippy::new_without_default, reason = "a default id would hide a random one")]
            pub fn new() -> Self {
                Self(Uuid::now_v7())
            }

            /// The id as 16 bytes.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                Uuid::try_parse(text).map(Self).map_err(|_| IdError::NotUuid {
                    what: $what,
                    given: text.chars().take(64).collect(),
                })
            }
        }
    };
}

uuid_id!(
    /// A job; version 7, so that ids sort by time of acceptance.
    JobId,
    "job"
);
impl JobId {
    /// A new id that ends in the group's number. Enough random bits are left: the version's counter makes ids of one process
    /// and millisecond distinct, and 24 bits beside its random start those of several.
    pub fn in_group(group: Group) -> Self {
        let mut bytes = Uuid::now_v7().into_bytes();
        bytes[15] = group.0;
        Self(Uuid::from_bytes(bytes))
    }

    /// The group that the id ends in; a random one for an id that was made without.
    pub fn group(&self) -> Group {
        let [.., last] = *self.as_bytes();
        Group(last)
    }
}

uuid_id!(
    /// A schedule.
    ScheduleId,
    "schedule"
);

/// A tenant, taken from the credential only.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantId(String);

impl TenantId {
    /// The tenant of an installation that has only one.
    pub fn default_tenant() -> Self {
        Self("default".into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TenantId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let ok = (1..=63).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_');
        if ok { Ok(Self(text.into())) } else { Err(IdError::Tenant(text.chars().take(64).collect())) }
    }
}

impl TryFrom<String> for TenantId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        text.parse()
    }
}

impl From<TenantId> for String {
    fn from(id: TenantId) -> Self {
        id.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u32);

        impl $name {
            /// The following number; stays at the maximum instead of wrapping to a used one.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter!(
    /// Number of an attempt, from 1; it is the fence of every write an attempt makes.
    AttemptNo
);
counter!(
    /// Number of a publication, from 1; `job:publish` deduplicates on the broker.
    PublishNo
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_are_narrow() {
        for ok in ["a", "default", "acme-2_x", "0"] {
            assert!(ok.parse::<TenantId>().is_ok(), "{ok}");
        }
        for bad in ["", "A", "a.b", "a b", "-a", "a/b", "ä", &"x".repeat(64)] {
            assert!(bad.parse::<TenantId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn job_ids_round_trip_and_sort_by_time() {
        let first = JobId::new();
        let second = JobId::new();
        assert!(first < second);
        assert_eq!(first.to_string().parse::<JobId>(), Ok(first));
        assert!("7".parse::<JobId>().is_err());
    }
}
