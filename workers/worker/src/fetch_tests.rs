use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use bul_broker::{BrokerInfo, Depth, EventFilter, Message, Payload};
use bul_job::{Event, JobId, PublishNo, TenantId};
use futures::stream::BoxStream;
use parking_lot::Mutex;

use super::*;

/// Queues in memory, and who was asked. What is dropped without an answer goes to the front.
#[derive(Default)]
struct Queues {
    jobs: Arc<Mutex<Waiting>>,
    asked: Mutex<Vec<Queue>>,
    extended: Arc<AtomicUsize>,
    is_down: AtomicBool,
}

/// Messages, each of as many jobs as it names.
type Waiting = BTreeMap<Queue, VecDeque<Vec<JobId>>>;

struct Taken {
    payload: Payload,
    from: (Queue, Vec<JobId>),
    jobs: Arc<Mutex<Waiting>>,
    extended: Arc<AtomicUsize>,
    is_answered: bool,
}

impl Drop for Taken {
    fn drop(&mut self) {
        if !self.is_answered {
            let (queue, jobs) = self.from.clone();
            self.jobs.lock().entry(queue).or_default().push_front(jobs);
        }
    }
}

#[async_trait]
impl Delivery for Taken {
    fn payload(&self) -> &Payload {
        &self.payload
    }

    fn deliveries(&self) -> u32 {
        1
    }

    async fn ack(mut self: Box<Self>) -> Result<(), BrokerError> {
        self.is_answered = true;
        Ok(())
    }

    async fn nack(self: Box<Self>, _: Duration) -> Result<(), BrokerError> {
        Ok(())
    }

    async fn extend(&self) -> Result<(), BrokerError> {
        self.extended.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

#[async_trait]
impl Broker for Queues {
    fn info(&self) -> BrokerInfo {
        let text = String::new;
        BrokerInfo {
            kind: "queues",
            version: text(),
            location: text(),
            durable: false,
            durability: text(),
            notes: Vec::new(),
        }
    }

    async fn publish(&self, _: &[Message]) -> Result<(), BrokerError> {
        Err(BrokerError::Closed)
    }

    async fn fetch_from(&self, queues: &[Queue], max: usize) -> Result<Vec<Box<dyn Delivery>>, BrokerError> {
        self.asked.lock().extend(queues);
        let (mut jobs, mut taken): (_, Vec<Box<dyn Delivery>>) = (self.jobs.lock(), Vec::new());
        for queue in queues {
            let waiting = jobs.entry(*queue).or_default();
            while taken.len() < max
                && let Some(several) = waiting.pop_front()
            {
                let message = |job: &JobId| Message {
                    job: *job,
                    tenant: TenantId::default_tenant(),
                    lane: queue.lane,
                    publish: PublishNo(1),
                };
                let payload = match several.as_slice() {
                    [job] => Payload::Ready(message(job)),
                    jobs => Payload::Bundle(jobs.iter().map(message).collect()),
                };
                let from = (*queue, several);
                let (jobs, extended) = (self.jobs.clone(), self.extended.clone());
                taken.push(Box::new(Taken { payload, from, jobs, extended, is_answered: false }));
            }
        }
        Ok(taken)
    }

    async fn publish_apart(&self, messages: &[Message]) -> Result<(), BrokerError> {
        for message in messages {
            let queue = Queue { lane: message.lane, partition: Partition::FIRST };
            self.jobs.lock().entry(queue).or_default().push_back(vec![message.job]);
        }
        Ok(())
    }

    async fn waits(&self, lane: Lane) -> Result<bool, BrokerError> {
        if self.is_down.load(Ordering::SeqCst) {
            return Err(BrokerError::Closed);
        }
        Ok(self.jobs.lock().iter().any(|(queue, waiting)| queue.lane == lane && !waiting.is_empty()))
    }

    async fn ready_in(&self, _: &[Queue]) -> Result<(), BrokerError> {
        std::future::pending().await
    }

    async fn depths(&self) -> Result<[Depth; 4], BrokerError> {
        Err(BrokerError::Closed)
    }

    async fn publish_event(&self, _: Event) -> Result<(), BrokerError> {
        Err(BrokerError::Closed)
    }

    async fn events(&self, _: EventFilter) -> Result<BoxStream<'static, Event>, BrokerError> {
        Err(BrokerError::Closed)
    }

    async fn check(&self) -> Result<(), BrokerError> {
        Ok(())
    }

    async fn close(&self) {}
}

/// A worker that owns the first of two partitions.
struct Fixture {
    queues: Queues,
    view: View,
    metrics: Metrics,
    lanes: Lanes,
}

fn partitions() -> [Partition; 2] {
    [Partition::FIRST, Partition::new(1).unwrap()]
}

fn fixture() -> Fixture {
    let registry = prometheus::Registry::new();
    let [own, other] = partitions();
    Fixture {
        queues: Queues::default(),
        view: View { own: vec![own], others: vec![other] },
        metrics: Metrics::new(&registry, bul_telemetry::breakers(&registry)),
        lanes: Lanes::default(),
    }
}

impl Fixture {
    fn put(&self, lane: Lane, partition: Partition, jobs: usize) -> BTreeSet<JobId> {
        self.put_bundles(lane, partition, jobs, 1)
    }

