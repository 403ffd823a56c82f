//! From values of the body language to typed blocks.

use bul_document::{
    Block, Cell, Chart, ChartKind, Column, ColumnType, Definition, Figure, Inline, KeyValue, Series, Table,
};
use minijinja::Error;
use minijinja::value::{Kwargs, Value, ValueKind};

use super::cx::Cx;
use super::functions::fail;
use super::value::{decimal, is_blank, printed};
use crate::format::parse_date;

/// One column and where its cells come from.
struct Source {
    column: Column,
    key: Option<String>,
    currency: String,
}

/// Table of rows that are lists or maps.
pub(super) fn table(cx: &Cx, rows: &Value, options: &Kwargs) -> Result<Table, Error> {
    let columns: Option<Value> = options.get("columns")?;
    let totals: Option<Value> = options.get("totals")?;
    let caption: Option<Value> = options.get("caption")?;
    let currency: Option<String> = options.get("currency")?;
    let currency = currency.unwrap_or_else(|| cx.currency.clone());
    let rows: Vec<Value> = rows.try_iter()?.collect();
    let sources = match columns {
        Some(columns) => {
            columns.try_iter()?.map(|column| source(&column, &currency)).collect::<Result<Vec<_>, _>>()?
        }
        None => inferred(&rows)?,
    };
    if sources.is_empty() {
        return Err(fail("a table needs at least one column"));
    }
    let body = rows.iter().map(|row| cells(cx, row, &sources)).collect::<Result<_, _>>()?;
    let totals = match totals {
        Some(totals) => totals.try_iter()?.map(|row| cells(cx, &row, &sources)).collect::<Result<_, _>>()?,
        None => Vec::new(),
    };
    let caption = match caption {
        Some(caption) if !is_blank(&caption) => plain(cx, &caption)?,
        Some(_) | None => String::new(),
    };
    Ok(Table { caption, columns: sources.into_iter().map(|s| s.column).collect(), rows: body, totals })
}

fn plain(cx: &Cx, value: &Value) -> Result<String, Error> {
    let text = printed_or_safe(value)?;
    Ok(cx.with_resolver(|resolver| resolver.plain(&text)))
}

fn printed_or_safe(value: &Value) -> Result<String, Error> {
    if is_blank(value) { Ok(String::new()) } else { printed(value) }
}

/// A column is a title, or a map with title, type, key, width and currency.
fn source(column: &Value, currency: &str) -> Result<Source, Error> {
    if let Some(title) = column.as_str() {
        let column = Column { title: title.to_owned(), kind: ColumnType::Text, width: 0 };
        return Ok(Source { column, key: None, currency: currency.to_owned() });
    }
    let text = |key: &str| -> Result<Option<String>, Error> {
        let value = column.get_attr(key)?;
        if is_blank(&value) { Ok(None) } else { printed(&value).map(Some) }
    };
    let kind = match text("type")?.as_deref() {
        None | Some("text") => ColumnType::Text,
        Some("money") => ColumnType::Money,
        Some("number") => ColumnType::Number,
        Some("percent") => ColumnType::Percent,
        Some("date") => ColumnType::Date,
        Some(other) => {
            let known = "text, money, number, percent, date";
            return Err(fail(format!("unknown column type `{other}`; known: {known}")));
        }
    };
    let key = text("key")?;
    let title = match text("title")? {
        Some(title) => title,
        None => key.clone().ok_or_else(|| fail("a column needs a title"))?,
    };
    let width = text("width")?.and_then(|width| width.parse().ok()).unwrap_or(0);
    let currency = text("currency")?.unwrap_or_else(|| currency.to_owned());
    Ok(Source { column: Column { title, kind, width }, key, currency })
}

