//! Whether a job is so small that handing it to another thread would cost more than working on it.

use serde_json::{Map, Value};

use crate::raw::RawJob;
use crate::valid::ValidJob;

/// Texts and data up to which jobs are checked, planned and written where they are, bytes. Too high: other work waits for
/// it. Too low: small jobs pay for a change of threads.
const SMALL_BYTES_MAX: usize = 4 * 1024;

/// Whether these are few and small enough, together. What compiles a schema is not.
pub fn are_small<'j>(jobs: impl Iterator<Item = &'j RawJob>) -> bool {
    let mut left = SMALL_BYTES_MAX;
    let mut jobs = jobs;
    jobs.all(|job| {
        job.response_schema.is_none()
            && spend(&mut left, texts(&job.query, &job.context))
            && job.data.as_ref().is_none_or(|data| weigh_all(data, &mut left))
    })
}

impl ValidJob {
    /// Whether planning it and writing its text formats takes a fraction of a millisecond.
    pub fn is_small(&self) -> bool {
        let mut left = SMALL_BYTES_MAX;
        spend(&mut left, texts(&self.query, &self.context)) && weigh_all(&self.data, &mut left)
    }
}

fn texts(query: &Option<String>, context: &Option<String>) -> usize {
    query.iter().chain(context).map(String::len).sum()
}

fn weigh_all(members: &Map<String, Value>, left: &mut usize) -> bool {
    members.iter().all(|(key, value)| weigh(value, key.len(), left))
}

/// Takes the size of a value off what is `left`; `false` when that is not enough.
fn weigh(value: &Value, key: usize, left: &mut usize) -> bool {
    // A value costs more than its characters.
    let own = key + 16 + value.as_str().map_or(0, str::len);
    spend(left, own)
        && match value {
            Value::Array(items) => items.iter().all(|item| weigh(item, 0, left)),
            Value::Object(members) => weigh_all(members, left),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
        }
}

fn spend(left: &mut usize, cost: usize) -> bool {
    let rest = left.checked_sub(cost);
    *left = rest.unwrap_or(0);
    rest.is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn job(data: Value) -> RawJob {
        RawJob { data: data.as_object().cloned(), ..RawJob::default() }
    }

    #[test]
    fn texts_values_and_their_number_count_together() {
        let note = || job(json!({"number": "DN-1", "remark": "x".repeat(300)}));
        assert!(are_small([note()].iter()));
        assert!(are_small(std::iter::repeat_n(&note(), 10)) && !are_small(std::iter::repeat_n(&note(), 20)));
        assert!(!are_small([job(json!({"remark": "x".repeat(SMALL_BYTES_MAX)}))].iter()));
        assert!(!are_small([job(json!({"rows": vec![0; SMALL_BYTES_MAX / 16]}))].iter()));
        assert!(!are_small([job(json!({"a": {"b": "x".repeat(SMALL_BYTES_MAX)}}))].iter()));
        let asks = |bytes| RawJob { query: Some("x".repeat(bytes)), ..RawJob::default() };
        assert!(are_small([asks(100)].iter()) && !are_small([asks(SMALL_BYTES_MAX + 1)].iter()));
        let shaped = RawJob { response_schema: Some(json!({})), ..RawJob::default() };
        assert!(!are_small([shaped].iter()), "its schema is compiled");
    }
}
