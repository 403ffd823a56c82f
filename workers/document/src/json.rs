//! The tree as JSON: the form that a JSON Schema describes and other programs read.

use crate::Document;

/// Writes the tree as indented JSON with fields in a fixed order.
pub fn write_json(document: &Document) -> String {
    // Every field is a string, a number that normalisation found finite, or a list of such; serde
    // writes a non-finite number as null, so this cannot fail.
    let mut out = serde_json::to_string_pretty(document).unwrap_or_default();
    out.push('\n');
    out
}
