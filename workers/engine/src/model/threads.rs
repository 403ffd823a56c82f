//! The threads that share one large operation, and the rule when sharing pays.
//!
//! Small operations run on the caller alone: waking a thread costs more than a small product.
//! Waiting threads block, they do not spin: cores are usually shared with other work.

/// Multiply-adds below which an operation is not shared (about 0.1 ms on one core).
const SHARE_MIN: usize = 3_000_000;

/// A fixed number of threads.
pub(crate) struct Threads {
    pool: Option<rayon::ThreadPool>,
    count: usize,
}

impl Threads {
    /// `count` threads, at least one. Falls back to one when threads cannot be started.
    pub fn new(count: usize) -> Self {
        let count = count.max(1);
        let build = || {
            rayon::ThreadPoolBuilder::new()
                .num_threads(count)
                .thread_name(|i| format!("bul-engine-{i}"))
                .build()
        };
        let pool = if count > 1 { build().ok() } else { None };
        let count = if pool.is_some() { count } else { 1 };
        Self { pool, count }
    }

    /// Number of threads to share `work` multiply-adds among: one, or all.
    pub fn share(&self, work: usize) -> usize {
        if work < SHARE_MIN { 1 } else { self.count }
    }

    /// Runs `task` on one of the threads, so that operations inside need not be handed over to
    /// them one by one: on a small model that costs as much as the operations.
    pub fn within<T: Send>(&self, task: impl FnOnce() -> T + Send) -> T {
        match &self.pool {
            Some(pool) => pool.install(task),
            None => task(),
        }
    }

    /// Runs `task` for each of `items`, on all threads.
    pub fn for_each<T: Send>(&self, items: Vec<T>, task: impl Fn(T) + Send + Sync) {
        use rayon::iter::{IntoParallelIterator, ParallelIterator};
        match &self.pool {
            Some(pool) if items.len() > 1 => pool.install(|| items.into_par_iter().for_each(task)),
            _ => items.into_iter().for_each(task),
        }
    }
}
