//! API keys, by the hash of their secret.

use bul_job::Timestamp;
use bul_store::{ApiKey, Permission, StoreError};
use sqlx::sqlite::SqliteConnection;

use crate::fault::{Fault, corrupt, unique};
use crate::from_row::row;
use crate::rows::{micros, tenant as tenant_of, time, time_or_none};
use crate::writer::Tx;

row! {
    struct KeyRow {
        id: String,
        name: String,
        tenant: String,
        permission: String,
        hash: Vec<u8>,
        created_at: i64,
        revoked_at: Option<i64>,
    }
}

impl TryFrom<KeyRow> for ApiKey {
    type Error = Fault;

    fn try_from(row: KeyRow) -> Result<Self, Fault> {
        Ok(Self {
            id: row.id,
            name: row.name,
            tenant: tenant_of(&row.tenant)?,
            permission: Permission::parse(&row.permission).ok_or_else(|| corrupt("unknown permission"))?,
            hash: row.hash.try_into().map_err(|_| corrupt("a key's hash has not 32 bytes"))?,
            created_at: time(row.created_at)?,
            revoked_at: time_or_none(row.revoked_at)?,
        })
    }
}

pub(crate) async fn add(tx: &mut Tx, key: ApiKey) -> Result<(), Fault> {
    sqlx::query(include_str!("../queries/add_key.sql"))
        .bind(key.id)
        .bind(key.name)
        .bind(key.tenant.as_str())
        .bind(key.permission.as_str())
        .bind(key.hash.as_slice())
        .bind(micros(key.created_at))
        .bind(key.revoked_at.map(micros))
        .execute(&mut tx.conn)
        .await
        .map_err(unique("key"))?;
    Ok(())
}

pub(crate) async fn list(conn: &mut SqliteConnection) -> Result<Vec<ApiKey>, Fault> {
    let rows: Vec<KeyRow> = sqlx::query_as(include_str!("../queries/keys.sql")).fetch_all(conn).await?;
    rows.into_iter().map(ApiKey::try_from).collect()
}

pub(crate) async fn find(conn: &mut SqliteConnection, hash: [u8; 32]) -> Result<Option<ApiKey>, Fault> {
    let row: Option<KeyRow> = sqlx::query_as(include_str!("../queries/find_key.sql"))
        .bind(hash.as_slice())
        .fetch_optional(conn)
        .await?;
    row.map(ApiKey::try_from).transpose()
}

pub(crate) async fn revoke(tx: &mut Tx, id: String) -> Result<(), Fault> {
    let now: Timestamp = tx.now;
    let done = sqlx::query(include_str!("../queries/revoke_key.sql"))
        .bind(id)
        .bind(micros(now))
        .execute(&mut tx.conn)
        .await?;
    if done.rows_affected() == 1 { Ok(()) } else { Err(StoreError::NotFound("key").into()) }
}
