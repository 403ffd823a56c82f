//! GitHub-flavoured Markdown: text of the tree never becomes markup.
//!
//! Invariant: a CommonMark parser with the GitHub extensions reads back exactly the reader's text.
//! Called through [`crate::write`].

mod escape;
mod inline;
mod table;

use crate::{Block, CalloutKind, Definition, Document, Figure, Inline, KeyValue, Labels, SignatureParty};
use escape::{escape, fence};
use inline::Notes;

/// Writes a normalised document as GitHub-flavoured Markdown.
pub fn write_markdown(document: &Document) -> String {
    let meta = &document.meta;
    let mut writer = Writer { labels: Labels::of(&meta.lang), notes: Notes::default() };
    let mut parts = vec![format!("# {}", escape(&meta.title))];
    if !meta.subtitle.is_empty() {
        parts.push(format!("*{}*", escape(&meta.subtitle)));
    }
    let byline: Vec<String> =
        [&meta.author, &meta.date].iter().filter(|part| !part.is_empty()).map(|part| escape(part)).collect();
    if !byline.is_empty() {
        parts.push(byline.join(" · "));
    }
    let body = writer.blocks(&document.blocks);
    if !body.is_empty() {
        parts.push(body);
    }
    let notes = writer.notes.definitions();
    if !notes.is_empty() {
        parts.push(notes);
    }
    let mut out = parts.join("\n\n");
    out.push('\n');
    out
}

struct Writer {
    labels: &'static Labels,
    notes: Notes,
}

impl Writer {
    fn blocks(&mut self, blocks: &[Block]) -> String {
        let mut out = String::new();
        let mut previous: Option<&Block> = None;
        for block in blocks {
            let text = self.block(block);
            if text.is_empty() {
                continue;
            }
            if let Some(previous) = previous {
                // Two lists in a row would be read as one.
                let merges = is_list(previous) && is_list(block);
                out.push_str(if merges { "\n\n<!-- -->\n\n" } else { "\n\n" });
            }
            out.push_str(&text);
            previous = Some(block);
        }
        out
    }

    fn block(&mut self, block: &Block) -> String {
        match block {
            Block::Heading { level, text, .. } => {
                let hashes = "#".repeat(usize::from(*level + 1).min(6));
                // A heading is one line; a break in it becomes a blank.
                format!("{hashes} {}", self.one_line(text))
            }
            Block::Paragraph { text } => self.text(text),
            Block::List { ordered, items } => self.list(*ordered, items),
            Block::Table(table) => self.table(table),
            Block::Figure(figure) => self.figure(figure),
            Block::Code { language, text } => {
                let fence = fence(text);
                let language: String = language
                    .chars()
                    .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '#' | '_' | '.'))
                    .collect();
                format!("{fence}{language}\n{text}\n{fence}")
            }
            Block::Quote { blocks } => prefix(&self.blocks(blocks), "> "),
            Block::Callout { kind, title, blocks } => self.callout(*kind, title, blocks),
            Block::Definitions { entries } => self.definitions(entries),
            Block::KeyValue { entries } => self.key_values(entries),
            Block::Columns { columns } => {
                let columns: Vec<String> = columns.iter().map(|column| self.blocks(column)).collect();
                columns.join("\n\n")
            }
            Block::Signature { parties } => self.signature(parties),
            Block::PageBreak => "***".to_owned(),
            Block::Slot { .. } => String::new(),
        }
    }

    fn text(&mut self, inlines: &[Inline]) -> String {
        self.notes.inlines(inlines, "\\\n")
    }

    fn one_line(&mut self, inlines: &[Inline]) -> String {
        self.notes.inlines(inlines, " ")
    }

    fn list(&mut self, ordered: bool, items: &[Vec<Block>]) -> String {
        let tight = items.iter().all(|item| {
            matches!(
                item.as_slice(),
                [Block::Paragraph { .. }] | [Block::Paragraph { .. }, Block::List { .. }]
            )
        });
        let mut out = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let marker = if ordered { format!("{}. ", index + 1) } else { "- ".to_owned() };
            let body = if tight {
                item.iter().map(|block| self.block(block)).collect::<Vec<_>>().join("\n")
            } else {
                self.blocks(item)
            };
            out.push(hang(&body, &marker));
        }
        out.join(if tight { "\n" } else { "\n\n" })
    }

    fn figure(&mut self, figure: &Figure) -> String {
        let mut parts = Vec::new();
        if !figure.caption.is_empty() {
            parts.push(format!("**{}**", escape(&figure.caption)));
        }
        parts.push(escape(&figure.alt));
        parts.push(table::chart(&figure.chart, self.labels));
        parts.join("\n\n")
    }

    fn callout(&mut self, kind: CalloutKind, title: &str, blocks: &[Block]) -> String {
        let alert = match kind {
            CalloutKind::Info => "NOTE",
            CalloutKind::Success => "TIP",
            CalloutKind::Warning => "WARNING",
            CalloutKind::Danger => "CAUTION",
        };
        let title = if title.is_empty() { String::new() } else { format!("**{}**\n\n", escape(title)) };
        let body = format!("[!{alert}]\n{title}{}", self.blocks(blocks));
        prefix(body.trim_end(), "> ")
    }

    fn definitions(&mut self, entries: &[Definition]) -> String {
        let mut out = Vec::with_capacity(entries.len());
        for entry in entries {
            let term = self.notes.strong(&entry.term, " ");
            let body = match entry.meaning.as_slice() {
                [Block::Paragraph { text }] => format!("{term} — {}", self.text(text)),
                meaning => format!("{term}\n\n{}", self.blocks(meaning)),
            };
            out.push(hang(body.trim_end(), "- "));
        }
        out.join("\n")
    }

    fn key_values(&mut self, entries: &[KeyValue]) -> String {
        let mut out = Vec::with_capacity(entries.len());
        for entry in entries {
            let body = format!("**{}:** {}", escape(&entry.label), self.text(&entry.value));
            out.push(hang(body.trim_end(), "- "));
        }
        out.join("\n")
    }

    fn signature(&mut self, parties: &[SignatureParty]) -> String {
        let mut out =
            format!("| | {} | {} |\n| --- | --- | --- |", self.labels.place_date, self.labels.signature);
        for party in parties {
            let role =
                if party.role.is_empty() { String::new() } else { format!("<br>{}", escape(&party.role)) };
            out.push_str(&format!("\n| **{}**{role} | | |", escape(&party.name)));
        }
        out
    }
}

fn is_list(block: &Block) -> bool {
    matches!(block, Block::List { .. } | Block::Definitions { .. } | Block::KeyValue { .. })
}

/// Puts a mark before every line.
fn prefix(text: &str, mark: &str) -> String {
    let marked =
        |line: &str| if line.is_empty() { mark.trim_end().to_owned() } else { format!("{mark}{line}") };
    text.split('\n').map(marked).collect::<Vec<_>>().join("\n")
}

/// Puts a marker before the first line and indents the others under it.
fn hang(text: &str, marker: &str) -> String {
    let indent = " ".repeat(marker.len());
    let mut out = String::with_capacity(text.len() + 16);
    for (index, line) in text.split('\n').enumerate() {
        if index == 0 {
            out.push_str(marker);
        } else {
            out.push('\n');
            if !line.is_empty() {
                out.push_str(&indent);
            }
        }
        out.push_str(line);
    }
    out
}
