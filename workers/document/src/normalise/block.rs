//! Blocks: shapes, limits and what disappears because it says nothing.

use rust_decimal::Decimal;

use super::Walk;
use crate::clean::{clean, clean_line};
use crate::place::Place;
use crate::{
    Block, Cell, Chart, ChartKind, Column, Definition, DocumentError, Figure, KeyValue, Problem, Series,
    SignatureParty, Table, limits, plain,
};

impl Walk {
    /// Clean blocks in order; empty ones disappear.
    pub(super) fn blocks(
        &mut self,
        blocks: Vec<Block>,
        place: &Place<'_>,
        depth: usize,
    ) -> Result<Vec<Block>, DocumentError> {
        place.limit("BLOCK_DEPTH_MAX", limits::BLOCK_DEPTH_MAX, depth)?;
        let mut out = Vec::with_capacity(blocks.len());
        for (index, block) in blocks.into_iter().enumerate() {
            let here = place.index(index);
            self.blocks += 1;
            here.limit("BLOCKS_MAX", limits::BLOCKS_MAX, self.blocks)?;
            out.extend(self.block(block, &here, depth + 1)?);
        }
        Ok(out)
    }

    fn block(
        &mut self,
        block: Block,
        here: &Place<'_>,
        depth: usize,
    ) -> Result<Option<Block>, DocumentError> {
        let block = match block {
            Block::Heading { level, text, id } => {
                if !(1..=6).contains(&level) {
                    return Err(here.field("level").error(Problem::HeadingLevel(level)));
                }
                let text = self.inlines(text, &here.field("text"))?;
                let words = plain(&text);
                if words.trim().is_empty() {
                    return Ok(None);
                }
                let id = self.headings.id(&clean(id), &words);
                Block::Heading { level: self.headings.level(level), id, text }
            }
            Block::Paragraph { text } => {
                let text = self.inlines(text, &here.field("text"))?;
                return Ok((!text.is_empty()).then_some(Block::Paragraph { text }));
            }
            Block::List { ordered, items } => {
                let items = self.groups(items, &here.field("items"), depth)?;
                return Ok((!items.is_empty()).then_some(Block::List { ordered, items }));
            }
            Block::Table(table) => Block::Table(self.table(table, here)?),
            Block::Figure(figure) => Block::Figure(self.figure(figure, here)?),
            Block::Code { language, text } => {
                self.count(&text, &here.field("text"))?;
                let text = clean(text).trim_end().trim_start_matches('\n').to_owned();
                if text.is_empty() {
                    return Ok(None);
                }
                Block::Code { language: clean_line(language), text }
            }
            Block::Quote { blocks } => {
                let blocks = self.blocks(blocks, &here.field("blocks"), depth)?;
                return Ok((!blocks.is_empty()).then_some(Block::Quote { blocks }));
            }
            Block::Callout { kind, title, blocks } => {
                let title = self.line(title, &here.field("title"))?;
                let blocks = self.blocks(blocks, &here.field("blocks"), depth)?;
                if title.is_empty() && blocks.is_empty() {
                    return Ok(None);
                }
                Block::Callout { kind, title, blocks }
            }
            Block::Definitions { entries } => return self.definitions(entries, here, depth),
            Block::KeyValue { entries } => return self.key_values(entries, here),
            Block::Columns { columns } => {
                let place = here.field("columns");
                place.limit("COLUMN_GROUPS_MAX", limits::COLUMN_GROUPS_MAX, columns.len())?;
                let columns = self.groups(columns, &place, depth)?;
                return Ok((!columns.is_empty()).then_some(Block::Columns { columns }));
            }
            Block::Signature { parties } => return self.signature(parties, here),
            Block::PageBreak => Block::PageBreak,
            Block::Slot { id } => return Err(here.error(Problem::Slot(clean_line(id)))),
        };
        Ok(Some(block))
    }

    fn groups(
        &mut self,
        groups: Vec<Vec<Block>>,
        place: &Place<'_>,
        depth: usize,
    ) -> Result<Vec<Vec<Block>>, DocumentError> {
        let mut out = Vec::with_capacity(groups.len());
        for (index, group) in groups.into_iter().enumerate() {
            let group = self.blocks(group, &place.index(index), depth)?;
            if !group.is_empty() {
                out.push(group);
            }
        }
        Ok(out)
    }

    fn definitions(
        &mut self,
        entries: Vec<Definition>,
        here: &Place<'_>,
        depth: usize,
    ) -> Result<Option<Block>, DocumentError> {
        let place = here.field("entries");
        let mut out = Vec::with_capacity(entries.len());
        for (index, entry) in entries.into_iter().enumerate() {
            let here = place.index(index);
            let term = self.inlines(entry.term, &here.field("term"))?;
            if term.is_empty() {
                return Err(here.field("term").error(Problem::Empty));
            }
            out.push(Definition {
                term,
                meaning: self.blocks(entry.meaning, &here.field("meaning"), depth)?,
            });
        }
        Ok((!out.is_empty()).then_some(Block::Definitions { entries: out }))
    }

    fn key_values(
        &mut self,
        entries: Vec<KeyValue>,
        here: &Place<'_>,
    ) -> Result<Option<Block>, DocumentError> {
        let place = here.field("entries");
        let mut out = Vec::with_capacity(entries.len());
        for (index, entry) in entries.into_iter().enumerate() {
            let here = place.index(index);
            let label = self.line(entry.label, &here.field("label"))?;
            if label.is_empty() {
                return Err(here.field("label").error(Problem::Empty));
            }
            out.push(KeyValue { label, value: self.inlines(entry.value, &here.field("value"))? });
        }
        Ok((!out.is_empty()).then_some(Block::KeyValue { entries: out }))
    }

