//! What a JSON Schema must be like before anything is made of it.
//!
//! Schemas come from callers. A small text can ask for a huge automaton (`"minItems": 1000000000`), and some keywords
//! would be understood here otherwise than by a validator; both are refused with a word on why. Called by `grammar` and
//! by the backends, so that a schema that one of them takes is taken by all.

use serde_json::{Map, Value};

/// Bytes of a schema's text.
const BYTES_MAX: usize = 64 << 10;
/// Schemas within schemas; the compiler's stack grows with them.
const DEPTH_MAX: usize = 32;
/// Schemas in one schema.
const SCHEMAS_MAX: usize = 4096;
/// Largest number of items, characters or properties that may be asked for.
const COUNT_MAX: u64 = 4096;
/// Bytes of a regular expression.
const PATTERN_BYTES_MAX: usize = 512;
/// Largest bound of a number: whole numbers up to here are exact in every reader of JSON.
const NUMBER_MAX: f64 = 1e15;

/// Reads the text of a schema and checks it against the limits.
///
/// # Errors
/// What is wrong or not supported, and where.
pub(crate) fn read(text: &str) -> Result<Value, String> {
    if text.len() > BYTES_MAX {
        return Err(format!("the schema has {} bytes; {BYTES_MAX} are allowed", text.len()));
    }
    let schema: Value = serde_json::from_str(text).map_err(|e| format!("the schema is not JSON: {e}"))?;
    let mut walk = Walk { schemas: 0 };
    walk.schema(&schema, "#", 0)?;
    Ok(schema)
}

/// The same schema with bounds for numbers that have none, so that no answer holds a number that readers of JSON
/// refuse (`1e999`) or that never ends. Whatever fits the result fits the schema.
pub(crate) fn bounded(mut schema: Value) -> Value {
    bound(&mut schema);
    schema
}

struct Walk {
    schemas: usize,
}

impl Walk {
    fn schema(&mut self, schema: &Value, at: &str, depth: usize) -> Result<(), String> {
        self.schemas += 1;
        if depth > DEPTH_MAX || self.schemas > SCHEMAS_MAX {
            return Err(format!("{at}: more than {DEPTH_MAX} levels or {SCHEMAS_MAX} schemas"));
        }
        let map = match schema {
            Value::Bool(_) => return Ok(()),
            Value::Object(map) => map,
            _ => return Err(format!("{at}: a schema is an object or a boolean")),
        };
        for (keyword, value) in map {
            let at = format!("{at}/{keyword}");
            match keyword.as_str() {
                "properties" | "patternProperties" | "$defs" | "definitions" => {
                    let parts = value.as_object().ok_or_else(|| format!("{at}: must be an object"))?;
                    for (name, part) in parts {
                        if keyword == "patternProperties" && name.len() > PATTERN_BYTES_MAX {
                            return Err(format!("{at}: a pattern has at most {PATTERN_BYTES_MAX} bytes"));
                        }
                        self.schema(part, &format!("{at}/{name}"), depth + 1)?;
                    }
                }
                "anyOf" | "allOf" | "oneOf" | "prefixItems" => self.list(value, &at, depth)?,
                "items" if value.is_array() => self.list(value, &at, depth)?,
                "items" | "additionalProperties" | "additionalItems" => self.schema(value, &at, depth + 1)?,
                _ => keyword_fits(keyword, value, depth).map_err(|problem| format!("{at}: {problem}"))?,
            }
        }
        properties_fit(map).map_err(|problem| format!("{at}: {problem}"))
    }

    fn list(&mut self, value: &Value, at: &str, depth: usize) -> Result<(), String> {
        let parts = value.as_array().ok_or_else(|| format!("{at}: must be a list"))?;
        for (i, part) in parts.iter().enumerate() {
            self.schema(part, &format!("{at}/{i}"), depth + 1)?;
        }
        Ok(())
    }
}

fn keyword_fits(keyword: &str, value: &Value, depth: usize) -> Result<(), String> {
    match keyword {
        "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties" => {
            let fits = value.as_u64().is_some_and(|n| n <= COUNT_MAX);
            fits.then_some(()).ok_or_else(|| format!("must be a whole number up to {COUNT_MAX}"))
        }
        "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => {
            // The booleans of draft 4 go with a bound that is looked at by itself.
            let fits = value.is_boolean() || value.as_f64().is_some_and(|n| n.abs() <= NUMBER_MAX);
            fits.then_some(()).ok_or_else(|| format!("must be a number within ±{NUMBER_MAX:e}"))
        }
        "pattern" => {
            let fits = value.as_str().is_some_and(|p| p.len() <= PATTERN_BYTES_MAX);
            fits.then_some(()).ok_or_else(|| format!("must be a text of at most {PATTERN_BYTES_MAX} bytes"))
        }
        // References are looked up by their plain words, from the schema's own root.
        "$ref" => {
            let plain = |r: &str| r.starts_with('#') && !r.contains(['~', '%']);
            let fits = value.as_str().is_some_and(plain);
            fits.then_some(()).ok_or_else(|| "only `#/…` with plain names is supported".into())
        }
        "$id" | "id" if depth > 0 && value.is_string() => Err("only the whole schema may have one".into()),
        "$anchor" | "$dynamicAnchor" | "$dynamicRef" | "$recursiveRef" => Err("is not supported".into()),
        // It would change how the answer is written, up to something that is not JSON.
        "x-guidance" => Err("is not supported".into()),
        _ => Ok(()),
    }
}

