//! Blocks.

use super::Page;
use crate::escape::xml;
use crate::{Block, CalloutKind, ChartText, Definition, Figure, Inline, KeyValue, SignatureParty, chart_svg};

impl Page<'_> {
    /// Appends one block to the page.
    pub(super) fn block(&mut self, block: &Block) {
        match block {
            Block::Heading { level, text, id } => {
                let level = (usize::from(*level) + 1).min(6);
                let text = self.inlines(text);
                let id = if id.is_empty() { String::new() } else { format!(" id=\"{}\"", xml(id)) };
                self.out.push_str(&format!("<h{level}{id}>{text}</h{level}>\n"));
            }
            Block::Paragraph { text } => self.wrapped("p", text),
            Block::List { ordered, items } => self.list(*ordered, items),
            Block::Table(table) => self.table(table),
            Block::Figure(figure) => self.figure(figure),
            Block::Code { language, text } => self.code(language, text),
            Block::Quote { blocks } => {
                self.out.push_str("<blockquote>\n");
                self.blocks(blocks);
                self.out.push_str("</blockquote>\n");
            }
            Block::Callout { kind, title, blocks } => self.callout(*kind, title, blocks),
            Block::Definitions { entries } => self.definitions(entries),
            Block::KeyValue { entries } => self.key_values(entries),
            Block::Columns { columns } => {
                self.out.push_str("<div class=\"columns\">\n");
                for column in columns {
                    self.out.push_str("<div class=\"column\">\n");
                    self.blocks(column);
                    self.out.push_str("</div>\n");
                }
                self.out.push_str("</div>\n");
            }
            Block::Signature { parties } => self.signature(parties),
            Block::PageBreak => self.out.push_str("<hr class=\"page\">\n"),
            Block::Slot { .. } => {}
        }
    }

    fn blocks(&mut self, blocks: &[Block]) {
        for block in blocks {
            self.block(block);
        }
    }

    fn wrapped(&mut self, tag: &str, text: &[Inline]) {
        let text = self.inlines(text);
        self.out.push_str(&format!("<{tag}>{text}</{tag}>\n"));
    }

    fn list(&mut self, ordered: bool, items: &[Vec<Block>]) {
        let tag = if ordered { "ol" } else { "ul" };
        self.out.push_str(&format!("<{tag}>\n"));
        for item in items {
            self.out.push_str("<li>");
            // A paragraph alone needs no tag; with one, screen readers announce it twice.
            if let [Block::Paragraph { text }, rest @ ..] = item.as_slice()
                && rest.iter().all(|block| matches!(block, Block::List { .. }))
            {
                self.text(text);
                self.blocks(rest);
                self.out.push_str("</li>\n");
                continue;
            }
            self.out.push('\n');
            self.blocks(item);
            self.out.push_str("</li>\n");
        }
        self.out.push_str(&format!("</{tag}>\n"));
    }

    fn figure(&mut self, figure: &Figure) {
        self.charts += 1;
        let id = format!("chart.{}", self.charts);
        let text = ChartText { lang: &self.meta.lang, title: &figure.caption, alt: &figure.alt, id: &id };
        let svg = chart_svg(&figure.chart, &self.palette, text);
        self.out.push_str("<figure>\n");
        if !figure.caption.is_empty() {
            self.out.push_str(&format!("<figcaption>{}</figcaption>\n", xml(&figure.caption)));
        }
        self.out.push_str(&svg);
        self.out.push_str(&format!("\n<details>\n<summary>{}</summary>\n", xml(self.labels.chart_data)));
        self.chart_table(&figure.chart);
        self.out.push_str("</details>\n</figure>\n");
    }

    fn code(&mut self, language: &str, text: &str) {
        let language: String = language
            .chars()
            .filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '+' | '#' | '_'))
            .collect();
        let class =
            if language.is_empty() { String::new() } else { format!(" class=\"language-{language}\"") };
        // The parser drops one line end after `<pre>`, so a text may begin with its own.
        self.out.push_str(&format!("<pre tabindex=\"0\"><code{class}>{}</code></pre>\n", xml(text)));
    }

    fn callout(&mut self, kind: CalloutKind, title: &str, blocks: &[Block]) {
        let class = match kind {
            CalloutKind::Info => "info",
            CalloutKind::Success => "success",
            CalloutKind::Warning => "warning",
            CalloutKind::Danger => "danger",
        };
        let label = self.labels.callout(kind);
        let title = if title.is_empty() { label } else { title };
        self.out.push_str(&format!(
            "<div class=\"callout {class}\" role=\"note\" aria-label=\"{}\">\n<p class=\"label\">{}</p>\n",
            xml(label),
            xml(title)
        ));
        self.blocks(blocks);
        self.out.push_str("</div>\n");
    }

    fn definitions(&mut self, entries: &[Definition]) {
        self.out.push_str("<dl class=\"defs\">\n");
        for entry in entries {
            self.wrapped("dt", &entry.term);
            self.out.push_str("<dd>\n");
            self.blocks(&entry.meaning);
            self.out.push_str("</dd>\n");
        }
        self.out.push_str("</dl>\n");
    }

    fn key_values(&mut self, entries: &[KeyValue]) {
        self.out.push_str("<dl class=\"kv\">\n");
        for entry in entries {
            let value = self.inlines(&entry.value);
            self.out.push_str(&format!("<div><dt>{}</dt><dd>{value}</dd></div>\n", xml(&entry.label)));
        }
        self.out.push_str("</dl>\n");
    }

    fn signature(&mut self, parties: &[SignatureParty]) {
        self.out.push_str("<div class=\"signatures\">\n");
        for party in parties {
            let role = if party.role.is_empty() {
                String::new()
            } else {
                format!("<p class=\"role\">{}</p>\n", xml(&party.role))
            };
            self.out.push_str(&format!(
                "<div class=\"party\">\n<p class=\"name\">{}</p>\n{role}<p class=\"lines\"><span>{}</span> \
                 <span>{}</span></p>\n</div>\n",
                xml(&party.name),
                xml(self.labels.place_date),
                xml(self.labels.signature)
            ));
        }
        self.out.push_str("</div>\n");
    }
}
