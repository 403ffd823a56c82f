//! Names on the server and the form of a message.
//!
//! A message of ours carries the header `Bul-Message` with the version of its form; whatever else lies on a lane is another program's.
//! Tenant and lane of both come from the subject, which the server's permissions guard.

use std::fmt::Write;

use async_nats::{HeaderMap, HeaderName};
use bul_broker::{EventFilter, Foreign, Parcel, Payload, Route, is_newer, read};
use bul_job::{Event, Lane, PARTITIONS_MAX, Partition, Queue};
use bytes::Bytes;

/// Our mark; its value is the version of the body's form.
pub(crate) const MARK: HeaderName = HeaderName::from_static("Bul-Message");
/// What the server drops second publications by.
const MESSAGE_ID: HeaderName = HeaderName::from_static("Nats-Msg-Id");
/// Room for most subjects, so that writing one takes memory once.
const SUBJECT_LENGTH: usize = 96;
/// Longest part of a foreign header that is taken over.
const HEADER_LENGTH_MAX: usize = 512;

/// Subjects, stream and consumers of one prefix.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    /// Start of JetStream's own subjects.
    pub(crate) api: String,
    pub(crate) stream: String,
    prefix: String,
}

impl Names {
    /// `None` for a prefix whose names could collide with another's.
    pub(crate) fn new(prefix: &str, domain: Option<&str>) -> Option<Self> {
        let is_narrow = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if !(1..=32).contains(&prefix.len()) || !prefix.chars().all(is_narrow) {
            return None;
        }
        let api = domain.map_or_else(|| "$JS.API".into(), |domain| format!("$JS.{domain}.API"));
        Some(Self { api, stream: format!("{}_JOBS", prefix.to_ascii_uppercase()), prefix: prefix.into() })
    }

    /// The first partition's is that of an undivided lane, so that versions without partitions work on it as they always did.
    pub(crate) fn consumer(&self, queue: Queue) -> String {
        match queue.partition {
            Partition::FIRST => format!("{}-{}", self.prefix, queue.lane),
            further => format!("{}-{}-{}", self.prefix, queue.lane, further.number()),
        }
    }

    /// What a queue's consumer is for. No two overlap: a work queue refuses that.
    pub(crate) fn filter(&self, queue: Queue) -> String {
        match queue.partition {
            Partition::FIRST => format!("{}.jobs.{}.*", self.prefix, queue.lane),
            further => format!("{}.jobs.{}.*.{}", self.prefix, queue.lane, further.number()),
        }
    }

    /// What the stream takes in: the queues of the four lanes and nothing else, so that a publisher whose subject names none
    /// is told at once, instead of leaving a message that no consumer ever sees.
    pub(crate) fn stream_subjects(&self, partitions: u8) -> Vec<String> {
        Queue::all(partitions).map(|queue| self.filter(queue)).collect()
    }

    /// How many partitions a stream of these subjects has.
    pub(crate) fn partitions(&self, subjects: &[&str]) -> u8 {
        let has = |partition: &Partition| {
            let queue = Queue { lane: Lane::Critical, partition: *partition };
            subjects.contains(&self.filter(queue).as_str())
        };
        Partition::all(PARTITIONS_MAX).filter(has).last().map_or(1, |last| last.number() + 1)
    }

    fn jobs(&self) -> String {
        format!("{}.jobs.", self.prefix)
    }

    /// Where something is published.
    pub(crate) fn subject(&self, route: &Route) -> String {
        let mut subject = String::with_capacity(SUBJECT_LENGTH);
        let _ = write!(subject, "{}.jobs.{route}", self.prefix);
        subject
    }

    pub(crate) fn event_subject(&self, event: &Event) -> String {
        let mut subject = String::with_capacity(SUBJECT_LENGTH);
        let _ = write!(subject, "{}.events.{}.{}", self.prefix, event.tenant, event.job);
        subject
    }

    pub(crate) fn events_filter(&self, filter: &EventFilter) -> String {
        match filter.job {
            Some(job) => format!("{}.events.{}.{job}", self.prefix, filter.tenant),
            None => format!("{}.events.{}.*", self.prefix, filter.tenant),
        }
    }
}

/// Headers of messages of ours.
pub(crate) fn headers(parcel: &Parcel<'_>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(MARK, parcel.form().to_string());
    headers.insert(MESSAGE_ID, parcel.name());
    headers
}

