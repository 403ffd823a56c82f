//! Tables, and the data of charts as tables.

use super::Page;
use crate::chart::decimals;
use crate::escape::xml;
use crate::{Cell, Chart, Column, ColumnType, Table};

impl Page<'_> {
    /// Appends a table that scrolls on narrow screens and repeats its head when printed.
    pub(super) fn table(&mut self, table: &Table) {
        self.out.push_str("<div class=\"scroll\">\n<table>\n");
        if !table.caption.is_empty() {
            self.out.push_str(&format!("<caption>{}</caption>\n", xml(&table.caption)));
        }
        self.columns(&table.columns);
        self.out.push_str("<thead>\n<tr>");
        for column in &table.columns {
            self.out.push_str(&format!(
                "<th scope=\"col\"{}>{}</th>",
                class(column.kind),
                xml(&column.title)
            ));
        }
        self.out.push_str("</tr>\n</thead>\n<tbody>\n");
        for row in &table.rows {
            self.row(row, &table.columns, false);
        }
        self.out.push_str("</tbody>\n");
        if !table.totals.is_empty() {
            self.out.push_str("<tfoot>\n");
            for row in &table.totals {
                self.row(row, &table.columns, true);
            }
            self.out.push_str("</tfoot>\n");
        }
        self.out.push_str("</table>\n</div>\n");
    }

    /// Widths only when every column asks for one; otherwise the browser knows better.
    fn columns(&mut self, columns: &[Column]) {
        let sum: u32 = columns.iter().map(|column| u32::from(column.width)).sum();
        if sum == 0 || columns.iter().any(|column| column.width == 0) {
            return;
        }
        self.out.push_str("<colgroup>");
        for column in columns {
            let percent = ((u32::from(column.width) * 100 + sum / 2) / sum).clamp(1, 100) as u8;
            self.widths.insert(percent);
            self.out.push_str(&format!("<col class=\"w{percent}\">"));
        }
        self.out.push_str("</colgroup>\n");
    }

    fn row(&mut self, row: &[Cell], columns: &[Column], total: bool) {
        self.out.push_str("<tr>");
        for (index, (cell, column)) in row.iter().zip(columns).enumerate() {
            let text = self.inlines(&cell.text);
            let class = class(column.kind);
            let (open, close) = if total && index == 0 && !text.is_empty() {
                ("th scope=\"row\"", "th")
            } else {
                ("td", "td")
            };
            self.out.push_str(&format!("<{open}{class}>{text}</{close}>"));
        }
        self.out.push_str("</tr>\n");
    }

    /// The data of a chart, for readers who cannot see it.
    pub(super) fn chart_table(&mut self, chart: &Chart) {
        let unit = if chart.unit.is_empty() { String::new() } else { format!(" ({})", chart.unit) };
        self.out.push_str("<div class=\"scroll\">\n<table>\n<thead>\n<tr>");
        self.out.push_str(&format!("<th scope=\"col\">{}</th>", xml(self.labels.category)));
        for series in &chart.series {
            let title = xml(&format!("{}{unit}", series.name));
            self.out.push_str(&format!("<th scope=\"col\" class=\"n\">{title}</th>"));
        }
        self.out.push_str("</tr>\n</thead>\n<tbody>\n");
        let digits: Vec<usize> =
            chart.series.iter().map(|series| decimals(series.values.iter().copied())).collect();
        for (index, category) in chart.categories.iter().enumerate() {
            self.out.push_str(&format!("<tr><td>{}</td>", xml(category)));
            for (series, &digits) in chart.series.iter().zip(&digits) {
                let value =
                    series.values.get(index).map_or_else(String::new, |&v| self.labels.number(v, digits));
                self.out.push_str(&format!("<td class=\"n\">{value}</td>"));
            }
            self.out.push_str("</tr>\n");
        }
        self.out.push_str("</tbody>\n</table>\n</div>\n");
    }
}

fn class(kind: ColumnType) -> &'static str {
    match kind {
        ColumnType::Money | ColumnType::Number | ColumnType::Percent => " class=\"n\"",
        ColumnType::Date => " class=\"d\"",
        ColumnType::Text => "",
    }
}
