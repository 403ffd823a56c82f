//! Calls from a process to the store and the broker.
//!
//! The effect belongs to the network: it takes place whether the caller is still alive or not, and the
//! caller may never hear of it. Called by every process.

use std::cell::Cell;
use std::rc::Rc;

use bul_job::Timestamp;

use crate::broker::{Broker, BrokerError};
use crate::clock::Ms;
use crate::faults::Fate;
use crate::mutants::Mutant;
use crate::proc::Proc;
use crate::store::Store;
use crate::store_types::StoreError;

/// A name of a call and the job it is about, for the trace; 0 for none.
pub type Label = (&'static str, u32);

impl Proc {
    /// Calls the store.
    pub async fn store<T: 'static>(
        &self,
        label: Label,
        f: impl FnOnce(&mut Store, Timestamp) -> Result<T, StoreError> + 'static,
    ) -> Result<T, StoreError> {
        let down = self.sim.world(|w| w.store_down(self.sim.now()));
        let fate = self.fate("store", label, down);
        let own = self.sim.process(self.pid, |p| p.clock);
        let by_own_clock = self.sim.is(Mutant::OwnClockDecides);
        let heard = self
            .call(fate, move |proc| {
                let now = proc.sim.now();
                proc.sim.world(|w| {
                    let at = if by_own_clock { own.read(now) } else { w.clock.read(now) };
                    f(&mut w.store, at)
                })
            })
            .await;
        heard.unwrap_or(Err(StoreError::Unavailable))
    }

    /// Calls the broker.
    pub async fn broker<T: 'static>(
        &self,
        label: Label,
        f: impl FnOnce(&mut Broker, &mut crate::faults::Faults, Ms) -> Result<T, BrokerError> + 'static,
    ) -> Result<T, BrokerError> {
        let down = self.sim.world(|w| w.broker_down(self.sim.now()));
        let fate = self.fate("broker", label, down);
        let heard = self
            .call(fate, move |proc| {
                let now = proc.sim.now();
                proc.sim.faults(|faults| proc.sim.world(|w| f(&mut w.broker, faults, now)))
            })
            .await;
        heard.unwrap_or(Err(BrokerError::Unavailable))
    }

    fn fate(&self, side: &str, (name, job): Label, down: Option<bool>) -> Fate {
        let now = self.sim.now();
        let fate = self.sim.faults(|f| match down {
            Some(black_hole) => f.down(black_hole),
            None => f.fate(now),
        });
        self.sim.note(|| {
            let ending = match (fate.effect, fate.heard) {
                (Some(_), true) => String::new(),
                (Some(after), false) => format!(", takes effect after {after} ms, not answered"),
                (None, _) => ", without effect".into(),
            };
            format!("process {} → {side}.{name} {job}{ending}", self.pid)
        });
        fate
    }

    async fn call<T: 'static>(&self, fate: Fate, f: impl FnOnce(&Proc) -> T + 'static) -> Option<T> {
        let slot = Rc::new(Cell::new(None));
        if let Some(after) = fate.effect {
            let (slot, proc) = (slot.clone(), self.clone());
            self.sim.later(after, move |_| slot.set(Some(f(&proc))));
        }
        self.sleep(fate.answer).await;
        if fate.heard { slot.take() } else { None }
    }
}