/// Names beside the listed ones may come twice, which a reader counts once.
fn properties_fit(map: &Map<String, Value>) -> Result<(), String> {
    let least = map.get("minProperties").and_then(Value::as_u64).unwrap_or(0);
    let required = map.get("required").and_then(Value::as_array).map_or(0, Vec::len) as u64;
    let fits = least <= required + 1;
    fits.then_some(())
        .ok_or_else(|| "minProperties above the number of required ones is not supported".into())
}

fn bound(schema: &mut Value) {
    let Value::Object(map) = schema else { return };
    for (keyword, value) in map.iter_mut() {
        match (keyword.as_str(), value) {
            ("properties" | "patternProperties" | "$defs" | "definitions", Value::Object(parts)) => {
                parts.values_mut().for_each(bound);
            }
            ("anyOf" | "allOf" | "oneOf" | "prefixItems" | "items", Value::Array(parts)) => {
                parts.iter_mut().for_each(bound);
            }
            ("items" | "additionalProperties" | "additionalItems", part) => bound(part),
            _ => {}
        }
    }
    let number = |t: &Value| matches!(t.as_str(), Some("number" | "integer"));
    let is_number = match map.get("type") {
        Some(Value::Array(types)) => types.iter().any(number),
        Some(one) => number(one),
        None => false,
    };
    if is_number {
        for (name, other, most) in
            [("minimum", "exclusiveMinimum", -NUMBER_MAX), ("maximum", "exclusiveMaximum", NUMBER_MAX)]
        {
            if !map.contains_key(name) && !map.contains_key(other) {
                map.insert(name.into(), Value::from(most as i64));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn verdict(schema: &Value) -> Result<(), String> {
        read(&schema.to_string()).map(drop)
    }

    #[test]
    fn what_is_too_large_or_understood_otherwise_is_refused_by_name() {
        for (schema, word) in [
            (json!([]), "object or a boolean"),
            (json!({"type": "array", "minItems": 1_000_000_000}), "#/minItems"),
            (json!({"properties": {"a": {"maxLength": 1e9}}}), "#/properties/a/maxLength"),
            (json!({"items": {"type": "number", "minimum": 1e300}}), "#/items/minimum"),
            (json!({"pattern": "a".repeat(600)}), "#/pattern"),
            (json!({"$ref": "https://example.com/schema"}), "$ref"),
            (json!({"$ref": "#/$defs/a~1b"}), "$ref"),
            (json!({"properties": {"a": {"$id": "other"}}}), "$id"),
            (json!({"x-guidance": {"item_separator": ";"}}), "x-guidance"),
            (json!({"type": "object", "minProperties": 3, "required": ["a"]}), "minProperties"),
            (json!({"anyOf": {}}), "must be a list"),
        ] {
            let error = verdict(&schema).unwrap_err();
            assert!(error.contains(word), "{schema}: {error}");
        }
        let deep = (0..40).fold(json!({}), |inner, _| json!({"items": inner}));
        assert!(verdict(&deep).unwrap_err().contains("levels"));
        assert!(read(&" ".repeat(BYTES_MAX + 1)).unwrap_err().contains("bytes"));
        assert!(read("{\"type\":").unwrap_err().contains("not JSON"));
    }

    #[test]
    fn names_of_properties_and_examples_are_no_keywords() {
        let schema = json!({"type": "object", "properties": {"pattern": {}, "minItems": {"enum": ["x"]},
            "$id": {"type": "string"}}, "default": {"$ref": 5}, "examples": [{"minItems": 1e12}],
            "const": {"x-guidance": 1}});
        assert_eq!(verdict(&schema), Ok(()));
    }

    #[test]
    fn numbers_without_bounds_get_some() {
        let schema = json!({"properties": {"a": {"type": "number"}, "b": {"type": ["integer", "null"], "minimum": 3},
            "c": {"type": "string"}, "type": {"type": "number", "exclusiveMaximum": 2}}});
        let most = NUMBER_MAX as i64;
        assert_eq!(
            bounded(schema)["properties"],
            json!({"a": {"type": "number", "minimum": -most, "maximum": most},
                "b": {"type": ["integer", "null"], "minimum": 3, "maximum": most},
                "c": {"type": "string"},
                "type": {"type": "number", "exclusiveMaximum": 2, "minimum": -most}})
        );
    }
}
