//! Runs of inlines: clean text, safe links, no markup inside its own kind, no stray blanks.

use super::Walk;
use crate::clean::{clean, clean_line, compose};
use crate::place::Place;
use crate::{DocumentError, Inline, limits, plain};

/// What surrounds an inline; nesting a kind in itself says nothing and breaks Markdown and HTML.
#[derive(Clone, Copy, Default)]
struct Around {
    depth: usize,
    strong: bool,
    emphasis: bool,
    link: bool,
    footnote: bool,
}

impl Walk {
    /// A clean run: neighbours joined, blanks collapsed, none at the ends.
    pub(super) fn inlines(
        &mut self,
        inlines: Vec<Inline>,
        place: &Place<'_>,
    ) -> Result<Vec<Inline>, DocumentError> {
        let mut out = Vec::with_capacity(inlines.len());
        self.run(inlines, place, Around::default(), &mut out)?;
        Ok(tidy(out))
    }

    fn run(
        &mut self,
        inlines: Vec<Inline>,
        place: &Place<'_>,
        around: Around,
        out: &mut Vec<Inline>,
    ) -> Result<(), DocumentError> {
        place.limit("INLINE_DEPTH_MAX", limits::INLINE_DEPTH_MAX, around.depth)?;
        for (index, inline) in inlines.into_iter().enumerate() {
            self.one(inline, &place.index(index), Around { depth: around.depth + 1, ..around }, out)?;
        }
        Ok(())
    }

    fn one(
        &mut self,
        inline: Inline,
        here: &Place<'_>,
        around: Around,
        out: &mut Vec<Inline>,
    ) -> Result<(), DocumentError> {
        match inline {
            Inline::Text { text } => {
                self.count(&text, here)?;
                let text = clean(text);
                if text.contains('\n') {
                    for (line, part) in text.split('\n').enumerate() {
                        if line > 0 {
                            out.push(Inline::Break);
                        }
                        push_text(part.to_owned(), out);
                    }
                } else {
                    push_text(text, out);
                }
            }
            Inline::Code { text } => {
                let text = self.line(text, here)?;
                if !text.is_empty() {
                    out.push(Inline::Code { text });
                }
            }
            Inline::Fact { name, value } => {
                let value = self.line(value, here)?;
                if !value.is_empty() {
                    out.push(Inline::Fact { name: clean_line(name), value });
                }
            }
            Inline::Strong { text } if around.strong => self.run(text, here, around, out)?,
            Inline::Strong { text } => {
                let mut inner = Vec::new();
                self.run(text, here, Around { strong: true, ..around }, &mut inner)?;
                out.push(Inline::Strong { text: inner });
            }
            Inline::Emphasis { text } if around.emphasis => self.run(text, here, around, out)?,
            Inline::Emphasis { text } => {
                let mut inner = Vec::new();
                self.run(text, here, Around { emphasis: true, ..around }, &mut inner)?;
                out.push(Inline::Emphasis { text: inner });
            }
            Inline::Link { url, text } => self.link(&url, text, here, around, out)?,
            Inline::Footnote { text } if around.footnote => self.run(text, here, around, out)?,
            Inline::Footnote { text } => {
                // A note stands outside the sentence, so markup around its mark does not reach it.
                let inside = Around { depth: around.depth, footnote: true, ..Around::default() };
                let mut inner = Vec::new();
                self.run(text, here, inside, &mut inner)?;
                let inner = tidy(inner);
                if !inner.is_empty() {
                    out.push(Inline::Footnote { text: inner });
                }
            }
            Inline::Break => out.push(Inline::Break),
        }
        Ok(())
    }

    /// A link to a safe place stays one; any other becomes its text. Its notes move behind it,
    /// because their marks are links themselves.
    fn link(
        &mut self,
        url: &str,
        text: Vec<Inline>,
        here: &Place<'_>,
        around: Around,
        out: &mut Vec<Inline>,
    ) -> Result<(), DocumentError> {
        self.count(url, here)?;
        let target = if around.link { None } else { safe_url(url) };
        let Some(target) = target else {
            return self.run(text, here, around, out);
        };
        let mut inner = Vec::new();
        self.run(text, here, Around { link: true, ..around }, &mut inner)?;
        let mut notes = Vec::new();
        take_notes(&mut inner, &mut notes);
        let mut inner = tidy(inner);
        if plain(&inner).is_empty() {
            inner = vec![Inline::text(target.trim_start_matches("mailto:"))];
        }
        out.push(Inline::Link { url: target, text: inner });
        out.append(&mut notes);
        Ok(())
    }
}

fn take_notes(inlines: &mut Vec<Inline>, notes: &mut Vec<Inline>) {
    let mut kept = Vec::with_capacity(inlines.len());
    for mut inline in inlines.drain(..) {
        match &mut inline {
            Inline::Footnote { .. } => {
                notes.push(inline);
                continue;
            }
            Inline::Strong { text } | Inline::Emphasis { text } | Inline::Link { text, .. } => {
                take_notes(text, notes);
            }
            Inline::Text { .. } | Inline::Code { .. } | Inline::Fact { .. } | Inline::Break => {}
        }
        kept.push(inline);
    }
    *inlines = kept;
}

