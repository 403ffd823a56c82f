//! What a body may read, by name: few names, so that looking through them is cheaper than hashing one.

use std::borrow::Cow;
use std::sync::Arc;

use minijinja::value::{Enumerator, Object, Value};

/// Names and what they stand for; of a name that comes twice, the later one counts.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names(Vec<(Cow<'static, str>, Value)>);

impl Names {
    pub(crate) fn add(&mut self, name: impl Into<Cow<'static, str>>, value: Value) {
        self.0.push((name.into(), value));
    }
}

impl Object for Names {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.0.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value.clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.iter().map(|(name, _)| Value::from(name.as_ref())).collect())
    }
}

#[cfg(test)]
mod tests {
    use minijinja::Environment;

    use super::*;

    #[test]
    fn the_later_of_two_counts_and_others_are_undefined() {
        let mut names = Names::default();
        names.add("a", Value::from(1));
        names.add("b".to_owned(), Value::from(2));
        names.add("a", Value::from(3));
        let env = Environment::new();
        let shown = env.render_str("{{ a }} {{ b }} {{ c is defined }}", Value::from_object(names));
        assert_eq!(shown.expect("a body"), "3 2 False");
    }
}
