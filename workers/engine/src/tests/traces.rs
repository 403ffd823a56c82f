//! The spans of a request: where they stand, what they tell, and what they keep to themselves.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Instrument, Subscriber, info_span};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use super::factory::{Factory, Job, text};
use crate::generate::Generate;
use crate::kv::pool::Pool;
use crate::open::EngineOptions;
use crate::sched::{Limits, Reserve};
use crate::testing::{model, request};

/// A span as it was when it ended.
#[derive(Debug, Clone, Default)]
struct Seen {
    name: &'static str,
    parent: Option<u64>,
    fields: BTreeMap<&'static str, String>,
    ended: bool,
}

impl Visit for Seen {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.fields.insert(field.name(), format!("{value:?}"));
    }
}

/// Keeps all spans, in the order in which they began.
#[derive(Clone, Default)]
struct Spans(Arc<Mutex<Vec<(u64, Seen)>>>);

impl Spans {
    fn change(&self, id: &Id, change: impl FnOnce(&mut Seen)) {
        // Ids come again once a span has ended.
        if let Some((_, seen)) = self.0.lock().iter_mut().rev().find(|(known, _)| *known == id.into_u64()) {
            change(seen);
        }
    }

    fn all(&self) -> Vec<Seen> {
        self.0.lock().iter().map(|(_, seen)| seen.clone()).collect()
    }

    /// Spans right below the one whose `request` is this, and that one.
    fn of(&self, request: &str) -> (Seen, Vec<Seen>) {
        let spans = self.0.lock();
        let is_it = |seen: &Seen| seen.fields.get("request").is_some_and(|id| id == &format!("{request:?}"));
        let (id, caller) = spans.iter().find(|(_, seen)| is_it(seen)).unwrap();
        let below = spans.iter().filter(|(_, seen)| seen.parent == Some(*id));
        (caller.clone(), below.map(|(_, seen)| seen.clone()).collect())
    }
}

impl<S: Subscriber + for<'l> LookupSpan<'l>> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let parent = context.span(id).and_then(|span| span.parent()).map(|parent| parent.id().into_u64());
        let mut seen = Seen { name: attributes.metadata().name(), parent, ..Seen::default() };
        attributes.record(&mut seen);
        self.0.lock().push((id.into_u64(), seen));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        self.change(id, |seen| values.record(seen));
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.change(&id, |seen| seen.ended = true);
    }
}

fn number(seen: &Seen, field: &str) -> u64 {
    seen.fields[field].parse().unwrap()
}

fn sum(spans: &[Seen], name: &str, field: &str) -> u64 {
    spans.iter().filter(|seen| seen.name == name).map(|seen| number(seen, field)).sum()
}

/// Text of tenants can come into a span only as a value that is no number.
fn assert_nothing_is_told(spans: &[Seen]) {
    for seen in spans.iter().filter(|seen| seen.name != "attempt") {
        for (field, value) in &seen.fields {
            let is_number = value.parse::<f64>().is_ok();
            assert!(is_number || ["request", "outcome"].contains(field), "{field} = {value}");
        }
    }
}

/// Two answers grow until only one fits: the later one gives way and starts again.
#[test]
fn a_preempted_request_tells_its_way() {
    let spans = Spans::default();
    let subscriber = tracing_subscriber::registry().with(spans.clone());
    let receipt = tracing::subscriber::with_default(subscriber, || {
        let limits = Limits { block_tokens: 4, step_tokens_max: 48, running_max: 4, reserve: Reserve::Known };
        let mut factory = Factory::new(limits, Pool::new(24));
        let grow = |seed: u32| Job {
            tenant: format!("tenant {seed}"),
            lane: 0,
            public: Vec::new(),
            data: text(seed + 1, 30),
            max_tokens: 40,
            seed: seed.into(),
        };
        let long = (0..).map(grow).filter(|job| factory.expected(job).1 == 40).take(2).collect::<Vec<_>>();
        let answers: Vec<_> = long.iter().map(|job| factory.submit(job).0).collect();
        factory.finish();
        let receipts = answers.into_iter().map(|mut answer| answer.try_recv().unwrap().unwrap().receipt);
        let preempted: Vec<_> = receipts.filter(|receipt| receipt.preemptions > 0).collect();
        assert_eq!(preempted.len(), 1, "{preempted:?}");
        preempted[0]
    });
    let all = spans.all();
    assert!(all.iter().all(|seen| seen.ended), "{all:?}");
    assert_nothing_is_told(&all);
    let ids: Vec<u64> = spans.0.lock().iter().map(|(id, _)| *id).collect();
    let gave_way = all.iter().position(|seen| seen.name == "preempted").unwrap();
    let caller = all[gave_way].parent.unwrap();
    let way: Vec<Seen> = all.iter().filter(|seen| seen.parent == Some(caller)).cloned().collect();
    let names: Vec<&str> = way.iter().map(|seen| seen.name).collect();
    assert_eq!(names, ["queue", "prefill", "decode", "preempted", "prefill", "decode"]);
    let whole = &all[ids.iter().position(|id| *id == caller).unwrap()];
    assert_eq!((whole.name, whole.fields["outcome"].as_str()), ("generate", "\"completed\""));
    for (field, value) in [
        ("prompt_tokens", receipt.prompt_tokens),
        ("output_tokens", receipt.output_tokens),
        ("preemptions", receipt.preemptions),
        ("recomputed_tokens", receipt.recomputed_tokens),
    ] {
        assert_eq!(number(whole, field), value, "{field}");
    }
    // What the phases computed is what the receipt says.
    let computed = sum(&way, "prefill", "tokens") + sum(&way, "decode", "tokens");
    let once = receipt.prompt_tokens - receipt.cached_tokens + receipt.output_tokens - 1;
    assert_eq!(computed, once + receipt.recomputed_tokens);
    assert!(receipt.recomputed_tokens <= number(&way[3], "given_up_tokens"));
}

/// The engine has a thread of its own; the spans of a request nevertheless stand below the attempt that asked.
#[tokio::test]
async fn spans_stand_below_the_attempt() {
    let spans = Spans::default();
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(spans.clone())).unwrap();
    let model = model(&EngineOptions { threads: 1, ..EngineOptions::default() });
    let asked = crate::job::Request { id: "job-1/opening".into(), ..request("secret data") };
    let attempt = info_span!("attempt", job.id = "job-1");
    let done = model.generate(asked, None, CancellationToken::new()).instrument(attempt).await.unwrap();
    let (caller, below) = spans.of("job-1/opening");
    let names: Vec<&str> = below.iter().map(|seen| seen.name).collect();
    assert_eq!(names, ["queue", "prefill", "decode"]);
    assert!(caller.ended && below.iter().all(|seen| seen.ended));
    assert_eq!(number(&caller, "prompt_tokens"), done.receipt.prompt_tokens);
    assert_eq!(sum(&below, "prefill", "tokens"), done.receipt.prompt_tokens);
    let above = spans.0.lock().iter().find(|(id, _)| Some(*id) == caller.parent).map(|(_, seen)| seen.name);
    assert_eq!(above, Some("attempt"));
    assert_nothing_is_told(&spans.all());
}
