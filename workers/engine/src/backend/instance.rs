//! The smallest value that fits a JSON Schema, for a model that has no words of its own.
//!
//! Only what can be met without search: required properties, least items, least lengths, bounds. What needs more, as a
//! pattern does, is refused with a word on what it was. Called by `scripted`.

use serde_json::{Map, Value};

use crate::constraint::schema;

/// References followed one within the other: a schema may contain itself.
const DEPTH_MAX: usize = 32;
/// Values and bytes of texts looked at for one answer: a small schema can ask for a huge value, or for ever more tries.
const WORK_MAX: usize = 64 << 10;

/// Text of a value that fits the schema.
///
/// # Errors
/// What is wrong with the schema, or cannot be met here.
pub(super) fn of(text: &str) -> Result<String, String> {
    let root = schema::read(text)?;
    let mut left = WORK_MAX;
    let found = value(&root, &root, 0, &mut left);
    if left == 0 {
        return Err("the scripted model finds no small value for this schema".into());
    }
    Ok(found?.to_string())
}

/// `left` is what may still be spent; at 0 nothing is looked at any more, whatever else could be tried.
fn value(schema: &Value, root: &Value, depth: usize, left: &mut usize) -> Result<Value, String> {
    spend(left, 1)?;
    if depth > DEPTH_MAX {
        return Err("the scripted model cannot end this schema, which contains itself".into());
    }
    let map = match schema {
        Value::Bool(true) => return Ok(Value::Null),
        Value::Object(map) => map,
        _ => return Err("nothing fits the schema `false`".into()),
    };
    let first = map.get("enum").and_then(Value::as_array).map(|choices| choices.first());
    if let Some(fixed) = map.get("const").map(Some).or(first) {
        let fixed = fixed.ok_or("nothing fits an empty `enum`")?;
        spend(left, fixed.to_string().len())?;
        return Ok(fixed.clone());
    }
    for keyword in
        ["allOf", "oneOf", "patternProperties", "multipleOf", "pattern", "format", "uniqueItems", "not"]
    {
        if map.contains_key(keyword) {
            return Err(format!("the scripted model cannot meet `{keyword}`"));
        }
    }
    if let Some(reference) = map.get("$ref").and_then(Value::as_str) {
        let target =
            root.pointer(reference.trim_start_matches('#')).ok_or_else(|| format!("no {reference}"))?;
        return value(target, root, depth + 1, left);
    }
    if let Some(choices) = map.get("anyOf").and_then(Value::as_array) {
        let found = choices.iter().find_map(|choice| value(choice, root, depth + 1, left).ok());
        return found.ok_or_else(|| "the scripted model cannot meet any part of `anyOf`".into());
    }
    let kind = match map.get("type") {
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str),
        Some(kind) => kind.as_str(),
        None => None,
    };
    match kind.unwrap_or(if map.contains_key("properties") { "object" } else { "null" }) {
        "null" => Ok(Value::Null),
        "boolean" => Ok(Value::Bool(false)),
        "string" => {
            let least = count(map, "minLength");
            spend(left, least)?;
            Ok(Value::String("a".repeat(least)))
        }
        "integer" => number(map, true),
        "number" => number(map, false),
        "array" => array(map, root, depth, left),
        "object" => object(map, root, depth, left),
        other => Err(format!("there is no type `{other}`")),
    }
}

fn spend(left: &mut usize, cost: usize) -> Result<(), String> {
    *left = left.saturating_sub(cost);
    if *left == 0 { Err("too much is asked for".into()) } else { Ok(()) }
}

fn count(map: &Map<String, Value>, keyword: &str) -> usize {
    map.get(keyword).and_then(Value::as_u64).unwrap_or(0) as usize
}

fn array(map: &Map<String, Value>, root: &Value, depth: usize, left: &mut usize) -> Result<Value, String> {
    let any = Value::Bool(true);
    let first = map.get("prefixItems").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let rest = map.get("items").unwrap_or(&any);
    let item = |i: usize| value(first.get(i).unwrap_or(rest), root, depth + 1, left);
    (0..count(map, "minItems")).map(item).collect::<Result<_, _>>().map(Value::Array)
}