/// Reads what lies on a lane.
pub(crate) fn payload(names: &Names, lane: Lane, message: &async_nats::Message) -> Payload {
    let subject = message.subject.as_str();
    let route = subject.strip_prefix(&names.jobs()).and_then(Route::parse);
    let header = |name: HeaderName| {
        message.headers.as_ref().and_then(|headers| headers.get(name)).map(|value| value.as_str())
    };
    let (broken, newer) = match header(MARK) {
        None => (None, false),
        Some(form) => match ours(form, route.as_ref(), &message.payload) {
            Ok(payload) => return payload,
            Err(reason) => (Some(reason), form.parse().is_ok_and(is_newer)),
        },
    };
    let text = |name| header(name).map(|value| value.chars().take(HEADER_LENGTH_MAX).collect());
    Payload::Foreign(Foreign {
        subject: subject.into(),
        tenant: route.map(|route| route.tenant),
        lane,
        content_type: text(HeaderName::from_static("Content-Type")),
        message_id: text(MESSAGE_ID),
        traceparent: text(HeaderName::from_static("traceparent")),
        broken,
        newer,
        body: message.payload.clone(),
    })
}

fn ours(form: &str, route: Option<&Route>, body: &Bytes) -> Result<Payload, String> {
    let form = form.parse().map_err(|_| format!("its form is {form:.16}, which is no number"))?;
    let payload = read(form, body)?;
    let Some((tenant, lane)) = payload.owner() else { return Ok(payload) };
    match route {
        Some(route) if route.lane == lane && route.tenant == *tenant => Ok(payload),
        _ => Err(format!("it says {lane}.{tenant}, and its subject does not")),
    }
}

