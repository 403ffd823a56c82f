//! Helpers that join a caller in one task at a time.
//!
//! Invariant: a helper touches a task only between joining it, which the caller's [`State`] must
//! still allow, and leaving it; the caller closes the task and waits for everybody inside before
//! its borrow ends. A helper that comes late finds the task closed, so nobody waits for a thread
//! that sleeps. Called by `threads`.

#![expect(unsafe_code, reason = "a borrowed task is handed to threads that live longer than it")]

use std::cell::UnsafeCell;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// How long a thread looks before it sleeps, or before it offers its core to others. Longer than
/// what lies between two operations of a step, and short beside what a wake-up costs (about 50 µs
/// on a virtual machine) and beside what others would miss.
pub(super) const SPIN: Duration = Duration::from_micros(100);

/// What is run by everybody who joins: it takes parts of the work until there are none. Must not
/// panic.
type Task<'a> = &'a (dyn Fn() + Sync);

/// Who is inside in the low half; above it whether joining is allowed; above that the number of
/// the task.
const INSIDE: u64 = 0xffff_ffff;
const OPEN: u64 = 1 << 32;
const NEXT: u64 = 1 << 33;

struct Shared {
    state: AtomicU64,
    /// Written by the caller while nobody may join.
    task: UnsafeCell<Option<Task<'static>>>,
    /// Held by the caller that has the helpers.
    busy: AtomicBool,
    stop: AtomicBool,
    asleep: AtomicUsize,
    bed: Mutex<()>,
    bell: Condvar,
}

// SAFETY: `task` is written by the one caller that holds `busy` while the state is closed and nobody
// is inside, and read only by those inside.
unsafe impl Sync for Shared {}

/// Threads that wait for tasks.
pub(super) struct Team {
    shared: Arc<Shared>,
    helpers: Vec<JoinHandle<()>>,
}

impl Team {
    /// Starts the helpers.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn new(helpers: usize) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            task: UnsafeCell::new(None),
            busy: AtomicBool::new(false),
            stop: AtomicBool::new(false),
            asleep: AtomicUsize::new(0),
            bed: Mutex::new(()),
            bell: Condvar::new(),
        });
        let mut team = Self { shared, helpers: Vec::with_capacity(helpers) };
        for i in 0..helpers {
            let shared = team.shared.clone();
            let helper = std::thread::Builder::new().name(format!("bul-engine-{i}"));
            team.helpers.push(helper.spawn(move || shared.help())?);
        }
        Ok(team)
    }

    /// Runs `task` here and on every helper that comes in time; ends when all have left it.
    pub fn run(&self, task: Task<'_>) {
        let shared = &*self.shared;
        if shared.busy.swap(true, Ordering::Acquire) {
            return task();
        }
        // SAFETY: only the lifetime changes. `Closing` ends the task and waits for everybody
        // inside before this function returns or unwinds, and nobody else reads it.
        let lasting = unsafe { std::mem::transmute::<Task<'_>, Task<'static>>(task) };
        // SAFETY: this caller holds `busy`, the state is closed and nobody is inside.
        unsafe { *shared.task.get() = Some(lasting) };
        let closing = Closing(shared);
        shared.state.fetch_add(NEXT | OPEN, Ordering::SeqCst);
        if shared.asleep.load(Ordering::SeqCst) > 0 {
            // Whoever has counted itself asleep holds the bed until it waits for the bell.
            drop(shared.bed.lock());
            shared.bell.notify_all();
        }
        task();
        drop(closing);
    }
}

impl Drop for Team {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        drop(self.shared.bed.lock());
        self.shared.bell.notify_all();
        for helper in self.helpers.drain(..) {
            // It does not panic: tasks do not.
            let _ = helper.join();
        }
    }
}

/// Closes the task when dropped.
struct Closing<'a>(&'a Shared);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let shared = self.0;
        shared.state.fetch_and(!OPEN, Ordering::SeqCst);
        let mut patience = Patience::default();
        while shared.state.load(Ordering::Acquire) & INSIDE != 0 {
            if patience.is_over() {
                // Somebody else has the helper's core.
                std::thread::yield_now();
            }
        }
        shared.busy.store(false, Ordering::Release);
    }
}

impl Shared {
    fn help(&self) {
        let mut done = 0;
        while let Some(task) = self.join(&mut done) {
            task();
            self.state.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits for a task that this helper has not done and joins it; `None` at the end.
    fn join(&self, done: &mut u64) -> Option<Task<'static>> {
        let mut patience = Patience::default();
        while !self.stop.load(Ordering::Relaxed) {
            let state = self.state.load(Ordering::Acquire);
            if !is_new(state, *done) {
                if patience.is_over() {
                    self.sleep(*done);
                    patience = Patience::default();
                }
                continue;
            }
            let joined = self.state.compare_exchange(state, state + 1, Ordering::AcqRel, Ordering::Relaxed);
            if joined.is_ok() {
                *done = state / NEXT;
                // SAFETY: inside, so that the caller does not write, and waits.
                return unsafe { *self.task.get() };
            }
        }
        None
    }

    fn sleep(&self, done: u64) {
        let mut bed = self.bed.lock();
        self.asleep.fetch_add(1, Ordering::SeqCst);
        // Looked at after this helper is counted: either it sees the task here, or the caller,
        // who opens first and counts then, rings for it.
        while !is_new(self.state.load(Ordering::SeqCst), done) && !self.stop.load(Ordering::SeqCst) {
            self.bell.wait(&mut bed);
        }
        self.asleep.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether there is an open task that is not number `done`.
fn is_new(state: u64, done: u64) -> bool {
    state & OPEN != 0 && state / NEXT != done
}

/// Looks a number of times before it asks the clock.
#[derive(Default)]
struct Patience {
    looks: u32,
    since: Option<Instant>,
}

impl Patience {
    fn is_over(&mut self) -> bool {
        std::hint::spin_loop();
        self.looks += 1;
        self.looks.is_multiple_of(64) && self.since.get_or_insert_with(Instant::now).elapsed() >= SPIN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Everybody counts parts until there are none.
    fn count(team: &Team, parts: usize) -> usize {
        let (left, done) = (AtomicUsize::new(parts), AtomicUsize::new(0));
        team.run(&|| {
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| n.checked_sub(1)).is_ok() {
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
        done.into_inner()
    }

    #[test]
    fn every_part_is_done_once_whoever_comes() {
        let team = Team::new(3).unwrap();
        for round in 0..20_000 {
            assert_eq!(count(&team, round % 7), round % 7);
        }
    }

    #[test]
    fn a_helper_that_sleeps_is_woken() {
        let team = Team::new(2).unwrap();
        for _ in 0..20 {
            while team.shared.asleep.load(Ordering::SeqCst) < 2 {
                std::thread::yield_now();
            }
            // Ends only if everybody comes.
            let inside = AtomicUsize::new(0);
            team.run(&|| {
                inside.fetch_add(1, Ordering::SeqCst);
                while inside.load(Ordering::SeqCst) < 3 {
                    std::thread::yield_now();
                }
            });
        }
    }

    #[test]
    fn a_task_within_a_task_is_done_by_who_asks() {
        let team = Team::new(2).unwrap();
        let inner = AtomicUsize::new(0);
        team.run(&|| {
            inner.fetch_add(count(&team, 5), Ordering::Relaxed);
        });
        assert_eq!(inner.into_inner() % 5, 0);
        assert_eq!(count(&team, 5), 5);
    }

    #[test]
    fn callers_do_not_mix() {
        let team = Team::new(2).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| (0..2_000).for_each(|_| assert_eq!(count(&team, 4), 4)));
            }
        });
    }
}
