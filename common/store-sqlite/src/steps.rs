//! Sets of calls by workers: the rows of all their jobs are read at once, each call is decided on, and
//! what follows is written at once.
//!
//! Calls for one job in one set act one after the other, in the order they came. Invariant: a call that
//! is refused, or whose row cannot be read, leaves the others as they are.

use std::collections::HashMap;
use std::sync::Arc;

use bul_job::{JobId, State};
use bul_store::StoreError;

use crate::attempts::{Begun, Call, Produced, Reply, write_completed};
use crate::fault::Fault;
use crate::limits::{Counts, guard_begin};
use crate::set::{Set, Waiting};
use crate::transition::{Draft, load_all, load_bodies, write_begun, write_moved};
use crate::writer::Tx;

/// A call and the job it is about.
pub(crate) struct Step {
    pub(crate) id: JobId,
    pub(crate) call: Call,
}

/// A job of the set and the places of its calls.
struct Group {
    id: JobId,
    places: Vec<usize>,
    begins: bool,
    known: Option<(Draft, Option<Arc<str>>)>,
    /// Place of the call that has completed it.
    completed: Option<usize>,
}

/// The set of all calls by workers.
pub(crate) struct Steps;

impl Set for Steps {
    type Op = Step;
    type Answer = Reply;

    fn bytes(op: &Step) -> usize {
        op.call.bytes()
    }

    async fn run(tx: &mut Tx, set: &mut [Waiting<Self>]) -> Result<(), Fault> {
        let mut groups = group(set);
        remember(tx, &mut groups);
        read(tx, &mut groups, set).await?;
        guard(tx, &mut groups).await?;
        for group in &mut groups {
            decide(tx, group, set);
        }
        write(tx, &groups, set).await?;
        for (draft, body) in groups.into_iter().filter_map(|group| group.known) {
            let body = body.filter(|_| draft.job.core.state == State::Queued);
            tx.recent.put(draft.job, body);
        }
        Ok(())
    }
}

impl Steps {
    /// Jobs that have begun need no confirmation any more.
    pub(crate) fn committed(tx: &Tx, set: &[Waiting<Self>]) {
        let begun = |waiting: &Waiting<Self>| {
            matches!(waiting.result, Some(Ok(Reply::Begun(Begun::Run(_))))).then_some(waiting.op.id)
        };
        tx.confirmations.forget(set.iter().filter_map(begun));
    }
}

/// In the order of the ids, in which the rows lie side by side.
fn group(set: &[Waiting<Steps>]) -> Vec<Group> {
    let mut places: Vec<(JobId, usize)> =
        set.iter().enumerate().map(|(place, waiting)| (waiting.op.id, place)).collect();
    places.sort_unstable();
    let mut groups: Vec<Group> = Vec::with_capacity(places.len());
    for (id, place) in places {
        let begins = set[place].op.call.begins();
        match groups.last_mut().filter(|group| group.id == id) {
            Some(group) => {
                group.places.push(place);
                group.begins |= begins;
            }
            None => groups.push(Group { id, places: vec![place], begins, known: None, completed: None }),
        }
    }
    groups
}

/// Takes from the writer's memory what is there.
fn remember(tx: &mut Tx, groups: &mut [Group]) {
    for group in groups {
        let Some(known) = tx.recent.take(group.id) else { continue };
        let lacks_body = group.begins && known.job.core.state == State::Queued && known.body.is_none();
        if !lacks_body {
            group.known = Some((Draft::new(known.job), known.body));
        }
    }
}

/// Reads the others. Calls for a job that is not there have their results then.
async fn read(tx: &mut Tx, groups: &mut [Group], set: &mut [Waiting<Steps>]) -> Result<(), Fault> {
    let missing: Vec<JobId> = groups.iter().filter(|g| g.known.is_none()).map(|g| g.id).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let begins: Vec<JobId> = groups.iter().filter(|g| g.known.is_none() && g.begins).map(|g| g.id).collect();
    let mut jobs = load_all(tx, &missing).await?;
    let mut bodies = if begins.is_empty() { HashMap::new() } else { load_bodies(tx, &begins).await? };
    for group in groups.iter_mut().filter(|group| group.known.is_none()) {
        let error = match jobs.remove(&group.id) {
            Some(Ok(job)) => {
                group.known = Some((Draft::new(job), bodies.remove(&group.id)));
                continue;
            }
            Some(Err(fault)) => StoreError::from(fault),
            None => StoreError::NotFound("job"),
        };
        for place in &group.places {
            set[*place].result = Some(Err(crate::fault::repeat(&error)));
        }
    }
    Ok(())
}

/// Marks the jobs that may not begin.
async fn guard(tx: &mut Tx, groups: &mut [Group]) -> Result<(), Fault> {
    let begins = groups.iter_mut().filter(|group| group.begins);
    let mut queued: Vec<&mut Draft> = begins
        .filter_map(|group| group.known.as_mut())
        .map(|(draft, _)| draft)
        .filter(|draft| draft.job.core.state == State::Queued)
        .collect();
    if queued.is_empty() { Ok(()) } else { guard_begin(tx, &mut queued).await }
}

fn decide(tx: &mut Tx, group: &mut Group, set: &mut [Waiting<Steps>]) {
    let Some((draft, body)) = &mut group.known else { return };
    for place in &group.places {
        let waiting = &mut set[*place];
        let result = waiting.op.call.decide(tx, draft, body.as_ref());
        if result.is_ok() && matches!(waiting.op.call, Call::Complete { .. }) {
            group.completed = Some(*place);
        }
        waiting.result = Some(result);
    }
}

async fn write(tx: &mut Tx, groups: &[Group], set: &[Waiting<Steps>]) -> Result<(), Fault> {
    let changed = |group: &&Group| group.known.as_ref().is_some_and(|(draft, _)| draft.has_changed());
    let changed: Vec<&Group> = groups.iter().filter(changed).collect();
    let drafts: Vec<&Draft> = changed.iter().filter_map(|group| Some(&group.known.as_ref()?.0)).collect();
    write_begun(tx, &drafts).await?;
    write_moved(tx, &drafts).await?;
    let output = |place: usize| match &set[place].op.call {
        Call::Complete { output, .. } => Some(output),
        Call::Begin { .. } | Call::Extend { .. } | Call::Fail { .. } | Call::HandBack { .. } => None,
    };
    let completed: Vec<(&Draft, &Produced)> = changed
        .iter()
        .filter_map(|group| Some((&group.known.as_ref()?.0, output(group.completed?)?)))
        .collect();
    write_completed(tx, &completed).await?;
    let mut counts = Counts::default();
    drafts.iter().for_each(|draft| draft.count(&mut counts));
    for (draft, output) in &completed {
        counts.used(&draft.job.tenant, draft.job.lane, output.budget_tokens());
    }
    counts.add(tx).await
}
