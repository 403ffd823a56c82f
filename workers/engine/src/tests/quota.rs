//! Tenants cannot take from each other what their quotas promise.

use std::collections::BTreeMap;

use proptest::prelude::*;

use tokio_util::sync::CancellationToken;

use super::factory::{Factory, Job, language, serve, text};
use crate::generate::{Generate, GenerateError};
use crate::kv::key::BlockKey;
use crate::kv::policy::{Eviction, Segment};
use crate::kv::pool::{BlockRef, Pool};
use crate::kv::quota::{Demand, Quotas, TenantQuota};
use crate::kv::shares::{TenantShare, TenantShares};
use crate::open::EngineOptions;
use crate::sched::{Limits, Reserve};
use crate::sim::SimRunner;
use crate::testing;

fn quotas(limits: &[(&str, usize, usize)], default_cap_blocks: Option<usize>) -> Quotas {
    let tenant = |&(name, floor_blocks, cap_blocks): &(&str, usize, usize)| {
        (name.to_string(), TenantQuota { floor_blocks, cap_blocks })
    };
    Quotas { tenants: limits.iter().map(tenant).collect::<BTreeMap<_, _>>(), default_cap_blocks }
}

const NAMES: [&str; 4] = ["a", "b", "c", "stranger"];

proptest! {
    /// Whatever tenants do: caps hold, floors can be had at once, and a plan never promises more
    /// than the pool then gives.
    #[test]
    fn caps_hold_and_floors_can_be_had(
        ops in proptest::collection::vec((0usize..4, 0u8..6, any::<u8>()), 0..250),
        floors in proptest::collection::vec(0usize..5, 3),
        caps in proptest::collection::vec(1usize..12, 3),
        default_cap in proptest::option::of(1usize..10),
        policy in 0usize..Eviction::ALL.len(),
    ) {
        let capacity = 16;
        let limits: Vec<_> =
            (0..3).map(|i| (NAMES[i], floors[i].min(caps[i]), caps[i])).collect();
        let quotas = quotas(&limits, default_cap);
        let pool = Pool::with(capacity, Eviction::ALL[policy].policy(capacity), &quotas);
        let ids = NAMES.map(|name| pool.tenant(name));
        let mut held: Vec<Vec<BlockRef>> = (0..4).map(|_| Vec::new()).collect();
        let mut public: Vec<BlockRef> = Vec::new();
        let mut stamp = 0;
        for (who, op, pick) in ops {
            stamp += 1;
            let id = ids[who];
            match op {
                0..3 => {
                    let is_public = op == 2;
                    let demand = if is_public {
                        Demand { public: 1, ..Demand::default() }
                    } else {
                        Demand { own: 1, ..Demand::default() }
                    };
                    let planned = pool.ledger(std::iter::once(id)).check(id, demand);
                    let taken = pool.take(id, is_public);
                    prop_assert_eq!(planned.is_ok(), taken.is_some(), "{:?}", planned);
                    if let Some(taken) = taken {
                        if is_public { &mut public } else { &mut held[who] }.push(taken.block);
                    }
                }
                3 if !held[who].is_empty() => {
                    let at = pick as usize % held[who].len();
                    pool.publish(BlockKey::root("m", "f32", stamp), &held[who][at], Segment::Tenant);
                    held[who].swap_remove(at);
                }
                4 if !held[who].is_empty() => {
                    let at = pick as usize % held[who].len();
                    held[who].swap_remove(at);
                }
                5 if !public.is_empty() => {
                    let at = pick as usize % public.len();
                    pool.publish(BlockKey::root("m", "f32", stamp), &public[at], Segment::Public);
                    public.swap_remove(at);
                }
                _ => {}
            }
            for (who, id) in ids.iter().enumerate() {
                let account = pool.account(*id);
                prop_assert!(account.used <= account.limits.cap_blocks);
                prop_assert_eq!(account.used - account.idle, held[who].len());
                if held[who].len() < account.limits.floor_blocks {
                    let demand = Demand { own: account.limits.floor_blocks - held[who].len(), ..Demand::default() };
                    let check = pool.ledger(std::iter::once(*id)).check(*id, demand);
                    prop_assert!(check.is_ok(), "{} cannot reach its floor: {:?}", NAMES[who], account);
                }
            }
        }
        drop((held, public));
        prop_assert_eq!((pool.held(), pool.available()), (0, capacity));
    }
}

