//! What a JSON Schema must be like before anything is made of it.
//!
//! Schemas come from callers. A small text can ask for a huge automaton (`"minItems": 1000000000`), and some keywords
//! would be understood here otherwise than by a validator; both are refused with a word on why. Called by `grammar` and
//! by the backends, so that a schema that one of them takes is taken by all.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// Bytes of a schema's text.
const BYTES_MAX: usize = 64 << 10;
/// Schemas within schemas; the compiler's stack grows with them.
const DEPTH_MAX: usize = 32;
/// Schemas in one schema.
const SCHEMAS_MAX: usize = 4096;
/// Copies of values that the compiler may make to bring alternatives together with what stands beside them.
const COPIES_MAX: u64 = 200_000;
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
    let mut walk = Walk::default();
    walk.schema(&schema, "#", 0)?;
    walk.references_fit()?;
    walk.copies_fit()?;
    Ok(schema)
}

/// The same schema with bounds for numbers that have none, so that no answer holds a number that readers of JSON
/// refuse (`1e999`) or that never ends. Whatever fits the result fits the schema.
pub(crate) fn bounded(mut schema: Value) -> Value {
    bound(&mut schema);
    schema
}

#[derive(Default)]
struct Walk<'a> {
    /// Schemas and fixed values.
    count: usize,
    /// All schemas, by what a reference to each looks like.
    places: HashMap<String, &'a Value>,
    /// Where a reference stands, and where it leads.
    references: Vec<(String, &'a str)>,
}

impl<'a> Walk<'a> {
    fn schema(&mut self, schema: &'a Value, at: &str, depth: usize) -> Result<(), String> {
        self.counted(1, at)?;
        if depth > DEPTH_MAX {
            return Err(format!("{at}: more than {DEPTH_MAX} levels"));
        }
        self.places.insert(at.to_owned(), schema);
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
                        // A name with a slash would look like a way through other places.
                        let name = if name.contains('/') { "?" } else { name };
                        self.schema(part, &format!("{at}/{name}"), depth + 1)?;
                    }
                }
                "enum" | "const" => self.counted(values(value), &at)?,
                "anyOf" | "allOf" | "oneOf" | "prefixItems" => self.list(value, &at, depth)?,
                "items" if value.is_array() => self.list(value, &at, depth)?,
                "items" | "additionalProperties" | "additionalItems" => self.schema(value, &at, depth + 1)?,
                _ => keyword_fits(keyword, value, depth).map_err(|problem| format!("{at}: {problem}"))?,
            }
        }
        if let Some(reference) = map.get("$ref").and_then(Value::as_str) {
            self.references.push((at.to_owned(), reference));
        }
        properties_fit(map).map_err(|problem| format!("{at}: {problem}"))
    }

    fn counted(&mut self, values: usize, at: &str) -> Result<(), String> {
        self.count += values;
        let fits = self.count <= SCHEMAS_MAX;
        fits.then_some(()).ok_or_else(|| format!("{at}: more than {SCHEMAS_MAX} schemas and values"))
    }

    /// References lead to schemas that were looked at: what lies behind an example or a default was not.
    fn references_fit(&self) -> Result<(), String> {
        let astray = self.references.iter().find(|(_, to)| !self.places.contains_key(*to));
        astray.map_or(Ok(()), |(at, to)| Err(format!("{at}/$ref: there is no schema at {to:?}")))
    }

    /// The compiler copies what stands beside `anyOf` for each alternative, and for each pair of those of two.
    fn copies_fit(&self) -> Result<(), String> {
        let mut known = HashMap::new();
        for (at, schema) in &self.places {
            let copies = self.alternatives(schema, &mut known).saturating_mul(values(schema) as u64);
            if copies > COPIES_MAX {
                return Err(format!("{at}: its alternatives make more than {COPIES_MAX} values"));
            }
        }
        Ok(())
    }

    /// Ways to fit `schema` that are told apart at its own level; of a schema that contains itself, one.
    fn alternatives(&self, schema: &'a Value, known: &mut HashMap<&'a str, u64>) -> u64 {
        let Value::Object(map) = schema else { return 1 };
        let mut ways: u64 = 1;
        for keyword in ["anyOf", "oneOf", "allOf"] {
            let parts = map.get(keyword).and_then(Value::as_array).into_iter().flatten();
            let of_parts = parts.map(|part| self.alternatives(part, known));
            let found = match keyword {
                "allOf" => of_parts.fold(1, u64::saturating_mul),
                _ => of_parts.fold(0, u64::saturating_add).max(1),
            };
            ways = ways.saturating_mul(found);
        }
        let Some(to) = map.get("$ref").and_then(Value::as_str) else { return ways };
        let of_target = match (known.get(to), self.places.get(to)) {
            (Some(found), _) => *found,
            (None, Some(target)) => {
                known.insert(to, 1);
                let found = self.alternatives(target, known);
                known.insert(to, found);
                found
            }
            (None, None) => 1,
        };
        ways.saturating_mul(of_target)
    }

    fn list(&mut self, value: &'a Value, at: &str, depth: usize) -> Result<(), String> {
        let parts = value.as_array().ok_or_else(|| format!("{at}: must be a list"))?;
        for (i, part) in parts.iter().enumerate() {
            self.schema(part, &format!("{at}/{i}"), depth + 1)?;
        }
        Ok(())
    }
}

/// Values within a value, itself included.
fn values(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(values).sum::<usize>(),
        Value::Object(members) => 1 + members.values().map(values).sum::<usize>(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 1,
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
        let wide = json!({"type": "object", "properties": {"a": {"enum": vec![1; 3000]}},
            "anyOf": vec![json!({"type": "object"}); 900]});
        assert!(verdict(&wide).unwrap_err().contains("alternatives"));
        let two = json!({"anyOf": [{"type": "object", "minProperties": 1}, {"type": "object"}]});
        assert!(verdict(&json!({"allOf": vec![two; 14]})).unwrap_err().contains("alternatives"));
        let doubled = |n: usize| json!({"anyOf": vec![json!({"$ref": format!("#/$defs/a{n}")}); 8]});
        let chain: Map<String, Value> = (0..8).map(|n| (format!("a{n}"), doubled(n + 1))).collect();
        let mut chain = json!({"$ref": "#/$defs/a0", "$defs": chain});
        chain["$defs"]["a8"] = json!({"type": "null"});
        assert!(verdict(&chain).unwrap_err().contains("alternatives"));
        assert!(verdict(&json!({"enum": vec![1; 5000]})).unwrap_err().contains("schemas and values"));
        for (behind, to) in [("default", "#/default"), ("examples", "#/examples/0"), ("x", "#/x")] {
            let huge = json!({"type": "array", "minItems": 1_000_000_000});
            let place = if behind == "examples" { json!([huge]) } else { huge };
            let error = verdict(&json!({"$ref": to, behind: place})).unwrap_err();
            assert!(error.contains("no schema at"), "{error}");
        }
        let through = json!({"$ref": "#/properties/a/default", "properties": {
            "a": {"default": {"minItems": 1e9}}, "a/default": {}}});
        assert!(verdict(&through).unwrap_err().contains("no schema at"));
        let list =
            json!({"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}});
        assert_eq!(verdict(&list), Ok(()));
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
