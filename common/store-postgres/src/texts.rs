//! Texts that are finished before their job is.
//!
//! Invariant: a text is written only while its attempt is in charge; the row of the job is held meanwhile, so that no end of
//! the attempt comes in between and leaves a text behind.

use bul_job::{AttemptNo, JobId};
use bul_store::{KeptText, StoreError, TEXTS_MAX};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::fault::{Fault, corrupt};
use crate::rows::{Job, count, uuid};

pub(crate) async fn keep(
    conn: &mut PgConnection,
    id: JobId,
    attempt: AttemptNo,
    text: &KeptText,
) -> Result<(), Fault> {
    let row = sqlx::query(include_str!("../queries/hold_job.sql"))
        .bind(uuid(id))
        .fetch_optional(&mut *conn)
        .await?
        .ok_or(StoreError::NotFound("job"))?;
    let job = Job::try_from(&row)?;
    job.core.check_fence(attempt)?;
    sqlx::query(include_str!("../queries/keep_text.sql"))
        .bind(job.id)
        .bind(job.tenant.as_str())
        .bind(text.request().as_slice())
        .bind(i64::from(text.prompt_tokens()))
        .bind(text.text().as_bytes())
        .bind(TEXTS_MAX as i64)
        .execute(&mut *conn)
        .await?;
    Ok(())
}

pub(crate) async fn kept(conn: &mut PgConnection, id: JobId) -> Result<Vec<KeptText>, Fault> {
    let rows: Vec<(Vec<u8>, i64, Vec<u8>)> =
        sqlx::query_as(include_str!("../queries/kept_texts.sql")).bind(uuid(id)).fetch_all(conn).await?;
    rows.into_iter().map(text).collect()
}

fn text((request, prompt_tokens, body): (Vec<u8>, i64, Vec<u8>)) -> Result<KeptText, Fault> {
    let request = request.try_into().map_err(|_| corrupt("a digest has not 32 bytes"))?;
    let body = String::from_utf8(body).map_err(|_| corrupt("a text is not UTF-8"))?;
    KeptText::new(request, body, count(prompt_tokens)?).ok_or_else(|| corrupt("a text is too large"))
}

/// Removes what jobs have kept, in the transaction that ends them.
pub(crate) async fn forget(conn: &mut PgConnection, ids: &[Uuid]) -> Result<(), Fault> {
    if !ids.is_empty() {
        sqlx::query(include_str!("../queries/forget_texts.sql")).bind(ids).execute(conn).await?;
    }
    Ok(())
}
