//! Who works beside whom in one process, as in `workers/worker/src/company.rs`.
//!
//! An attempt takes a place before it begins and leaves it once its outcome is recorded. One that must be
//! alone waits until all others have left; as long as it waits or works, nobody else takes a place.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use crate::exec::TaskId;
use crate::proc::{Proc, until};

/// The places of one process.
#[derive(Default)]
pub struct Company {
    among: Cell<u32>,
    alone: Cell<bool>,
    /// Tasks that want to know when somebody leaves.
    waiting: RefCell<Vec<TaskId>>,
}

/// A place at work.
pub struct Place {
    company: Rc<Company>,
    proc: Proc,
    alone: bool,
}

impl Company {
    /// Whether nobody must be alone at present.
    pub fn is_open(&self) -> bool {
        !self.alone.get()
    }

    /// Tells this task when somebody leaves.
    pub fn tell(&self, task: TaskId) {
        self.waiting.borrow_mut().push(task);
    }

    /// A place among others, unless somebody must be alone.
    pub fn join(self: &Rc<Self>, proc: &Proc) -> Option<Place> {
        if self.alone.get() {
            return None;
        }
        self.among.set(self.among.get() + 1);
        Some(Place { company: self.clone(), proc: proc.clone(), alone: false })
    }
}

impl Place {
    /// Waits until all others have left. False, and at once, if another one must be alone as well.
    pub async fn clear(&mut self) -> bool {
        let company = self.company.clone();
        if company.alone.replace(true) {
            return false;
        }
        company.among.set(company.among.get() - 1);
        self.alone = true;
        company.tell(self.proc.sim.current());
        until(|| company.among.get() == 0).await;
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.alone {
            self.company.alone.set(false);
        } else {
            self.company.among.set(self.company.among.get() - 1);
        }
        self.company.waiting.borrow().iter().for_each(|task| self.proc.sim.wake(*task));
    }
}
