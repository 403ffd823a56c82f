//! Messages that travel as one: what a publisher makes of many, and what is read again.
//!
//! A broker's price is one per message, for its log, its confirmation, its delivery and its acknowledgement; a message of ours
//! names a job and is small. Hence many jobs of one tenant, lane and partition that are published together go into messages of
//! several (Kafka calls it a record batch). Few go singly, so that as many workers as possible have one each. Invariant: each
//! message given is in exactly one parcel. Called by the adapters; [`crate::unpack`] takes a bundle apart again.

use std::collections::HashMap;

use bul_job::{JobId, Lane, PublishNo, TenantId};
use serde::{Deserialize, Serialize};

use crate::{Message, Payload, Route};

/// Form of a message that names one job.
const SINGLE: u32 = 1;
/// Form of one that names several.
const BUNDLE: u32 = 2;
/// Jobs of a bundle that is read. Publishers make far smaller ones; without a limit one message of whoever may publish here would
/// become as many deliveries as its bytes can name.
const READ_MAX: usize = 1_000;

/// What is published as one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parcel<'m>(Vec<&'m Message>);

/// The body of a bundle.
#[derive(Serialize, Deserialize)]
struct Bundle {
    tenant: TenantId,
    lane: Lane,
    jobs: Vec<(JobId, PublishNo)>,
}

/// Makes parcels of messages, of at most `max` each, in the order of the first message of each. Of a tenant, lane and partition with fewer
/// than half of that each goes singly.
pub fn parcels<'m>(
    messages: impl IntoIterator<Item = &'m Message>,
    partitions: u8,
    max: usize,
) -> Vec<Parcel<'m>> {
    let mut groups: HashMap<_, Vec<(usize, &Message)>> = HashMap::new();
    for (place, message) in messages.into_iter().enumerate() {
        let key = (&message.tenant, message.lane, message.partition(partitions));
        groups.entry(key).or_default().push((place, message));
    }
    let mut cut = Vec::new();
    for group in groups.into_values() {
        let size = if group.len() >= max.div_ceil(2) { max.max(1) } else { 1 };
        for part in group.chunks(size) {
            cut.push((part[0].0, Parcel(part.iter().map(|(_, message)| *message).collect())));
        }
    }
    cut.sort_by_key(|(place, _)| *place);
    cut.into_iter().map(|(_, parcel)| parcel).collect()
}

impl<'m> Parcel<'m> {
    /// The messages in it, at least one.
    pub fn messages(&self) -> &[&'m Message] {
        &self.0
    }

    /// Version of its form; readers refuse what they do not know.
    pub fn form(&self) -> u32 {
        if self.0.len() == 1 { SINGLE } else { BUNDLE }
    }

    /// Where it goes when each lane has so many partitions.
    pub fn route(&self, partitions: u8) -> Route {
        Route::of(self.0[0], partitions)
    }

    /// The same for the same content, and for no other: brokers drop second publications by it.
    pub fn name(&self) -> String {
        let first = self.0[0];
        if self.0.len() == 1 {
            return format!("{}:{}", first.job, first.publish);
        }
        let mut digest = blake3::Hasher::new();
        for message in &self.0 {
            digest.update(message.job.to_string().as_bytes());
            digest.update(&message.publish.0.to_le_bytes());
        }
        format!("{}+{}:{}", first.job, self.0.len() - 1, &digest.finalize().to_hex()[..32])
    }

    /// Its bytes: ids, narrow names and numbers, so that writing them cannot fail.
    pub fn body(&self) -> Vec<u8> {
        let first = self.0[0];
        if self.0.len() == 1 {
            return serde_json::to_vec(first).unwrap_or_default();
        }
        let bundle = Bundle {
            tenant: first.tenant.clone(),
            lane: first.lane,
            jobs: self.0.iter().map(|message| (message.job, message.publish)).collect(),
        };
        serde_json::to_vec(&bundle).unwrap_or_default()
    }
}

/// Whether a form is one that is yet to come.
pub fn is_newer(form: u32) -> bool {
    form > BUNDLE
}

