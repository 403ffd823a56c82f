//! The broker on RabbitMQ: one durable quorum queue per partition of a lane, publisher confirms, and a supervisor
//! that rebuilds connection, channels, queues and consumers for as long as it takes.
//!
//! Needs nothing newer than RabbitMQ 3.10, and no plugin. Two connections: jobs and events out, jobs
//! and events in. What lies in this process is bounded by [`Options::prefetch`] per queue. Second
//! publications are dropped within this process only: what counts is the fence in the store. Passes
//! the suite `bul_broker::conformance` on a real server. Its own queues a process consumes; in others' partitions it helps out by
//! `basic.get`, since a consumer hoards what it is sent.

mod acks;
mod delivery;
mod demand;
mod events;
mod feed;
mod fetch;
mod held;
mod incarnation;
mod lane;
mod line;
mod message;
mod options;
mod publish;
mod recent;
mod server;
mod topology;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8};

use async_trait::async_trait;
use bul_broker::{Broker, BrokerError, BrokerInfo, Delivery, Depth, EventFilter, Message};
use bul_job::{Event, Lane, Queue};
use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use lapin::Channel;
use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use acks::Acks;
use delivery::Answer;
use demand::Demand;
use events::Outbox;
use feed::Feed;
use held::Held;
use line::{Line, Recipe, Role};
use options::LISTENERS_MAX;
use publish::Publishers;
use recent::Recent;
use server::{Places, Server};
use topology::{Names, TopologyError, within};

pub use options::{HOARD_MAX, NACK_DELAY_MAX, OpenError, Options, RECENT_FOR};

/// What a confirmed publication survives.
const DURABILITY: &str = "confirmed = written and synced to disk by a majority of the quorum queue's replicas; \
    on a single node that is this node's disk";

/// The broker. Clones share it; when the last is dropped, its tasks and connections end.
#[derive(Clone)]
pub struct RabbitBroker {
    shared: Arc<Shared>,
    _open: Arc<DropGuard>,
}

/// What the broker's parts share.
struct Shared {
    options: Options,
    recipe: Arc<Recipe>,
    publishing: Line,
    consuming: Line,
    held: Mutex<Held<Answer>>,
    /// Partitions of each lane, as at opening.
    partitions: u8,
    /// By [`Feed::index`].
    demands: Vec<Demand>,
    /// Acknowledgements of the channel that each feed uses, or used last.
    acks: Vec<Mutex<Option<Arc<Acks>>>>,
    /// Woken when a message has arrived, or a consumer started or ended.
    changed: Notify,
    /// Woken when a deadline may be nearer than the timer knows.
    earlier: Notify,
    recent: Arc<Mutex<Recent>>,
    publishers: Publishers,
    outbox: Outbox,
    listeners: Arc<Semaphore>,
    /// The server's incarnation as last read.
    incarnation: Mutex<Option<String>>,
    /// Whether a failed publication has set off a look for missing queues.
    is_mending: AtomicBool,
    closed: CancellationToken,
    tasks: TaskTracker,
}

