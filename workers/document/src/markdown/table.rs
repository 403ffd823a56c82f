//! Tables, and charts as tables.

use super::Writer;
use super::escape::escape;
use crate::chart::decimals;
use crate::{Cell, Chart, ColumnType, Labels, Table};

impl Writer {
    pub(super) fn table(&mut self, table: &Table) -> String {
        let mut out = String::new();
        if !table.caption.is_empty() {
            out.push_str(&format!("**{}**\n\n", escape(&table.caption)));
        }
        let titles: Vec<String> = table.columns.iter().map(|column| escape(&column.title)).collect();
        out.push_str(&row(&titles));
        let rules = table.columns.iter().map(|column| is_number(column.kind));
        out.push_str(&rule(rules));
        for cells in &table.rows {
            let cells: Vec<String> = cells.iter().map(|cell| self.cell(cell)).collect();
            out.push('\n');
            out.push_str(&row(&cells));
        }
        for cells in &table.totals {
            let cells: Vec<String> = cells.iter().map(|cell| self.total(cell)).collect();
            out.push('\n');
            out.push_str(&row(&cells));
        }
        out
    }

    fn cell(&mut self, cell: &Cell) -> String {
        self.notes.inlines(&cell.text, "<br>")
    }

    fn total(&mut self, cell: &Cell) -> String {
        self.notes.strong(&cell.text, "<br>")
    }
}

/// Whether a column is aligned right.
pub(super) fn is_number(kind: ColumnType) -> bool {
    match kind {
        ColumnType::Money | ColumnType::Number | ColumnType::Percent => true,
        ColumnType::Text | ColumnType::Date => false,
    }
}

/// The data of a chart: one row per category, one column per series.
pub(super) fn chart(chart: &Chart, labels: &Labels) -> String {
    let mut head = vec![escape(labels.category)];
    for series in &chart.series {
        let unit = if chart.unit.is_empty() { String::new() } else { format!(" ({})", chart.unit) };
        head.push(escape(&format!("{}{unit}", series.name)));
    }
    let digits: Vec<usize> =
        chart.series.iter().map(|series| decimals(series.values.iter().copied())).collect();
    let mut out = row(&head);
    out.push_str(&rule(std::iter::once(false).chain(chart.series.iter().map(|_| true))));
    for (index, category) in chart.categories.iter().enumerate() {
        let mut cells = vec![escape(category)];
        for (series, &digits) in chart.series.iter().zip(&digits) {
            cells.push(series.values.get(index).map_or_else(String::new, |&v| labels.number(v, digits)));
        }
        out.push('\n');
        out.push_str(&row(&cells));
    }
    out
}

fn row(cells: &[String]) -> String {
    let mut out = String::from("|");
    for cell in cells {
        out.push(' ');
        out.push_str(cell);
        if !cell.is_empty() {
            out.push(' ');
        }
        out.push('|');
    }
    out
}

fn rule(right: impl Iterator<Item = bool>) -> String {
    let mut out = String::from("\n|");
    for right in right {
        out.push_str(if right { " ---: |" } else { " --- |" });
    }
    out
}
