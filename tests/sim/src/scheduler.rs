//! The scheduler, step for step as in `scheduler/src`: leader.rs, cron.rs, dispatch.rs, observe.rs,
//! reconcile.rs.

use std::time::Duration;

use bul_job::{Lane, State};

use crate::clock::Ms;
use crate::mutants::Mutant;
use crate::proc::{Proc, race};
use crate::producer::publish;
use crate::store_types::{Body, Key, Nature, NewJob, Ready, Schedule};

/// Lease of the leader.
const LEADER_LEASE: Duration = Duration::from_secs(8);
/// Longest sleep. The product's is 250 ms; only the number of events depends on it.
const POLL: Ms = 2_500;
/// Rows moved in one go: few, so that batches fill up.
const BATCH_MAX: usize = 8;
/// How often the leader looks at the broker.
const OBSERVE_EVERY: Ms = 5_000;
/// How long the broker must hold nothing while jobs are queued and none is running.
const EMPTY_FOR: Ms = 12_000;
/// The same while some are running: their workers may hold messages that only they see.
const EMPTY_FOR_BUSY: Ms = 60_000;

#[derive(Default)]
struct Leader {
    held: bool,
    renew_at: Ms,
}

#[derive(Default)]
struct Seen {
    incarnation: Option<u32>,
    empty_since: Option<Ms>,
}

/// What broker and store hold, seen by one process.
#[derive(Clone, Copy)]
struct Look {
    held: usize,
    queued: u64,
    running: u64,
}

/// Runs until the process is asked to stop.
pub async fn run(p: Proc) {
    let mut leader = Leader::default();
    let mut seen = Seen::default();
    let mut observe_at = p.sim.now();
    while !p.is_halting() {
        let leads = holds(&p, &mut leader).await;
        let busy = leads && turn(&p).await;
        if leads && observe_at <= p.sim.now() {
            observe(&p, &mut seen).await;
            observe_at = p.sim.now() + OBSERVE_EVERY;
        }
        if !busy {
            rest(&p, leads).await;
        }
    }
    if leader.held {
        let holder = p.pid;
        let resigned = p.store(("resign", 0), move |s, _| {
            s.resign(holder);
            Ok(())
        });
        let _ = resigned.await;
    }
    p.sim.exit(p.pid);
}

/// Whether this process leads; asks the store every third of the lease.
async fn holds(p: &Proc, leader: &mut Leader) -> bool {
    if p.sim.now() < leader.renew_at {
        return leader.held;
    }
    leader.renew_at = p.sim.now() + LEADER_LEASE.as_millis() as Ms / 3;
    let holder = p.pid;
    let led = p.store(("lead", 0), move |s, now| s.lead(now, holder, LEADER_LEASE)).await;
    leader.held = led.unwrap_or(false);
    leader.held
}

/// One round of all duties. Whether there may be more to do at once.
async fn turn(p: &Proc) -> bool {
    let fired = p.sim.scenario().cron && fire_due(p).await;
    let dispatched = dispatch_due(p).await;
    fired || dispatched
}

async fn fire_due(p: &Proc) -> bool {
    let Ok(due) = p.store(("due_schedules", 0), |s, now| Ok((s.due_schedules(now), now))).await else {
        return false;
    };
    let mut fired = false;
    for (number, schedule) in due.0 {
        // The store's clock, asked again: the schedules may have been read long ago.
        let now = p.sim.world(|w| w.clock.read(p.sim.now()));
        fired |= fire(p, number, &schedule, now).await;
    }
    fired
}

