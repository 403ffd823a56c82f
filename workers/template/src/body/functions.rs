//! Functions that put typed blocks aside: tables, charts, key–value lists, prose slots and so on.

use bul_document::{Block, CalloutKind, SignatureParty};
use minijinja::value::{Kwargs, Rest, Value};
use minijinja::{Environment, Error, ErrorKind, State};

use super::blocks;
use super::cx::{self, SlotSpec};
use super::value::{is_blank, printed};
use crate::facts::slug;
use crate::limits;

pub(super) fn register(env: &mut Environment<'static>) {
    env.add_function("table", table);
    env.add_function("chart", chart);
    env.add_function("key_values", key_values);
    env.add_function("columns", columns);
    env.add_function("callout", callout);
    env.add_function("definitions", definitions);
    env.add_function("signature", signature);
    env.add_function("page_break", |state: &mut State| -> Result<Value, Error> {
        Ok(cx::of(state)?.blocks(vec![Block::PageBreak]))
    });
    env.add_function("prose", prose);
    env.add_function("part", part);
    env.add_function("fact", fact);
    env.add_function("has_fact", |state: &mut State, name: String| -> Result<bool, Error> {
        Ok(cx::of(state)?.facts.get(&name).is_some())
    });
    env.add_function("t", |state: &mut State, english: String| -> Result<String, Error> {
        Ok(cx::of(state)?.label(&english))
    });
}

pub(super) fn fail(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message.into())
}

/// `table(rows, columns=[…], totals=[…], caption="…", currency="…")`.
fn table(state: &mut State, rows: &Value, options: Kwargs) -> Result<Value, Error> {
    let cx = cx::of(state)?;
    let table = blocks::table(&cx, rows, &options)?;
    options.assert_all_used()?;
    Ok(cx.blocks(vec![Block::Table(table)]))
}

/// `chart("bar", categories, series, unit="…", caption="…", alt="…")`.
fn chart(
    state: &mut State,
    kind: String,
    categories: &Value,
    series: &Value,
    options: Kwargs,
) -> Result<Value, Error> {
    let cx = cx::of(state)?;
    let figure = blocks::figure(&kind, categories, series, &options)?;
    options.assert_all_used()?;
    Ok(cx.blocks(vec![Block::Figure(figure)]))
}

/// `key_values([["Label", value], …])`; absent values leave their pair out.
fn key_values(state: &mut State, pairs: &Value) -> Result<Value, Error> {
    let cx = cx::of(state)?;
    let entries = blocks::key_values(&cx, pairs)?;
    if entries.is_empty() {
        return Ok(Value::from_safe_string(String::new()));
    }
    Ok(cx.blocks(vec![Block::KeyValue { entries }]))
}

/// `columns(left, right)`: each a list of lines (the first one strong), a text or other blocks.
fn columns(state: &mut State, groups: Rest<Value>) -> Result<Value, Error> {
    let cx = cx::of(state)?;
    let mut columns = Vec::new();
    for group in groups.iter().filter(|group| !is_blank(group)) {
        let blocks = blocks::group(&cx, group)?;
        if !blocks.is_empty() {
            columns.push(blocks);
        }
    }
    match columns.len() {
        0 => Ok(Value::from_safe_string(String::new())),
        1..=3 => Ok(cx.blocks(vec![Block::Columns { columns }])),
        more => Err(fail(format!("columns takes at most three groups, not {more}"))),
    }
}

/// `callout("warning", "Title", "Text")`.
fn callout(state: &mut State, kind: String, title: Option<String>, body: &Value) -> Result<Value, Error> {
    let cx = cx::of(state)?;
    let kind = match kind.as_str() {
        "info" => CalloutKind::Info,
        "success" => CalloutKind::Success,
        "warning" => CalloutKind::Warning,
        "danger" => CalloutKind::Danger,
        other => {
            let known = "info, success, warning, danger";
            return Err(fail(format!("unknown callout kind `{other}`; known: {known}")));
        }
    };
    let blocks = blocks::group(&cx, body)?;
    Ok(cx.blocks(vec![Block::Callout { kind, title: title.unwrap_or_default(), blocks }]))
}

/// `definitions([["Term", "Meaning"], …])`.
fn definitions(state: &mut State, list: &Value) -> Result<Value, Error> {
    let cx = cx::of(state)?;
    let entries = blocks::definitions(&cx, list)?;
    if entries.is_empty() {
        return Ok(Value::from_safe_string(String::new()));
    }
    Ok(cx.blocks(vec![Block::Definitions { entries }]))
}

/// `signature([{"name": …, "role": …}, …])`.
fn signature(state: &mut State, parties: &Value) -> Result<Value, Error> {
    let cx = cx::of(state)?;
    let mut list = Vec::new();
    for party in parties.try_iter()? {
        let text = |key: &str| -> Result<String, Error> {
            let value = party.get_attr(key)?;
            if is_blank(&value) { Ok(String::new()) } else { printed(&value) }
        };
        list.push(SignatureParty { name: text("name")?, role: text("role")? });
    }
    Ok(cx.blocks(vec![Block::Signature { parties: list }]))
}

/// `prose("id", section="…", aim="…", facts=[…], sentences=3)`: a place for generated text. Facts
/// that the data does not hold are left out.
fn prose(state: &mut State, id: String, options: Kwargs) -> Result<Value, Error> {
    let cx = cx::of(state)?;
    let section: String = options.get("section")?;
    let aim: Option<String> = options.get("aim")?;
    let wanted: Option<Vec<String>> = options.get("facts")?;
    let sentences: Option<usize> = options.get("sentences")?;
    options.assert_all_used()?;
    if slug(&id) != id {
        return Err(fail(format!("prose id `{id}` must match [a-z][a-z0-9_]*")));
    }
    let facts = match wanted {
        Some(names) => names.into_iter().filter(|name| cx.facts.get(name).is_some()).collect(),
        None => cx.facts.iter().map(|fact| fact.name.clone()).collect::<Vec<_>>(),
    };
    let slot = SlotSpec {
        id: id.clone(),
        section,
        aim: aim.unwrap_or_default(),
        facts: facts.into_iter().take(limits::SLOT_FACTS_MAX).collect(),
        sentences: sentences.unwrap_or(3).clamp(1, 12),
    };
    cx.slot(slot).map_err(fail)?;
    Ok(cx.blocks(vec![Block::Slot { id }]))
}

/// `part("name")`: blocks the template's own program has computed; nothing when there are none.
fn part(state: &mut State, name: String) -> Result<Value, Error> {
    let cx = cx::of(state)?;
    match cx.part(&name) {
        Some(blocks) if !blocks.is_empty() => Ok(cx.blocks(blocks)),
        Some(_) | None => Ok(Value::from_safe_string(String::new())),
    }
}

/// `fact("name")`: the value of a fact, marked as one.
fn fact(state: &mut State, name: String) -> Result<Value, Error> {
    cx::of(state)?
        .fact(&name)
        .ok_or_else(|| fail(format!("no fact `{name}`; guard it with `{{% if has_fact(\"{name}\") %}}`")))
}
