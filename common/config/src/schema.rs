//! The configuration file as a JSON Schema.

use serde_json::{Value, json};

use crate::options::{Config, TenantShare};

/// JSON Schema (2020-12) of the configuration file, from the defaults.
pub fn schema() -> Value {
    let defaults = serde_json::to_value(Config::default()).unwrap_or(Value::Null);
    let mut schema = of_value(&defaults);
    schema["$schema"] = json!("https://json-schema.org/draft/2020-12/schema");
    schema["title"] = json!("bul.toml");
    // Its members are named by whoever writes the file.
    let share = serde_json::to_value(TenantShare::default()).unwrap_or(Value::Null);
    schema["properties"]["model"]["properties"]["tenants"] =
        json!({"type": "object", "additionalProperties": of_value(&share)});
    schema
}

fn of_value(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let properties: serde_json::Map<_, _> =
                map.iter().map(|(k, v)| (k.clone(), of_value(v))).collect();
            json!({"type": "object", "properties": properties, "additionalProperties": false})
        }
        Value::Array(_) => json!({"type": "array", "items": {"type": "string"}, "default": value}),
        Value::Number(_) => json!({"type": "integer", "minimum": 0, "default": value}),
        Value::Bool(_) => json!({"type": "boolean", "default": value}),
        Value::String(_) | Value::Null => json!({"type": "string", "default": value}),
    }
}