/// Reads the body of a message of ours.
///
/// # Errors
/// Why it is none, in words: a form that this version does not know, or a body that does not have it.
pub fn read(form: u32, body: &[u8]) -> Result<Payload, String> {
    match form {
        SINGLE => serde_json::from_slice(body).map(Payload::Ready).map_err(|error| error.to_string()),
        BUNDLE => {
            let Bundle { tenant, lane, jobs } =
                serde_json::from_slice(body).map_err(|error| error.to_string())?;
            if jobs.is_empty() {
                return Err("it is a bundle without a job".into());
            }
            if jobs.len() > READ_MAX {
                return Err(format!(
                    "it is a bundle of {} jobs, and at most {READ_MAX} are allowed",
                    jobs.len()
                ));
            }
            let message = |(job, publish)| Message { job, tenant: tenant.clone(), lane, publish };
            Ok(Payload::Bundle(jobs.into_iter().map(message).collect()))
        }
        other => Err(format!("its form is {other}, and this program reads {SINGLE} and {BUNDLE}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a group by chance.
    fn message(tenant: &str, lane: Lane) -> Message {
        Message { job: JobId::new(), tenant: tenant.parse().unwrap(), lane, publish: PublishNo(1) }
    }

    fn jobs(parcel: &Parcel<'_>) -> Vec<JobId> {
        parcel.messages().iter().map(|message| message.job).collect()
    }

    #[test]
    fn many_go_together_and_few_singly() {
        let many: Vec<Message> = (0..40).map(|_| message("acme", Lane::Low)).collect();
        let sizes = |messages: &[Message], max| -> Vec<usize> {
            parcels(messages, 1, max).iter().map(|parcel| parcel.messages().len()).collect()
        };
        assert_eq!(sizes(&many, 16), [16, 16, 8]);
        assert_eq!(sizes(&many[..16], 16), [16]);
        assert_eq!(sizes(&many[..8], 16), [8]);
        assert_eq!(sizes(&many[..7], 16), [1; 7]);
        for none in [0, 1] {
            assert_eq!(sizes(&many, none), [1; 40]);
        }
        assert!(sizes(&[], 16).is_empty());
        let few = [message("acme", Lane::Low), message("globex", Lane::Low), message("acme", Lane::Low)];
        let order: Vec<JobId> = parcels(&few, 1, 16).iter().flat_map(jobs).collect();
        assert_eq!(order, few.iter().map(|message| message.job).collect::<Vec<_>>(), "as it was given");
        let order: Vec<JobId> = parcels(&many, 1, 16).iter().flat_map(jobs).collect();
        assert_eq!(order, many.iter().map(|message| message.job).collect::<Vec<_>>());
    }

    #[test]
    fn what_travels_together_has_one_tenant_lane_and_partition() {
        let mut mixed = Vec::new();
        for n in 0..2_000 {
            mixed.push(message(["acme", "globex"][n % 2], Lane::ALL[n / 2 % 2]));
        }
        let parcels = parcels(&mixed, 4, 8);
        assert!(parcels.iter().any(|parcel| parcel.messages().len() == 8));
        let mut seen: Vec<JobId> = Vec::new();
        for parcel in &parcels {
            let route = parcel.route(4);
            assert!(parcel.messages().iter().all(|message| Route::of(message, 4) == route));
            seen.extend(jobs(parcel));
        }
        let mut given: Vec<JobId> = mixed.iter().map(|message| message.job).collect();
        given.sort();
        seen.sort();
        assert_eq!(seen, given);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let sent: Vec<Message> = (0..4).map(|_| message("acme", Lane::High)).collect();
        let all = parcels(&sent, 1, 2);
        assert_eq!(all.len(), 2);
        for parcel in &all {
            let expected: Vec<Message> = parcel.messages().iter().copied().cloned().collect();
            assert_eq!(read(parcel.form(), &parcel.body()), Ok(Payload::Bundle(expected)));
        }
        let single = &parcels(&sent, 1, 1)[0];
        assert_eq!(read(single.form(), &single.body()), Ok(Payload::Ready(sent[0].clone())));
        assert_eq!(single.name(), format!("{}:1", sent[0].job));
    }

    /// Older publishers and newer ones within the version are understood.
    #[test]
    fn a_bundle_is_read_with_and_without_what_is_added_later() {
        let frozen = include_bytes!("../../../tests/it/messages/v2/bundle.json");
        let mut newer: serde_json::Value = serde_json::from_slice(frozen).unwrap();
        newer["tomorrow"] = serde_json::json!([1]);
        for body in [frozen.to_vec(), serde_json::to_vec(&newer).unwrap()] {
            let Ok(Payload::Bundle(messages)) = read(2, &body) else { panic!("none of ours") };
            let parcel = Parcel(messages.iter().collect());
            assert_eq!((parcel.form(), parcel.body()), (2, frozen.trim_ascii().to_vec()));
            let numbers: Vec<u32> = messages.iter().map(|message| message.publish.0).collect();
            assert_eq!((numbers, messages[1].tenant.as_str()), (vec![3, 1], "acme"));
        }
    }

    #[test]
    fn a_name_is_that_of_the_content() {
        let sent: Vec<Message> = (0..4).map(|_| message("acme", Lane::High)).collect();
        let name = |messages: &[&Message]| Parcel(messages.to_vec()).name();
        let [a, b, c, d] = [&sent[0], &sent[1], &sent[2], &sent[3]];
        assert_eq!(name(&[a, b, d]), name(&[a, b, d]));
        assert_ne!(name(&[a, b, d]), name(&[a, c, d]), "first, last and number are the same");
        let again = Message { publish: PublishNo(2), ..b.clone() };
        assert_ne!(name(&[a, b, d]), name(&[a, &again, d]));
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for (form, body, expected) in [
            (3, "{}", "its form is 3"),
            (0, "{}", "its form is 0"),
            (1, "{}", "missing field"),
            (2, "{}", "missing field"),
            (2, r#"{"tenant":"acme","lane":"high","jobs":[]}"#, "without a job"),
            (2, r#"{"tenant":"A b","lane":"high","jobs":[]}"#, "tenant"),
        ] {
            let error = read(form, body.as_bytes()).unwrap_err();
            assert!(error.contains(expected), "{form} {body}: {error}");
        }
        let too_many: Vec<Message> = (0..=READ_MAX).map(|_| message("acme", Lane::Low)).collect();
        let parcel = |count: usize| Parcel(too_many[..count].iter().collect());
        assert!(read(2, &parcel(READ_MAX).body()).is_ok());
        assert!(read(2, &parcel(READ_MAX + 1).body()).unwrap_err().contains("a bundle of 1001 jobs"));
        assert_eq!([0, 1, 2, 3].map(is_newer), [false, false, false, true]);
    }
}