impl RabbitBroker {
    /// Connects, makes what is missing on the server, and keeps the connections from then on. The URL names one server
    /// or, joined by commas, several of a cluster.
    pub fn open<'a>(url: &'a str, options: Options) -> BoxFuture<'a, Result<Self, OpenError>> {
        async move {
            options.check()?;
            let recipe = Arc::new(Recipe {
                places: Places::parse(url, &options)?,
                name: options.name.clone(),
                partitions: AtomicU8::new(options.partitions),
                names: Names::new(&options.prefix),
                call_timeout: options.call_timeout,
                server: Mutex::new(Server { product: "unknown".into(), version: "unknown".into() }),
            });
            let publishing = recipe.connect(Role::Publishes).await?;
            let consuming = recipe.connect(Role::Consumes).await?;
            let partitions = recipe.partitions();
            let (closed, tasks) = (CancellationToken::new(), TaskTracker::new());
            let recent = Arc::new(Mutex::new(Recent::new(options.recent_max, RECENT_FOR)));
            let forget = {
                let recent = Arc::clone(&recent);
                // A server that was away may have lost everything.
                move || recent.lock().forget()
            };
            let keep = |role, first, on_up| {
                Line::keep(Arc::clone(&recipe), role, first, closed.clone(), &tasks, on_up)
            };
            let consuming = keep(Role::Consumes, consuming, Box::new(forget.clone()) as line::OnUp);
            let publishing = keep(Role::Publishes, publishing, Box::new(forget));
            let shared = Arc::new(Shared {
                recipe,
                publishing,
                consuming,
                held: Mutex::new(Held::new(partitions)),
                partitions,
                demands: Feed::all(partitions).map(|_| Demand::default()).collect(),
                acks: Feed::all(partitions).map(|_| Mutex::default()).collect(),
                changed: Notify::new(),
                earlier: Notify::new(),
                recent,
                publishers: Publishers::new(),
                outbox: Outbox::new(),
                listeners: Arc::new(Semaphore::new(LISTENERS_MAX)),
                incarnation: Mutex::new(None),
                is_mending: AtomicBool::new(false),
                closed: closed.clone(),
                tasks,
                options,
            });
            shared.start();
            info!(broker.location = shared.recipe.places.location(), "connected to RabbitMQ");
            Ok(Self { shared, _open: Arc::new(closed.drop_guard()) })
        }
        .boxed()
    }
}

impl Shared {
    fn start(self: &Arc<Self>) {
        for feed in Feed::all(self.partitions) {
            let shared = Arc::clone(self);
            self.until_closed(async move { lane::run(&shared, feed).await });
        }
        let shared = Arc::clone(self);
        self.until_closed(async move { delivery::keep_time(&shared).await });
        let shared = Arc::clone(self);
        self.until_closed(async move { events::run(&shared).await });
    }

    fn until_closed(&self, work: impl Future<Output = ()> + Send + 'static) {
        let closed = self.closed.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = closed.cancelled() => {}
                () = work => {}
            }
        });
    }

    fn demand(&self, feed: Feed) -> &Demand {
        &self.demands[feed.index(self.partitions)]
    }

    /// Messages that the feed's consumer may have in this process.
    fn prefetch(&self, feed: Feed) -> u16 {
        self.demand(feed).prefetch(self.options.prefetch, self.partitions > 1)
    }

    fn acks(&self, feed: Feed) -> &Mutex<Option<Arc<Acks>>> {
        &self.acks[feed.index(self.partitions)]
    }

    fn open(&self) -> Result<(), BrokerError> {
        if self.closed.is_cancelled() { Err(BrokerError::Closed) } else { Ok(()) }
    }

    /// A channel for a look at queues, which closes when one is missing.
    async fn looking_channel(&self) -> Result<Channel, BrokerError> {
        let connection = self.consuming.get().await?;
        within(self.options.call_timeout, connection.create_channel()).await.map_err(unavailable)
    }

    /// Makes what is missing on a server that is there.
    async fn mend(&self) {
        let made = async {
            let connection = self.publishing.get().await.map_err(|error| error.to_string())?;
            let server = self.recipe.server.lock().clone();
            let wanted = (self.recipe.partitions(), self.options.call_timeout);
            topology::make(&connection, &self.recipe.names, &server, wanted)
                .await
                .map(|made| made.is_new)
                .map_err(|error| error.to_string())
        };
        match made.await {
            Ok(false) => {}
            Ok(true) => {
                warn!("queues were missing on RabbitMQ and were made again");
                self.recent.lock().forget();
            }
            Err(error) => warn!(error, "queues cannot be made on RabbitMQ"),
        }
    }
}

fn unavailable(error: TopologyError) -> BrokerError {
    BrokerError::Unavailable(error.to_string())
}

#[async_trait]
impl Broker for RabbitBroker {
    fn info(&self) -> BrokerInfo {
        let shared = &self.shared;
        let server = shared.recipe.server.lock().clone();
        BrokerInfo {
            kind: "rabbitmq",
            version: format!("{} {}", server.product, server.version),
            location: shared.recipe.places.location(),
            durable: true,
            durability: DURABILITY.into(),
            notes: server.notes(&shared.options, shared.partitions),
        }
    }

    async fn publish(&self, messages: &[Message]) -> Result<(), BrokerError> {
        self.shared.open()?;
        publish::publish(&self.shared, messages).await
    }