/// Columns of maps without a list of columns: every key in order of appearance.
fn inferred(rows: &[Value]) -> Result<Vec<Source>, Error> {
    let mut keys: Vec<String> = Vec::new();
    for row in rows {
        if row.kind() != ValueKind::Map {
            return Err(fail("a table of lists needs `columns`"));
        }
        for key in row.try_iter()? {
            let key = key.to_string();
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
    }
    let column = |key: &String| Column { title: key.clone(), kind: ColumnType::Text, width: 0 };
    Ok(keys
        .iter()
        .map(|key| Source { column: column(key), key: Some(key.clone()), currency: String::new() })
        .collect())
}

fn cells(cx: &Cx, row: &Value, sources: &[Source]) -> Result<Vec<Cell>, Error> {
    if row.kind() == ValueKind::Map {
        return sources
            .iter()
            .map(|source| {
                let key = source.key.as_deref().unwrap_or(&source.column.title);
                cell(cx, &row.get_attr(key)?, source)
            })
            .collect();
    }
    let values: Vec<Value> = row.try_iter()?.collect();
    if values.len() > sources.len() {
        return Err(fail(format!("a row has {} cells, the table {} columns", values.len(), sources.len())));
    }
    let mut out = Vec::with_capacity(sources.len());
    for (at, source) in sources.iter().enumerate() {
        out.push(match values.get(at) {
            Some(value) => cell(cx, value, source)?,
            None => Cell::default(),
        });
    }
    Ok(out)
}

/// Formats a cell by the type of its column; text that is no number stays text.
fn cell(cx: &Cx, value: &Value, source: &Source) -> Result<Cell, Error> {
    if is_blank(value) {
        return Ok(Cell::default());
    }
    if value.is_safe() {
        return Ok(Cell { text: cx.inlines(value.as_str().unwrap_or_default()), value: None });
    }
    let text = printed(value)?;
    let number = || decimal(value).ok();
    let (shown, exact) = match source.column.kind {
        ColumnType::Text => (None, None),
        ColumnType::Money => {
            number().map_or((None, None), |d| (Some(cx.locale.money(d, &source.currency)), Some(d)))
        }
        ColumnType::Number => number().map_or((None, None), |d| (Some(cx.locale.number(d)), Some(d))),
        ColumnType::Percent => number().map_or((None, None), |d| (Some(cx.locale.percent(d)), Some(d))),
        ColumnType::Date => {
            let day = parse_date(&text);
            return Ok(Cell {
                text: vec![Inline::text(day.map_or(text, |day| cx.locale.date_short(day)))],
                value: day.map(|day| day.to_string()),
            });
        }
    };
    Ok(match shown {
        Some(shown) => Cell { text: vec![Inline::text(shown)], value: exact.map(|d| d.to_string()) },
        None => Cell { text: cx.inlines(&text), value: None },
    })
}

/// Chart of categories and series; series are lists of numbers or `{name, values}`.
pub(super) fn figure(
    kind: &str,
    categories: &Value,
    series: &Value,
    options: &Kwargs,
) -> Result<Figure, Error> {
    let text =
        |key: &str| -> Result<String, Error> { Ok(options.get::<Option<String>>(key)?.unwrap_or_default()) };
    let (unit, caption, alt) = (text("unit")?, text("caption")?, text("alt")?);
    let kind = match kind {
        "bar" => ChartKind::Bar,
        "line" => ChartKind::Line,
        "area" => ChartKind::Area,
        "pie" => ChartKind::Pie,
        other => return Err(fail(format!("unknown chart kind `{other}`; known: bar, line, area, pie"))),
    };
    let categories = categories.try_iter()?.map(|c| printed_or_safe(&c)).collect::<Result<Vec<_>, _>>()?;
    let mut list = Vec::new();
    for (at, entry) in series.try_iter()?.enumerate() {
        let (name, values) = if entry.kind() == ValueKind::Map {
            (printed_or_safe(&entry.get_attr("name")?)?, entry.get_attr("values")?)
        } else {
            (format!("Series {}", at + 1), entry)
        };
        let values = values.try_iter()?.map(|v| float(&v)).collect::<Result<Vec<_>, _>>()?;
        if values.len() != categories.len() {
            let message = format!(
                "series `{name}` has {} values, the chart {} categories",
                values.len(),
                categories.len()
            );
            return Err(fail(message));
        }
        list.push(Series { name, values });
    }
    if list.is_empty() || categories.is_empty() {
        return Err(fail("a chart needs categories and at least one series"));
    }
    let alt = [alt, caption.clone()].into_iter().find(|text| !text.trim().is_empty());
    let alt = alt.ok_or_else(|| fail("a chart needs `alt` or `caption` for readers who cannot see it"))?;
    Ok(Figure { caption, alt, chart: Chart { kind, categories, series: list, unit } })
}

/// Charts draw with floats; the exact value stays in the tables.
fn float(value: &Value) -> Result<f64, Error> {
    if is_blank(value) {
        return Ok(0.0);
    }
    let exact = decimal(value)?.to_string();
    exact.parse().ok().filter(|f: &f64| f.is_finite()).ok_or_else(|| fail("a chart value is out of range"))
}

/// Pairs as a list of `[label, value]`, or a map.
pub(super) fn key_values(cx: &Cx, pairs: &Value) -> Result<Vec<KeyValue>, Error> {
    let mut entries = Vec::new();
    let is_map = pairs.kind() == ValueKind::Map;
    for pair in pairs.try_iter()? {
        let (label, value) = if is_map {
            let value = pairs.get_item(&pair)?;
            (pair, value)
        } else {
            (pair.get_item_by_index(0)?, pair.get_item_by_index(1)?)
        };
        if is_blank(&value) {
            continue;
        }
        let text = if value.is_safe() { value.to_string() } else { printed(&value)? };
        entries.push(KeyValue { label: printed(&label)?, value: cx.inlines(text.trim()) });
    }
    Ok(entries)
}

/// Pairs of term and meaning.
pub(super) fn definitions(cx: &Cx, list: &Value) -> Result<Vec<Definition>, Error> {
    let mut entries = Vec::new();
    for entry in list.try_iter()? {
        let (term, meaning) = if entry.kind() == ValueKind::Map {
            (entry.get_attr("term")?, entry.get_attr("meaning")?)
        } else {
            (entry.get_item_by_index(0)?, entry.get_item_by_index(1)?)
        };
        let term = cx.inlines(&printed(&term)?);
        entries.push(Definition { term, meaning: group(cx, &meaning)? });
    }
    Ok(entries)
}

/// Blocks of a group: a list of lines is one paragraph with the first line strong.
pub(super) fn group(cx: &Cx, value: &Value) -> Result<Vec<Block>, Error> {
    if value.kind() != ValueKind::Seq {
        return Ok(cx.blocks_in(&printed(value)?));
    }
    let mut text: Vec<Inline> = Vec::new();
    for line in value.try_iter()?.filter(|line| !is_blank(line)) {
        let inlines = cx.inlines(printed(&line)?.trim());
        if text.is_empty() {
            text.push(Inline::Strong { text: inlines });
        } else {
            text.push(Inline::Break);
            text.extend(inlines);
        }
    }
    Ok(if text.is_empty() { Vec::new() } else { vec![Block::Paragraph { text }] })
}
