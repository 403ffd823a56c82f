//! Warming up: the beginnings that all documents of a template share are computed when the process starts, before the
//! first job asks for them, and kept.
//!
//! Invariant: nothing waits for this, and nothing fails by it; jobs come first in the engine.

use std::sync::Arc;
use std::time::Duration;

use bul_engine::Generate;
use bul_template::Catalog;
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use crate::ahead::prefix_of;

/// How long a prefix is kept beyond its last warm-up.
const KEEP_FOR: Duration = Duration::from_secs(3600);
/// Time between two warm-ups. What is still there costs a look-up and one token.
const EVERY: Duration = Duration::from_secs(1800);

/// Keeps the prefixes of all templates warm until `stopping`. A model without a cache does nothing here.
pub fn keep_warm(
    catalog: Arc<Catalog>,
    model: Arc<dyn Generate>,
    stopping: CancellationToken,
) -> BoxFuture<'static, ()> {
    async move {
        let mut is_first = true;
        loop {
            let work = warm_up(&catalog, model.as_ref());
            let Some((prefixes, computed)) = stopping.run_until_cancelled(work).await else { return };
            if is_first && computed > 0 {
                info!(prefixes, tokens = computed, "templates are warm");
            }
            is_first = false;
            if stopping.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_none() {
                return;
            }
        }
    }
    .boxed()
}

/// Prefixes asked for, and the tokens of them that were not there.
async fn warm_up(catalog: &Catalog, model: &dyn Generate) -> (usize, u64) {
    let (mut prefixes, mut computed) = (0, 0);
    for system in catalog.system_messages() {
        match model.warm_up(&prefix_of(&system, 1), KEEP_FOR).await {
            Ok(receipt) => {
                prefixes += 1;
                computed += receipt.prompt_tokens.saturating_sub(receipt.cached_tokens);
            }
            Err(error) => debug!(%error, "a prefix is not warm"),
        }
    }
    (prefixes, computed)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use async_trait::async_trait;
    use bul_engine::{
        Completion, ExpectedPrefix, GenerateError, ModelInfo, Pieces, Receipt, Request, Scope, Scripted,
    };
    use parking_lot::Mutex;

    use super::*;

    /// Notes what it is warmed with; fails every second time.
    #[derive(Default)]
    struct Noting {
        inner: Scripted,
        calls: AtomicU32,
        warmed: Mutex<Vec<ExpectedPrefix>>,
    }

    #[async_trait]
    impl Generate for Noting {
        fn info(&self) -> ModelInfo {
            self.inner.info()
        }

        async fn warm_up(&self, prefix: &ExpectedPrefix, _keep: Duration) -> Result<Receipt, GenerateError> {
            self.warmed.lock().push(prefix.clone());
            if self.calls.fetch_add(1, Ordering::Relaxed) % 2 == 1 {
                return Err(GenerateError::Engine("no room".into()));
            }
            Ok(Receipt { prompt_tokens: 30, cached_tokens: 10, ..Receipt::default() })
        }

        async fn generate(
            &self,
            request: Request,
            pieces: Option<Pieces>,
            cancel: CancellationToken,
        ) -> Result<Completion, GenerateError> {
            self.inner.generate(request, pieces, cancel).await
        }
    }

    #[tokio::test]
    async fn every_template_is_warmed_with_public_words_only() {
        let catalog = Arc::new(Catalog::builtin().unwrap());
        let model = Arc::new(Noting::default());
        let (prefixes, computed) = warm_up(&catalog, model.as_ref()).await;
        let warmed = model.warmed.lock().clone();
        assert_eq!(warmed.len(), catalog.system_messages().len());
        assert_eq!((prefixes, computed), (warmed.len().div_ceil(2), 20 * warmed.len().div_ceil(2) as u64));
        for prefix in &warmed {
            assert_eq!((prefix.tenant.as_str(), prefix.messages.len()), ("", 1));
            assert_eq!(prefix.messages[0].scope, Scope::Public);
        }
        assert!(warmed.iter().any(|p| p.messages[0].text.starts_with("Area: finance\nDocument: invoice\n")));
    }

    #[tokio::test]
    async fn it_ends_with_the_process() {
        let stopping = CancellationToken::new();
        let model = Arc::new(Noting::default());
        let warm =
            tokio::spawn(keep_warm(Arc::new(Catalog::builtin().unwrap()), model.clone(), stopping.clone()));
        while model.warmed.lock().is_empty() {
            tokio::task::yield_now().await;
        }
        stopping.cancel();
        warm.await.unwrap();
    }
}
