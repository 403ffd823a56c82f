//! Plain text for mail bodies and terminals: wrapped lines, aligned tables, notes at the end.

mod layout;

use crate::chart::decimals;
use crate::{Block, Cell, Column, ColumnType, Definition, Document, Figure, Inline, KeyValue, Labels, Table};
use layout::{LINE_WIDTH, columns, hang, width, wrap};

/// Writes a normalised document as plain text.
pub fn write_text(document: &Document) -> String {
    let meta = &document.meta;
    let mut writer = Writer { labels: Labels::of(&meta.lang), notes: Vec::new() };
    let mut head = vec![meta.title.clone(), "=".repeat(width(&meta.title).min(LINE_WIDTH))];
    if !meta.subtitle.is_empty() {
        head.push(wrap(&meta.subtitle, LINE_WIDTH));
    }
    let byline: Vec<&str> =
        [meta.author.as_str(), meta.date.as_str()].into_iter().filter(|part| !part.is_empty()).collect();
    if !byline.is_empty() {
        head.push(byline.join(" · "));
    }
    let mut parts = vec![head.join("\n")];
    parts.extend(writer.blocks(&document.blocks, LINE_WIDTH));
    if !writer.notes.is_empty() {
        let notes = writer.notes.iter().enumerate();
        let notes: Vec<String> = notes
            .map(|(index, note)| hang(&wrap(note, LINE_WIDTH - 5), &format!("[{}] ", index + 1)))
            .collect();
        let title = writer.labels.notes;
        parts.push(format!("{title}\n{}\n{}", "-".repeat(width(title)), notes.join("\n")));
    }
    let mut out = parts.join("\n\n");
    out.push('\n');
    out
}

struct Writer {
    labels: &'static Labels,
    notes: Vec<String>,
}

impl Writer {
    fn blocks(&mut self, blocks: &[Block], max: usize) -> Vec<String> {
        blocks.iter().map(|block| self.block(block, max)).filter(|text| !text.is_empty()).collect()
    }

    fn joined(&mut self, blocks: &[Block], max: usize) -> String {
        self.blocks(blocks, max).join("\n\n")
    }

    fn block(&mut self, block: &Block, max: usize) -> String {
        match block {
            Block::Heading { level, text, .. } => {
                let text = self.text(text).replace('\n', " ");
                let rule = if *level == 1 { "=" } else { "-" };
                format!("{text}\n{}", rule.repeat(width(&text).min(max)))
            }
            Block::Paragraph { text } => wrap(&self.text(text), max),
            Block::List { ordered, items } => self.list(*ordered, items, max),
            Block::Table(table) => self.table(table, max),
            Block::Figure(figure) => self.figure(figure, max),
            Block::Code { text, .. } => hang_all(text, "    "),
            Block::Quote { blocks } => hang_all(&self.joined(blocks, max.saturating_sub(2)), "> "),
            Block::Callout { kind, title, blocks } => {
                let label = self.labels.callout(*kind).to_uppercase();
                let head = if title.is_empty() { label } else { format!("{label}: {title}") };
                let body = self.joined(blocks, max.saturating_sub(2));
                hang_all(format!("{head}\n{body}").trim_end(), "| ")
            }
            Block::Definitions { entries } => self.definitions(entries, max),
            Block::KeyValue { entries } => self.key_values(entries, max),
            Block::Columns { columns } => {
                let columns: Vec<String> = columns.iter().map(|column| self.joined(column, max)).collect();
                columns.join("\n\n")
            }
            Block::Signature { parties } => {
                let line = "_".repeat(24);
                let (date, signature) = (self.labels.place_date, self.labels.signature);
                let parties: Vec<String> = parties
                    .iter()
                    .map(|party| {
                        let role =
                            if party.role.is_empty() { String::new() } else { format!(" ({})", party.role) };
                        format!("{}{role}\n\n{date}: {line}\n\n{signature}: {line}", party.name)
                    })
                    .collect();
                parties.join("\n\n\n")
            }
            Block::PageBreak => "* * *".to_owned(),
            Block::Slot { .. } => String::new(),
        }
    }

