//! A JSON value as a reader wants it: members as terms with their meanings, lists of objects as tables, groups under
//! headings. Every text in it is text, whatever it looks like.

use bul_document::{Block, Definition, Inline, text};
use serde_json::{Map, Value};

use crate::compute::free::{human, shown, table};
use crate::compute::lines;
use crate::format::Locale;
use crate::json::scalar;

/// Groups that get headings; deeper ones are indented.
const HEADINGS_MAX: u8 = 3;
/// Groups within groups that are indented; the rest is shown as JSON. A document may be twelve blocks deep.
const INDENTS_MAX: usize = 4;
/// Plain values listed one below the other; more of them flow as text.
const ITEMS_MAX: usize = 200;
/// Columns of a table, beyond which nobody can read it.
const COLUMNS_MAX: usize = 12;
/// Rows of a table.
const ROWS_MAX: usize = 5_000;
/// Stands for what is there and empty.
const NOTHING: &str = "–";

/// Blocks of a whole answer.
pub(super) fn blocks(answer: &Value, language: &str) -> Vec<Block> {
    let show = Show { locale: Locale::of(language) };
    match answer {
        Value::Object(members) => show.sections(members, 1),
        other => show.nested(other, 0),
    }
}

struct Show {
    locale: Locale,
}

impl Show {
    /// Plain members first, since what stands behind a heading belongs to it.
    fn sections(&self, members: &Map<String, Value>, level: u8) -> Vec<Block> {
        let (plain, groups): (Vec<_>, Vec<_>) = members.iter().partition(|(_, value)| is_plain(value));
        let mut out = Vec::new();
        if !plain.is_empty() {
            let entries = plain.into_iter().map(|(name, value)| self.definition(name, value, 0)).collect();
            out.push(Block::Definitions { entries });
        }
        for (name, value) in groups {
            out.push(Block::Heading { level, text: text(label(name)), id: String::new() });
            match value {
                Value::Object(inner) if level < HEADINGS_MAX => out.extend(self.sections(inner, level + 1)),
                other => out.extend(self.nested(other, 0)),
            }
        }
        if out.is_empty() { nothing() } else { out }
    }

    /// A value without headings, so that it can stand within another.
    fn nested(&self, value: &Value, indent: usize) -> Vec<Block> {
        match value {
            _ if is_plain(value) => vec![Block::Paragraph { text: self.inline(value) }],
            _ if indent >= INDENTS_MAX => {
                let json = serde_json::to_string_pretty(value).unwrap_or_default();
                vec![Block::Code { language: "json".into(), text: json }]
            }
            Value::Object(members) => {
                let entries =
                    members.iter().map(|(name, value)| self.definition(name, value, indent)).collect();
                vec![Block::Definitions { entries }]
            }
            Value::Array(items) if items.iter().all(is_plain) && items.len() > ITEMS_MAX => {
                let words: Vec<String> =
                    items.iter().map(|item| scalar(item).unwrap_or_else(|| NOTHING.into())).collect();
                vec![Block::Paragraph { text: text(words.join(", ")) }]
            }
            Value::Array(items) if is_table(items) => vec![Block::Table(table(self.locale, items))],
            Value::Array(items) => {
                let items = items.iter().map(|item| self.nested(item, indent + 1)).collect();
                vec![Block::List { ordered: false, items }]
            }
            // Plain, and seen to above.
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
        }
    }

    fn definition(&self, name: &str, value: &Value, indent: usize) -> Definition {
        Definition { term: text(label(name)), meaning: self.nested(value, indent + 1) }
    }

    fn inline(&self, value: &Value) -> Vec<Inline> {
        match scalar(value) {
            Some(words) => lines(&shown(self.locale, &words)),
            None => text(NOTHING),
        }
    }
}

/// Values of one paragraph: scalars, and what is empty.
fn is_plain(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => members.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// Objects of plain members, few enough names in all.
fn is_table(items: &[Value]) -> bool {
    let mut names: Vec<&str> = Vec::new();
    for item in items {
        let Value::Object(members) = item else { return false };
        if members.is_empty() || !members.values().all(is_plain) {
            return false;
        }
        for name in members.keys() {
            if !names.contains(&name.as_str()) {
                names.push(name);
            }
            if names.len() > COLUMNS_MAX {
                return false;
            }
        }
    }
    items.len() <= ROWS_MAX
}

/// A name that may be nothing but signs.
fn label(name: &str) -> String {
    let label = human(name);
    if label.trim().is_empty() { NOTHING.into() } else { label }
}

fn nothing() -> Vec<Block> {
    vec![Block::Paragraph { text: text(NOTHING) }]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kinds(answer: &Value) -> Vec<String> {
        let name = |block: &Block| {
            let json = serde_json::to_value(block).unwrap_or_default();
            json["block"].as_str().unwrap_or_default().to_owned()
        };
        blocks(answer, "en").iter().map(name).collect()
    }

    #[test]
    fn each_shape_has_its_block() {
        for (answer, expected) in [
            (json!(7), &["paragraph"][..]),
            (json!(""), &["paragraph"]),
            (json!({}), &["paragraph"]),
            (json!({"a": 1, "b": "x"}), &["definitions"]),
            (json!(["a", "b"]), &["list"]),
            (json!([{"a": 1}, {"b": 2}]), &["table"]),
            (json!([{"a": [1]}]), &["list"]),
            (json!(vec![1; 300]), &["paragraph"]),
            (
                json!({"rows": [{"a": 1}], "n": 1, "who": {"name": "x"}}),
                &["definitions", "heading", "table", "heading", "definitions"],
            ),
        ] {
            assert_eq!(kinds(&answer), expected, "{answer}");
        }
    }

    #[test]
    fn any_depth_width_and_name_makes_a_valid_document() {
        let deep = (0..60)
            .fold(json!("end"), |inner, n| if n % 2 == 0 { json!({ "a": inner }) } else { json!([inner]) });
        let wide: Map<String, Value> = (0..400).map(|n| (format!("member {n}"), json!(n))).collect();
        let odd = json!({"": 1, "…": "", "日本": [null], "[due]": {"x": {}}, "# h": "**b** <i>\n\n\n| a |"});
        for answer in [deep, json!([wide.clone(), wide]), odd] {
            let meta = bul_document::Meta { title: "T".into(), lang: "en".into(), ..Default::default() };
            let blocks = blocks(&answer, "en");
            let document = bul_document::Document { meta, blocks, facts: Vec::new(), sources: Vec::new() };
            let normal = bul_document::normalise(document).expect("valid");
            for format in [bul_document::Format::Md, bul_document::Format::Html, bul_document::Format::Txt] {
                assert!(bul_document::write(&normal, format).is_ok());
            }
        }
    }
}
