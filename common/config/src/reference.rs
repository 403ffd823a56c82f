//! The reference of all options as Markdown: what `docs/configuration.md` holds.
//!
//! Meanings are the comments that stand beside the options in the source, defaults are those in force: neither can be
//! forgotten. Printed by `bul reference configuration`.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::Config;
use crate::variables::{SECRETS, VARIABLES};

const SOURCE: &str = include_str!("options.rs");
/// The options without a section.
const TOP: &str = "Config";

/// One field of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Field {
    name: String,
    kind: String,
    meaning: String,
}

/// The reference.
pub fn reference() -> String {
    let structs = structs(SOURCE);
    let defaults = serde_json::to_value(Config::default()).unwrap_or(Value::Null);
    let mut out = String::from(
        "# Configuration\n\nWritten by `bul reference configuration`. Defaults < file (`--config`, `bul.toml`, \
         `$XDG_CONFIG_HOME/bul/bul.toml`, `/etc/bul/bul.toml`) < environment < flags. Secrets (*) may also come from a \
         file: the variable's name with `_FILE`.\n",
    );
    let mut pages = vec![(String::new(), TOP.to_owned())];
    while !pages.is_empty() {
        let (prefix, name) = pages.remove(0);
        let Some(fields) = structs.get(&name) else { continue };
        let heading = if prefix.is_empty() { "Top level".to_owned() } else { format!("[{prefix}]") };
        out.push_str(&format!(
            "\n## {heading}\n\n| Option | Variable | Default | Meaning |\n|---|---|---|---|\n"
        ));
        for field in fields {
            let path =
                if prefix.is_empty() { field.name.clone() } else { format!("{prefix}.{}", field.name) };
            match section(&field.kind, &structs) {
                Some((inner, false)) => pages.push((path, inner)),
                Some((inner, true)) => {
                    pages.push((format!("{path}.NAME"), inner));
                    out.push_str(&line(&path, field, &defaults));
                }
                None => out.push_str(&line(&path, field, &defaults)),
            }
        }
    }
    out
}

/// The options behind a type, and whether they are named by whoever writes the file.
fn section(kind: &str, structs: &BTreeMap<String, Vec<Field>>) -> Option<(String, bool)> {
    let named = kind.strip_prefix("BTreeMap<String, ").and_then(|rest| rest.strip_suffix('>'));
    let inner = named.unwrap_or(kind);
    structs.contains_key(inner).then(|| (inner.to_owned(), named.is_some()))
}

fn line(path: &str, field: &Field, defaults: &Value) -> String {
    let variable = VARIABLES.iter().find(|(_, option)| *option == path).map(|(name, _)| format!("`{name}`"));
    let default = path.split('.').try_fold(defaults, |value, key| value.get(key));
    let default = match default {
        // Shares of a tenant that nobody has named yet.
        None => "`0`".to_owned(),
        Some(Value::String(text)) if text.is_empty() => "empty".to_owned(),
        Some(Value::String(text)) => format!("`{text}`"),
        Some(Value::Object(map)) if map.is_empty() => "none".to_owned(),
        Some(Value::Array(items)) if items.is_empty() => "all".to_owned(),
        Some(other) => format!("`{other}`"),
    };
    let star = if SECRETS.contains(&path) { " *" } else { "" };
    let meaning = field.meaning.replace('|', "\\|");
    format!("| `{path}`{star} | {} | {default} | {meaning} |\n", variable.unwrap_or_default())
}

/// Structs of a source file with their public fields, each with its comment on one line.
fn structs(source: &str) -> BTreeMap<String, Vec<Field>> {
    let mut found: BTreeMap<String, Vec<Field>> = BTreeMap::new();
    let mut open: Option<String> = None;
    let mut comment: Vec<&str> = Vec::new();
    for line in source.lines() {
        let trimmed = line.trim();
        if let Some(text) = trimmed.strip_prefix("///") {
            comment.push(text.trim());
        } else if let Some(rest) = trimmed.strip_prefix("pub struct ") {
            open = rest.strip_suffix(" {").map(ToOwned::to_owned);
            comment.clear();
        } else if line == "}" {
            open = None;
        } else if let (Some(name), Some(field)) = (&open, trimmed.strip_prefix("pub ")) {
            if let Some((field, kind)) = field.trim_end_matches(',').split_once(": ") {
                let meaning = std::mem::take(&mut comment).join(" ");
                let field = Field { name: field.to_owned(), kind: kind.to_owned(), meaning };
                found.entry(name.clone()).or_default().push(field);
            }
        } else if !trimmed.starts_with("#[") {
            comment.clear();
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_with_their_comments() {
        let source = "/// A.\n#[derive(Debug)]\npub struct A {\n    /// One\n    /// two.\n    pub b: Vec<String>,\n}\n";
        let field = Field { name: "b".into(), kind: "Vec<String>".into(), meaning: "One two.".into() };
        assert_eq!(structs(source), BTreeMap::from([("A".to_owned(), vec![field])]));
    }

    #[test]
    fn every_option_stands_in_it_with_a_meaning() {
        fn walk(prefix: &str, value: &Value, text: &str) -> usize {
            let Value::Object(map) = value else {
                let line = text.lines().find(|line| line.starts_with(&format!("| `{prefix}`")));
                let line = line.unwrap_or_else(|| panic!("{prefix} is missing"));
                let meaning = line.trim_end_matches('|').rsplit(" | ").next().unwrap_or_default();
                assert!(meaning.trim().len() > 3, "{line}");
                return 1;
            };
            let path = |key: &str| if prefix.is_empty() { key.to_owned() } else { format!("{prefix}.{key}") };
            map.iter().map(|(key, inner)| walk(&path(key), inner, text)).sum()
        }
        let text = reference();
        let options = walk("", &serde_json::to_value(Config::default()).unwrap(), &text);
        assert!(options > 40, "{options}");
        for (variable, _) in VARIABLES {
            assert!(text.contains(&format!("| `{variable}` |")), "{variable} has no line");
        }
        assert!(text.contains("| `model.tenants.NAME.floor_percent` |"));
        assert!(
            text.lines()
                .all(|line| !line.starts_with('|') || line.replace("\\|", "").matches('|').count() == 5)
        );
    }
}
