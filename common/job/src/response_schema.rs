//! What can be said of a job's `response_schema` without knowing JSON Schema: its size, its depth and its company.
//!
//! Whether it is a schema, and one that answers can be held to, is found out behind this by whoever knows models and
//! validators. Both walk it recursively, so a bound on its depth must stand before them.

use serde_json::Value;

use crate::valid::Limits;

/// What is wrong with a schema; `is_free`: whether it stands beside a query that no template shapes.
pub(crate) fn problem(schema: &Value, is_free: bool, limits: &Limits) -> Option<String> {
    if !schema.is_object() {
        return Some("must be a JSON Schema as an object".into());
    }
    if !is_free {
        return Some(
            "needs a query, and no template but `document`: templates shape their documents themselves"
                .into(),
        );
    }
    let levels_max = limits.schema_depth_max;
    if depth(schema, levels_max + 1) > levels_max {
        return Some(format!("nested deeper than {levels_max} levels"));
    }
    let (bytes, bytes_max) = (schema.to_string().len(), limits.schema_bytes_max);
    (bytes > bytes_max).then(|| format!("has {bytes} bytes, at most {bytes_max} are allowed"))
}

/// Levels of lists and objects within a value, itself included; counts no further than `levels_max`.
fn depth(value: &Value, levels_max: usize) -> usize {
    let inner = |part: &Value| depth(part, levels_max - 1);
    match value {
        Value::Array(_) | Value::Object(_) if levels_max == 0 => 0,
        Value::Array(items) => 1 + items.iter().map(inner).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(inner).max().unwrap_or(0),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(schema: &Value, is_free: bool, word: &str) {
        let limits = Limits { schema_bytes_max: 60, schema_depth_max: 4, ..Limits::default() };
        let found = problem(schema, is_free, &limits).unwrap_or_default();
        assert!(found.contains(word) && found.is_empty() == word.is_empty(), "{schema}: {found:?}");
    }

    #[test]
    fn size_depth_and_company_are_bounded() {
        check(&json!({"type": "integer"}), true, "");
        check(&json!({"a": [{"b": {}}]}), true, "");
        check(&json!({"a": [{"b": {"c": []}}]}), true, "deeper than 4 levels");
        check(&json!({"enum": ["x".repeat(60)]}), true, "bytes");
        check(&json!(true), true, "object");
        check(&json!([]), true, "object");
        check(&json!({}), false, "needs a query");
    }

    #[test]
    fn a_value_of_any_depth_is_measured_within_bounds() {
        let deep = (0..100).fold(json!({}), |inner, _| json!([inner]));
        assert_eq!((depth(&deep, 200), depth(&deep, 5)), (101, 5));
    }
}
