//! Writes SVG elements and estimates how wide text will be.

use std::fmt::Write as _;

use super::{ChartText, TYPE_SIZE};
use crate::escape::xml;

/// Where a text is anchored.
#[derive(Clone, Copy)]
pub(super) enum Anchor {
    Start,
    Middle,
    End,
}

/// Elements so far.
#[derive(Default)]
pub(super) struct Svg {
    body: String,
}

impl Svg {
    pub(super) fn line(&mut self, from: (f64, f64), to: (f64, f64), colour: &str) {
        let (x1, y1, x2, y2) = (n(from.0), n(from.1), n(to.0), n(to.1));
        self.push(format_args!(r#"<line x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}" stroke="{colour}"/>"#));
    }

    pub(super) fn path(&mut self, d: &str, attributes: &str) {
        self.push(format_args!(r#"<path d="{d}" {attributes}/>"#));
    }

    pub(super) fn circle(&mut self, centre: (f64, f64), radius: f64, attributes: &str) {
        let (x, y, r) = (n(centre.0), n(centre.1), n(radius));
        self.push(format_args!(r#"<circle cx="{x}" cy="{y}" r="{r}" {attributes}/>"#));
    }

    pub(super) fn swatch(&mut self, at: (f64, f64), colour: impl std::fmt::Display) {
        let (x, y) = (n(at.0), n(at.1));
        self.push(format_args!(r#"<rect x="{x}" y="{y}" width="10" height="10" rx="2" fill="{colour}"/>"#));
    }

    pub(super) fn text(&mut self, at: (f64, f64), anchor: Anchor, attributes: &str, text: &str) {
        let (x, y) = (n(at.0), n(at.1));
        let anchor = match anchor {
            Anchor::Start => "",
            Anchor::Middle => r#" text-anchor="middle""#,
            Anchor::End => r#" text-anchor="end""#,
        };
        let gap = if attributes.is_empty() { "" } else { " " };
        let text = xml(text);
        self.push(format_args!(r#"<text x="{x}" y="{y}"{anchor}{gap}{attributes}>{text}</text>"#));
    }

    fn push(&mut self, element: std::fmt::Arguments<'_>) {
        // Writing into a String cannot fail.
        let _ = writeln!(self.body, "{element}");
    }

    /// The whole drawing.
    pub(super) fn finish(self, width: f64, height: f64, text: ChartText<'_>) -> String {
        let (w, h, id) = (n(width), n(height), xml(text.id));
        let title = xml(if text.title.is_empty() { text.alt } else { text.title });
        let (alt, body, ink) = (xml(text.alt), self.body, super::INK);
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {h}\" width=\"{w}\" height=\"{h}\" \
             role=\"img\" aria-labelledby=\"{id}.title {id}.desc\" font-family=\"sans-serif\" \
             font-size=\"{TYPE_SIZE}\" fill=\"{ink}\">\n<title id=\"{id}.title\">{title}</title>\n\
             <desc id=\"{id}.desc\">{alt}</desc>\n{body}</svg>"
        )
    }
}

/// A coordinate with one decimal at most; more would be noise, and `-0` would differ from `0`.
pub(super) fn n(value: f64) -> String {
    let tenths = (value * 10.0).round() as i64;
    if tenths % 10 == 0 { (tenths / 10).to_string() } else { format!("{:.1}", tenths as f64 / 10.0) }
}

/// Estimated width of a text; a little too wide for common faces, so that labels keep apart.
pub(super) fn width(text: &str) -> f64 {
    text.chars().map(char_width).sum::<f64>() * TYPE_SIZE
}

fn char_width(c: char) -> f64 {
    match c {
        'i' | 'j' | 'l' | 'I' | '.' | ',' | ':' | ';' | '\'' | '|' | '!' => 0.29,
        ' ' | '\u{A0}' | 'f' | 't' | 'r' | '(' | ')' | '[' | ']' | '/' | '-' => 0.38,
        'm' | 'w' | 'M' | 'W' | '@' | '%' => 0.9,
        'A'..='Z' => 0.7,
        '0'..='9' => 0.63,
        'a'..='z' => 0.58,
        '\u{300}'..='\u{36F}' => 0.0,
        '\u{1100}'..='\u{11FF}' | '\u{2E80}'..='\u{FFEF}' | '\u{1F000}'..='\u{3FFFF}' => 1.05,
        _ => 0.66,
    }
}

/// The text, shortened with an ellipsis to fit.
pub(super) fn fit(text: &str, max: f64) -> String {
    if width(text) <= max {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut used = char_width('…') * TYPE_SIZE;
    for c in text.chars() {
        used += char_width(c) * TYPE_SIZE;
        if used > max {
            break;
        }
        out.push(c);
    }
    format!("{}…", out.trim_end())
}
