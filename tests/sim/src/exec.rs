//! The executor: tasks of processes, polled in the order of simulated time.
//!
//! A task is polled again when a timer of it has run out; between two polls its process may be killed
//! (its tasks are dropped where they stand), frozen (they are polled when it thaws) or stopped. What was
//! sent already takes its effect all the same: effects belong to the network and not to the task.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Waker};

use crate::clock::{Ms, OwnClock};
use crate::faults::{Blow, Faults};
use crate::mutants::Mutant;
use crate::scenario::Scenario;
use crate::trace::Trace;
use crate::world::World;

/// Names a process.
pub type Pid = usize;
/// Names a task; never used twice.
pub type TaskId = u64;

type Work = Pin<Box<dyn Future<Output = ()>>>;

/// What a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Accepts jobs.
    Producer,
    /// Runs attempts.
    Worker,
    /// Dispatches, fires, reconciles.
    Scheduler,
    /// Replays dead letters.
    Replayer,
    /// All in one, with a broker in its memory.
    Everything,
    /// Users and programs outside; nothing befalls them.
    Outside,
}

/// A process.
pub struct Process {
    /// What it is.
    pub role: Role,
    /// Whether it runs.
    pub up: bool,
    /// Whether it was asked to stop.
    pub halting: bool,
    /// Starts so far.
    pub epoch: u32,
    /// Its own clock.
    pub clock: OwnClock,
    frozen_until: Ms,
}

enum What {
    Wake(TaskId),
    Do(Box<dyn FnOnce(&Sim)>),
}

struct Entry {
    at: Ms,
    number: u64,
    what: What,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// The simulation; clones are handles of the same one.
#[derive(Clone)]
pub struct Sim(Rc<Inner>);

struct Inner {
    now: Cell<Ms>,
    number: Cell<u64>,
    current: Cell<TaskId>,
    queue: RefCell<BinaryHeap<Reverse<Entry>>>,
    tasks: RefCell<BTreeMap<TaskId, (Pid, Work)>>,
    processes: RefCell<Vec<Process>>,
    world: RefCell<World>,
    faults: RefCell<Faults>,
    trace: RefCell<Trace>,
    idle: RefCell<Vec<TaskId>>,
    arrivals: Cell<u64>,
    boot: fn(&Sim, Pid),
    scenario: Scenario,
    mutant: Option<Mutant>,
}

impl Sim {
    /// An empty simulation; `boot` starts the tasks of a process.
    pub fn new(
        scenario: Scenario,
        mutant: Option<Mutant>,
        world: World,
        faults: Faults,
        trace: Trace,
        boot: fn(&Sim, Pid),
    ) -> Self {
        Self(Rc::new(Inner {
            now: Cell::new(0),
            number: Cell::new(0),
            current: Cell::new(0),
            queue: RefCell::default(),
            tasks: RefCell::default(),
            processes: RefCell::default(),
            world: RefCell::new(world),
            faults: RefCell::new(faults),
            trace: RefCell::new(trace),
            idle: RefCell::default(),
            arrivals: Cell::new(0),
            boot,
            scenario,
            mutant,
        }))
    }

    /// Simulated time.
    pub fn now(&self) -> Ms {
        self.0.now.get()
    }

    /// What is simulated.
    pub fn scenario(&self) -> &Scenario {
        &self.0.scenario
    }

    /// Whether this mutation is on.
    pub fn is(&self, mutant: Mutant) -> bool {
        self.0.mutant == Some(mutant)
    }

    /// Looks at or changes the world, at once.
    pub fn world<T>(&self, f: impl FnOnce(&mut World) -> T) -> T {
        f(&mut self.0.world.borrow_mut())
    }

    /// Draws from the seed.
    pub fn faults<T>(&self, f: impl FnOnce(&mut Faults) -> T) -> T {
        f(&mut self.0.faults.borrow_mut())
    }

    /// A line of the trace, if one is kept.
    pub fn note(&self, line: impl FnOnce() -> String) {
        self.0.trace.borrow_mut().note(self.now(), line);
    }

    /// Whether a trace is kept.
    pub fn is_traced(&self) -> bool {
        self.0.trace.borrow().is_kept()
    }

    /// The trace so far.
    pub fn take_trace(&self) -> Vec<String> {
        self.0.trace.borrow_mut().take()
    }

    /// Adds a process; it starts `after` milliseconds.
    pub fn add(&self, role: Role, clock: OwnClock, after: Ms) -> Pid {
        let mut processes = self.0.processes.borrow_mut();
        let pid = processes.len();
        processes.push(Process { role, up: false, halting: false, epoch: 0, clock, frozen_until: 0 });
        drop(processes);
        self.later(after, move |sim| sim.start(pid));
        pid
    }

    /// Something of a process.
    pub fn process<T>(&self, pid: Pid, f: impl FnOnce(&mut Process) -> T) -> T {
        f(&mut self.0.processes.borrow_mut()[pid])
    }

    /// Processes of a role, whether up or not.
    pub fn of_role(&self, role: Role) -> Vec<Pid> {
        let processes = self.0.processes.borrow();
        (0..processes.len()).filter(|pid| processes[*pid].role == role).collect()
    }

    /// Does something later, whatever happens to processes.
    pub fn later(&self, after: Ms, f: impl FnOnce(&Sim) + 'static) {
        self.push(self.now() + after, What::Do(Box::new(f)));
    }

    /// Starts a task of a process that is up.
    pub fn spawn(&self, pid: Pid, work: impl Future<Output = ()> + 'static) {
        let id = self.number();
        self.0.tasks.borrow_mut().insert(id, (pid, Box::pin(work)));
        self.push(self.now(), What::Wake(id));
    }