    fn signature(
        &mut self,
        parties: Vec<SignatureParty>,
        here: &Place<'_>,
    ) -> Result<Option<Block>, DocumentError> {
        let place = here.field("parties");
        let mut out = Vec::with_capacity(parties.len());
        for (index, party) in parties.into_iter().enumerate() {
            let here = place.index(index);
            let name = self.line(party.name, &here.field("name"))?;
            if name.is_empty() {
                return Err(here.field("name").error(Problem::Empty));
            }
            out.push(SignatureParty { name, role: self.line(party.role, &here.field("role"))? });
        }
        Ok((!out.is_empty()).then_some(Block::Signature { parties: out }))
    }

    fn table(&mut self, table: Table, here: &Place<'_>) -> Result<Table, DocumentError> {
        let place = here.field("columns");
        if table.columns.is_empty() {
            return Err(place.error(Problem::Empty));
        }
        place.limit("TABLE_COLUMNS_MAX", limits::TABLE_COLUMNS_MAX, table.columns.len())?;
        let rows = table.rows.len() + table.totals.len();
        here.field("rows").limit("TABLE_ROWS_MAX", limits::TABLE_ROWS_MAX, rows)?;
        let mut columns = Vec::with_capacity(table.columns.len());
        for (index, column) in table.columns.into_iter().enumerate() {
            let title = self.line(column.title, &place.index(index).field("title"))?;
            columns.push(Column { title, ..column });
        }
        Ok(Table {
            caption: self.line(table.caption, &here.field("caption"))?,
            rows: self.rows(table.rows, columns.len(), &here.field("rows"))?,
            totals: self.rows(table.totals, columns.len(), &here.field("totals"))?,
            columns,
        })
    }

    fn rows(
        &mut self,
        rows: Vec<Vec<Cell>>,
        width: usize,
        place: &Place<'_>,
    ) -> Result<Vec<Vec<Cell>>, DocumentError> {
        let mut out = Vec::with_capacity(rows.len());
        for (index, row) in rows.into_iter().enumerate() {
            let here = place.index(index);
            if row.len() != width {
                return Err(here.error(Problem::Shape { expected: width, found: row.len() }));
            }
            self.cells += width;
            here.limit("TABLE_CELLS_MAX", limits::TABLE_CELLS_MAX, self.cells)?;
            let mut cells = Vec::with_capacity(width);
            for (column, cell) in row.into_iter().enumerate() {
                cells.push(self.cell(cell, &here.index(column))?);
            }
            out.push(cells);
        }
        Ok(out)
    }

    fn cell(&mut self, cell: Cell, here: &Place<'_>) -> Result<Cell, DocumentError> {
        let value = match cell.value {
            None => None,
            Some(value) => {
                let value = value.trim();
                if value.parse::<Decimal>().is_err() {
                    return Err(here.field("value").error(Problem::Decimal(clean_line(value.to_owned()))));
                }
                Some(value.to_owned())
            }
        };
        Ok(Cell { text: self.inlines(cell.text, &here.field("text"))?, value })
    }

    fn figure(&mut self, figure: Figure, here: &Place<'_>) -> Result<Figure, DocumentError> {
        let alt = self.line(figure.alt, &here.field("alt"))?;
        if alt.is_empty() {
            return Err(here.field("alt").error(Problem::Empty));
        }
        Ok(Figure {
            caption: self.line(figure.caption, &here.field("caption"))?,
            alt,
            chart: self.chart(figure.chart, &here.field("chart"))?,
        })
    }

    fn chart(&mut self, chart: Chart, here: &Place<'_>) -> Result<Chart, DocumentError> {
        let place = here.field("categories");
        if chart.categories.is_empty() {
            return Err(place.error(Problem::Empty));
        }
        place.limit("CHART_CATEGORIES_MAX", limits::CHART_CATEGORIES_MAX, chart.categories.len())?;
        let mut categories = Vec::with_capacity(chart.categories.len());
        for (index, category) in chart.categories.into_iter().enumerate() {
            categories.push(self.line(category, &place.index(index))?);
        }
        let place = here.field("series");
        if chart.series.is_empty() {
            return Err(place.error(Problem::Empty));
        }
        place.limit("CHART_SERIES_MAX", limits::CHART_SERIES_MAX, chart.series.len())?;
        if chart.kind == ChartKind::Pie && chart.series.len() > 1 {
            return Err(place.error(Problem::PieSeries(chart.series.len())));
        }
        let mut series = Vec::with_capacity(chart.series.len());
        for (index, one) in chart.series.into_iter().enumerate() {
            let here = place.index(index);
            check_values(&one.values, categories.len(), chart.kind, &here.field("values"))?;
            series.push(Series { name: self.line(one.name, &here.field("name"))?, values: one.values });
        }
        let unit = self.line(chart.unit, &here.field("unit"))?;
        Ok(Chart { kind: chart.kind, categories, series, unit })
    }
}

fn check_values(
    values: &[f64],
    expected: usize,
    kind: ChartKind,
    place: &Place<'_>,
) -> Result<(), DocumentError> {
    if values.len() != expected {
        return Err(place.error(Problem::Shape { expected, found: values.len() }));
    }
    for (index, &value) in values.iter().enumerate() {
        if value.is_nan() || value.abs() > limits::CHART_VALUE_MAX {
            return Err(place.index(index).error(Problem::ChartValue(value)));
        }
        if kind == ChartKind::Pie && value < 0.0 {
            return Err(place.index(index).error(Problem::PieShare(value)));
        }
    }
    Ok(())
}