fn object(map: &Map<String, Value>, root: &Value, depth: usize, left: &mut usize) -> Result<Value, String> {
    let any = Value::Bool(true);
    let mut out = Map::new();
    let required = map.get("required").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    for name in required.iter().filter_map(Value::as_str) {
        let listed = map.get("properties").and_then(|p| p.get(name));
        let part = listed.or(map.get("additionalProperties")).unwrap_or(&any);
        out.insert(name.into(), value(part, root, depth + 1, left)?);
    }
    if out.len() < count(map, "minProperties") {
        return Err("the scripted model cannot meet `minProperties`".into());
    }
    Ok(Value::Object(out))
}

/// The number nearest to zero within the bounds.
fn number(map: &Map<String, Value>, whole: bool) -> Result<Value, String> {
    let bound = |name: &str| map.get(name).and_then(Value::as_f64);
    let step = if whole { 1.0 } else { 0.5 };
    let floor = |n: f64| if whole { n.floor() } else { n };
    let over = |n: Option<f64>| n.map_or(f64::NEG_INFINITY, |n| floor(n) + step);
    let least = bound("minimum").map_or(f64::NEG_INFINITY, |n| if whole { n.ceil() } else { n });
    let least = least.max(over(bound("exclusiveMinimum")));
    let under = |n: Option<f64>| n.map_or(f64::INFINITY, |n| -floor(-n) - step);
    let most = bound("maximum").map_or(f64::INFINITY, |n| if whole { n.floor() } else { n });
    let most = most.min(under(bound("exclusiveMaximum")));
    if least > most {
        return Err("the scripted model finds no number within the bounds".into());
    }
    let nearest = 0.0_f64.clamp(least, most);
    Ok(if nearest.fract() == 0.0 { Value::from(nearest as i64) } else { Value::from(nearest) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_would_be_huge_or_never_end_is_refused() {
        let text = json!({"type": "string", "minLength": 4096});
        let many = |items: Value| json!({"type": "array", "minItems": 4096, "items": items});
        let tries =
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": vec![json!({"$ref": "#/$defs/a"}); 8]}}});
        for schema in [many(many(text)), tries] {
            let error = of(&schema.to_string()).unwrap_err();
            assert!(error.contains("no small value"), "{error}");
        }
    }

    #[test]
    fn what_is_written_fits_the_schema() {
        for schema in [
            json!(true),
            json!({"type": "object", "required": ["a", "b"], "properties": {"a": {"type": "integer", "minimum": 7},
                "b": {"type": "array", "minItems": 2, "items": {"enum": ["x", "y"]}}, "c": {"type": "null"}}}),
            json!({"type": "integer", "exclusiveMinimum": 2, "maximum": 9}),
            json!({"type": "integer", "exclusiveMaximum": -2.5}),
            json!({"type": "number", "exclusiveMinimum": 2, "maximum": 9}),
            json!({"type": ["string", "null"], "minLength": 3}),
            json!({"$ref": "#/$defs/node", "$defs": {"node": {"type": "object", "required": ["next"], "properties": {
                "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}}}}}),
            json!({"type": "array", "minItems": 3, "prefixItems": [{"const": 5}], "items": {"type": "boolean"}}),
        ] {
            let text = of(&schema.to_string()).unwrap();
            let answer: Value = serde_json::from_str(&text).unwrap();
            assert!(jsonschema::is_valid(&schema, &answer), "{schema}: {text}");
        }
    }

    #[test]
    fn what_cannot_be_met_is_said() {
        for (schema, word) in [
            (json!(false), "false"),
            (json!({"type": "string", "pattern": "^a+$"}), "pattern"),
            (
                json!({"type": "object", "properties": {"a": {"type": "string", "format": "email"}}, "required": ["a"]}),
                "format",
            ),
            (json!({"type": "integer", "minimum": 3, "maximum": 2}), "bounds"),
            (json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}), "contains itself"),
        ] {
            let error = of(&schema.to_string()).unwrap_err();
            assert!(error.contains(word), "{schema}: {error}");
        }
    }
}