    /// Polls a task soon.
    pub fn wake(&self, task: TaskId) {
        self.push(self.now(), What::Wake(task));
    }

    /// Polls a task at a time.
    pub fn wake_at(&self, task: TaskId, at: Ms) {
        self.push(at, What::Wake(task));
    }

    /// The task that is being polled.
    pub fn current(&self) -> TaskId {
        self.0.current.get()
    }

    /// Grows with every arrival of messages.
    pub fn arrivals(&self) -> u64 {
        self.0.arrivals.get()
    }

    /// The task that is being polled wants to know of new messages.
    pub fn wait_for_messages(&self) {
        self.0.idle.borrow_mut().push(self.current());
    }

    fn number(&self) -> u64 {
        self.0.number.set(self.0.number.get() + 1);
        self.0.number.get()
    }

    fn push(&self, at: Ms, what: What) {
        let number = self.number();
        self.0.queue.borrow_mut().push(Reverse(Entry { at, number, what }));
    }

    fn start(&self, pid: Pid) {
        let role = self.process(pid, |p| {
            p.up = true;
            p.halting = false;
            p.frozen_until = 0;
            p.role
        });
        self.note(|| format!("{role:?} {pid} starts"));
        (self.0.boot)(self, pid);
    }

    /// Kills a process where it stands; it starts again later.
    pub fn crash(&self, pid: Pid, why: &str) {
        let role = self.process(pid, |p| p.role);
        self.note(|| format!("{role:?} {pid} is killed: {why}"));
        self.end(pid);
        self.world(|w| {
            if role == Role::Everything {
                w.broker.forget_everything();
            } else {
                w.broker.disconnected(pid);
            }
        });
        let after = self.faults(|f| f.restart_ms());
        self.later(after, move |sim| sim.start(pid));
        self.attend_broker();
    }

    /// A process ends by itself after a request to stop, and a new one takes its place.
    pub fn exit(&self, pid: Pid) {
        self.note(|| format!("process {pid} has stopped"));
        self.end(pid);
        self.later(500, move |sim| sim.start(pid));
    }

    fn end(&self, pid: Pid) {
        self.process(pid, |p| {
            p.up = false;
            p.epoch += 1;
        });
        let mut gone = Vec::new();
        self.0.tasks.borrow_mut().retain(|_, (of, work)| {
            let keep = *of != pid;
            if !keep {
                gone.push(std::mem::replace(work, Box::pin(async {})));
            }
            keep
        });
    }

    /// Asks a process to stop.
    pub fn halt(&self, pid: Pid) {
        if !self.process(pid, |p| std::mem::replace(&mut p.halting, true) || !p.up) {
            self.note(|| format!("process {pid} is asked to stop"));
            let tasks: Vec<TaskId> =
                self.0.tasks.borrow().iter().filter(|(_, (of, _))| *of == pid).map(|(id, _)| *id).collect();
            tasks.into_iter().for_each(|task| self.wake(task));
        }
    }

    /// One step; `None` when nothing is left to do, `Some(false)` for one without effect.
    pub fn step(&self) -> Option<bool> {
        let Reverse(entry) = self.0.queue.borrow_mut().pop()?;
        self.0.now.set(entry.at.max(self.now()));
        match entry.what {
            What::Do(f) => f(self),
            What::Wake(task) => {
                if !self.resume(task) {
                    return Some(false);
                }
            }
        }
        self.attend_broker();
        Some(true)
    }

    fn attend_broker(&self) {
        let (fresh, deadline) = self.world(|w| (w.broker.take_fresh(), w.broker.take_alarm()));
        if fresh {
            self.0.arrivals.set(self.0.arrivals.get() + 1);
            let idle = std::mem::take(&mut *self.0.idle.borrow_mut());
            idle.into_iter().for_each(|task| self.wake(task));
        }
        if let Some(at) = deadline {
            self.later(at.saturating_sub(self.now()), |sim| sim.world(|w| w.broker.sweep(sim.now())));
        }
    }

    fn resume(&self, task: TaskId) -> bool {
        let Some(pid) = self.0.tasks.borrow().get(&task).map(|(pid, _)| *pid) else { return false };
        let (role, epoch, frozen_until) = self.process(pid, |p| (p.role, p.epoch, p.frozen_until));
        if frozen_until > self.now() {
            self.push(frozen_until, What::Wake(task));
            return false;
        }
        match self.faults(|f| f.at_await(role, self.now())) {
            Some(Blow::Killed) => {
                self.crash(pid, "by a fault");
                return true;
            }
            Some(Blow::Frozen(ms)) => {
                self.note(|| format!("{role:?} {pid} is frozen for {ms} ms"));
                self.process(pid, |p| p.frozen_until = self.now() + ms);
                self.push(self.now() + ms, What::Wake(task));
                return true;
            }
            None => {}
        }
        let Some((_, mut work)) = self.0.tasks.borrow_mut().remove(&task) else { return false };
        self.0.current.set(task);
        let mut context = Context::from_waker(Waker::noop());
        let pending = work.as_mut().poll(&mut context).is_pending();
        if pending && self.process(pid, |p| p.epoch) == epoch {
            self.0.tasks.borrow_mut().insert(task, (pid, work));
        }
        true
    }

    /// Breaks the circle of handles, so that the memory is freed.
    pub fn close(&self) {
        let tasks = std::mem::take(&mut *self.0.tasks.borrow_mut());
        drop(tasks);
        let queue = std::mem::take(&mut *self.0.queue.borrow_mut());
        drop(queue);
    }
}
