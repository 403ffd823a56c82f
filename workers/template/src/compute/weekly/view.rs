//! Key figures, tables and charts of a weekly report.

use bul_document::{Block, Cell, Chart, ChartKind, Column, ColumnType, Figure, Series, Table};
use chrono::{Datelike, Days};
use rust_decimal::Decimal;

use super::super::{exact_cell, key_values, text_cell};
use super::aggregate::{Group, Week};
use super::{Names, percent_of};

/// Groups with a row of their own; the others share one.
const GROUPS_SHOWN: usize = 10;

/// Key figures of the week.
pub(super) fn figures(names: &Names, week: &Week) -> Vec<Block> {
    let input = names.input;
    let change = week.previous.map(|previous| week.sum.total - previous.total);
    let percent = week.previous.zip(change).and_then(|(previous, change)| percent_of(change, previous.total));
    key_values([
        input.pair("Period", Some(format!("{} ({})", names.week(week.start), names.span(week.start)))),
        input.pair("Metric", Some(names.metric.clone())),
        input.pair("Total", Some(names.value(week.sum.total))),
        input.pair("Total of the week before", week.previous.map(|previous| names.value(previous.total))),
        input.pair("Change", change.map(|change| signed(change, names.value(change)))),
        input.pair("Change in percent", percent.map(|p| signed(p, input.locale.percent(p)))),
        input.pair("Records", Some(input.locale.number(Decimal::from(week.sum.rows)))),
        input.pair("Average per record", names.average(week)),
    ])
}

/// Changes carry their sign, also when they are positive.
fn signed(value: Decimal, shown: String) -> String {
    if value > Decimal::ZERO { format!("+{shown}") } else { shown }
}

fn float(value: Decimal) -> f64 {
    value.to_string().parse().unwrap_or_default()
}

/// Table by group with shares and changes.
pub(super) fn groups(names: &Names, week: &Week) -> Vec<Block> {
    if week.groups.len() < 2 {
        return Vec::new();
    }
    let input = names.input;
    let column = |title: String, kind| Column { title, kind, width: 0 };
    let kind = if names.currency.is_empty() { ColumnType::Number } else { ColumnType::Money };
    let mut columns = vec![
        column(capitalised(&names.group), ColumnType::Text),
        column(capitalised(&names.metric), kind),
        column(input.label("Share"), ColumnType::Percent),
    ];
    let compared = week.previous.is_some();
    if compared {
        columns.push(column(input.label("Week before"), kind));
        columns.push(column(input.label("Change"), kind));
        columns.push(column(input.label("Change in percent"), ColumnType::Percent));
    }
    let (shown, rest) = week.groups.split_at(week.groups.len().min(GROUPS_SHOWN));
    let total = week.sum.total;
    let row = |name: String, group: &Group| row(names, name, group, total, compared);
    let mut rows: Vec<Vec<Cell>> = shown.iter().map(|group| row(names.group(&group.name), group)).collect();
    if !rest.is_empty() {
        let others = Group {
            name: String::new(),
            total: rest.iter().map(|group| group.total).sum(),
            previous: rest.iter().map(|group| group.previous).sum(),
        };
        rows.push(row(format!("{} ({})", input.label("Others"), rest.len()), &others));
    }
    let all = Group {
        name: String::new(),
        total,
        previous: week.previous.map_or(Decimal::ZERO, |previous| previous.total),
    };
    let totals = vec![row(input.label("Total"), &all)];
    let caption = format!("{} – {}", capitalised(&names.metric), names.week(week.start));
    vec![Block::Table(Table { caption, columns, rows, totals })]
}

fn row(names: &Names, name: String, group: &Group, total: Decimal, compared: bool) -> Vec<Cell> {
    let input = names.input;
    let value = |value: Decimal| exact_cell(names.value(value), value);
    let percent = |percent: Option<Decimal>, sign: bool| match percent {
        Some(p) => {
            let shown = input.locale.percent(p);
            exact_cell(if sign { signed(p, shown) } else { shown }, p)
        }
        None => Cell::default(),
    };
    let mut cells = vec![text_cell(name), value(group.total), percent(percent_of(group.total, total), false)];
    if compared {
        let change = group.total - group.previous;
        cells.push(value(group.previous));
        cells.push(exact_cell(signed(change, names.value(change)), change));
        cells.push(percent(percent_of(change, group.previous), true));
    }
    cells
}

/// Line over the last weeks; a single week makes no line.
pub(super) fn trend(names: &Names, week: &Week) -> Vec<Block> {
    if week.trend.len() < 2 {
        return Vec::new();
    }
    let input = names.input;
    let label = |start: &chrono::NaiveDate| format!("{} {}", input.label("Week"), start.iso_week().week());
    let categories: Vec<String> = week.trend.iter().map(|(start, _)| label(start)).collect();
    let listed: Vec<String> = week
        .trend
        .iter()
        .map(|(start, total)| format!("{}: {}", label(start), names.value(*total)))
        .collect();
    let values = week.trend.iter().map(|(_, total)| float(*total)).collect();
    let caption = format!("{} {}", capitalised(&names.metric), input.label("by week"));
    vec![figure(names, caption, ChartKind::Line, categories, values, &listed)]
}

/// Bars of the days of the week.
pub(super) fn days(names: &Names, week: &Week) -> Vec<Block> {
    if week.days.iter().filter(|day| day.rows > 0).count() < 2 {
        return Vec::new();
    }
    let input = names.input;
    let day = |at: usize| week.start.checked_add_days(Days::new(at as u64)).unwrap_or(week.start);
    let categories: Vec<String> = (0..7).map(|at| input.locale.date_short(day(at))).collect();
    let listed: Vec<String> = categories
        .iter()
        .zip(&week.days)
        .map(|(day, sum)| format!("{day}: {}", names.value(sum.total)))
        .collect();
    let values = week.days.iter().map(|sum| float(sum.total)).collect();
    let caption = format!("{} {}", capitalised(&names.metric), input.label("by day"));
    vec![figure(names, caption, ChartKind::Bar, categories, values, &listed)]
}

fn figure(
    names: &Names,
    caption: String,
    kind: ChartKind,
    categories: Vec<String>,
    values: Vec<f64>,
    listed: &[String],
) -> Block {
    let unit = if names.currency.is_empty() { names.unit.clone() } else { names.currency.clone() };
    let alt = format!("{caption}: {}", listed.join("; "));
    let series = vec![Series { name: capitalised(&names.metric), values }];
    Block::Figure(Figure { caption, alt, chart: Chart { kind, categories, series, unit } })
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}
