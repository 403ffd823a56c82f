//! The stream and its consumers: made where absent, checked where present.
//!
//! Old servers accept settings they do not know and ignore them, so that everything is read back from
//! the server's answer. Configurations are kept as JSON: what an operator has set beside ours survives an
//! update. Called by the link at opening and after each lost connection; all of it may be repeated.

use std::time::Duration;

use bul_job::{PARTITIONS_MAX, Queue};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::api::ApiError;
use crate::link::Link;
use crate::server;

/// Codes of JetStream's errors.
const STREAM_NOT_FOUND: u64 = 10059;
const STREAM_NAME_IN_USE: u64 = 10058;
const CONSUMER_NOT_FOUND: u64 = 10014;
/// Pulls that may wait at a consumer: four for each process, and those of fetches under way.
const WAITING_MAX: u64 = 2_048;

/// How long a stream that was there and is not any more is left removed. A server deletes its files behind the answer; one of
/// the same name that is made meanwhile loses its first file with them and refuses every message from then on (seen on
/// 2.9.10).
const REMOVED_PAUSE: std::time::Duration = std::time::Duration::from_millis(1_500);

/// What to do about a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Set right what can be set right.
    Open,
    /// Only make what is missing: two processes with different options must not correct each other at
    /// each reconnect.
    Heal,
}

/// Stream and consumers as they are.
pub(crate) struct Found {
    pub(crate) incarnation: String,
    pub(crate) ack_wait: Duration,
    /// Partitions of each lane: those wanted, and those that others have made.
    pub(crate) partitions: u8,
    /// What an operator should know.
    pub(crate) notes: Vec<String>,
}

#[derive(Debug)]
pub(crate) enum Error {
    /// May pass.
    Api(ApiError),
    /// Does not pass by itself.
    Incompatible(String),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Api(error) => error.fmt(f),
            Self::Incompatible(what) => f.write_str(what),
        }
    }
}

impl From<ApiError> for Error {
    fn from(error: ApiError) -> Self {
        Self::Api(error)
    }
}

/// Sees to all of it.
pub(crate) async fn ensure(link: &Link, mode: Mode) -> Result<Found, Error> {
    let mut notes = Vec::new();
    let confirmed = link.confirmed();
    let stream = ensure_stream(link, mode, &mut notes).await?;
    let partitions = partitions(link, &stream);
    let queues = Queue::all(partitions).map(|queue| ensure_consumer(link, queue, mode));
    let mut ack_wait = link.options.ack_wait;
    for looked in futures::future::join_all(queues).await {
        let (found, of_queue) = looked?;
        ack_wait = ack_wait.min(found);
        notes.extend(of_queue);
    }
    if mode == Mode::Open {
        notes.extend(server::notes(&link.client.server_info().version));
        if partitions > link.options.partitions.max(1) {
            notes.push(format!(
                "the stream {} has {partitions} partitions, more than are published to; they are served all the same",
                link.names.stream
            ));
        }
    }
    Ok(Found { incarnation: incarnation_of(link, &stream, confirmed), ack_wait, partitions, notes })
}

/// Names the stream's data: a stream made anew has another time of creation, and one whose end is
/// missing says since where.
pub(crate) async fn incarnation(link: &Link) -> Result<String, ApiError> {
    let confirmed = link.confirmed();
    let info = link.api(&format!("STREAM.INFO.{}", link.names.stream), Bytes::new()).await?;
    Ok(incarnation_of(link, &info, confirmed))
}

fn incarnation_of(link: &Link, info: &Value, confirmed: u64) -> String {
    let created = info.get("created").and_then(Value::as_str).unwrap_or("an unknown time");
    let last = info.pointer("/state/last_seq").and_then(Value::as_u64).unwrap_or(0);
    match link.lost_after(created, confirmed, last) {
        None => format!("{} of {created}", link.names.stream),
        Some(last) => format!("{} of {created}, lost after {last}", link.names.stream),
    }
}

