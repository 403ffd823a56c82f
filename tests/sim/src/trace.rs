//! The last events of a run, kept only when somebody wants to read them: the same seed is run again with
//! a trace once it has failed.

use std::collections::VecDeque;

use crate::clock::{Ms, stamp};

/// Lines kept.
pub const LINES_MAX: usize = 60;

/// A bounded record of events.
#[derive(Debug, Default)]
pub struct Trace {
    lines: Option<VecDeque<String>>,
    lines_max: usize,
}

impl Trace {
    /// One that keeps the last lines.
    pub fn of_last() -> Self {
        Self { lines: Some(VecDeque::new()), lines_max: LINES_MAX }
    }

    /// One that keeps all, for one run that somebody reads.
    pub fn of_all() -> Self {
        Self { lines: Some(VecDeque::new()), lines_max: usize::MAX }
    }

    /// Whether lines are kept.
    pub fn is_kept(&self) -> bool {
        self.lines.is_some()
    }

    /// Adds a line; its text is made only if it is kept.
    pub fn note(&mut self, now: Ms, line: impl FnOnce() -> String) {
        let Some(lines) = &mut self.lines else { return };
        if lines.len() >= self.lines_max {
            lines.pop_front();
        }
        lines.push_back(format!("{} {:>8} ms  {}", stamp(now).format("%H:%M:%S%.3f"), now, line()));
    }

    /// Takes the lines out.
    pub fn take(&mut self) -> Vec<String> {
        self.lines.take().map(Vec::from).unwrap_or_default()
    }
}
