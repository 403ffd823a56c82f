use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{JobId, Limits, RawJob};

fn job(text: serde_json::Value) -> ValidJob {
    let raw: RawJob = serde_json::from_value(text).unwrap();
    let now = crate::Timestamp::from_timestamp(1_800_000_000, 0).unwrap();
    ValidJob::parse(raw, now, &Limits::default()).unwrap()
}

fn group(text: serde_json::Value) -> Group {
    Group::of(&TenantId::default_tenant(), &job(text))
}

fn names(numbers: &BTreeSet<u16>) -> BTreeSet<String> {
    numbers.iter().map(|n| format!("process-{n}")).collect()
}

fn owner_of(alive: &BTreeSet<String>, partitions: u8) -> Vec<String> {
    let alive: BTreeSet<&str> = alive.iter().map(String::as_str).collect();
    owners(&alive, partitions).into_iter().map(ToOwned::to_owned).collect()
}

#[test]
fn prompts_that_begin_alike_share_a_group() {
    let invoice = group(json!({"template": "invoice", "data": {"n": 1}}));
    let same = json!({"template": "invoice", "data": {"n": 2}, "priority": "high", "business_area": "sales"});
    assert_eq!(group(same), invoice);
    assert_ne!(group(json!({"template": "report"})), invoice);
    let plan = group(json!({"query": "A plan", "business_area": "marketing"}));
    assert_eq!(group(json!({"query": "Another", "business_area": "marketing"})), plan);
    assert_ne!(group(json!({"query": "A plan", "business_area": "legal"})), plan);
    let session = json!({"template": "invoice", "session_id": "s-1"});
    assert_ne!(group(session.clone()), invoice);
    let other = Group::of(&"globex".parse().unwrap(), &job(session.clone()));
    assert_ne!(other, group(session), "the same name is another conversation for another tenant");
}

/// Processes of different versions must agree where a job lies: these numbers never change.
#[test]
fn groups_and_owners_are_frozen() {
    let groups = [json!({"template": "invoice"}), json!({"template": "report"}), json!({"query": "A plan"})];
    let partitions = groups.map(|text| group(text).partition(8).number());
    assert_eq!(partitions, FROZEN_PARTITIONS);
    assert_eq!(owner_of(&names(&[1, 2, 3].into()), 8), FROZEN_OWNERS.map(|n| format!("process-{n}")));
}

#[test]
fn an_id_ends_in_its_group_and_still_sorts_by_time() {
    let ids: Vec<JobId> = (0..1_000_u16).map(|n| JobId::in_group(Group((n * 37) as u8))).collect();
    assert!(ids.is_sorted_by(|a, b| a < b));
    assert!(ids.iter().zip(0..).all(|(id, n): (_, u16)| id.group() == Group((n * 37) as u8)));
    assert_eq!(ids[7].to_string().parse(), Ok(ids[7]));
}

#[test]
fn queues_are_numbered_without_a_gap() {
    for partitions in [0, 1, 4, PARTITIONS_MAX, u8::MAX] {
        let all: Vec<usize> = Queue::all(partitions).map(|queue| queue.index(partitions)).collect();
        assert!(all.iter().enumerate().all(|(at, index)| at == *index), "{partitions}");
        assert_eq!(all.len(), 4 * usize::from(partitions.clamp(1, PARTITIONS_MAX)));
    }
}

/// No partition is left without a group.
#[test]
fn many_groups_spread() {
    let hit: BTreeSet<u8> =
        (0..64).map(|n| group(json!({"template": format!("template-{n}")})).partition(8).number()).collect();
    assert_eq!(hit.len(), 8);
}

proptest! {
    /// Everybody sees the same owners, every partition has one, and nobody has two more than another.
    #[test]
    fn partitions_are_shared_out_evenly(numbers in prop::collection::btree_set(0u16..500, 1..40), partitions in 1u8..=PARTITIONS_MAX) {
        let alive = names(&numbers);
        let owners = owner_of(&alive, partitions);
        prop_assert_eq!(owners.len(), usize::from(partitions));
        let mut loads: BTreeMap<&str, usize> = alive.iter().map(|name| (name.as_str(), 0)).collect();
        for owner in &owners {
            *loads.get_mut(owner.as_str()).unwrap() += 1;
        }
        let (least, most) = (loads.values().min().unwrap(), loads.values().max().unwrap());
        prop_assert!(most - least <= 1, "{:?}", loads);
        for me in &alive {
            let view = View::of(me, &alive, partitions);
            let own: Vec<Partition> =
                Partition::all(partitions).filter(|p| owners[usize::from(p.number())] == *me).collect();
            prop_assert_eq!(&view.own, &own);
            let mut all = [view.own, view.others].concat();
            all.sort();
            prop_assert!(all.into_iter().eq(Partition::all(partitions)));
        }
    }

    /// Whoever is not listed yet counts itself.
    #[test]
    fn a_process_that_is_not_listed_yet_has_its_share(numbers in prop::collection::btree_set(0u16..500, 0..6)) {
        let mut alive = names(&numbers);
        let view = View::of("new", &alive, 8);
        alive.insert("new".into());
        prop_assert_eq!(&view, &View::of("new", &alive, 8));
        prop_assert!(!view.own.is_empty() || numbers.len() >= 8);
    }
}

/// Partitions that change hands when one process more is alive, on average over many installations. A hash of the number of
/// processes would move nearly all of them; at least `partitions / (processes + 1)` must move.
#[test]
fn few_partitions_move_when_a_process_joins_or_leaves() {
    let (partitions, rounds) = (16_u8, 200_u16);
    for processes in 1..=6_u16 {
        let mut moved = 0;
        for round in 0..rounds {
            let before: BTreeSet<u16> = (0..processes).map(|n| round * 100 + n).collect();
            let mut after = before.clone();
            after.insert(round * 100 + 50);
            let (before, after) =
                (owner_of(&names(&before), partitions), owner_of(&names(&after), partitions));
            moved += before.iter().zip(&after).filter(|(a, b)| a != b).count();
        }
        let (average, least) =
            (moved as f64 / f64::from(rounds), f64::from(partitions) / f64::from(processes + 1));
        assert!(
            average >= least - 0.5 && average <= 1.8 * least,
            "{processes}: {average} of at least {least}"
        );
    }
}

const FROZEN_PARTITIONS: [u8; 3] = [4, 5, 7];
const FROZEN_OWNERS: [u16; 8] = [1, 1, 1, 3, 2, 2, 3, 2];
