//! One attempt, readable at a glance:
//!
//! ```text
//! fence → plan → generate → assemble → write → commit → ack
//! ```
//!
//! What if the process dies between any two of them? Before the commit the lease expires and the
//! dispatcher publishes the job again; after it the redelivered message finds a finished job and is
//! acknowledged without work. What if it is frozen? Another attempt takes over, and the fence
//! refuses the commit of this one.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bul_broker::{Delivery, Payload};
use bul_engine::Receipt;
use bul_job::{EventKind, Failure, FailureClass, Format, JobId, State, ValidJob};
use bul_store::{Attempt, Begin, Output, StoreError, StoreErrorClass, Usage};
use bul_template::{Assembled, Order, Plan};
use chrono::NaiveDate;
use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;
use tracing::{Instrument, debug, info_span, warn};

use crate::company::Place;
use crate::outcome::Stop;
use crate::prose::Writing;
use crate::{Taken, Worker};

/// Wait before a message is handed out again when the store did not answer.
const BEGIN_AGAIN: Duration = Duration::from_secs(2);

impl Worker {
    /// Runs the job of a message to an outcome that the store has recorded, then answers the message.
    pub(crate) async fn attempt(&self, delivery: Box<dyn Delivery>, halting: CancellationToken) {
        let message = match delivery.payload() {
            Payload::Ready(message) => message.clone(),
            // `fetch` has taken it apart.
            Payload::Bundle(_) => return self.give_back(delivery).await,
            Payload::Foreign(foreign) => {
                // Each time it is handed out to somebody who cannot read it, it rests that long.
                let waited = BEGIN_AGAIN * delivery.deliveries().saturating_sub(1);
                return match self.adopt.adopt(foreign, waited >= self.options.newer_max).await {
                    Ok(Taken::Over) => self.answer(delivery).await,
                    Ok(Taken::NotByThisVersion(reason)) => {
                        warn!(reason, "a message is left to workers of a newer version");
                        self.give_back(delivery).await;
                    }
                    Err(error) => {
                        warn!(%error, "a message of another program cannot be taken over yet");
                        self.give_back(delivery).await;
                    }
                };
            }
        };
        let (tenant, lane) = (&message.tenant, message.lane);
        let span = info_span!("attempt", job.id = %message.job, job.attempt = Empty, %tenant, %lane);
        async {
            // Whoever has not begun does not vanish with the one that must be alone.
            let Some(mut place) = self.company.join() else { return self.give_back(delivery).await };
            let attempt = match self.fence(message.job).await {
                Fence::Run(attempt) => attempt,
                Fence::Nothing => return self.answer(delivery).await,
                Fence::Unknown => return self.give_back(delivery).await,
            };
            tracing::Span::current().record("job.attempt", attempt.attempt.0);
            let running = self.metrics.running.with_label_values(&[message.lane.as_str()]);
            running.inc();
            let started = Instant::now();
            let result = self.produce_while_alive(&attempt, delivery.as_ref(), &halting, &mut place).await;
            let outcome = self.commit(&attempt, self.pardon(&attempt, result)).await;
            running.dec();
            self.metrics.attempt_ended(&attempt.job.template, outcome, started.elapsed());
            self.answer(delivery).await;
        }
        .instrument(span)
        .await;
    }

    /// Takes the lease.
    async fn fence(&self, id: JobId) -> Fence {
        let begin = self.store.begin(id, &self.options.name, self.options.lease);
        let is_down = |error: &StoreError| error.class() == StoreErrorClass::Transient;
        let begun = self.gate.call(begin, is_down).await;
        self.metrics.breaker.with_label_values(&["store"]).set(self.gate.state());
        let Some(begun) = begun else { return Fence::Unknown };
        match begun {
            Ok(Begin::Run(attempt)) => {
                self.event(
                    &attempt,
                    EventKind::State { state: State::Running, attempt: attempt.attempt.0, message: None },
                )
                .await;
                Fence::Run(Arc::new(*attempt))
            }
            Ok(Begin::Skip(state)) => {
                debug!(%state, "nothing to do");
                Fence::Nothing
            }
            Err(error @ StoreError::NotFound(_)) => {
                warn!(%error, "a message for a job that does not exist");
                Fence::Nothing
            }
            Err(error) => {
                warn!(%error, "the attempt cannot begin");
                Fence::Unknown
            }
        }
    }

