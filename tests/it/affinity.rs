//! Several processes of workers and jobs of several templates on NATS and RabbitMQ: who gets which, and who helps out. Each ends in the
//! conservation equation.

use std::collections::BTreeMap;

use bul_tests::{BrokerKind, Cluster};

/// Lanes in partitions, and answers that take long enough for a backlog.
const SETTINGS: [(&str, &str); 3] =
    [("BUL_BROKER_PARTITIONS", "8"), ("BUL_TEST_TOKEN_DELAY_MS", "4"), ("BUL_WORKER_CONCURRENCY", "2")];
/// Areas of free documents. They lie in more partitions than one of two processes can own, so that each owns some of them.
const AREAS: [&str; 8] =
    ["marketing", "legal", "finance", "sales", "support", "research", "logistics", "quality"];

fn start(kind: BrokerKind) -> Cluster {
    let mut cluster = Cluster::start(kind);
    cluster.role("producer", &["producer"], &SETTINGS);
    cluster.role("scheduler", &["scheduler"], &SETTINGS);
    cluster
}

fn start_with_workers(kind: BrokerKind) -> Cluster {
    let mut cluster = start(kind);
    cluster.role("worker-1", &["worker"], &SETTINGS);
    cluster.role("worker-2", &["worker"], &SETTINGS);
    // The first to come hears of the second within seconds.
    cluster.wait_for_line("worker-1", "\"processes\":2");
    cluster
}

/// Jobs of each of the areas, one after another.
fn submit(cluster: &Cluster, areas: &[&str], each: usize) {
    let jobs: String = (0..each)
        .flat_map(|n| areas.iter().map(move |area| (n, area)))
        .map(|(n, area)| {
            format!(
                "{{\"query\": \"Plan {n}\", \"business_area\": \"{area}\", \"doc_type\": \"plan\", \"formats\": [\"md\", \"json\"], \"data\": {{\"sections\": [\"Scope\"]}}}}\n"
            )
        })
        .collect();
    cluster.submit_lines(&jobs);
}

/// Completed jobs by area and worker, for each area the one first who did most.
fn done(cluster: &Cluster) -> BTreeMap<String, Vec<(String, u64)>> {
    let sql = "SELECT business_area, worker, count(*) FROM jobs WHERE state = 'completed' GROUP BY 1, 2 \
               ORDER BY 1, 3 DESC";
    let mut all: BTreeMap<String, Vec<(String, u64)>> = BTreeMap::new();
    for line in cluster.ask(sql).lines() {
        let [area, worker, count] = line.split('|').collect::<Vec<_>>()[..] else { panic!("{line}") };
        all.entry(area.into()).or_default().push((worker.into(), count.parse().expect("a number")));
    }
    all
}

/// Two areas whose owners differ, with their owners, and how many jobs of each area that took. An idle process that happens to
/// look may take a single job of another's: whoever did nearly all jobs of an area owns it.
fn areas_of_different_owners(cluster: &Cluster) -> ([(String, String); 2], u64) {
    for each in 1..=12 {
        // Few jobs and free slots: owners take what arrives.
        for area in AREAS {
            submit(cluster, &[area], 1);
            cluster.settle();
        }
        let done = done(cluster);
        let is_clear = |by: &[(String, u64)]| each >= 3 && by[0].1 * 4 >= each * 3;
        let clear: Vec<_> =
            done.iter().filter(|(_, by)| is_clear(by)).map(|(area, by)| (area, &by[0].0)).collect();
        let Some((area, owner)) = clear.first() else { continue };
        if let Some((other, others)) = clear.iter().find(|(_, worker)| worker != owner) {
            let pair = |area: &str, owner: &str| (area.to_owned(), owner.to_owned());
            return ([pair(area, owner), pair(other, others)], each);
        }
    }
    panic!("no two areas have clear owners that differ: {:?}", done(cluster))
}

