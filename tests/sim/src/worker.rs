//! An attempt, step for step as in `workers/worker/src`: attempt.rs, heartbeat.rs, outcome.rs.
//!
//! ```text
//! fence → produce (while the lease holds) → commit → ack
//! ```

use std::time::Duration;

use bul_job::{Failure, FailureClass};

use crate::broker::{Carry, Delivery};
use crate::clock::Ms;
use crate::company::Place;
use crate::mutants::Mutant;
use crate::proc::{Proc, race};
use crate::producer;
use crate::pull::{Gate, Slot};
use crate::store_types::{Attempt, Begin, Nature, StoreError};

/// Lease of an attempt.
pub const LEASE: Duration = Duration::from_secs(30);
/// Longest time between two signs of life. The product's is shorter; the lease is what matters.
const HEARTBEAT: Ms = 5_000;
/// Longest attempt.
const ATTEMPT_MAX: Ms = 240_000;
/// Waits between tries to record an outcome.
const RECORD_WAITS: [Ms; 5] = [50, 200, 800, 2_000, 4_000];
/// Wait before a message is handed out again when the store did not answer.
const BEGIN_AGAIN: Ms = 2_000;

/// Why an attempt ended without its documents.
#[derive(Debug, Clone)]
enum Stop {
    Failed(FailureClass),
    Cancelled,
    Fenced,
    Halting,
    /// Nothing was tried: the model is down, or another attempt must be alone.
    Paused,
}

enum Fence {
    Run(Attempt),
    Nothing,
    Unknown,
}

/// A failure as workers report them.
pub fn failure(class: FailureClass) -> Failure {
    Failure { class, code: String::new(), message: String::new(), retry_after_ms: None }
}

/// Runs the job of a message to an outcome that the store has recorded, then answers the message.
pub async fn attempt(p: Proc, delivery: Delivery, slot: Slot) {
    let job = match delivery.carry {
        Carry::Ready(job, _) => job,
        Carry::Foreign(message, body) => {
            return match producer::adopt(&p, message, body).await {
                Ok(()) => answer(&p, delivery).await,
                Err(_) => give_back(&p, delivery).await,
            };
        }
    };
    if p.sim.is(Mutant::AckBeforeCommit) {
        answer(&p, delivery).await;
    }
    // Whoever has not begun does not vanish with the one that must be alone.
    let Some(mut place) = slot.worker.company.join(&p) else { return give_back(&p, delivery).await };
    let attempt = match fence(&p, &slot.worker.gate, job).await {
        Fence::Run(attempt) => attempt,
        Fence::Nothing => return answer(&p, delivery).await,
        Fence::Unknown if p.sim.is(Mutant::AckOnNoAnswer) => return answer(&p, delivery).await,
        Fence::Unknown => return give_back(&p, delivery).await,
    };
    let result = produce_while_alive(&p, attempt, delivery, &mut place).await;
    commit(&p, attempt, result).await;
    answer(&p, delivery).await;
}

async fn fence(p: &Proc, gate: &Gate, job: u32) -> Fence {
    if gate.closed_for(p.sim.now()).is_some() {
        return Fence::Unknown;
    }
    let begun = p.store(("begin", job), move |s, now| s.begin(now, job, LEASE)).await;
    gate.record(p.sim.now(), matches!(begun, Err(StoreError::Unavailable)));
    match begun {
        Ok(Begin::Run(attempt)) => {
            p.sim.world(|w| w.rules.started(job, attempt.attempt));
            Fence::Run(attempt)
        }
        Ok(Begin::Skip(state)) => {
            p.sim.note(|| format!("job {job} is {state}: nothing to do"));
            p.sim.faults(|f| f.count("skipped"));
            Fence::Nothing
        }
        Err(StoreError::NotFound) => Fence::Nothing,
        Err(_) => Fence::Unknown,
    }
}

/// The work itself, for as long as the lease holds, the user wants it, and the process lives on.
async fn produce_while_alive(
    p: &Proc,
    a: Attempt,
    delivery: Delivery,
    place: &mut Place,
) -> Result<(), Stop> {
    let work = async {
        if a.alone && !place.clear().await {
            return Err(Stop::Paused);
        }
        let timeout = async {
            p.sleep(ATTEMPT_MAX).await;
            Err(Stop::Failed(FailureClass::Transient))
        };
        race(produce(p, a), timeout).await
    };
    let heartbeat = async { Err(heartbeat(p, a, delivery).await) };
    let halting = async {
        p.halted().await;
        Err(Stop::Halting)
    };
    race(work, race(heartbeat, halting)).await
}

