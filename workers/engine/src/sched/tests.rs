//! Plans, checked by example and by property.

use proptest::prelude::*;

use super::*;
use crate::kv::quota::{ANYONE, Book, Quotas};

fn limits(step_tokens_max: usize) -> Limits {
    Limits { block_tokens: 4, step_tokens_max, running_max: 8, reserve: Reserve::Known }
}

fn progress(arrival: u64, computed: usize, known: usize) -> Progress {
    Progress {
        place: Place::new(arrival, 0),
        lane: 0,
        tenant: ANYONE,
        computed,
        known,
        longest: known + 4,
        public_blocks: 0,
        blocks: computed.div_ceil(4),
    }
}

fn ledger(supply: usize) -> Ledger {
    Book::new(&Quotas::default()).ledger(supply, std::iter::once(ANYONE))
}

fn run(running: &[Progress], waiting: &[Waiting<'_>], budget: usize, supply: usize) -> Plan {
    plan(&Facts { limits: limits(budget), running, waiting, ledger: ledger(supply) })
}

fn check(running: &[(usize, usize)], budget: usize, expected: &[(u64, usize, bool)]) {
    let running: Vec<_> = running
        .iter()
        .enumerate()
        .map(|(i, &(computed, known))| progress(i as u64, computed, known))
        .collect();
    let Plan::Run { admit, shares } = run(&running, &[], budget, 1000) else { panic!("preempted") };
    assert!(admit.is_empty());
    let shares: Vec<_> = shares.iter().map(|s| (s.place.arrival, s.tokens, s.last)).collect();
    assert_eq!(shares, expected);
}

#[test]
fn answers_run_and_prompts_share_the_rest_in_order() {
    check(&[], 8, &[]);
    check(&[(0, 20)], 8, &[(0, 8, false)]);
    check(&[(16, 20)], 8, &[(0, 4, true)]);
    check(&[(0, 20), (9, 10), (0, 5)], 8, &[(0, 7, false), (1, 1, true)]);
    check(&[(16, 20), (9, 10), (0, 5)], 8, &[(0, 4, true), (1, 1, true), (2, 3, false)]);
    check(&[(9, 10), (9, 10), (0, 5)], 2, &[(0, 1, true), (1, 1, true), (2, 1, false)]);
}

#[test]
fn the_least_computed_of_the_later_ones_gives_way() {
    // Each holds full blocks and needs another; one is left.
    let running = [progress(0, 8, 9), progress(1, 8, 9), progress(2, 4, 5)];
    assert_eq!(run(&running, &[], 8, 1), Plan::Preempt(Place::new(2, 0)));
    // Of equals, the last in line.
    let running = [progress(0, 4, 5), progress(1, 8, 9), progress(2, 8, 9)];
    assert_eq!(run(&running, &[], 8, 1), Plan::Preempt(Place::new(2, 0)));
    // The first in line never gives way to a later one.
    let running = [progress(0, 4, 5), progress(1, 8, 9)];
    assert_eq!(run(&running, &[], 8, 0), Plan::Preempt(Place::new(0, 0)));
    assert!(matches!(run(&running, &[], 8, 2), Plan::Run { .. }));
}

fn waiting(arrival: u64, lane: u8, known: usize, keys: &[BlockKey]) -> Waiting<'_> {
    let progress = Progress { place: Place::new(arrival, lane), lane, ..progress(arrival, 0, known) };
    Waiting { progress, keys, idle: (0, 0), prefix_under_way: false }
}

#[test]
fn requests_start_in_order_and_a_common_prefix_is_computed_once() {
    let key = |n: u32| BlockKey::root("m", "f32", n as usize);
    let (a, b, c) = ([key(1), key(2)], [key(1), key(3)], [key(4)]);
    let queue = [waiting(0, 0, 12, &a), waiting(1, 0, 12, &b), waiting(2, 0, 8, &c)];
    let started = |plan| match plan {
        Plan::Run { admit, .. } => admit.iter().map(|p| p.arrival).collect::<Vec<_>>(),
        Plan::Preempt(_) => panic!("preempted"),
    };
    assert_eq!(started(run(&[], &queue, 100, 100)), [0, 2], "1 waits for the first block of 0");
    assert_eq!(started(run(&[], &queue, 100, 3)), [] as [u64; 0], "no block for the first drawn token");
    assert_eq!(started(run(&[], &queue, 100, 5)), [0], "2 may not pass one that lacks memory, nor fit");
    assert_eq!(started(run(&[], &queue, 12, 100)), [0], "no tokens are left for others");
}

