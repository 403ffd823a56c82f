//! Calls that are not batched: each a transaction with a limit on its time, tried again where it only lost to another.

use std::future::Future;
use std::time::Duration;

use bul_store::StoreError;

use crate::fault::{Fault, unanswered};

/// How long a call that is not batched may take, the wait for a connection included: what ends the wait
/// for a server that has vanished without a word.
pub(crate) const CALL_MAX: Duration = Duration::from_secs(15);
/// The same for calls that read a whole table; the server's own limit ends their statements earlier.
pub(crate) const LONG_CALL_MAX: Duration = Duration::from_secs(45);
/// Times a transaction is tried that lost to another one.
pub(crate) const TRIES_MAX: usize = 4;

/// Runs `$work` in a transaction of a pool, again while it only lost to another transaction.
macro_rules! in_tx {
    ($pool:expr, $begin:ident($($arg:expr),*), |$conn:ident| $work:expr) => {
        $crate::calls::in_tx!($crate::calls::CALL_MAX, $pool, $begin($($arg),*), |$conn| $work)
    };
    ($limit:expr, $pool:expr, $begin:ident($($arg:expr),*), |$conn:ident| $work:expr) => {
        $crate::calls::limited($limit, async {
            let mut tries = 1;
            loop {
                let mut tx = $pool.$begin($($arg),*).await?;
                let result = {
                    let $conn = &mut tx.conn;
                    $work.await
                };
                match tx.end(result).await {
                    Err(fault)
                        if fault.kind() == $crate::fault::Kind::Contended
                            && tries < $crate::calls::TRIES_MAX => tries += 1,
                    other => break other,
                }
            }
        })
        .await
    };
}
pub(crate) use in_tx;

/// A call with a limit on its time.
pub(crate) async fn limited<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, Fault>> + Send,
) -> Result<T, StoreError> {
    let answered = tokio::time::timeout(limit, call).await;
    answered.unwrap_or_else(|_| Err(unanswered("the call"))).map_err(StoreError::from)
}
