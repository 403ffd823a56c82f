//! `--set path=value`: one field of a job by its dotted path.
//!
//! The value is JSON where it reads as JSON, else a text: `--set data.total=12.5` is a number,
//! `--set data.number=2026-001` a text, `--set data.number='"7"'` a text again.

use bul_job::RawJob;
use serde_json::{Map, Value};

use crate::exit::Fault;

/// Steps of one path at most.
const STEPS_MAX: usize = 32;
/// Largest index that may be set in an array; a typing mistake must not fill the memory.
const INDEX_MAX: usize = 10_000;

/// One assignment.
#[derive(Debug, Clone, PartialEq)]
pub struct Assignment {
    path: Vec<String>,
    value: Value,
}

impl std::str::FromStr for Assignment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (path, value) =
            text.split_once('=').ok_or("expected path=value, for example data.number=2026-001")?;
        let path: Vec<String> = path.trim().split('.').map(str::to_owned).collect();
        if path.iter().any(String::is_empty) {
            return Err("the path has an empty step".into());
        }
        if path.len() > STEPS_MAX {
            return Err(format!("the path has more than {STEPS_MAX} steps"));
        }
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
        Ok(Self { path, value })
    }
}

impl Assignment {
    /// Sets the value; `null` removes the member. Objects on the way are made.
    pub fn apply(&self, target: &mut Value) -> Result<(), Fault> {
        let wrong = |why: String| Fault::usage(format!("--set {}: {why}", self.path.join(".")));
        let mut at = target;
        let Some((last, way)) = self.path.split_last() else { return Ok(()) };
        for step in way {
            at = enter(at, step).map_err(wrong)?;
        }
        if self.value.is_null() {
            if let Value::Object(map) = at {
                map.remove(last);
            }
            return Ok(());
        }
        *enter(at, last).map_err(wrong)? = self.value.clone();
        Ok(())
    }
}

fn enter<'a>(at: &'a mut Value, step: &str) -> Result<&'a mut Value, String> {
    if at.is_null() {
        *at = Value::Object(Map::new());
    }
    match at {
        Value::Object(map) => Ok(map.entry(step).or_insert(Value::Null)),
        Value::Array(items) => {
            let index: usize =
                step.parse().map_err(|_| format!("{step:?} is no index of the array there"))?;
            if index > items.len() || index > INDEX_MAX {
                return Err(format!("the array there has {} items", items.len()));
            }
            if index == items.len() {
                items.push(Value::Null);
            }
            items.get_mut(index).ok_or_else(|| format!("the array there has no item {index}"))
        }
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Null => {
            Err(format!("there is a plain value before {step:?}"))
        }
    }
}

/// Applies assignments to a job. Fields a job does not have are errors.
pub fn apply_all(job: RawJob, assignments: &[Assignment]) -> anyhow::Result<RawJob> {
    if assignments.is_empty() {
        return Ok(job);
    }
    let mut value = serde_json::to_value(job)?;
    for assignment in assignments {
        assignment.apply(&mut value)?;
    }
    Ok(RawJob::from_value(value).map_err(|e| Fault::usage(format!("--set: {e}")))?)
}

/// Assignments as a JSON merge patch, for jobs that are not at hand.
pub fn as_patch(assignments: &[Assignment]) -> Result<Value, Fault> {
    let mut patch = Value::Object(Map::new());
    for Assignment { path, value } in assignments {
        let wrong = |why: String| Fault::usage(format!("--set {}: {why}", path.join(".")));
        // A merge patch would put an object with this member in the place of the array.
        if let Some(index) = path.iter().find(|step| step.parse::<usize>().is_ok()) {
            return Err(wrong(format!("{index} may be an index, and a patch cannot reach into an array"))
                .hint("edit one letter after the other with: bul dlq edit"));
        }
        let mut at = &mut patch;
        for step in path {
            at = enter(at, step).map_err(wrong)?;
        }
        *at = value.clone();
    }
    Ok(patch)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(start: Value, assignments: &[&str], expected: Value) {
        let mut value = start;
        for text in assignments {
            text.parse::<Assignment>().unwrap().apply(&mut value).unwrap();
        }
        assert_eq!(value, expected);
    }

    #[test]
    fn values_are_json_or_text() {
        check(
            json!({}),
            &["data.total=12.5", "data.number=2026-001"],
            json!({"data": {"total": 12.5, "number": "2026-001"}}),
        );
        check(json!({}), &["data.n=\"7\"", "data.list=[1]"], json!({"data": {"n": "7", "list": [1]}}));
        check(json!({"data": {"a": 1, "b": 2}}), &["data.a=null"], json!({"data": {"b": 2}}));
        check(
            json!({"data": {"lines": [{"q": 1}]}}),
            &["data.lines.0.q=3"],
            json!({"data": {"lines": [{"q": 3}]}}),
        );
        check(json!({}), &["query=a=b"], json!({"query": "a=b"}));
    }

    #[test]
    fn mistakes_are_named() {
        assert!("no".parse::<Assignment>().is_err());
        assert!("a..b=1".parse::<Assignment>().is_err());
        let error = |start: Value, text: &str| {
            text.parse::<Assignment>().unwrap().apply(&mut start.clone()).unwrap_err()
        };
        assert!(error(json!({"a": 1}), "a.b=2").message.contains("plain value"));
        assert!(error(json!({"a": [1]}), "a.x=2").message.contains("no index"));
        assert!(error(json!({"a": [1]}), "a.9=2").message.contains("1 items"));
    }

    #[test]
    fn unknown_fields_of_a_job_are_refused() {
        let set = |text: &str| apply_all(RawJob::default(), &[text.parse().unwrap()]);
        assert!(set("colour=red").unwrap_err().to_string().contains("/colour"));
        assert_eq!(set("priority=high").unwrap().priority, Some(bul_job::PriorityInput::Name("high".into())));
        assert_eq!(set("data.a.b=1").unwrap().data.unwrap()["a"]["b"], 1);
    }

    #[test]
    fn a_patch_removes_by_null_and_reaches_into_no_array() {
        let read = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
        let patch = as_patch(&read(&["data.currency=EUR", "data.note=null", "priority=high"])).unwrap();
        assert_eq!(patch, json!({"data": {"currency": "EUR", "note": null}, "priority": "high"}));
        assert!(as_patch(&read(&["data.lines.0.price=3"])).is_err());
        assert!(as_patch(&read(&["data=3", "data.a=4"])).is_err());
    }
}
