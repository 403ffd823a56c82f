//! Inlines.

use super::Page;
use crate::Inline;
use crate::escape::{push_xml, xml};
use crate::normalise::safe_url;

impl Page<'_> {
    /// Appends a run to the page.
    pub(super) fn text(&mut self, inlines: &[Inline]) {
        let text = self.inlines(inlines);
        self.out.push_str(&text);
    }

    /// A run as HTML.
    pub(super) fn inlines(&mut self, inlines: &[Inline]) -> String {
        let mut out = String::new();
        for inline in inlines {
            self.inline(inline, &mut out);
        }
        out
    }

    fn inline(&mut self, inline: &Inline, out: &mut String) {
        match inline {
            Inline::Text { text } => push_xml(out, text),
            Inline::Strong { text } => {
                let inner = self.inlines(text);
                out.push_str(&format!("<strong>{inner}</strong>"));
            }
            Inline::Emphasis { text } => {
                let inner = self.inlines(text);
                out.push_str(&format!("<em>{inner}</em>"));
            }
            Inline::Code { text } => out.push_str(&format!("<code>{}</code>", xml(text))),
            Inline::Link { url, text } => {
                let inner = self.inlines(text);
                match safe_url(url) {
                    Some(url) => {
                        out.push_str(&format!(
                            "<a href=\"{}\" rel=\"noopener noreferrer\">{inner}</a>",
                            xml(&url)
                        ));
                    }
                    None => out.push_str(&inner),
                }
            }
            Inline::Fact { name, value } => {
                out.push_str(&format!("<span data-fact=\"{}\">{}</span>", xml(name), xml(value)));
            }
            Inline::Footnote { text } => {
                let slot = self.notes.len();
                self.notes.push(String::new());
                let inner = self.inlines(text);
                self.notes[slot] = inner;
                let number = slot + 1;
                out.push_str(&format!(
                    "<sup class=\"mark\"><a id=\"note.{number}.mark\" href=\"#note.{number}\" \
                     role=\"doc-noteref\">{number}</a></sup>"
                ));
            }
            Inline::Break => out.push_str("<br>\n"),
        }
    }
}
