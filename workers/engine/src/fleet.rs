//! Several engines in one process, one for each device, that share the work by prefix.
//!
//! A request goes to the engine that ranks first for the beginning of its prompt (rendezvous hashing, Thaler and Ravishankar
//! 1998), so that a prefix is computed and kept once, unless that engine has more than its share of the load by a quarter:
//! then to the next in rank (consistent hashing with bounded loads, Mirrokni, Thorup and Zadimoghaddam 2018). An engine that
//! has failed ranks last for a while, or it would draw ever more requests by being rid of each at once. Invariant: a request is
//! refused only when every engine refuses it. Opened by `open_on`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::forecast::{ExpectedPrefix, Forecast};
use crate::generate::{Generate, GenerateError, ModelInfo, Pieces};
use crate::job::{Completion, Message, Receipt, Request, Scope};
use crate::report::CacheReport;

/// Load above the mean that an engine takes before the next in rank gets a request, percent.
const SLACK_PERCENT: usize = 25;

/// How long an engine that has failed ranks last.
const REST: Duration = Duration::from_secs(30);

/// An engine and the requests it has in hand.
struct Member<G> {
    engine: G,
    load: AtomicUsize,
    rests_until: Mutex<Option<Instant>>,
}

impl<G> Member<G> {
    fn rests(&self) -> bool {
        self.rests_until.lock().is_some_and(|until| Instant::now() < until)
    }
}

/// Engines that hold the same model.
pub(crate) struct Fleet<G> {
    members: Vec<Member<G>>,
}

/// A request in hand; given back when it ends, however that is.
struct InHand<'a>(&'a AtomicUsize);

impl<'a> InHand<'a> {
    fn new(load: &'a AtomicUsize) -> Self {
        load.fetch_add(1, Ordering::Relaxed);
        Self(load)
    }
}

impl Drop for InHand<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What requests have in common that should meet: a session, or else the beginning of the prompt, which is a tenant's own
/// unless it is public.
fn affinity(tenant: &str, session: Option<&str>, messages: &[Message]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("bul-engine fleet v1");
    let mut part = |text: &str| {
        hasher.update(&(text.len() as u64).to_le_bytes());
        hasher.update(text.as_bytes());
    };
    match (session, messages.first()) {
        (Some(session), _) => ["session", tenant, session].map(&mut part),
        (None, Some(first)) if first.scope == Scope::Public => ["public", "", &first.text].map(&mut part),
        (None, first) => ["tenant", tenant, first.map_or("", |first| &first.text)].map(&mut part),
    };
    hasher.finalize().into()
}

impl<G: Generate> Fleet<G> {
    /// Puts engines together; there must be one at least.
    pub fn new(engines: Vec<G>) -> Self {
        let member = |engine| Member { engine, load: AtomicUsize::new(0), rests_until: Mutex::new(None) };
        Self { members: engines.into_iter().map(member).collect() }
    }

    /// All engines, the best for `affinity` first.
    fn ranked(&self, affinity: &[u8; 32]) -> Vec<&Member<G>> {
        let score = |number: usize| {
            let mut hasher = blake3::Hasher::new_keyed(affinity);
            hasher.update(&(number as u64).to_le_bytes());
            *hasher.finalize().as_bytes()
        };
        let mut ranked: Vec<(usize, &Member<G>)> = self.members.iter().enumerate().collect();
        ranked.sort_by_key(|(number, member)| (member.rests(), score(*number)));
        ranked.into_iter().map(|(_, member)| member).collect()
    }

    /// Moves the first in rank that has room within its share to the front.
    fn prefer_free(&self, ranked: &mut [&Member<G>]) {
        let load = |member: &&Member<G>| member.load.load(Ordering::Relaxed);
        let all: usize = self.members.iter().map(|member| load(&member)).sum();
        let share = ((all + 1) * (100 + SLACK_PERCENT)).div_ceil(100 * self.members.len());
        if let Some(free) = ranked.iter().position(|member| load(member) < share && !member.rests()) {
            ranked[..=free].rotate_right(1);
        }
    }
}

#[async_trait]
impl<G: Generate> Generate for Fleet<G> {
    fn info(&self) -> ModelInfo {
        self.members[0].engine.info()
    }

    fn closed_for(&self) -> Option<Duration> {
        let closed: Option<Vec<Duration>> = self.members.iter().map(|m| m.engine.closed_for()).collect();
        closed.and_then(|all| all.into_iter().min())
    }

    fn announce(&self, forecast: &Forecast) {
        let mut parts: Vec<Forecast> = self.members.iter().map(|_| Forecast::default()).collect();
        for prefix in &forecast.prefixes {
            let first = self.ranked(&affinity(&prefix.tenant, None, &prefix.messages))[0];
            let number = self.members.iter().position(|member| std::ptr::eq(member, first)).unwrap_or(0);
            parts[number].prefixes.push(prefix.clone());
        }
        // Also an empty one: it replaces what was said before.
        for (member, part) in self.members.iter().zip(&parts) {
            member.engine.announce(part);
        }
    }

