//! Exact arithmetic and grouping for bodies; results are decimal strings.

use minijinja::value::{Kwargs, Value};
use minijinja::{Environment, Error, ErrorKind};
use rust_decimal::{Decimal, RoundingStrategy};

use super::value::{decimal, is_blank, printed};

pub(super) fn register(env: &mut Environment<'static>) {
    env.add_function("add", |a: &Value, b: &Value| exact(a, b, Decimal::checked_add));
    env.add_function("sub", |a: &Value, b: &Value| exact(a, b, Decimal::checked_sub));
    env.add_function("mul", |a: &Value, b: &Value| exact(a, b, Decimal::checked_mul));
    env.add_function("div", |a: &Value, b: &Value| exact(a, b, Decimal::checked_div));
    env.add_function("round", round);
    env.add_function("sum", |items: &Value, key: Option<String>| total(items, key.as_deref()));
    env.add_function("group_by", group_by);
    env.add_filter("sum", |items: &Value, options: Kwargs| {
        let key: Option<String> = options.get("attribute")?;
        options.assert_all_used()?;
        total(items, key.as_deref())
    });
    env.add_filter("round", round);
    env.add_filter("abs", |value: &Value| decimal(value).map(|d| d.abs().to_string()));
}

fn exact(a: &Value, b: &Value, operation: fn(Decimal, Decimal) -> Option<Decimal>) -> Result<String, Error> {
    operation(decimal(a)?, decimal(b)?)
        .map(|result| result.normalize().to_string())
        .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "the result is not a decimal in range"))
}

/// Rounds half away from zero, as invoices do.
fn round(value: &Value, digits: Option<u32>) -> Result<String, Error> {
    let digits = digits.unwrap_or(2).min(10);
    Ok(decimal(value)?.round_dp_with_strategy(digits, RoundingStrategy::MidpointAwayFromZero).to_string())
}

/// Sum of numbers, or of one member of every item; blanks count as nothing.
fn total(items: &Value, key: Option<&str>) -> Result<String, Error> {
    Ok(total_of(items, key)?.to_string())
}

fn total_of(items: &Value, key: Option<&str>) -> Result<Decimal, Error> {
    let mut total = Decimal::ZERO;
    for item in items.try_iter()? {
        let value = member(&item, key)?;
        if is_blank(&value) {
            continue;
        }
        total = total
            .checked_add(decimal(&value)?)
            .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "the sum is out of range"))?;
    }
    Ok(total)
}

fn member(item: &Value, key: Option<&str>) -> Result<Value, Error> {
    key.map_or_else(|| Ok(item.clone()), |key| item.get_attr(key))
}

/// Groups items by one member: a list of `{key, items, count, sum}` in order of appearance, where
/// `sum` adds the member named by `sum=`.
fn group_by(items: &Value, key: String, options: Kwargs) -> Result<Value, Error> {
    let sum: Option<String> = options.get("sum")?;
    options.assert_all_used()?;
    let mut groups: Vec<(String, Vec<Value>)> = Vec::new();
    for item in items.try_iter()? {
        let name = member(&item, Some(&key))?;
        let name = if is_blank(&name) { String::new() } else { printed(&name)? };
        match groups.iter_mut().find(|(known, _)| *known == name) {
            Some((_, list)) => list.push(item),
            None => groups.push((name, vec![item])),
        }
    }
    let mut out = Vec::new();
    for (name, list) in groups {
        let count = list.len();
        let list = Value::from(list);
        let total = match &sum {
            Some(member) => Value::from(total(&list, Some(member))?),
            None => Value::from(()),
        };
        out.push(Value::from_pairs([
            ("key", Value::from(name)),
            ("items", list),
            ("count", Value::from(count)),
            ("sum", total),
        ]));
    }
    Ok(Value::from(out))
}
