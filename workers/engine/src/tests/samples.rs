//! Several samples of one prompt: it is computed once, and each answer is the one that its seed has alone.

use std::collections::HashSet;

use futures::future::join_all;
use tokio_util::sync::CancellationToken;

use super::factory::{Answer, Factory, Job, text};
use crate::generate::Generate;
use crate::job::{Completion, Request};
use crate::kv::pool::Pool;
use crate::kv::precision::KvPrecision;
use crate::open::EngineOptions;
use crate::sched::{Limits, Reserve};
use crate::testing;

const BT: usize = 4;
const SAMPLES: u64 = 6;
const PROMPT: usize = 61;

fn sample(seed: u64) -> Job {
    Job {
        tenant: "a".into(),
        lane: 0,
        public: text(3, 38),
        data: text(77, PROMPT - 38),
        max_tokens: 14,
        seed,
    }
}

/// Steps until all are answered; the texts in the order of the seeds.
fn answers(factory: &mut Factory, asked: Vec<Answer>) -> Vec<Completion> {
    factory.finish();
    factory.assert_nothing_leaked();
    asked.into_iter().map(|mut answer| answer.try_recv().unwrap().unwrap()).collect()
}

/// `steps` of the first sample are done when the others come.
fn check(steps: usize) {
    let limits = Limits { block_tokens: BT, step_tokens_max: 16, running_max: 8, reserve: Reserve::Known };
    let mut factory = Factory::new(limits, Pool::new(200));
    let mut asked = vec![factory.submit(&sample(0)).0];
    (0..steps).for_each(|_| factory.core.step());
    assert_eq!(factory.core.counts().computed, 16 * steps as u64, "its prompt takes four steps");
    asked.extend((1..SAMPLES).map(|seed| factory.submit(&sample(seed)).0));
    let done = answers(&mut factory, asked);
    let mut written = 0;
    for (seed, done) in done.iter().enumerate() {
        let (text, tokens) = factory.expected(&sample(seed as u64));
        assert_eq!(done.text, text, "sample {seed}");
        assert_eq!(done.receipt.attached, 0, "another seed is another answer");
        // All whole blocks before the last token.
        let found = if seed == 0 { 0 } else { (PROMPT - 1) / BT * BT };
        assert_eq!(done.receipt.cached_tokens, found as u64, "sample {seed}");
        // The last token of an answer is drawn and not computed.
        written += tokens as u64;
    }
    let texts: HashSet<&str> = done.iter().map(|done| done.text.as_str()).collect();
    assert_eq!(texts.len() as u64, SAMPLES);
    let rest = (PROMPT - (PROMPT - 1) / BT * BT) as u64;
    let computed = factory.core.counts().computed;
    let least = PROMPT as u64 + (SAMPLES - 1) * rest;
    assert!(computed <= least + written, "{computed}: the prompt was computed again");
    assert!(computed >= least + written - SAMPLES, "{computed}");
}

#[test]
fn samples_that_come_together_compute_their_prompt_once() {
    check(0);
}

#[test]
fn samples_that_come_while_the_first_is_computed_wait_for_it() {
    for steps in 1..=3 {
        check(steps);
    }
}

/// The same on a model, whatever the precision of its keys and values.
#[tokio::test]
async fn samples_of_a_model_are_those_of_each_alone() {
    for kv_precision in KvPrecision::ALL {
        let options = EngineOptions {
            threads: 1,
            block_tokens: BT,
            prefill_chunk_tokens: 16,
            kv_precision,
            ..EngineOptions::default()
        };
        let requests: Vec<Request> = (0..SAMPLES)
            .map(|seed| {
                let mut request = testing::request("one prompt for all of them");
                request.sampling.seed = seed;
                request.id = seed.to_string();
                request
            })
            .collect();
        let model = testing::model(&options);
        let ask = |request: &Request| model.generate(request.clone(), None, CancellationToken::new());
        let done: Vec<Completion> =
            join_all(requests.iter().map(ask)).await.into_iter().map(Result::unwrap).collect();
        let whole = |done: &Completion| (done.receipt.prompt_tokens as usize - 1) / BT * BT;
        let first: Vec<&Completion> = done.iter().filter(|done| done.receipt.cached_tokens == 0).collect();
        assert_eq!(first.len(), 1, "one computes the prompt");
        let others = done.iter().filter(|done| done.receipt.cached_tokens as usize == whole(done));
        assert_eq!(others.count(), done.len() - 1);
        for (request, done) in requests.iter().zip(&done) {
            let alone = testing::model(&options);
            let alone = alone.generate(request.clone(), None, CancellationToken::new()).await.unwrap();
            assert_eq!(alone.text, done.text, "{kv_precision:?}, seed {}", request.sampling.seed);
        }
        let texts: HashSet<&str> = done.iter().map(|done| done.text.as_str()).collect();
        assert_eq!(texts.len() as u64, SAMPLES, "{kv_precision:?}");
    }
}