    /// The work itself, for as long as the lease holds, the user wants it, and the process lives on.
    /// Dropping the work cancels a generation in progress.
    async fn produce_while_alive<'c>(
        &'c self,
        attempt: &Arc<Attempt>,
        delivery: &dyn Delivery,
        halting: &CancellationToken,
        place: &mut Place<'c>,
    ) -> Result<Output, Stop> {
        let cancel = CancellationToken::new();
        let _cancelled_when_dropped = cancel.clone().drop_guard();
        let work = async {
            if attempt.alone && !self.company.clear(place).await {
                return Err(Stop::Paused { reason: "another job must run alone here as well".into() });
            }
            let limited = tokio::time::timeout(self.options.attempt_max, self.produce(attempt, &cancel));
            limited.await.unwrap_or_else(|_| Err(Stop::Failed(self.too_long())))
        };
        let work = AssertUnwindSafe(work).catch_unwind();
        tokio::select! {
            biased;
            done = work => done.unwrap_or_else(|panic| Err(Stop::Failed(panicked(panic.as_ref())))),
            stop = self.heartbeat(attempt, delivery) => Err(stop),
            () = halting.cancelled() => Err(Stop::Halting),
        }
    }

    fn too_long(&self) -> Failure {
        let limit = self.options.attempt_max.as_secs();
        failed("attempt_timeout", format!("the attempt took longer than {limit} s"))
    }

    async fn produce(&self, attempt: &Arc<Attempt>, cancel: &CancellationToken) -> Result<Output, Stop> {
        let started = Instant::now();
        let mut plan = self.plan(attempt).await?;
        let generating = Instant::now();
        let texts = self.earlier_texts(attempt).await;
        let turns = self.earlier_turns(attempt).await?;
        let writing = Writing { attempt, cancel, texts: &texts, turns: &turns };
        let (written, receipt) = self.generate(&writing, &mut plan).await?;
        let generate_ms = ms(generating);
        let answered = self.answered(attempt, &plan, &written);
        let assembled = assemble(plan, written).await?;
        let turn = answered.or_else(|| self.told(attempt, &assembled.document));
        let title = assembled.document.meta.title.clone();
        let formatting = Instant::now();
        let (documents, unwritten) = self.write(attempt, assembled.document, assembled.answer).await?;
        let write_ms = ms(formatting);
        let findings = assembled
            .findings
            .iter()
            .chain(&unwritten)
            .filter_map(|f| serde_json::to_value(f).ok())
            .collect();
        let mut usage = self.usage(&receipt, generate_ms, write_ms, ms(started));
        usage.receipt.kept_texts = texts.used();
        Ok(Output { documents, title, usage, findings, kept_texts: texts.has_kept(), turn })
    }

    /// Computes everything but the prose; off the async threads where that takes long: a report may hold 100,000 rows.
    async fn plan(&self, attempt: &Arc<Attempt>) -> Result<Plan, Stop> {
        let started = Instant::now();
        let plan = if attempt.job.is_small() {
            self.catalog.plan(&order(attempt))?
        } else {
            let (catalog, attempt) = (self.catalog.clone(), attempt.clone());
            let planned = tokio::task::spawn_blocking(move || catalog.plan(&order(&attempt)));
            let planned = planned.await;
            planned
                .map_err(|panic| Stop::Failed(failed("panic", format!("planning panicked: {panic}"))))??
        };
        self.metrics.stage("plan", started.elapsed());
        Ok(plan)
    }

    fn usage(&self, receipt: &Receipt, generate_ms: f64, write_ms: f64, total_ms: f64) -> Usage {
        self.metrics.tokens(receipt);
        Usage {
            model: if receipt.prompt_tokens > 0 { self.model.info().name } else { String::new() },
            prompt_tokens: receipt.prompt_tokens,
            cached_tokens: receipt.cached_tokens,
            output_tokens: receipt.output_tokens,
            generate_ms,
            write_ms,
            total_ms,
            receipt: bul_store::Receipt {
                host_tokens: receipt.host_tokens,
                disk_tokens: receipt.disk_tokens,
                remote_tokens: receipt.remote_tokens,
                attached: receipt.attached,
                kept_texts: 0,
                preemptions: receipt.preemptions,
                recomputed_tokens: receipt.recomputed_tokens,
                queue_ms: receipt.queue_ms,
                first_token_ms: receipt.first_token_ms,
            },
        }
    }

    /// Leaves the message with the broker: the row may still be queued, and nothing but this message
    /// would ever start it.
    async fn give_back(&self, delivery: Box<dyn Delivery>) {
        if let Err(error) = delivery.nack(BEGIN_AGAIN).await {
            warn!(%error, "the message could not be given back");
        }
    }

    /// Acknowledges. Should that fail, the message comes again and finds the job's state changed.
    async fn answer(&self, delivery: Box<dyn Delivery>) {
        if let Err(error) = delivery.ack().await {
            warn!(%error, "the message could not be acknowledged and will come again");
        }
    }

    /// Tells the watchers; they may miss it and look at the store instead.
    pub(crate) async fn event(&self, attempt: &Attempt, kind: EventKind) {
        let event =
            bul_job::Event { tenant: attempt.tenant.clone(), job: attempt.id, at: self.store.now(), kind };
        if let Err(error) = self.broker.publish_event(event).await {
            debug!(%error, "event not sent");
        }
    }

    /// Progress within a stage of several parts.
    pub(crate) async fn progress(&self, attempt: &Attempt, stage: &str, done: usize, total: usize) {
        if total < 2 {
            return;
        }
        let kind = EventKind::Progress { stage: stage.into(), done: done as u32, total: total as u32 };
        self.event(attempt, kind).await;
    }
}