    fn put_bundles(&self, lane: Lane, partition: Partition, bundles: usize, of: usize) -> BTreeSet<JobId> {
        let bundle = |_| (0..of).map(|_| JobId::new()).collect();
        let new: Vec<Vec<JobId>> = (0..bundles).map(bundle).collect();
        self.queues.jobs.lock().entry(Queue { lane, partition }).or_default().extend(new.iter().cloned());
        new.into_iter().flatten().collect()
    }

    /// Jobs waiting in the queues.
    fn waiting(&self) -> usize {
        self.queues.jobs.lock().values().flatten().map(Vec::len).sum()
    }

    /// Takes jobs and does them.
    async fn fetch(&mut self, max: usize) -> Vec<JobId> {
        let taken = self.take(max).await;
        let jobs = taken.iter().map(|delivery| delivery.payload().ready().unwrap().job).collect();
        for delivery in taken {
            delivery.ack().await.unwrap();
        }
        jobs
    }

    async fn take(&mut self, max: usize) -> Vec<Box<dyn Delivery>> {
        let source =
            Source { broker: &self.queues, serves: &Lane::ALL, view: &self.view, metrics: &self.metrics };
        source.fetch(&mut self.lanes, max).await.unwrap()
    }

    fn counted(&self) -> [u64; 3] {
        ["own", "stolen", "only"].map(|how| self.metrics.taken_so_far(how))
    }
}

#[tokio::test(start_paused = true)]
async fn own_partitions_come_first() {
    let mut fixture = fixture();
    let [own, other] = partitions();
    let mine = fixture.put(Lane::Normal, own, 8);
    fixture.put(Lane::Normal, other, 8);
    let taken = fixture.fetch(8).await;
    assert!(taken.iter().all(|job| mine.contains(job)) && taken.len() == 8);
    assert_eq!(fixture.counted(), [8, 0, 0]);
}

/// A higher lane's turn is used for another's job before a lower lane of one's own has it.
#[tokio::test(start_paused = true)]
async fn lanes_go_before_partitions() {
    let mut fixture = fixture();
    let [own, other] = partitions();
    let urgent = fixture.put(Lane::Critical, other, 8);
    fixture.put(Lane::Low, own, 8);
    let taken = fixture.fetch(8).await;
    // Both lanes have work: 8 of 9 turns are the higher one's, as if all of it lay in one partition.
    assert!(taken.iter().filter(|job| urgent.contains(job)).count() >= 7, "{taken:?}");
}

/// What is still there at a look has waited; at other times owners have the first go.
#[tokio::test(start_paused = true)]
async fn an_idle_worker_helps_out_now_and_then_and_on_and_on_while_it_is_needed() {
    let mut fixture = fixture();
    let other = partitions()[1];
    assert!(fixture.fetch(4).await.is_empty(), "a look in vain, and a wait");
    let start = tokio::time::Instant::now();
    fixture.put(Lane::High, other, 9);
    fixture.queues.asked.lock().clear();
    while fixture.fetch(1).await.is_empty() {}
    assert!(start.elapsed() <= HELP_EVERY, "{:?}", start.elapsed());
    let helped = tokio::time::Instant::now();
    for _ in 0..8 {
        assert_eq!(fixture.fetch(1).await.len(), 1);
    }
    assert_eq!(helped.elapsed(), Duration::ZERO, "its owner has more than it can do");
    assert_eq!(fixture.counted(), [0, 9, 0]);
}

/// What found no slot is taken before the broker is asked again, and then as many messages as hold what is wanted.
#[tokio::test(start_paused = true)]
async fn a_bundle_is_used_up_before_the_next_is_asked_for() {
    let mut fixture = fixture();
    fixture.view = View::alone(1);
    let mut left = fixture.put_bundles(Lane::Normal, Partition::FIRST, 8, 16);
    for (wanted, waiting) in [(1, 112), (10, 112), (5, 112), (4, 96)] {
        let taken = fixture.fetch(wanted).await;
        assert_eq!((taken.len(), fixture.waiting()), (wanted, waiting));
        assert!(taken.iter().all(|job| left.remove(job)));
    }
    // The mean is known a little better with each fetch.
    let taken = fixture.fetch(44).await;
    assert_eq!(taken.len(), 44);
    assert!(taken.iter().all(|job| left.remove(job)));
    assert!(fixture.waiting() >= 32, "far more than is wanted was taken: {}", fixture.waiting());
    while let Some(job) = fixture.fetch(1).await.pop() {
        assert!(left.remove(&job));
        if left.is_empty() {
            break;
        }
    }
    assert!(left.is_empty() && fixture.waiting() == 0);
}

impl Fixture {
    async fn wait(&mut self, ms: u64) {
        let wait = tokio::time::sleep(Duration::from_millis(ms));
        self.lanes.stock.during(&self.queues, wait).await;
    }
}

async fn ack(jobs: Vec<Box<dyn Delivery>>) {
    for job in jobs {
        job.ack().await.unwrap();
    }
}

/// One worker that alone has sixteen jobs and one slot: whoever is idle shall have the others.
#[tokio::test(start_paused = true)]
async fn what_finds_no_slot_is_handed_on_singly_where_nothing_else_waits() {
    let mut fixture = fixture();
    fixture.view = View::alone(1);
    let mut left = fixture.put_bundles(Lane::Normal, Partition::FIRST, 1, 16);
    let running = fixture.take(1).await;
    fixture.wait(40).await;
    assert_eq!(fixture.waiting(), 0, "a slot may come free");
    fixture.wait(20).await;
    assert_eq!(fixture.waiting(), 15);
    assert!(fixture.queues.jobs.lock().values().flatten().all(|message| message.len() == 1));
    left.remove(&running[0].payload().ready().unwrap().job);
    ack(running).await;
    for job in fixture.fetch(16).await {
        assert!(left.remove(&job));
    }
    assert!(left.is_empty() && fixture.waiting() == 0, "the message itself is done with");
}

/// The lane has work for everybody: what came first stays first, however long the jobs take, and shows life meanwhile.
#[tokio::test(start_paused = true)]
async fn what_finds_no_slot_stays_in_its_place_while_others_have_work() {
    let mut fixture = fixture();
    fixture.view = View::alone(1);
    let all = fixture.put_bundles(Lane::Normal, Partition::FIRST, 2, 16);
    let running = fixture.take(1).await;
    fixture.wait(60_000).await;
    assert_eq!(fixture.waiting(), 16, "the second message");
    assert!(fixture.queues.extended.load(Ordering::SeqCst) >= 1);
    ack(running).await;
    let first = fixture.fetch(15).await;
    assert_eq!(fixture.waiting(), 16);
    let second = fixture.fetch(16).await;
    let done: BTreeSet<JobId> = first.into_iter().chain(second).collect();
    assert_eq!((done.len(), all.is_superset(&done)), (31, true));
}

/// Slots come free often enough, but others may have nothing to do.
#[tokio::test(start_paused = true)]
async fn what_is_left_of_a_bundle_is_handed_on_after_a_second() {
    let mut fixture = fixture();
    fixture.view = View::alone(1);
    fixture.put_bundles(Lane::Normal, Partition::FIRST, 1, 64);
    for _ in 0..23 {
        let running = fixture.take(1).await;
        assert_eq!((running.len(), fixture.waiting()), (1, 0));
        ack(running).await;
        fixture.wait(45).await;
    }
    assert_eq!(fixture.waiting(), 64 - 23);
}

/// Whoever may not begin anything, or does not know whether others idle, keeps nothing.
#[tokio::test(start_paused = true)]
async fn what_finds_no_slot_goes_back_whole_otherwise() {
    for is_down in [true, false] {
        let mut fixture = fixture();
        fixture.view = View::alone(1);
        fixture.put_bundles(Lane::Normal, Partition::FIRST, 1, 16);
        fixture.queues.is_down.store(is_down, Ordering::SeqCst);
        let running = fixture.take(1).await;
        match is_down {
            true => fixture.wait(60).await,
            false => fixture.lanes.stock.give_back(),
        }
        assert_eq!(fixture.waiting(), 16);
        ack(running).await;
        assert_eq!(fixture.waiting(), 16);
    }
}

/// The broker would know what it has published singly before, and drop it.
#[tokio::test(start_paused = true)]
async fn what_came_singly_goes_back_as_it_came() {
    let mut fixture = fixture();
    fixture.view = View::alone(1);
    fixture.put_bundles(Lane::Normal, Partition::FIRST, 1, 4);
    fixture.put(Lane::Normal, Partition::FIRST, 1);
    // Two messages for two jobs, of which they hold five.
    let running = fixture.take(2).await;
    assert_eq!((running.len(), fixture.waiting()), (2, 0));
    fixture.wait(60).await;
    assert_eq!(fixture.waiting(), 3);
    let front = fixture.queues.jobs.lock().values().flatten().next().cloned();
    ack(running).await;
    let mut again = fixture.fetch(3).await;
    assert_eq!(again.len(), 3);
    assert!(front.is_some_and(|front| again.contains(&front[0])));
    again.sort();
    again.dedup();
    assert_eq!((again.len(), fixture.waiting()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn whoever_is_alone_serves_everything() {
    let mut fixture = fixture();
    fixture.view = View::alone(2);
    partitions().into_iter().for_each(|partition| drop(fixture.put(Lane::Low, partition, 3)));
    assert_eq!(fixture.fetch(9).await.len(), 6);
    assert_eq!(fixture.counted(), [0, 0, 6]);
}

#[test]
fn partitions_take_turns_at_being_first() {
    let own: Vec<Partition> = Partition::all(3).collect();
    let order = |turn| queues(Lane::High, &own, turn).map(|q| q.partition.number()).collect::<Vec<_>>();
    assert_eq!((order(0), order(1), order(5)), (vec![0, 1, 2], vec![1, 2, 0], vec![2, 0, 1]));
    assert_eq!(queues(Lane::High, &[], 7).count(), 0);
}
