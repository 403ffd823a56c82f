//! Publications of submissions that end at the same moment go to the broker together.
//!
//! Stores answer many calls with one commit; each then publishes a job or two, and a broker is paid per call and per message.
//! Invariant: nobody waits for company that is not there already, and a caller that goes away takes nobody's messages along.

use std::sync::Arc;

use bul_broker::{Broker, BrokerError, Message};
use futures::FutureExt;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// So many messages are worth a call of their own.
const MANY: usize = 64;

type Answer = Result<(), Arc<str>>;
/// `Broker::publish`.
type Publish = dyn Fn(Vec<Message>) -> BoxFuture<'static, Result<(), BrokerError>> + Send + Sync;

/// What waits for the next call.
#[derive(Default)]
struct Waiting {
    messages: Vec<Message>,
    callers: Vec<oneshot::Sender<Answer>>,
}

/// Publishes for many callers.
#[derive(Clone)]
pub(crate) struct Together {
    call: Arc<Publish>,
    waiting: Arc<Mutex<Waiting>>,
    /// To a broker in this process a call costs less than company.
    is_worth_it: bool,
}

impl Together {
    pub(crate) fn new(broker: Arc<dyn Broker>) -> Self {
        let is_worth_it = broker.info().durable;
        let call = move |messages: Vec<Message>| {
            let broker = broker.clone();
            async move { broker.publish(&messages).await }.boxed()
        };
        Self { call: Arc::new(call), waiting: Arc::default(), is_worth_it }
    }

    /// See `Broker::publish`; the error says what became of the call that took these messages along.
    pub(crate) async fn publish(&self, messages: &[Message]) -> Answer {
        if !self.is_worth_it || messages.len() >= MANY {
            return told((self.call)(messages.to_vec()).await);
        }
        let (caller, answer) = oneshot::channel();
        let is_first = {
            let mut waiting = self.waiting.lock();
            waiting.messages.extend_from_slice(messages);
            waiting.callers.push(caller);
            waiting.callers.len() == 1
        };
        if is_first {
            tokio::spawn(self.clone().publish_all());
        }
        answer.await.unwrap_or_else(|_| Err("the process ends".into()))
    }

    async fn publish_all(self) {
        // Whoever was woken by the same commit has its turn first.
        tokio::task::yield_now().await;
        let Waiting { messages, callers } = std::mem::take(&mut *self.waiting.lock());
        let answer = told((self.call)(messages).await);
        for caller in callers {
            // It may have gone away.
            let _ = caller.send(answer.clone());
        }
    }
}

fn told(published: Result<(), BrokerError>) -> Answer {
    published.map_err(|error| error.to_string().into())
}

#[cfg(test)]
mod tests {
    use bul_job::{JobId, Lane, PublishNo, TenantId};
    use tokio::sync::Semaphore;

    use super::*;

    /// How many messages each call brought; a call takes until there is a permit for it.
    struct Calls {
        sizes: Mutex<Vec<usize>>,
        permits: Semaphore,
    }

    fn calls(is_worth_it: bool, is_full: bool) -> (Arc<Calls>, Together) {
        let calls = Arc::new(Calls { sizes: Mutex::default(), permits: Semaphore::new(0) });
        let told = calls.clone();
        let call = move |messages: Vec<Message>| {
            let calls = told.clone();
            async move {
                calls.sizes.lock().push(messages.len());
                calls.permits.acquire().await.expect("open").forget();
                if is_full { Err(BrokerError::Full("8 messages".into())) } else { Ok(()) }
            }
            .boxed()
        };
        (calls, Together { call: Arc::new(call), waiting: Arc::default(), is_worth_it })
    }

    fn jobs(count: usize) -> Vec<Message> {
        let job = |_| Message {
            job: JobId::new(),
            tenant: TenantId::default_tenant(),
            lane: Lane::Normal,
            publish: PublishNo(1),
        };
        (0..count).map(job).collect()
    }

    async fn publish(together: Together, count: usize) -> Answer {
        together.publish(&jobs(count)).await
    }

    async fn settled() {
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_ends_at_the_same_moment_goes_together_and_each_is_told() {
        for is_full in [false, true] {
            let (calls, together) = calls(true, is_full);
            let burst: Vec<_> = (0..20).map(|_| tokio::spawn(publish(together.clone(), 2))).collect();
            settled().await;
            assert_eq!(*calls.sizes.lock(), [40]);
            // While a call is under way the next one begins: nobody waits for another's confirmation.
            let late = tokio::spawn(publish(together, 1));
            settled().await;
            assert_eq!(*calls.sizes.lock(), [40, 1]);
            calls.permits.add_permits(2);
            for caller in burst.into_iter().chain([late]) {
                let told = caller.await.unwrap();
                assert_eq!(
                    told.map_err(|why| why.contains("full")),
                    if is_full { Err(true) } else { Ok(()) }
                );
            }
        }
    }

    #[tokio::test]
    async fn many_and_what_stays_in_the_process_go_alone() {
        for (is_worth_it, count) in [(true, MANY), (false, 1)] {
            let (calls, together) = calls(is_worth_it, false);
            calls.permits.add_permits(3);
            let burst: Vec<_> = (0..3).map(|_| tokio::spawn(publish(together.clone(), count))).collect();
            for caller in burst {
                caller.await.unwrap().unwrap();
            }
            assert_eq!(*calls.sizes.lock(), [count; 3]);
        }
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_takes_nobody_along() {
        let (calls, together) = calls(true, false);
        let (first, second) =
            (tokio::spawn(publish(together.clone(), 1)), tokio::spawn(publish(together, 1)));
        settled().await;
        first.abort();
        calls.permits.add_permits(1);
        second.await.unwrap().unwrap();
        assert_eq!(*calls.sizes.lock(), [2]);
    }
}