    async fn publish_apart(&self, messages: &[Message]) -> Result<(), BrokerError> {
        self.shared.open()?;
        publish::publish_apart(&self.shared, messages).await
    }

    /// On the server, or in a buffer here, which goes back a second after the last who asked: what came before it keeps its place.
    async fn waits(&self, lane: Lane) -> Result<bool, BrokerError> {
        let shared = &self.shared;
        shared.open()?;
        if Queue::of(lane, shared.partitions).any(|queue| shared.held.lock().has(Feed::Queue(queue))) {
            return Ok(true);
        }
        let channel = shared.looking_channel().await?;
        for queue in Queue::of(lane, shared.partitions) {
            if lane::depth_on(shared, &channel, queue).await.map_err(unavailable)? > 0 {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn partitions(&self) -> u8 {
        self.shared.partitions
    }

    async fn fetch_from(&self, queues: &[Queue], max: usize) -> Result<Vec<Box<dyn Delivery>>, BrokerError> {
        self.shared.open()?;
        fetch::fetch(&self.shared, queues, max).await
    }

    async fn help_from(&self, queues: &[Queue], max: usize) -> Result<Vec<Box<dyn Delivery>>, BrokerError> {
        self.shared.open()?;
        fetch::help(&self.shared, queues, max).await
    }

    async fn ready_in(&self, queues: &[Queue]) -> Result<(), BrokerError> {
        fetch::ready(&self.shared, queues).await
    }

    async fn depths(&self) -> Result<[Depth; 4], BrokerError> {
        let shared = &self.shared;
        shared.open()?;
        let channel = shared.looking_channel().await?;
        let mut depths = [Depth::default(); 4];
        for queue in Queue::all(shared.partitions) {
            let on_server = lane::depth_on(shared, &channel, queue).await.map_err(unavailable)?;
            depths[queue.lane.index()].ready += u64::from(on_server);
        }
        let held = shared.held.lock();
        for feed in Feed::all(shared.partitions) {
            let (here, depth) = (held.count(feed), &mut depths[feed.lane().index()]);
            // What others hold is not told to clients; what lies in a buffer waits all the same.
            depth.ready += (here.buffered + here.delayed) as u64;
            depth.unacked += here.in_hand as u64;
        }
        Ok(depths)
    }

    async fn incarnation(&self) -> Result<String, BrokerError> {
        let shared = &self.shared;
        shared.open()?;
        let (limit, names) = (shared.options.call_timeout, &shared.recipe.names);
        let id = match incarnation::read(&*shared.consuming.get().await?, names, limit).await? {
            Some(id) => id,
            // The queue was deleted or purged: what else was, nobody knows.
            None => incarnation::replace(&*shared.publishing.get().await?, names, limit).await?,
        };
        let last = shared.incarnation.lock().replace(id.clone());
        if last.is_some_and(|last| last != id) {
            // Another process may have made the queues again; what they held must be publishable.
            shared.recent.lock().forget();
        }
        Ok(id)
    }

    async fn publish_event(&self, event: Event) -> Result<(), BrokerError> {
        self.shared.open()?;
        self.shared.outbox.post(event, self.shared.options.events_max as usize);
        Ok(())
    }

    async fn events(&self, filter: EventFilter) -> Result<BoxStream<'static, Event>, BrokerError> {
        self.shared.open()?;
        events::listen(&self.shared, filter).await
    }

    async fn check(&self) -> Result<(), BrokerError> {
        self.shared.open()?;
        self.shared.publishing.get().await?;
        if self.shared.publishing.is_blocked() {
            return Err(publish::alarm());
        }
        self.depths().await.map(drop)
    }

    async fn close(&self) {
        let shared = &self.shared;
        // What cannot be written is delivered again, and the store knows it.
        let acks: Vec<Arc<Acks>> = shared.acks.iter().filter_map(|acks| acks.lock().clone()).collect();
        futures::future::join_all(acks.iter().map(|acks| acks.flush())).await;
        shared.closed.cancel();
        shared.changed.notify_waiters();
        shared.tasks.close();
        // Each task ends within its call; the connections close last.
        let _ = tokio::time::timeout(shared.options.call_timeout, shared.tasks.wait()).await;
    }
}