#[test]
fn an_urgent_request_takes_the_place_of_a_later_one_of_a_worse_lane() {
    let bulk = |arrival, computed| Progress {
        place: Place::new(arrival, 2),
        lane: 2,
        ..progress(arrival, computed, computed + 1)
    };
    let running: Vec<_> = (0..8).map(|i| bulk(i, 20 - i as usize)).collect();
    let urgent = [waiting(100, 0, 8, &[])];
    assert_eq!(run(&running, &urgent, 64, 100), Plan::Preempt(Place::new(7, 2)));
    // One that has waited long enough is not pushed out again.
    let late = [waiting(100 + 3 * PATIENCE, 0, 8, &[])];
    assert!(matches!(run(&running, &late, 64, 100), Plan::Run { .. }));
    // Nor does a request of the same lane push one out.
    let same = [waiting(100, 2, 8, &[])];
    assert!(matches!(run(&running, &same, 64, 100), Plan::Run { .. }));
}

#[test]
fn full_reservation_starts_only_what_can_end() {
    let facts = |reserve, supply| Facts {
        limits: Limits { reserve, ..limits(100) },
        running: &[],
        waiting: &[],
        ledger: ledger(supply),
    };
    let mut long = waiting(0, 0, 8, &[]);
    long.progress.longest = 40;
    let queue = [long];
    for (reserve, supply, starts) in
        [(Reserve::Known, 3, true), (Reserve::Longest, 9, false), (Reserve::Longest, 10, true)]
    {
        let facts = Facts { waiting: &queue, ..facts(reserve, supply) };
        match plan(&facts) {
            Plan::Run { admit, .. } => assert_eq!(admit.len() == 1, starts, "{reserve:?} {supply}"),
            Plan::Preempt(_) => panic!("preempted"),
        }
    }
}

proptest! {
    #[test]
    fn plans_keep_to_tokens_and_blocks(
        running in proptest::collection::vec((0usize..40, 1usize..30, 0u8..3), 0..9),
        queue in proptest::collection::vec((1usize..40, 0u8..3), 0..9),
        budget in 1usize..40,
        supply in 0usize..60,
        full in any::<bool>(),
    ) {
        let mut running: Vec<_> = running
            .iter()
            .enumerate()
            .map(|(i, &(computed, missing, lane))| {
                let arrival = i as u64;
                let known = computed + missing;
                Progress { place: Place::new(arrival, lane), lane, ..progress(arrival, computed, known) }
            })
            .collect();
        running.sort_by_key(|p| p.place);
        let mut waiting: Vec<_> =
            queue.iter().enumerate().map(|(i, &(known, lane))| waiting(20 + i as u64, lane, known, &[])).collect();
        waiting.sort_by_key(|w| w.progress.place);
        let reserve = if full { Reserve::Longest } else { Reserve::Known };
        let limits = Limits { reserve, ..limits(budget) };
        // As the engine does: preempted ones leave and give their blocks back.
        let mut supply = supply;
        for round in 0.. {
            prop_assert!(round < 10, "no end of preemptions");
            let facts = Facts { limits, running: &running, waiting: &waiting, ledger: ledger(supply) };
            match plan(&facts) {
                Plan::Preempt(place) => {
                    let at = running.iter().position(|p| p.place == place);
                    prop_assert!(at.is_some());
                    supply += running.remove(at.unwrap_or(0)).blocks;
                }
                Plan::Run { admit, shares } => {
                    prop_assert!(running.len() + admit.len() <= limits.running_max.max(running.len()));
                    let tokens: usize = shares.iter().map(|s| s.tokens).sum();
                    prop_assert!(tokens <= budget.max(running.len() + admit.len()));
                    let all = running.iter().chain(
                        waiting.iter().map(|w| &w.progress).filter(|p| admit.contains(&p.place)),
                    );
                    let (mut blocks, mut decodes) = (0, 0);
                    for p in all {
                        let share = shares.iter().find(|s| s.place == p.place);
                        let tokens = share.map_or(0, |s| s.tokens);
                        prop_assert!(tokens <= p.missing());
                        prop_assert_eq!(share.is_some_and(|s| s.last), tokens == p.missing());
                        blocks += limits.blocks(p.computed + tokens).saturating_sub(p.blocks);
                        decodes += usize::from(p.missing() == 1 && tokens == 1);
                    }
                    prop_assert!(blocks <= supply);
                    let running_decodes = running.iter().filter(|p| p.missing() == 1).count();
                    prop_assert!(decodes >= running_decodes, "an answer under way was held up");
                    prop_assert!(shares.windows(2).all(|s| s[0].place < s[1].place));
                    break;
                }
            }
        }
    }
}
