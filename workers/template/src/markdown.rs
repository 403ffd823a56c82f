//! From a rendered body, or from generated prose, to blocks: comrak parses, tokens are swapped in
//! afterwards. Raw HTML is text; images and anything else without a block are text too.

use bul_document::{Block, CalloutKind, Cell, Column, ColumnType, Definition, Inline, Table, plain};
use comrak::nodes::{AlertType, ListType, Node, NodeValue, TableAlignment};
use comrak::{Arena, Options, parse_document};

use crate::body::Resolver;

mod words;

/// Nesting that is followed; deeper content is dropped with its frame.
const DEPTH_MAX: usize = 40;

/// Blocks of a Markdown text.
pub(crate) fn blocks(markdown: &str, resolver: &Resolver) -> Vec<Block> {
    if words::are_all(markdown) { words::paragraphs(markdown, resolver) } else { parsed(markdown, resolver) }
}

fn parsed(markdown: &str, resolver: &Resolver) -> Vec<Block> {
    let arena = Arena::new();
    let mut options = Options::default();
    options.extension.table = true;
    options.extension.footnotes = true;
    options.extension.description_lists = true;
    options.extension.alerts = true;
    let root = parse_document(&arena, markdown, &options);
    let mut reader = Reader { resolver, footnotes: Vec::new() };
    reader.collect_footnotes(root);
    reader.children(root, 0)
}

struct Reader<'r> {
    resolver: &'r Resolver<'r>,
    footnotes: Vec<(String, Vec<Inline>)>,
}