/// Plan, generate, write: three awaits and an ending that is the job's nature.
async fn produce(p: &Proc, a: Attempt) -> Result<(), Stop> {
    let third = a.body.work_ms / 3;
    p.sleep(third).await;
    let now = p.sim.now();
    if p.sim.world(|w| w.is_model_down(now)) {
        p.sim.faults(|f| f.count("paused"));
        return Err(Stop::Paused);
    }
    p.sleep(third).await;
    match a.body.nature {
        Nature::Poison => {
            p.sim.world(|w| {
                let rules = *w.store.rules();
                w.rules.kills(a.job, a.attempt, &rules);
            });
            p.sim.crash(p.pid, "by a poison job");
            return std::future::pending().await;
        }
        Nature::Broken => return Err(Stop::Failed(FailureClass::Permanent)),
        Nature::Deadly => return Err(Stop::Failed(FailureClass::Poison)),
        Nature::Flaky(times) if a.failures < times => return Err(Stop::Failed(FailureClass::Transient)),
        Nature::Flaky(_) | Nature::Good => {}
    }
    p.sleep(third).await;
    Ok(())
}

/// Extends the lease and the delivery; returns only when the attempt must stop.
async fn heartbeat(p: &Proc, a: Attempt, delivery: Delivery) -> Stop {
    let (job, attempt) = (a.job, a.attempt);
    let lease_ms = LEASE.as_millis() as Ms;
    let mut good_until = p.sim.now() + lease_ms;
    loop {
        p.sleep(HEARTBEAT).await;
        match p.store(("extend", job), move |s, now| s.extend(now, job, attempt, LEASE)).await {
            Ok(true) => return Stop::Cancelled,
            Ok(false) => good_until = p.sim.now() + lease_ms,
            Err(error) if error.is_fenced() => return Stop::Fenced,
            Err(error) if error.is_transient() && p.sim.now() < good_until => {}
            // Whoever cannot show a lease must not go on: another may hold it.
            Err(_) => return Stop::Fenced,
        }
        let extended = p.broker(("extend", job), move |b, _, now| {
            b.extend(delivery, now);
            Ok(())
        });
        // Harmless if not: a second delivery finds the job running and is dropped.
        let _ = extended.await;
    }
}

/// Records the outcome, trying again while the store is away.
async fn commit(p: &Proc, a: Attempt, result: Result<(), Stop>) {
    if let Err(Stop::Failed(_)) = result {
        p.sim.world(|w| w.rules.fails(a.job));
    }
    if p.sim.is(Mutant::DocumentsBefore) && result.is_ok() {
        let (job, attempt, formats) = (a.job, a.attempt, a.body.formats);
        let _ = p.store(("documents", job), move |s, _| s.put_documents(job, attempt, formats)).await;
    }
    let mut waits = RECORD_WAITS.iter();
    loop {
        match record(p, a, &result).await {
            Ok(()) => return,
            Err(error) if error.is_fenced() => return p.sim.faults(|f| f.count("fenced")),
            Err(error) if error.is_transient() => match waits.next() {
                Some(wait) => p.sleep(*wait).await,
                None => return p.sim.faults(|f| f.count("unrecorded")),
            },
            Err(_) => return p.sim.faults(|f| f.count("unrecorded")),
        }
    }
}

async fn record(p: &Proc, a: Attempt, result: &Result<(), Stop>) -> Result<(), StoreError> {
    let (job, attempt, formats) = (a.job, a.attempt, a.body.formats);
    let class = match result {
        Ok(()) => {
            return p.store(("complete", job), move |s, now| s.complete(now, job, attempt, formats)).await;
        }
        Err(Stop::Failed(class)) => *class,
        Err(Stop::Cancelled) => FailureClass::Cancelled,
        Err(Stop::Halting | Stop::Paused) => {
            p.sim.faults(|f| f.count("handed back"));
            return p.store(("hand_back", job), move |s, now| s.hand_back(now, job, attempt)).await;
        }
        Err(Stop::Fenced) => return Ok(()),
    };
    p.store(("fail", job), move |s, now| s.fail(now, job, attempt, failure(class))).await.map(|_| ())
}

/// Leaves the message with the broker: nothing but this message may ever start the job.
async fn give_back(p: &Proc, delivery: Delivery) {
    let nack = p.broker(("nack", 0), move |b, _, now| {
        b.nack(delivery, now, BEGIN_AGAIN);
        Ok(())
    });
    let _ = nack.await;
}

/// Acknowledges. Should that fail, the message comes again and finds the job's state changed.
async fn answer(p: &Proc, delivery: Delivery) {
    let ack = p.broker(("ack", 0), move |b, _, _| {
        b.ack(delivery);
        Ok(())
    });
    let _ = ack.await;
}