/// Settings that must be so, by name.
type Wanted = Vec<(&'static str, Value)>;

/// Partitions of each lane: those wanted, those known from before, and those that the stream has beyond.
fn partitions(link: &Link, info: &Value) -> u8 {
    let subjects = info.pointer("/config/subjects").and_then(Value::as_array);
    let subjects: Vec<&str> = subjects.into_iter().flatten().filter_map(Value::as_str).collect();
    let wanted = link.options.partitions.clamp(1, PARTITIONS_MAX);
    wanted.max(link.partitions()).max(link.names.partitions(&subjects))
}

fn wanted_stream(link: &Link, partitions: u8) -> Wanted {
    let options = &link.options;
    let mut wanted = vec![
        ("subjects", json!(link.names.stream_subjects(partitions))),
        ("retention", json!("workqueue")),
        ("storage", json!("file")),
        // The other policy makes room by dropping jobs.
        ("discard", json!("new")),
        ("max_age", json!(0)),
        ("max_msgs_per_subject", json!(-1)),
        ("duplicate_window", nanos(options.duplicate_window)),
    ];
    wanted.extend(options.messages_max.map(|max| ("max_msgs", json!(max))));
    wanted.extend(options.bytes_max.map(|max| ("max_bytes", json!(max))));
    wanted
}

fn wanted_consumer(link: &Link, queue: Queue) -> Wanted {
    vec![
        ("filter_subject", json!(link.names.filter(queue))),
        ("ack_policy", json!("explicit")),
        ("deliver_policy", json!("all")),
        ("replay_policy", json!("instant")),
        // With a limit a message stays in the stream for ever and is counted nowhere.
        ("max_deliver", json!(-1)),
        ("ack_wait", nanos(link.options.ack_wait)),
        ("max_ack_pending", json!(link.options.ack_pending_max)),
        ("max_waiting", json!(WAITING_MAX)),
    ]
}

fn nanos(duration: Duration) -> Value {
    json!(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 2))
}

fn body(value: &Value) -> Bytes {
    Bytes::from(value.to_string())
}

async fn ensure_stream(link: &Link, mode: Mode, notes: &mut Vec<String>) -> Result<Value, Error> {
    let name = &link.names.stream;
    let info = match link.api(&format!("STREAM.INFO.{name}"), Bytes::new()).await {
        Ok(info) => info,
        Err(ApiError::Refused { err_code: STREAM_NOT_FOUND, .. }) => {
            if mode == Mode::Heal {
                tokio::time::sleep(REMOVED_PAUSE).await;
            }
            create_stream(link, &wanted_stream(link, partitions(link, &Value::Null))).await?
        }
        Err(error) => return Err(error.into()),
    };
    let mut wanted = wanted_stream(link, partitions(link, &info));
    if mode == Mode::Heal {
        // A version without partitions has set the subjects right, as it understands them: then nothing takes ours in.
        wanted.retain(|(key, _)| *key == "subjects");
    }
    let differing = differences(&info, &wanted);
    if differing.is_empty() {
        return Ok(info);
    }
    let fixed = differing.iter().filter(|(key, _)| matches!(*key, "retention" | "storage"));
    let fixed: Vec<String> = fixed.map(|difference| told(&info, difference)).collect();
    if !fixed.is_empty() {
        return Err(Error::Incompatible(format!("the stream {name} is another: {}", fixed.join(", "))));
    }
    let patched = Value::Object(patched(&info, &wanted));
    let updated = match link.api(&format!("STREAM.UPDATE.{name}"), body(&patched)).await {
        Ok(updated) => updated,
        Err(ApiError::Refused { description, .. }) => {
            let what: Vec<String> = differing.iter().map(|difference| told(&info, difference)).collect();
            return Err(Error::Incompatible(format!(
                "the stream {name} is another ({}), and the server does not change it: {description}",
                what.join(", ")
            )));
        }
        Err(error) => return Err(error.into()),
    };
    notes.extend(ignored(&format!("stream {name}"), &updated, &wanted));
    Ok(updated)
}

async fn create_stream(link: &Link, wanted: &Wanted) -> Result<Value, Error> {
    let name = &link.names.stream;
    let mut config: Map<String, Value> =
        wanted.iter().map(|(key, value)| ((*key).into(), value.clone())).collect();
    config.insert("name".into(), json!(name));
    config.insert("num_replicas".into(), json!(link.options.replicas.max(1)));
    for unlimited in ["max_consumers", "max_msgs", "max_bytes", "max_msg_size"] {
        config.entry(unlimited).or_insert(json!(-1));
    }
    match link.api(&format!("STREAM.CREATE.{name}"), body(&Value::Object(config))).await {
        Ok(info) => Ok(info),
        // Another process was quicker, with other options.
        Err(ApiError::Refused { err_code: STREAM_NAME_IN_USE, .. }) => {
            Ok(link.api(&format!("STREAM.INFO.{name}"), Bytes::new()).await?)
        }
        // A full disk passes; a subject that another stream has does not, and says so.
        Err(ApiError::Refused { err_code, description }) if !is_shortage(err_code) => {
            Err(Error::Incompatible(format!("the stream {name} cannot be made: {description}")))
        }
        Err(error) => Err(error.into()),
    }
}

/// Answers of a server that lacks something now: JetStream starting, too few peers, no space.
pub(crate) fn is_shortage(err_code: u64) -> bool {
    matches!(err_code, 10005 | 10008 | 10009 | 10023 | 10028 | 10047 | 10074 | 10076)
}