/// How often the message of this reply subject was handed out.
///
/// `$JS.ACK.<stream>.<consumer>.<deliveries>.<sequences and time>` or, of newer servers,
/// `$JS.ACK.<domain>.<account>.<stream>.<consumer>.<deliveries>.<…>`.
pub(crate) fn deliveries(reply: &str) -> Option<u32> {
    let parts: Vec<&str> = reply.split('.').collect();
    let at = match parts.len() {
        9 => 4,
        11.. => 6,
        _ => return None,
    };
    let is_ack = parts[..2] == ["$JS", "ACK"];
    parts.get(at).filter(|_| is_ack)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use bul_broker::Message;
    use bul_job::{JobId, PublishNo};

    use super::*;

    fn message() -> Message {
        Message {
            job: JobId::new(),
            tenant: "acme".parse().unwrap(),
            lane: Lane::High,
            publish: PublishNo(3),
        }
    }

    fn arrived(subject: &str, headers: &[(&'static str, &str)], body: &[u8]) -> Payload {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        let message = async_nats::Message {
            subject: subject.into(),
            reply: None,
            payload: Bytes::copy_from_slice(body),
            headers: Some(headers),
            status: None,
            description: None,
            length: 0,
        };
        payload(&Names::new("bul", None).unwrap(), Lane::High, &message)
    }

    #[test]
    fn a_message_of_ours_is_read_back() {
        let names = Names::new("bul", None).unwrap();
        for partitions in [1, 8] {
            let sent = message();
            let subject = names.subject(&Route::of(&sent, partitions));
            let body = serde_json::to_vec(&sent).unwrap();
            assert_eq!(arrived(&subject, &[("Bul-Message", "1")], &body), Payload::Ready(sent), "{subject}");
        }
    }

    #[test]
    fn the_first_partition_is_where_the_undivided_lane_was() {
        let names = Names::new("bul", None).unwrap();
        let undivided: Vec<String> = Lane::ALL.map(|lane| format!("bul.jobs.{lane}.*")).into_iter().collect();
        assert_eq!(names.stream_subjects(1), undivided);
        let first = Queue { lane: Lane::High, partition: Partition::FIRST };
        let further = Queue { partition: Partition::new(3).unwrap(), ..first };
        assert_eq!(
            (names.consumer(first).as_str(), names.filter(first).as_str()),
            ("bul-high", "bul.jobs.high.*")
        );
        assert_eq!(
            (names.consumer(further).as_str(), names.filter(further).as_str()),
            ("bul-high-3", "bul.jobs.high.*.3")
        );
        for partitions in [1, 2, 8, PARTITIONS_MAX] {
            let subjects = names.stream_subjects(partitions);
            let subjects: Vec<&str> = subjects.iter().map(String::as_str).collect();
            assert_eq!(names.partitions(&subjects), partitions);
        }
        assert_eq!(names.partitions(&[]), 1);
    }

    /// Older publishers and newer ones within the version are understood.
    #[test]
    fn a_message_of_version_1_is_read_with_and_without_what_is_added_later() {
        let frozen = include_bytes!("../../../tests/it/messages/v1/ready.json");
        let mut newer: serde_json::Value = serde_json::from_slice(frozen).unwrap();
        newer["tomorrow"] = serde_json::json!([1]);
        for body in [frozen.to_vec(), serde_json::to_vec(&newer).unwrap()] {
            let payload = arrived("bul.jobs.high.acme", &[("Bul-Message", "1")], &body);
            let message = payload.ready().expect("one of ours");
            assert_eq!(
                (message.lane, message.publish, message.tenant.as_str()),
                (Lane::High, PublishNo(3), "acme")
            );
        }
        let sent: Message = serde_json::from_slice(frozen).unwrap();
        assert_eq!(serde_json::to_vec(&sent).unwrap(), frozen.trim_ascii());
    }

    #[test]
    fn what_cannot_be_trusted_is_foreign() {
        let body = serde_json::to_vec(&message()).unwrap();
        let bundle =
            br#"{"tenant":"acme","lane":"high","jobs":[["01890a5d-ac96-774b-bcce-b302099a8057",1]]}"#;
        for (subject, version, body, tenant, expected) in [
            ("bul.jobs.high.globex", "1", &body[..], Some("globex"), "it says high.acme"),
            ("bul.jobs.low.acme", "1", &body[..], Some("acme"), "it says high.acme"),
            ("bul.jobs.high.A", "1", &body[..], None, "it says high.acme"),
            ("bul.jobs.high.acme", "3", &body[..], Some("acme"), "its form is 3"),
            ("bul.jobs.high.acme", "x", &body[..], Some("acme"), "its form is x"),
            ("bul.jobs.high.globex", "2", &bundle[..], Some("globex"), "it says high.acme"),
            ("bul.jobs.high.acme", "1", b"{}", Some("acme"), "missing field"),
        ] {
            let Payload::Foreign(foreign) = arrived(subject, &[("Bul-Message", version)], body) else {
                panic!("{subject} {version} is taken for ours")
            };
            assert!(
                foreign.broken.as_deref().is_some_and(|reason| reason.starts_with(expected)),
                "{foreign:?}"
            );
            assert_eq!(foreign.tenant.as_ref().map(|tenant| tenant.as_str()), tenant);
            assert_eq!(foreign.newer, version == "3");
        }
    }

    #[test]
    fn a_foreign_message_keeps_its_headers_and_bytes() {
        let given =
            [("Content-Type", "application/json"), ("Nats-Msg-Id", "order-7"), ("traceparent", "00-a-b-01")];
        let Payload::Foreign(foreign) = arrived("bul.jobs.high.acme", &given, b"\xff{") else { panic!() };
        assert_eq!(foreign.content_type.as_deref(), Some("application/json"));
        assert_eq!(foreign.message_id.as_deref(), Some("order-7"));
        assert_eq!(foreign.traceparent.as_deref(), Some("00-a-b-01"));
        assert_eq!((foreign.broken, foreign.lane, &foreign.body[..]), (None, Lane::High, &b"\xff{"[..]));
    }

    #[test]
    fn deliveries_stand_in_the_reply_subject() {
        for (reply, expected) in [
            ("$JS.ACK.BUL_JOBS.bul-high.3.17.20.1700000000.0", Some(3)),
            ("$JS.ACK._.hash.BUL_JOBS.bul-high.4.17.20.1700000000.0", Some(4)),
            ("$JS.ACK.hub.hash.BUL_JOBS.bul-high.5.17.20.1700000000.0.rand", Some(5)),
            ("_INBOX.a.b", None),
            ("a.b.c.d.5.f.g.h.i", None),
        ] {
            assert_eq!(deliveries(reply), expected, "{reply}");
        }
    }

    #[test]
    fn prefixes_are_narrow() {
        for (prefix, is_good) in
            [("bul", true), ("bul-2_x", true), ("", false), ("a.b", false), ("Bul", false), ("a*", false)]
        {
            assert_eq!(Names::new(prefix, None).is_some(), is_good, "{prefix}");
        }
        assert_eq!(Names::new("bul", Some("hub")).unwrap().api, "$JS.hub.API");
    }
}