/// Puts the texts into their places; off the async threads where an answer is checked against its schema, which is
/// compiled for that.
async fn assemble(plan: Plan, texts: BTreeMap<String, String>) -> Result<Assembled, Stop> {
    if plan.answer().is_none() {
        return Ok(plan.assemble(&texts)?);
    }
    let assembled = tokio::task::spawn_blocking(move || plan.assemble(&texts)).await;
    Ok(assembled
        .map_err(|panic| Stop::Failed(failed("panic", format!("checking the answer panicked: {panic}"))))??)
}

fn order(attempt: &Attempt) -> Order<'_> {
    order_of(&attempt.job, attempt.accepted_at.date_naive())
}

/// What a job that was accepted that day asks the catalog for.
pub(crate) fn order_of(job: &ValidJob, date: NaiveDate) -> Order<'_> {
    Order {
        template: &job.template,
        query: job.query.as_deref(),
        business_area: job.business_area.as_deref(),
        doc_type: job.doc_type.as_deref(),
        data: &job.data,
        context: job.context.as_deref(),
        response_schema: job.response_schema.as_ref(),
        language: &job.language,
        date,
    }
}

/// Answer of the store to a message.
enum Fence {
    /// This worker holds the lease.
    Run(Arc<Attempt>),
    /// The job is finished, cancelled, or with another worker.
    Nothing,
    /// The store did not answer.
    Unknown,
}

/// Formats of a job and how long each took are the writer's business; the order is the job's.
pub(crate) type Documents = Vec<(Format, Vec<u8>)>;

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

/// A panic is a fault of the program, perhaps brought on by this very job: it spends an attempt.
fn panicked(panic: &(dyn std::any::Any + Send)) -> Failure {
    let text = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned());
    failed("panic", format!("the attempt panicked: {}", text.unwrap_or_else(|| "no text".into())))
}

fn failed(code: &str, message: String) -> Failure {
    Failure { class: FailureClass::Transient, code: code.into(), message, retry_after_ms: None }
}
