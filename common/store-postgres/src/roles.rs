//! The two roles of an installation.
//!
//! Roles belong to the whole cluster. If two databases shared theirs, an account of one could take the
//! role in the other and read its jobs; therefore their names carry the name of the database. The
//! migration makes them where it may; else [`crate::OpenError::Roles`] says what an administrator has to
//! run. Invariant: a name holds only a-z, 0-9 and '_', so that it stands in SQL as it is.

use sqlx::{AssertSqlSafe, Executor, PgConnection};

use crate::fault::{Fault, corrupt};

/// Longest name PostgreSQL keeps; longer ones would be cut without an error.
const NAME_BYTES_MAX: usize = 63;
/// From this version on membership alone does not let an account take a role.
const VERSION_WITH_SET_OPTION: u32 = 160_000;

/// Names of the roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Roles {
    pub(crate) system: String,
    pub(crate) tenant: String,
}

impl Roles {
    /// The names for a database that has none yet.
    pub(crate) fn for_database(database: &str) -> Self {
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let longest = NAME_BYTES_MAX - "bul__system".len();
        let name = if database.len() <= longest && database.chars().all(fits) {
            database.to_owned()
        } else {
            // Two names that differ only in what is dropped must not become one.
            let kept: String = database.chars().filter(|c| fits(*c)).take(longest - 17).collect();
            format!("{kept}_{}", &blake3::hash(database.as_bytes()).to_hex()[..16])
        };
        Self { system: format!("bul_{name}_system"), tenant: format!("bul_{name}_tenant") }
    }

    /// The names found in a database.
    pub(crate) fn parse(system: String, tenant: String) -> Result<Self, Fault> {
        let fine = |name: &String| {
            name.len() <= NAME_BYTES_MAX
                && name.starts_with("bul_")
                && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
        };
        if fine(&system) && fine(&tenant) {
            Ok(Self { system, tenant })
        } else {
            Err(corrupt("the names of the roles in bul.installation are not those of this program"))
        }
    }

    /// Makes what is missing. False when this account may not, or may not take the roles.
    pub(crate) async fn prepare(&self, conn: &mut PgConnection) -> Result<bool, Fault> {
        let (may_create, server): (bool, i32) = sqlx::query_as(
            "SELECT rolsuper OR rolcreaterole, current_setting('server_version_num')::int
             FROM pg_roles WHERE rolname = current_user",
        )
        .fetch_one(&mut *conn)
        .await?;
        let right = if server.unsigned_abs() >= VERSION_WITH_SET_OPTION { "SET" } else { "MEMBER" };
        for role in [&self.system, &self.tenant] {
            let exists: bool = sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)")
                .bind(role)
                .fetch_one(&mut *conn)
                .await?;
            if !exists {
                if !may_create {
                    return Ok(false);
                }
                conn.execute(sqlx::raw_sql(AssertSqlSafe(format!("CREATE ROLE {role} NOLOGIN")))).await?;
            }
            let member: bool = sqlx::query_scalar("SELECT pg_has_role(current_user, $1, $2)")
                .bind(role)
                .bind(right)
                .fetch_one(&mut *conn)
                .await?;
            if !member {
                if !may_create {
                    return Ok(false);
                }
                let grant = format!("GRANT {role} TO CURRENT_USER");
                conn.execute(sqlx::raw_sql(AssertSqlSafe(grant))).await?;
            }
        }
        Ok(true)
    }

    /// What an administrator runs where this account may not make roles.
    pub(crate) fn instructions(&self, account: &str) -> String {
        let Self { system, tenant } = self;
        let account = account.replace('"', "\"\"");
        format!(
            "CREATE ROLE {system} NOLOGIN; CREATE ROLE {tenant} NOLOGIN; GRANT {system}, {tenant} TO \"{account}\";"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_plain_and_different() {
        assert_eq!(Roles::for_database("bul").system, "bul_bul_system");
        let odd = ["Bul", "bul-2", "bul 2", &"x".repeat(63), &format!("{}y", "x".repeat(62)), "\";--"];
        let mut seen = std::collections::BTreeSet::new();
        for name in odd {
            let roles = Roles::for_database(name);
            assert!(seen.insert(roles.system.clone()), "{name}");
            assert_eq!(Roles::parse(roles.system.clone(), roles.tenant.clone()).unwrap(), roles, "{name}");
        }
        assert!(Roles::parse("postgres".into(), "bul_x".into()).is_err());
    }
}
