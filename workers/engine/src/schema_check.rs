//! Whether answers can be held to a schema, found out without a model.
//!
//! Where jobs are accepted no model need be loaded, and what a worker would refuse must be refused there: the sender is
//! still listening. A schema is compiled for single bytes with the limits of the engine, so the verdict is the engine's
//! but for what a larger vocabulary costs more. Verdicts are kept, since jobs of one kind bring one schema.

use std::collections::VecDeque;
use std::sync::OnceLock;

use llguidance::ParserFactory;
use parking_lot::Mutex;

use crate::grammar::{compile, factory};

/// Verdicts kept; one takes some hundred bytes.
const VERDICTS_MAX: usize = 1024;

/// Checks schemas for answers. One for each process; any number of threads may ask.
#[derive(Default)]
pub struct SchemaCheck {
    factory: OnceLock<Result<ParserFactory, String>>,
    /// Compiling takes memory: one at a time.
    turn: Mutex<()>,
    /// By digest of the text, the last used at the end.
    verdicts: Mutex<VecDeque<(blake3::Hash, Result<(), String>)>>,
}

impl SchemaCheck {
    /// Checks the text of a schema. A new one can take tens of milliseconds: call it from a thread that may block.
    ///
    /// # Errors
    /// What is wrong with it, which keywords are not supported, or that it would cost too much.
    pub fn check(&self, schema: &str) -> Result<(), String> {
        let name = blake3::hash(schema.as_bytes());
        if let Some(verdict) = self.known(name) {
            return verdict;
        }
        let turn = self.turn.lock();
        let factory = self.factory.get_or_init(bytes).as_ref().map_err(String::clone);
        let verdict = factory.and_then(|factory| compile(factory, schema).map(drop));
        drop(turn);
        let mut verdicts = self.verdicts.lock();
        verdicts.push_back((name, verdict.clone()));
        if verdicts.len() > VERDICTS_MAX {
            verdicts.pop_front();
        }
        verdict
    }

    fn known(&self, name: blake3::Hash) -> Option<Result<(), String>> {
        let mut verdicts = self.verdicts.lock();
        let at = verdicts.iter().position(|(known, _)| *known == name)?;
        let found = verdicts.remove(at)?;
        let verdict = found.1.clone();
        verdicts.push_back(found);
        Some(verdict)
    }
}

/// A vocabulary of the 256 bytes and an end.
fn bytes() -> Result<ParserFactory, String> {
    let end = 256;
    // The byte 0xff marks control tokens there; no JSON holds it.
    let spelled = |id: u32| u8::try_from(id).ok().filter(|byte| *byte != 0xff).into_iter().collect();
    let words: Vec<Vec<u8>> = (0..=end).map(spelled).collect();
    factory(&words, &[end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(schema: &Value, word: &str) {
        let checks = SchemaCheck::default();
        for round in ["new", "known"] {
            let verdict = checks.check(&schema.to_string()).err().unwrap_or_default();
            let fits = verdict.contains(word) && verdict.is_empty() == word.is_empty() && verdict.len() < 500;
            assert!(fits, "{round}: {schema}: {verdict:?}");
        }
        assert_eq!(checks.verdicts.lock().len(), 1);
    }

    #[test]
    fn verdicts_name_what_is_wrong() {
        check(
            &json!({"type": "object", "properties": {"kind": {"enum": ["a", "b"]}, "n": {"type": "integer"},
                "text": {"type": "string", "maxLength": 40}}, "required": ["kind", "n", "text"],
                "additionalProperties": false}),
            "",
        );
        check(&json!({"type": "string", "pattern": "^[a-z]+@[a-z]+$"}), "");
        check(&json!({"type": "array", "uniqueItems": true}), "uniqueItems");
        check(&json!({"not": {"type": "string"}, "type": "integer"}), "not");
        check(&json!({"oneOf": [{"type": "integer"}, {"type": "number"}]}), "use `anyOf`");
        check(&json!({"type": "array", "minItems": 1_000_000_000}), "#/minItems");
        check(&json!({"type": "integer", "minimum": 3, "maximum": 2}), "cannot be held to");
        check(&json!({"type": "string", "pattern": "(["}), "pattern cannot be read: un");
        check(&json!({"type": "string", "pattern": "^(?=a)b"}), "look-around");
        check(&json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}), "no value fits");
    }

    #[test]
    fn few_verdicts_are_kept() {
        let checks = SchemaCheck::default();
        for n in 0..VERDICTS_MAX + 10 {
            // Not JSON, so that nothing is compiled.
            assert!(checks.check(&format!("{n}:")).is_err());
        }
        assert_eq!(checks.verdicts.lock().len(), VERDICTS_MAX);
    }
}
