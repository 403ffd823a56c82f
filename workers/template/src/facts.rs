//! Facts: named values with their origin; the only figures and names prose may use.

use std::sync::Arc;

use bul_document::Fact;

/// Facts in the order they were found, unique by name. A copy shares them.
#[derive(Debug, Clone, Default)]
pub(crate) struct FactSet {
    list: Arc<Vec<Fact>>,
}

impl FactSet {
    /// Adds a fact; an empty value or a name that is taken adds nothing.
    pub(crate) fn add(&mut self, name: &str, value: impl Into<String>, origin: impl Into<String>) {
        let name = slug(name);
        let value = value.into();
        if !value.trim().is_empty() && self.get(&name).is_none() {
            Arc::make_mut(&mut self.list).push(Fact { name, value, origin: origin.into() });
        }
    }

    /// Adds a fact whose value may be absent.
    pub(crate) fn add_some(&mut self, name: &str, value: Option<String>, origin: &str) {
        if let Some(value) = value {
            self.add(name, value, origin);
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Fact> {
        self.list.iter().find(|fact| fact.name == name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Fact> {
        self.list.iter()
    }

    pub(crate) fn into_vec(self) -> Vec<Fact> {
        Arc::unwrap_or_clone(self.list)
    }
}

/// A valid fact name (`[a-z][a-z0-9_]*`) for any text: `Due Date!` becomes `due_date`.
pub(crate) fn slug(text: &str) -> String {
    let mut out = String::new();
    let mut previous_lower = false;
    for c in text.chars().take(200) {
        let Some(plain) = ascii(c) else {
            if !out.is_empty() && !out.ends_with('_') {
                out.push('_');
            }
            previous_lower = false;
            continue;
        };
        // `dueDate` names the same thing as `due_date`.
        if c.is_ascii_uppercase() && previous_lower {
            out.push('_');
        }
        previous_lower = c.is_ascii_lowercase() || c.is_ascii_digit();
        match plain {
            Plain::One(c) => out.push(c),
            Plain::Two(text) => out.push_str(text),
        }
    }
    let mut out: String = out.trim_matches('_').chars().take(60).collect();
    if !out.starts_with(|c: char| c.is_ascii_lowercase()) {
        out = format!("f_{out}");
    }
    out.trim_end_matches('_').to_owned()
}

/// What a character becomes in a name.
enum Plain {
    One(char),
    Two(&'static str),
}

fn ascii(c: char) -> Option<Plain> {
    Some(match c {
        'ä' | 'Ä' => Plain::Two("ae"),
        'ö' | 'Ö' => Plain::Two("oe"),
        'ü' | 'Ü' => Plain::Two("ue"),
        'ß' => Plain::Two("ss"),
        c if c.is_ascii_alphanumeric() => Plain::One(c.to_ascii_lowercase()),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_valid() {
        for (input, expected) in [
            ("due_date", "due_date"),
            ("Due Date!", "due_date"),
            ("dueDate", "due_date"),
            ("Fälligkeit", "faelligkeit"),
            ("2nd quarter", "f_2nd_quarter"),
            ("", "f"),
            ("日本", "f"),
            ("__a__", "a"),
            ("URL", "url"),
        ] {
            assert_eq!(slug(input), expected, "{input}");
        }
    }

    #[test]
    fn first_value_of_a_name_wins_and_blanks_are_no_facts() {
        let mut facts = FactSet::default();
        facts.add("a", "1", "/a");
        facts.add("a", "2", "/b");
        facts.add("b", "  ", "/c");
        assert_eq!(facts.iter().map(|f| f.value.as_str()).collect::<Vec<_>>(), ["1"]);
    }
}