    fn heeds_forecasts(&self) -> bool {
        self.members.iter().any(|member| member.engine.heeds_forecasts())
    }

    async fn warm_up(&self, prefix: &ExpectedPrefix, keep_for: Duration) -> Result<Receipt, GenerateError> {
        let ranked = self.ranked(&affinity(&prefix.tenant, None, &prefix.messages));
        ranked[0].engine.warm_up(prefix, keep_for).await
    }

    async fn cache_report(&self) -> Option<CacheReport> {
        let mut sum: Option<CacheReport> = None;
        for member in &self.members {
            let Some(report) = member.engine.cache_report().await else { continue };
            match &mut sum {
                Some(sum) => sum.add(&report),
                None => sum = Some(report),
            }
        }
        sum
    }

    async fn generate(
        &self,
        request: Request,
        pieces: Option<Pieces>,
        cancel: CancellationToken,
    ) -> Result<Completion, GenerateError> {
        let affinity = affinity(&request.tenant, request.session.as_deref(), &request.messages);
        let mut ranked = self.ranked(&affinity);
        self.prefer_free(&mut ranked);
        let mut refused = None;
        for member in ranked {
            let _in_hand = InHand::new(&member.load);
            match member.engine.generate(request.clone(), pieces.clone(), cancel.clone()).await {
                // Refused before anything was written: another may have room.
                Err(
                    error @ (GenerateError::Unavailable { .. }
                    | GenerateError::Unreachable { .. }
                    | GenerateError::BreakerOpen { .. }),
                ) => {
                    refused = Some(error);
                }
                done => {
                    let rests = matches!(done, Err(GenerateError::Engine(_)));
                    *member.rests_until.lock() = rests.then(|| Instant::now() + REST);
                    return done;
                }
            }
        }
        Err(refused.unwrap_or_else(|| GenerateError::Engine("there is no engine".into())))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;
    use crate::job::{Finish, Role, Sampling};

    /// Counts what it is asked; answers when it may.
    struct Fake {
        asked: Mutex<Vec<String>>,
        announced: AtomicUsize,
        may_answer: Arc<Semaphore>,
        is_full: bool,
        /// Answers with a failure of its own.
        is_broken: bool,
    }

    fn fleet(engines: usize, may_answer: &Arc<Semaphore>, full: &[usize]) -> Fleet<Fake> {
        let engine = |number| Fake {
            asked: Mutex::default(),
            announced: AtomicUsize::new(0),
            may_answer: may_answer.clone(),
            is_full: full.contains(&number),
            is_broken: false,
        };
        Fleet::new((0..engines).map(engine).collect())
    }

    #[async_trait]
    impl Generate for Fake {
        fn info(&self) -> ModelInfo {
            ModelInfo {
                kind: "fake",
                name: String::new(),
                architecture: String::new(),
                parameters: None,
                context_tokens: None,
                precision: String::new(),
                fingerprint: String::new(),
            }
        }

        fn announce(&self, forecast: &Forecast) {
            self.announced.store(forecast.prefixes.len(), Ordering::Relaxed);
        }

        async fn generate(
            &self,
            request: Request,
            _: Option<Pieces>,
            _: CancellationToken,
        ) -> Result<Completion, GenerateError> {
            if self.is_full {
                return Err(GenerateError::Unavailable { reason: "full".into(), retry_after_ms: None });
            }
            self.asked.lock().push(request.id);
            if self.is_broken {
                return Err(GenerateError::Engine("the card has fallen off the bus".into()));
            }
            let _may = self.may_answer.acquire().await;
            let receipt = Receipt::default();
            Ok(Completion { text: String::new(), finish: Finish::Stop, receipt })
        }
    }

    fn message(text: &str, scope: Scope) -> Message {
        Message { role: Role::System, text: text.into(), scope }
    }

    fn request(id: String, template: usize) -> Request {
        Request {
            id,
            tenant: "t".into(),
            session: None,
            messages: vec![
                message(&format!("template {template}"), Scope::Public),
                message("data", Scope::Tenant),
            ],
            sampling: Sampling { max_tokens: 1, temperature: 0.0, top_p: 1.0, seed: 1 },
            stop: Vec::new(),
            constraint: None,
            priority: 0,
        }
    }

    async fn ask(fleet: &Fleet<Fake>, request: Request) -> Result<Completion, GenerateError> {
        fleet.generate(request, None, CancellationToken::new()).await
    }

    #[tokio::test]
    async fn a_prefix_stays_with_its_engine_and_prefixes_spread() {
        let fleet = fleet(4, &Arc::new(Semaphore::new(1_000)), &[]);
        let mut owners: HashMap<usize, usize> = HashMap::new();
        for round in 0..3 {
            for template in 0..64 {
                ask(&fleet, request(format!("{round}-{template}"), template)).await.unwrap();
                let is_last =
                    |m: &Member<Fake>| m.engine.asked.lock().last() == Some(&format!("{round}-{template}"));
                let number = fleet.members.iter().position(is_last).expect("somebody was asked");
                assert_eq!(*owners.entry(template).or_insert(number), number);
            }
        }
        let counts = fleet.members.iter().map(|m| m.engine.asked.lock().len());
        assert!(counts.clone().all(|count| count >= 3 * 6), "{:?}", counts.collect::<Vec<_>>());
        assert!(fleet.members.iter().all(|m| m.load.load(Ordering::Relaxed) == 0));
    }

    #[tokio::test]
    async fn a_flood_of_one_prefix_takes_all_engines_evenly() {
        let may_answer = Arc::new(Semaphore::new(0));
        let fleet = fleet(4, &may_answer, &[]);
        let flood = futures::future::join_all((0..100).map(|n| ask(&fleet, request(n.to_string(), 7))));
        let look = async {
            // All are in hand once everybody was polled.
            tokio::task::yield_now().await;
            let loads: Vec<usize> = fleet.members.iter().map(|m| m.load.load(Ordering::Relaxed)).collect();
            may_answer.add_permits(100);
            loads
        };
        let (done, loads) = tokio::join!(flood, look);
        assert!(done.iter().all(Result::is_ok));
        assert_eq!(loads.iter().sum::<usize>(), 100);
        assert!(loads.iter().all(|load| (1..=32).contains(load)), "{loads:?}");
    }

    #[tokio::test]
    async fn refused_by_one_it_goes_to_the_next_and_fails_only_when_all_refuse() {
        let may_answer = Arc::new(Semaphore::new(1_000));
        let some = fleet(3, &may_answer, &[0, 2]);
        for template in 0..20 {
            ask(&some, request(template.to_string(), template)).await.unwrap();
        }
        assert_eq!(some.members[1].engine.asked.lock().len(), 20);
        let none = fleet(3, &may_answer, &[0, 1, 2]);
        let error = ask(&none, request("x".into(), 1)).await.unwrap_err();
        assert!(matches!(error, GenerateError::Unavailable { .. }), "{error}");
    }

    /// Each of its prefixes would fail for ever, and those of others that have a moment's load.
    #[tokio::test]
    async fn an_engine_that_fails_is_left_to_rest() {
        let mut fleet = fleet(3, &Arc::new(Semaphore::new(1_000)), &[]);
        fleet.members[1].engine.is_broken = true;
        let mut failures = 0;
        for template in 0..60 {
            failures += usize::from(ask(&fleet, request(template.to_string(), template)).await.is_err());
        }
        assert_eq!(failures, 1);
        *fleet.members[1].rests_until.lock() = Some(Instant::now());
        fleet.members[1].engine.is_broken = false;
        for template in 0..60 {
            ask(&fleet, request(template.to_string(), template)).await.unwrap();
        }
        assert!(fleet.members[1].engine.asked.lock().len() > 10);
    }

    #[test]
    fn each_engine_hears_of_its_own_prefixes() {
        let fleet = fleet(3, &Arc::new(Semaphore::new(0)), &[]);
        let prefix = |template: usize| ExpectedPrefix {
            tenant: "t".into(),
            messages: vec![message(&format!("template {template}"), Scope::Public)],
            times: 1,
        };
        fleet.announce(&Forecast { prefixes: (0..30).map(prefix).collect() });
        let heard = || -> Vec<usize> {
            fleet.members.iter().map(|m| m.engine.announced.load(Ordering::Relaxed)).collect()
        };
        assert_eq!(heard().iter().sum::<usize>(), 30);
        assert!(heard().iter().all(|count| *count >= 3), "{:?}", heard());
        fleet.announce(&Forecast::default());
        assert_eq!(heard(), [0, 0, 0]);
    }

    #[test]
    fn tenants_and_sessions_do_not_meet_unless_what_they_share_is_public() {
        let of = |tenant, session, scope| affinity(tenant, session, &[message("text", scope)]);
        assert_eq!(of("a", None, Scope::Public), of("b", None, Scope::Public));
        assert_ne!(of("a", None, Scope::Tenant), of("b", None, Scope::Tenant));
        assert_ne!(of("a", Some("s"), Scope::Public), of("a", Some("r"), Scope::Public));
        assert_ne!(of("a", Some("s"), Scope::Public), of("b", Some("s"), Scope::Public));
    }

    #[test]
    fn engines_on_one_processor_share_its_memory_and_threads() {
        use crate::{ComputeDevice, EngineOptions};
        let all = EngineOptions { threads: 5, memory_bytes_max: Some(1000), ..EngineOptions::default() };
        let shared = all.share(1, 2, ComputeDevice::Cpu);
        assert_eq!((shared.threads, shared.memory_bytes_max), (2, Some(500)));
        assert_eq!(all.share(1, 2, ComputeDevice::Cuda(1)).memory_bytes_max, Some(1000));
    }
}
