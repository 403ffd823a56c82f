//! The replayer of dead letters, step for step as in `dlq-replayer/src/replay.rs`: a page, then one after
//! the other; it stops when the store is in trouble and is called again by its operator.

use chrono::TimeDelta;

use crate::clock::Ms;
use crate::proc::Proc;
use crate::store_types::StoreError;

/// Letters per page.
const PAGE: usize = 20;
/// Time between two calls of the operator, at most.
const CALL_EVERY: Ms = 40_000;
/// Time between two letters that are spread.
const SPREAD_MS: i64 = 1_500;

/// Calls of an operator until the chaos is over.
pub async fn run(p: Proc) {
    loop {
        let wait = p.sim.faults(|f| f.between(8_000, CALL_EVERY));
        p.sleep(wait).await;
        if p.sim.now() >= p.sim.scenario().chaos {
            return;
        }
        // Stopped by the store; the operator calls again.
        let _ = replay(&p).await;
    }
}

async fn replay(p: &Proc) -> Result<(), StoreError> {
    let page = p.store(("dead_letters", 0), |s, _| Ok(s.dead_letters(PAGE))).await?;
    let spread = p.sim.faults(|f| f.between(0, 1)) == 0;
    for (place, job) in page.into_iter().enumerate() {
        let mended = p.sim.faults(|f| f.between(0, 2)) > 0;
        if mended {
            let edited = p.store(("edit", job), move |s, _| s.edit(job)).await;
            if edited == Err(StoreError::Unavailable) {
                return Err(StoreError::Unavailable);
            }
        }
        let delay = TimeDelta::milliseconds(SPREAD_MS * place as i64);
        let replayed =
            p.store(("replay", job), move |s, now| s.replay(now, job, spread.then(|| now + delay)));
        match replayed.await {
            Err(StoreError::Unavailable) => return Err(StoreError::Unavailable),
            Ok(()) => p.sim.faults(|f| f.count("replayed")),
            // Not dead any more: another call was faster.
            Err(_) => p.sim.faults(|f| f.count("replay refused")),
        }
        if !spread {
            p.sleep(300).await;
        }
    }
    Ok(())
}
