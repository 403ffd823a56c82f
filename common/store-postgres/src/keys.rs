//! API keys, by the hash of their secret.

use bul_job::Timestamp;
use bul_store::{ApiKey, Permission, StoreError};
use sqlx::postgres::PgRow;
use sqlx::{PgConnection, Row};

use crate::fault::{Fault, corrupt, unique};
use crate::rows::{tenant as tenant_of, text};

/// The columns of `keys.sql` and `find_key.sql`.
fn key(row: &PgRow) -> Result<ApiKey, Fault> {
    let hash: &[u8] = row.try_get(4)?;
    Ok(ApiKey {
        id: row.try_get(0)?,
        name: row.try_get(1)?,
        tenant: tenant_of(row.try_get(2)?)?,
        permission: Permission::parse(row.try_get(3)?).ok_or_else(|| corrupt("unknown permission"))?,
        hash: hash.try_into().map_err(|_| corrupt("a key's hash has not 32 bytes"))?,
        created_at: row.try_get(5)?,
        revoked_at: row.try_get(6)?,
    })
}

pub(crate) async fn add(conn: &mut PgConnection, key: &ApiKey) -> Result<(), Fault> {
    sqlx::query(include_str!("../queries/add_key.sql"))
        .bind(text(&key.id))
        .bind(text(&key.name))
        .bind(key.tenant.as_str())
        .bind(key.permission.as_str())
        .bind(key.hash.as_slice())
        .bind(key.created_at)
        .bind(key.revoked_at)
        .execute(conn)
        .await
        .map_err(unique("key"))?;
    Ok(())
}

pub(crate) async fn list(conn: &mut PgConnection) -> Result<Vec<ApiKey>, Fault> {
    let rows = sqlx::query(include_str!("../queries/keys.sql")).fetch_all(conn).await?;
    rows.iter().map(key).collect()
}

pub(crate) async fn find(conn: &mut PgConnection, hash: &[u8; 32]) -> Result<Option<ApiKey>, Fault> {
    let row = sqlx::query(include_str!("../queries/find_key.sql"))
        .bind(hash.as_slice())
        .fetch_optional(conn)
        .await?;
    row.as_ref().map(key).transpose()
}

pub(crate) async fn revoke(conn: &mut PgConnection, now: Timestamp, id: &str) -> Result<(), Fault> {
    let done =
        sqlx::query(include_str!("../queries/revoke_key.sql")).bind(text(id)).bind(now).execute(conn).await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(StoreError::NotFound("key").into()) }
}
