//! The threads that share one large operation, and the rule when sharing pays.
//!
//! Small operations run on the caller alone: even a thread that waits for work takes about a
//! microsecond to begin. A step of a model shares a few hundred operations with little between
//! them; waking a sleeping thread for each would cost more than many of them. Hence a helper looks
//! for the next operation for a while before it goes to sleep, and gives its core to others then.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::OnceLock;

use parking_lot::Mutex;

use super::team::Team;

/// Multiply-adds below which an operation is not shared (about 10 µs on one core).
const SHARE_MIN: usize = 300_000;

/// A fixed number of threads: the caller and its helpers.
pub(crate) struct Threads {
    team: Option<Team>,
    count: usize,
    library: OnceLock<Option<rayon::ThreadPool>>,
}

impl Threads {
    /// `count` threads, at least one. Falls back to the caller alone when none can be started.
    pub fn new(count: usize) -> Self {
        let count = count.max(1);
        let team = if count > 1 { Team::new(count - 1).ok() } else { None };
        let count = if team.is_some() { count } else { 1 };
        Self { team, count, library: OnceLock::new() }
    }

    /// Number of threads to share `work` multiply-adds among: one, or all.
    pub fn share(&self, work: usize) -> usize {
        if work < SHARE_MIN { 1 } else { self.count }
    }

    /// Runs `task` on parts of `out`, each of whole rows of `width` numbers: it gets the number of
    /// its first row. `cost` is what one number takes, in multiply-adds.
    pub fn for_rows(
        &self,
        out: &mut [f32],
        width: usize,
        cost: usize,
        task: impl Fn(usize, &mut [f32]) + Send + Sync,
    ) {
        let rows = out.len() / width.max(1);
        let parts = self.share(out.len() * cost).min(rows);
        if parts < 2 {
            return task(0, out);
        }
        let count = rows.div_ceil(parts);
        let items = out.chunks_mut(count * width).enumerate().collect();
        self.for_each(items, |(part, out)| task(part * count, out));
    }

    /// Runs an operation of a library that brings threads of its own: no more of them than here.
    pub fn library<T: Send>(&self, task: impl FnOnce() -> T + Send) -> T {
        let build = || {
            let named = |i| format!("bul-engine-library-{i}");
            rayon::ThreadPoolBuilder::new().num_threads(self.count).thread_name(named).build().ok()
        };
        match self.library.get_or_init(build) {
            Some(pool) => pool.install(task),
            None => task(),
        }
    }

    /// Runs `task` for each of `items`, on all threads, and ends when all have been done. Who calls
    /// from within a task, or while another caller has the helpers, does its items alone.
    ///
    /// # Panics
    /// With the first panic of a task, after the others have ended.
    pub fn for_each<T: Send>(&self, items: Vec<T>, task: impl Fn(T) + Send + Sync) {
        let team = match &self.team {
            Some(team) if items.len() > 1 => team,
            _ => return items.into_iter().for_each(task),
        };
        let items = Mutex::new(items.into_iter());
        let panicked: Mutex<Option<Box<dyn Any + Send>>> = Mutex::new(None);
        let work = || {
            loop {
                let Some(item) = items.lock().next() else { return };
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| task(item))) {
                    panicked.lock().get_or_insert(panic);
                }
            }
        };
        team.run(&work);
        if let Some(panic) = panicked.into_inner() {
            resume_unwind(panic);
        }
    }
}