fn job(tenant: &str, n: u32) -> Job {
    Job {
        tenant: tenant.into(),
        lane: 0,
        public: text(1, 8),
        data: text(1000 + n, 24),
        max_tokens: 6,
        seed: u64::from(n),
    }
}

fn factory(quotas: &Quotas) -> Factory {
    let limits = Limits { block_tokens: 4, step_tokens_max: 64, running_max: 8, reserve: Reserve::Known };
    Factory::new(limits, Pool::with(60, Eviction::Lru.policy(60), quotas))
}

/// Hits of one tenant's repeated request while another floods the engine.
fn hits_under_a_flood(quotas: &Quotas) -> u64 {
    let mut factory = factory(quotas);
    factory.run(&job("small", 0));
    for round in 0..30 {
        let flood: Vec<_> = (0..8).map(|i| factory.submit(&job("flood", 10 + round * 8 + i)).0).collect();
        factory.finish();
        assert!(flood.into_iter().all(|mut a| a.try_recv().unwrap().is_ok()));
    }
    let again = factory.run(&Job { seed: 99, ..job("small", 0) }).receipt.cached_tokens;
    factory.assert_nothing_leaked();
    again
}

#[test]
fn a_floor_keeps_a_tenants_cache_through_anothers_flood() {
    let public = hits_under_a_flood(&Quotas::default());
    assert!(public <= 8, "without a floor only the template is left: {public}");
    assert_eq!(hits_under_a_flood(&quotas(&[("small", 10, 60)], None)), 28);
    // A cap on the other does the same.
    assert_eq!(hits_under_a_flood(&quotas(&[("flood", 0, 30)], None)), 28);
}

#[test]
fn a_capped_tenant_does_not_hold_up_others() {
    let mut factory = factory(&quotas(&[("flood", 0, 10)], None));
    // One flood request at a time fits under its cap; the queue is full of them.
    let flood: Vec<_> = (0..20).map(|n| factory.submit(&job("flood", n)).0).collect();
    let mut other = factory.submit(&job("other", 100)).0;
    for _ in 0..12 {
        factory.core.step();
    }
    assert!(other.try_recv().unwrap().is_ok(), "it passes those that wait for their own tenant's blocks");
    factory.finish();
    assert!(flood.into_iter().all(|mut a| a.try_recv().unwrap().is_ok()));
    factory.assert_nothing_leaked();
}

#[test]
fn a_request_above_its_tenants_cap_is_refused_at_once() {
    let mut factory = factory(&quotas(&[("flood", 0, 5)], Some(6)));
    for tenant in ["flood", "stranger"] {
        let mut answer = factory.submit(&job(tenant, 1)).0;
        match answer.try_recv().unwrap() {
            Err(GenerateError::Rejected(reason)) => assert!(reason.contains("blocks"), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
    factory.assert_nothing_leaked();
}

#[tokio::test]
async fn shares_of_an_open_engine_hold() {
    let own = TenantShare { floor_percent: 20, cap_percent: 80 };
    let shares = TenantShares { tenants: [("acme".to_owned(), own)].into(), default_cap_percent: 10 };
    let options = EngineOptions { threads: 1, shares, ..EngineOptions::default() };
    let runner = SimRunner::new(language().vocabulary.size(), options.block_tokens);
    let model = serve(runner, 50, &options);
    let mut request = testing::request("some data");
    request.sampling.max_tokens = 120;
    for (tenant, expected) in [("acme", None), ("other", Some("its tenant may have 5"))] {
        request.tenant = tenant.into();
        let done = model.generate(request.clone(), None, CancellationToken::new()).await;
        match (done, expected) {
            (Ok(_), None) => {}
            (Err(GenerateError::Rejected(reason)), Some(word)) => assert!(reason.contains(word), "{reason}"),
            (found, _) => panic!("{tenant}: {found:?}"),
        }
    }
}

#[test]
fn an_engine_with_shares_that_cannot_be_kept_does_not_open() {
    let own = TenantShare { floor_percent: 95, cap_percent: 100 };
    let shares = TenantShares { tenants: [("acme".to_owned(), own)].into(), ..TenantShares::default() };
    let options = EngineOptions { shares, ..EngineOptions::default() };
    let error = testing::open(&options, None).err().map(|e| e.to_string());
    assert!(error.as_deref().is_some_and(|e| e.contains("95 percent")), "{error:?}");
}
