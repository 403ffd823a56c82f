//! One self-contained HTML file: own styles, charts as inline SVG, nothing loaded, no scripts.
//!
//! Invariant: the content security policy in the file forbids everything but its own style sheet
//! (by hash), so that even a hole in escaping could run nothing. Called through [`crate::write`].

mod block;
mod inline;
mod style;
mod table;

use std::collections::BTreeSet;

use base64::Engine as _;
use sha2::{Digest, Sha256};

use crate::escape::xml;
use crate::{Block, Document, Labels, Meta, Palette};

/// Writes a normalised document as a self-contained HTML page.
pub fn write_html(document: &Document) -> String {
    let meta = &document.meta;
    let mut page = Page::new(meta);
    page.sections(&document.blocks);
    page.write_notes();
    let css = style::sheet(&page.palette, &page.widths);
    let hash =
        base64::engine::general_purpose::STANDARD.encode(Sha256::digest(format!("\n{css}").as_bytes()));
    let author = if meta.author.is_empty() {
        String::new()
    } else {
        format!("<meta name=\"author\" content=\"{}\">\n", xml(&meta.author))
    };
    let (lang, title, masthead, body) = (xml(&meta.lang), xml(&meta.title), masthead(meta), page.out);
    format!(
        "<!DOCTYPE html>\n<html lang=\"{lang}\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{hash}'; \
         base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n{author}\
         <title>{title}</title>\n<style>\n{css}</style>\n</head>\n<body>\n<div class=\"sheet\">\n{masthead}\
         <main>\n{body}</main>\n</div>\n</body>\n</html>\n"
    )
}

fn masthead(meta: &Meta) -> String {
    let mut out = String::from("<header class=\"masthead\">\n");
    if !meta.brand.name.is_empty() {
        out.push_str(&format!("<p class=\"brand\">{}</p>\n", xml(&meta.brand.name)));
    }
    out.push_str(&format!("<h1>{}</h1>\n", xml(&meta.title)));
    if !meta.subtitle.is_empty() {
        out.push_str(&format!("<p class=\"subtitle\">{}</p>\n", xml(&meta.subtitle)));
    }
    let mut byline = String::new();
    // The author is often the brand; saying it twice is noise.
    if !meta.author.is_empty() && meta.author != meta.brand.name {
        byline.push_str(&format!("<span>{}</span>", xml(&meta.author)));
    }
    if !meta.date.is_empty() {
        let date = xml(&meta.date);
        byline.push_str(&format!("<time datetime=\"{date}\">{date}</time>"));
    }
    if !byline.is_empty() {
        out.push_str(&format!("<p class=\"byline\">{byline}</p>\n"));
    }
    out.push_str("</header>\n");
    out
}

/// The page being written.
struct Page<'a> {
    meta: &'a Meta,
    labels: &'static Labels,
    palette: Palette,
    out: String,
    /// Finished notes; one is reserved before its own text is written.
    notes: Vec<String>,
    charts: usize,
    /// Column widths in percent that the style sheet must name.
    widths: BTreeSet<u8>,
}

impl<'a> Page<'a> {
    fn new(meta: &'a Meta) -> Self {
        Self {
            meta,
            labels: Labels::of(&meta.lang),
            palette: Palette::new(&meta.brand),
            out: String::new(),
            notes: Vec::new(),
            charts: 0,
            widths: BTreeSet::new(),
        }
    }

    /// The top blocks, one section for each heading of the first level.
    fn sections(&mut self, blocks: &[Block]) {
        let mut open = false;
        for block in blocks {
            if let Block::Heading { level: 1, id, .. } = block {
                if open {
                    self.out.push_str("</section>\n");
                }
                self.out.push_str(&format!("<section aria-labelledby=\"{}\">\n", xml(id)));
                open = true;
            }
            self.block(block);
        }
        if open {
            self.out.push_str("</section>\n");
        }
    }

    fn write_notes(&mut self) {
        if self.notes.is_empty() {
            return;
        }
        let (title, back) = (xml(self.labels.notes), xml(self.labels.back));
        self.out.push_str(&format!(
            "<section class=\"notes\" role=\"doc-endnotes\" aria-labelledby=\"notes.title\">\n\
             <h2 id=\"notes.title\">{title}</h2>\n<ol>\n"
        ));
        for (index, text) in std::mem::take(&mut self.notes).iter().enumerate() {
            let number = index + 1;
            self.out.push_str(&format!(
                "<li id=\"note.{number}\">{text} <a href=\"#note.{number}.mark\" role=\"doc-backlink\" \
                 aria-label=\"{back}\">\u{21A9}\u{FE0E}</a></li>\n"
            ));
        }
        self.out.push_str("</ol>\n</section>\n");
    }
}