/// Makes or checks a queue's consumer; its ack wait, and what the server ignored.
async fn ensure_consumer(link: &Link, queue: Queue, mode: Mode) -> Result<(Duration, Vec<String>), Error> {
    let (stream, name) = (&link.names.stream, link.names.consumer(queue));
    let wanted = wanted_consumer(link, queue);
    let mut notes = Vec::new();
    let info = match link.api(&format!("CONSUMER.INFO.{stream}.{name}"), Bytes::new()).await {
        Ok(info) => info,
        Err(ApiError::Refused { err_code: CONSUMER_NOT_FOUND, .. }) => {
            let config = wanted.iter().map(|(key, value)| ((*key).into(), value.clone())).collect();
            let info = write_consumer(link, &name, config).await?;
            notes.extend(ignored(&format!("consumer {name}"), &info, &wanted));
            info
        }
        Err(error) => return Err(error.into()),
    };
    let differing = differences(&info, &wanted);
    if differing.is_empty() || mode == Mode::Heal || !notes.is_empty() {
        return Ok((ack_wait_of(&info, link), notes));
    }
    let updated = match write_consumer(link, &name, patched(&info, &wanted)).await {
        Err(Error::Incompatible(why)) => {
            let what: Vec<String> = differing.iter().map(|difference| told(&info, difference)).collect();
            return Err(Error::Incompatible(format!("{why} ({})", what.join(", "))));
        }
        written => written?,
    };
    notes.extend(ignored(&format!("consumer {name}"), &updated, &wanted));
    Ok((ack_wait_of(&updated, link), notes))
}

async fn write_consumer(link: &Link, name: &str, mut config: Map<String, Value>) -> Result<Value, Error> {
    let stream = &link.names.stream;
    config.insert("durable_name".into(), json!(name));
    let request = json!({ "stream_name": stream, "config": config });
    match link.api(&format!("CONSUMER.DURABLE.CREATE.{stream}.{name}"), body(&request)).await {
        Ok(info) => Ok(info),
        Err(ApiError::Refused { err_code, description })
            if !is_shortage(err_code) && err_code != STREAM_NOT_FOUND =>
        {
            Err(Error::Incompatible(format!("the consumer {name} cannot be as it must: {description}")))
        }
        Err(error) => Err(error.into()),
    }
}

fn ack_wait_of(info: &Value, link: &Link) -> Duration {
    info.pointer("/config/ack_wait")
        .and_then(Value::as_u64)
        .map_or(link.options.ack_wait, Duration::from_nanos)
}

/// What is not as wanted. A setting that the server leaves out has its zero value.
fn differences<'a>(info: &Value, wanted: &'a Wanted) -> Vec<&'a (&'static str, Value)> {
    let is_other =
        |(key, value): &&(&'static str, Value)| match (info.pointer(&format!("/config/{key}")), value) {
            (Some(Value::Array(found)), Value::Array(wanted)) => {
                found.len() != wanted.len() || wanted.iter().any(|subject| !found.contains(subject))
            }
            (Some(found), wanted) => found != wanted,
            (None, wanted) => *wanted != json!(0),
        };
    wanted.iter().filter(is_other).collect()
}

fn told(info: &Value, (key, wanted): &(&'static str, Value)) -> String {
    let found = info.pointer(&format!("/config/{key}")).unwrap_or(&Value::Null);
    format!("{key} is {found} instead of {wanted}")
}

/// Settings that the server has not taken up.
fn ignored(what: &str, info: &Value, wanted: &Wanted) -> Vec<String> {
    let differing = differences(info, wanted);
    differing
        .iter()
        .map(|difference| format!("the server ignored a setting of the {what}: {}", told(info, difference)))
        .collect()
}

/// The configuration as it is, with ours in the place of what differs.
fn patched(info: &Value, wanted: &Wanted) -> Map<String, Value> {
    let mut config = info.get("config").and_then(Value::as_object).cloned().unwrap_or_default();
    for (key, value) in wanted {
        config.insert((*key).into(), value.clone());
    }
    config
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_found_whatever_the_order() {
        let wanted: Wanted =
            vec![("subjects", json!(["a", "b"])), ("discard", json!("new")), ("max_age", json!(0))];
        let info = json!({ "config": { "subjects": ["b", "a"], "discard": "new" } });
        assert!(differences(&info, &wanted).is_empty());
        let info = json!({ "config": { "subjects": ["a", "b", "c"], "discard": "old", "max_age": 5 } });
        let told: Vec<String> = differences(&info, &wanted).into_iter().map(|one| told(&info, one)).collect();
        assert_eq!(
            told,
            [
                r#"subjects is ["a","b","c"] instead of ["a","b"]"#,
                r#"discard is "old" instead of "new""#,
                "max_age is 5 instead of 0"
            ]
        );
    }

    #[test]
    fn an_update_keeps_what_an_operator_has_set() {
        let info = json!({ "config": { "description": "ours", "max_age": 5 } });
        let config = patched(&info, &vec![("max_age", json!(0))]);
        assert_eq!(Value::Object(config), json!({ "description": "ours", "max_age": 0 }));
    }
}
