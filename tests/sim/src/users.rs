//! Users and programs outside: they submit, repeat what was not answered, cancel, and publish straight
//! onto the broker. Nothing befalls them; what befalls their calls does.

use std::cell::Cell;
use std::rc::Rc;

use crate::broker::Carry;
use crate::clock::Ms;
use crate::exec::{Role, Sim};
use crate::proc::{Proc, race, until};
use crate::producer::{self, Reply};
use crate::store_types::{Accepted, Body, Key, NewJob, StoreError};

/// How long a user waits for an answer.
const PATIENCE: Ms = 12_000;
/// Tries of a cancellation.
const CANCEL_TRIES: u32 = 4;
/// Time between two jobs of the traffic: shorter than a job, so that the broker is never empty.
const TRAFFIC_EVERY: Ms = 400;

impl Sim {
    /// Starts an errand: the run is not over before it is done.
    pub fn spawn_errand(&self, outside: &Proc, work: impl Future<Output = ()> + 'static) {
        self.world(|w| w.open_errands += 1);
        let sim = self.clone();
        self.spawn(outside.pid, async move {
            work.await;
            sim.world(|w| w.open_errands -= 1);
        });
    }
}

/// Submits a batch, and repeats it under the same keys until it is answered; without keys only once.
pub async fn submit(p: Proc, at: Ms, tenant: usize, key: Option<u32>, bodies: Vec<Body>) {
    p.sleep(at).await;
    loop {
        let job = |(place, body): (usize, &Body)| NewJob {
            id: p.sim.world(|w| w.new_id()),
            tenant,
            key: key.map(|key| Key::User(key + place as u32)),
            body: *body,
        };
        let jobs: Vec<NewJob> = bodies.iter().enumerate().map(job).collect();
        match ask(&p, jobs).await {
            Some(Ok(answers)) => {
                return p.sim.world(|w| {
                    for answer in answers {
                        if let Accepted::New(id, _) | Accepted::Existing(id) = answer {
                            w.rules.promise(id);
                        }
                    }
                });
            }
            _ if key.is_none() => return,
            _ => p.sleep(1_000).await,
        }
    }
}

/// One request to some producer; `None` when no answer comes.
async fn ask(p: &Proc, jobs: Vec<NewJob>) -> Option<Result<Vec<Accepted>, StoreError>> {
    let producers = [Role::Producer, Role::Everything].map(|role| p.sim.of_role(role)).concat();
    let chosen = p.sim.faults(|f| f.between(0, producers.len() as u64 - 1)) as usize;
    let pid = producers[chosen];
    if !p.sim.process(pid, |process| process.up) {
        return None;
    }
    let reply: Reply = Rc::new(Cell::new(None));
    let waiting = p.sim.current();
    let (sim, to) = (p.sim.clone(), reply.clone());
    let there = Proc { sim: p.sim.clone(), pid };
    let answered = Rc::new(Cell::new(false));
    let heard = answered.clone();
    p.sim.spawn(pid, async move {
        producer::submit(there, jobs, to).await;
        heard.set(true);
        sim.wake(waiting);
    });
    race(until(|| answered.get()), p.sleep(PATIENCE)).await;
    let now = p.sim.now();
    let is_lost = p.sim.faults(|f| {
        let lost = f.rates().answer_lost;
        f.happens(lost, now, "reply lost")
    });
    if is_lost { None } else { reply.take() }
}

/// Cancels a job that some user was told of.
pub async fn cancel(p: Proc, at: Ms) {
    p.sleep(at).await;
    let known = p.sim.world(|w| w.rules.promised());
    if known.is_empty() {
        return;
    }
    let job = known[p.sim.faults(|f| f.between(0, known.len() as u64 - 1)) as usize];
    for _ in 0..CANCEL_TRIES {
        match p.store(("cancel", job), move |s, now| s.cancel(now, job)).await {
            Err(StoreError::Unavailable) => p.sleep(500).await,
            Ok(()) | Err(_) => return,
        }
    }
}

/// Publishes a job, or nonsense, straight onto the broker, until the broker confirms it.
pub async fn publish(p: Proc, at: Ms, number: u32, body: Option<Body>) {
    p.sleep(at).await;
    let lane = body.map(|body| body.lane).unwrap_or_default();
    let carry = Carry::Foreign(number, body);
    while p.broker(("publish", 0), move |b, f, now| b.publish_one(f, now, lane, carry)).await.is_err() {
        p.sleep(2_000).await;
    }
}

/// Submits for ever.
pub async fn traffic(p: Proc, body: Body) {
    loop {
        p.sleep(TRAFFIC_EVERY).await;
        let id = p.sim.world(|w| w.new_id());
        let _ = ask(&p, vec![NewJob { id, tenant: 0, key: None, body }]).await;
    }
}
