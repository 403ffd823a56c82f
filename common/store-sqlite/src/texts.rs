//! Texts that are finished before their job is.
//!
//! Invariant: a text is written only while its attempt is in charge, which is looked at in the same transaction.

use bul_job::{AttemptNo, JobId};
use bul_store::{KeptText, TEXTS_MAX};
use sqlx::sqlite::SqliteConnection;

use crate::fault::{Fault, corrupt};
use crate::rows::{blob, count};
use crate::transition::load;
use crate::writer::Tx;

pub(crate) async fn keep(tx: &mut Tx, id: JobId, attempt: AttemptNo, text: KeptText) -> Result<(), Fault> {
    load(tx, id).await?.core.check_fence(attempt)?;
    sqlx::query(include_str!("../queries/keep_text.sql"))
        .bind(blob(id))
        .bind(text.request().to_vec())
        .bind(text.prompt_tokens())
        .bind(text.text().as_bytes())
        .bind(TEXTS_MAX as i64)
        .execute(&mut tx.conn)
        .await?;
    Ok(())
}

pub(crate) async fn kept(conn: &mut SqliteConnection, id: JobId) -> Result<Vec<KeptText>, Fault> {
    let rows: Vec<(Vec<u8>, i64, Vec<u8>)> =
        sqlx::query_as(include_str!("../queries/kept_texts.sql")).bind(blob(id)).fetch_all(conn).await?;
    rows.into_iter().map(text).collect()
}

fn text((request, prompt_tokens, body): (Vec<u8>, i64, Vec<u8>)) -> Result<KeptText, Fault> {
    let request = request.try_into().map_err(|_| corrupt("a digest has not 32 bytes"))?;
    let body = String::from_utf8(body).map_err(|_| corrupt("a text is not UTF-8"))?;
    KeptText::new(request, body, count(prompt_tokens)?).ok_or_else(|| corrupt("a text is too large"))
}

/// Removes what jobs have kept.
pub(crate) async fn forget(tx: &mut Tx, ids: &[JobId]) -> Result<(), Fault> {
    for id in ids {
        sqlx::query(include_str!("../queries/forget_texts.sql"))
            .bind(blob(*id))
            .execute(&mut tx.conn)
            .await?;
    }
    Ok(())
}