fn push_text(part: String, out: &mut Vec<Inline>) {
    if part.is_empty() {
        return;
    }
    if let Some(Inline::Text { text }) = out.last_mut() {
        text.push_str(&part);
        compose(text);
    } else {
        out.push(Inline::text(part));
    }
}

/// The target of a link with an allowed scheme. Characters that end an attribute or a Markdown
/// destination are percent-encoded; browsers drop blanks and line ends inside a URL, so they go.
pub(crate) fn safe_url(url: &str) -> Option<String> {
    let mut out = String::with_capacity(url.len());
    for c in clean(url.to_owned()).chars() {
        match c {
            ' ' | '\t' | '\n' => {}
            '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}' | '(' | ')' => {
                out.push_str(&format!("%{:02X}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    let lower = out.to_ascii_lowercase();
    let rest = ["https://", "http://", "mailto:"].iter().find_map(|scheme| lower.strip_prefix(scheme))?;
    (!rest.is_empty() && !rest.starts_with('/')).then_some(out)
}

/// Joins neighbours of one kind, collapses blanks over the whole run and trims its ends and lines.
fn tidy(inlines: Vec<Inline>) -> Vec<Inline> {
    let mut run = inlines;
    // Removing an empty part can bring two neighbours or two blanks together, hence the loop; each
    // round removes something, so it ends.
    loop {
        let before = weight(&run);
        let mut blank = true;
        run = squeeze(run, &mut blank);
        trim_end(&mut run);
        if weight(&run) == before {
            return run;
        }
    }
}

fn weight(run: &[Inline]) -> usize {
    run.iter()
        .map(|inline| match inline {
            Inline::Text { text } | Inline::Code { text } => 1 + text.len(),
            Inline::Fact { .. } | Inline::Footnote { .. } | Inline::Break => 1,
            Inline::Strong { text } | Inline::Emphasis { text } | Inline::Link { text, .. } => {
                1 + weight(text)
            }
        })
        .sum()
}

/// `blank` says whether what stands before ends with a blank or a line end.
fn squeeze(run: Vec<Inline>, blank: &mut bool) -> Vec<Inline> {
    let mut out: Vec<Inline> = Vec::with_capacity(run.len());
    for inline in run {
        match inline {
            Inline::Text { text } => {
                push_text(squeeze_text(text, blank), &mut out);
            }
            Inline::Strong { text } => {
                let inner = squeeze(text, blank);
                match out.last_mut() {
                    _ if inner.is_empty() => {}
                    Some(Inline::Strong { text }) => text.extend(inner),
                    _ => out.push(Inline::Strong { text: inner }),
                }
            }
            Inline::Emphasis { text } => {
                let inner = squeeze(text, blank);
                match out.last_mut() {
                    _ if inner.is_empty() => {}
                    Some(Inline::Emphasis { text }) => text.extend(inner),
                    _ => out.push(Inline::Emphasis { text: inner }),
                }
            }
            Inline::Link { url, text } => {
                let inner = squeeze(text, blank);
                out.push(Inline::Link { url, text: inner });
            }
            Inline::Break => {
                trim_blank_end(&mut out);
                if !out.is_empty() && !matches!(out.last(), Some(Inline::Break)) {
                    out.push(Inline::Break);
                }
                *blank = true;
            }
            Inline::Code { text } => {
                *blank = false;
                // Markdown would read the marks between two pieces of code as one longer mark.
                if let Some(Inline::Code { text: before }) = out.last_mut() {
                    before.push_str(&text);
                    compose(before);
                } else {
                    out.push(Inline::Code { text });
                }
            }
            other @ (Inline::Fact { .. } | Inline::Footnote { .. }) => {
                *blank = false;
                out.push(other);
            }
        }
    }
    out
}

fn squeeze_text(text: String, blank: &mut bool) -> String {
    let mut last = if *blank { b' ' } else { 0 };
    let is_squeezed = text.bytes().all(|byte| {
        let single = byte != b'\t' && (byte != b' ' || last != b' ');
        last = byte;
        single
    });
    if is_squeezed {
        *blank = last == b' ';
        return text;
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let space = matches!(c, ' ' | '\t');
        if !(space && *blank) {
            out.push(if space { ' ' } else { c });
        }
        *blank = space;
    }
    out
}

/// Removes blanks and line ends at the end.
fn trim_end(run: &mut Vec<Inline>) {
    trim_blank_end(run);
    while matches!(run.last(), Some(Inline::Break)) {
        run.pop();
        trim_blank_end(run);
    }
}

fn trim_blank_end(run: &mut Vec<Inline>) {
    while let Some(last) = run.last_mut() {
        let empty = match last {
            Inline::Text { text } => {
                text.truncate(text.trim_end_matches([' ', '\t']).len());
                text.is_empty()
            }
            Inline::Strong { text } | Inline::Emphasis { text } => {
                trim_end(text);
                text.is_empty()
            }
            Inline::Link { text, .. } => {
                trim_end(text);
                false
            }
            Inline::Code { .. } | Inline::Fact { .. } | Inline::Footnote { .. } | Inline::Break => false,
        };
        if !empty {
            return;
        }
        run.pop();
    }
}
