//! Calls to a server that is away for a while.

use std::time::Duration;

use backon::{ConstantBuilder, Retryable};
use bul_store::{StoreError, StoreErrorClass};

/// What a worker does, with the patience of a worker.
pub async fn insist<T, F: Future<Output = Result<T, StoreError>>>(
    call: impl Fn() -> F,
) -> Result<T, StoreError> {
    let pauses = ConstantBuilder::new().with_delay(Duration::from_millis(20)).with_max_times(3_000);
    call.retry(pauses).when(|error| error.class() == StoreErrorClass::Transient).await
}
