//! A replay by a server, request by request.
//!
//! Invariant: the server decides seconds in advance only, so that ending the command leaves the rest dead, and a
//! breaker that opens while it lasts halts it. The cursor moves forward: what was replayed and died again is not
//! met a second time.

use std::time::Duration;

use bul_dlq_replayer::{HALT_MAX, PER_CALL_MAX};
use serde_json::json;

use super::call::Call;
use super::http::{HttpClient, choice};
use super::types::{BulkReport, ReplayHow, Selected};

/// Shortest pause between two requests, whatever the server says.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// Ids, edits and refusals that the report of a whole replay names; a server names no more for one request.
const NAMED_MAX: usize = 20;

impl HttpClient {
    /// Asks again until all are done, as the server says when and where to go on.
    pub async fn replay(&self, which: &Selected, how: &ReplayHow) -> anyhow::Result<BulkReport> {
        let mut body = choice(which, how.dry_run);
        if how.ignore_breakers {
            body["ignore_breakers"] = true.into();
        }
        if let Some(rate) = &how.rate {
            body["rate"] = json!(rate);
        }
        if let Some(patch) = &how.patch {
            body["edit"] = patch.clone();
        }
        let mut replay = Replay::new();
        loop {
            // A letter that was replayed is not dead any more: sending the request again skips it.
            let call = Call::post(&["v1", "dead-letters", "replay"], body.clone()).repeatable();
            let report = match self.caller.json(call).await {
                Ok(report) => report,
                // What was done before is worth a report.
                Err(error) if replay.has_begun() => return Ok(replay.broken_off(error.into_fault().message)),
                Err(error) => return Err(error.into()),
            };
            let Some(pause) = replay.take(report) else { return Ok(replay.total) };
            tokio::time::sleep(pause).await;
            if let Some(cursor) = &replay.cursor {
                body["cursor"] = json!(cursor);
            }
        }
    }
}

/// The account of all requests together.
struct Replay {
    total: BulkReport,
    begun: bool,
    cursor: Option<String>,
    halt_left: Duration,
    told: Told,
}

impl Replay {
    fn new() -> Self {
        let (total, told) = (BulkReport::default(), Told::default());
        Self { total, begun: false, cursor: None, halt_left: HALT_MAX, told }
    }

    fn has_begun(&self) -> bool {
        self.begun
    }

    /// Takes in the answer to one request: how long to wait before the next one, `None` at the end.
    fn take(&mut self, report: BulkReport) -> Option<Duration> {
        let BulkReport { stopped, halted, next_cursor, again_after_ms, .. } = self.add(report);
        self.cursor = next_cursor.or(self.cursor.take());
        let (done, matched) = (self.total.replayed.unwrap_or(0), self.total.matched);
        if !self.total.dry_run {
            self.told.tell(halted.as_deref(), done, matched);
        }
        let Some(wait) = again_after_ms.map(Duration::from_millis) else {
            (self.total.stopped, self.total.halted) = (stopped, halted);
            return None;
        };
        let mut pause = wait.max(PAUSE_MIN);
        if let Some(why) = halted {
            if self.halt_left.is_zero() {
                let rest = "replay the rest once it is back";
                self.total.stopped = Some(format!("{why}; {done} of {matched} were replayed, {rest}"));
                self.total.halted = Some(why);
                return None;
            }
            pause = pause.min(self.halt_left);
            self.halt_left -= pause;
        }
        if done + self.total.skipped + self.total.failed >= PER_CALL_MAX as u64 {
            self.total.stopped = Some(format!("the limit of {PER_CALL_MAX} per call is reached"));
            return None;
        }
        Some(pause)
    }

    /// Adds up; gives back what is not a sum.
    fn add(&mut self, report: BulkReport) -> BulkReport {
        let total = &mut self.total;
        if !self.begun {
            (self.begun, total.matched, total.dry_run) = (true, report.matched, report.dry_run);
        }
        total.replayed = Some(total.replayed.unwrap_or(0) + report.replayed.unwrap_or(0));
        total.skipped += report.skipped;
        total.failed += report.failed;
        let room = |taken: usize| NAMED_MAX.saturating_sub(taken);
        total.ids.extend(report.ids.iter().take(room(total.ids.len())));
        total.edits.extend(report.edits.iter().take(room(total.edits.len())).cloned());
        total.refusals.extend(report.refusals.iter().take(room(total.refusals.len())).cloned());
        report
    }

    fn broken_off(mut self, why: String) -> BulkReport {
        self.total.stopped = Some(why);
        self.total
    }
}

/// Says on stderr when a replay halts and when it goes on, each once.
#[derive(Default)]
pub struct Told {
    halted: Option<String>,
}

impl Told {
    /// Takes in how the replay stands.
    pub fn tell(&mut self, halted: Option<&str>, replayed: u64, matched: u64) {
        if self.halted.as_deref() != halted {
            self.halted = halted.map(str::to_owned);
            let text = halted.map_or("goes on".into(), |why| format!("halts: {why}"));
            eprintln!("the replay {text} ({replayed} of {matched} done)");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(replayed: u64, again_after_ms: Option<u64>) -> BulkReport {
        let next_cursor = (replayed > 0).then(|| format!("behind {replayed}"));
        let stopped = again_after_ms.map(|_| "ask again".into());
        BulkReport {
            matched: 30,
            replayed: Some(replayed),
            stopped,
            next_cursor,
            again_after_ms,
            ..BulkReport::default()
        }
    }

    fn down(again_after_ms: u64) -> BulkReport {
        BulkReport { halted: Some("model is down".into()), ..answer(0, Some(again_after_ms)) }
    }

    #[test]
    fn requests_add_up_to_one_replay() {
        let mut replay = Replay::new();
        assert_eq!(replay.take(answer(11, Some(10_500))), Some(Duration::from_millis(10_500)));
        assert_eq!(replay.cursor.as_deref(), Some("behind 11"));
        // Halted: the next request begins where this one did.
        assert_eq!(replay.take(down(2_000)), Some(Duration::from_secs(2)));
        assert_eq!(replay.cursor.as_deref(), Some("behind 11"));
        assert_eq!(replay.take(answer(12, Some(0))), Some(PAUSE_MIN));
        assert_eq!(replay.take(answer(7, None)), None);
        assert_eq!((replay.total.matched, replay.total.replayed, replay.total.stopped), (30, Some(30), None));
    }

    #[test]
    fn a_halt_is_bounded() {
        let mut replay = Replay::new();
        replay.take(answer(3, Some(0)));
        let mut halted = Duration::ZERO;
        while let Some(pause) = replay.take(down(7_000)) {
            halted += pause;
        }
        assert_eq!(halted, HALT_MAX);
        let why = replay.total.stopped.unwrap();
        assert_eq!(why, "model is down; 3 of 30 were replayed, replay the rest once it is back");
    }

    #[test]
    fn a_server_that_answers_once_is_heard_once() {
        let mut replay = Replay::new();
        let early = BulkReport { stopped: Some("why".into()), ..answer(2, None) };
        assert_eq!(replay.take(early), None);
        assert_eq!((replay.total.replayed, replay.total.stopped.as_deref()), (Some(2), Some("why")));
    }
}