    /// The reader's text with numbered marks for notes; a link shows its target where it differs.
    fn text(&mut self, inlines: &[Inline]) -> String {
        let mut out = String::new();
        for inline in inlines {
            match inline {
                Inline::Text { text } | Inline::Code { text } | Inline::Fact { value: text, .. } => {
                    out.push_str(text)
                }
                Inline::Strong { text } | Inline::Emphasis { text } => out.push_str(&self.text(text)),
                Inline::Link { url, text } => {
                    let shown = self.text(text);
                    let bare = url.trim_start_matches("mailto:");
                    let differs = shown != *url && shown != bare;
                    out.push_str(&shown);
                    if differs {
                        out.push_str(&format!(" <{bare}>"));
                    }
                }
                Inline::Footnote { text } => {
                    let slot = self.notes.len();
                    self.notes.push(String::new());
                    let text = self.text(text);
                    self.notes[slot] = text;
                    out.push_str(&format!("[{}]", slot + 1));
                }
                Inline::Break => out.push('\n'),
            }
        }
        out
    }

    fn list(&mut self, ordered: bool, items: &[Vec<Block>], max: usize) -> String {
        let tight = items.iter().all(|item| item.len() == 1);
        let mut out = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let marker = if ordered { format!("{}. ", index + 1) } else { "- ".to_owned() };
            let body = self.blocks(item, max.saturating_sub(marker.len())).join("\n");
            out.push(hang(&body, &marker));
        }
        out.join(if tight { "\n" } else { "\n\n" })
    }

    fn definitions(&mut self, entries: &[Definition], max: usize) -> String {
        let mut out = Vec::with_capacity(entries.len());
        for entry in entries {
            let term = wrap(&self.text(&entry.term), max);
            let meaning = self.joined(&entry.meaning, max.saturating_sub(4));
            out.push(if meaning.is_empty() {
                term
            } else {
                format!("{term}\n{}", hang_all(&meaning, "    "))
            });
        }
        out.join("\n\n")
    }

    fn key_values(&mut self, entries: &[KeyValue], max: usize) -> String {
        let widest = entries.iter().map(|entry| width(&entry.label) + 2).max().unwrap_or(0).min(max / 2);
        let mut out = Vec::with_capacity(entries.len());
        for entry in entries {
            let pad = widest.saturating_sub(width(&entry.label) + 1);
            let marker = format!("{}:{}", entry.label, " ".repeat(pad));
            let value = wrap(&self.text(&entry.value), max.saturating_sub(width(&marker)).max(20));
            out.push(hang(&value, &marker).trim_end().to_owned());
        }
        out.join("\n")
    }

    fn table(&mut self, table: &Table, max: usize) -> String {
        let mut rows = Vec::with_capacity(table.rows.len());
        for row in &table.rows {
            rows.push(self.row(row));
        }
        let mut totals = Vec::with_capacity(table.totals.len());
        for row in &table.totals {
            totals.push(self.row(row));
        }
        let titles = table.columns.iter().map(|column| column.title.clone()).collect();
        let body = columns(titles, rows, totals, &right(&table.columns), max);
        if table.caption.is_empty() { body } else { format!("{}\n\n{body}", wrap(&table.caption, max)) }
    }

    fn row(&mut self, row: &[Cell]) -> Vec<String> {
        row.iter().map(|cell| self.text(&cell.text).replace('\n', " ")).collect()
    }

    fn figure(&mut self, figure: &Figure, max: usize) -> String {
        let chart = &figure.chart;
        let unit = if chart.unit.is_empty() { String::new() } else { format!(" ({})", chart.unit) };
        let mut titles = vec![self.labels.category.to_owned()];
        titles.extend(chart.series.iter().map(|series| format!("{}{unit}", series.name)));
        let mut rows = Vec::with_capacity(chart.categories.len());
        for (index, category) in chart.categories.iter().enumerate() {
            let mut row = vec![category.clone()];
            for series in &chart.series {
                let digits = decimals(series.values.iter().copied());
                row.push(
                    series.values.get(index).map_or_else(String::new, |&v| self.labels.number(v, digits)),
                );
            }
            rows.push(row);
        }
        let mut right = vec![true; titles.len()];
        right[0] = false;
        let body = columns(titles, rows, Vec::new(), &right, max);
        let mut parts = Vec::new();
        if !figure.caption.is_empty() {
            parts.push(wrap(&figure.caption, max));
        }
        parts.push(wrap(&figure.alt, max));
        parts.push(body);
        parts.join("\n\n")
    }
}

fn right(columns: &[Column]) -> Vec<bool> {
    let is_right = |column: &Column| match column.kind {
        ColumnType::Money | ColumnType::Number | ColumnType::Percent => true,
        ColumnType::Text | ColumnType::Date => false,
    };
    columns.iter().map(is_right).collect()
}

fn hang_all(text: &str, mark: &str) -> String {
    let lines: Vec<String> =
        text.split('\n').map(|line| format!("{mark}{line}").trim_end().to_owned()).collect();
    lines.join("\n")
}