impl Reader<'_> {
    fn collect_footnotes<'a>(&mut self, root: Node<'a>) {
        for node in root.children() {
            let name = match &node.data().value {
                NodeValue::FootnoteDefinition(definition) => definition.name.clone(),
                _ => continue,
            };
            let mut text = Vec::new();
            for child in node.children() {
                let mut aside = Vec::new();
                text.extend(self.inlines(child, &mut aside, 0));
            }
            self.footnotes.push((name, text));
        }
    }

    fn children<'a>(&self, node: Node<'a>, depth: usize) -> Vec<Block> {
        let mut out = Vec::new();
        if depth < DEPTH_MAX {
            for child in node.children() {
                self.block(child, &mut out, depth + 1);
            }
        }
        out
    }

    fn block<'a>(&self, node: Node<'a>, out: &mut Vec<Block>, depth: usize) {
        let data = node.data();
        match &data.value {
            NodeValue::Heading(heading) => {
                let mut aside = Vec::new();
                let text = without_breaks(self.inlines(node, &mut aside, depth));
                if !plain(&text).trim().is_empty() {
                    out.push(Block::Heading { level: heading.level.clamp(1, 6), text, id: String::new() });
                }
                out.extend(aside);
            }
            NodeValue::Paragraph => self.paragraph(node, out, depth),
            NodeValue::List(list) => {
                let items = node.children().map(|item| self.children(item, depth)).collect();
                out.push(Block::List { ordered: list.list_type == ListType::Ordered, items });
            }
            NodeValue::BlockQuote => out.push(Block::Quote { blocks: self.children(node, depth) }),
            NodeValue::Alert(alert) => out.push(Block::Callout {
                kind: callout(alert.alert_type),
                title: alert.title.as_deref().map(|t| self.resolver.plain(t)).unwrap_or_default(),
                blocks: self.children(node, depth),
            }),
            NodeValue::CodeBlock(code) => out.push(Block::Code {
                language: code.info.split_whitespace().next().unwrap_or_default().to_owned(),
                text: self.resolver.plain(&code.literal).trim_end_matches('\n').to_owned(),
            }),
            NodeValue::HtmlBlock(html) => {
                out.extend(self.resolver.blocks(&html.literal));
                let text = self.resolver.inlines(html.literal.trim());
                if !plain(&text).trim().is_empty() {
                    out.push(Block::Paragraph { text });
                }
            }
            NodeValue::Table(table) => out.push(Block::Table(self.table(node, &table.alignments, depth))),
            NodeValue::DescriptionList => {
                let entries = node.children().map(|item| self.definition(item, depth)).collect();
                out.push(Block::Definitions { entries });
            }
            NodeValue::ThematicBreak | NodeValue::FootnoteDefinition(_) => {}
            // No other block is enabled; its content is worth keeping all the same.
            _ => out.extend(self.children(node, depth)),
        }
    }

    fn paragraph<'a>(&self, node: Node<'a>, out: &mut Vec<Block>, depth: usize) {
        let mut aside = Vec::new();
        let text = self.inlines(node, &mut aside, depth);
        push_paragraph(text, aside, out);
    }

    fn definition<'a>(&self, item: Node<'a>, depth: usize) -> Definition {
        let mut term = Vec::new();
        let mut meaning = Vec::new();
        for child in item.children() {
            if matches!(child.data().value, NodeValue::DescriptionTerm) {
                for part in child.children() {
                    term.extend(self.inlines(part, &mut meaning, depth));
                }
                if term.is_empty() {
                    term = self.inlines(child, &mut meaning, depth);
                }
            } else {
                meaning.extend(self.children(child, depth));
            }
        }
        Definition { term, meaning }
    }

    fn table<'a>(&self, node: Node<'a>, alignments: &[TableAlignment], depth: usize) -> Table {
        let mut columns = Vec::new();
        let mut rows = Vec::new();
        for row in node.children() {
            let cells: Vec<Vec<Inline>> = row
                .children()
                .map(|cell| {
                    let mut aside = Vec::new();
                    self.inlines(cell, &mut aside, depth)
                })
                .collect();
            if matches!(row.data().value, NodeValue::TableRow(true)) {
                for (at, cell) in cells.iter().enumerate() {
                    let right = matches!(alignments.get(at), Some(TableAlignment::Right));
                    let kind = if right { ColumnType::Number } else { ColumnType::Text };
                    columns.push(Column { title: plain(cell).trim().to_owned(), kind, width: 0 });
                }
            } else {
                let mut cells: Vec<Cell> = cells.into_iter().map(|text| Cell { text, value: None }).collect();
                cells.resize(columns.len(), Cell::default());
                rows.push(cells);
            }
        }
        Table { caption: String::new(), columns, rows, totals: Vec::new() }
    }

    /// Inlines of a node's children; blocks that stand between them go aside.
    fn inlines<'a>(&self, node: Node<'a>, aside: &mut Vec<Block>, depth: usize) -> Vec<Inline> {
        let mut out = Vec::new();
        if depth < DEPTH_MAX {
            for child in node.children() {
                self.inline(child, &mut out, aside, depth + 1);
            }
        }
        out
    }

    fn inline<'a>(&self, node: Node<'a>, out: &mut Vec<Inline>, aside: &mut Vec<Block>, depth: usize) {
        let data = node.data();
        match &data.value {
            NodeValue::Text(text) => push_text(text, self.resolver, out, aside),
            NodeValue::HtmlInline(text) => append(out, self.resolver.inlines(text)),
            NodeValue::SoftBreak => append(out, vec![Inline::text(" ")]),
            NodeValue::LineBreak => out.push(Inline::Break),
            NodeValue::Code(code) => out.push(Inline::Code { text: self.resolver.plain(&code.literal) }),
            NodeValue::Emph => out.push(Inline::Emphasis { text: self.inlines(node, aside, depth) }),
            NodeValue::Strong => out.push(Inline::Strong { text: self.inlines(node, aside, depth) }),
            NodeValue::Link(link) => {
                let url = self.resolver.plain(&link.url);
                let text = self.inlines(node, aside, depth);
                out.push(Inline::Link { url, text });
            }
            NodeValue::FootnoteReference(reference) => {
                let note = self.footnotes.iter().find(|(name, _)| *name == reference.name);
                if let Some((_, text)) = note {
                    out.push(Inline::Footnote { text: text.clone() });
                }
            }
            // Images and extensions that are off: their text is what can be kept.
            _ => append(out, self.inlines(node, aside, depth)),
        }
    }
}

/// A paragraph, unless it says nothing, and the blocks that stood in it.
fn push_paragraph(text: Vec<Inline>, aside: Vec<Block>, out: &mut Vec<Block>) {
    if !plain(&text).trim().is_empty() {
        out.push(Block::Paragraph { text });
    }
    out.extend(aside);
}

fn push_text(text: &str, resolver: &Resolver, out: &mut Vec<Inline>, aside: &mut Vec<Block>) {
    aside.extend(resolver.blocks(text));
    append(out, resolver.inlines(text));
}

/// Appends inlines, joining neighbouring texts.
fn append(out: &mut Vec<Inline>, more: Vec<Inline>) {
    for inline in more {
        match (out.last_mut(), inline) {
            (Some(Inline::Text { text }), Inline::Text { text: next }) => text.push_str(&next),
            (_, inline) => out.push(inline),
        }
    }
}

/// Headings are one line.
fn without_breaks(inlines: Vec<Inline>) -> Vec<Inline> {
    let mut out = Vec::new();
    for inline in inlines {
        let inline = if matches!(inline, Inline::Break) { Inline::text(" ") } else { inline };
        append(&mut out, vec![inline]);
    }
    out
}

fn callout(kind: AlertType) -> CalloutKind {
    match kind {
        AlertType::Note | AlertType::Important => CalloutKind::Info,
        AlertType::Tip => CalloutKind::Success,
        AlertType::Warning => CalloutKind::Warning,
        AlertType::Caution => CalloutKind::Danger,
    }
}