/// With a backlog of two areas that belong to different processes, each does its own.
fn each_process_does_its_own(kind: BrokerKind) {
    let cluster = start_with_workers(kind);
    let (owned, each) = areas_of_different_owners(&cluster);
    let count = |of: &BTreeMap<String, Vec<(String, u64)>>| -> u64 {
        let by_owner = |(area, owner): &(String, String)| {
            of[area].iter().filter(|(worker, _)| worker == owner).map(|(_, count)| *count).sum::<u64>()
        };
        owned.iter().map(by_owner).sum()
    };
    let before = count(&done(&cluster));
    submit(&cluster, &[&owned[0].0, &owned[1].0], 40);
    cluster.assert_exactly_once(each * AREAS.len() as u64 + 80);
    let after = done(&cluster);
    // Whoever is done first helps with the rest of the other's; without affinity half of them would be the owner's.
    let done_by_owners = count(&after) - before;
    assert!(done_by_owners >= 52, "{done_by_owners} of 80: {owned:?} {after:?}\n{}", cluster.logs());
}

#[test]
fn jobs_go_to_the_process_that_holds_their_prefix() {
    each_process_does_its_own(BrokerKind::Nats);
}

#[test]
fn jobs_go_to_the_process_that_holds_their_prefix_on_rabbitmq() {
    each_process_does_its_own(BrokerKind::Rabbit);
}

/// All work lies with one process: the other helps out, and both are busy.
fn an_idle_process_takes_part(kind: BrokerKind) {
    let cluster = start_with_workers(kind);
    submit(&cluster, &["marketing"], 80);
    cluster.assert_exactly_once(80);
    let done = done(&cluster);
    let by_worker = &done["marketing"];
    assert_eq!(by_worker.len(), 2, "{by_worker:?}");
    assert!(by_worker[1].1 >= 15, "{by_worker:?}");
}

#[test]
fn an_idle_process_helps_out() {
    an_idle_process_takes_part(BrokerKind::Nats);
}

#[test]
fn an_idle_process_helps_out_on_rabbitmq() {
    an_idle_process_takes_part(BrokerKind::Rabbit);
}

/// What lies in the partitions of a process that is killed is served by the one that is left, its jobs at work included.
#[test]
fn a_killed_owners_jobs_are_taken_over() {
    let mut cluster = start_with_workers(BrokerKind::Nats);
    submit(&cluster, &AREAS, 10);
    cluster.wait_for("completed", 8);
    cluster.kill("worker-1");
    cluster.assert_exactly_once(80);
    // It is back, under another name, and has its share.
    cluster.start_role("worker-1");
    submit(&cluster, &AREAS, 5);
    cluster.assert_exactly_once(120);
    let workers = "SELECT count(DISTINCT worker) FROM jobs WHERE state = 'completed'";
    assert_eq!(cluster.ask(workers), "3");
}

/// A process of fewer partitions, as at the start of an upgrade, publishes to the first ones; nothing is left lying.
#[test]
fn processes_of_different_partitions_lose_nothing() {
    let mut cluster = Cluster::start(BrokerKind::Nats);
    cluster.role("producer", &["producer"], &[]);
    cluster.role("scheduler", &["scheduler"], &[]);
    cluster.role("worker-1", &["worker"], &[]);
    submit(&cluster, &AREAS, 2);
    cluster.role("worker-2", &["worker"], &SETTINGS);
    cluster.kill("worker-1");
    submit(&cluster, &AREAS, 2);
    cluster.kill("producer");
    cluster.role("producer", &["producer"], &SETTINGS);
    submit(&cluster, &AREAS, 2);
    cluster.assert_exactly_once(6 * AREAS.len() as u64);
    // And back: what was made stays served.
    submit(&cluster, &AREAS, 1);
    cluster.kill("worker-2");
    cluster.role("worker-3", &["worker"], &[]);
    cluster.assert_exactly_once(7 * AREAS.len() as u64);
}