async fn fire(p: &Proc, number: usize, schedule: &Schedule, now: bul_job::Timestamp) -> bool {
    let Some(next) = schedule.next_at else { return false };
    let fires = schedule.spec.fires(next, now, schedule.missed);
    let jobs: Vec<_> = fires
        .due
        .iter()
        .map(|at| {
            let (id, key) = (p.sim.world(|w| w.new_id()), Some(Key::Fire(number, *at)));
            (*at, NewJob { id, tenant: schedule.tenant, key, body: job_of_a_fire() })
        })
        .collect();
    let next_at = fires.next;
    let Ok(accepted) = p.store(("fire", 0), move |s, now| s.fire(now, number, &jobs, next_at)).await else {
        return false;
    };
    let ready: Vec<Ready> = accepted.iter().filter_map(|answer| answer.ready()).collect();
    publish(p, ready).await;
    !accepted.is_empty()
}

fn job_of_a_fire() -> Body {
    let (run_at, deadline) = (None, None);
    let nature = Nature::Good;
    Body { nature, lane: Lane::Normal, run_at, deadline, max_attempts: 3, formats: 1, work_ms: 600 }
}

/// Moves one batch. Whether it was full, so that there may be more.
async fn dispatch_due(p: &Proc) -> bool {
    let Ok(due) = p.store(("take_due", 0), |s, now| s.take_due(now, BATCH_MAX)).await else {
        return false;
    };
    let published = publish(p, due.ready).await;
    due.seen >= BATCH_MAX && published
}

async fn observe(p: &Proc, seen: &mut Seen) {
    let by = p.pid;
    let held = p.broker(("depths", 0), move |b, _, _| Ok(b.depth(by))).await;
    let open = p.store(("ledger", 0), |s, _| Ok((s.count(State::Queued), s.count(State::Running)))).await;
    if let (Ok(held), Ok((queued, running))) = (held, open)
        && !p.sim.is(Mutant::NoReconciler)
    {
        reconcile(p, seen, Look { held, queued, running }).await;
    }
}

/// What the broker has lost is published again.
async fn reconcile(p: &Proc, seen: &mut Seen, look: Look) {
    let Ok(incarnation) = p.broker(("incarnation", 0), |b, _, _| Ok(b.incarnation())).await else { return };
    let is_another = seen.incarnation.is_some_and(|before| before != incarnation);
    let is_drained = seen.is_drained(look, p.sim.now());
    if !is_another && !is_drained {
        seen.incarnation = Some(incarnation);
        return;
    }
    p.sim.faults(|f| f.count("reconciled"));
    if p.store(("republish_queued", 0), |s, now| s.republish_queued(now)).await.is_ok() {
        seen.incarnation = Some(incarnation);
    }
}

impl Seen {
    fn is_drained(&mut self, look: Look, now: Ms) -> bool {
        if look.held > 0 || look.queued == 0 {
            self.empty_since = None;
            return false;
        }
        let since = *self.empty_since.get_or_insert(now);
        let enough = if look.running > 0 { EMPTY_FOR_BUSY } else { EMPTY_FOR };
        let drained = now - since >= enough;
        if drained {
            self.empty_since = None;
        }
        drained
    }
}

/// Sleeps until the next row is due, the poll interval at most; who does not lead only waits for its turn.
async fn rest(p: &Proc, leads: bool) {
    if !leads {
        return race(p.sleep(POLL), p.halted()).await;
    }
    let due = p.store(("next_due_at", 0), |s, now| Ok(s.next_due_at().map(|due| due - now))).await;
    let wait = match due {
        Ok(Some(wait)) => (wait.num_milliseconds().max(0) as Ms).min(POLL),
        Ok(None) | Err(_) => POLL,
    };
    race(p.sleep(wait.max(5)), p.halted()).await;
}

/// What a process does that knows it is alone and whose broker forgets: before anything else runs.
pub async fn recover(p: &Proc) {
    loop {
        let orphaned = p.store(("end_orphaned", 0), |s, now| s.end_orphaned(now)).await;
        let republished = p.store(("republish_queued", 0), |s, now| s.republish_queued(now)).await;
        if orphaned.is_ok() && republished.is_ok() {
            return;
        }
        p.sleep(1_000).await;
    }
}
