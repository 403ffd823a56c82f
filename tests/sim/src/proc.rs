//! What tasks are written with: waiting, racing, asking side by side, and the process they belong to.

use std::pin::Pin;
use std::task::Poll;

use crate::clock::Ms;
use crate::exec::{Pid, Sim};

/// Ready when a condition holds; whoever makes it true wakes the task.
pub async fn until(holds: impl Fn() -> bool) {
    std::future::poll_fn(|_| if holds() { Poll::Ready(()) } else { Poll::Pending }).await;
}

/// The first of two to end, the first one asked first; the other is dropped.
pub async fn race<T>(a: impl Future<Output = T>, b: impl Future<Output = T>) -> T {
    let (mut a, mut b) = (std::pin::pin!(a), std::pin::pin!(b));
    std::future::poll_fn(|cx| match a.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(value),
        Poll::Pending => b.as_mut().poll(cx),
    })
    .await
}

/// All of them side by side; their results in the order given.
pub async fn all<T>(futures: Vec<impl Future<Output = T>>) -> Vec<T> {
    let mut running: Vec<Pin<Box<_>>> = futures.into_iter().map(Box::pin).collect();
    let mut results: Vec<Option<T>> = running.iter().map(|_| None).collect();
    std::future::poll_fn(|cx| {
        for (result, future) in results.iter_mut().zip(&mut running).filter(|(result, _)| result.is_none()) {
            if let Poll::Ready(value) = future.as_mut().poll(cx) {
                *result = Some(value);
            }
        }
        if results.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    results.into_iter().flatten().collect()
}

/// A running process, as its own tasks see it.
#[derive(Clone)]
pub struct Proc {
    /// The simulation.
    pub sim: Sim,
    /// Which.
    pub pid: Pid,
}

impl Proc {
    /// Waits.
    pub fn sleep(&self, ms: Ms) -> impl Future<Output = ()> + use<> {
        let (sim, at) = (self.sim.clone(), self.sim.now() + ms);
        sim.wake_at(sim.current(), at);
        until(move || sim.now() >= at)
    }

    /// Starts another task of the same process.
    pub fn spawn(&self, work: impl Future<Output = ()> + 'static) {
        self.sim.spawn(self.pid, work);
    }

    /// Whether it was asked to stop.
    pub fn is_halting(&self) -> bool {
        self.sim.process(self.pid, |p| p.halting)
    }

    /// Returns once it is asked to stop.
    pub async fn halted(&self) {
        until(|| self.is_halting()).await;
    }
}
