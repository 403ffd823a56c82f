//! Pulling work, step for step as in `workers/worker/src`: pull.rs and gate.rs.

use std::cell::Cell;
use std::rc::Rc;

use bul_job::{Lane, LaneWheel};

use crate::broker::{BrokerError, Delivery};
use crate::clock::Ms;
use crate::company::Company;
use crate::exec::TaskId;
use crate::mutants::Mutant;
use crate::proc::{Proc, all, race, until};
use crate::worker;

/// Pause after a broker error.
const BROKER_PAUSE: Ms = 500;
/// How long a lane may take to say what it has.
const LANE_WAIT: Ms = 1_500;
/// How long a lane that failed is left alone.
const LANE_PAUSE: Ms = 4_000;
/// Longest wait for work before all lanes are asked again. The product's is shorter; only the number of
/// events depends on it.
const READY_WAIT: Ms = 15_000;
/// How often a dependency that is down is asked whether it is back. The product's is shorter.
const GATE_LOOK: Ms = 1_000;
/// Failures in a row that close the gate in front of the store.
const GATE_FAILURES: u32 = 3;
/// How long it is closed at first, and at most.
const GATE_CLOSED: (Ms, Ms) = (500, 2_000);

/// What the tasks of one worker share.
#[derive(Default)]
pub struct Worker {
    free: Cell<usize>,
    puller: Cell<TaskId>,
    /// Who works beside whom.
    pub company: Rc<Company>,
    /// The circuit breaker in front of the store.
    pub gate: Gate,
}

/// Closed after some failures in a row, for longer each time; a success opens it.
#[derive(Default)]
pub struct Gate {
    failures: Cell<u32>,
    closed_until: Cell<Ms>,
}

impl Gate {
    /// How long no call should be made.
    pub fn closed_for(&self, now: Ms) -> Option<Ms> {
        self.closed_until.get().checked_sub(now).filter(|wait| *wait > 0)
    }

    /// How a call ended.
    pub fn record(&self, now: Ms, is_down: bool) {
        self.failures.set(if is_down { self.failures.get() + 1 } else { 0 });
        if let Some(more) = self.failures.get().checked_sub(GATE_FAILURES) {
            self.closed_until.set(now + (GATE_CLOSED.0 << more.min(4)).min(GATE_CLOSED.1));
        }
    }
}

/// A slot in use.
pub struct Slot {
    /// Whose.
    pub worker: Rc<Worker>,
    proc: Proc,
}

impl Slot {
    fn take(worker: &Rc<Worker>, proc: &Proc) -> Self {
        worker.free.set(worker.free.get() - 1);
        Self { worker: worker.clone(), proc: proc.clone() }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.worker.free.set(self.worker.free.get() + 1);
        self.proc.sim.wake(self.worker.puller.get());
    }
}

/// Runs until the process is asked to stop and the attempts in hand have ended.
pub async fn run(p: Proc, served: Vec<Lane>) {
    let worker = Rc::new(Worker::default());
    let slots = p.sim.scenario().slots;
    worker.free.set(slots);
    worker.puller.set(p.sim.current());
    worker.company.tell(p.sim.current());
    let mut lanes = Lanes::default();
    while !p.is_halting() {
        if worker.free.get() == 0 || !worker.company.is_open() {
            until(|| worker.free.get() > 0 && worker.company.is_open() || p.is_halting()).await;
            continue;
        }
        let now = p.sim.now();
        let model = p.sim.world(|w| w.is_model_down(now)).then_some(GATE_LOOK);
        if let Some(wait) = model.or_else(|| worker.gate.closed_for(now)) {
            race(p.sleep(wait.min(GATE_LOOK)), p.halted()).await;
            continue;
        }
        let seen = p.sim.arrivals();
        match fetch(&p, &mut lanes, &served, worker.free.get()).await {
            Ok(taken) if taken.is_empty() => {
                p.sim.wait_for_messages();
                race(p.sleep(READY_WAIT), until(|| p.sim.arrivals() > seen || p.is_halting())).await;
            }
            Ok(taken) if p.is_halting() => {
                p.sim.world(|w| taken.into_iter().for_each(|delivery| w.broker.give_back(delivery)));
            }
            Ok(taken) => {
                for delivery in taken {
                    let slot = Slot::take(&worker, &p);
                    p.spawn(worker::attempt(p.clone(), delivery, slot));
                }
            }
            Err(_) => p.sleep(BROKER_PAUSE).await,
        }
    }
    until(|| worker.free.get() == slots).await;
    p.sim.exit(p.pid);
}

/// Whose turn it is, and which lanes are left alone.
#[derive(Default)]
struct Lanes {
    wheel: LaneWheel,
    until: [Ms; Lane::ALL.len()],
}

impl Lanes {
    fn healthy(&self, served: &[Lane], now: Ms) -> Vec<Lane> {
        let healthy: Vec<Lane> =
            served.iter().copied().filter(|lane| self.until[lane.index()] <= now).collect();
        // With none left the broker itself is away; then all of them are asked.
        if healthy.is_empty() { served.to_vec() } else { healthy }
    }

    /// How many messages each lane is asked for, by weight.
    fn share(&mut self, open: &[Lane], max: usize, strict: bool) -> Vec<(Lane, usize)> {
        let mut turns = [0; Lane::ALL.len()];
        for _ in 0..max {
            let chosen =
                if strict { open.first().copied() } else { self.wheel.choose(|lane| open.contains(&lane)) };
            if let Some(lane) = chosen {
                turns[lane.index()] += 1;
            }
        }
        let asked = Lane::ALL.into_iter().map(|lane| (lane, turns[lane.index()]));
        asked.filter(|(_, turns)| *turns > 0).collect()
    }
}

/// Up to `max` messages, shared among the lanes by weight; what one lane lacks the others get. The lanes are
/// asked side by side, and one that does not answer is left alone for a while.
async fn fetch(
    p: &Proc,
    lanes: &mut Lanes,
    served: &[Lane],
    max: usize,
) -> Result<Vec<Delivery>, BrokerError> {
    let mut open = lanes.healthy(served, p.sim.now());
    let (mut taken, mut failure) = (Vec::new(), None);
    while taken.len() < max && !open.is_empty() {
        let strict = p.sim.is(Mutant::StrictPriority);
        let asked = lanes.share(&open, max - taken.len(), strict);
        let answers = all(asked.into_iter().map(|(lane, wanted)| ask(p, lane, wanted)).collect()).await;
        for (lane, wanted, got) in answers {
            match got {
                Ok(got) => {
                    if got.len() < wanted {
                        open.retain(|other| *other != lane);
                    }
                    taken.extend(got);
                }
                Err(error) => {
                    open.retain(|other| *other != lane);
                    lanes.until[lane.index()] = p.sim.now() + LANE_PAUSE;
                    failure = Some(error);
                }
            }
        }
    }
    match failure {
        Some(error) if taken.is_empty() => Err(error),
        Some(_) | None => Ok(taken),
    }
}

/// One lane. What it hands out after the wait comes back to it when its time to acknowledge is over.
async fn ask(p: &Proc, lane: Lane, wanted: usize) -> (Lane, usize, Result<Vec<Delivery>, BrokerError>) {
    let by = p.pid;
    let got = p.broker(("fetch", 0), move |b, f, now| Ok(b.fetch(f, now, by, lane, wanted)));
    let silent = async {
        p.sleep(LANE_WAIT).await;
        Err(BrokerError::Unavailable)
    };
    (lane, wanted, race(got, silent).await)
}
